//! One remote segment at a time: opens it (its indexes and checksums, remembered), and reads its chunks through
//! the cache and its other sections past it. Not which segment holds an offset (`cold/manifest_store.rs`).
//! Invariant: bytes leave here only if they have the checksum their footer keeps; what does not is asked for once
//! more, and is damage if it comes back the same.

use crate::cold::entry::Entry;
use crate::cold::footer::{Footer, SectionKind};
use crate::cold::format::FormatError;
use crate::cold::layout::ObjectName;
use crate::cold::manifest_store::{claim_failed, load_failed};
use crate::cold::marker::Bucket;
use crate::cold::memo::Memo;
use crate::cold::object::{Opened, section_of};
use crate::cold::store_error::StoreError;
use crate::config::LogId;
use bytes::Bytes;
use firnline_cache::error::LoadError;
use firnline_cache::key::{CHUNK_BYTES, Check, ChunkKey};
use firnline_cache::read_through::ReadThrough;
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Handle;
use uuid::Uuid;

/// Memory for the indexes of opened segments.
const REMEMBERED_BYTES: usize = 16 << 20;
/// A trailer up to this long is read whole in one request; beyond it the footer comes first.
const WHOLE_TRAILER_BYTES: u64 = 256 << 10;

/// Reads objects of the bucket.
pub(crate) struct RemoteSegments {
    bucket: Arc<Bucket>,
    cache: Arc<ReadThrough>,
    opened: Arc<Memo<Uuid, Arc<Opened>>>,
}

impl RemoteSegments {
    pub(crate) fn new(bucket: Arc<Bucket>, cache: Arc<ReadThrough>, cold: Handle) -> Arc<Self> {
        Arc::new(Self { bucket, cache, opened: Memo::new(REMEMBERED_BYTES, cold) })
    }

    /// The segment's indexes and checksums.
    pub(crate) async fn open(&self, log: &LogId, entry: &Entry) -> Result<Arc<Opened>, LoadError> {
        let (bucket, entry, key) = (self.bucket.clone(), *entry, self.key(log, entry));
        self.opened.get(entry.uuid, move || async move { open(&bucket, &key, &entry).await }).await
    }

    /// As [`RemoteSegments::open`], only if it is at hand.
    pub(crate) fn opened(&self, entry: &Entry) -> Option<Arc<Opened>> {
        self.opened.peek(&entry.uuid)
    }

    /// One chunk of log bytes, checked.
    pub(crate) async fn chunk(
        &self,
        log: &LogId,
        entry: &Entry,
        opened: &Opened,
        chunk: u32,
    ) -> Result<Bytes, LoadError> {
        let Some(check) = opened.check(chunk) else {
            let what = format!("{} has no chunk {chunk}", self.key(log, entry));
            return Err(LoadError::Corrupt { what });
        };
        let (bucket, key) = (self.bucket.clone(), self.key(log, entry));
        let load = move || async move { load_chunk(&bucket, &key, chunk, check).await };
        self.cache.get(ChunkKey { object: entry.uuid.as_u128(), chunk }, check, load).await
    }

    /// Asks for a chunk that somebody will want soon; nobody waits.
    pub(crate) fn prefetch(&self, log: &LogId, entry: &Entry, opened: &Opened, chunk: u32) {
        let Some(check) = opened.check(chunk) else {
            return;
        };
        let (bucket, key) = (self.bucket.clone(), self.key(log, entry));
        let load = move || async move { load_chunk(&bucket, &key, chunk, check).await };
        self.cache.prefetch(ChunkKey { object: entry.uuid.as_u128(), chunk }, check, load);
    }

    /// A section's content, checked; not remembered.
    pub(crate) async fn section(
        &self,
        log: &LogId,
        entry: &Entry,
        kind: SectionKind,
    ) -> Result<Bytes, LoadError> {
        let opened = self.open(log, entry).await?;
        let key = self.key(log, entry);
        let Some(section) = opened.footer.section(kind) else {
            return Err(LoadError::Corrupt { what: format!("{key} has no section {kind:?}") });
        };
        let range = section.at..section.at.saturating_add(section.len);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let at = range.start;
        read_checked(&self.bucket, &key, range, |bytes| {
            section_of(&opened.footer, kind, bytes, at).map(|_| bytes.clone())
        })
        .await
    }

