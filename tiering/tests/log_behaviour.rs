//! What a log does beyond bytes in, bytes out: rolls, times, tiers, state taken over, many readers at once.
//! Byte-for-byte fidelity is `log_model.rs`, damage is `log_crash.rs`.
#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "a test says what it expects")]

mod support;

use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::control::{Outcome, end_transaction};
use firnline_tiering::batch::header::{BatchHeader, Codec, TimestampType, batches};
use firnline_tiering::batch::validate::{Invalid, Origin};
use firnline_tiering::cold::tier::{NO_EPOCH, TierRow, TierVersion};
use firnline_tiering::config::TopicCompression;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::file::{Files, OsFiles};
use firnline_tiering::log::append::{AppendAs, AppendError};
use firnline_tiering::log::open::{OpenLog, RemoteEnd};
use firnline_tiering::log::read::{Read, ReadError};
use firnline_tiering::log::relocate::{RelocateError, Relocation};
use firnline_tiering::log::time::TimeAnswer;
use firnline_tiering::log::truncate::CutError;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::{LogOffsets, Offset};
use firnline_tiering::producer::snapshot::decode_producers;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Home, bytes_of};

fn fresh(home: &Home) -> Arc<Log> {
    home.open(true, Offset::ZERO, Offset::ZERO).0
}

fn append(home: &Home, log: &Log, records: usize, epoch: i32) -> Offset {
    let mut batch = support::batch(records, 50, home.tick(), Codec::None, None);
    home.append(log, &mut batch, epoch).expect("appends").base_offset
}

fn row(end: i64) -> Arc<TierRow> {
    Arc::new(TierRow {
        version: TierVersion(1),
        leader_epoch: LeaderEpoch(0),
        log_start: Offset::ZERO,
        end: Offset(end),
        end_epoch: NO_EPOCH,
        manifest: None,
        entries: Vec::new(),
    })
}

fn remote_end(at: i64, epoch: i32) -> Option<RemoteEnd> {
    Some(RemoteEnd { at: Offset(at), epoch: LeaderEpoch(epoch) })
}

fn names(home: &Home, suffix: &str) -> Vec<String> {
    OsFiles.list(&home.path()).expect("lists").into_iter().filter(|name| name.ends_with(suffix)).collect()
}

#[test]
fn a_copy_made_while_the_log_is_written_is_the_log_byte_for_byte() {
    let home = Home::new();
    let log = fresh(&home);
    (0..30).for_each(|_| _ = append(&home, &log, 3, 0));
    let to = home.path().with_file_name("copy");
    OsFiles.create_dir_all(&to).expect("a directory");
    let mut copy = Relocation::begin(&log, &to).expect("begins").expect("no cleaner is at work");
    assert!(Relocation::begin(&log, &to).expect("asks").is_none(), "one at a time");
    let step = copy.step(3000).expect("a step");
    assert!(
        step.bytes == 3000 && step.left > 0 && step.upto > Offset(0) && step.upto < Offset(90),
        "{step:?}"
    );
    // Meanwhile it is written, under another epoch, and its beginning goes.
    (0..10).for_each(|_| _ = append(&home, &log, 3, 1));
    log.advance_log_start(Offset(40)).expect("moves the start");
    log.close().expect("closes");
    copy.finish().expect("the rest follows");
    let kept = |dir: &std::path::Path| -> Vec<(String, Vec<u8>)> {
        let names = OsFiles.list(dir).expect("lists").into_iter();
        let kept = names.filter(|name| !name.ends_with(".deleted"));
        kept.map(|name| (name.clone(), std::fs::read(dir.join(name)).expect("reads"))).collect()
    };
    assert_eq!(kept(&to), kept(&home.path()));
    let (end, lineage) = (log.offsets().end, log.lineage());
    let open = OpenLog { dir: to, clean_shutdown: true, recovery_point: end, ..home.open_log() };
    let (moved, _) = Log::open(OpenLog { log_start: Offset(40), ..open }).expect("opens");
    assert_eq!((moved.offsets(), moved.lineage()), (log.offsets(), lineage));
}

#[test]
fn a_log_that_was_cut_is_never_taken_for_copied() {
    let home = Home::new();
    let log = fresh(&home);
    (0..30).for_each(|_| _ = append(&home, &log, 3, 0));
    let to = home.path().with_file_name("copy");
    OsFiles.create_dir_all(&to).expect("a directory");
    let mut copy = Relocation::begin(&log, &to).expect("begins").expect("no cleaner is at work");
    assert_eq!(copy.step(u64::MAX).expect("a step").left, 0);
    log.truncate(Offset(50)).expect("cuts");
    (0..30).for_each(|_| _ = append(&home, &log, 3, 1));
    assert!(matches!(copy.step(u64::MAX), Err(RelocateError::Cut)));
    assert!(matches!(copy.finish(), Err(RelocateError::Cut)));
}

