//! What a cleaning must not do, and what it says: readers in progress, batches that lie, a damaged file, a log that
//! is cut while it is cleaned, files that another cleaning left.

use std::sync::Arc;

use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::control::{Outcome, end_transaction};
use firnline_tiering::batch::header::{BatchHeader, Codec, batches, crc32c};
use firnline_tiering::compact::clean::{CleanError, CleanerMemory, Cleaning, Step, dirt};
use firnline_tiering::config::LogConfig;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::file::{Files, OpenMode, OsFiles};
use firnline_tiering::log::append::{AppendAs, Origin};
use firnline_tiering::log::read::Read;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;

use crate::support::{Home, bytes_of};

const MEMORY: CleanerMemory = CleanerMemory { dedupe_bytes: 1 << 20, load_factor: 0.9, io_bytes: 1000 };

fn home() -> Home {
    let config = LogConfig {
        compact: true,
        delete: false,
        segment_bytes: 1000,
        index_interval_bytes: 100,
        min_cleanable_ppm: 0,
        file_delete_delay_ms: 5,
        ..LogConfig::default()
    };
    Home::with(Arc::new(OsFiles), config)
}

/// `count` batches of two records over three keys, then all of it sealed and durable.
fn filled(home: &Home, count: usize) -> Arc<Log> {
    let (log, _) = home.open(true, Offset::ZERO, Offset::ZERO);
    for at in 0..count {
        put(home, &log, at, Codec::Lz4);
    }
    log.roll().expect("rolls");
    log.maintain().expect("maintains");
    log
}

fn put(home: &Home, log: &Log, at: usize, codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new().codec(codec);
    let value = [at as u8; 40];
    builder.push(home.tick(), Some(&[at as u8 % 3]), Some(&value), &[]);
    builder.push(home.now(), Some(&[(at as u8 + 1) % 3]), Some(&value), &[]);
    let mut batch = builder.build().to_vec();
    home.append(log, &mut batch, 1).expect("appends");
    batch
}

fn begin(home: &Home, log: &Arc<Log>) -> Cleaning {
    let end = log.offsets().end;
    Cleaning::begin(log, end, end, home.now(), MEMORY).expect("begins").expect("is dirty")
}

fn hot(log: &Log, from: Offset) -> Vec<u8> {
    let Read::Hot(slice) = log.read(from, 1 << 20, log.offsets().end, true).expect("reads") else {
        panic!("nothing at {from}")
    };
    bytes_of(&slice)
}

fn names(home: &Home) -> Vec<String> {
    OsFiles.list(&home.path()).expect("lists")
}

#[test]
fn readers_in_progress_finish_on_what_they_began_with() {
    let home = home();
    let log = filled(&home, 40);
    let (end, first) = (log.offsets().end, log.sources()[0].clone());
    let Read::Hot(slice) = log.read(Offset::ZERO, 1 << 20, end, true).expect("reads") else {
        panic!("nothing")
    };
    let before = bytes_of(&slice);
    let report = begin(&home, &log).run().expect("cleans");
    assert!(report.whole && report.bytes_written < report.bytes_read / 4, "{report:?}");
    assert_eq!(bytes_of(&slice), before, "the bytes under a reader never change");
    // Also where it finds its way by the index only now, whose name leads to another file.
    assert!(first.position_of(Offset(5)).expect("locates") > 0);
    home.tick();
    log.maintain().expect("maintains");
    assert_eq!(bytes_of(&slice), before, "the names are gone, the file is not");
    assert!(!names(&home).iter().any(|name| name.ends_with(".deleted")));
    assert!(hot(&log, Offset::ZERO) != before);
}

#[test]
fn aborted_transactions_are_told_until_their_batches_are_gone_from_every_file() {
    let home = home();
    let (log, _) = home.open(true, Offset::ZERO, Offset::ZERO);
    // What a producer wrote last stays, if only empty: the second transaction is what is left of it.
    for (sequence, outcome) in [(0, Outcome::Abort), (1, Outcome::Commit)] {
        let mut builder = BatchBuilder::new().producer(7, 0, sequence).transactional();
        builder.push(home.tick(), Some(&[1]), Some(b"sent"), &[]);
        home.append(&log, &mut builder.build().to_vec(), 1).expect("appends");
        let mut marker = end_transaction(7, 0, outcome, 0, home.tick()).to_vec();
        let (leader_epoch, origin) = (LeaderEpoch(1), Origin::Coordinator);
        let how = AppendAs { leader_epoch, now_ms: home.now(), origin, produce_version: 9 };
        log.append(&mut marker, &how).expect("ends");
    }
    (0..30).for_each(|at| drop(put(&home, &log, at, Codec::None)));
    log.roll().expect("rolls");
    log.maintain().expect("maintains");
    let end = log.offsets().end;
    let told = |log: &Log| {
        let told = log.aborted(Offset::ZERO, end).expect("looks");
        told.iter().map(|one| (one.producer_id, one.first.0, one.last.0)).collect::<Vec<_>>()
    };
    let (before, first) = (told(&log), log.sources()[0].clone());
    assert_eq!(before, [(7, 0, 1)]);
    let slice = hot(&log, Offset::ZERO);
    begin(&home, &log).run().expect("cleans");
    assert!(hot(&log, Offset::ZERO) != slice);
    assert_eq!(told(&log), before, "who began to read before the cleaning still has to be told");
    home.tick();
    log.maintain().expect("maintains");
    assert_eq!(first.aborted().expect("is held").len(), 1, "also by the segment whose names are gone");
    log.close().expect("closes");
    let (log, _) = home.open(true, Offset::ZERO, Offset::ZERO);
    assert_eq!(told(&log), before, "and after a restart");
    (0..30).for_each(|at| drop(put(&home, &log, at, Codec::None)));
    log.roll().expect("rolls");
    log.maintain().expect("maintains");
    begin(&home, &log).run().expect("cleans");
    assert_eq!(told(&log), [], "its batches were gone before this cleaning");
}

