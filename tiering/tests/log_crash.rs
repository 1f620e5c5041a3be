//! What a crash, a bad disk or a full one leaves of a log. Invariant under test (I20): after any of them the log is
//! a prefix that holds every whole batch before the damage, and damage to fsynced bytes is never cut away silently.
#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "a test says what it expects")]

mod support;

use firnline_tiering::batch::header::Codec;
use firnline_tiering::hot::file::{Files, OpenMode, OsFiles};
use firnline_tiering::log::append::AppendError;
use firnline_tiering::log::open::OpenError;
use firnline_tiering::log::read::Read;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;
use proptest::prelude::*;
use std::io::ErrorKind;
use std::sync::Arc;
use support::faulty::FaultyFiles;
use support::{Home, Stored, bytes_of};

/// Appends `count` batches, every third idempotent; halfway through the next leader epoch begins.
fn fill(home: &Home, log: &Log, count: usize) -> Vec<Stored> {
    let mut sequence = log.producers().get(9).and_then(|p| p.last_batch()).map_or(0, |b| b.last_sequence + 1);
    let epoch = log.lineage().latest().map_or(0, |(epoch, _)| epoch.0);
    (0..count)
        .map(|at| {
            let now = home.tick();
            let records = at % 4 + 1;
            let producer = (at % 3 == 0).then_some((9, sequence));
            let mut bytes = support::batch(records, at * 7 % 90, now, Codec::None, producer);
            let appended = home.append(log, &mut bytes, epoch + i32::from(at > count / 2)).expect("appends");
            sequence += if producer.is_some() { records as i32 } else { 0 };
            let timestamps = (0..records as i64).map(|at| now + at).collect();
            Stored { base: appended.base_offset, next: appended.last_offset.next(), bytes, timestamps }
        })
        .collect()
}

/// Everything readable, batch bytes end to end.
fn all(log: &Log) -> Vec<u8> {
    let offsets = log.offsets();
    let (mut at, mut bytes) = (offsets.log_start, Vec::new());
    while at < offsets.end {
        let Read::Hot(slice) = log.read(at, 1 << 20, offsets.end, true).expect("reads") else {
            panic!("nothing at {at} of {offsets:?}")
        };
        let read = bytes_of(&slice);
        for batch in firnline_tiering::batch::header::batches(&read) {
            let (header, batch) = batch.expect("whole batches");
            header.check_crc(batch).expect("undamaged");
            at = header.next_offset();
        }
        bytes.extend(read);
    }
    bytes
}

/// The log holds exactly the first `count` batches, and is ready to go on.
fn holds(home: &Home, log: &Arc<Log>, stored: &[Stored], count: usize) {
    let expected: Vec<u8> = stored[..count].iter().flat_map(|batch| batch.bytes.clone()).collect();
    assert_eq!(log.offsets().end, stored[..count].last().map_or(Offset::ZERO, |batch| batch.next));
    assert!(all(log) == expected, "the log is not the prefix of {count} batches");
    let more = fill(home, log, 3);
    assert_eq!(more[0].base, log.offsets().end - (more[2].next - more[0].base));
    assert!(all(log).starts_with(&expected));
}

/// Name and length of every segment file, rising.
fn segment_files(home: &Home) -> Vec<(String, u64)> {
    let names = OsFiles.list(&home.path()).expect("lists");
    let logs = names.into_iter().filter(|name| name.ends_with(".log"));
    logs.map(|name| (name.clone(), OsFiles.len(&home.path().join(name)).expect("has a length"))).collect()
}

