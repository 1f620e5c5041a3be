//! What a log remembers of its idempotent producers: epoch, and the last five batches of each. Pure.
//! It reads no file and no clock. Invariant: a batch that was appended once is known again while it is among its
//! producer's last five, so a retry gets its first offset and is not appended twice (KIP-98, KIP-360).

use crate::batch::header::{BatchHeader, add_sequence};
use crate::batch::validate::Origin;
use crate::offsets::Offset;
use std::collections::{BTreeMap, BTreeSet};

/// Batches remembered per producer: as many as a client may have in flight.
pub const WINDOW: usize = 5;
/// Producers remembered per log. Past it the longest silent tenth without an open transaction is forgotten.
pub const MAX_PRODUCERS: usize = 100_000;

/// A batch that a producer wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PastBatch {
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Records in it, less one.
    pub offset_delta: i32,
    /// Its max timestamp, milliseconds.
    pub timestamp: i64,
}

impl PastBatch {
    /// Sequence of its first record.
    pub fn first_sequence(&self) -> i32 {
        ((i64::from(self.last_sequence) - i64::from(self.offset_delta)) & 0x7fff_ffff) as i32
    }

    /// Offset of its first record.
    pub fn first_offset(&self) -> Offset {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// One producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    /// Its id.
    pub producer_id: i64,
    /// Its newest epoch; −1 if none is known.
    pub epoch: i16,
    /// Epoch of the transaction coordinator that wrote its last marker; −1 if none did.
    pub coordinator_epoch: i32,
    /// Max timestamp of its last batch or marker, milliseconds.
    pub last_timestamp: i64,
    /// When it last wrote here, by our clock, milliseconds. What expiry counts from.
    pub touched_ms: i64,
    /// First offset of its open transaction.
    pub transaction_start: Option<Offset>,
    batches: [PastBatch; WINDOW],
    len: u8,
}

impl ProducerState {
    /// A producer without batches.
    pub fn new(producer_id: i64, epoch: i16) -> Self {
        Self {
            producer_id,
            epoch,
            coordinator_epoch: -1,
            last_timestamp: -1,
            touched_ms: -1,
            transaction_start: None,
            batches: [PastBatch::default(); WINDOW],
            len: 0,
        }
    }

    /// Its last batches, oldest first, at most [`WINDOW`].
    pub fn batches(&self) -> &[PastBatch] {
        &self.batches[..usize::from(self.len)]
    }

    /// Its last batch.
    pub fn last_batch(&self) -> Option<&PastBatch> {
        self.batches().last()
    }

    /// Remembers a batch; the oldest leaves a full window.
    pub fn remember(&mut self, batch: PastBatch) {
        if usize::from(self.len) == WINDOW {
            self.batches.rotate_left(1);
            self.len -= 1;
        }
        self.batches[usize::from(self.len)] = batch;
        self.len += 1;
    }

    fn enter_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches = [PastBatch::default(); WINDOW];
            self.len = 0;
        }
    }
}

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Append it.
    Append,
    /// It is here already: answer its offsets, append nothing.
    Duplicate {
        /// Offset of its first record.
        base_offset: Offset,
        /// Offset of its last record.
        last_offset: Offset,
        /// Its max timestamp, milliseconds.
        timestamp: i64,
    },
}

/// Why an idempotent batch may not be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// A batch is missing before this one, or it overlaps an older one.
    #[error(
        "producer {producer_id} sent sequence {sequence} after {last} (epoch {epoch}, known {known_epoch})"
    )]
    OutOfOrder {
        /// From the batch.
        producer_id: i64,
        /// From the batch.
        epoch: i16,
        /// The newest we know.
        known_epoch: i16,
        /// The batch's first sequence.
        sequence: i32,
        /// The last sequence appended; −1 if none.
        last: i32,
    },
    /// The producer was fenced: a newer instance of it has written here.
    #[error("producer {producer_id} writes with epoch {epoch}, the newest is {known_epoch}")]
    InvalidEpoch {
        /// From the batch.
        producer_id: i64,
        /// From the batch.
        epoch: i16,
        /// The newest we know.
        known_epoch: i16,
    },
    /// A record outside a transaction while the producer has one open.
    #[error("producer {producer_id} writes outside its open transaction that began at {start}")]
    OutsideTransaction {
        /// From the batch.
        producer_id: i64,
        /// Where the open transaction began.
        start: Offset,
    },
    /// A marker from a transaction coordinator that has been replaced.
    #[error("marker of coordinator epoch {epoch}, the newest is {known_epoch}")]
    CoordinatorFenced {
        /// From the marker.
        epoch: i32,
        /// The newest we know.
        known_epoch: i32,
    },
}

