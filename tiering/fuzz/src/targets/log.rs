//! A whole log over damaged files: the segment itself, its indexes, its producer files.
//! Invariant: opening ends, with a log that opens again to the same, or with an error that says why not.

use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::header::batches;
use firnline_tiering::config::{LogConfig, LogId};
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::dir::{Kind, file_name};
use firnline_tiering::hot::file::Files;
use firnline_tiering::log::append::{AppendAs, Origin};
use firnline_tiering::log::open::{OpenError, OpenLog, Recovered};
use firnline_tiering::log::read::Read;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::memory::{MemoryFiles, Still};
use super::seal;

const DIR: &str = "/log/t-0";
const NOW_MS: i64 = 1_700_000_000_000;
/// Batches of the log that is whole but for some of its files.
const BATCHES: i64 = 24;

fn open(
    files: &Arc<MemoryFiles>,
    clean: bool,
    recovery_point: i64,
) -> Result<(Arc<Log>, Recovered), OpenError> {
    let config = LogConfig {
        segment_bytes: 1000,
        index_interval_bytes: 100,
        max_message_bytes: 1 << 16,
        ..LogConfig::default()
    };
    Log::open(OpenLog {
        id: LogId::new("t/0"),
        dir: PathBuf::from(DIR),
        config,
        files: files.clone(),
        health: Arc::default(),
        clock: Arc::new(Still(NOW_MS)),
        boot: None,
        clean_shutdown: clean,
        recovery_point: Offset(recovery_point),
        log_start: Offset::ZERO,
        committed_remote_end: None,
    })
}

fn path(base: i64, kind: Kind) -> PathBuf {
    Path::new(DIR).join(file_name(Offset(base), kind))
}

/// Byte 0: the base, whether the stop was clean, whether there is a recovery point; byte 1: the batch whose CRC is
/// left as it is; then the segment.
pub fn segment_recovery(data: &[u8]) {
    let Some((&[choice, spared], bytes)) = data.split_first_chunk::<2>() else { return };
    let mut bytes = bytes.to_vec();
    if choice & 1 == 0 {
        seal::batches(&mut bytes, spared);
    }
    let base = if choice & 2 == 0 { 0 } else { 1 << 40 };
    let clean = choice & 4 != 0;
    let recovery_point = if choice & 8 == 0 { 0 } else { base + 3 };
    let files = Arc::new(MemoryFiles::default());
    files.put(&path(base, Kind::Log), &bytes);
    let (log, recovered) = match open(&files, clean, recovery_point) {
        Ok(opened) => opened,
        Err(OpenError::Corrupt { .. }) if recovery_point > 0 => return,
        Err(error) => panic!("above the recovery point damage is cut: {error}"),
    };
    let end = log.offsets().end;
    let held = bytes.len() as u64 - recovered.bytes_cut;
    assert_eq!(files.get(&path(base, Kind::Log)), bytes[..held as usize], "a cut takes an end, nothing else");
    walk(&log);
    log.close().expect("memory does not fail");
    drop(log);
    // After a clean stop checksums are not looked at, then or now.
    let (log, recovered) = open(&files, clean, base).expect("what was recovered opens again");
    assert_eq!((log.offsets().end, recovered.bytes_cut), (end, 0), "recovered once is recovered");
    grow(&log, &files, clean);
}

/// Reads a log from its start to its end, by offset and by time.
fn walk(log: &Log) {
    let (mut at, end) = (log.offsets().log_start, log.offsets().end);
    while at < end {
        let Read::Hot(slice) = log.read(at, 300, end, true).expect("a recovered log is readable") else {
            break;
        };
        let mut bytes = vec![0; slice.len as usize];
        slice.file.read_exact_at(&mut bytes, slice.at).expect("a slice is in its file");
        let before = at;
        for batch in batches(&bytes) {
            let (header, _) = batch.expect("a slice is whole batches");
            assert!(header.next_offset() > at, "offsets fall at {at}: {header:?}");
            at = header.next_offset();
        }
        assert!(at > before, "a slice leads on");
    }
    for time in [i64::MIN, -1, 0, NOW_MS, i64::MAX] {
        let _ = log.offset_for_time(time, end);
    }
    let _ = (log.max_timestamp(end), log.end_of_epoch(LeaderEpoch(0)), log.producers());
}

/// A recovered log goes on: two batches and a roll.
fn grow(log: &Log, files: &Arc<MemoryFiles>, clean: bool) {
    let how = AppendAs {
        leader_epoch: LeaderEpoch(i32::MAX),
        now_ms: NOW_MS,
        origin: Origin::Client,
        produce_version: 9,
    };
    let mut grown = log.offsets().end;
    for value in [10, 900] {
        // The offsets of a segment may be used up.
        let Ok(appended) = log.append(&mut batch(NOW_MS, value), &how) else { return };
        assert_eq!(appended.base_offset, grown);
        grown = appended.last_offset.next();
    }
    log.maintain().expect("memory does not fail");
    log.close().expect("memory does not fail");
    let (log, recovered) = open(files, clean, 0).expect("a log that grew opens");
    assert_eq!((log.offsets().end, recovered.bytes_cut), (grown, 0));
}

