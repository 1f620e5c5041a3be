//! A quorum in a map: applies changes like the controller does, and loses answers on command.

use async_trait::async_trait;
use firnline_tiering::cold::commit::{CommitError, TierCommit};
use firnline_tiering::cold::tier::{TierChange, TierRow};
use firnline_tiering::config::LogId;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::offsets::Offset;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What happens to the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Next {
    #[default]
    Apply,
    /// Applied, and nobody hears of it.
    ApplyAndLoseAnswer,
    /// Not applied now; [`Quorum::deliver_late`] tries it.
    Delay,
}

#[derive(Debug, Default)]
pub struct Quorum {
    rows: Mutex<BTreeMap<LogId, Arc<TierRow>>>,
    next: Mutex<Next>,
    late: Mutex<Option<(LogId, TierChange)>>,
}

impl Quorum {
    pub fn create(&self, log: &LogId) {
        self.put(log, TierRow::new(LeaderEpoch(0), Offset(0)));
    }

    pub fn put(&self, log: &LogId, row: TierRow) {
        self.rows.lock().insert(log.clone(), Arc::new(row));
    }

    pub fn delete(&self, log: &LogId) -> Option<Arc<TierRow>> {
        self.rows.lock().remove(log)
    }

    pub fn next_commit(&self, next: Next) {
        *self.next.lock() = next;
    }

    /// The delayed change arrives now.
    pub fn deliver_late(&self) -> Result<Arc<TierRow>, CommitError> {
        let (log, change) = self.late.lock().take().unwrap();
        self.apply(&log, &change)
    }

    fn apply(&self, log: &LogId, change: &TierChange) -> Result<Arc<TierRow>, CommitError> {
        let mut rows = self.rows.lock();
        let row = rows.get(log).ok_or(CommitError::NoSuchLog)?;
        // As on the wire: what is applied was encoded and decoded.
        let change = TierChange::decode(&change.encode()).unwrap();
        let next = TierRow::decode(&row.apply(&change)?.encode()).unwrap();
        rows.insert(log.clone(), Arc::new(next.clone()));
        Ok(Arc::new(next))
    }
}

#[async_trait]
impl TierCommit for Quorum {
    async fn commit(&self, log: &LogId, change: TierChange) -> Result<Arc<TierRow>, CommitError> {
        let next = std::mem::take(&mut *self.next.lock());
        match next {
            Next::Apply => self.apply(log, &change),
            Next::ApplyAndLoseAnswer => {
                self.apply(log, &change)?;
                Err(CommitError::Unknown("answer lost".into()))
            }
            Next::Delay => {
                *self.late.lock() = Some((log.clone(), change));
                Err(CommitError::Unknown("request delayed".into()))
            }
        }
    }

    fn row(&self, log: &LogId) -> Option<Arc<TierRow>> {
        self.rows.lock().get(log).cloned()
    }
}