#[test]
fn an_empty_log_begins_again_inside_a_batch_and_keeps_its_start() {
    let home = Home::new();
    let (log, _) = home.open(true, Offset::ZERO, Offset(5));
    assert!(log.restart_inside(Offset(9)).is_err(), "above its end");
    log.restart_inside(Offset(3)).expect("begins again");
    let mut batch = support::batch(4, 50, home.tick(), Codec::None, None);
    // As a leader stored it: offsets 3 to 6.
    batch[..8].copy_from_slice(&3_i64.to_be_bytes());
    let how = AppendAs {
        leader_epoch: LeaderEpoch(0),
        now_ms: home.now(),
        origin: Origin::Follower,
        produce_version: i16::MAX,
    };
    log.append(&mut batch, &how).expect("appends");
    assert_eq!((log.offsets().log_start, log.offsets().end), (Offset(5), Offset(7)));
    assert!(log.restart_inside(Offset(3)).is_err(), "it holds something");
}

#[test]
fn a_segment_rolls_by_size_by_the_batches_own_time_and_when_idle() {
    let mut home = Home::new();
    home.config.segment_ms = 1000;
    let log = fresh(&home);
    append(&home, &log, 1, 0);
    assert_eq!(log.segment_count(), 1);
    assert!(!log.roll_if_due().expect("asks"));
    // Kafka counts the age between the batches' timestamps, not the time they took to arrive.
    let mut late = support::batch(1, 5, home.now() + 2000, Codec::None, None);
    home.append(&log, &mut late, 0).expect("appends");
    assert_eq!(log.segment_count(), 2);
    // Old records arriving now do not make a segment old: it would roll at every turn of a backfill.
    let mut old = support::batch(1, 5, home.now() - 900_000, Codec::None, None);
    home.append(&log, &mut old, 0).expect("appends");
    assert!(!log.roll_if_due().expect("asks"));
    home.clock.0.fetch_add(1001, Ordering::SeqCst);
    assert!(log.roll_if_due().expect("rolls"));
    assert!(!log.roll_if_due().expect("asks"), "an empty segment stays");
    for _ in 0..40 {
        append(&home, &log, 3, 0);
    }
    let sizes: Vec<u64> = names(&home, ".log")
        .iter()
        .map(|name| OsFiles.len(&home.path().join(name)).expect("has a length"))
        .collect();
    assert!(sizes.iter().all(|size| *size <= home.config.segment_bytes), "{sizes:?}");
}

#[test]
fn a_full_index_rolls() {
    let mut home = Home::new();
    (home.config.segment_bytes, home.config.segment_index_bytes) = (1 << 20, 64);
    let log = fresh(&home);
    for _ in 0..60 {
        append(&home, &log, 1, 0);
    }
    assert!(log.segment_count() > 3, "{} segments", log.segment_count());
    log.close().expect("closes");
    for name in names(&home, "index") {
        assert!(OsFiles.len(&home.path().join(&name)).expect("has a length") <= 64 + 12, "{name}");
    }
}

#[test]
fn what_a_log_refuses_leaves_it_as_it_was() {
    let home = Home::new();
    let log = fresh(&home);
    append(&home, &log, 2, 5);
    let before = (log.offsets(), log.size_bytes());
    let mut large = support::batch(1, 3000, home.now(), Codec::None, None);
    let refused = home.append(&log, &mut large, 5);
    assert!(matches!(refused, Err(AppendError::LargerThanSegment { .. })), "{refused:?}");
    let mut stale = support::batch(1, 3, home.now(), Codec::None, None);
    let refused = home.append(&log, &mut stale, 4);
    assert!(matches!(refused, Err(AppendError::StaleEpoch { .. })), "{refused:?}");
    let mut gap = support::batch(1, 3, home.now(), Codec::None, Some((1, 0)));
    home.append(&log, &mut gap.clone(), 5).expect("appends");
    let after_first = (log.offsets(), log.size_bytes());
    gap = support::batch(1, 3, home.now(), Codec::None, Some((1, 7)));
    assert!(matches!(home.append(&log, &mut gap, 5), Err(AppendError::Sequence(_))));
    let mut damaged = support::batch(1, 3, home.now(), Codec::None, None);
    *damaged.last_mut().expect("bytes") ^= 1;
    assert!(matches!(home.append(&log, &mut damaged, 5), Err(AppendError::Invalid(Invalid::Crc(_)))));
    assert_eq!((log.offsets(), log.size_bytes()), after_first);
    assert_ne!(before, after_first);
    log.close().expect("closes");
    let mut last = support::batch(1, 3, home.now(), Codec::None, None);
    assert!(matches!(home.append(&log, &mut last, 5), Err(AppendError::Closed)));
}