/// Batches that end at or before byte `position` of the segments laid end to end.
fn whole_before(stored: &[Stored], position: u64) -> usize {
    let mut end = 0;
    stored
        .iter()
        .take_while(|batch| {
            end += batch.bytes.len() as u64;
            end <= position
        })
        .count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_cut_anywhere_keeps_every_whole_batch(count in 1..60_usize, part in 0.0..1.0_f64, settle in any::<bool>()) {
        let home = Home::new();
        let (log, _) = home.open(true, Offset::ZERO, Offset::ZERO);
        let stored = fill(&home, &log, count);
        if settle {
            log.maintain().expect("maintains");
        }
        drop(log);
        let files = segment_files(&home);
        let total: u64 = files.iter().map(|(_, len)| len).sum();
        let position = (total as f64 * part) as u64;
        // The file that holds this byte ends there; those after it are still there.
        let mut before = 0;
        for (name, len) in &files {
            if position < before + len {
                let file = OsFiles.open(&home.path().join(name), OpenMode::ReadWrite).expect("opens");
                file.truncate(position - before).expect("truncates");
                break;
            }
            before += len;
        }
        // Without a recovery point nothing is known to be durable, so the end may go. A settled segment that is
        // shorter than its successor says is a hole only compaction makes: its batches are kept, as Kafka does.
        let last = files.last().is_some_and(|(_, len)| position >= total - len);
        prop_assume!(last || !settle);
        let (log, recovered) = home.open(false, Offset::ZERO, Offset::ZERO);
        let whole = whole_before(&stored, position);
        prop_assert!(recovered.segments_scanned > 0);
        holds(&home, &log, &stored, whole);
    }

    #[test]
    fn a_flipped_bit_above_the_recovery_point_ends_the_log_there(count in 2..60_usize, part in 0.0..1.0_f64, bit in 0..8_u8) {
        let home = Home::new();
        let (log, _) = home.open(true, Offset::ZERO, Offset::ZERO);
        let stored = fill(&home, &log, count);
        drop(log);
        let files = segment_files(&home);
        let total: u64 = files.iter().map(|(_, len)| len).sum();
        let position = (total as f64 * part) as u64;
        let whole = whole_before(&stored, position);
        let begins: u64 = stored[..whole].iter().map(|batch| batch.bytes.len() as u64).sum();
        // Base offset and leader epoch are outside the CRC: nothing can tell.
        prop_assume!(position - begins >= 16);
        flip(&home, &files, position, bit);
        let (log, recovered) = home.open(false, Offset::ZERO, Offset::ZERO);
        prop_assert_eq!(recovered.bytes_cut, total - begins);
        holds(&home, &log, &stored, whole);
    }

    #[test]
    fn lost_power_takes_only_what_was_not_fsynced(
        early in 0..40_usize, late in 0..40_usize, keep in 0.0..1.0_f64, flush in any::<bool>(),
    ) {
        let files = FaultyFiles::default();
        let home = Home::with(Arc::new(files.clone()), Home::new().config);
        let (log, _) = home.open(true, Offset::ZERO, Offset::ZERO);
        let mut stored = fill(&home, &log, early);
        if flush { log.flush().expect("flushes"); } else { log.maintain().expect("maintains"); }
        let durable = log.recovery_point();
        prop_assert!(!flush || durable == log.offsets().end);
        stored.extend(fill(&home, &log, late));
        drop(log);
        files.lose_unsynced(&home.path(), ".log", keep);
        let (log, _) = home.open(false, durable, Offset::ZERO);
        let end = log.offsets().end;
        prop_assert!(end >= durable, "the log ends at {} of {}", end, durable);
        let count = stored.iter().take_while(|batch| batch.next <= end).count();
        holds(&home, &log, &stored, count);
    }
}

/// Flips one bit of the segments laid end to end.
fn flip(home: &Home, files: &[(String, u64)], position: u64, bit: u8) {
    let mut before = 0;
    for (name, len) in files {
        if position < before + len {
            let file = OsFiles.open(&home.path().join(name), OpenMode::ReadWrite).expect("opens");
            let mut byte = [0];
            file.read_exact_at(&mut byte, position - before).expect("reads");
            file.write_at(&[byte[0] ^ 1 << bit], position - before).expect("writes");
            return;
        }
        before += len;
    }
}

#[test]
fn damage_below_the_recovery_point_is_an_error_and_changes_nothing() {
    let home = Home::new();
    let (log, _) = home.open(true, Offset::ZERO, Offset::ZERO);
    let stored = fill(&home, &log, 6);
    let durable = log.flush().expect("flushes");
    assert_eq!(durable, stored[5].next);
    drop(log);
    let files = segment_files(&home);
    assert_eq!(files.len(), 1, "all in one segment, which is scanned because it is the last");
    flip(&home, &files, stored[0].bytes.len() as u64 + 70, 3);
    let Err(OpenError::Corrupt { offset, position, why, .. }) = home.try_open(false, durable, Offset::ZERO)
    else {
        panic!("opened")
    };
    assert_eq!((offset, position), (stored[1].base, stored[0].bytes.len() as u64));
    assert!(why.contains("a valid batch follows"), "{why}");
    assert_eq!(segment_files(&home), files, "nothing was cut");
    // With nothing durable it is the end of the log, as in Kafka.
    let (log, recovered) = home.open(false, Offset::ZERO, Offset::ZERO);
    assert!(recovered.bytes_cut > 0);
    holds(&home, &log, &stored, 1);
}

#[test]
fn a_lying_index_misleads_nobody() {
    let home = Home::new();
    let (log, _) = home.open(true, Offset::ZERO, Offset::ZERO);
    let stored = fill(&home, &log, 60);
    log.close().expect("closes");
    drop(log);
    let names = OsFiles.list(&home.path()).expect("lists");
    for (at, name) in names.iter().filter(|name| name.ends_with("index")).enumerate() {
        let file = OsFiles.open(&home.path().join(name), OpenMode::ReadWrite).expect("opens");
        match at % 3 {
            0 => file.truncate(5).expect("truncates"),
            1 => OsFiles.remove(&home.path().join(name)).expect("removes"),
            _ => file.write_at(&[0xff; 12], file.len().expect("has a length")).expect("writes"),
        }
    }
    let (log, recovered) = home.open(true, Offset::ZERO, Offset::ZERO);
    assert!(recovered.indexes_rebuilt > 1, "{recovered:?}");
    assert_eq!(recovered.bytes_cut, 0);
    holds(&home, &log, &stored, 60);
}

