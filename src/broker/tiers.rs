//! The bucket and everything that leads there: store, names, manifests, chunk cache, cold reader, cold lane.
//! It moves nothing (`housekeeping.rs` does). Invariant: opening sends nothing, so that a bucket that is down delays and
//! fails no start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use firnline_cache::read_through::{CacheConfig, ReadThrough};
use firnline_controller::id::BrokerId;
use firnline_controller::image::metadata::MetadataImage;
use firnline_controller::record::kinds::Resource;
use firnline_tiering::cold::commit::TierCommit;
use firnline_tiering::cold::layout::Layout;
use firnline_tiering::cold::manifest_store::ManifestStore;
use firnline_tiering::cold::marker::Bucket;
use firnline_tiering::cold::pace::UNLIMITED;
use firnline_tiering::cold::probe::{Finding, probe};
use firnline_tiering::cold::reader::ColdReader;
use firnline_tiering::cold::store::{OpenStoreError, Store, StoreLimits};
use firnline_tiering::offload::context::{Notes, Tier};
use firnline_tiering::offload::intent::Intents;
use tokio::sync::watch;

use crate::broker::doors::{Doors, Runtimes};
use crate::broker::tier_counts::TierCounts;
use crate::config::broker::{BrokerConfig, Remote};
use crate::config::settings::Settings;
use crate::metadata::settings;
use crate::metadata::view::MetadataView;
use crate::partition::cold_desk::ColdAccess;
use crate::partition::cold_limits::ColdLimits;

/// Values altered for all brokers, and for this one.
type Dynamic = [BTreeMap<String, String>; 2];

/// Why the bucket's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TiersError {
    /// The store does not take them.
    #[error(transparent)]
    Store(#[from] OpenStoreError),
    /// The folder of open uploads cannot be read or made.
    #[error("the folder of open uploads: {0}")]
    Intents(#[from] std::io::Error),
}

/// The bucket and what leads there.
pub struct Tiers {
    /// The store and the names of this cluster in it.
    pub bucket: Arc<Bucket>,
    /// The chunk cache.
    pub cache: Arc<ReadThrough>,
    /// Reads history.
    pub reader: Arc<ColdReader>,
    /// The serving cores' lane to the reader.
    pub access: Arc<ColdAccess>,
    /// What offload, retention and purges work with.
    pub tier: Arc<Tier>,
    /// The settings.
    pub remote: Remote,
    /// What moved, and what is wrong.
    pub counts: TierCounts,
}

impl Tiers {
    /// Opens what the settings name; `None` without a bucket.
    pub fn open(
        config: &BrokerConfig,
        cluster_id: &str,
        doors: &Doors,
        commit: Arc<dyn TierCommit>,
        runtimes: &Runtimes,
    ) -> Result<Option<Arc<Self>>, TiersError> {
        let Some(remote) = config.remote.clone() else { return Ok(None) };
        let store = match &doors.bucket {
            Some(bucket) => bucket.clone(),
            None => Store::open(&remote.url, &remote.s3, StoreLimits::default(), doors.entropy.clone())?,
        };
        let bucket = Bucket::new(store, Layout::new(cluster_id));
        let manifests = ManifestStore::new(bucket.clone(), runtimes.cold.clone());
        let cache = ReadThrough::new(cache_config(&remote, config, runtimes), runtimes.cold.clone());
        let cold = runtimes.cold.clone();
        let reader = ColdReader::new(bucket.clone(), manifests.clone(), cache.clone(), cold.clone());
        let limits = ColdLimits::new(remote.fetch_wait_ms_max, remote.list_offsets_timeout_ms);
        let access =
            ColdAccess::new(reader.clone(), cold, remote.reads_max, remote.reads_waiting_max, limits);
        let tier = Arc::new(Tier {
            bucket: bucket.clone(),
            manifests,
            commit,
            clock: doors.clock.clone(),
            entropy: doors.entropy.clone(),
            intents: Intents::open(&config.log_dirs[0], doors.files.clone())?,
            delete_grace_ms: remote.delete_grace_ms,
            notes: Notes::default(),
        });
        Ok(Some(Arc::new(Self {
            bucket,
            cache,
            reader,
            access,
            tier,
            remote,
            counts: TierCounts::default(),
        })))
    }

    /// Finds out what the bucket can do, for people and dashboards. It always returns; spawn it beside the start.
    pub async fn look_at_bucket(&self) {
        let url = &self.remote.url;
        let report = probe(url, &self.remote.s3, &self.bucket.store, &*self.tier.entropy).await;
        let (reachable, range_get) = (&report.reachable, &report.range_get);
        let (checksum, versioning) = (&report.checksum, &report.versioning);
        match reachable {
            Finding::Yes => tracing::info!(%url, %range_get, %checksum, %versioning, "the bucket answers"),
            _ => {
                tracing::warn!(%url, %reachable, "the bucket does not answer: offload waits, cold reads fail")
            }
        }
        self.counts.probed(report);
    }

    /// Keeps what operators may change while the broker runs as the image says, until the image's source is gone.
    pub async fn follow(
        self: Arc<Self>,
        config: Arc<BrokerConfig>,
        mut images: watch::Receiver<Arc<MetadataImage>>,
    ) {
        let mut acted: Option<Dynamic> = None;
        loop {
            let view = MetadataView::new(images.borrow_and_update().clone());
            let overrides = [Resource::BrokerDefault, Resource::Broker(BrokerId(config.node_id))];
            let overrides = overrides.map(|resource| view.overrides(resource));
            if acted.as_ref() != Some(&overrides) {
                self.apply(&settings::in_force(&config, &view));
                acted = Some(overrides);
            }
            if images.changed().await.is_err() {
                return;
            }
        }
    }

    fn apply(&self, settings: &Settings) {
        let number =
            |name: &str, least: u64| settings.number(name).map_or(least, |value| value.max(1).unsigned_abs());
        self.access.limits().set(
            number("remote.fetch.max.wait.ms", self.remote.fetch_wait_ms_max),
            number("remote.list.offsets.request.timeout.ms", self.remote.list_offsets_timeout_ms),
        );
        let store = &self.bucket.store;
        store.copy_pace().set(number("remote.log.manager.copy.max.bytes.per.second", UNLIMITED));
        store.fetch_pace().set(number("remote.log.manager.fetch.max.bytes.per.second", UNLIMITED));
    }

    /// Closes the chunk cache.
    pub async fn close(&self) {
        self.cache.close().await;
    }
}

fn cache_config(remote: &Remote, config: &BrokerConfig, runtimes: &Runtimes) -> CacheConfig {
    // The disk tier runs threads of its own, which a simulation cannot have.
    let disk_bytes = if runtimes.simulated.is_some() { 0 } else { remote.cache_disk_bytes };
    let default_dir = || config.log_dirs.first().map(|dir: &PathBuf| dir.join(".firn-cache"));
    CacheConfig {
        memory_bytes: remote.cache_memory_bytes,
        disk_bytes,
        disk_dir: remote.cache_disk_dir.clone().or_else(default_dir),
    }
}
