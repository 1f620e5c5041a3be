//! The door to foyer: a memory tier, and under it a disk tier that is lossy by design (an insert is only a hope).
//! It checks no bytes: who reads from disk verifies. Invariant: nothing here is opened before [`Tiers::open`].
//!
//! An entry on disk, inside foyer's own frame: key `u128 object | u32 chunk`, value `u32 length | bytes`, big-endian.

use crate::drops::DropCounter;
use crate::key::{CHUNK_BYTES, ChunkKey};
use crate::metrics::Counter;
use bytes::Bytes;
use foyer::{
    BlockEngineConfig, Cache, CacheBuilder, Code, DeviceBuilder, Error, FsDeviceBuilder, HybridCache,
    HybridCacheBuilder, HybridCachePolicy, HybridCacheProperties, Load, Location, LruConfig,
    PsyncIoEngineConfig, RecoverMode, Spawner,
};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Largest chunk the disk tier takes, and the most a length on disk may make us allocate.
pub const MAX_DISK_CHUNK: usize = 2 * CHUNK_BYTES as usize;
/// Smallest disk tier worth having: below it there is no room for a few blocks.
pub const MIN_DISK_BYTES: u64 = 32 << 20;
/// Foyer evicts whole blocks: large ones write well, but a small budget must hold several.
const BLOCK_BYTES: u64 = 64 << 20;
const MIN_BLOCK_BYTES: u64 = 4 << 20;
/// Bytes that may wait to be written. Past it inserts are dropped, and counted.
const WRITE_BUFFER: usize = 16 << 20;
const WRITE_QUEUE: usize = 48 << 20;
/// Memory each shard should have at least: a shard evicts on its own, so small ones evict early.
const SHARD_BYTES: u64 = 64 << 20;

/// A chunk's bytes, with a disk format of our own: foyer's for `Bytes` allocates by the length it reads.
#[derive(Debug, Clone)]
pub struct Chunk(Bytes);

impl Code for Chunk {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        let len = u32::try_from(self.0.len()).map_err(|_| too_large(self.0.len()))?;
        writer.write_all(&len.to_be_bytes()).map_err(Error::io_error)?;
        writer.write_all(&self.0).map_err(Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let mut len = [0; 4];
        reader.read_exact(&mut len).map_err(Error::io_error)?;
        let len = u32::from_be_bytes(len) as usize;
        if len > MAX_DISK_CHUNK {
            return Err(too_large(len));
        }
        let mut bytes = vec![0; len];
        reader.read_exact(&mut bytes).map_err(Error::io_error)?;
        Ok(Self(Bytes::from(bytes)))
    }

    fn estimated_size(&self) -> usize {
        4 + self.0.len()
    }
}

impl Code for ChunkKey {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        writer.write_all(&self.object.to_be_bytes()).map_err(Error::io_error)?;
        writer.write_all(&self.chunk.to_be_bytes()).map_err(Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let (mut object, mut chunk) = ([0; 16], [0; 4]);
        reader.read_exact(&mut object).map_err(Error::io_error)?;
        reader.read_exact(&mut chunk).map_err(Error::io_error)?;
        Ok(Self { object: u128::from_be_bytes(object), chunk: u32::from_be_bytes(chunk) })
    }

    fn estimated_size(&self) -> usize {
        20
    }
}

fn too_large(len: usize) -> Error {
    Error::new(foyer::ErrorKind::OutOfRange, "a chunk has an impossible length").with_context("len", len)
}

/// Why the disk tier did not open.
#[derive(Debug, thiserror::Error)]
#[error("disk cache: {0}")]
pub struct OpenError(String);

/// A disk read that failed.
#[derive(Debug, thiserror::Error)]
#[error("disk cache: {0}")]
pub struct DiskError(String);

/// The tiers, open.
#[derive(Debug)]
pub enum Tiers {
    /// Memory only: no thread, no file; the same inserts evict the same chunks.
    Memory(Cache<ChunkKey, Chunk>),
    /// Memory over disk.
    Hybrid(HybridCache<ChunkKey, Chunk>),
}

impl Tiers {
    /// A memory tier alone.
    pub fn memory(bytes: u64) -> Self {
        let cache = CacheBuilder::new(to_usize(bytes))
            .with_name("firnline")
            .with_shards(shards(bytes))
            .with_eviction_config(LruConfig::default())
            .with_weighter(weight)
            .build();
        Tiers::Memory(cache)
    }

