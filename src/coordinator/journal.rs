//! The log a coordinator lives by, as little of it as it needs: append, what is committed, read everything again.
//! It is not the log itself: a partition is one journal, a vector in a test another. Invariant: an offset below
//! `committed` is never taken back.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use firnline_tiering::log::append::{AppendError, Origin};
use firnline_tiering::log::read::Read;
use firnline_tiering::offsets::Offset;

use crate::partition::cold_lane::read_exact;
use crate::partition::leader::{LeaderAppend, ProduceRefused};
use crate::partition::replica::PartitionHandle;
use crate::purgatory::delayed::WakeBoard;

/// Why a journal did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Somebody holds the append lock: yield and try again.
    #[error("the log is busy")]
    Busy,
    /// This broker does not lead the partition any more.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// It cannot be written now; nothing was.
    #[error("{0}")]
    Unavailable(String),
    /// The batch is larger than the log takes.
    #[error("{0}")]
    TooLarge(String),
    /// The disk failed, or what it holds is damaged.
    #[error("{0}")]
    Storage(String),
}

/// A coordinator's log.
pub trait Journal: Send + Sync + Debug {
    /// Appends one batch, writing offset and epoch into it; answers the offset after its last record. Never waits.
    fn append(&self, batch: &mut [u8], now_ms: i64) -> Result<Offset, JournalError>;

    /// First offset that is not committed.
    fn committed(&self) -> Offset;

    /// First offset there is, and the first after the last.
    fn span(&self) -> (Offset, Offset);

    /// Whole batches from the one that holds `from` on, about a mebibyte. May wait for the disk.
    fn read(&self, from: Offset) -> Result<Bytes, JournalError>;

    /// Largest size, in bytes, that a batch may open to.
    fn open_limit(&self) -> usize;
}

/// Bytes per read.
const READ_BYTES: u64 = 1 << 20;

/// A led partition as a journal. Consumers that wait for it (tools read `__consumer_offsets`) hear of appends.
#[derive(Debug)]
pub struct PartitionJournal {
    partition: PartitionHandle,
    board: Arc<WakeBoard>,
}

impl PartitionJournal {
    /// The journal of `partition`.
    pub fn new(partition: PartitionHandle, board: Arc<WakeBoard>) -> Self {
        Self { partition, board }
    }
}

impl Journal for PartitionJournal {
    fn append(&self, batch: &mut [u8], now_ms: i64) -> Result<Offset, JournalError> {
        let how = LeaderAppend {
            origin: Origin::Coordinator,
            now_ms,
            produce_version: i16::MAX,
            all_replicas: true,
        };
        let appended = self.partition.append(batch, &how).map_err(|refused| refusal(&refused))?;
        self.partition.tell_all(&self.board);
        Ok(appended.appended.last_offset.next())
    }

    fn committed(&self) -> Offset {
        self.partition.high_watermark()
    }

    fn span(&self) -> (Offset, Offset) {
        let offsets = self.partition.offsets();
        (offsets.log_start, offsets.end)
    }

    fn read(&self, from: Offset) -> Result<Bytes, JournalError> {
        let (_, end) = self.span();
        let storage = |what: String| JournalError::Storage(what);
        match self
            .partition
            .log()
            .read(from, READ_BYTES, end, true)
            .map_err(|error| storage(error.to_string()))?
        {
            Read::Hot(slice) => {
                // The log answers at most READ_BYTES, or one batch, which its append limit bounds.
                let length = usize::try_from(slice.len).map_err(|error| storage(error.to_string()))?;
                let mut bytes = BytesMut::zeroed(length);
                read_exact(&*slice.file, &mut bytes, slice.at).map_err(|error| storage(error.to_string()))?;
                Ok(bytes.freeze())
            }
            Read::Cold => Err(storage(format!("offset {from} of an internal topic lies in the bucket"))),
            Read::Empty => Ok(Bytes::new()),
        }
    }

    fn open_limit(&self) -> usize {
        usize::try_from(self.partition.log().config().segment_bytes).unwrap_or(usize::MAX)
    }
}

fn refusal(refused: &ProduceRefused) -> JournalError {
    let what = refused.to_string();
    match refused {
        ProduceRefused::NotLeader => JournalError::NotLeader,
        ProduceRefused::NotEnoughReplicas { .. } | ProduceRefused::DiskReserve => {
            JournalError::Unavailable(what)
        }
        ProduceRefused::Internal => JournalError::Storage(what),
        ProduceRefused::Log(error) => match error {
            AppendError::Busy => JournalError::Busy,
            AppendError::StaleEpoch { .. } => JournalError::NotLeader,
            AppendError::LargerThanSegment { .. } => JournalError::TooLarge(what),
            AppendError::DiskFull { .. } => JournalError::Unavailable(what),
            _ => JournalError::Storage(what),
        },
    }
}