#[test]
fn an_abandoned_log_writes_nothing_more_and_its_directory_may_go() {
    let home = Home::new();
    let log = fresh(&home);
    for _ in 0..40 {
        append(&home, &log, 3, 0);
    }
    let before = names(&home, "");
    log.abandon();
    let mut last = support::batch(1, 3, home.now(), Codec::None, None);
    assert!(matches!(home.append(&log, &mut last, 0), Err(AppendError::Closed)));
    log.maintain().expect("there is nothing to do");
    log.flush().expect("there is nothing to do");
    assert_eq!(names(&home, ""), before, "no snapshot, no index, no checkpoint");
    std::fs::remove_dir_all(home.path()).expect("it goes");
    log.maintain().expect("whoever still holds it finds nothing to do");
    assert_eq!(log.offline(), None);
}

#[test]
fn log_append_time_and_recompression_are_stored_and_answered() {
    let mut home = Home::new();
    home.config.timestamp_type = TimestampType::LogAppendTime;
    home.config.compression = TopicCompression::Always(Codec::Zstd);
    let log = fresh(&home);
    let sent = support::batch(5, 90, 1000, Codec::Gzip, Some((4, 0)));
    let now = home.tick();
    let appended = home.append(&log, &mut sent.clone(), 0).expect("appends");
    assert_eq!(appended.log_append_time_ms, now);
    home.tick();
    let retry = home.append(&log, &mut sent.clone(), 0).expect("is a duplicate");
    assert!(retry.duplicate);
    assert_eq!(retry.log_append_time_ms, now, "the time of the first attempt");
    let Ok(Read::Hot(slice)) = log.read(Offset::ZERO, 1 << 20, log.offsets().end, true) else {
        panic!("reads")
    };
    let bytes = bytes_of(&slice);
    let header = BatchHeader::parse_whole(&bytes).expect("a batch");
    header.check_crc(&bytes).expect("undamaged");
    assert_eq!((header.codec(), header.timestamp_type()), (Ok(Codec::Zstd), TimestampType::LogAppendTime));
    assert_eq!(header.max_timestamp, now);
    let found = log.offset_for_time(now, log.offsets().end).expect("looks");
    assert_eq!(
        found,
        TimeAnswer::Found { offset: Offset(0), timestamp_ms: now, leader_epoch: Some(LeaderEpoch(0)) }
    );
    assert_eq!(log.offset_for_time(now + 1, log.offsets().end).expect("looks"), TimeAnswer::NotFound);
}

#[test]
fn a_time_lookup_sees_nothing_at_or_above_its_bound_and_skips_what_it_cannot_open() {
    let home = Home::new();
    let log = fresh(&home);
    let now = home.now();
    // Claims gzip, holds nonsense: trusted by its header until someone opens it.
    let mut poison = support::batch(3, 40, now, Codec::None, None);
    poison[22] = 1;
    let crc = firnline_tiering::batch::header::crc32c(&poison[21..]);
    poison[17..21].copy_from_slice(&crc.to_be_bytes());
    home.append(&log, &mut poison, 0).expect("a compressed batch is trusted");
    let mut good = support::batch(3, 40, now + 5, Codec::Lz4, None);
    home.append(&log, &mut good, 0).expect("appends");
    let found = |bound| log.offset_for_time(now, Offset(bound)).expect("looks");
    assert!(matches!(found(6), TimeAnswer::Found { offset: Offset(3), .. }), "{:?}", found(6));
    assert_eq!(found(3), TimeAnswer::NotFound);
    assert!(matches!(log.max_timestamp(Offset(6)), Ok(TimeAnswer::Found { offset: Offset(5), .. })));
}

#[test]
fn the_largest_timestamp_is_found_where_the_log_start_cuts_the_batch_that_held_it() {
    let home = Home::new();
    let log = fresh(&home);
    let put = |timestamps: &[i64]| {
        let mut builder = BatchBuilder::new();
        for timestamp in timestamps {
            builder.push(*timestamp, Some(b"k"), Some(b"v"), &[]);
        }
        home.append(&log, &mut builder.build().to_vec(), 0).expect("appends");
    };
    put(&[100, 50, 60]);
    put(&[40, 60, 55]);
    log.roll().expect("rolls");
    put(&[58]);
    let largest = || match log.max_timestamp(Offset(7)).expect("looks") {
        TimeAnswer::Found { offset, timestamp_ms, .. } => Some((offset.0, timestamp_ms)),
        _ => None,
    };
    for (start, found) in [(0, (0, 100)), (1, (2, 60)), (3, (4, 60)), (5, (6, 58))] {
        log.advance_log_start(Offset(start)).expect("moves");
        assert_eq!(largest(), Some(found), "from {start}");
    }
}

