//! The hot path without its sockets: a produce request's 16 KiB batch into the log, and a fetch of 1 MiB out of it.
//! Each stands next to what no log can do without: a checksum and a write of the same bytes, a read of the same bytes.
#![allow(clippy::expect_used, reason = "a bench that cannot go on says so")]

#[path = "support/ratio.rs"]
mod ratio;
#[path = "support/scene.rs"]
mod scene;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use criterion::{Criterion, criterion_group, criterion_main};
use firnline::client::records::{PRODUCE_VERSION, production};
use firnline::wire::message::Encodable;
use firnline::wire::produce::ProduceView;
use firnline_tiering::batch::header::{CRC_FROM, crc32c};
use firnline_tiering::hot::file::{File, Files, OpenMode, OsFiles};
use firnline_tiering::log::read::{Read, Slice};
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;

use ratio::{Pair, timed};
use scene::{BATCH_BYTES, as_leader, batch, log};

/// Requests prepared before the clock runs.
const PREPARED: u64 = 64;
/// Size at which log and baseline file start over, so that a bench does not fill the disk.
const LOG_BYTES_MAX: u64 = 128 << 20;
const FETCH_BYTES: u64 = 1 << 20;

/// Takes one Produce request apart and appends its batch, as a serving core does.
fn parse_and_append(log: &Log, body: BytesMut) -> ProduceView {
    let mut view = ProduceView::parse(body, PRODUCE_VERSION).expect("a request of ours");
    let part = view.part(0);
    log.append(part.records.expect("it holds a batch"), &as_leader()).expect("a valid batch");
    view
}

fn produce(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut body = BytesMut::new();
    production("bench", 0, batch()).encode(&mut body, PRODUCE_VERSION).expect("encodes");
    let log = log(dir.path(), LOG_BYTES_MAX * 2);
    let mut pair = Pair::new(criterion, "parse+validate+append 16 KiB", BATCH_BYTES);
    pair.ours(|turns| {
        in_rounds(turns, |round| {
            if log.size_bytes() > LOG_BYTES_MAX {
                log.truncate(Offset(0)).expect("truncates");
            }
            let bodies: Vec<BytesMut> = (0..round).map(|_| BytesMut::from(&body[..])).collect();
            timed(|| bodies.into_iter().map(|body| parse_and_append(&log, body)).collect::<Vec<_>>())
        })
    });
    let (file, batch) = (create(dir.path()), batch());
    let mut at = 0;
    pair.baseline("crc32c+pwrite", |turns| {
        in_rounds(turns, |round| {
            if at > LOG_BYTES_MAX {
                file.truncate(0).expect("truncates");
                at = 0;
            }
            timed(|| {
                for _ in 0..round {
                    std::hint::black_box(crc32c(&batch[CRC_FROM..]));
                    file.write_at(&batch, at).expect("writes");
                    at += BATCH_BYTES as u64;
                }
            })
        })
    });
    pair.finish();
}

fn create(dir: &std::path::Path) -> Arc<dyn File> {
    OsFiles.open(&dir.join("baseline"), OpenMode::CreateNew).expect("a new file")
}

/// Runs `turns` turns in rounds of [`PREPARED`]; the sum of their times.
fn in_rounds(turns: u64, mut round: impl FnMut(u64) -> Duration) -> Duration {
    let (mut left, mut took) = (turns, Duration::ZERO);
    while left > 0 {
        let now = left.min(PREPARED);
        took += round(now);
        left -= now;
    }
    took
}

/// Finds and copies what a fetch from `from` gets, as the copy path does; sendfile would not even copy.
fn find_and_copy(log: &Log, from: Offset, buffer: &mut [u8]) -> Slice {
    let found = log.read(from, FETCH_BYTES, log.offsets().end, true).expect("reads");
    let Read::Hot(slice) = found else { panic!("offset {from} is not hot: {found:?}") };
    copy(&*slice.file, &mut buffer[..slice.len as usize], slice.at);
    slice
}

fn copy(file: &dyn File, buffer: &mut [u8], at: u64) {
    let mut done = 0;
    while done < buffer.len() {
        let read = file.read_at(&mut buffer[done..], at + done as u64).expect("reads");
        assert!(read > 0, "the file ends early");
        done += read;
    }
}

fn fetch(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, batch) = (log(dir.path(), LOG_BYTES_MAX), batch());
    for _ in 0..16 * FETCH_BYTES / BATCH_BYTES as u64 {
        log.append(&mut batch.to_vec(), &as_leader()).expect("a valid batch");
    }
    // The last place that a whole fetch can start at; offsets are spread over all before it.
    let last = log.offsets().end.0 - (FETCH_BYTES as i64 / BATCH_BYTES as i64 + 1) * 16;
    let mut buffer = vec![0; FETCH_BYTES as usize];
    let mut pair = Pair::new(criterion, "hot fetch 1 MiB", FETCH_BYTES as usize);
    let mut place = 0;
    let mut next = || {
        place += 7919;
        place % last
    };
    let slice = find_and_copy(&log, Offset(next()), &mut buffer);
    assert_eq!(slice.len, FETCH_BYTES, "a fetch is full");
    pair.ours(|turns| {
        timed(|| (0..turns).for_each(|_| _ = find_and_copy(&log, Offset(next()), &mut buffer)))
    });
    // The same places, already known: each batch holds sixteen records.
    let mut at = || next() as u64 / 16 * BATCH_BYTES as u64;
    pair.baseline("pread", |turns| timed(|| (0..turns).for_each(|_| copy(&*slice.file, &mut buffer, at()))));
    pair.finish();
}

criterion_group!(benches, produce, fetch);
criterion_main!(benches);