/// A transaction that a marker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedTransaction {
    /// Whose.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: Offset,
    /// The marker.
    pub last_offset: Offset,
}

/// All producers of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerTable {
    producers: BTreeMap<i64, ProducerState>,
    /// First offsets of the open transactions.
    open: BTreeSet<Offset>,
    limit: usize,
}

impl Default for ProducerTable {
    fn default() -> Self {
        Self::with_limit(MAX_PRODUCERS)
    }
}

impl ProducerTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty table that remembers `limit` producers, at least one.
    pub fn with_limit(limit: usize) -> Self {
        Self { producers: BTreeMap::new(), open: BTreeSet::new(), limit: limit.max(1) }
    }

    /// Producers known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// None known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// One producer.
    pub fn get(&self, producer_id: i64) -> Option<&ProducerState> {
        self.producers.get(&producer_id)
    }

    /// All of them, by rising id.
    pub fn iter(&self) -> impl Iterator<Item = &ProducerState> {
        self.producers.values()
    }

    /// Takes over a producer read from a snapshot. One that claims to have written after `now_ms` is taken as
    /// having written now, or a wrong clock would keep it for ever.
    pub fn load(&mut self, mut state: ProducerState, now_ms: i64) {
        state.touched_ms = state.touched_ms.min(now_ms);
        let before = self.producers.insert(state.producer_id, state);
        if let Some(start) = before.and_then(|before| before.transaction_start) {
            self.open.remove(&start);
        }
        self.open.extend(state.transaction_start);
        self.stay_bounded(state.producer_id);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.producers.clear();
        self.open.clear();
    }

    /// Whether a data batch may be appended, or is here already. Batches without a producer always may.
    pub fn check(&self, batch: &BatchHeader, origin: Origin) -> Result<Verdict, SequenceError> {
        let Some(known) = batch.has_producer().then(|| self.producers.get(&batch.producer_id)).flatten()
        else {
            // A producer we do not know (new, expired, or its records are gone) may start at any sequence.
            return Ok(Verdict::Append);
        };
        if origin == Origin::Follower {
            return Ok(Verdict::Append);
        }
        if origin == Origin::Client
            && let Some(past) = find_duplicate(known, batch)
        {
            let (base_offset, last_offset) = (past.first_offset(), past.last_offset);
            return Ok(Verdict::Duplicate { base_offset, last_offset, timestamp: past.timestamp });
        }
        let (producer_id, epoch, known_epoch) = (batch.producer_id, batch.producer_epoch, known.epoch);
        if epoch < known_epoch {
            return Err(SequenceError::InvalidEpoch { producer_id, epoch, known_epoch });
        }
        if origin == Origin::Client {
            check_sequence(known, batch)?;
        }
        match known.transaction_start {
            Some(start) if !batch.is_transactional() => {
                Err(SequenceError::OutsideTransaction { producer_id, start })
            }
            _ => Ok(Verdict::Append),
        }
    }

    /// Remembers a data batch that was appended: `batch` has its final base offset, `now_ms` is when.
    ///
    /// Replay passes the batch's own time, at most now. Does nothing for batches without a producer.
    pub fn apply(&mut self, batch: &BatchHeader, now_ms: i64) {
        debug_assert!(!batch.is_control(), "markers go to apply_marker");
        if !batch.has_producer() {
            return;
        }
        let (id, epoch) = (batch.producer_id, batch.producer_epoch);
        let state = self.producers.entry(id).or_insert_with(|| ProducerState::new(id, epoch));
        state.enter_epoch(epoch);
        state.remember(PastBatch {
            last_sequence: batch.last_sequence(),
            last_offset: batch.last_offset(),
            offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp,
        });
        state.last_timestamp = batch.max_timestamp;
        state.touched_ms = state.touched_ms.max(now_ms);
        if batch.is_transactional() && state.transaction_start.is_none() {
            state.transaction_start = Some(batch.base_offset);
            self.open.insert(batch.base_offset);
        }
        self.stay_bounded(id);
    }

    /// Whether a marker of `coordinator_epoch` may be appended (transactions V1 rules: an equal epoch is fine).
    pub fn check_marker(&self, batch: &BatchHeader, coordinator_epoch: i32) -> Result<(), SequenceError> {
        let Some(known) = self.producers.get(&batch.producer_id) else {
            return Ok(());
        };
        let (producer_id, epoch, known_epoch) = (batch.producer_id, batch.producer_epoch, known.epoch);
        if epoch < known_epoch {
            return Err(SequenceError::InvalidEpoch { producer_id, epoch, known_epoch });
        }
        if coordinator_epoch < known.coordinator_epoch {
            let known_epoch = known.coordinator_epoch;
            return Err(SequenceError::CoordinatorFenced { epoch: coordinator_epoch, known_epoch });
        }
        Ok(())
    }

    /// Notes a marker that was appended. Answers the transaction it ended; a marker may end none.
    pub fn apply_marker(
        &mut self,
        batch: &BatchHeader,
        coordinator_epoch: i32,
        now_ms: i64,
    ) -> Option<EndedTransaction> {
        let (id, epoch) = (batch.producer_id, batch.producer_epoch);
        let state = self.producers.entry(id).or_insert_with(|| ProducerState::new(id, epoch));
        state.enter_epoch(epoch);
        state.coordinator_epoch = coordinator_epoch;
        state.last_timestamp = batch.max_timestamp;
        state.touched_ms = state.touched_ms.max(now_ms);
        let first_offset = state.transaction_start.take();
        if let Some(first_offset) = first_offset {
            self.open.remove(&first_offset);
        }
        self.stay_bounded(id);
        let last_offset = batch.base_offset;
        first_offset.map(|first_offset| EndedTransaction { producer_id: id, first_offset, last_offset })
    }

    /// First offset of the oldest open transaction: nothing at or after it is decided.
    pub fn first_undecided(&self) -> Option<Offset> {
        self.open.first().copied()
    }

    /// Forgets producers that wrote nothing for `expiration_ms` and have no open transaction. Returns how many.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers.retain(|_, state| {
            state.transaction_start.is_some() || now_ms.saturating_sub(state.touched_ms) < expiration_ms
        });
        before - self.producers.len()
    }

    /// Past the limit, drops the longest silent tenth at once, so that the sort is paid for by many appends.
    fn stay_bounded(&mut self, newest: i64) {
        if self.producers.len() <= self.limit {
            return;
        }
        let idle =
            self.producers.values().filter(|s| s.transaction_start.is_none() && s.producer_id != newest);
        let mut silent: Vec<(i64, i64)> = idle.map(|s| (s.touched_ms, s.producer_id)).collect();
        silent.sort_unstable();
        for (_, producer_id) in silent.iter().take((self.limit / 10).max(1)) {
            self.producers.remove(producer_id);
        }
    }
}

fn find_duplicate<'a>(known: &'a ProducerState, batch: &BatchHeader) -> Option<&'a PastBatch> {
    if known.epoch != batch.producer_epoch {
        return None;
    }
    let (first, last) = (batch.base_sequence, batch.last_sequence());
    known.batches().iter().find(|past| past.first_sequence() == first && past.last_sequence == last)
}

fn check_sequence(known: &ProducerState, batch: &BatchHeader) -> Result<(), SequenceError> {
    let last = known.last_batch().map_or(-1, |past| past.last_sequence);
    let expected = if batch.producer_epoch != known.epoch || last == -1 { 0 } else { add_sequence(last, 1) };
    if known.epoch == -1 || batch.base_sequence == expected {
        return Ok(());
    }
    Err(SequenceError::OutOfOrder {
        producer_id: batch.producer_id,
        epoch: batch.producer_epoch,
        known_epoch: known.epoch,
        sequence: batch.base_sequence,
        last,
    })
}

#[cfg(test)]
mod tests;