    /// A memory tier over a disk tier in `dir`, of at least [`MIN_DISK_BYTES`]. What the directory holds from an
    /// earlier run is found again; what is damaged there is skipped. Disk work runs on `cold`.
    pub(crate) async fn open(
        memory_bytes: u64,
        disk_bytes: u64,
        dir: &Path,
        cold: Handle,
        dropped: Arc<Counter>,
    ) -> Result<Self, OpenError> {
        make_dir(dir).map_err(|error| OpenError(format!("{}: {error}", dir.display())))?;
        let device = FsDeviceBuilder::new(dir).with_capacity(to_usize(disk_bytes)).build();
        let device = device.map_err(|error| OpenError(error.to_string()))?;
        let engine = BlockEngineConfig::new(device)
            .with_block_size(to_usize((disk_bytes / 8).clamp(MIN_BLOCK_BYTES, BLOCK_BYTES)))
            .with_buffer_pool_size(WRITE_BUFFER)
            .with_submit_queue_size_threshold(WRITE_QUEUE);
        let cache = HybridCacheBuilder::new()
            .with_name("firnline")
            // Who enters the disk tier is decided at insertion, by us: eviction writes nothing.
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .with_flush_on_close(false)
            .with_metrics_registry(Box::new(DropCounter(dropped)))
            .memory(to_usize(memory_bytes))
            .with_shards(shards(memory_bytes))
            .with_eviction_config(LruConfig::default())
            .with_weighter(weight)
            .storage()
            .with_io_engine_config(PsyncIoEngineConfig::new())
            .with_engine_config(engine)
            .with_recover_mode(RecoverMode::Quiet)
            .with_spawner(Spawner::from(cold))
            .build()
            .await;
        cache.map(Tiers::Hybrid).map_err(|error| OpenError(error.to_string()))
    }

    /// From memory, at once.
    pub fn get_memory(&self, key: &ChunkKey) -> Option<Bytes> {
        match self {
            Tiers::Memory(cache) => cache.get(key).map(|entry| entry.value().0.clone()),
            Tiers::Hybrid(cache) => cache.memory().get(key).map(|entry| entry.value().0.clone()),
        }
    }

    /// From disk, not verified, and not taken into memory.
    pub async fn get_disk(&self, key: &ChunkKey) -> Result<Option<Bytes>, DiskError> {
        let Tiers::Hybrid(cache) = self else {
            return Ok(None);
        };
        match cache.storage().load(key).await {
            Ok(Load::Entry { value, .. }) => Ok(Some(value.0)),
            // Still in the write queue.
            Ok(Load::Piece { piece, .. }) => Ok(Some(piece.value().0.clone())),
            Ok(Load::Miss | Load::Throttled) => Ok(None),
            Err(error) => Err(DiskError(error.to_string())),
        }
    }

    /// Into memory, and on its way to disk if `to_disk`.
    pub fn insert(&self, key: ChunkKey, bytes: Bytes, to_disk: bool) {
        match self {
            Tiers::Memory(cache) => drop(cache.insert(key, Chunk(bytes))),
            Tiers::Hybrid(cache) => {
                let to_disk = to_disk && bytes.len() <= MAX_DISK_CHUNK;
                let location = if to_disk { Location::Default } else { Location::InMem };
                let properties = HybridCacheProperties::default().with_location(location);
                drop(cache.insert_with_properties(key, Chunk(bytes), properties));
            }
        }
    }

    /// Out of both tiers.
    pub fn remove(&self, key: &ChunkKey) {
        match self {
            Tiers::Memory(cache) => drop(cache.remove(key)),
            // A removal on disk is a write: only where there is something to remove.
            Tiers::Hybrid(cache) if cache.storage().may_contains(key) => cache.remove(key),
            Tiers::Hybrid(cache) => drop(cache.memory().remove(key)),
        }
    }

    /// Whether memory has it.
    pub fn in_memory(&self, key: &ChunkKey) -> bool {
        match self {
            Tiers::Memory(cache) => cache.contains(key),
            Tiers::Hybrid(cache) => cache.memory().contains(key),
        }
    }

    /// Whether the disk tier probably has it.
    pub fn on_disk(&self, key: &ChunkKey) -> bool {
        match self {
            Tiers::Memory(_) => false,
            Tiers::Hybrid(cache) => cache.storage().may_contains(key),
        }
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> u64 {
        match self {
            Tiers::Memory(cache) => cache.usage() as u64,
            Tiers::Hybrid(cache) => cache.memory().usage() as u64,
        }
    }

    /// Waits for what is on its way to disk, and closes it.
    pub async fn close(&self) -> Result<(), DiskError> {
        match self {
            Tiers::Memory(_) => Ok(()),
            Tiers::Hybrid(cache) => cache.close().await.map_err(|error| DiskError(error.to_string())),
        }
    }
}

/// Foyer panics where it cannot make its directory, so that is tried first.
#[allow(clippy::disallowed_methods, reason = "foyer's files are behind this door, not behind ours")]
fn make_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)
}

fn weight(_: &ChunkKey, chunk: &Chunk) -> usize {
    chunk.0.len()
}

fn shards(memory_bytes: u64) -> usize {
    (memory_bytes / SHARD_BYTES).clamp(1, 16) as usize
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