#[test]
fn what_is_clean_is_left_alone() {
    let home = home();
    let log = filled(&home, 40);
    assert!(dirt(&log, log.offsets().end, home.now()).is_due(&home.config));
    begin(&home, &log).run().expect("cleans");
    let end = log.offsets().end;
    assert!(Cleaning::begin(&log, end, end, home.now(), MEMORY).expect("looks").is_none());
    // The first cleaning left small segments, which another one joins.
    log.set_clean_point(Offset::ZERO);
    begin(&home, &log).run().expect("cleans");
    assert!(!dirt(&log, end, home.now()).is_due(&home.config));
    let (files, lens) = (names(&home), log.size_bytes());
    // After that nothing is left to change.
    log.set_clean_point(Offset::ZERO);
    let report = begin(&home, &log).run().expect("cleans");
    assert_eq!((report.bytes_written, names(&home), log.size_bytes()), (0, files, lens));
}

#[test]
fn two_cleaners_never_meet_in_one_log() {
    let home = home();
    let log = filled(&home, 40);
    let first = begin(&home, &log);
    let end = log.offsets().end;
    assert!(Cleaning::begin(&log, end, end, home.now(), MEMORY).expect("looks").is_none());
    drop(first);
    begin(&home, &log).run().expect("cleans");
}

/// Steps until files are being written.
fn until_it_writes(home: &Home, cleaning: &mut Cleaning) {
    while !names(home).iter().any(|name| name.ends_with(".cleaned")) {
        assert!(matches!(cleaning.step().expect("steps"), Step::More(_)));
    }
}

#[test]
fn a_cleaning_given_up_leaves_no_file() {
    let home = home();
    let log = filled(&home, 40);
    let before = names(&home);
    let mut cleaning = begin(&home, &log);
    until_it_writes(&home, &mut cleaning);
    drop(cleaning);
    assert_eq!(names(&home), before);
    // What a killed process left goes with the next cleaning, or it could be taken for part of it.
    let stray = home.path().join("00000000000000000077.log.cleaned");
    OsFiles.open(&stray, OpenMode::CreateNew).expect("creates");
    begin(&home, &log).run().expect("cleans");
    assert!(!names(&home).iter().any(|name| name.ends_with(".cleaned")));
}

#[test]
fn a_log_that_is_cut_while_it_is_cleaned_keeps_what_it_has() {
    let home = home();
    let log = filled(&home, 40);
    let mut cleaning = begin(&home, &log);
    until_it_writes(&home, &mut cleaning);
    log.truncate(Offset(7)).expect("cuts");
    let before = hot(&log, Offset::ZERO);
    let report = cleaning.run().expect("ends");
    assert!(!report.whole);
    assert_eq!(hot(&log, Offset::ZERO), before);
    assert_eq!(log.clean_point(), None, "nothing was cleaned");
    // What comes in the place of what was cut is dirty.
    (0..40).for_each(|at| drop(put(&home, &log, at, Codec::None)));
    log.roll().expect("rolls");
    log.maintain().expect("maintains");
    assert!(begin(&home, &log).run().expect("cleans").whole);
}

#[test]
fn a_truncation_lowers_the_clean_point() {
    let home = home();
    let log = filled(&home, 40);
    begin(&home, &log).run().expect("cleans");
    let point = log.clean_point().expect("is known");
    log.truncate(point - 1).expect("cuts");
    assert!(log.clean_point().expect("is known") < point);
}

#[test]
fn a_closed_log_is_not_exchanged() {
    let home = home();
    let log = filled(&home, 40);
    let mut cleaning = begin(&home, &log);
    until_it_writes(&home, &mut cleaning);
    log.close().expect("closes");
    assert!(!cleaning.run().expect("ends").whole);
    assert!(!names(&home).iter().any(|name| name.ends_with(".cleaned") || name.ends_with(".deleted")));
}

