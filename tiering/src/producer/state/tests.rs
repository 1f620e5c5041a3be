//! The five-batch window against Kafka's rules, and against a model that remembers everything.
//! Nothing here touches a file: see `snapshot` for the formats.
#![cfg(test)]

use super::*;
use crate::batch::builder::BatchBuilder;
use crate::batch::header::set_base_offset;
use proptest::prelude::*;

const PID: i64 = 4000;

/// A batch of `count` records from `sequence`, to be appended at `offset`.
fn batch(epoch: i16, sequence: i32, count: usize, offset: i64) -> BatchHeader {
    let mut builder = BatchBuilder::new().producer(PID, epoch, sequence);
    for _ in 0..count {
        builder.push(1000, None, None, &[]);
    }
    let mut bytes = builder.build().to_vec();
    set_base_offset(&mut bytes, Offset(offset));
    BatchHeader::parse(&bytes).unwrap()
}

fn transactional(epoch: i16, sequence: i32, offset: i64) -> BatchHeader {
    BatchHeader { attributes: 1 << 4, ..batch(epoch, sequence, 1, offset) }
}

fn marker(epoch: i16, offset: i64) -> BatchHeader {
    BatchHeader { attributes: 3 << 4, base_sequence: -1, ..batch(epoch, 0, 1, offset) }
}

fn append(table: &mut ProducerTable, batch: &BatchHeader) {
    assert_eq!(table.check(batch, Origin::Client), Ok(Verdict::Append), "{batch:?}");
    table.apply(batch, 0);
}

fn duplicate_of(batch: &BatchHeader) -> Result<Verdict, SequenceError> {
    let (base_offset, last_offset) = (batch.base_offset, batch.last_offset());
    Ok(Verdict::Duplicate { base_offset, last_offset, timestamp: 1000 })
}

fn out_of_order(epoch: i16, known_epoch: i16, sequence: i32, last: i32) -> Result<Verdict, SequenceError> {
    Err(SequenceError::OutOfOrder { producer_id: PID, epoch, known_epoch, sequence, last })
}

#[test]
fn each_of_the_last_five_batches_is_known_again_and_the_sixth_is_not() {
    let mut table = ProducerTable::new();
    let batches: Vec<_> = (0..6).map(|n| batch(0, n * 10, 10, 100 + i64::from(n) * 10)).collect();
    batches.iter().for_each(|batch| append(&mut table, batch));
    for batch in &batches[1..] {
        assert_eq!(table.check(batch, Origin::Client), duplicate_of(batch));
    }
    assert_eq!(table.check(&batches[0], Origin::Client), out_of_order(0, 0, 0, 59));
}

#[test]
fn an_overlap_that_is_not_the_same_batch_is_out_of_order() {
    let mut table = ProducerTable::new();
    append(&mut table, &batch(0, 0, 10, 0));
    for (sequence, count) in [(0, 9), (0, 11), (1, 9), (5, 10), (11, 1)] {
        let result = table.check(&batch(0, sequence, count, 10), Origin::Client);
        assert_eq!(result, out_of_order(0, 0, sequence, 9), "{sequence} x {count}");
    }
    append(&mut table, &batch(0, 10, 1, 10));
}

#[test]
fn sequences_wrap_and_a_wrapped_batch_is_known_again() {
    let mut table = ProducerTable::new();
    let over = batch(0, i32::MAX - 1, 5, 0);
    append(&mut table, &over);
    assert_eq!(table.get(PID).unwrap().last_batch().unwrap().last_sequence, 2);
    assert_eq!(table.check(&over, Origin::Client), duplicate_of(&over));
    append(&mut table, &batch(0, 3, 1, 5));

    let mut table = ProducerTable::new();
    append(&mut table, &batch(0, i32::MAX, 1, 0));
    append(&mut table, &batch(0, 0, 1, 1));
}

#[test]
fn an_unknown_producer_starts_anywhere_a_new_epoch_starts_at_zero() {
    let mut table = ProducerTable::new();
    append(&mut table, &batch(3, 77, 1, 0));
    assert_eq!(table.check(&batch(4, 78, 1, 1), Origin::Client), out_of_order(4, 3, 78, 77));
    append(&mut table, &batch(4, 0, 1, 1));
    assert_eq!(table.get(PID).unwrap().batches().len(), 1, "the old epoch's window is gone");
    let old = SequenceError::InvalidEpoch { producer_id: PID, epoch: 3, known_epoch: 4 };
    assert_eq!(table.check(&batch(3, 78, 1, 2), Origin::Client), Err(old));
    assert_eq!(table.check(&batch(3, 77, 1, 2), Origin::Client), Err(old), "not even a duplicate of its own");
}

#[test]
fn batches_without_producer_pass_and_leave_no_trace() {
    let mut table = ProducerTable::new();
    let mut builder = BatchBuilder::new();
    builder.push(0, None, None, &[]);
    let plain = BatchHeader::parse(&builder.build()).unwrap();
    append(&mut table, &plain);
    assert!(table.is_empty());
}

