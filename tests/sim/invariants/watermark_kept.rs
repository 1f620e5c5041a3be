//! I6: what a reader was told is committed stays committed.

use crate::workload::Known;

/// `watermark` is the partition's high watermark once everything works again.
pub fn check(partition: i32, known: &Known, watermark: i64) {
    assert!(
        watermark >= known.watermark,
        "partition {partition}: readers saw {}, now {watermark} is committed",
        known.watermark
    );
}
