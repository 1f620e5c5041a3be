//! I5, I6: what a reader was shown was committed, so it stands where it was shown for ever, and the high watermark is not
//! below it once everything works again.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::workload::Known;

/// `log` is everything readable of the partition, by offset; `watermark` and `start` are what it says of itself.
pub fn check(partition: i32, known: &Known, log: &BTreeMap<i64, Bytes>, watermark: i64, start: i64) {
    assert!(
        watermark >= known.watermark,
        "I6: partition {partition}: readers saw {}, now {watermark} is committed",
        known.watermark
    );
    assert!(
        start >= known.start && start <= known.start_asked.max(known.start),
        "I7: partition {partition}: the log starts at {start}, clients were told {} and asked for {}",
        known.start,
        known.start_asked
    );
    for (offset, value) in known.read.range(start..) {
        let found = log.get(offset);
        assert_eq!(
            found,
            Some(value),
            "I5: partition {partition}: offset {offset} was read, and is not there now"
        );
    }
}
