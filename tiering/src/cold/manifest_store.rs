//! Manifests in the bucket: loads them (checked, remembered, once however many ask) and puts new ones, each under
//! a key of its own. Not what goes into one (`cold/manifest.rs`) nor which one counts (the quorum's row).
//! Invariant: a manifest is believed only if length and CRC are those its pointer keeps.

use crate::batch::header::crc32c;
use crate::cold::entry::Entry;
use crate::cold::layout::ObjectName;
use crate::cold::manifest::{Leaf, LeafRef, Manifest, ManifestPointer};
use crate::cold::marker::{Bucket, ClaimError};
use crate::cold::memo::Memo;
use crate::cold::store_error::StoreError;
use crate::cold::tier::TierRow;
use crate::config::LogId;
use crate::offsets::Offset;
use bytes::Bytes;
use firnline_cache::error::LoadError;
use std::sync::Arc;
use tokio::runtime::Handle;
use uuid::Uuid;

/// Bytes of decoded manifests and leaves kept in memory.
const REMEMBERED_BYTES: usize = 16 << 20;

/// Loads and puts manifests.
pub struct ManifestStore {
    bucket: Arc<Bucket>,
    roots: Arc<Memo<Uuid, Arc<Manifest>>>,
    leaves: Arc<Memo<Uuid, Arc<Leaf>>>,
}

impl ManifestStore {
    /// Loads run on `cold`.
    pub fn new(bucket: Arc<Bucket>, cold: Handle) -> Arc<Self> {
        let roots = Memo::new(REMEMBERED_BYTES, cold.clone());
        let leaves = Memo::new(REMEMBERED_BYTES, cold);
        Arc::new(Self { bucket, roots, leaves })
    }

    /// The manifest a row points at.
    pub async fn load(&self, log: &LogId, pointer: &ManifestPointer) -> Result<Arc<Manifest>, LoadError> {
        let (pointer, key) = (*pointer, self.bucket.layout.key(log, &pointer.name()));
        let bucket = self.bucket.clone();
        let load = move || async move {
            let bytes = fetch(&bucket, &key, pointer.object_bytes, pointer.crc).await?;
            let manifest = Manifest::decode(&bytes).map_err(|error| corrupt(&key, &error))?;
            if (manifest.uuid, manifest.end) != (pointer.uuid, pointer.end) {
                return Err(corrupt(
                    &key,
                    &format!("it is manifest {} up to {}", manifest.uuid, manifest.end),
                ));
            }
            Ok((Arc::new(manifest), bytes.len()))
        };
        self.roots.get(pointer.uuid, load).await
    }

    /// A leaf a manifest refers to.
    pub async fn leaf(&self, log: &LogId, leaf: &LeafRef) -> Result<Arc<Leaf>, LoadError> {
        let (leaf, key) = (*leaf, self.bucket.layout.key(log, &leaf.name()));
        let bucket = self.bucket.clone();
        let load = move || async move {
            let bytes = fetch(&bucket, &key, leaf.object_bytes, leaf.crc).await?;
            let read = Leaf::decode(&bytes).map_err(|error| corrupt(&key, &error))?;
            if read.uuid != leaf.uuid {
                return Err(corrupt(&key, &format!("it is leaf {}", read.uuid)));
            }
            Ok((Arc::new(read), bytes.len()))
        };
        self.leaves.get(leaf.uuid, load).await
    }

    /// The segment that covers `offset`, wherever it is listed; `None` if none does.
    pub async fn entry(
        &self,
        log: &LogId,
        row: &TierRow,
        offset: Offset,
    ) -> Result<Option<Entry>, LoadError> {
        if let Some(entry) = row.inline_entry(offset) {
            return Ok(Some(*entry));
        }
        let Some(pointer) = row.manifest.filter(|manifest| manifest.base <= offset && offset < manifest.end)
        else {
            return Ok(None);
        };
        let manifest = self.load(log, &pointer).await?;
        match manifest.leaf(offset) {
            Some(leaf) => Ok(self.leaf(log, leaf).await?.entry(offset).copied()),
            None => Ok(manifest.entry(offset).copied()),
        }
    }

    /// The segment that covers `offset`, if that is known without asking the bucket.
    pub fn entry_at_hand(&self, row: &TierRow, offset: Offset) -> Option<Entry> {
        if let Some(entry) = row.inline_entry(offset) {
            return Some(*entry);
        }
        let manifest = self.roots.peek(&row.manifest?.uuid)?;
        match manifest.leaf(offset) {
            Some(leaf) => self.leaves.peek(&leaf.uuid)?.entry(offset).copied(),
            None => manifest.entry(offset).copied(),
        }
    }

    /// All segments of a row, oldest first, retired ones not yet swapped out included.
    pub async fn entries(&self, log: &LogId, row: &TierRow) -> Result<Vec<Entry>, LoadError> {
        let mut entries = Vec::new();
        if let Some(pointer) = &row.manifest {
            let manifest = self.load(log, pointer).await?;
            for leaf in &manifest.leaves {
                entries.extend_from_slice(&self.leaf(log, leaf).await?.entries);
            }
            entries.extend_from_slice(&manifest.entries);
        }
        entries.extend_from_slice(&row.entries);
        Ok(entries)
    }

    /// Writes a manifest's bytes under its own name.
    pub async fn put(&self, log: &LogId, name: &ObjectName, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.bucket.store.put(&self.bucket.layout.key(log, name), vec![Bytes::from(bytes)]).await
    }
}

/// An object whose length and CRC are known; a mismatch is asked for once more before it counts as damage.
async fn fetch(bucket: &Bucket, key: &str, len: u32, crc: u32) -> Result<Bytes, LoadError> {
    bucket.recognise().await.map_err(claim_failed)?;
    let mut last = String::new();
    for _ in 0..2 {
        match bucket.store.get(key, u64::from(len)).await {
            Ok(bytes) if bytes.len() as u64 == u64::from(len) && crc32c(&bytes) == crc => return Ok(bytes),
            Ok(bytes) => last = format!("{} bytes with crc {:#010x}", bytes.len(), crc32c(&bytes)),
            Err(StoreError::TooLong { len, .. }) => last = format!("{len} bytes"),
            Err(error) => return Err(load_failed(error)),
        }
    }
    Err(corrupt(key, &format!("{last}, not {len} bytes with crc {crc:#010x}")))
}

fn corrupt(key: &str, why: &dyn std::fmt::Display) -> LoadError {
    LoadError::Corrupt { what: format!("{key}: {why}") }
}

/// How a failed request looks to who waits for bytes.
pub(crate) fn load_failed(error: StoreError) -> LoadError {
    match error {
        StoreError::NotFound { key } => LoadError::NotFound { what: key },
        other => LoadError::Unavailable { what: other.to_string() },
    }
}

/// How an unusable bucket looks to who waits for bytes.
pub(crate) fn claim_failed(error: ClaimError) -> LoadError {
    LoadError::Unavailable { what: error.to_string() }
}