#[test]
fn released_segments_are_cold_and_the_rest_stays() {
    let home = Home::new();
    let log = fresh(&home);
    for _ in 0..60 {
        append(&home, &log, 2, 0);
    }
    log.maintain().expect("maintains");
    let sealed = log.sealed();
    assert!(sealed.len() >= 3 && sealed.len() == log.segment_count() - 1);
    assert!(sealed.windows(2).all(|pair| pair[0].next == pair[1].base));
    for one in &sealed {
        assert_eq!(decode_producers(&one.producers().expect("reads")).expect("decodes").0, one.next);
        assert_eq!(one.offset_index().expect("reads").len() % 8, 0);
        assert_eq!(one.time_index().expect("reads").len() % 12, 0);
        assert_eq!(one.file.len().expect("has a length"), one.bytes);
        assert_eq!(one.lineage.spans(), [(LeaderEpoch(0), one.base)]);
    }
    let below = sealed[1].next;
    let Ok(Read::Hot(held)) = log.read(Offset::ZERO, 1 << 20, below, true) else { panic!("reads") };
    let before = bytes_of(&held);
    log.set_tier(row(below.0));
    log.release_local(below).expect("releases");
    let end = log.offsets().end;
    assert_eq!(log.offsets(), LogOffsets { log_start: Offset::ZERO, local_start: below, end });
    assert!(matches!(log.read(Offset(3), 100, end, true), Ok(Read::Cold)));
    assert!(matches!(log.read(below, 100, end, true), Ok(Read::Hot(_))));
    assert_eq!(log.offset_for_time(0, end).expect("looks"), TimeAnswer::Cold);
    let TimeAnswer::Found { offset, .. } = log.offset_for_time_local(0, end).expect("looks") else {
        panic!("nothing")
    };
    assert_eq!(offset, below);
    assert_eq!(bytes_of(&held), before, "a reader keeps the file it holds");
    // The names go first, the bytes after file.delete.delay.ms.
    assert_eq!(names(&home, ".log.deleted").len(), 2);
    log.maintain().expect("maintains");
    assert_eq!(names(&home, ".log.deleted").len(), 2);
    home.tick();
    log.maintain().expect("maintains");
    assert!(names(&home, ".deleted").is_empty());
    assert_eq!(bytes_of(&held), before);
    assert!(
        matches!(log.truncate(Offset(1)), Err(CutError::BelowFloor { .. })),
        "what the bucket holds stays"
    );
    // A restart finds the local part where it was.
    log.close().expect("closes");
    let open =
        OpenLog { clean_shutdown: true, committed_remote_end: remote_end(below.0, 0), ..home.open_log() };
    let (log, recovered) = Log::open(open).expect("opens");
    assert!(!recovered.restarted_at_remote_end);
    assert_eq!(log.offsets(), LogOffsets { log_start: Offset::ZERO, local_start: below, end });
}

#[test]
#[should_panic(expected = "the bucket ends at 10")]
fn local_bytes_never_go_before_the_bucket_has_them() {
    let home = Home::new();
    let log = fresh(&home);
    append(&home, &log, 20, 0);
    log.set_tier(row(10));
    let _ = log.release_local(Offset(11));
}

#[test]
fn a_log_that_ends_below_the_bucket_starts_over_there() {
    let home = Home::new();
    let log = fresh(&home);
    let mut batch = support::batch(5, 50, home.tick(), Codec::None, Some((3, 0)));
    home.append(&log, &mut batch, 0).expect("appends");
    log.roll().expect("rolls");
    log.maintain().expect("maintains");
    let (lineage, window) = (log.lineage(), log.sealed()[0].producers().expect("reads"));
    drop(log);
    let remote = OpenLog { committed_remote_end: remote_end(900, 0), ..home.open_log() };
    let (log, recovered) = Log::open(remote.clone()).expect("opens");
    assert!(recovered.restarted_at_remote_end);
    assert_eq!(
        log.offsets(),
        LogOffsets { log_start: Offset(0), local_start: Offset(900), end: Offset(900) }
    );
    // A crash before the state is taken over: the next start asks for it again.
    drop(log);
    let (log, recovered) = Log::open(remote.clone()).expect("opens");
    assert!(recovered.restarted_at_remote_end);
    log.restore((*lineage).clone(), Some(&window)).expect("takes over");
    assert_eq!(log.lineage(), lineage);
    let retry = home.append(&log, &mut support::batch(5, 50, home.now(), Codec::None, Some((3, 0))), 0);
    assert!(retry.expect("the window came along").duplicate);
    let mut next = support::batch(1, 50, home.tick(), Codec::None, Some((3, 5)));
    assert_eq!(home.append(&log, &mut next, 1).expect("appends").base_offset, Offset(900));
    assert!(log.restore((*lineage).clone(), None).is_err(), "a log with records has its own state");
    drop(log);
    // The restored state survives a crash.
    let (log, recovered) = Log::open(remote).expect("opens");
    assert!(!recovered.restarted_at_remote_end);
    assert_eq!(log.lineage().spans().len(), 2);
    assert_eq!(
        log.producers().get(3).and_then(|state| state.last_batch()).map(|last| last.last_sequence),
        Some(5)
    );
}

