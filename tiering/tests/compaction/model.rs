//! A compacted log against a map of last values: random keys, tombstones, codecs, idempotent and transactional
//! producers, rolls, cleanings with little memory, cuts, reopenings, and time that moves on. After every step
//! everything readable is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::compress::decompress;
use firnline_tiering::batch::control::{Outcome, end_transaction};
use firnline_tiering::batch::header::{BatchHeader, Codec, HEADER_BYTES, batches};
use firnline_tiering::batch::record::RecordReader;
use firnline_tiering::compact::clean::{CleanError, CleanerMemory, Cleaning, Report};
use firnline_tiering::config::LogConfig;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::file::OsFiles;
use firnline_tiering::log::append::{AppendAs, Origin};
use firnline_tiering::log::read::Read;
use firnline_tiering::log::time::TimeAnswer;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;
use proptest::prelude::*;

use crate::support::{Home, bytes_of};

const DELETE_RETENTION: i64 = 100;

#[derive(Debug, Clone)]
enum Op {
    Append {
        records: Vec<(u8, Option<u8>)>,
        size: usize,
        codec: Codec,
        producer: Option<i64>,
    },
    /// Into the producer's open transaction, or a new one.
    InTransaction {
        producer: i64,
        records: Vec<(u8, Option<u8>)>,
        codec: Codec,
    },
    EndTransaction {
        producer: i64,
        commit: bool,
    },
    Roll,
    Maintain,
    Clean {
        slots: u64,
    },
    Time(i64),
    Truncate(f64),
    AdvanceStart(f64),
    Reopen {
        clean: bool,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let codec = || {
        prop_oneof![
            Just(Codec::None),
            Just(Codec::Gzip),
            Just(Codec::Snappy),
            Just(Codec::Lz4),
            Just(Codec::Zstd)
        ]
    };
    let records = || prop::collection::vec((0..12_u8, prop::option::weighted(0.8, any::<u8>())), 1..5);
    let producer = prop::option::of(0..3_i64);
    let append = (records(), 0..300_usize, codec(), producer);
    let inside = (10..13_i64, records(), codec());
    let op = prop_oneof![
        10 => append.prop_map(|(records, size, codec, producer)| Op::Append { records, size, codec, producer }),
        4 => inside.prop_map(|(producer, records, codec)| Op::InTransaction { producer, records, codec }),
        3 => (10..13_i64, any::<bool>()).prop_map(|(producer, commit)| Op::EndTransaction { producer, commit }),
        2 => Just(Op::Roll),
        2 => Just(Op::Maintain),
        4 => prop_oneof![Just(5_u64), Just(8), Just(1000)].prop_map(|slots| Op::Clean { slots }),
        2 => (1..80_i64).prop_map(Op::Time),
        1 => (0.0..1.0).prop_map(Op::Truncate),
        1 => (0.0..0.3).prop_map(Op::AdvanceStart),
        2 => any::<bool>().prop_map(|clean| Op::Reopen { clean }),
    ];
    prop::collection::vec(op, 1..80)
}

/// A record as it was sent; a marker has no key.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    key: Option<u8>,
    value: Option<Vec<u8>>,
    time: i64,
    /// Its transaction's number in [`Model::transactions`].
    transaction: Option<usize>,
    /// When the first cleaning went over it as the last of its key: what delete.retention.ms counts from.
    cleaned_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Open,
    Committed,
    Aborted,
}

#[derive(Default)]
struct Model {
    sent: BTreeMap<i64, Sent>,
    /// (fate, marker's offset).
    transactions: Vec<(Fate, i64)>,
    open: BTreeMap<i64, usize>,
    sequences: BTreeMap<i64, i32>,
    start: i64,
    end: i64,
    /// Offsets that were there when we looked last.
    there: BTreeSet<i64>,
    /// The high watermark of the last cleaning: a record may have gone in favour of any below it, so no cut, as no
    /// cut of a broker, ever goes there.
    committed: i64,
}

impl Model {
    fn fate(&self, sent: &Sent) -> Fate {
        sent.transaction.map_or(Fate::Committed, |number| self.transactions[number].0)
    }

    /// The last value of each key among `offsets`, as a read_committed reader sees it.
    fn last_values(&self, offsets: impl Iterator<Item = i64>) -> BTreeMap<u8, Vec<u8>> {
        let mut values = BTreeMap::new();
        for offset in offsets {
            let sent = &self.sent[&offset];
            let Some(key) = sent.key.filter(|_| self.fate(sent) == Fate::Committed) else { continue };
            match &sent.value {
                Some(value) => values.insert(key, value.clone()),
                None => values.remove(&key),
            };
        }
        values
    }
}

struct Pair {
    home: Home,
    log: Arc<Log>,
    model: Model,
    cleanings: usize,
}

