//! A cleaning stopped at every operation on the disk: the process dies in it (a write torn anywhere), or the power
//! goes and takes any part of what was never synced. Invariants under test: after opening again every record is one
//! that was sent, last values are the same, nothing that a reader saw gone comes back (I5), no file is left over, and
//! the cleaning can be done again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::header::{BatchHeader, HEADER_BYTES, batches};
use firnline_tiering::batch::record::RecordReader;
use firnline_tiering::compact::clean::{CleanerMemory, Cleaning, Step};
use firnline_tiering::config::LogConfig;
use firnline_tiering::hot::dir::parse_file_name;
use firnline_tiering::hot::file::Files;
use firnline_tiering::log::read::Read;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;

use crate::support::twin::dice::Dice;
use crate::support::twin::disk::{Call, Fate, Kind, Nature, TwinDisk};
use crate::support::{Home, bytes_of};

const MEMORY: CleanerMemory = CleanerMemory { dedupe_bytes: 1 << 16, load_factor: 0.9, io_bytes: 600 };
/// Power losses per operation, each keeping another part of what was not synced.
const LOSSES: u64 = 5;
const KEYS: u8 = 7;

/// Lets so many operations happen once it is armed, then decides.
#[derive(Debug)]
struct StopAt {
    at: usize,
    /// Below 0 while nothing counts.
    seen: AtomicI64,
    fate: fn(&Call<'_>, usize) -> Fate,
}

impl StopAt {
    fn new(at: usize, fate: fn(&Call<'_>, usize) -> Fate) -> Arc<Self> {
        Arc::new(Self { at, seen: AtomicI64::new(i64::MIN), fate })
    }

    fn arm(&self) {
        self.seen.store(0, Ordering::SeqCst);
    }
}

impl Nature for StopAt {
    fn decide(&self, call: &Call<'_>) -> Fate {
        if !call.verb.changes() || self.seen.load(Ordering::SeqCst) < 0 {
            return Fate::Happens;
        }
        let seen = self.seen.fetch_add(1, Ordering::SeqCst) as usize;
        if seen == self.at { (self.fate)(call, seen) } else { Fate::Happens }
    }
}

fn dies(call: &Call<'_>, seen: usize) -> Fate {
    Fate::Dies(Dice::new(seen as u64).below(call.bytes + 1))
}

fn fails(call: &Call<'_>, seen: usize) -> Fate {
    Fate::Fails(ErrorKind::Other, Dice::new(seen as u64).below(call.bytes + 1))
}

/// Offset → (key, value).
type Sent = BTreeMap<i64, (u8, Option<u8>)>;

struct Life {
    home: Home,
    disk: TwinDisk,
    log: Arc<Log>,
    sent: Sent,
    /// What a reader may have seen last.
    visible: BTreeSet<i64>,
    recovery_point: Offset,
}

fn life(nature: &Arc<StopAt>) -> Life {
    let config = LogConfig {
        compact: true,
        delete: false,
        segment_bytes: 700,
        index_interval_bytes: 100,
        min_cleanable_ppm: 0,
        delete_retention_ms: 0,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    };
    let disk = TwinDisk::new(Arc::new(Kind));
    let home = Home::with(Arc::new(disk.with(nature.clone())), config);
    disk.create_dir_all(&home.path()).expect("a directory");
    for dir in home.path().ancestors().skip(1) {
        disk.sync_dir(dir).expect("a durable directory");
    }
    let (log, _) = home.open(true, Offset::ZERO, Offset::ZERO);
    let (sent, visible) = Default::default();
    Life { home, disk, log, sent, visible, recovery_point: Offset::ZERO }
}

impl Life {
    /// Some more batches, sealed and durable.
    fn fill(&mut self, count: u8) {
        for at in 0..count {
            let (key, value) = (at * 3 % KEYS, (at % 5 != 0).then_some(at));
            let mut builder = BatchBuilder::new();
            builder.push(
                self.home.tick(),
                Some(&[key]),
                value.map(|byte| [byte; 50]).as_ref().map(|v| &v[..]),
                &[],
            );
            let mut batch = builder.build().to_vec();
            let appended = self.home.append(&self.log, &mut batch, 1).expect("appends");
            self.sent.insert(appended.base_offset.0, (key, value));
        }
        self.log.roll().expect("rolls");
        self.log.maintain().expect("maintains");
        self.recovery_point = self.log.recovery_point();
        self.visible = self.there(&self.log);
    }