#[test]
fn a_log_that_disagrees_with_the_buckets_epochs_starts_over_there() {
    // Epoch 0 wrote [0, 6), epoch 2 wrote [6, 12): what a deposed leader may hold, while the bucket has epoch 1's.
    let written = || {
        let home = Home::new();
        let log = fresh(&home);
        for epoch in [0, 0, 0, 2, 2, 2] {
            append(&home, &log, 2, epoch);
        }
        log.close().expect("closes");
        home
    };
    let reopened = |home: &Home, at: i64, epoch: i32, clean: bool| {
        let open =
            OpenLog { clean_shutdown: clean, committed_remote_end: remote_end(at, epoch), ..home.open_log() };
        let (log, recovered) = Log::open(open).expect("opens");
        (recovered.restarted_at_remote_end, log)
    };
    for clean in [true, false] {
        for (at, epoch, fits) in [
            (6, 0, true),
            (6, 1, false),
            (5, 0, true),
            (7, 2, true),
            (7, 0, false),
            (12, 2, true),
            (12, 3, false),
        ] {
            let home = written();
            let (restarted, log) = reopened(&home, at, epoch, clean);
            assert_eq!(restarted, !fits, "the bucket ends at {at} under epoch {epoch}");
            if fits {
                assert_eq!(log.lineage().spans(), [(LeaderEpoch(0), Offset(0)), (LeaderEpoch(2), Offset(6))]);
                continue;
            }
            let start = LogOffsets { log_start: Offset(0), local_start: Offset(at), end: Offset(at) };
            assert_eq!(log.offsets(), start);
            assert!(log.lineage().is_empty() && log.producers().is_empty(), "{:?}", log.lineage());
            assert_eq!(names(&home, ".log").len(), 1);
        }
    }
}

#[test]
fn a_log_that_forgot_its_epochs_below_the_bucket_s_end_keeps_what_it_has_above() {
    let home = Home::new();
    let log = fresh(&home);
    for _ in 0..60 {
        append(&home, &log, 2, 4);
    }
    log.maintain().expect("maintains");
    let below = log.sealed()[1].next;
    log.set_tier(row(below.0));
    log.release_local(below).expect("releases");
    let end = log.offsets().end;
    log.close().expect("closes");
    std::fs::remove_file(home.path().join("leader-epoch-checkpoint")).expect("removes");
    let open = |epoch| {
        let committed_remote_end = remote_end(below.0, epoch);
        Log::open(OpenLog { clean_shutdown: true, committed_remote_end, ..home.open_log() }).expect("opens")
    };
    let (log, recovered) = open(4);
    assert!(!recovered.restarted_at_remote_end);
    assert_eq!((log.offsets().end, log.end_of_epoch(LeaderEpoch(4))), (end, Some((LeaderEpoch(4), end))));
    drop(log);
    // Written under an older epoch than what the bucket holds below it: not the same log.
    assert!(open(5).1.restarted_at_remote_end);
}

#[test]
fn a_log_whose_start_moved_beyond_the_bucket_s_end_keeps_what_it_has_above() {
    let home = Home::new();
    let log = fresh(&home);
    for _ in 0..60 {
        append(&home, &log, 2, 4);
    }
    log.maintain().expect("maintains");
    let (below, start) = (log.sealed()[1].next, log.sealed()[3].next);
    log.set_tier(row(below.0));
    // DeleteRecords takes all that the bucket holds, and what it was about to get.
    log.advance_log_start(start).expect("moves");
    let offsets = log.offsets();
    assert_eq!(offsets, LogOffsets { log_start: start, local_start: start, end: offsets.end });
    assert!(offsets.end > start);
    log.close().expect("closes");
    for clean_shutdown in [true, false] {
        let committed_remote_end = remote_end(below.0, 4);
        let open = OpenLog { clean_shutdown, committed_remote_end, log_start: start, ..home.open_log() };
        let (log, recovered) = Log::open(open).expect("opens");
        assert!(!recovered.restarted_at_remote_end);
        assert_eq!(log.offsets(), offsets);
    }
    // Where the log start is below, what is missing locally has to be in the bucket.
    let open = OpenLog { committed_remote_end: remote_end(below.0, 4), log_start: below, ..home.open_log() };
    assert!(Log::open(open).expect("opens").1.restarted_at_remote_end);
}

