//! What stays of a batch: the last record of each key, tombstones and markers until their time has come, nothing of
//! aborted transactions, and an empty batch where a producer's sequence hangs on it. Pure: bytes in, [`Stays`] out.
//! Invariant: a batch that contradicts itself is left exactly as it is, and counted.

use crate::batch::compress::{DecompressError, decompress};
use crate::batch::control::read_control;
use crate::batch::header::{BatchError, BatchHeader, Codec, HEADER_BYTES};
use crate::batch::record::{Record, RecordFault, RecordReader};
use crate::compact::offset_map::OffsetMap;
use crate::compact::rewrite::{Kept, emptied, rebuilt};
use crate::compact::transactions::Walked;
use crate::log::clean::LastWrite;
use crate::offsets::Offset;
use std::collections::BTreeMap;

/// What stays of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stays {
    /// All of it, as it is.
    Whole,
    /// This in its place.
    Instead(Vec<u8>),
    /// Nothing.
    Nothing,
}

/// Why the records of a batch cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Lie {
    /// The bytes were damaged, or header fields cannot be.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// It cannot be opened.
    #[error(transparent)]
    Compression(#[from] DecompressError),
    /// A record contradicts itself.
    #[error(transparent)]
    Record(#[from] RecordFault),
    /// Offsets that do not rise within the batch's range.
    #[error("record with offset delta {delta} follows {after} in a batch that ends at {last}")]
    OffsetDelta {
        /// Of the record.
        delta: i32,
        /// Of the one before it.
        after: i32,
        /// The batch's last.
        last: i32,
    },
    /// More or fewer records than the header counts.
    #[error("the header counts {said} records, there are {found}")]
    Count {
        /// In the header.
        said: i32,
        /// In the batch.
        found: usize,
    },
    /// Its records cannot be compressed again.
    #[error("cannot be compressed again: {0}")]
    Recompress(String),
}

/// What the whole cleaning knows.
#[derive(Debug)]
pub struct Knowledge<'a> {
    /// The last offset of each key, up to [`OffsetMap::latest`].
    pub map: &'a OffsetMap,
    /// What active producers wrote last.
    pub producers: &'a BTreeMap<i64, LastWrite>,
    /// A batch that ends here stays, if only empty: the high watermark.
    pub high_watermark: Offset,
    /// When the cleaning began, milliseconds.
    pub now_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// How much a compressed batch may open to, bytes.
    pub limit: usize,
}

/// What was met on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records read.
    pub records: u64,
    /// Records that stay.
    pub kept: u64,
    /// Batches left as they are because they contradict themselves.
    pub lies: u64,
}

