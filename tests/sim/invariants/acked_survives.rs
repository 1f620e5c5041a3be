//! I1: what was acked stands at the offset it was acked at, once everything works again.
//! Under `durability=disk` whatever lost its power, and all at once too. Under `durability=cache` (D9) as long as the
//! power did not go everywhere at once; if it did, what was acked before may be lost from some offset on, and only so.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::workload::Known;

/// `log` is everything readable of the partition, by offset. Answers how much of what may be lost was.
pub fn check(partition: i32, known: &Known, log: &BTreeMap<i64, Bytes>) -> usize {
    let start = known.start_asked.max(known.start);
    for (offset, value) in known.acked.range(start..) {
        let found = log.get(offset);
        assert!(found.is_some(), "I1: partition {partition}: acked offset {offset} is lost");
        assert_eq!(
            found,
            Some(value),
            "I1: partition {partition}: acked offset {offset} holds another value"
        );
    }
    let there = |(offset, value): &(&i64, &Bytes)| log.get(offset) == Some(value);
    let kept = known.doubtful.range(start..).take_while(there).count();
    let rest = known.doubtful.range(start..).skip(kept);
    let survivor = rest.clone().find(there).map(|(offset, _)| offset);
    assert_eq!(survivor, None, "I20: partition {partition}: it survives others before it that did not");
    rest.count()
}
