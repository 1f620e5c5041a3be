//! I1: what was acked stands at the offset it was acked at, once everything works again.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::workload::Known;

/// `log` is everything readable of the partition, by offset.
pub fn check(partition: i32, known: &Known, log: &BTreeMap<i64, Bytes>) {
    for (offset, value) in &known.acked {
        let found = log.get(offset);
        assert!(found.is_some(), "partition {partition}: acked offset {offset} is lost");
        assert_eq!(found, Some(value), "partition {partition}: acked offset {offset} holds another value");
    }
}