#[test]
fn transactions_leave_their_mark_across_a_restart() {
    let home = Home::new();
    let log = fresh(&home);
    append(&home, &log, 1, 0);
    let mut builder = BatchBuilder::new().producer(8, 0, 0).transactional();
    builder.push(home.now(), None, Some(b"v"), &[]);
    home.append(&log, &mut builder.build().to_vec(), 0).expect("appends");
    assert_eq!(log.first_undecided(), Some(Offset(1)));
    let log = home.open(false, Offset::ZERO, Offset::ZERO).0;
    assert_eq!(log.first_undecided(), Some(Offset(1)));
    let coordinator = AppendAs {
        leader_epoch: LeaderEpoch(0),
        now_ms: home.now(),
        origin: Origin::Coordinator,
        produce_version: 9,
    };
    let mut marker = end_transaction(8, 0, Outcome::Commit, 3, home.now()).to_vec();
    log.append(&mut marker, &coordinator).expect("appends");
    assert_eq!(log.first_undecided(), None);
    let mut old = end_transaction(8, 0, Outcome::Abort, 2, home.now()).to_vec();
    assert!(
        matches!(log.append(&mut old, &coordinator), Err(AppendError::Sequence(_))),
        "a replaced coordinator"
    );
    let log = home.open(false, Offset::ZERO, Offset::ZERO).0;
    assert_eq!(log.first_undecided(), None);
    assert_eq!(log.producers().get(8).map(|state| state.coordinator_epoch), Some(3));
}

#[test]
fn a_follower_keeps_the_leaders_offsets_and_may_jump_a_gap() {
    let home = Home::new();
    let log = fresh(&home);
    let how = AppendAs {
        leader_epoch: LeaderEpoch(0),
        now_ms: home.now(),
        origin: Origin::Follower,
        produce_version: 9,
    };
    let copied = |base: i64, epoch: i32| {
        let mut builder = BatchBuilder::new().base_offset(Offset(base)).leader_epoch(LeaderEpoch(epoch));
        builder.push(1000 + base, None, Some(b"v"), &[]).push(1000 + base, None, Some(b"w"), &[]);
        builder.build().to_vec()
    };
    for (base, epoch) in [(0, 0), (2, 0), (10, 3), (i64::from(i32::MAX) + 50, 3)] {
        log.append(&mut copied(base, epoch), &how).expect("appends");
    }
    let refused = log.append(&mut copied(5, 3), &how);
    assert!(matches!(refused, Err(AppendError::OutOfOrder { .. })), "{refused:?}");
    let end = log.offsets().end;
    assert_eq!(end, Offset(i64::from(i32::MAX) + 52));
    assert_eq!(log.segment_count(), 2, "an index entry cannot reach that far");
    // 4..10 was compacted away on the leader: the next batch answers.
    let Ok(Read::Hot(slice)) = log.read(Offset(4), 10, end, true) else { panic!("reads") };
    assert_eq!(slice.first, Offset(10));
    let Ok(Read::Hot(slice)) = log.read(Offset(500), 10, end, true) else { panic!("reads") };
    assert_eq!(slice.first, Offset(i64::from(i32::MAX) + 50));
    assert_eq!(log.end_of_epoch(LeaderEpoch(1)), Some((LeaderEpoch(0), Offset(10))));
    assert_eq!(log.end_of_epoch(LeaderEpoch(4)), None);
    // A bound inside the gap hides what comes after it and nothing else.
    let Ok(Read::Hot(slice)) = log.read(Offset(0), 1 << 20, Offset(7), true) else { panic!("reads") };
    assert_eq!(batches(&bytes_of(&slice)).count(), 2);
}

#[test]
fn an_epoch_counts_from_the_moment_it_begins() {
    let home = Home::new();
    let log = fresh(&home);
    append(&home, &log, 3, 0);
    log.begin_epoch(LeaderEpoch(4));
    assert_eq!(
        log.end_of_epoch(LeaderEpoch(4)),
        Some((LeaderEpoch(4), Offset(3))),
        "before its first record"
    );
    assert_eq!(log.end_of_epoch(LeaderEpoch(2)), Some((LeaderEpoch(0), Offset(3))));
    let mut late = support::batch(1, 3, home.now(), Codec::None, None);
    assert!(matches!(home.append(&log, &mut late, 0), Err(AppendError::StaleEpoch { .. })));
    log.begin_epoch(LeaderEpoch(2));
    log.begin_epoch(LeaderEpoch(6));
    append(&home, &log, 1, 6);
    assert_eq!(log.lineage().spans(), [(LeaderEpoch(0), Offset(0)), (LeaderEpoch(6), Offset(3))]);
}