fn batch(timestamp: i64, value: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(timestamp, Some(b"k"), Some(&vec![b'v'; value]), &[]);
    builder.push(timestamp + 1, None, None, &[(b"h", Some(b"x"))]);
    builder.build().to_vec()
}

/// A log of several segments, closed cleanly: its files by name.
fn whole() -> &'static Vec<(PathBuf, Vec<u8>)> {
    static WHOLE: OnceLock<Vec<(PathBuf, Vec<u8>)>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let files = Arc::new(MemoryFiles::default());
        let (log, _) = open(&files, false, 0).expect("a new log opens");
        for at in 0..BATCHES {
            let mut builder = BatchBuilder::new().producer(7 + at % 3, 0, (at / 3 * 2) as i32);
            builder.push(NOW_MS + at * 10, Some(b"k"), Some(b"value"), &[]);
            builder.push(NOW_MS + at * 10 + 5, None, None, &[]);
            let how = AppendAs {
                leader_epoch: LeaderEpoch((at / 10) as i32),
                now_ms: NOW_MS,
                origin: Origin::Client,
                produce_version: 9,
            };
            log.append(&mut builder.build().to_vec(), &how).expect("appends");
        }
        log.maintain().expect("memory does not fail");
        log.close().expect("memory does not fail");
        let names = files.list(Path::new(DIR)).expect("lists");
        names
            .iter()
            .map(|name| Path::new(DIR).join(name))
            .map(|path| (path.clone(), files.get(&path)))
            .collect()
    })
}

/// The whole log, with `change` to each of its files.
fn changed(change: impl Fn(&Path, &[u8]) -> Option<Vec<u8>>) -> Arc<MemoryFiles> {
    let files = Arc::new(MemoryFiles::default());
    for (path, bytes) in whole() {
        files.put(path, change(path, bytes).as_deref().unwrap_or(bytes));
    }
    files
}

fn is(path: &Path, kind: Kind) -> bool {
    path.to_str().is_some_and(|name| name.ends_with(kind.suffix()))
}

/// A clean log whose index files hold the input. Byte 0: which; byte 1: how many bytes of the true file stay before.
pub fn index_files(data: &[u8]) {
    let Some((&[choice, keep], bytes)) = data.split_first_chunk::<2>() else { return };
    let files = changed(|path, whole| {
        let hit = (choice & 1 == 0 && is(path, Kind::OffsetIndex))
            || (choice & 2 == 0 && is(path, Kind::TimeIndex))
            || (choice & 4 != 0 && is(path, Kind::TxnIndex));
        hit.then(|| [&whole[..whole.len().min(usize::from(keep))], bytes].concat())
    });
    let (log, _) = open(&files, true, 0).expect("an index is a hint");
    let end = log.offsets().end;
    assert_eq!(end, Offset(BATCHES * 2), "an index cannot move the end");
    for offset in 0..end.0 {
        let read = log.read(Offset(offset), 1, end, true).expect("the batches lead there without an index");
        let Read::Hot(slice) = read else { panic!("{read:?} at {offset}") };
        assert_eq!(slice.first, Offset(offset / 2 * 2), "the batch that holds the offset");
    }
    for time in [-1, 0, NOW_MS, NOW_MS + 77, NOW_MS + BATCHES * 10, i64::MAX] {
        log.offset_for_time(time, end).expect("the batches answer without an index");
    }
    log.max_timestamp(end).expect("the batches answer without an index");
}

/// A log whose producer files, or epochs, hold the input. Byte 0: which, and whether the stop was clean.
pub fn producer_files(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    match choice & 6 {
        2 => seal::at(&mut bytes, 2, 6),
        4 => seal::at(&mut bytes, 6, 10),
        _ => {}
    }
    let files = changed(|path, _| {
        let hit = match choice & 24 {
            0 => is(path, Kind::Producers),
            8 => is(path, Kind::Producers) || is(path, Kind::Snapshot),
            16 => is(path, Kind::Snapshot),
            _ => path.ends_with("leader-epoch-checkpoint"),
        };
        hit.then(|| bytes.clone())
    });
    let (log, recovered) = open(&files, choice & 1 == 0, 0).expect("the log itself can still tell");
    assert_eq!((log.offsets().end, recovered.bytes_cut), (Offset(BATCHES * 2), 0));
    walk(&log);
    log.close().expect("memory does not fail");
}
