//! A cold fetch from `file://`: find the object, read its chunk, check it, hand out whole batches. The cache forgets
//! the object before each turn. It stands next to a plain read of the same object's bytes.
#![allow(clippy::expect_used, reason = "a bench that cannot go on says so")]

#[path = "support/ratio.rs"]
mod ratio;
#[path = "support/scene.rs"]
mod scene;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use firnline_cache::read_through::{CacheConfig, ReadThrough};
use firnline_tiering::clock::SystemClock;
use firnline_tiering::cold::commit::{CommitError, TierCommit};
use firnline_tiering::cold::entry::Entry;
use firnline_tiering::cold::layout::Layout;
use firnline_tiering::cold::manifest_store::ManifestStore;
use firnline_tiering::cold::marker::Bucket;
use firnline_tiering::cold::reader::ColdReader;
use firnline_tiering::cold::store::{Store, StoreLimits};
use firnline_tiering::cold::tier::{TierChange, TierRow};
use firnline_tiering::cold::url::{BucketUrl, S3Options};
use firnline_tiering::config::LogId;
use firnline_tiering::entropy::OsEntropy;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::file::{Files, OsFiles};
use firnline_tiering::log::unified::Log;
use firnline_tiering::offload::context::{Led, Notes, Tier};
use firnline_tiering::offload::intent::Intents;
use firnline_tiering::offload::task::offload_once;
use firnline_tiering::offsets::Offset;
use tokio::runtime::{Handle, Runtime};

use ratio::{Pair, timed};
use scene::{BATCH_BYTES, as_leader, batch, log};

/// Batches of the segment: with its footer the object is one chunk of the cache.
const BATCHES: usize = 60;

/// A quorum of one row.
struct OneRow(Mutex<Arc<TierRow>>);

impl OneRow {
    fn now(&self) -> Arc<TierRow> {
        self.0.lock().expect("nobody panics holding it").clone()
    }
}

#[async_trait]
impl TierCommit for OneRow {
    async fn commit(&self, _: &LogId, change: TierChange) -> Result<Arc<TierRow>, CommitError> {
        let next = Arc::new(self.now().apply(&change)?);
        *self.0.lock().expect("nobody panics holding it") = next.clone();
        Ok(next)
    }

    fn row(&self, _: &LogId) -> Option<Arc<TierRow>> {
        Some(self.now())
    }
}

/// One segment in a bucket below `dir`, and what reads it.
struct Scene {
    log: Arc<Log>,
    row: Arc<TierRow>,
    cache: Arc<ReadThrough>,
    reader: Arc<ColdReader>,
}

impl Scene {
    async fn set_up(dir: &Path) -> Self {
        let url = BucketUrl::File { dir: dir.join("bucket") };
        let entropy = Arc::new(OsEntropy);
        let store = Store::open(&url, &S3Options::default(), StoreLimits::default(), entropy.clone());
        let bucket = Bucket::new(store.expect("a bucket"), Layout::new("bench"));
        let manifests = ManifestStore::new(bucket.clone(), Handle::current());
        let config = CacheConfig { memory_bytes: 64 << 20, disk_bytes: 0, disk_dir: None };
        let cache = ReadThrough::new(config, Handle::current());
        let reader = ColdReader::new(bucket.clone(), manifests.clone(), cache.clone(), Handle::current());
        let commit = Arc::new(OneRow(Mutex::new(Arc::new(TierRow::new(LeaderEpoch(0), Offset(0))))));
        let tier = Tier {
            bucket,
            manifests,
            commit: commit.clone(),
            clock: Arc::new(SystemClock),
            entropy,
            intents: Intents::open(dir, Arc::new(OsFiles)).expect("a folder for intents"),
            delete_grace_ms: 60_000,
            notes: Notes::default(),
        };
        let (log, batch) = (log(dir, 1 << 30), batch());
        for _ in 0..BATCHES {
            log.append(&mut batch.to_vec(), &as_leader()).expect("a valid batch");
        }
        assert!(log.roll().expect("rolls"), "the segment is sealed");
        log.maintain().expect("flushes");
        let led = Led { leader_epoch: LeaderEpoch(0), labels: Vec::new() };
        offload_once(&log, &led, log.offsets().end, &tier).await.expect("offloads");
        Self { log, row: commit.now(), cache, reader }
    }

    fn entry(&self) -> Entry {
        *self.row.inline_entry(Offset(0)).expect("the segment is in the bucket")
    }

    fn forget(&self, entry: &Entry) {
        self.cache.forget_object(entry.uuid.as_u128(), entry.chunks());
    }

    /// The whole segment in one fetch.
    async fn fetch(&self) -> usize {
        let bytes_max = (BATCHES * BATCH_BYTES) as u64;
        let read = self.reader.read(self.log.id(), &self.row, Offset(0), bytes_max, self.row.end).await;
        read.expect("reads").bytes.len()
    }
}

/// The one object of a segment below `folder`.
fn object(folder: &Path) -> Option<PathBuf> {
    let names = OsFiles.list(folder).ok()?;
    names.iter().find_map(|name| {
        let path = folder.join(name);
        if name.ends_with(".firn") { Some(path) } else { object(&path) }
    })
}

fn cold_fetch(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = Runtime::new().expect("a runtime");
    let scene = runtime.block_on(Scene::set_up(dir.path()));
    let entry = scene.entry();
    assert_eq!(runtime.block_on(scene.fetch()), BATCHES * BATCH_BYTES);
    let mut pair = Pair::new(criterion, "cold fetch 960 KiB from a folder as bucket", BATCHES * BATCH_BYTES);
    pair.ours(|turns| {
        let turn = || {
            scene.forget(&entry);
            timed(|| runtime.block_on(scene.fetch()))
        };
        (0..turns).map(|_| turn()).sum()
    });
    let path = object(&dir.path().join("bucket")).expect("an object");
    pair.baseline("fs read", |turns| {
        let read = || OsFiles.read_all(&path, 1 << 30).expect("reads");
        (0..turns).map(|_| timed(read)).sum()
    });
    pair.finish();
}

criterion_group!(benches, cold_fetch);
criterion_main!(benches);