#[test]
fn a_batch_that_lies_stays_and_the_others_are_cleaned() {
    let home = home();
    let (log, _) = home.open(true, Offset::ZERO, Offset::ZERO);
    // A compacted topic opens what it takes; this one became one later.
    log.set_config(LogConfig { compact: false, ..home.config.clone() });
    put(&home, &log, 0, Codec::None);
    let mut builder = BatchBuilder::new().codec(Codec::Zstd);
    builder.push(home.tick(), Some(b"x"), Some(b"1"), &[]).push(home.now(), Some(b"x"), Some(b"2"), &[]);
    let mut lie = builder.build().to_vec();
    let from = lie.len() - 4;
    lie[from..].fill(0xee);
    let crc = crc32c(&lie[21..]);
    lie[17..21].copy_from_slice(&crc.to_be_bytes());
    home.append(&log, &mut lie, 1).expect("a compressed batch is trusted by its header");
    log.set_config(home.config.clone());
    (0..40).for_each(|at| drop(put(&home, &log, at, Codec::None)));
    log.roll().expect("rolls");
    log.maintain().expect("maintains");
    let report = begin(&home, &log).run().expect("cleans");
    assert_eq!((report.tally.lies, report.whole), (1, true));
    let bytes = hot(&log, Offset::ZERO);
    assert!(bytes.starts_with(&lie), "it comes first now, byte for byte");
    assert!(report.bytes_written < report.bytes_read / 3, "{report:?}");
}

#[test]
fn a_damaged_file_is_named_and_left() {
    let home = home();
    let log = filled(&home, 40);
    let path = home.path().join("00000000000000000000.log");
    OsFiles.open(&path, OpenMode::ReadWrite).and_then(|file| file.write_at(&[0xff; 4], 8)).expect("damages");
    let before = names(&home);
    let error = begin(&home, &log).run().expect_err("is damaged");
    assert!(matches!(&error, CleanError::Damaged { position: 0, .. }), "{error}");
    assert!(error.to_string().contains("00000000000000000000.log is damaged at byte 0"), "{error}");
    assert_eq!(names(&home), before);
    assert!(log.offline().is_none(), "what is whole is served on");
    // A base offset lies outside the CRC: one that falls is found by its neighbours.
    let second = log.sources()[1].base();
    let path = home.path().join(format!("{:020}.log", second.0));
    let file = OsFiles.open(&path, OpenMode::ReadWrite).expect("opens");
    file.write_at(&0_i64.to_be_bytes(), 0).expect("damages");
    let whole =
        OsFiles.open(&home.path().join("00000000000000000000.log"), OpenMode::ReadWrite).expect("opens");
    let length = (hot_len(&*whole) as i32).to_be_bytes();
    whole.write_at(&length, 8).expect("mends");
    assert!(matches!(begin(&home, &log).run(), Err(CleanError::Damaged { .. })));
}

/// Length field of the first batch, from where the second begins.
fn hot_len(file: &dyn firnline_tiering::hot::file::File) -> u64 {
    let mut bytes = vec![0; file.len().expect("has a length") as usize];
    file.read_exact_at(&mut bytes, 0).expect("reads");
    // The next batch's magic and epoch stand 16 and 12 bytes after its start.
    let second =
        (61..bytes.len() - 17).find(|at| bytes[*at..*at + 8] == 2_i64.to_be_bytes() && bytes[at + 16] == 2);
    second.expect("a second batch") as u64 - 12
}

#[test]
fn a_map_too_small_for_one_batch_is_said() {
    let home = home();
    let log = filled(&home, 40);
    let (end, memory) = (log.offsets().end, CleanerMemory { dedupe_bytes: 0, ..MEMORY });
    let cleaning = Cleaning::begin(&log, end, end, home.now(), memory).expect("begins").expect("is dirty");
    assert!(matches!(cleaning.run(), Err(CleanError::MapTooSmall { at: Offset::ZERO })));
}

#[test]
fn offsets_in_holes_are_answered_by_what_follows() {
    let home = home();
    let log = filled(&home, 60);
    begin(&home, &log).run().expect("cleans");
    let end = log.offsets().end;
    assert!(log.segment_count() < 10 && log.size_bytes() < 1500, "{} bytes", log.size_bytes());
    let (mut at, mut all) = (Offset::ZERO, Vec::new());
    while at < end {
        let bytes = hot(&log, at);
        let headers = batches(&bytes).map(|batch| batch.expect("whole").0);
        all.extend(headers.map(|header| (header.base_offset, header.next_offset())));
        at = all.last().expect("a batch").1;
    }
    assert!(all.len() < 20 && at == end, "{all:?}");
    for offset in (0..end.0).map(Offset) {
        let first = BatchHeader::parse(&hot(&log, offset)).expect("a batch");
        let expected = all.iter().find(|(_, next)| *next > offset);
        assert_eq!(Some(&(first.base_offset, first.next_offset())), expected, "at {offset}");
    }
    assert_eq!(log.end_of_epoch(firnline_tiering::epoch::LeaderEpoch(1)).map(|(_, end)| end), Some(end));
    assert!(matches!(log.read(end, 100, end, true), Ok(Read::Empty)));
}
