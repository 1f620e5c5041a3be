//! Transactions in a log against a model of them: open ones, the last stable offset, the aborted ones that a reader has
//! to leave out, through rolls, crashes, clean stops and cuts. And a log that was cut against one that was never longer.
#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "a test says what it expects")]

mod support;

use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::control::{Outcome, end_transaction};
use firnline_tiering::batch::validate::Origin;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::file::{Files, OsFiles};
use firnline_tiering::hot::transactions::{AbortedTransaction, decode};
use firnline_tiering::log::append::AppendAs;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;
use firnline_tiering::producer::state::ProducerState;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::Home;

/// Producers 0 to 3 write transactions, 4 and 5 do not.
const TRANSACTIONAL: i64 = 4;

#[derive(Debug, Clone)]
enum Op {
    Write { producer: i64, records: usize, age: i64 },
    End { producer: i64, outcome: Outcome },
    NewEpoch,
    Roll,
    Maintain,
    Replicate(f64),
    Truncate(f64),
    Reopen { clean: bool },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let outcome = prop_oneof![1 => Just(Outcome::Commit), 3 => Just(Outcome::Abort)];
    let op = prop_oneof![
        12 => (0..6_i64, 1..5_usize, -40..40_i64)
            .prop_map(|(producer, records, age)| Op::Write { producer, records, age }),
        6 => (0..TRANSACTIONAL, outcome).prop_map(|(producer, outcome)| Op::End { producer, outcome }),
        1 => Just(Op::NewEpoch),
        2 => Just(Op::Roll),
        2 => Just(Op::Maintain),
        3 => (0.0..1.0).prop_map(Op::Replicate),
        1 => (0.3..1.0).prop_map(Op::Truncate),
        1 => any::<bool>().prop_map(|clean| Op::Reopen { clean }),
    ];
    prop::collection::vec(op, 1..60)
}

/// One batch that stands in the log.
#[derive(Debug, Clone)]
struct Batch {
    base: Offset,
    next: Offset,
    producer: i64,
    marker: Option<Outcome>,
    bytes: Vec<u8>,
}

/// First offset, its marker if it has one, and whose it is.
type Transaction = (Offset, Option<(Offset, Outcome)>, i64);

#[derive(Debug, Default)]
struct Model {
    batches: Vec<Batch>,
    epoch: i32,
    high_watermark: Offset,
}

impl Model {
    fn end(&self) -> Offset {
        self.batches.last().map_or(Offset::ZERO, |batch| batch.next)
    }

    /// All of them, open ones last.
    fn transactions(&self) -> Vec<Transaction> {
        let (mut open, mut all) = (BTreeMap::new(), Vec::new());
        for batch in self.batches.iter().filter(|batch| batch.producer < TRANSACTIONAL) {
            match batch.marker {
                None => _ = open.entry(batch.producer).or_insert(batch.base),
                Some(outcome) => {
                    let first = open.remove(&batch.producer);
                    all.extend(first.map(|first| (first, Some((batch.base, outcome)), batch.producer)));
                }
            }
        }
        all.extend(open.into_iter().map(|(producer, first)| (first, None, producer)));
        all
    }

    fn first_undecided(&self) -> Option<Offset> {
        let all = self.transactions();
        all.iter().filter(|(_, marker, _)| marker.is_none()).map(|(first, _, _)| *first).min()
    }

    /// Nothing above the first record of a transaction whose marker lies at or above the high watermark.
    fn last_stable(&self) -> Offset {
        let all = self.transactions();
        let held = all
            .iter()
            .filter(|(_, marker, _)| marker.is_none_or(|(marker, _)| marker >= self.high_watermark));
        held.map(|(first, _, _)| *first).min().unwrap_or(Offset(i64::MAX)).min(self.high_watermark)
    }

    fn aborted(&self, from: Offset, to: Offset) -> Vec<AbortedTransaction> {
        let all = self.transactions();
        let mut aborted = Vec::new();
        for (first, marker, producer_id) in &all {
            let Some((last, Outcome::Abort)) = *marker else { continue };
            // Those that were open when the marker was written.
            let others = all
                .iter()
                .filter(|(begun, end, _)| *begun < last && end.is_none_or(|(ended, _)| ended > last));
            let last_stable = others.map(|(begun, _, _)| *begun).min().unwrap_or(last.next());
            let one = AbortedTransaction { producer_id: *producer_id, first: *first, last, last_stable };
            aborted.extend(Some(one).filter(|one| one.overlaps(from, to)));
        }
        aborted.sort_by_key(|one| one.first);
        aborted
    }
}