#[test]
fn a_flush_comes_when_its_time_is_over_and_something_waits() {
    let mut home = Home::new();
    home.config.flush_ms = 100;
    let log = fresh(&home);
    home.clock.0.fetch_add(1000, Ordering::SeqCst);
    assert!(!log.flush_if_due().expect("asks"), "nothing waits");
    append(&home, &log, 2, 0);
    assert_eq!((log.unflushed(), log.recovery_point()), (2, Offset(0)));
    assert!(log.flush_if_due().expect("flushes"), "the last one is long ago");
    assert_eq!((log.unflushed(), log.recovery_point()), (0, Offset(2)));
    append(&home, &log, 2, 0);
    assert!(!log.flush_if_due().expect("asks"));
    home.clock.0.fetch_add(100, Ordering::SeqCst);
    assert!(log.flush_if_due().expect("flushes"));
    append(&home, &log, 2, 0);
    home.config.flush_ms = i64::MAX;
    log.set_config(home.config.clone());
    home.clock.0.fetch_add(1 << 40, Ordering::SeqCst);
    assert!(!log.flush_if_due().expect("asks"), "left to the kernel");
}

#[test]
fn so_many_records_at_most_wait_for_a_flush() {
    let mut home = Home::new();
    home.config.flush_messages = 5;
    let log = fresh(&home);
    append(&home, &log, 4, 0);
    assert_eq!(log.flush_wanted(), None);
    assert!(!log.flush_if_due().expect("asks"));
    append(&home, &log, 2, 0);
    assert_eq!(log.flush_wanted(), Some(Offset(6)));
    log.flush_to(Offset(6)).expect("flushes");
    assert_eq!((log.flush_wanted(), log.recovery_point()), (None, Offset(6)));
    append(&home, &log, 5, 0);
    assert!(log.flush_if_due().expect("flushes"), "for those whose producers do not wait");
    append(&home, &log, 1, 0);
    log.flush_to(Offset(11)).expect("has nothing to do");
    assert_eq!(log.recovery_point(), Offset(11), "the twelfth was not asked for");
}

#[test]
fn silent_producers_are_forgotten_when_it_is_time_to_look() {
    let mut home = Home::new();
    (home.config.producer_expiration_ms, home.config.producer_check_ms) = (1000, 5000);
    let log = fresh(&home);
    let write = |producer: i64, transactional: bool| {
        let mut builder = BatchBuilder::new().producer(producer, 0, 0);
        if transactional {
            builder = builder.transactional();
        }
        builder.push(home.now(), None, Some(b"v"), &[]);
        home.append(&log, &mut builder.build().to_vec(), 0).expect("appends");
    };
    write(1, false);
    write(2, true);
    home.clock.0.fetch_add(4000, Ordering::SeqCst);
    write(3, false);
    let known = || -> Vec<i64> {
        log.maintain().expect("maintains");
        log.producers().iter().map(|state| state.producer_id).collect()
    };
    assert_eq!(known(), [1, 2, 3], "silent, but nobody looks yet");
    home.clock.0.fetch_add(1000, Ordering::SeqCst);
    assert_eq!(known(), [2], "1 and 3 are silent for 1000 ms, 2 has a transaction open");
}

#[test]
fn preallocated_room_is_given_back_when_a_segment_is_sealed() {
    use std::os::unix::fs::MetadataExt;
    let mut home = Home::new();
    (home.config.preallocate, home.config.segment_bytes) = (true, 4 << 20);
    let log = fresh(&home);
    let taken = |at: i64| {
        let path = home.path().join(format!("{at:020}.log"));
        std::fs::metadata(path).expect("is there").blocks() * 512
    };
    let first = append(&home, &log, 3, 0);
    let reserved = taken(first.0);
    log.roll().expect("rolls");
    log.maintain().expect("maintains");
    // Some file systems cannot take room ahead.
    assert!(!(1 << 16..4 << 20).contains(&reserved), "{reserved} bytes taken");
    assert!(taken(0) < 1 << 16, "{} bytes still taken", taken(0));
    append(&home, &log, 3, 0);
    let (bytes, end) = (log.size_bytes(), log.offsets().end);
    drop(log);
    // The room ahead is no part of the log.
    let (log, recovered) = home.open(false, Offset::ZERO, Offset::ZERO);
    assert_eq!((recovered.bytes_cut, log.size_bytes(), log.offsets().end), (0, bytes, end));
}