#[test]
fn coordinators_are_held_to_the_epoch_only_and_followers_to_nothing() {
    let mut table = ProducerTable::new();
    append(&mut table, &batch(5, 0, 1, 0));
    let jump = batch(5, 40, 1, 1);
    assert_eq!(table.check(&jump, Origin::Coordinator), Ok(Verdict::Append));
    let old = batch(4, 0, 1, 1);
    assert!(table.check(&old, Origin::Coordinator).is_err());
    assert_eq!(table.check(&old, Origin::Follower), Ok(Verdict::Append));
}

#[test]
fn a_silent_producer_expires_by_our_clock_unless_its_transaction_is_open() {
    let mut table = ProducerTable::new();
    table.apply(&batch(0, 0, 1, 0), 5_000);
    assert_eq!(table.expire(5_099, 100), 0);
    assert_eq!(table.expire(5_100, 100), 1);
    assert_eq!(table.check(&batch(0, 55, 1, 1), Origin::Client), Ok(Verdict::Append));
    table.apply(&transactional(0, 0, 0), 5_000);
    assert_eq!(table.expire(i64::MAX, 100), 0);
}

#[test]
fn the_table_stays_bounded_and_forgets_the_longest_silent() {
    let mut table = ProducerTable::with_limit(100);
    for id in 0..1000 {
        let open = if id == 3 { 1 << 4 } else { 0 };
        table.apply(&BatchHeader { producer_id: id, attributes: open, ..batch(0, 0, 1, id) }, id);
        assert!(table.len() <= 100, "{}", table.len());
    }
    assert!(table.get(999).is_some() && table.get(950).is_some());
    assert!(table.get(3).is_some(), "its transaction is open");
    assert!(table.get(4).is_none());
}

#[test]
fn a_transaction_begins_with_its_first_batch_and_ends_with_a_marker() {
    let mut table = ProducerTable::new();
    append(&mut table, &transactional(0, 0, 10));
    append(&mut table, &transactional(0, 1, 11));
    assert_eq!(table.first_undecided(), Some(Offset(10)));
    let outside = SequenceError::OutsideTransaction { producer_id: PID, start: Offset(10) };
    assert_eq!(table.check(&batch(0, 2, 1, 12), Origin::Client), Err(outside));
    table.check_marker(&marker(0, 12), 7).unwrap();
    let ended = EndedTransaction { producer_id: PID, first_offset: Offset(10), last_offset: Offset(12) };
    assert_eq!(table.apply_marker(&marker(0, 12), 7, 0), Some(ended));
    assert_eq!(table.first_undecided(), None);
    assert_eq!(table.apply_marker(&marker(0, 13), 7, 0), None, "a marker may end nothing");
    let fenced = SequenceError::CoordinatorFenced { epoch: 6, known_epoch: 7 };
    assert_eq!(table.check_marker(&marker(0, 14), 6), Err(fenced));
    append(&mut table, &transactional(0, 2, 14));
}

#[test]
fn a_marker_with_a_new_epoch_empties_the_window() {
    let mut table = ProducerTable::new();
    append(&mut table, &transactional(0, 0, 0));
    table.apply_marker(&marker(1, 1), 0, 0);
    assert_eq!(table.check(&transactional(1, 1, 2), Origin::Client), out_of_order(1, 1, 1, -1));
    append(&mut table, &transactional(1, 0, 2));
}

#[test]
fn a_snapshot_from_the_future_does_not_live_for_ever() {
    let mut table = ProducerTable::new();
    let state = ProducerState { touched_ms: i64::MAX, ..ProducerState::new(PID, 0) };
    table.load(state, 1_000);
    assert_eq!(table.expire(2_000, 1_000), 1);
}

proptest! {
    /// A producer sends batches of 1-4 records with up to five in flight; the network repeats, reorders and drops.
    /// Whatever arrives, each sequence stands at one offset and offsets follow sequences (I2, I3).
    #[test]
    fn each_sequence_is_appended_once_and_in_order(
        start in prop_oneof![Just(0), (i32::MAX - 40)..=i32::MAX],
        counts in proptest::collection::vec(1..5_usize, 1..30),
        arrivals in proptest::collection::vec(0..5_usize, 0..200),
    ) {
        let mut sends = Vec::new();
        let mut sequence = start;
        for count in counts {
            sends.push((sequence, count));
            sequence = add_sequence(sequence, count as i32);
        }
        let mut table = ProducerTable::new();
        let (mut end, mut acked) = (0_i64, Vec::<i64>::new());
        for arrival in arrivals {
            // Within the window around the first unacked batch: four behind it, the batch itself, or one ahead.
            // The first batch of an unknown producer may be any, so it is always the first one here.
            let at = if acked.is_empty() { 0 } else { (acked.len() + 1).saturating_sub(arrival) };
            let Some((sequence, count)) = sends.get(at) else { continue };
            let sent = batch(0, *sequence, *count, end);
            match table.check(&sent, Origin::Client) {
                Ok(Verdict::Append) => {
                    prop_assert_eq!(at, acked.len(), "only the next batch may be appended");
                    acked.push(end);
                    table.apply(&sent, 0);
                    end += *count as i64;
                }
                Ok(Verdict::Duplicate { base_offset, .. }) => prop_assert_eq!(acked[at], base_offset.0),
                Err(SequenceError::OutOfOrder { .. }) => prop_assert!(at > acked.len()),
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