struct Pair {
    home: Home,
    log: Arc<Log>,
    model: Model,
}

fn open() -> (Home, Arc<Log>) {
    let mut home = Home::new();
    home.config.segment_bytes = 900;
    let log = home.open(true, Offset::ZERO, Offset::ZERO).0;
    (home, log)
}

impl Pair {
    fn new() -> Self {
        let (home, log) = open();
        Self { home, log, model: Model::default() }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { producer, records, age } => self.write(*producer, *records, *age),
            Op::End { producer, outcome } => self.end(*producer, *outcome),
            Op::NewEpoch => self.model.epoch += 1,
            Op::Roll => _ = self.log.roll().expect("rolls"),
            Op::Maintain => self.log.maintain().expect("maintains"),
            Op::Replicate(part) => {
                let on = (self.model.end() - self.model.high_watermark) as f64 * part;
                self.model.high_watermark = self.model.high_watermark + on as i64;
            }
            Op::Truncate(part) => self.truncate(*part),
            Op::Reopen { clean } => self.reopen(*clean),
        }
    }

    fn append(&mut self, mut bytes: Vec<u8>, producer: i64, marker: Option<Outcome>) {
        let how = AppendAs {
            leader_epoch: LeaderEpoch(self.model.epoch),
            now_ms: self.home.now(),
            origin: if marker.is_some() { Origin::Coordinator } else { Origin::Client },
            produce_version: 9,
        };
        let appended = self.log.append(&mut bytes, &how).expect("appends");
        assert_eq!(appended.base_offset, self.model.end());
        let (base, next) = (appended.base_offset, appended.last_offset.next());
        self.model.batches.push(Batch { base, next, producer, marker, bytes });
    }

    fn write(&mut self, producer: i64, records: usize, age: i64) {
        let now = self.home.tick();
        let last = self.log.producers().get(producer).and_then(|known| known.last_batch().copied());
        let sequence = last.map_or(0, |batch| batch.last_sequence + 1);
        let mut builder = BatchBuilder::new().producer(producer, 0, sequence);
        if producer < TRANSACTIONAL {
            builder = builder.transactional();
        }
        for at in 0..records {
            builder.push(now + age + at as i64, Some(b"k"), Some(&[7; 30]), &[]);
        }
        self.append(builder.build().to_vec(), producer, None);
    }

    fn end(&mut self, producer: i64, outcome: Outcome) {
        let marker = end_transaction(producer, 0, outcome, 1, self.home.tick()).to_vec();
        self.append(marker, producer, Some(outcome));
    }

    fn truncate(&mut self, part: f64) {
        let to = Offset((self.model.end().0 as f64 * part) as i64);
        self.log.truncate(to).expect("truncates");
        self.model.batches.retain(|batch| batch.next <= to);
        // The comparison asks as a reader does once everything is replicated.
        self.model.high_watermark = self.model.end();
        let (_home, never_longer) = self.never_longer();
        same(&self.log, &never_longer);
    }

    /// A log that copied the batches that are left, and nothing else ever.
    fn never_longer(&self) -> (Home, Arc<Log>) {
        let (home, log) = open();
        home.clock.0.store(self.home.now(), std::sync::atomic::Ordering::SeqCst);
        let how = AppendAs {
            leader_epoch: LeaderEpoch(0),
            now_ms: home.now(),
            origin: Origin::Follower,
            produce_version: 9,
        };
        for batch in &self.model.batches {
            log.append(&mut batch.bytes.clone(), &how).expect("copies");
        }
        (home, log)
    }

    fn reopen(&mut self, clean: bool) {
        let flushed = self.log.recovery_point();
        if clean {
            self.log.close().expect("closes");
        }
        self.log = self.home.open(clean, flushed, Offset::ZERO).0;
        self.model.high_watermark = self.model.end();
    }

    fn check(&self, probes: &[(f64, f64)]) {
        assert_eq!(self.log.first_undecided(), self.model.first_undecided());
        let last_stable = self.log.last_stable(self.model.high_watermark);
        assert_eq!(last_stable, self.model.last_stable(), "below {}", self.model.high_watermark);
        for (from, len) in probes {
            let from = Offset((last_stable.0 as f64 * from) as i64);
            let to = from + ((last_stable - from) as f64 * len) as i64;
            if from < to {
                assert_eq!(
                    self.log.aborted(from, to).expect("reads"),
                    self.model.aborted(from, to),
                    "{from} to {to}"
                );
            }
        }
    }
}