impl Knowledge<'_> {
    /// What stays of the next batch. `is_last` holds it, if only empty: it is the last one of what is cleaned into a
    /// segment, whose end must not move.
    pub fn stays(
        &self,
        batch: &[u8],
        header: &BatchHeader,
        is_last: bool,
        walked: &mut Walked,
        tally: &mut Tally,
    ) -> Stays {
        match self.look(batch, header, is_last, walked, tally) {
            Ok(stays) => stays,
            Err(lie) => {
                tally.lies += 1;
                tracing::warn!(offset = %header.base_offset, %lie, "a batch contradicts itself, it stays as it is");
                Stays::Whole
            }
        }
    }

    fn look(
        &self,
        batch: &[u8],
        header: &BatchHeader,
        is_last: bool,
        walked: &mut Walked,
        tally: &mut Tally,
    ) -> Result<Stays, Lie> {
        header.check_crc(batch)?;
        let held = is_last || self.holds(header);
        let (unwanted, ends_nothing) = if header.is_control() {
            let ends_nothing = walked.control(header, read_control(header, batch).ok());
            let due = header.delete_horizon_ms().is_some_and(|horizon| horizon <= self.now_ms);
            (ends_nothing && due, ends_nothing)
        } else {
            (walked.data(header), false)
        };
        let count = u64::try_from(header.record_count).unwrap_or(0);
        if unwanted || header.record_count == 0 {
            tally.records += count;
            return Ok(without_records(batch, header, held));
        }
        if header.is_control() {
            (tally.records, tally.kept) = (tally.records + count, tally.kept + count);
            let waits = ends_nothing && header.delete_horizon_ms().is_none();
            return if waits { self.with_horizon(batch, header) } else { Ok(Stays::Whole) };
        }
        if self.map.latest().is_none_or(|latest| header.base_offset > latest) {
            // Nobody knows yet what of it is the last of its key.
            (tally.records, tally.kept) = (tally.records + count, tally.kept + count);
            return Ok(Stays::Whole);
        }
        self.by_key(batch, header, held, tally)
    }

    /// The batch stays whatever its records: a producer's sequence, its epoch, or the high watermark hangs on it.
    fn holds(&self, header: &BatchHeader) -> bool {
        let of_producer = match self.producers.get(&header.producer_id).filter(|_| header.has_producer()) {
            Some(LastWrite::Data(last)) => header.last_offset() == *last,
            Some(LastWrite::Marker { epoch }) => header.is_control() && header.producer_epoch == *epoch,
            None => false,
        };
        of_producer || header.next_offset() == self.high_watermark
    }

    fn by_key(
        &self,
        batch: &[u8],
        header: &BatchHeader,
        held: bool,
        tally: &mut Tally,
    ) -> Result<Stays, Lie> {
        let opened;
        let codec = header.codec()?;
        let plain = match codec {
            Codec::None => &batch[HEADER_BYTES..],
            codec => {
                opened = decompress(codec, &batch[HEADER_BYTES..], self.limit)?;
                &opened[..]
            }
        };
        let all = records(plain, header)?;
        let count = all.len() as u64;
        let kept: Vec<Kept<'_>> = all.into_iter().filter(|kept| self.keeps(header, &kept.record)).collect();
        (tally.records, tally.kept) = (tally.records + count, tally.kept + kept.len() as u64);
        if kept.is_empty() {
            return Ok(without_records(batch, header, held));
        }
        let tombstones = kept.iter().any(|kept| kept.record.value.is_none());
        let starts = tombstones && header.delete_horizon_ms().is_none();
        if kept.len() as u64 == count && !starts {
            return Ok(Stays::Whole);
        }
        let horizon = starts.then(|| self.horizon());
        let instead = rebuilt(batch, header, codec, &kept, horizon);
        instead.map(Stays::Instead).map_err(|error| Lie::Recompress(error.to_string()))
    }

    /// Kafka's rule: the last of its key, and a tombstone only until its horizon. A record without a key has no place
    /// in a compacted log.
    fn keeps(&self, header: &BatchHeader, record: &Record<'_>) -> bool {
        let offset = header.base_offset + i64::from(record.offset_delta);
        if self.map.latest().is_none_or(|latest| offset > latest) {
            return true;
        }
        let Some(key) = record.key else { return false };
        let is_last = self.map.get(key).is_none_or(|last| offset >= last);
        let waits = header.delete_horizon_ms().is_none_or(|horizon| self.now_ms < horizon);
        is_last && (record.value.is_some() || waits)
    }

    fn horizon(&self) -> i64 {
        self.now_ms.saturating_add(self.delete_retention_ms).max(0)
    }

    fn with_horizon(&self, batch: &[u8], header: &BatchHeader) -> Result<Stays, Lie> {
        let all = records(&batch[HEADER_BYTES..], header)?;
        let instead = rebuilt(batch, header, Codec::None, &all, Some(self.horizon()));
        instead.map(Stays::Instead).map_err(|error| Lie::Recompress(error.to_string()))
    }
}

/// Every record with a key of a batch, and its offset, for the map. A lie is the caller's to report.
pub fn keys(
    batch: &[u8],
    header: &BatchHeader,
    limit: usize,
    mut each: impl FnMut(&[u8], Offset) -> bool,
) -> Result<bool, Lie> {
    header.check_crc(batch)?;
    let opened;
    let plain = match header.codec()? {
        Codec::None => &batch[HEADER_BYTES..],
        codec => {
            opened = decompress(codec, &batch[HEADER_BYTES..], limit)?;
            &opened[..]
        }
    };
    // Read to the end before the first key counts: a lie takes the whole batch with it.
    for kept in records(plain, header)? {
        let offset = header.base_offset + i64::from(kept.record.offset_delta);
        if let Some(key) = kept.record.key
            && !each(key, offset)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn without_records(batch: &[u8], header: &BatchHeader, held: bool) -> Stays {
    match held {
        false => Stays::Nothing,
        true if header.record_count == 0 => Stays::Whole,
        true => Stays::Instead(emptied(batch, header)),
    }
}

/// All records of a batch, checked against its header.
fn records<'a>(plain: &'a [u8], header: &BatchHeader) -> Result<Vec<Kept<'a>>, Lie> {
    let mut reader = RecordReader::new(plain);
    // Grows with the records that are really there.
    let (mut all, mut at, mut after) = (Vec::new(), 0, -1);
    while let Some(record) = reader.next_record()? {
        let (delta, last) = (record.offset_delta, header.last_offset_delta);
        if delta <= after || delta > last {
            return Err(Lie::OffsetDelta { delta, after, last });
        }
        all.push(Kept { record, bytes: &plain[at..at + record.size] });
        (at, after) = (at + record.size, delta);
    }
    if usize::try_from(header.record_count) != Ok(all.len()) {
        return Err(Lie::Count { said: header.record_count, found: all.len() });
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