    /// False if the disk ended it.
    fn clean(&mut self) -> bool {
        let end = self.log.offsets().end;
        let Ok(begun) = Cleaning::begin(&self.log, end, end, self.home.tick(), MEMORY) else { return false };
        let Some(mut cleaning) = begun else { return true };
        loop {
            match cleaning.step() {
                Ok(Step::More(_)) => self.visible = self.there(&self.log),
                Ok(Step::Done(_)) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Offsets of all records, each as it was sent.
    fn there(&self, log: &Log) -> BTreeSet<i64> {
        let offsets = log.offsets();
        let (mut at, mut found) = (offsets.log_start, BTreeSet::new());
        while at < offsets.end {
            let Read::Hot(slice) = log.read(at, 1 << 20, offsets.end, true).expect("reads") else {
                panic!("nothing at {at} of {offsets:?}")
            };
            for batch in batches(&bytes_of(&slice)) {
                let (header, batch) = batch.expect("whole batches");
                header.check_crc(batch).expect("undamaged");
                at = header.next_offset();
                found.extend(self.compare(&header, batch));
            }
        }
        found
    }

    fn compare(&self, header: &BatchHeader, batch: &[u8]) -> Vec<i64> {
        let records = RecordReader::new(&batch[HEADER_BYTES..]).map(|record| record.expect("a record"));
        let compared = records.map(|record| {
            let offset = header.base_offset.0 + i64::from(record.offset_delta);
            let (key, value) = self.sent[&offset];
            let value = value.map(|byte| [byte; 50]);
            assert_eq!((record.key, record.value), (Some(&[key][..]), value.as_ref().map(|v| &v[..])));
            offset
        });
        compared.collect()
    }

    fn last_values(&self, offsets: impl Iterator<Item = i64>) -> BTreeMap<u8, u8> {
        let mut values = BTreeMap::new();
        for (key, value) in offsets.map(|offset| self.sent[&offset]) {
            match value {
                Some(value) => values.insert(key, value),
                None => values.remove(&key),
            };
        }
        values
    }

    fn no_leftovers(&self) {
        for name in self.disk.list(&self.home.path()).expect("lists") {
            let known = parse_file_name(&name).is_some() || name == "leader-epoch-checkpoint";
            assert!(known, "{name} is left over");
        }
    }

    /// Opens what is left and holds it to what was sent and seen.
    fn check(&mut self, power: bool) {
        self.disk.revive();
        self.home.files = Arc::new(self.disk.clone());
        let whole = self.last_values(self.sent.keys().copied());
        let (log, recovered) = self.home.open(false, self.recovery_point, Offset::ZERO);
        assert_eq!(recovered.bytes_cut, 0);
        assert!(power || recovered.indexes_rebuilt == 0, "{} indexes were lost", recovered.indexes_rebuilt);
        assert_eq!(log.offsets().end.0, self.sent.len() as i64);
        let there = self.there(&log);
        let back: Vec<&i64> = there.difference(&self.visible).collect();
        assert!(back.is_empty(), "I5: {back:?} came back");
        assert_eq!(self.last_values(there.iter().copied()), whole);
        self.no_leftovers();
        drop(log);
        let (log, _) = self.home.open(false, self.recovery_point, Offset::ZERO);
        assert_eq!(self.there(&log), there, "the second opening");
        self.log = log;
        self.log.maintain().expect("maintains");
        assert!(self.clean(), "the cleaning is done again");
        assert_eq!(self.last_values(self.visible.iter().copied()), whole);
        assert!(self.visible.len() <= usize::from(KEYS), "{:?}", self.visible);
        self.log.close().expect("closes");
    }
}

/// Two cleanings, the second over what the first left and new segments.
fn run(nature: &Arc<StopAt>) -> (Life, bool) {
    let mut life = life(nature);
    life.fill(30);
    nature.arm();
    let first = life.clean();
    if !first {
        return (life, false);
    }
    nature.seen.fetch_add(i64::MIN / 2, Ordering::SeqCst);
    life.fill(30);
    nature.seen.fetch_sub(i64::MIN / 2, Ordering::SeqCst);
    let second = life.clean();
    (life, second)
}

fn operations() -> usize {
    let nature = StopAt::new(usize::MAX, dies);
    let (life, whole) = run(&nature);
    assert!(whole && life.visible.len() < 15, "{:?}", life.visible);
    nature.seen.load(Ordering::SeqCst) as usize
}

/// Stops at operation `at` and answers why what is left is wrong, if it is.
fn stop(at: usize, fate: fn(&Call<'_>, usize) -> Fate, loss: Option<u64>) -> Option<String> {
    let (mut life, whole) = run(&StopAt::new(at, fate));
    match loss {
        Some(seed) => life.disk.lose_power(seed),
        None => life.disk.kill(),
    }
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.check(loss.is_some())));
    let why = checked.err()?;
    let text = why.downcast_ref::<String>().cloned().or(why.downcast_ref::<&str>().map(|t| (*t).to_owned()));
    Some(format!("operation {at}, loss {loss:?}, whole {whole}: {}", text.unwrap_or_default()))
}

fn report(what: &str, tried: usize, failed: &[String]) {
    println!("{what}: {tried} stops of a cleaning, {} failed", failed.len());
    assert!(failed.is_empty(), "{what}: {} of {tried} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn the_process_may_die_at_every_operation_of_a_cleaning() {
    let all = operations();
    assert!(all > 60, "only {all} operations");
    let failed: Vec<String> = (0..all).filter_map(|at| stop(at, dies, None)).collect();
    report("process crash", all, &failed);
}

#[test]
fn the_power_may_go_at_every_operation_of_a_cleaning() {
    let all = operations();
    let stops = (0..all).flat_map(|at| (0..LOSSES).map(move |seed| (at, seed)));
    let failed: Vec<String> =
        stops.filter_map(|(at, seed)| stop(at, dies, Some(seed + 100 * at as u64))).collect();
    report("power loss", all * LOSSES as usize, &failed);
}

#[test]
fn every_operation_of_a_cleaning_may_fail() {
    let all = operations();
    let failed: Vec<String> = (0..all).filter_map(|at| stop(at, fails, None)).collect();
    report("I/O error", all, &failed);
}