#[test]
fn damaged_small_files_are_rebuilt() {
    let home = Home::new();
    let log = fresh(&home);
    for epoch in [0, 0, 4, 7] {
        append(&home, &log, 2, epoch);
    }
    let lineage = log.lineage();
    log.close().expect("closes");
    drop(log);
    let checkpoint = home.path().join("leader-epoch-checkpoint");
    for text in ["", "1\n0\n", "0\n9\n", "garbage"] {
        std::fs::write(&checkpoint, text).expect("writes");
        std::fs::write(home.path().join("00000000000000000008.producers"), text).expect("writes");
        std::fs::write(home.path().join("00000000000000000099.snapshot"), text).expect("writes");
        let log = home.open(true, Offset::ZERO, Offset::ZERO).0;
        assert_eq!(log.lineage(), lineage, "after {text:?}");
        log.close().expect("closes");
    }
    std::fs::write(home.path().join("00000000000000000000.log.swap"), "").expect("writes");
    let log = home.open(true, Offset::ZERO, Offset::ZERO).0;
    assert_eq!(log.lineage(), lineage, "an empty swap file replaces nothing");
}

#[test]
fn a_log_whose_records_all_expired_starts_where_it_should() {
    let home = Home::new();
    let log = fresh(&home);
    for _ in 0..20 {
        append(&home, &log, 2, 0);
    }
    let end = log.offsets().end;
    log.roll().expect("rolls");
    log.advance_log_start(end).expect("advances");
    assert_eq!((log.segment_count(), log.size_bytes()), (1, 0));
    assert!(matches!(log.advance_log_start(end + 1), Err(CutError::AboveEnd { .. })));
    log.advance_log_start(Offset(3)).expect("is a no-op");
    drop(log);
    let log = home.open(false, Offset::ZERO, end).0;
    assert_eq!(log.offsets(), LogOffsets { log_start: end, local_start: end, end });
    drop(log);
    // A start beyond the end (the end was lost): the log goes on from there.
    let log = home.open(false, Offset::ZERO, end + 100).0;
    assert_eq!(log.offsets().end, end + 100);
}

/// One writer, many readers, housekeeping and retention at the same time: no reader ever sees half a batch, a
/// wrong offset or an error it cannot explain.
#[test]
fn readers_need_no_lock() {
    let mut home = Home::new();
    home.config.segment_bytes = 4000;
    let log = fresh(&home);
    let done = AtomicBool::new(false);
    let home = &home;
    std::thread::scope(|scope| {
        for reader in 0..3_i64 {
            let (log, done) = (&log, &done);
            scope.spawn(move || {
                let mut turns = 0_i64;
                while !done.load(Ordering::Relaxed) || turns < 100 {
                    turns += 1;
                    let offsets = log.offsets();
                    let span = (offsets.end - offsets.log_start).max(1);
                    let from = offsets.log_start + (turns * 37 + reader * 11) % span;
                    check_one(log, from, offsets.end);
                }
            });
        }
        let (keeper, done) = (&log, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let offsets = keeper.offsets();
                keeper.maintain().expect("maintains");
                let to = offsets.log_start + (offsets.end - offsets.log_start) / 3;
                keeper.advance_log_start(to).expect("advances");
                home.tick();
            }
        });
        for at in 0..3000 {
            let mut batch = support::batch(at % 5 + 1, at % 60, home.now(), Codec::None, None);
            while let Err(error) = home.append(&log, &mut batch, 0) {
                assert!(matches!(error, AppendError::Busy), "{error}");
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(log.offsets().log_start > Offset::ZERO);
}

fn check_one(log: &Log, from: Offset, bound: Offset) {
    match log.read(from, 900, bound, true) {
        Ok(Read::Hot(slice)) => {
            let bytes = bytes_of(&slice);
            let mut next = slice.first;
            assert!(next <= from);
            for batch in batches(&bytes) {
                let (header, batch) = batch.expect("whole batches");
                header.check_crc(batch).expect("undamaged");
                assert_eq!(header.base_offset, next);
                next = header.next_offset();
            }
            assert!(next > from && next <= bound, "{from} to {next}, bound {bound}");
        }
        Ok(Read::Empty) => assert!(from >= bound, "nothing at {from} below {bound}"),
        Err(ReadError::OutOfRange { log_start, .. }) => assert!(from < log_start),
        Ok(Read::Cold) => panic!("a log without a bucket has no cold part, at {from}"),
        Err(error) => panic!("{error}"),
    }
}
