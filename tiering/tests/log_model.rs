//! A log against a model of it: random appends, rolls, cuts and reopens, with everything readable compared each
//! time. Files are real ones in a temporary directory. Not the crash tests (`log_crash.rs`).
#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "a test says what it expects")]

mod support;

use firnline_tiering::batch::header::Codec;
use firnline_tiering::log::append::Appended;
use firnline_tiering::log::read::{Read, ReadError};
use firnline_tiering::log::time::TimeAnswer;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;
use proptest::prelude::*;
use std::sync::Arc;
use support::{Home, Stored, bytes_of};

#[derive(Debug, Clone)]
enum Op {
    Append { records: usize, value: usize, age: i64, codec: Codec, producer: Option<i64> },
    NewEpoch,
    Roll,
    Maintain,
    Truncate(f64),
    AdvanceStart(f64),
    Reopen { clean: bool },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let codec = prop_oneof![Just(Codec::None), Just(Codec::Lz4), Just(Codec::Zstd)];
    let producer = prop_oneof![Just(None), (0..3_i64).prop_map(Some)];
    let append = (1..6_usize, 0..300_usize, -50..50_i64, codec, producer);
    let op = prop_oneof![
        12 => append.prop_map(|(records, value, age, codec, producer)| Op::Append { records, value, age, codec, producer }),
        1 => Just(Op::NewEpoch),
        1 => Just(Op::Roll),
        1 => Just(Op::Maintain),
        1 => (0.0..1.0).prop_map(Op::Truncate),
        1 => (0.0..0.4).prop_map(Op::AdvanceStart),
        1 => any::<bool>().prop_map(|clean| Op::Reopen { clean }),
    ];
    prop::collection::vec(op, 1..60)
}

#[derive(Default)]
struct Model {
    batches: Vec<Stored>,
    start: Offset,
    end: Offset,
    epoch: i32,
    sequences: [i32; 3],
}

impl Model {
    fn at(&self, part: f64) -> Offset {
        Offset(self.start.0 + ((self.end - self.start) as f64 * part) as i64)
    }

    fn truncate(&mut self, to: Offset) {
        let cut = self.batches.iter().find(|batch| batch.next > to).map_or(to, |batch| batch.base);
        self.batches.retain(|batch| batch.next <= to);
        self.end = self.end.min(cut.max(self.start));
    }
}

struct Pair {
    home: Home,
    log: Arc<Log>,
    model: Model,
}