fn faulty() -> (FaultyFiles, Home, Arc<Log>, Vec<Stored>) {
    let files = FaultyFiles::default();
    let home = Home::with(Arc::new(files.clone()), Home::new().config);
    let (log, _) = home.open(true, Offset::ZERO, Offset::ZERO);
    let stored = fill(&home, &log, 5);
    (files, home, log, stored)
}

fn append_one(home: &Home, log: &Log) -> Result<(), AppendError> {
    let mut batch = support::batch(2, 10, home.tick(), Codec::None, None);
    home.append(log, &mut batch, 9).map(|_| ())
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let (files, home, log, stored) = faulty();
    files.plan().write = Some((33, ErrorKind::StorageFull));
    assert!(matches!(append_one(&home, &log), Err(AppendError::DiskFull { .. })));
    assert_eq!(log.offline(), None);
    holds(&home, &log, &stored, 5);
    files.plan().create = Some(ErrorKind::StorageFull);
    assert!(log.roll().is_err());
    append_one(&home, &log).expect("goes on in the old segment");
    // The torn write left nothing behind that recovery would have to cut.
    drop(log);
    assert_eq!(home.open(false, Offset::ZERO, Offset::ZERO).1.bytes_cut, 0);
}

#[test]
fn a_failed_write_ends_the_log_and_leaves_it_whole() {
    let (files, home, log, stored) = faulty();
    files.plan().write = Some((33, ErrorKind::Other));
    assert!(matches!(append_one(&home, &log), Err(AppendError::Storage { .. })));
    assert!(log.offline().is_some());
    assert!(matches!(append_one(&home, &log), Err(AppendError::Storage { .. })), "offline is for good");
    assert_eq!(all(&log).len(), stored.iter().map(|batch| batch.bytes.len()).sum::<usize>());
    drop(log);
    let (log, recovered) = home.open(false, Offset::ZERO, Offset::ZERO);
    assert_eq!(recovered.bytes_cut, 0);
    holds(&home, &log, &stored, 5);
}

#[test]
fn a_torn_write_that_cannot_be_undone_is_cut_at_open() {
    let (files, home, log, stored) = faulty();
    *files.plan() = support::faulty::Plan {
        write: Some((33, ErrorKind::StorageFull)),
        truncate: true,
        ..Default::default()
    };
    assert!(matches!(append_one(&home, &log), Err(AppendError::Storage { .. })));
    assert!(log.offline().is_some());
    drop(log);
    let (log, recovered) = home.open(false, Offset::ZERO, Offset::ZERO);
    assert_eq!(recovered.bytes_cut, 33);
    holds(&home, &log, &stored, 5);
}

#[test]
fn a_failed_fsync_is_never_retried() {
    let (files, home, log, _) = faulty();
    let durable = log.recovery_point();
    files.plan().sync = true;
    assert!(log.flush().is_err());
    assert_eq!(log.recovery_point(), durable, "nothing became durable");
    assert!(log.flush().is_err(), "the second would succeed, and lie");
    assert!(matches!(append_one(&home, &log), Err(AppendError::Storage { .. })));
}

/// What a reader, a producer and a follower can tell of a log.
fn looks(log: &Log) -> (Vec<u8>, String, String) {
    let producers = log.producers();
    let told: Vec<_> = producers.iter().map(|it| (it.producer_id, it.batches().to_vec())).collect();
    let times: Vec<_> =
        (0..40).map(|at| log.offset_for_time(1_700_000_000_000 + at * 60, log.offsets().end)).collect();
    (all(log), log.lineage().to_checkpoint(), format!("{:?} {told:?} {times:?}", log.offsets()))
}

fn noting() -> Home {
    let mut home = Home::new();
    (home.config.segment_bytes, home.config.tip_note_bytes) = (1 << 20, 1000);
    home.boot = Some(uuid::Uuid::from_u128(7));
    home
}

/// A log whose process died after `count` batches, of which `noted` stood when housekeeping came by.
fn died(home: &Home, noted: usize, count: usize) -> Vec<Stored> {
    let log = home.open(false, Offset::ZERO, Offset::ZERO).0;
    let mut stored = fill(home, &log, noted);
    log.maintain().expect("maintains");
    stored.extend(fill(home, &log, count - noted));
    stored
}

