//! One segment to the bucket: streamed from its file, checked on the way, sent in one PUT or in parts, verified.
//! Not the decision which one, nor its commit. Invariant: an [`Entry`] comes out only for an object whose length,
//! footer, tail and one chunk drawn at random were read back and are what was sent.

use crate::batch::header::{BatchError, BatchHeader, HEADER_BYTES};
use crate::cold::entry::Entry;
use crate::cold::footer::TAIL_BYTES;
use crate::cold::object::{Contents, Trailer};
use crate::cold::scan::{LogScan, ScanError, Scanned};
use crate::cold::store::{PartUpload, Store};
use crate::cold::store_error::StoreError;
use crate::entropy::Entropy;
use crate::epoch::LeaderEpoch;
use crate::hot::file::File;
use crate::hot::transactions::AbortedTransaction;
use crate::offsets::Offset;
use bytes::Bytes;
use firnline_cache::key::CHUNK_BYTES;
use std::io;
use uuid::Uuid;

/// An object up to this long is one PUT; a longer one is sent in parts.
pub const SINGLE_PUT_BYTES: u64 = 32 << 20;
/// Chunks of one part.
const PART_CHUNKS: usize = 16;
/// Of the trailer, no more than this is read back.
const READ_BACK_BYTES: u64 = 1 << 20;

/// What is uploaded.
pub struct Upload<'a> {
    /// Where to.
    pub key: &'a str,
    /// Names the object.
    pub uuid: Uuid,
    /// The segment's log data.
    pub file: &'a dyn File,
    /// Bytes of it.
    pub file_bytes: u64,
    /// The segment's first offset.
    pub segment_base: Offset,
    /// First offset to upload: the segment's base, or the base of a batch inside it.
    pub from: Offset,
    /// The offset after the last.
    pub next: Offset,
    /// The uploader's leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// Epoch of the record before `from`; −1 if the log has none.
    pub previous_epoch: LeaderEpoch,
    /// The `.producers` file's bytes as of `next`.
    pub producers: &'a [u8],
    /// Every aborted transaction that overlaps `[from, next)`.
    pub aborted: &'a [AbortedTransaction],
    /// Opaque names and values for whoever finds the object alone.
    pub labels: &'a [(String, String)],
}