    /// How much of the segment's log bytes lies in the cache, as bytes in memory and on disk. An estimate.
    pub(crate) fn cached_bytes(&self, entry: &Entry) -> (u64, u64) {
        let cached = self.cache.residency(entry.uuid.as_u128(), entry.chunks());
        let bytes = |chunks: u32| (u64::from(chunks) * CHUNK_BYTES).min(entry.log_bytes);
        (bytes(cached.memory_chunks), bytes(cached.disk_chunks))
    }

    fn key(&self, log: &LogId, entry: &Entry) -> String {
        self.bucket.layout.key(log, &ObjectName::of_entry(entry))
    }
}

async fn load_chunk(bucket: &Bucket, key: &str, chunk: u32, check: Check) -> Result<Bytes, LoadError> {
    let start = u64::from(chunk) * CHUNK_BYTES;
    let range = start..start + u64::from(check.len);
    read_checked(bucket, key, range, |bytes| {
        if check.holds(bytes) {
            return Ok(bytes.clone());
        }
        let computed = Check::of(bytes).crc32c;
        Err(FormatError::Checksum { what: "chunk of log bytes", stored: check.crc32c, computed })
    })
    .await
}

async fn open(bucket: &Bucket, key: &str, entry: &Entry) -> Result<(Arc<Opened>, usize), LoadError> {
    let footer_end = entry.footer_at + u64::from(entry.footer_len);
    let whole = footer_end - entry.log_bytes <= WHOLE_TRAILER_BYTES;
    let opened = if whole {
        let at = entry.log_bytes;
        read_checked(bucket, key, at..footer_end, |bytes| {
            // cannot truncate: bounded by WHOLE_TRAILER_BYTES just above.
            let footer = footer_of(entry, &bytes[(entry.footer_at - at) as usize..])?;
            Opened::decode(footer, bytes, at)
        })
        .await?
    } else {
        let footer =
            read_checked(bucket, key, entry.footer_at..footer_end, |bytes| footer_of(entry, bytes)).await?;
        let range =
            index_range(&footer).ok_or_else(|| LoadError::Corrupt { what: format!("{key} has no index") })?;
        let at = range.start;
        read_checked(bucket, key, range, |bytes| Opened::decode(footer.clone(), bytes, at)).await?
    };
    let cost = opened.cost();
    Ok((Arc::new(opened), cost))
}

fn footer_of(entry: &Entry, bytes: &[u8]) -> Result<Footer, FormatError> {
    let footer = Footer::decode(bytes, entry.footer_at, entry.footer_crc)?;
    if (footer.uuid, footer.base, footer.next, footer.log_bytes)
        == (entry.uuid, entry.base, entry.next, entry.log_bytes)
    {
        return Ok(footer);
    }
    let Footer { uuid, base, next, log_bytes, .. } = footer;
    let why = format!("it is {uuid}, [{base}, {next}), {log_bytes} bytes; its entry says otherwise");
    Err(FormatError::Invalid { what: "remote segment footer", why })
}

/// From the first to the last of the three sections a reader of log bytes needs; they are written side by side.
fn index_range(footer: &Footer) -> Option<Range<u64>> {
    let kinds = [SectionKind::OffsetIndex, SectionKind::TimeIndex, SectionKind::ChunkChecksums];
    let mut range: Option<Range<u64>> = None;
    for kind in kinds {
        let section = footer.section(kind)?;
        let end = section.at.saturating_add(section.len);
        let so_far = range.unwrap_or(section.at..end);
        range = Some(so_far.start.min(section.at)..so_far.end.max(end));
    }
    range
}

/// Reads a range and believes it only if `check` does; what fails is read once more before it counts as damage.
async fn read_checked<T>(
    bucket: &Bucket,
    key: &str,
    range: Range<u64>,
    check: impl Fn(&Bytes) -> Result<T, FormatError>,
) -> Result<T, LoadError> {
    bucket.recognise().await.map_err(claim_failed)?;
    let mut last = String::new();
    for attempt in 0..2 {
        let failure = match bucket.store.get_range(key, range.clone()).await {
            Ok(bytes) => match check(&bytes) {
                Ok(good) => return Ok(good),
                // A newer format does not become an older one by asking again.
                Err(error @ FormatError::NewerVersion { .. }) => {
                    return Err(LoadError::Unavailable { what: format!("{key}: {error}") });
                }
                Err(error) => error.to_string(),
            },
            Err(StoreError::Short { why, .. }) => why,
            Err(error) => return Err(load_failed(error)),
        };
        tracing::warn!(key, ?range, attempt, failure, "bytes from the bucket are not what they must be");
        last = failure;
    }
    Err(LoadError::Corrupt { what: format!("{key}, bytes {range:?}, read twice: {last}") })
}
