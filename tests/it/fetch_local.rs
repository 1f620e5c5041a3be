//! Fetch of local data that is not in the page cache: complete, by the cold lane, and still not in the cache afterwards.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use firnline_tiering::hot::syscall::resident;
use std::os::fd::AsFd;

use crate::harness::asks::bytes;
use crate::harness::broker::TestBroker;
use crate::harness::records::{bulk, whole};

/// Bytes of records in each batch, and batches.
const BATCH: usize = 50_000;
const BATCHES: usize = 100;

/// The segments of the topic's only partition.
fn segments(broker: &TestBroker, topic: &str) -> Vec<PathBuf> {
    let dir = broker.data_dir().join(format!("{topic}-0"));
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|kind| kind == "log")).collect()
}

/// Writes the files back and drops their pages; false where the file system keeps them (tmpfs has no other place).
fn make_cold(paths: &[PathBuf]) -> bool {
    let cold = |path: &PathBuf| {
        let file = File::open(path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        file.metadata().unwrap().len() == 0 || !resident(file.as_fd(), 0, 1)
    };
    paths.iter().all(cold)
}

#[tokio::test]
async fn cold_local_data_comes_whole_and_stays_out_of_the_cache() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("history", 1, &[("segment.bytes", "2000000")]).await;
    let sent: Vec<_> = (0..BATCHES as u64).map(|serial| bulk(serial, BATCH)).collect();
    for batch in &sent {
        client.append("history", 0, batch.clone()).await;
    }
    let paths = segments(&broker, "history");
    assert!(paths.len() > 2, "{paths:?}");
    if !make_cold(&paths) {
        return;
    }
    let counters = Arc::clone(&broker.broker().shared().counters);
    let (cold, hot) = (counters.fetch_cold_bytes.get(), counters.fetch_sendfile_bytes.get());
    let (mut next, mut read) = (0, 0);
    while next < BATCHES as i64 {
        // No patience for new records: what lies on disk is waited for all the same.
        let answer = bytes(&client.fetch("history", 0, next, 300_000, 0).await.unwrap());
        let batches = whole(&answer);
        assert!(!batches.is_empty(), "nothing at {next}");
        for (header, _) in &batches {
            assert_eq!(header.base_offset.0, next);
            next = header.next_offset().0;
        }
        read += answer.len() as u64;
    }
    assert_eq!(counters.fetch_cold_bytes.get() - cold, read, "all of it took the cold lane");
    assert_eq!(counters.fetch_sendfile_bytes.get(), hot);
    let cached = |path: &PathBuf| {
        let file = File::open(path).unwrap();
        let pages = file.metadata().unwrap().len() / 4096;
        (0..pages).filter(|page| resident(file.as_fd(), page * 4096, 1)).count()
    };
    let (left, all): (usize, u64) = (paths.iter().map(cached).sum(), read / 4096);
    assert!((left as u64) < all / 50, "{left} of {all} pages are in the cache");
}
