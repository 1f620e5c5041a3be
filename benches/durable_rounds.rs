//! One round of `firn.durability=disk` over 1, 100 and 1,000 dirty partitions, beside the least anybody could do:
//! raw fdatasync of as many files, one syncfs, and one fdatasync of one journal that holds the same bytes. Prints
//! ratios.
//! `FIRN_BENCH_DIR` names the disk; a memory file system would measure nothing.
#![allow(clippy::disallowed_methods, clippy::expect_used, reason = "a bench looks at a clock and at files")]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::clock::SystemClock;
use firnline_tiering::config::{LogConfig, LogId};
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::file::OsFiles;
use firnline_tiering::log::append::{AppendAs, Origin};
use firnline_tiering::log::open::OpenLog;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;

/// Rounds per figure; the median is printed.
const ROUNDS: usize = 9;
/// Bytes each partition got since its last round.
const BYTES: usize = 1024;

fn median(mut run: impl FnMut() -> Duration) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| run().as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// Does `work` for every item, shared out over so many threads, and answers how long that took.
fn timed<T: Sync>(items: &[T], threads: usize, work: impl Fn(&T) + Sync) -> Duration {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for lane in 0..threads {
            let work = &work;
            scope.spawn(move || items.iter().skip(lane).step_by(threads).for_each(work));
        }
    });
    began.elapsed()
}

fn raw(dir: &Path, count: usize, threads: usize) -> f64 {
    let open = |at: usize| File::create(dir.join(format!("raw-{at}"))).expect("a file");
    let files: Vec<File> = (0..count).map(open).collect();
    let mut at = 0;
    median(|| {
        files.iter().for_each(|file| file.write_all_at(&[7; BYTES], at).expect("a write"));
        at += BYTES as u64;
        timed(&files, threads, |file| file.sync_data().expect("a sync"))
    })
}

/// One syncfs of the whole file system, which flushes what anybody else left there too.
fn whole(dir: &Path, count: usize) -> f64 {
    let open = |at: usize| File::create(dir.join(format!("whole-{at}"))).expect("a file");
    let files: Vec<File> = (0..count).map(open).collect();
    let mut at = 0;
    median(|| {
        files.iter().for_each(|file| file.write_all_at(&[7; BYTES], at).expect("a write"));
        at += BYTES as u64;
        let began = Instant::now();
        rustix::fs::syncfs(&files[0]).expect("a sync");
        began.elapsed()
    })
}

fn journal(dir: &Path, count: usize) -> f64 {
    let mut file = File::create(dir.join("journal")).expect("a file");
    median(|| {
        let began = Instant::now();
        file.write_all(&vec![7; BYTES * count]).expect("a write");
        file.sync_data().expect("a sync");
        began.elapsed()
    })
}

fn open(dir: PathBuf) -> Arc<Log> {
    let (log, _) = Log::open(OpenLog {
        id: LogId::new("bench/0"),
        dir,
        config: LogConfig::default(),
        files: Arc::new(OsFiles),
        health: Arc::default(),
        clock: Arc::new(SystemClock),
        boot: None,
        clean_shutdown: false,
        recovery_point: Offset::ZERO,
        log_start: Offset::ZERO,
        committed_remote_end: None,
    })
    .expect("a log");
    log
}

fn append(log: &Log) {
    let mut builder = BatchBuilder::new();
    builder.push(0, None, Some(&[7; BYTES - 80]), &[]);
    let how = AppendAs {
        leader_epoch: LeaderEpoch(0),
        now_ms: 0,
        origin: Origin::Coordinator,
        produce_version: i16::MAX,
    };
    log.append(&mut builder.build().to_vec(), &how).expect("an append");
}

fn ours(dir: &Path, count: usize, threads: usize) -> f64 {
    let logs: Vec<Arc<Log>> = (0..count).map(|at| open(dir.join(format!("log-{at}-{threads}")))).collect();
    logs.iter().for_each(|log| append(log));
    timed(&logs, threads, |log| _ = log.flush().expect("a flush"));
    median(|| {
        logs.iter().for_each(|log| append(log));
        timed(&logs, threads, |log| _ = log.flush().expect("a flush"))
    })
}

fn main() {
    let root = std::env::var_os("FIRN_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(root).expect("a directory on the disk to measure");
    println!("median of {ROUNDS} rounds, milliseconds; {BYTES} bytes per partition and round");
    println!(
        "partitions  raw x1  raw x8  raw x64  ours x8  ours x64  syncfs  journal  ours x8/raw x8  ours x8/journal"
    );
    for count in [1, 100, 1_000] {
        let raw = [1, 8, 64].map(|threads| raw(dir.path(), count, threads));
        let ours = [8, 64].map(|threads| ours(dir.path(), count, threads));
        let (whole, journal) = (whole(dir.path(), count), journal(dir.path(), count));
        println!(
            "{count:>10}  {:>6.2}  {:>6.2}  {:>7.2}  {:>7.2}  {:>8.2}  {whole:>6.2}  {journal:>7.2}  {:>14.2}  {:>15.2}",
            raw[0],
            raw[1],
            raw[2],
            ours[0],
            ours[1],
            ours[0] / raw[1],
            ours[0] / journal
        );
    }
}