fn home() -> Home {
    let config = LogConfig {
        compact: true,
        delete: false,
        segment_bytes: 1500,
        index_interval_bytes: 100,
        file_delete_delay_ms: 5,
        delete_retention_ms: DELETE_RETENTION,
        min_cleanable_ppm: 0,
        producer_expiration_ms: i64::MAX,
        ..LogConfig::default()
    };
    Home::with(Arc::new(OsFiles), config)
}

impl Pair {
    fn new() -> Self {
        let home = home();
        let log = home.open(true, Offset::ZERO, Offset::ZERO).0;
        Self { home, log, model: Model::default(), cleanings: 0 }
    }

    fn stable(&self) -> Offset {
        self.log.first_undecided().unwrap_or(self.log.offsets().end)
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append { records, size, codec, producer } => {
                let builder = BatchBuilder::new().codec(*codec);
                let builder = match producer {
                    Some(id) => builder.producer(*id, 0, self.sequence(*id, records.len())),
                    None => builder,
                };
                self.append(builder, records, *size, None);
            }
            Op::InTransaction { producer, records, codec } => {
                let sequence = self.sequence(*producer, records.len());
                let next = self.model.transactions.len();
                let number = *self.model.open.entry(*producer).or_insert(next);
                if number == next {
                    self.model.transactions.push((Fate::Open, -1));
                }
                let builder =
                    BatchBuilder::new().codec(*codec).producer(*producer, 0, sequence).transactional();
                self.append(builder, records, 20, Some(number));
            }
            Op::EndTransaction { producer, commit } => self.end_transaction(*producer, *commit),
            Op::Roll => drop(self.log.roll().expect("rolls")),
            Op::Maintain => self.log.maintain().expect("maintains"),
            Op::Clean { slots } => self.clean(*slots),
            Op::Time(ms) => drop(self.home.clock.0.fetch_add(*ms, Ordering::SeqCst)),
            Op::Truncate(part) => self.truncate(*part),
            Op::AdvanceStart(part) => {
                let stable = self.stable().0;
                let to = self.model.start + ((stable - self.model.start).max(0) as f64 * part) as i64;
                self.log.advance_log_start(Offset(to)).expect("moves");
                self.model.start = self.model.start.max(to);
            }
            Op::Reopen { clean } => self.reopen(*clean),
        }
    }

    fn sequence(&mut self, producer: i64, count: usize) -> i32 {
        let next = self.model.sequences.entry(producer).or_insert(0);
        let first = *next;
        *next += count as i32;
        first
    }

    fn append(
        &mut self,
        mut builder: BatchBuilder,
        records: &[(u8, Option<u8>)],
        size: usize,
        transaction: Option<usize>,
    ) {
        let now = self.home.tick();
        let values: Vec<Option<Vec<u8>>> =
            records.iter().map(|(_, value)| value.map(|byte| vec![byte; size + 1])).collect();
        for (at, ((key, _), value)) in records.iter().zip(&values).enumerate() {
            builder.push(now + at as i64, Some(&[*key]), value.as_deref(), &[]);
        }
        let mut batch = builder.build().to_vec();
        let appended = self.home.append(&self.log, &mut batch, 1).expect("appends");
        for (at, ((key, _), value)) in records.iter().zip(values).enumerate() {
            let sent = Sent { key: Some(*key), value, time: now + at as i64, transaction, cleaned_ms: None };
            self.model.sent.insert(appended.base_offset.0 + at as i64, sent);
        }
        self.model.end = appended.last_offset.0 + 1;
    }

    fn end_transaction(&mut self, producer: i64, commit: bool) {
        let Some(number) = self.model.open.remove(&producer) else { return };
        let now = self.home.tick();
        let outcome = if commit { Outcome::Commit } else { Outcome::Abort };
        let mut marker = end_transaction(producer, 0, outcome, 0, now).to_vec();
        let how = AppendAs {
            leader_epoch: LeaderEpoch(1),
            now_ms: now,
            origin: Origin::Coordinator,
            produce_version: 9,
        };
        let appended = self.log.append(&mut marker, &how).expect("appends");
        let fate = if commit { Fate::Committed } else { Fate::Aborted };
        self.model.transactions[number] = (fate, appended.base_offset.0);
        let sent = Sent { key: None, value: None, time: now, transaction: Some(number), cleaned_ms: None };
        self.model.sent.insert(appended.base_offset.0, sent);
        self.model.end = appended.last_offset.0 + 1;
    }

    fn clean(&mut self, slots: u64) {
        let memory = CleanerMemory { dedupe_bytes: slots * 24, load_factor: 0.9, io_bytes: 700 };
        let (now, end) = (self.home.now(), self.log.offsets().end);
        self.model.committed = end.0;
        let begun = Cleaning::begin(&self.log, self.stable(), end, now, memory).expect("begins");
        let Some(cleaning) = begun else { return };
        match cleaning.run() {
            Ok(report) => self.cleaned(&report, now),
            Err(CleanError::MapTooSmall { .. }) => assert!(slots < 10, "twelve keys fit"),
            Err(error) => panic!("{error}"),
        }
    }

    /// Below where it came, every key has one value at most and nothing aborted is left.
    fn cleaned(&mut self, report: &Report, now: i64) {
        self.cleanings += 1;
        assert!(report.whole && report.tally.lies == 0 && report.upto > report.from, "{report:?}");
        assert_eq!(self.log.clean_point(), Some(report.upto));
        let (present, _) = self.read_all();
        let below: Vec<i64> = present.into_iter().filter(|offset| *offset < report.upto.0).collect();
        let mut last: BTreeMap<u8, i64> = BTreeMap::new();
        for offset in &below {
            let sent = &self.model.sent[offset];
            if let Some(key) = sent.key {
                assert_ne!(self.model.fate(sent), Fate::Aborted, "{offset} was aborted and is still there");
                let before = last.insert(key, *offset);
                assert_eq!(before, None, "key {key} stands twice below {}", report.upto);
            }
        }
        for offset in last.values() {
            if let Some(sent) = self.model.sent.get_mut(offset) {
                sent.cleaned_ms.get_or_insert(now);
            }
        }
    }

    fn truncate(&mut self, part: f64) {
        let model = &mut self.model;
        let floor = model.start.max(model.committed);
        let to = floor + ((model.end - floor) as f64 * part) as i64;
        // Cutting transactions is replication's business; here it would need a model of the coordinator.
        if model.sent.range(to..).any(|(_, sent)| sent.transaction.is_some()) || !model.open.is_empty() {
            return;
        }
        if model.sent.range(to.saturating_sub(10)..).any(|(_, sent)| sent.transaction.is_some()) {
            return;
        }
        match self.log.truncate(Offset(to)) {
            Ok(()) => {}
            Err(_) => return,
        }
        let end = self.log.offsets().end.0;
        let model = &mut self.model;
        model.end = model.end.min(end.max(model.start));
        assert_eq!(end, model.end);
        model.sent.retain(|offset, _| *offset < end);
        model.there.retain(|offset| *offset < end);
        let producers = self.log.producers();
        for (id, next) in &mut model.sequences {
            let last = producers.get(*id).and_then(|state| state.last_batch());
            *next = last.map_or(0, |batch| batch.last_sequence + 1);
        }
        assert!(self.log.clean_point().is_none_or(|point| point.0 <= end));
    }

    fn reopen(&mut self, clean: bool) {
        if clean {
            self.log.close().expect("closes");
        }
        let (point, recovery, start) =
            (self.log.clean_point(), self.log.recovery_point(), self.log.offsets().log_start);
        let (log, recovered) = self.home.open(clean, recovery, start);
        assert_eq!(recovered.bytes_cut, 0);
        if let Some(point) = point {
            log.set_clean_point(point);
        }
        self.log = log;
    }

    /// Offsets of all records, and of markers, in order; everything is as it was sent.
    fn read_all(&self) -> (Vec<i64>, Vec<BatchHeader>) {
        let offsets = self.log.offsets();
        assert_eq!((offsets.log_start.0, offsets.end.0), (self.model.start, self.model.end));
        let (mut at, mut found, mut headers) = (offsets.log_start, Vec::new(), Vec::new());
        while at < offsets.end {
            let read = self.log.read(at, 400, offsets.end, true).expect("reads");
            let Read::Hot(slice) = read else { panic!("nothing at {at} of {offsets:?}") };
            let bytes = bytes_of(&slice);
            for batch in batches(&bytes) {
                let (header, batch) = batch.expect("whole batches");
                header.check_crc(batch).expect("undamaged");
                assert!(header.next_offset() > at, "{header:?} below {at}");
                at = header.next_offset();
                headers.push(header);
                let plain = decompress(header.codec().expect("a codec"), &batch[HEADER_BYTES..], 1 << 20);
                for record in RecordReader::new(&plain.expect("opens")) {
                    let record = record.expect("a record");
                    let offset = header.base_offset.0 + i64::from(record.offset_delta);
                    if offset >= self.model.start {
                        self.compare(offset, &header, &record);
                        found.push(offset);
                    }
                }
            }
        }
        assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
        (found, headers)
    }

    fn compare(
        &self,
        offset: i64,
        header: &BatchHeader,
        record: &firnline_tiering::batch::record::Record<'_>,
    ) {
        let sent = self.model.sent.get(&offset).unwrap_or_else(|| panic!("nobody sent {offset}"));
        assert_eq!(header.base_timestamp + record.timestamp_delta, sent.time, "time of {offset}");
        assert_eq!(header.is_control(), sent.key.is_none(), "{offset}");
        if let Some(key) = sent.key {
            assert_eq!((record.key, record.value), (Some(&[key][..]), sent.value.as_deref()), "{offset}");
        }
    }

    fn check(&mut self, probe: i64) {
        let (present, _) = self.read_all();
        let there: BTreeSet<i64> = present.iter().copied().collect();
        let (now, model) = (self.home.now(), &self.model);
        let whole = model.last_values(model.sent.range(model.start..).map(|(offset, _)| *offset));
        assert_eq!(model.last_values(present.iter().copied()), whole, "last values differ");
        for (offset, sent) in model.sent.range(model.start..) {
            let here = there.contains(offset);
            assert!(!here || model.there.contains(offset) || !self.seen(*offset), "{offset} came back");
            if here {
                // A reader needs the marker of every record it can see.
                let marker = sent.transaction.map_or(-1, |number| model.transactions[number].1);
                assert!(marker < 0 || there.contains(&marker), "{offset} has lost its marker {marker}");
            } else if sent.key.is_some() && sent.value.is_none() && model.fate(sent) == Fate::Committed {
                let outdated = model.sent.range(offset + 1..).any(|(_, later)| later.key == sent.key);
                let ripe = sent.cleaned_ms.is_some_and(|cleaned| now >= cleaned + DELETE_RETENTION);
                assert!(outdated || ripe, "the tombstone at {offset} went early: {sent:?} at {now}");
            }
            assert!(here || model.fate(sent) != Fate::Open, "{offset} is undecided and gone");
        }
        self.times(&present, probe);
        self.producers();
        self.model.there = there;
    }

    /// Offsets below the end at the last look.
    fn seen(&self, offset: i64) -> bool {
        self.model.there.last().is_some_and(|last| offset <= *last)
    }

    /// I19: the first record at or after a time.
    fn times(&self, present: &[i64], probe: i64) {
        let first = present.first().map_or(0, |offset| self.model.sent[offset].time);
        let (asked, end) = (first + probe, self.log.offsets().end);
        let answer = self.log.offset_for_time(asked, end).expect("answers");
        let expected = present.iter().find(|offset| self.model.sent[offset].time >= asked);
        match (answer, expected) {
            (TimeAnswer::Found { offset, timestamp_ms, .. }, Some(expected)) => {
                assert_eq!((offset.0, timestamp_ms), (*expected, self.model.sent[expected].time));
            }
            (TimeAnswer::NotFound, None) => {}
            other => panic!("asked for {asked}: {other:?}"),
        }
    }

    /// The next sequence of every producer is known, whatever of its records is gone.
    fn producers(&self) {
        let producers = self.log.producers();
        for (id, next) in &self.model.sequences {
            let last = producers.get(*id).and_then(|state| state.last_batch());
            let known = last.map_or(0, |batch| batch.last_sequence + 1);
            assert_eq!(known, *next, "producer {id}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_compacted_log_keeps_the_last_value_of_each_key(ops in ops(), probe in 0..500_i64) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op);
            pair.check(probe);
        }
    }
}

