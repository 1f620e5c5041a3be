//! I2, I3, I4: every value stands at one offset, in the order it was sent, without a hole; nothing else stands there.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::workload::{Known, value};

/// `log` is everything readable of the partition, by offset.
pub fn check(partition: i32, known: &Known, log: &BTreeMap<i64, Bytes>) {
    let mut serial = 0;
    for (expected, (offset, found)) in log.iter().enumerate() {
        assert_eq!(*offset, expected as i64, "partition {partition}: a hole");
        serial += 1;
        assert!(serial <= known.sent, "partition {partition}: offset {offset} is more than was sent");
        assert_eq!(
            *found,
            value(partition, serial),
            "partition {partition}: offset {offset} does not hold value {serial}: lost, double or out of order"
        );
    }
    let acked = known.acked.len() as u64;
    assert!(serial >= acked, "partition {partition}: {serial} values of {acked} acked ones");
}
