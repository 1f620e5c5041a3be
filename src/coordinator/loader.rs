//! Replays a coordinator's log into its state: at start, and when this broker takes a partition over.
//! It waits for the disk, so it runs on the cold lane. It does not repair: a record it cannot read stops it, because a
//! committed offset that is silently forgotten makes a consumer skip or repeat. Invariant: the state it answers is a
//! function of the log's bytes alone.

use bytes::Bytes;
use firnline_tiering::batch::compress::decompress;
use firnline_tiering::batch::header::{BatchHeader, Codec, HEADER_BYTES, batches};
use firnline_tiering::batch::record::RecordReader;
use firnline_tiering::offsets::Offset;

use crate::coordinator::group::groups::Groups;
use crate::coordinator::group::records::{Record, RecordError};
use crate::coordinator::journal::{Journal, JournalError};

/// What a replay found.
#[derive(Debug)]
pub struct Replayed {
    /// The groups.
    pub groups: Groups,
    /// First offset after what was read.
    pub end: Offset,
    /// Records applied.
    pub records: u64,
    /// Records of kinds this binary has no use for.
    pub passed_over: u64,
}

/// Why a log could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A batch is damaged.
    #[error("the batch at offset {at} is damaged: {what}")]
    Batch {
        /// Its offset.
        at: Offset,
        /// What is wrong.
        what: String,
    },
    /// A record is none that we know.
    #[error("the record at offset {at} cannot be read: {fault}")]
    Record {
        /// Its offset.
        at: Offset,
        /// What is wrong.
        fault: RecordError,
    },
}

/// Reads the whole journal.
pub fn replay(journal: &dyn Journal) -> Result<Replayed, LoadError> {
    let (mut at, end) = journal.span();
    let mut replayed = Replayed { groups: Groups::default(), end: at, records: 0, passed_over: 0 };
    while at < end {
        let bytes = journal.read(at)?;
        let before = at;
        for batch in batches(&bytes) {
            let (header, batch) = batch.map_err(|fault| LoadError::Batch { at, what: fault.to_string() })?;
            at = header.next_offset();
            // The read begins with the batch that holds `before`; none can be behind it.
            if at > before {
                replay_batch(journal, &header, bytes.slice_ref(batch), &mut replayed)?;
            }
        }
        if at <= before {
            return Err(LoadError::Batch {
                at,
                what: format!("nothing can be read before the end at {end}"),
            });
        }
    }
    replayed.end = at;
    Ok(replayed)
}

fn replay_batch(
    journal: &dyn Journal,
    header: &BatchHeader,
    batch: Bytes,
    replayed: &mut Replayed,
) -> Result<(), LoadError> {
    let at = header.base_offset;
    let damaged = |what: String| LoadError::Batch { at, what };
    header.check_crc(&batch).map_err(|fault| damaged(fault.to_string()))?;
    // Markers of transactions: nothing of ours is in one until transactional commits exist.
    if header.is_control() {
        return Ok(());
    }
    let packed = batch.slice(HEADER_BYTES..);
    let records = match header.codec().map_err(|fault| damaged(fault.to_string()))? {
        Codec::None => packed,
        codec => {
            decompress(codec, &packed, journal.open_limit()).map_err(|fault| damaged(fault.to_string()))?
        }
    };
    for record in RecordReader::new(&records) {
        let record = record.map_err(|fault| damaged(fault.to_string()))?;
        let offset = at + i64::from(record.offset_delta);
        // A record without key says nothing about any group.
        let Some(key) = record.key else {
            replayed.passed_over += 1;
            continue;
        };
        let value = record.value.map(|value| records.slice_ref(value));
        match Record::decode(&records.slice_ref(key), value.as_ref()) {
            Ok(Some(record)) => {
                replayed.groups.apply(record);
                replayed.records += 1;
            }
            Ok(None) => replayed.passed_over += 1,
            Err(fault) => return Err(LoadError::Record { at: offset, fault }),
        }
    }
    Ok(())
}