impl Pair {
    fn new() -> Self {
        let home = Home::new();
        let log = home.open(true, Offset::ZERO, Offset::ZERO).0;
        Self { home, log, model: Model::default() }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append { records, value, age, codec, producer } => {
                self.append(*records, *value, *age, *codec, *producer)
            }
            Op::NewEpoch => self.model.epoch += 1,
            Op::Roll => {
                self.log.roll().expect("rolls");
            }
            Op::Maintain => self.log.maintain().expect("maintains"),
            Op::Truncate(part) => self.truncate(self.model.at(*part)),
            Op::AdvanceStart(part) => {
                let to = self.model.at(*part);
                self.log.advance_log_start(to).expect("advances");
                self.model.start = to;
            }
            Op::Reopen { clean } => self.reopen(*clean),
        }
    }

    fn append(&mut self, records: usize, value: usize, age: i64, codec: Codec, producer: Option<i64>) {
        let now = self.home.tick();
        let sequence = producer.map(|id| (id, self.model.sequences[id as usize]));
        let mut batch = support::batch(records, value, now + age, codec, sequence);
        let sent = batch.clone();
        let appended = self.home.append(&self.log, &mut batch, self.model.epoch).expect("appends");
        let next = appended.last_offset.next();
        assert_eq!(appended.base_offset, self.model.end, "offsets go on where the log ended");
        assert_eq!(next - appended.base_offset, records as i64);
        if let Some((id, sequence)) = sequence {
            // The same batch again is the same batch.
            let mut again = sent;
            let retry = self.home.append(&self.log, &mut again, self.model.epoch).expect("retries");
            assert_eq!(retry, Appended { duplicate: true, ..appended });
            self.model.sequences[id as usize] = sequence + records as i32;
        }
        let timestamps = (0..records as i64).map(|at| now + age + at).collect();
        self.model.batches.push(Stored { base: appended.base_offset, next, bytes: batch, timestamps });
        self.model.end = next;
    }

    fn truncate(&mut self, to: Offset) {
        self.log.truncate(to).expect("truncates");
        self.model.truncate(to);
        // Sequences go back with the records: ask the log what it knows, the window is compared elsewhere.
        let producers = self.log.producers();
        for id in 0..3 {
            let last = producers.get(id).and_then(|state| state.last_batch());
            self.model.sequences[id as usize] = last.map_or(0, |batch| batch.last_sequence + 1);
        }
    }

    fn reopen(&mut self, clean: bool) {
        let before = self.log.producers();
        let (lineage, flushed) = (self.log.lineage(), self.log.recovery_point());
        if clean {
            self.log.close().expect("closes");
        }
        self.log = self.home.open(clean, flushed, self.model.start).0;
        let after = self.log.producers();
        let windows = |table: &firnline_tiering::producer::ProducerTable| {
            table
                .iter()
                .map(|state| (state.producer_id, state.epoch, state.batches().to_vec()))
                .collect::<Vec<_>>()
        };
        assert_eq!(windows(&after), windows(&before), "the five-batch window survives");
        // Recovery also reads batches below the log start; a log cut down to its start forgot their epochs.
        if !lineage.is_empty() {
            assert_eq!(*self.log.lineage(), *lineage);
        }
    }

    fn check(&self, probe: f64, max: u64, bound: f64) {
        let offsets = self.log.offsets();
        assert_eq!((offsets.log_start, offsets.end), (self.model.start, self.model.end));
        self.check_all();
        self.check_read(self.model.at(probe), max, self.model.at(bound));
        self.check_read(self.model.at(probe), max, self.model.end);
        self.check_times();
        let below = self.log.read(self.model.start - 1, 1, self.model.end, true);
        assert!(matches!(below, Err(ReadError::OutOfRange { .. })), "{below:?}");
    }

    /// From start to end, slice by slice, the log is the model's bytes.
    fn check_all(&self) {
        let mut at = self.model.start;
        while at < self.model.end {
            let Read::Hot(slice) = self.log.read(at, 700, self.model.end, true).expect("reads") else {
                panic!("nothing at {at}, the end is {}", self.model.end);
            };
            let read = bytes_of(&slice);
            at = self.whole_batches(&read, at, slice.first);
        }
        assert!(matches!(self.log.read(at, 700, self.model.end, true), Ok(Read::Empty)));
    }

    /// `read` is whole batches of the model, the first holding `from`. Answers the offset after them.
    fn whole_batches(&self, read: &[u8], from: Offset, first: Offset) -> Offset {
        let start = self.model.batches.iter().position(|batch| batch.next > from).expect("a batch");
        assert_eq!(self.model.batches[start].base, first);
        let (mut rest, mut next) = (read, from);
        for batch in &self.model.batches[start..] {
            if rest.is_empty() {
                break;
            }
            assert!(rest.starts_with(&batch.bytes), "bytes of the batch at {} differ", batch.base);
            rest = &rest[batch.bytes.len()..];
            next = batch.next;
        }
        assert!(rest.is_empty(), "{} bytes after the last batch", rest.len());
        next
    }

    fn check_read(&self, from: Offset, max: u64, bound: Offset) {
        let first = self.model.batches.iter().find(|batch| batch.next > from);
        for min_one in [true, false] {
            match self.log.read(from, max, bound, min_one).expect("reads") {
                Read::Hot(slice) => {
                    let next = self.whole_batches(&bytes_of(&slice), from, slice.first);
                    assert!(next <= bound, "reached {next}, the bound is {bound}");
                    let alone = first.is_some_and(|first| min_one && slice.len == first.bytes.len() as u64);
                    assert!(slice.len <= max || alone, "{} bytes of {max}", slice.len);
                }
                Read::Empty => {
                    let hidden = first.is_none_or(|first| first.next > bound || from >= bound);
                    let large = first.is_some_and(|first| !min_one && first.bytes.len() as u64 > max);
                    assert!(hidden || large, "nothing at {from} below {bound} with {max} bytes");
                }
                Read::Cold => panic!("a local log has no cold part"),
            }
        }
    }

    fn check_times(&self) {
        let records: Vec<(Offset, i64)> = self
            .model
            .batches
            .iter()
            .flat_map(|batch| {
                batch.timestamps.iter().enumerate().map(|(at, ts)| (batch.base + at as i64, *ts))
            })
            .filter(|(offset, _)| *offset >= self.model.start)
            .collect();
        let answer = |found: Option<&(Offset, i64)>, got: TimeAnswer| match (found, got) {
            (None, TimeAnswer::NotFound) => {}
            (Some((at, ts)), TimeAnswer::Found { offset, timestamp_ms, .. }) => {
                assert_eq!((*at, *ts), (offset, timestamp_ms))
            }
            (expected, got) => panic!("expected {expected:?}, got {got:?}"),
        };
        let now = self.home.now();
        for wanted in [0, now - 400, now - 60, now - 30, now, now + 40, now + 1000] {
            let expected = records.iter().find(|(_, timestamp)| *timestamp >= wanted);
            answer(expected, self.log.offset_for_time(wanted, self.model.end).expect("looks"));
        }
        let largest = records.iter().map(|(_, timestamp)| *timestamp).max();
        let expected = records.iter().find(|(_, timestamp)| Some(*timestamp) == largest);
        answer(expected, self.log.max_timestamp(self.model.end).expect("looks"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_its_model(ops in ops(), probe in 0.0..1.0_f64, max in 0..3000_u64, bound in 0.0..1.0_f64) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op);
            pair.check(probe, max, bound);
        }
        pair.reopen(true);
        pair.check(probe, max, bound);
    }
}
