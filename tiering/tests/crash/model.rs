//! What the log must hold, told by what it answered. It knows no file. Invariant: a history is a list of batches in
//! offset order, and what a truncation took never comes back.

use firnline_tiering::epoch::{LeaderEpoch, Lineage};
use firnline_tiering::offsets::Offset;
use std::collections::BTreeMap;

/// One batch as it stands in the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    pub base: Offset,
    pub next: Offset,
    pub epoch: LeaderEpoch,
    /// Producer and last sequence, of an idempotent one.
    pub producer: Option<(i64, i32)>,
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}, {}) epoch {} {:?}", self.base, self.next, self.epoch, self.producer)
    }
}

/// What was begun and not answered when the end came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    Nothing,
    Append(Batch),
    Truncate(Offset),
    /// The log start may be anywhere up to this.
    Trim(Offset),
    Flush,
}

/// The model.
#[derive(Debug, Clone)]
pub struct Model {
    pub history: Vec<Batch>,
    pub doing: Doing,
    /// Below this a flush was answered.
    pub durable: Offset,
    /// The highest log start that was answered.
    pub log_start: Offset,
    pub epoch: LeaderEpoch,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            history: Vec::new(),
            doing: Doing::Nothing,
            durable: Offset::ZERO,
            log_start: Offset::ZERO,
            epoch: LeaderEpoch(0),
        }
    }
}

impl Model {
    pub fn end(&self) -> Offset {
        self.history.last().map_or(Offset::ZERO, |batch| batch.next)
    }

    pub fn appended(&mut self, batch: Batch) {
        self.history.push(batch);
    }

    pub fn truncated(&mut self, to: Offset) {
        self.history.retain(|batch| batch.next <= to);
        self.durable = self.durable.min(self.end());
    }

    /// Everything is durable up to `end`.
    pub fn flushed(&mut self, end: Offset) {
        assert_eq!(end, self.end(), "a flush answers the end");
        self.durable = end;
    }

    /// The last sequence of a producer in a history.
    pub fn sequence(history: &[Batch], producer: i64) -> Option<i32> {
        history
            .iter()
            .rev()
            .find_map(|batch| batch.producer.filter(|(id, _)| *id == producer))
            .map(|(_, s)| s)
    }

    /// The lowest end the log may have after a process crash, or after a power loss.
    pub fn floor(&self, power: bool) -> Offset {
        let floor = if power { self.durable } else { self.end() };
        match self.doing {
            Doing::Truncate(to) => {
                let kept = self.history.iter().take_while(|batch| batch.next <= to).last();
                floor.min(kept.map_or(Offset::ZERO, |batch| batch.next))
            }
            _ => floor,
        }
    }

    /// The highest log start the log may have.
    pub fn log_start_most(&self) -> Offset {
        match self.doing {
            Doing::Trim(to) => self.log_start.max(to),
            _ => self.log_start,
        }
    }

    /// The prefix of the history that the log holds, whose batches from `start` on are `found`; panics if it is none.
    pub fn follow(&self, found: &[Batch], start: Offset, end: Offset) -> Vec<Batch> {
        let mut history = self.history.clone();
        if let Doing::Append(batch) = &self.doing {
            history.push(batch.clone());
        }
        let prefix: Vec<Batch> = history.iter().take_while(|batch| batch.next <= end).cloned().collect();
        let ends = prefix.last().map_or(Offset::ZERO, |batch| batch.next) == end;
        let shown: Vec<&Batch> = prefix.iter().filter(|batch| batch.next > start).collect();
        let same = shown.len() == found.len() && shown.iter().zip(found).all(|(a, b)| a.bytes == b.bytes);
        assert!(
            same && (ends || shown.is_empty() && end == start),
            "I20/I5: the log [{start}, {end}) holds {found:?}, which is no prefix of {history:?}"
        );
        prefix
    }

    /// Producers and their last sequences after a prefix.
    pub fn producers(prefix: &[Batch]) -> BTreeMap<i64, i32> {
        prefix.iter().filter_map(|batch| batch.producer).collect()
    }

    /// The lineage of a prefix seen from a log start.
    pub fn lineage(prefix: &[Batch], start: Offset) -> String {
        let mut lineage = Lineage::default();
        for batch in prefix {
            if lineage.latest().is_none_or(|(known, _)| known < batch.epoch) {
                lineage.assign(batch.epoch, batch.base);
            }
        }
        lineage.truncate_before(start);
        lineage.to_checkpoint()
    }
}