#[test]
fn after_a_kill_in_the_same_boot_only_what_came_since_the_note_is_read() {
    let mut home = noting();
    let stored = died(&home, 40, 47);
    let (log, recovered) = home.open(false, Offset::ZERO, Offset::ZERO);
    assert!(recovered.tip_believed && recovered.segments_scanned == 0, "{recovered:?}");
    let known = looks(&log);
    drop(log);
    home.boot = Some(uuid::Uuid::from_u128(8));
    let (log, recovered) = home.open(false, Offset::ZERO, Offset::ZERO);
    assert!(!recovered.tip_believed && recovered.segments_scanned == 1, "another boot: {recovered:?}");
    assert_eq!(looks(&log), known);
    drop(log);
    let names = OsFiles.list(&home.path()).expect("lists");
    assert!(!names.iter().any(|name| name == "tip-note"), "one that is not believed goes: {names:?}");
    home.boot = None;
    let (log, recovered) = home.open(false, Offset::ZERO, Offset::ZERO);
    assert!(!recovered.tip_believed);
    holds(&home, &log, &stored, 47);
}

#[test]
fn a_torn_end_behind_the_note_is_cut() {
    let home = noting();
    let stored = died(&home, 40, 47);
    let path = home.path().join("00000000000000000000.log");
    let file = OsFiles.open(&path, OpenMode::Existing).expect("opens");
    file.truncate(OsFiles.len(&path).expect("has a length") - 1).expect("cuts");
    let (log, recovered) = home.open(false, Offset::ZERO, Offset::ZERO);
    assert!(recovered.tip_believed && recovered.bytes_cut > 0, "{recovered:?}");
    holds(&home, &log, &stored, 46);
}

#[test]
fn a_note_that_does_not_fit_its_log_is_not_believed() {
    type Wrong = fn(&Home);
    let wrongs: [(&str, Wrong); 4] = [
        ("a note that was written in part", |home| {
            let note = home.path().join("tip-note");
            let file = OsFiles.open(&note, OpenMode::Existing).expect("opens");
            file.truncate(OsFiles.len(&note).expect("has a length") - 1).expect("cuts");
        }),
        ("an end that lies below it", |home| {
            let path = home.path().join("00000000000000000000.log");
            OsFiles.open(&path, OpenMode::Existing).expect("opens").truncate(1100).expect("cuts");
        }),
        ("another segment", |home| {
            let (from, to) = ("00000000000000000000.log", "00000000000000000001.log");
            OsFiles.rename(&home.path().join(from), &home.path().join(to)).expect("renames");
        }),
        ("other batches at its end", |home| {
            let bytes = std::fs::read(home.path().join("tip-note")).expect("reads");
            let note = firnline_tiering::hot::tip_note::TipNote::decode(&bytes).expect("is a note");
            let path = home.path().join("00000000000000000000.log");
            let file = OsFiles.open(&path, OpenMode::Existing).expect("opens");
            file.write_at(&[0xa5], u64::from(note.bytes) - 1).expect("writes");
        }),
    ];
    for (what, wrong) in wrongs {
        let home = noting();
        died(&home, 40, 47);
        wrong(&home);
        match home.try_open(false, Offset::ZERO, Offset::ZERO) {
            Ok((_, recovered)) => assert!(!recovered.tip_believed, "{what}"),
            Err(error) => assert_eq!(what, "another segment", "{error}"),
        }
    }
}

#[test]
fn a_note_goes_before_the_bytes_it_speaks_of() {
    let home = noting();
    let log = home.open(false, Offset::ZERO, Offset::ZERO).0;
    let stored = fill(&home, &log, 40);
    log.maintain().expect("maintains");
    let note = home.path().join("tip-note");
    assert!(OsFiles.exists(&note));
    log.truncate(stored[20].base).expect("cuts");
    assert!(!OsFiles.exists(&note));
    fill(&home, &log, 30);
    log.maintain().expect("maintains");
    let (known, recovery_point) = (looks(&log), log.recovery_point());
    drop(log);
    let (log, recovered) = home.open(false, recovery_point, Offset::ZERO);
    assert_eq!(looks(&log), known);
    assert!(recovered.tip_believed, "the next note speaks of what came instead");
}

#[test]
fn a_clean_start_needs_no_note_and_leaves_none() {
    let home = noting();
    let log = home.open(false, Offset::ZERO, Offset::ZERO).0;
    let stored = fill(&home, &log, 40);
    log.maintain().expect("maintains");
    log.close().expect("closes");
    drop(log);
    let (log, recovered) = home.open(true, stored[39].next, Offset::ZERO);
    assert_eq!((recovered.tip_believed, recovered.segments_scanned), (false, 0));
    assert!(!OsFiles.exists(&home.path().join("tip-note")));
    holds(&home, &log, &stored, 40);
}