/// Why a segment did not get there.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The local file cannot be read.
    #[error("cannot read the local segment: {0}")]
    Read(#[from] io::Error),
    /// The local bytes are damaged. They stay where they are: nothing released, nothing uploaded.
    #[error("the local segment is damaged: {0}")]
    Damaged(#[from] ScanError),
    /// The bucket failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bucket took the object and shows something else.
    #[error("what the bucket shows of {key} is not what was sent: {why}")]
    Verify {
        /// The object.
        key: String,
        /// The difference.
        why: String,
    },
}

impl Upload<'_> {
    /// Sends and verifies the object. After an error it may or may not be there.
    pub async fn run(&self, store: &Store, entropy: &dyn Entropy) -> Result<Entry, UploadError> {
        let start = self.start_byte()?;
        let log_bytes = self.file_bytes - start;
        let (scanned, trailer) = if log_bytes <= SINGLE_PUT_BYTES {
            self.send_whole(store, start).await?
        } else {
            self.send_parts(store, start).await?
        };
        let entry = self.entry(&scanned, &trailer);
        self.verify(store, entropy, &entry, &scanned, &trailer).await?;
        Ok(entry)
    }

    async fn send_whole(&self, store: &Store, start: u64) -> Result<(Scanned, Trailer), UploadError> {
        let mut scan = LogScan::new(self.from, self.next);
        let mut body = Vec::new();
        let mut at = start;
        while let Some(chunk) = self.read_chunk(&mut at, &mut scan).await? {
            body.push(chunk);
        }
        let (scanned, trailer) = self.seal(scan)?;
        body.push(trailer.bytes.clone());
        store.put(self.key, body).await?;
        Ok((scanned, trailer))
    }

    async fn send_parts(&self, store: &Store, start: u64) -> Result<(Scanned, Trailer), UploadError> {
        let mut upload = store.begin(self.key).await?;
        match self.fill_parts(&mut upload, start).await {
            Ok(sent) => {
                upload.complete().await?;
                Ok(sent)
            }
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        }
    }

    async fn fill_parts(
        &self,
        upload: &mut PartUpload<'_>,
        start: u64,
    ) -> Result<(Scanned, Trailer), UploadError> {
        let mut scan = LogScan::new(self.from, self.next);
        let mut part = Vec::with_capacity(PART_CHUNKS);
        let mut at = start;
        while let Some(chunk) = self.read_chunk(&mut at, &mut scan).await? {
            part.push(chunk);
            if part.len() == PART_CHUNKS {
                upload.part(std::mem::take(&mut part)).await?;
            }
        }
        let (scanned, trailer) = self.seal(scan)?;
        part.push(trailer.bytes.clone());
        upload.part(part).await?;
        Ok((scanned, trailer))
    }

    /// The next chunk of the file, scanned; `None` at its end.
    async fn read_chunk(&self, at: &mut u64, scan: &mut LogScan) -> Result<Option<Bytes>, UploadError> {
        let left = self.file_bytes - *at;
        if left == 0 {
            return Ok(None);
        }
        // cannot truncate: at most CHUNK_BYTES.
        let mut chunk = vec![0; left.min(CHUNK_BYTES) as usize];
        self.file.read_exact_at(&mut chunk, *at)?;
        scan.feed(&chunk)?;
        *at += chunk.len() as u64;
        // A segment takes many milliseconds: others on this runtime get their turn between chunks.
        tokio::task::yield_now().await;
        Ok(Some(chunk.into()))
    }

    fn seal(&self, scan: LogScan) -> Result<(Scanned, Trailer), UploadError> {
        let scanned = scan.finish()?;
        let trailer = Contents {
            uuid: self.uuid,
            base: self.from,
            next: self.next,
            scanned: &scanned,
            producers: self.producers,
            aborted: self.aborted,
            labels: self.labels,
        }
        .trailer();
        Ok((scanned, trailer))
    }

    /// Where in the file the batch at `from` begins.
    fn start_byte(&self) -> Result<u64, UploadError> {
        let mut at = 0;
        if self.from == self.segment_base {
            return Ok(at);
        }
        let mut head = [0; HEADER_BYTES];
        while at < self.file_bytes {
            let read = self.file.read_full_at(&mut head, at)?;
            let header =
                BatchHeader::parse(&head[..read]).map_err(|why| ScanError::Batch { position: at, why })?;
            if header.base_offset >= self.from {
                return Ok(at);
            }
            if header.next_offset() > self.from {
                let (base, next) = (header.base_offset, header.next_offset());
                let (expected, end) = (self.from, self.next);
                return Err(ScanError::Range { position: at, base, next, expected, end }.into());
            }
            at += header.size() as u64;
        }
        let why = BatchError::Truncated { have: 0, need: HEADER_BYTES };
        Err(ScanError::Batch { position: self.file_bytes, why }.into())
    }

    fn entry(&self, scanned: &Scanned, trailer: &Trailer) -> Entry {
        let epoch = |span: Option<&(LeaderEpoch, Offset)>| span.map_or(LeaderEpoch(-1), |(epoch, _)| *epoch);
        Entry {
            base: self.from,
            next: self.next,
            min_timestamp: scanned.min_timestamp,
            max_timestamp: scanned.max_timestamp,
            leader_epoch: self.leader_epoch,
            previous_epoch: self.previous_epoch,
            first_epoch: epoch(scanned.epochs.first()),
            last_epoch: epoch(scanned.epochs.last()),
            log_bytes: scanned.log_bytes,
            footer_at: trailer.tail.footer_at,
            footer_len: trailer.tail.footer_len,
            footer_crc: trailer.tail.footer_crc,
            aborted: u32::try_from(self.aborted.len()).unwrap_or(u32::MAX),
            uuid: self.uuid,
        }
    }

    async fn verify(
        &self,
        store: &Store,
        entropy: &dyn Entropy,
        entry: &Entry,
        scanned: &Scanned,
        trailer: &Trailer,
    ) -> Result<(), UploadError> {
        let differs = |why: String| Err(UploadError::Verify { key: self.key.to_owned(), why });
        let sent = entry.log_bytes + trailer.bytes.len() as u64;
        debug_assert_eq!(
            sent,
            entry.object_bytes(),
            "footer of {} and tail of {TAIL_BYTES}",
            entry.footer_len
        );
        let head = store.head(self.key).await?;
        if head.len != sent {
            return differs(format!("it has {} bytes of {sent}", head.len));
        }
        let from = entry.log_bytes.max(sent.saturating_sub(READ_BACK_BYTES));
        let shown = store.get_range(self.key, from..sent).await?;
        // cannot truncate: `from` lies inside the trailer, which is in memory.
        if shown != trailer.bytes[(from - entry.log_bytes) as usize..] {
            return differs("its footer or tail".to_owned());
        }
        let chunk = entropy.u64() % u64::from(entry.chunks());
        let start = chunk * CHUNK_BYTES;
        let bytes = store.get_range(self.key, start..(start + CHUNK_BYTES).min(entry.log_bytes)).await?;
        let crc = crate::batch::header::crc32c(&bytes);
        // cannot truncate: the scan kept a checksum per chunk in memory.
        let expected = scanned.chunk_crcs[chunk as usize];
        if crc != expected {
            return differs(format!("chunk {chunk} has crc {crc:#010x}, not {expected:#010x}"));
        }
        Ok(())
    }
}