/// The same with a fixed, long mixture, so that one run is known to clean, drop tombstones and remove markers.
#[test]
fn a_long_life_of_rounds() {
    let mut pair = Pair::new();
    for round in 0..40_u8 {
        for at in 0..6_u8 {
            let key = (round.wrapping_mul(5) ^ at) % 12;
            let records = vec![(key, (at != 3).then_some(round)), ((key + 1) % 12, Some(at))];
            let codec =
                [Codec::None, Codec::Lz4, Codec::Zstd, Codec::Gzip, Codec::Snappy][usize::from(at) % 5];
            pair.apply(&Op::Append { records, size: 60, codec, producer: Some(i64::from(at % 3)) });
        }
        let producer = 10 + i64::from(round % 2);
        pair.apply(&Op::InTransaction {
            producer,
            records: vec![(1, Some(round)), (2, None)],
            codec: Codec::None,
        });
        pair.apply(&Op::EndTransaction { producer, commit: round % 3 != 0 });
        for op in [Op::Roll, Op::Maintain, Op::Clean { slots: 1000 }, Op::Time(30)] {
            pair.apply(&op);
            pair.check(i64::from(round) * 7);
        }
        if round % 8 == 7 {
            pair.apply(&Op::Reopen { clean: round % 16 == 7 });
            pair.check(0);
        }
    }
    assert_eq!(pair.cleanings, 40);
    let (present, headers) = pair.read_all();
    assert!(present.len() < 40, "twelve keys, and what waits: {present:?}");
    let markers = headers.iter().filter(|header| header.is_control() && header.record_count > 0).count();
    assert!(markers < 8, "{markers} of 40 markers are left");
    assert!(pair.log.segment_count() < 8, "segments were joined: {}", pair.log.segment_count());
}
