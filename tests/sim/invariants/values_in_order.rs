//! I2, I3, I4: every value stands at one offset, in the order it was sent, without a hole; nothing else stands there.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::workload::{Known, value};

/// `log` is everything readable of the partition, by offset, from `start` on.
pub fn check(partition: i32, known: &Known, log: &BTreeMap<i64, Bytes>, start: i64, losses: u32) {
    // What was lost as allowed, or given up by a producer that began anew, is missing at one place each time.
    let mut jumps = known.resets + losses;
    let mut serial = if jumps == 0 { start as u64 } else { before(partition, known, log) };
    for (expected, (offset, found)) in (start..).zip(log) {
        assert_eq!(*offset, expected, "I8: partition {partition}: a hole");
        serial += 1;
        while jumps > 0 && serial <= known.sent && *found != value(partition, serial) {
            let next = (serial..=known.sent).find(|serial| *found == value(partition, *serial));
            (serial, jumps) = (next.unwrap_or(known.sent + 1), jumps - 1);
        }
        assert!(
            serial <= known.sent,
            "I4: partition {partition}: offset {offset} holds what was not sent then"
        );
        assert!(
            *found == value(partition, serial),
            "I3: partition {partition}: offset {offset} does not hold value {serial}: lost, double or out of order"
        );
    }
}

/// The serial before the first value of the log.
fn before(partition: i32, known: &Known, log: &BTreeMap<i64, Bytes>) -> u64 {
    let Some(first) = log.values().next() else { return 0 };
    (1..=known.sent)
        .find(|serial| value(partition, *serial) == *first)
        .map_or(known.sent, |serial| serial - 1)
}
