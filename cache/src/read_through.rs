//! Get a chunk, or load it once: memory, then disk, then the caller's load, shared by all who ask meanwhile.
//! It does not know where loads come from. Invariant: bytes that fail their check are never returned from disk.

use crate::admission::{Admission, WINDOW};
use crate::budget::{Budget, Permit};
use crate::error::LoadError;
use crate::hybrid::{MIN_DISK_BYTES, Tiers};
use crate::key::{Check, ChunkKey};
use crate::metrics::{CacheMetrics, Counters};
use crate::single_flight::{Boarded, Flights, Pilot};
use bytes::Bytes;
use parking_lot::Mutex;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

/// Sizes and place of a cache.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    /// Budget of the memory tier.
    pub memory_bytes: u64,
    /// Budget of the disk tier; 0 = memory only: no disk engine, no threads. Below 32 MiB counts as 0.
    pub disk_bytes: u64,
    /// Where the disk tier lives; without it there is none.
    pub disk_dir: Option<PathBuf>,
}

/// How much of an object is cached. An estimate: entries may leave at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Residency {
    /// Chunks in memory.
    pub memory_chunks: u32,
    /// Chunks on disk. One can be in both.
    pub disk_chunks: u32,
}

/// The cache. Opened at the first get.
#[derive(Debug)]
pub struct ReadThrough {
    config: CacheConfig,
    cold: Handle,
    tiers: OnceCell<Arc<Tiers>>,
    flights: Flights,
    budget: Budget,
    admission: Mutex<Admission>,
    counters: Counters,
}

impl ReadThrough {
    /// Opens nothing yet. Loads and disk work run on `cold`, so they outlive the request that started them.
    pub fn new(config: CacheConfig, cold: Handle) -> Arc<Self> {
        let budget = Budget::for_memory(config.memory_bytes);
        Arc::new(Self {
            config,
            cold,
            tiers: OnceCell::new(),
            flights: Flights::default(),
            budget,
            admission: Mutex::new(Admission::new(WINDOW)),
            counters: Counters::default(),
        })
    }

    /// The chunk `key`, whose bytes are what `check` says.
    ///
    /// `load` runs at most once per flight, on the cold runtime, and only if neither tier has the chunk; it ends
    /// even if this future is dropped. Its error goes to every waiter and is not remembered. The bytes it returns
    /// should be a buffer of their own: a slice would keep the whole buffer alive in the cache.
    pub async fn get<L, F>(self: &Arc<Self>, key: ChunkKey, check: Check, load: L) -> Result<Bytes, LoadError>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Bytes, LoadError>> + Send + 'static,
    {
        if let Some(bytes) = self.in_memory_now(&key) {
            self.counters.hits_memory.one();
            return Ok(bytes);
        }
        let waiter = match self.flights.board(key, || self.in_memory_now(&key)) {
            Boarded::Arrived(bytes) => {
                self.counters.hits_memory.one();
                return Ok(bytes);
            }
            Boarded::Joined(waiter) => {
                self.counters.joins.one();
                waiter
            }
            Boarded::Started(pilot, waiter) => {
                self.take_off(pilot, key, check, load, None);
                waiter
            }
        };
        waiter.answer().await
    }

    /// As [`ReadThrough::get`], but nobody waits. Does nothing if the chunk is in memory or on its way, or if too
    /// much is being read ahead already.
    pub fn prefetch<L, F>(self: &Arc<Self>, key: ChunkKey, check: Check, load: L)
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Bytes, LoadError>> + Send + 'static,
    {
        if self.tiers.get().is_some_and(|tiers| tiers.in_memory(&key)) {
            return;
        }
        let Some(permit) = self.budget.ahead(check.len) else {
            self.counters.dropped_prefetches.one();
            return;
        };
        if let Boarded::Started(pilot, _) = self.flights.board(key, || self.in_memory_now(&key)) {
            self.take_off(pilot, key, check, load, Some(permit));
        }
    }

    /// Drops an object's chunks `0..chunks`. A load of one that is under way may still put it back; nobody will
    /// ask for it, so it leaves by age.
    pub fn forget_object(&self, object: u128, chunks: u32) {
        self.admission.lock().forget_object(object);
        if let Some(tiers) = self.tiers.get() {
            for chunk in 0..chunks {
                tiers.remove(&ChunkKey { object, chunk });
            }
        }
    }

    /// How many of an object's chunks `0..chunks` are cached. Before the first get: none.
    pub fn residency(&self, object: u128, chunks: u32) -> Residency {
        let mut residency = Residency::default();
        if let Some(tiers) = self.tiers.get() {
            for chunk in 0..chunks {
                let key = ChunkKey { object, chunk };
                residency.memory_chunks += u32::from(tiers.in_memory(&key));
                residency.disk_chunks += u32::from(tiers.on_disk(&key));
            }
        }
        residency
    }

