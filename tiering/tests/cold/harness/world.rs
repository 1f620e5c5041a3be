//! Everything a test of the cold tier needs, wired together: bucket, store, quorum, cache, reader, tier, clock.

use crate::harness::bucket::FaultyBucket;
use crate::harness::quorum::Quorum;
use crate::harness::segment::{InMemoryFile, Made};
use bytes::Bytes;
use firnline_cache::read_through::{CacheConfig, ReadThrough};
use firnline_tiering::clock::Clock;
use firnline_tiering::cold::commit::TierCommit;
use firnline_tiering::cold::entry::Entry;
use firnline_tiering::cold::layout::{Layout, ObjectName};
use firnline_tiering::cold::manifest_store::ManifestStore;
use firnline_tiering::cold::marker::Bucket;
use firnline_tiering::cold::reader::ColdReader;
use firnline_tiering::cold::store::{Store, StoreLimits};
use firnline_tiering::cold::tier::{TierChange, TierChangeKind, TierRow};
use firnline_tiering::config::{LogConfig, LogId};
use firnline_tiering::entropy::Entropy;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::file::OsFiles;
use firnline_tiering::log::open::OpenLog;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offload::context::{Led, Notes, Tier};
use firnline_tiering::offload::intent::Intents;
use firnline_tiering::offload::upload::{Upload, UploadError};
use firnline_tiering::offsets::Offset;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Handle;

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct HandClock(pub AtomicI64);

impl HandClock {
    pub fn forward(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Numbers that differ and repeat from run to run.
#[derive(Debug, Default)]
pub struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, out: &mut [u8]) {
        for byte in out {
            let n = self.0.fetch_add(1, Ordering::Relaxed);
            *byte = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        }
    }
}

pub struct World {
    pub faulty: Arc<FaultyBucket>,
    pub bucket: Arc<Bucket>,
    pub quorum: Arc<Quorum>,
    pub reader: Arc<ColdReader>,
    pub cache: Arc<ReadThrough>,
    pub tier: Tier,
    pub clock: Arc<HandClock>,
    pub log: LogId,
    pub led: Led,
    pub dir: TempDir,
}

/// Fails fast: no test waits for a back-off.
pub fn quick() -> StoreLimits {
    StoreLimits { attempts: 2, first_wait: Duration::from_millis(1), ..StoreLimits::default() }
}

impl World {
    pub fn new() -> Self {
        Self::on(Arc::new(FaultyBucket::default()), Arc::new(Quorum::default()), tempfile::tempdir().unwrap())
    }

    /// The same bucket, quorum and disk, everything in memory forgotten: a restart.
    pub fn restarted(self) -> Self {
        Self::on(self.faulty, self.quorum, self.dir)
    }

    fn on(faulty: Arc<FaultyBucket>, quorum: Arc<Quorum>, dir: TempDir) -> Self {
        let entropy = Arc::new(Counted(AtomicU64::new(faulty.ledger().len() as u64 * 1000)));
        let store = Store::over(faulty.clone(), "memory://test", "", quick(), entropy.clone());
        let bucket = Bucket::new(store, Layout::new("cluster"));
        let manifests = ManifestStore::new(bucket.clone(), Handle::current());
        let config = CacheConfig { memory_bytes: 64 << 20, disk_bytes: 0, disk_dir: None };
        let cache = ReadThrough::new(config, Handle::current());
        let reader = ColdReader::new(bucket.clone(), manifests.clone(), cache.clone(), Handle::current());
        let clock = Arc::new(HandClock(AtomicI64::new(1_000_000)));
        let log = LogId::new("AAAAAAAAAAAAAAAAAAAAAQ/0");
        if quorum.row(&log).is_none() {
            quorum.create(&log);
        }
        let tier = Tier {
            bucket: bucket.clone(),
            manifests,
            commit: quorum.clone(),
            clock: clock.clone(),
            entropy,
            intents: Intents::open(dir.path(), Arc::new(OsFiles)).unwrap(),
            delete_grace_ms: 60_000,
            notes: Notes::default(),
        };
        let labels = vec![("cluster".to_owned(), "cluster".to_owned()), ("topic".to_owned(), "t".to_owned())];
        let led = Led { leader_epoch: LeaderEpoch(0), labels };
        Self { faulty, bucket, quorum, reader, cache, tier, clock, log, led, dir }
    }

    pub fn row(&self) -> Arc<TierRow> {
        self.quorum.row(&self.log).unwrap()
    }

    /// Uploads a made segment at the committed end.
    pub async fn upload(&self, made: &Made) -> Result<Entry, UploadError> {
        let row = self.row();
        let uuid = self.tier.entropy.uuid();
        let name = ObjectName::Segment { base: made.base, leader_epoch: self.led.leader_epoch, uuid };
        let key = self.bucket.layout.key(&self.log, &name);
        let upload = Upload {
            key: &key,
            uuid,
            file: &InMemoryFile(Bytes::from(made.bytes.clone())),
            file_bytes: made.bytes.len() as u64,
            segment_base: made.base,
            from: made.base,
            next: made.next,
            leader_epoch: self.led.leader_epoch,
            previous_epoch: row.end_epoch,
            producers: b"producers",
            aborted: &[],
            labels: &self.led.labels,
        };
        upload.run(&self.bucket.store, self.tier.entropy.as_ref()).await
    }

    /// Uploads and commits.
    pub async fn append(&self, made: &Made) -> Entry {
        let entry = self.upload(made).await.unwrap();
        self.commit(TierChangeKind::Append(entry)).await;
        entry
    }

    /// One change, decided on the present row.
    pub async fn commit(&self, kind: TierChangeKind) {
        let change = TierChange { on_version: self.row().version, leader_epoch: self.led.leader_epoch, kind };
        self.quorum.commit(&self.log, change).await.unwrap();
    }

    /// Keys of segments.
    pub async fn segments(&self) -> Vec<String> {
        let mut keys = self.faulty.keys().await;
        keys.retain(|key| key.ends_with(".firn"));
        keys
    }
}

/// A log on a real disk, in the world's folder.
pub fn open_log(world: &World, edit: impl FnOnce(&mut LogConfig)) -> Arc<Log> {
    let mut config = LogConfig { remote_enabled: true, file_delete_delay_ms: 0, ..LogConfig::default() };
    edit(&mut config);
    let (log, _) = Log::open(OpenLog {
        id: world.log.clone(),
        dir: world.dir.path().join("log-0"),
        config,
        files: Arc::new(OsFiles),
        health: Arc::default(),
        clock: world.clock.clone(),
        boot: None,
        clean_shutdown: false,
        recovery_point: Offset(0),
        log_start: Offset(0),
        committed_remote_end: None,
    })
    .unwrap();
    log
}

/// Seals the active segment and makes it durable.
pub fn roll(log: &Log) {
    assert!(log.roll().unwrap());
    log.maintain().unwrap();
}
