//! One core's cold reads: begun for one fetch, kept until the same question is asked again.
//! A fetch waits for the bucket no longer than `remote.fetch.max.wait.ms`: what comes later lies here for the next
//! fetch. Invariant: entries and their bytes are bounded; a lost entry only means that it is read again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use firnline_tiering::cold::reader::{ColdBatches, ColdReadError, ColdReader};
use firnline_tiering::hot::transactions::AbortedTransaction;
use firnline_tiering::offsets::Offset;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::partition::cold_limits::ColdLimits;
use crate::partition::replica::PartitionHandle;
use crate::purgatory::delayed::{WaitKey, WakeBoard};

/// Questions under way or answered and not asked again, per core.
const ENTRIES_MAX: usize = 1024;

/// Answered bytes that wait for their question, per core.
const BYTES_MAX: usize = 32 << 20;

/// Most bytes that one question asks the bucket for.
const READ_MAX: u64 = 4 << 20;

/// What an aborted transaction takes in memory.
const ABORTED_BYTES: usize = std::mem::size_of::<AbortedTransaction>();

/// The lane to the bucket, shared by all cores.
pub struct ColdAccess {
    reader: Arc<ColdReader>,
    cold: Handle,
    /// Cold reads at once (`remote.log.reader.threads`); further ones wait in line on the cold runtime.
    reading: Arc<Semaphore>,
    /// Cold reads begun or in line (`remote.log.reader.max.pending.tasks`).
    pending: Arc<Semaphore>,
    limits: ColdLimits,
}

impl ColdAccess {
    /// Reads run on `cold`, at most `at_once` of them with `in_line` more waiting.
    pub fn new(
        reader: Arc<ColdReader>,
        cold: Handle,
        at_once: usize,
        in_line: usize,
        limits: ColdLimits,
    ) -> Arc<Self> {
        let reading = Arc::new(Semaphore::new(at_once.max(1)));
        let pending = Arc::new(Semaphore::new(at_once.max(1).saturating_add(in_line)));
        Arc::new(Self { reader, cold, reading, pending, limits })
    }

    /// The reader, for questions that are no fetch.
    pub fn reader(&self) -> &Arc<ColdReader> {
        &self.reader
    }

    /// How long requests wait for the bucket.
    pub fn limits(&self) -> &ColdLimits {
        &self.limits
    }

    /// The runtime that cold reads run on.
    pub fn runtime(&self) -> &Handle {
        &self.cold
    }
}

/// What the desk says about an offset.
#[derive(Clone, Debug)]
pub enum Desk {
    /// Whole batches; the first one contains the offset. With them the aborted transactions among them.
    Here(ColdBatches),
    /// Being read. The partition's waiters are woken when it is here.
    Coming,
    /// Reading failed.
    Failed(ColdReadError),
}

type Question = (WaitKey, Offset);
type Outcome = Result<ColdBatches, ColdReadError>;

/// The desk of one core.
pub struct ColdDesk {
    access: Arc<ColdAccess>,
    board: Arc<WakeBoard>,
    entries: RefCell<BTreeMap<Question, Entry>>,
    /// Outcomes as they arrive from the cold runtime.
    inbox: Arc<Mutex<Vec<(Question, Outcome)>>>,
    clock: Cell<u64>,
}

struct Entry {
    /// When it was asked for last, in questions.
    asked: u64,
    outcome: Option<Outcome>,
}

impl ColdDesk {
    /// An empty desk; `board` tells waiters of an arrival.
    pub fn new(access: Arc<ColdAccess>, board: Arc<WakeBoard>) -> Rc<Self> {
        let (entries, inbox) = (RefCell::default(), Arc::default());
        Rc::new(Self { access, board, entries, inbox, clock: Cell::new(0) })
    }

    /// Asks for batches of `partition` from `from` on, below `bound`. The first time this begins a read.
    pub fn ask(&self, partition: &PartitionHandle, from: Offset, max_bytes: u64, bound: Offset) -> Desk {
        self.collect();
        let question = (partition.wait_key(), from);
        let now = self.clock.get() + 1;
        self.clock.set(now);
        let mut entries = self.entries.borrow_mut();
        if let Some(entry) = entries.get_mut(&question) {
            entry.asked = now;
            return match &entry.outcome {
                None => Desk::Coming,
                Some(Ok(batches)) => Desk::Here(batches.clone()),
                Some(Err(error)) => Desk::Failed(error.clone()),
            };
        }
        // Full of reads under way: asked again later. Nobody waits longer for it than the fetch allows.
        if (entries.len() < ENTRIES_MAX || evict_oldest(&mut entries))
            && self.begin(question, partition, max_bytes.min(READ_MAX), bound)
        {
            entries.insert(question, Entry { asked: now, outcome: None });
        }
        Desk::Coming
    }

