//! Segments made to order: real batches, offsets and timestamps that a test can compute.

use bytes::Bytes;
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::header::Codec;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::file::File;
use firnline_tiering::offsets::Offset;
use std::io;
use std::os::fd::BorrowedFd;

/// A segment: batches of 10 records.
#[derive(Debug, Clone)]
pub struct Made {
    pub base: Offset,
    pub next: Offset,
    pub bytes: Vec<u8>,
}

/// Records of one made batch.
pub const PER_BATCH: i64 = 10;

/// `batches` batches from `base` on, each value `value` bytes; record `n` has timestamp `1000 + n`.
pub fn made(base: i64, batches: i64, value: usize, codec: Codec, epoch: i32) -> Made {
    let mut bytes = Vec::new();
    for batch in 0..batches {
        let first = base + batch * PER_BATCH;
        let mut builder =
            BatchBuilder::new().base_offset(Offset(first)).leader_epoch(LeaderEpoch(epoch)).codec(codec);
        for offset in first..first + PER_BATCH {
            let key = offset.to_string();
            builder.push(1000 + offset, Some(key.as_bytes()), Some(&value_of(offset, value)), &[]);
        }
        bytes.extend_from_slice(&builder.build());
    }
    Made { base: Offset(base), next: Offset(base + batches * PER_BATCH), bytes }
}

/// Bytes that no compressor makes small and every test can draw again.
pub fn value_of(offset: i64, len: usize) -> Vec<u8> {
    let mut state = u64::try_from(offset).unwrap().wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// A file in memory.
#[derive(Debug)]
pub struct InMemoryFile(pub Bytes);

impl File for InMemoryFile {
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let from = usize::try_from(at).unwrap().min(self.0.len());
        let len = buf.len().min(self.0.len() - from);
        buf[..len].copy_from_slice(&self.0[from..from + len]);
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn resident(&self, _: u64, _: u64) -> bool {
        true
    }
}