    /// The counters.
    pub fn metrics(&self) -> CacheMetrics {
        self.counters.snapshot(self.tiers.get().map_or(0, |tiers| tiers.memory_bytes()))
    }

    /// Writes out what is on its way to disk and closes the disk tier. Gets still work, without it.
    pub async fn close(&self) {
        if let Some(tiers) = self.tiers.get()
            && let Err(error) = tiers.close().await
        {
            tracing::warn!(%error, "disk cache did not close cleanly");
        }
    }

    fn in_memory_now(&self, key: &ChunkKey) -> Option<Bytes> {
        self.tiers.get().and_then(|tiers| tiers.get_memory(key))
    }

    fn take_off<L, F>(
        self: &Arc<Self>,
        pilot: Pilot,
        key: ChunkKey,
        check: Check,
        load: L,
        ahead: Option<Permit>,
    ) where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Bytes, LoadError>> + Send + 'static,
    {
        let this = self.clone();
        self.cold.spawn(async move {
            let result = this.find_or_load(key, check, load, ahead).await;
            pilot.land(result);
        });
    }

    async fn find_or_load<L, F>(
        &self,
        key: ChunkKey,
        check: Check,
        load: L,
        ahead: Option<Permit>,
    ) -> Result<Bytes, LoadError>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Bytes, LoadError>>,
    {
        let tiers = self.tiers.get_or_init(|| self.open()).await;
        if let Some(bytes) = self.on_disk_now(tiers, key, check).await {
            self.counters.hits_disk.one();
            tiers.insert(key, bytes.clone(), false);
            return Ok(bytes);
        }
        self.counters.misses.one();
        let _permit = match ahead {
            Some(permit) => permit,
            None => self.budget.demand(check.len).await,
        };
        self.counters.loads.one();
        let result = load().await.and_then(|bytes| verified(key, check, bytes));
        let Ok(bytes) = &result else {
            self.counters.load_errors.one();
            return result;
        };
        self.counters.loaded_bytes.add(bytes.len() as u64);
        let to_disk = self.admission.lock().loaded(key);
        if !to_disk {
            self.counters.not_admitted.one();
        }
        tiers.insert(key, bytes.clone(), to_disk);
        result
    }

    /// A chunk from disk that passed its check. Everything else is a miss.
    async fn on_disk_now(&self, tiers: &Arc<Tiers>, key: ChunkKey, check: Check) -> Option<Bytes> {
        if !tiers.on_disk(&key) {
            return None;
        }
        let _turn = self.budget.disk().await;
        let reader = tiers.clone();
        // In a task of its own: whatever damaged bytes do to the decoder, it is a miss.
        let bytes = match self.cold.spawn(async move { reader.get_disk(&key).await }).await {
            Ok(Ok(bytes)) => bytes?,
            Ok(Err(error)) => {
                self.counters.disk_errors.one();
                tracing::warn!(%error, "disk cache read failed");
                return None;
            }
            Err(error) => {
                self.counters.disk_errors.one();
                tracing::warn!(%error, "disk cache read did not end");
                return None;
            }
        };
        if check.holds(&bytes) {
            return Some(bytes);
        }
        self.counters.disk_lies.one();
        tracing::warn!(
            object = format_args!("{:032x}", key.object),
            chunk = key.chunk,
            "disk cache held wrong bytes"
        );
        tiers.remove(&key);
        None
    }

    /// Opens the tiers once. A disk tier that does not open costs a warning, never an answer.
    async fn open(&self) -> Arc<Tiers> {
        let CacheConfig { memory_bytes, disk_bytes, disk_dir } = &self.config;
        let Some(dir) = disk_dir.as_deref().filter(|_| *disk_bytes >= MIN_DISK_BYTES) else {
            return Arc::new(Tiers::memory(*memory_bytes));
        };
        let dropped = self.counters.dropped_inserts.clone();
        match Tiers::open(*memory_bytes, *disk_bytes, dir, self.cold.clone(), dropped).await {
            Ok(tiers) => Arc::new(tiers),
            Err(error) => {
                tracing::warn!(%error, dir = %dir.display(), "disk cache did not open, going on without it");
                Arc::new(Tiers::memory(*memory_bytes))
            }
        }
    }
}

fn verified(key: ChunkKey, check: Check, bytes: Bytes) -> Result<Bytes, LoadError> {
    if check.holds(&bytes) {
        return Ok(bytes);
    }
    let (have, want) = (bytes.len(), check.len);
    let what = format!(
        "chunk {} of object {:032x}: {have} bytes do not match their check ({want} bytes)",
        key.chunk, key.object
    );
    Err(LoadError::Corrupt { what })
}

#[cfg(test)]
mod tests;