    /// The answer to this question went out: it is not needed again.
    pub fn served(&self, partition: &PartitionHandle, from: Offset) {
        let mut entries = self.entries.borrow_mut();
        let question = (partition.wait_key(), from);
        if entries.get(&question).is_some_and(|entry| entry.outcome.is_some()) {
            entries.remove(&question);
        }
    }

    /// Begins a read that outlives the request which asked; false when too many are under way.
    fn begin(&self, question: Question, partition: &PartitionHandle, max_bytes: u64, bound: Offset) -> bool {
        let Ok(place) = self.access.pending.clone().try_acquire_owned() else { return false };
        let (access, board, inbox) = (self.access.clone(), self.board.clone(), self.inbox.clone());
        let (partition, interest) = (partition.clone(), partition.interest().clone());
        self.access.cold.spawn(async move {
            let outcome = read(&access, &partition, question.1, max_bytes, bound).await;
            inbox.lock().push((question, outcome));
            drop(place);
            board.announce(question.0, &interest);
        });
        true
    }

    /// Puts what arrived on the desk, and makes room.
    fn collect(&self) {
        let arrived = std::mem::take(&mut *self.inbox.lock());
        if arrived.is_empty() {
            return;
        }
        let mut entries = self.entries.borrow_mut();
        for (question, outcome) in arrived {
            if let Some(entry) = entries.get_mut(&question) {
                entry.outcome = Some(outcome);
            }
        }
        while held_bytes(&entries) > BYTES_MAX && evict_oldest(&mut entries) {}
    }
}

async fn read(
    access: &ColdAccess,
    partition: &PartitionHandle,
    from: Offset,
    max_bytes: u64,
    bound: Offset,
) -> Outcome {
    // The semaphore lives as long as the access and is never closed.
    let _turn = access.reading.acquire().await;
    let log = partition.log();
    let Some(row) = log.tier() else {
        return Err(ColdReadError::NotFound { what: format!("{}: no tier", log.id()) });
    };
    access.reader.read(log.id(), &row, from, max_bytes, bound).await
}

fn held_bytes(entries: &BTreeMap<Question, Entry>) -> usize {
    let answered = entries.values().filter_map(|entry| entry.outcome.as_ref()?.as_ref().ok());
    answered.map(|batches| batches.bytes.len() + batches.aborted.len() * ABORTED_BYTES).sum()
}

/// Drops the answered entry that was asked for longest ago; false when all are under way.
fn evict_oldest(entries: &mut BTreeMap<Question, Entry>) -> bool {
    let answered = entries.iter().filter(|(_, entry)| entry.outcome.is_some());
    match answered.min_by_key(|(_, entry)| entry.asked).map(|(question, _)| *question) {
        Some(oldest) => entries.remove(&oldest).is_some(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(offset: i64) -> Question {
        (WaitKey { topic: 1, partition: 0 }, Offset(offset))
    }

    fn entry(asked: u64, bytes: Option<usize>) -> Entry {
        let batches = |bytes| ColdBatches {
            bytes: bytes::Bytes::from(vec![0; bytes]),
            next: Offset(0),
            aborted: Vec::new(),
        };
        Entry { asked, outcome: bytes.map(|bytes| Ok(batches(bytes))) }
    }

    #[test]
    fn the_answer_nobody_asked_for_longest_goes_first_and_what_is_under_way_never() {
        let mut entries = BTreeMap::from([
            (question(0), entry(1, None)),
            (question(1), entry(7, Some(10))),
            (question(2), entry(3, Some(20))),
        ]);
        assert_eq!(held_bytes(&entries), 30);
        assert!(evict_oldest(&mut entries));
        assert!(!entries.contains_key(&question(2)), "asked for at 3, before 7");
        assert!(evict_oldest(&mut entries));
        assert!(!evict_oldest(&mut entries), "what is being read stays");
        assert_eq!((entries.len(), held_bytes(&entries)), (1, 0));
    }
}
