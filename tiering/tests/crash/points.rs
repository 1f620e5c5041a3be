//! Runs the script once to count its operations, then once for each of them and stops there.
//! Invariant: after any stop the log opens, follows the model, goes on, and opens a second time the same.

use crate::model::{Batch, Doing, Model};
use crate::rig::{Died, Process, StillClock, name, root};
use crate::script::{SCRIPT, Step};
use crate::twin::dice::Dice;
use crate::twin::disk::{Call, Fate, Kind, Nature, TwinDisk};
use firnline_tiering::batch::header::set_base_offset;
use firnline_tiering::hot::file::Files;
use firnline_tiering::offsets::Offset;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Power losses per point, each keeping another part of what was not synced.
const LOSSES: u64 = 6;

/// Lets so many operations happen, then decides.
#[derive(Debug)]
struct StopAt {
    at: usize,
    seen: AtomicUsize,
    fate: fn(&Call<'_>, usize) -> Fate,
    label: Mutex<String>,
}

impl StopAt {
    fn new(at: usize, fate: fn(&Call<'_>, usize) -> Fate) -> Arc<Self> {
        Arc::new(Self { at, seen: AtomicUsize::new(0), fate, label: Mutex::default() })
    }
}

impl Nature for StopAt {
    fn decide(&self, call: &Call<'_>) -> Fate {
        if !call.verb.changes() {
            return Fate::Happens;
        }
        let seen = self.seen.fetch_add(1, Ordering::SeqCst);
        if seen != self.at {
            return Fate::Happens;
        }
        *self.label.lock().expect("one thread") = format!("{:?} {}", call.verb, call.path.display());
        (self.fate)(call, seen)
    }
}

fn dies(call: &Call<'_>, seen: usize) -> Fate {
    Fate::Dies(Dice::new(seen as u64).below(call.bytes + 1))
}

fn fails(call: &Call<'_>, seen: usize) -> Fate {
    Fate::Fails(ErrorKind::Other, Dice::new(seen as u64).below(call.bytes + 1))
}

fn is_full(call: &Call<'_>, seen: usize) -> Fate {
    use crate::twin::disk::Verb::{Create, CreateDir, Write};
    match call.verb {
        Create | CreateDir | Write => {
            Fate::Fails(ErrorKind::StorageFull, Dice::new(seen as u64).below(call.bytes + 1))
        }
        _ => Fate::Happens,
    }
}

/// A disk with an empty, durable root directory.
fn blank() -> TwinDisk {
    let disk = TwinDisk::new(Arc::new(Kind));
    disk.create_dir_all(root()).expect("a root");
    disk.sync_dir(Path::new("/")).expect("a durable root");
    disk
}

fn clock() -> Arc<StillClock> {
    Arc::new(StillClock(AtomicI64::new(1_700_000_000_000)))
}

/// Runs the script until it ends or the disk ends it.
fn run(disk: &TwinDisk, clock: &Arc<StillClock>) -> (Model, Option<Died>) {
    let mut model = Model::default();
    let outcome = Process::start(disk, clock)
        .and_then(|mut process| SCRIPT.iter().try_for_each(|step| process.step(*step, &mut model)));
    (model, outcome.err())
}

fn operations() -> usize {
    let counter = StopAt::new(usize::MAX, dies);
    let disk = blank();
    let (model, died) = run(&disk.with(counter.clone()), &clock());
    assert!(died.is_none(), "the script ends: {died:?}");
    assert!(model.history.len() > 40, "the script does something");
    counter.seen.load(Ordering::SeqCst)
}

/// Everything a reader can tell of a log.
fn looks(process: &Process) -> (Vec<Batch>, String, String) {
    let offsets = process.log.offsets();
    let producers = process.log.producers();
    let told: Vec<_> = producers.iter().map(|p| (p.producer_id, p.batches().to_vec())).collect();
    let start = format!("{:?} {:?} {told:?}", offsets.log_start, offsets.end);
    (process.read_all(), process.log.lineage().to_checkpoint(), start)
}

/// Whose log it is was durable before anything in it was acknowledged.
fn knows_its_topic(disk: &TwinDisk, model: &Model) {
    let path = root().join(name().to_string()).join("partition.metadata");
    if !model.history.is_empty() {
        let lies = disk.files().get(&path).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(lies.as_deref(), Some("version: 0\ntopic_id: x"), "partition.metadata");
    }
}

/// Opens what is left and holds it to the model.
fn check(disk: &TwinDisk, clock: &Arc<StillClock>, model: &Model, power: bool) {
    disk.revive();
    knows_its_topic(disk, model);
    let process =
        Process::start(disk, clock).unwrap_or_else(|Died(why)| panic!("the log does not open: {why}"));
    let offsets = process.log.offsets();
    let (least, most) = (model.log_start, model.log_start_most());
    assert!(
        (least..=most).contains(&offsets.log_start),
        "I7: log start {} of {least}..={most}",
        offsets.log_start
    );
    let floor = model.floor(power);
    assert!(offsets.end >= floor, "I20: the log ends at {} below {floor}", offsets.end);
    let found = process.read_all();
    let prefix = model.follow(&found, offsets.log_start, offsets.end);
    assert_eq!(process.log.lineage().to_checkpoint(), Model::lineage(&prefix, offsets.log_start), "lineage");
    no_leftovers(disk, &found, offsets.log_start);
    knows_its_producers(&process, &prefix, model);
    let before = looks(&process);
    disk.kill();
    disk.revive();
    let again = Process::start(disk, clock).unwrap_or_else(|Died(why)| panic!("not a second time: {why}"));
    assert_eq!(looks(&again), before, "the second opening");
    assert_eq!(again.recovered.bytes_cut, 0, "the second opening has nothing to cut");
    goes_on(disk, clock, again, model, prefix);
}

/// What recovery leaves is a log's files and nothing else.
fn no_leftovers(disk: &TwinDisk, found: &[Batch], log_start: Offset) {
    let dir = root().join(name().to_string());
    for file in disk.list(&dir).expect("a directory") {
        let known = firnline_tiering::hot::dir::parse_file_name(&file).is_some()
            || file == "leader-epoch-checkpoint"
            || file == "tip-note"
            || file == "partition.metadata";
        assert!(known, "{file} is left over ({} batches, log start {log_start})", found.len());
    }
}

/// I2: a retry of the newest batch of each producer is told where it stands.
fn knows_its_producers(process: &Process, prefix: &[Batch], model: &Model) {
    let expected = Model::producers(prefix);
    let table = process.log.producers();
    for (id, sequence) in &expected {
        let known =
            table.get(*id).and_then(|producer| producer.last_batch()).map(|batch| batch.last_sequence);
        assert_eq!(known, Some(*sequence), "I2: producer {id}");
        let newest = prefix.iter().rfind(|batch| batch.producer.is_some_and(|(of, _)| of == *id));
        let newest = newest.expect("its batch");
        let mut retry = newest.bytes.clone();
        set_base_offset(&mut retry, Offset::ZERO);
        let again = process.put(&mut retry, model).expect("a retry is answered");
        assert_eq!((again.duplicate, again.base_offset), (true, newest.base), "I2: producer {id}");
    }
    assert_eq!(table.len(), expected.len(), "I2: nobody else is known");
}

/// New batches follow, and once flushed they survive the next loss.
fn goes_on(
    disk: &TwinDisk,
    clock: &Arc<StillClock>,
    mut process: Process,
    model: &Model,
    prefix: Vec<Batch>,
) {
    let mut model = Model {
        history: prefix,
        doing: Doing::Nothing,
        log_start: process.log.offsets().log_start,
        ..model.clone()
    };
    model.epoch.0 += 1;
    for step in [Step::Append(3), Step::Flush] {
        process.step(step, &mut model).unwrap_or_else(|Died(why)| panic!("it does not go on: {why}"));
    }
    let before = looks(&process);
    disk.lose_power(model.end().0 as u64);
    disk.revive();
    let again = Process::start(disk, clock).unwrap_or_else(|Died(why)| panic!("not after a loss: {why}"));
    assert_eq!(looks(&again), before, "I20: what was flushed after recovery");
}

/// The power goes again, soon after recovery: what it cut must not come back beside what was appended since.
fn goes_on_in_the_dark(disk: &TwinDisk, clock: &Arc<StillClock>, model: &Model, seed: u64) {
    disk.revive();
    knows_its_topic(disk, model);
    let mut process =
        Process::start(disk, clock).unwrap_or_else(|Died(why)| panic!("not for the dark: {why}"));
    let offsets = process.log.offsets();
    let found = process.read_all();
    let prefix = model.follow(&found, offsets.log_start, offsets.end);
    let mut model =
        Model { history: prefix, doing: Doing::Nothing, log_start: offsets.log_start, ..model.clone() };
    model.durable = model.durable.min(offsets.end);
    model.epoch.0 += 1;
    process.step(Step::Append(14), &mut model).unwrap_or_else(|Died(why)| panic!("it does not go on: {why}"));
    disk.lose_power(seed);
    disk.revive();
    let again =
        Process::start(disk, clock).unwrap_or_else(|Died(why)| panic!("not after a second loss: {why}"));
    let offsets = again.log.offsets();
    assert!(offsets.end >= model.durable, "I20: a second loss leaves {} of {}", offsets.end, model.durable);
    model.follow(&again.read_all(), offsets.log_start, offsets.end);
}

/// Stops at operation `at`, then takes `loss` on top if there is one.
fn stop(at: usize, fate: fn(&Call<'_>, usize) -> Fate, loss: Option<u64>) -> Option<String> {
    let nature = StopAt::new(at, fate);
    let (disk, clock) = (blank(), clock());
    let (model, died) = run(&disk.with(nature.clone()), &clock);
    let label = nature.label.lock().expect("one thread").clone();
    match loss {
        Some(seed) => disk.lose_power(seed),
        None => disk.kill(),
    }
    let case = format!("operation {at} ({label}), loss {loss:?}, {:?}, after {died:?}", model.doing);
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match loss {
        Some(seed) if seed % 3 == 0 => goes_on_in_the_dark(&disk, &clock, &model, seed + 1),
        _ => check(&disk, &clock, &model, loss.is_some()),
    }));
    let why = checked.err()?;
    let text = why.downcast_ref::<String>().cloned().or(why.downcast_ref::<&str>().map(|t| (*t).to_owned()));
    Some(format!("{case}: {}", text.unwrap_or_default()))
}

fn report(what: &str, tried: usize, failed: &[String]) {
    println!("{what}: {tried} crash points, {} failed", failed.len());
    let mut kinds = BTreeSet::new();
    for failure in failed {
        let short: String = failure.split(": ").skip(1).collect::<Vec<_>>().join(": ");
        if kinds.insert(short.chars().take(40).collect::<String>()) {
            println!("  {failure}");
        }
    }
    assert!(failed.is_empty(), "{what}: {} of {tried} crash points failed", failed.len());
}

#[test]
fn a_process_may_die_at_every_operation() {
    let all = operations();
    let failed: Vec<String> = (0..all).filter_map(|at| stop(at, dies, None)).collect();
    report("process crash", all, &failed);
}

#[test]
fn the_power_may_go_at_every_operation() {
    let all = operations();
    let points = (0..=all).flat_map(|at| (0..LOSSES).map(move |loss| (at, loss)));
    let failed: Vec<String> =
        points.filter_map(|(at, loss)| stop(at, dies, Some(at as u64 * LOSSES + loss))).collect();
    report("power loss", (all + 1) * LOSSES as usize, &failed);
}

#[test]
fn every_operation_may_fail() {
    let all = operations();
    let failed: Vec<String> =
        (0..all).flat_map(|at| [stop(at, fails, None), stop(at, is_full, None)]).flatten().collect();
    report("EIO and ENOSPC", all * 2, &failed);
}
