//! Get a chunk, or load it once: memory, then disk, then the caller's load, shared by all who ask meanwhile.
//! It does not know where loads come from. Invariant: bytes that fail their check are never returned from disk.

use crate::error::LoadError;
use crate::key::{Check, ChunkKey};
use crate::metrics::CacheMetrics;
use bytes::Bytes;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Sizes and place of a cache.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    /// Budget of the memory tier.
    pub memory_bytes: u64,
    /// Budget of the disk tier; 0 = memory only: no disk engine, no threads.
    pub disk_bytes: u64,
    /// Where the disk tier lives; needed unless `disk_bytes` is 0.
    pub disk_dir: Option<PathBuf>,
}

/// How much of an object is cached. An estimate: entries may leave at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Residency {
    /// Chunks in memory.
    pub memory_chunks: u32,
    /// Chunks on disk.
    pub disk_chunks: u32,
}

/// The cache.
#[derive(Debug)]
pub struct ReadThrough {}

impl ReadThrough {
    /// Opens nothing yet; loads are spawned on `cold` and outlive the request that started them.
    pub fn new(config: CacheConfig, cold: Handle) -> Arc<Self> {
        todo!("{config:?} {cold:?}")
    }

    /// The chunk `key`. `load` runs at most once per flight, and only if neither tier has it.
    pub async fn get<L, F>(self: &Arc<Self>, key: ChunkKey, check: Check, load: L) -> Result<Bytes, LoadError>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Bytes, LoadError>> + Send + 'static,
    {
        drop(load);
        todo!("{key:?} {check:?}")
    }

    /// As [`ReadThrough::get`], but nobody waits; dropped when too many are under way.
    pub fn prefetch<L, F>(self: &Arc<Self>, key: ChunkKey, check: Check, load: L)
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Bytes, LoadError>> + Send + 'static,
    {
        drop(load);
        todo!("{key:?} {check:?}")
    }

    /// Drops an object's chunks `0..chunks`.
    pub fn forget_object(&self, object: u128, chunks: u32) {
        todo!("{object} {chunks}")
    }

    /// Which of an object's chunks `0..chunks` are cached.
    pub fn residency(&self, object: u128, chunks: u32) -> Residency {
        todo!("{object} {chunks}")
    }

    /// The counters.
    pub fn metrics(&self) -> CacheMetrics {
        todo!()
    }

    /// Flushes and closes the disk tier.
    pub async fn close(&self) {
        todo!()
    }
}