/// Everything that can be asked of a log that holds no bytes of its own.
fn same(cut: &Log, other: &Log) {
    assert_eq!(cut.offsets(), other.offsets());
    assert_eq!(cut.lineage(), other.lineage());
    assert_eq!(cut.first_undecided(), other.first_undecided());
    let states = |log: &Log| -> Vec<ProducerState> {
        let untouched = |state: &ProducerState| {
            let mut state = *state;
            state.touched_ms = 0;
            state
        };
        log.producers().iter().map(untouched).collect()
    };
    // A marker without a transaction leaves a producer behind whose batches may all be cut: both know it.
    assert_eq!(states(cut), states(other));
    let (start, end) = (Offset::ZERO, cut.offsets().end);
    let stable = cut.last_stable(end);
    assert_eq!(stable, other.last_stable(end));
    assert_eq!(cut.aborted(start, stable).expect("reads"), other.aborted(start, stable).expect("reads"));
    assert_eq!(cut.max_timestamp(end).expect("looks"), other.max_timestamp(end).expect("looks"));
    for epoch in -1..12 {
        assert_eq!(cut.end_of_epoch(LeaderEpoch(epoch)), other.end_of_epoch(LeaderEpoch(epoch)), "{epoch}");
    }
    for time in (1_700_000_000_000..1_700_000_000_900).step_by(30) {
        let found = |log: &Log| log.offset_for_time(time, end).expect("looks");
        assert_eq!(found(cut), found(other), "at {time}");
    }
}

/// What the index files of a closed log say, oldest segment first.
fn on_disk(home: &Home) -> Vec<AbortedTransaction> {
    let names = OsFiles.list(&home.path()).expect("lists");
    let indexes = names.iter().filter(|name| name.ends_with(".txnindex"));
    indexes
        .flat_map(|name| {
            let base = name.trim_end_matches(".txnindex").parse().expect("an offset");
            let bytes = OsFiles.read_all(&home.path().join(name), 1 << 20).expect("reads");
            assert!(!bytes.is_empty(), "{name} is empty");
            decode(&bytes, Offset(base)).expect("a whole index")
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn transactions_are_their_model(
        ops in ops(), probes in prop::collection::vec((0.0..1.0_f64, 0.0..=1.0_f64), 4),
    ) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op);
            pair.check(&probes);
        }
        pair.reopen(false);
        pair.check(&probes);
        let (other_home, other) = pair.never_longer();
        same(&pair.log, &other);
        pair.log.close().expect("closes");
        other.close().expect("closes");
        prop_assert_eq!(on_disk(&pair.home), on_disk(&other_home));
        pair.reopen(true);
        pair.check(&probes);
    }
}

#[test]
fn a_damaged_transaction_index_is_rebuilt() {
    let mut pair = Pair::new();
    for round in 0..12 {
        pair.write(round % TRANSACTIONAL, 3, 0);
        pair.end(round % TRANSACTIONAL, Outcome::Abort);
    }
    pair.model.high_watermark = pair.model.end();
    pair.log.close().expect("closes");
    let expected = on_disk(&pair.home);
    assert_eq!(expected.len(), 12);
    let names = OsFiles.list(&pair.home.path()).expect("lists");
    for name in names.iter().filter(|name| name.ends_with(".txnindex")) {
        for damage in [&[0; 33][..], &[9; 68]] {
            std::fs::write(pair.home.path().join(name), damage).expect("writes");
            pair.log = pair.home.open(true, Offset::ZERO, Offset::ZERO).0;
            pair.check(&[(0.0, 1.0)]);
            pair.log.close().expect("closes");
            assert_eq!(on_disk(&pair.home), expected, "after damage to {name}");
        }
    }
}
