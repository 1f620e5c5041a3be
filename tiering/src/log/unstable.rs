//! What a log's transactions hold back: the open ones, and those whose marker may not stand everywhere yet.
//! It knows no log and no files. Invariant: a transaction is seen as open, or as decided and waiting, until the high
//! watermark has passed its marker; a reader takes no lock unless one waits.

use crate::hot::transactions::AbortedTransaction;
use crate::offsets::Offset;
use crate::producer::state::{EndedTransaction, ProducerTable};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// What a log's transactions hold back.
#[derive(Debug)]
pub(super) struct Unstable {
    /// First offset of the oldest open transaction; `i64::MAX` if there is none.
    open: AtomicI64,
    /// Whether `decided` holds anything.
    waits: AtomicBool,
    /// Transactions whose marker stands here, but perhaps not on every in-sync replica.
    decided: Mutex<Vec<EndedTransaction>>,
    /// Aborted transactions ever indexed here: a log without any is not searched for them.
    aborted: AtomicU64,
}

impl Default for Unstable {
    fn default() -> Self {
        let (open, waits, aborted) = (AtomicI64::new(i64::MAX), AtomicBool::new(false), AtomicU64::new(0));
        Self { open, waits, decided: Mutex::default(), aborted }
    }
}

impl Unstable {
    /// First offset of the oldest open transaction.
    pub fn first_open(&self) -> Option<Offset> {
        let first = self.open.load(Ordering::Acquire);
        (first != i64::MAX).then_some(Offset(first))
    }

    /// Until the high watermark has passed its marker.
    pub fn wait_for(&self, ended: EndedTransaction) {
        self.decided.lock().push(ended);
        self.waits.store(true, Ordering::Release);
    }

    /// Drops the waiting ones that `keep` does not want, and answers the lowest first offset of the others.
    pub fn first_waiting(&self, keep: impl Fn(&EndedTransaction) -> bool) -> Option<Offset> {
        if !self.waits.load(Ordering::Acquire) {
            return None;
        }
        let mut decided = self.decided.lock();
        decided.retain(keep);
        self.waits.store(!decided.is_empty(), Ordering::Release);
        decided.iter().map(|ended| ended.first_offset).min()
    }

    /// Markers at and above `end` were cut off.
    pub fn cut(&self, end: Offset) {
        self.first_waiting(|ended| ended.last_offset < end);
    }

    /// Whether any transaction is open, waits, or was ever aborted here.
    pub fn holds_any(&self) -> bool {
        self.first_open().is_some() || self.waits.load(Ordering::Acquire) || self.has_aborted()
    }

    /// The oldest open transaction is another one now, or none is.
    pub fn set_open(&self, producers: &ProducerTable) {
        let first = producers.first_undecided().map_or(i64::MAX, |offset| offset.0);
        self.open.store(first, Ordering::Release);
    }

    /// Whether an aborted transaction was ever indexed.
    pub fn has_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire) > 0
    }

    /// `count` more aborted transactions are in the indexes.
    pub fn count_aborted(&self, count: usize) {
        self.aborted.fetch_add(count as u64, Ordering::Release);
    }
}

/// The index entry of a transaction that a marker just aborted.
pub(super) fn aborted(ended: &EndedTransaction, producers: &ProducerTable) -> AbortedTransaction {
    AbortedTransaction {
        producer_id: ended.producer_id,
        first: ended.first_offset,
        last: ended.last_offset,
        last_stable: producers.first_undecided().unwrap_or(ended.last_offset.next()),
    }
}
