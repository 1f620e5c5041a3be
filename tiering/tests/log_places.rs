//! Finding places in a log whose bytes are not in the page cache: what has to wait for the disk, what a look ahead
//! spares the reader, and that neither fills the cache. Without a disk under the files (tmpfs) nothing is cold.
#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "a test says what it expects")]

mod support;

use firnline_tiering::batch::header::Codec;
use firnline_tiering::hot::syscall::resident;
use firnline_tiering::log::read::{Read, ReadError, Slice};
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;
use std::os::fd::AsFd;
use std::sync::Arc;
use support::Home;

const STEP: u64 = 100_000;

/// A log of one sealed segment of 4 MB and an empty one, its pages written back and dropped; `None` if they stay.
fn cold_log(home: &Home) -> Option<Arc<Log>> {
    let log = home.open(true, Offset::ZERO, Offset::ZERO).0;
    for at in 0..200_u8 {
        // Small ones and large ones, so that borders lie everywhere in their pages.
        let value = if at.is_multiple_of(3) { 50 } else { 30_000 };
        let mut batch = support::batch(1, value, home.tick(), Codec::None, None);
        home.append(&log, &mut batch, 0).expect("appends");
    }
    log.roll().expect("rolls");
    log.maintain().expect("maintains");
    let file = data(home);
    file.sync_all().expect("syncs");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("drops the pages");
    (!resident(file.as_fd(), 0, 1)).then_some(log)
}

fn data(home: &Home) -> std::fs::File {
    std::fs::File::open(home.path().join(format!("{:020}.log", 0))).expect("the segment")
}

fn slice(read: Read) -> Slice {
    match read {
        Read::Hot(slice) => slice,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reader_that_goes_on_finds_what_was_looked_up_ahead_of_it_without_waiting() {
    let mut home = Home::new();
    (home.config.segment_bytes, home.config.index_interval_bytes) = (1 << 30, 4096);
    let Some(log) = cold_log(&home) else { return };
    let end = log.offsets().end;
    assert!(matches!(log.read_now(Offset(0), STEP, end, true), Err(ReadError::Waits)));
    let first = slice(log.read(Offset(0), STEP, end, true).expect("reads"));
    assert!(
        matches!(log.read_now(first.upto, STEP, end, true), Err(ReadError::Waits)),
        "its end is not known"
    );
    log.look_ahead(&first, STEP);
    let mut ahead = Vec::new();
    let mut at = first;
    while let Ok(read) = log.read_now(at.upto, STEP, end, true) {
        let next = slice(read);
        assert_eq!((next.first, next.at), (at.upto, at.at + at.len), "they follow each other");
        assert!(next.len <= STEP && next.len > STEP - 31_000, "{}", next.len);
        ahead.push(next.clone());
        at = next;
    }
    assert!(ahead.len() >= 8, "{} were found ahead", ahead.len());
    for known in ahead {
        let searched = slice(log.read(known.first, STEP, end, true).expect("reads"));
        assert_eq!((searched.at, searched.len, searched.upto), (known.at, known.len, known.upto));
    }
}

#[test]
fn looking_for_places_leaves_the_cache_as_it_was() {
    let mut home = Home::new();
    (home.config.segment_bytes, home.config.index_interval_bytes) = (1 << 30, 4096);
    let Some(log) = cold_log(&home) else { return };
    let (end, bytes) = (log.offsets().end, data(&home).metadata().expect("a length").len());
    for offset in (0..end.0).step_by(7) {
        log.read(Offset(offset), STEP, end, true).expect("reads");
        log.offset_for_time(home.now() - offset, end).expect("looks");
    }
    let file = data(&home);
    let left = (0..bytes / 4096).filter(|page| resident(file.as_fd(), page * 4096, 1)).count();
    assert_eq!(left, 0, "of {} pages", bytes / 4096);
}
