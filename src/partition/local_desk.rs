//! One core's questions to logs whose answer does not lie in memory: where the bytes of a fetch are. Looking it up
//! reads headers and indexes from the disk, which a serving core never waits for; the answer lies here until the fetch
//! looks again. It holds no record bytes. Invariant: entries are bounded, and a lost one is only looked up again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use firnline_tiering::log::read::{Read, ReadError};
use firnline_tiering::offsets::Offset;
use parking_lot::Mutex;

use crate::partition::cold_lane::ColdLane;
use crate::partition::read::Isolation;
use crate::partition::replica::PartitionHandle;
use crate::purgatory::delayed::{WaitKey, WakeBoard};

/// Questions under way or answered and not asked again, per core. An answer holds a file open.
const ENTRIES_MAX: usize = 256;

/// What a fetch asks.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// First offset wanted.
    pub from: Offset,
    /// At most so many bytes.
    pub max_bytes: u64,
    /// A larger first batch is answered whole.
    pub min_one: bool,
    /// What the reader may see.
    pub isolation: Isolation,
}

/// Readers of different isolation may see different ends.
type Question = (WaitKey, Offset, Isolation);
type Outcome = Result<Read, ReadError>;

/// The desk of one core.
pub struct LocalDesk {
    lane: Arc<ColdLane>,
    board: Arc<WakeBoard>,
    entries: RefCell<BTreeMap<Question, Entry>>,
    /// Outcomes as they arrive from the lane.
    inbox: Arc<Mutex<Vec<(Question, Outcome)>>>,
    clock: Cell<u64>,
}

#[derive(Debug)]
struct Entry {
    /// When it was asked for last, in questions.
    asked: u64,
    outcome: Option<Outcome>,
}

impl LocalDesk {
    /// An empty desk; `board` tells waiters of an answer.
    pub fn new(lane: Arc<ColdLane>, board: Arc<WakeBoard>) -> Rc<Self> {
        let (entries, inbox) = (RefCell::default(), Arc::default());
        Rc::new(Self { lane, board, entries, inbox, clock: Cell::new(0) })
    }

    /// Asks where the answer to a fetch of `partition` lies. `None`: it is being looked up, and the partition's
    /// waiters are woken when it is known. A slice stays here until [`LocalDesk::served`]; any other answer is given
    /// once.
    pub fn ask(&self, partition: &PartitionHandle, asked: &Asked) -> Option<Outcome> {
        let Some(threads) = self.lane.threads() else { return Some(look_up(partition, asked)) };
        self.collect();
        let question = (partition.wait_key(), asked.from, asked.isolation);
        let now = self.clock.get() + 1;
        self.clock.set(now);
        let mut entries = self.entries.borrow_mut();
        if let Some(entry) = entries.get_mut(&question) {
            entry.asked = now;
            return match &entry.outcome {
                None => None,
                // Other partitions took the room meanwhile; it is this one's turn in the next fetch.
                Some(Ok(Read::Hot(slice))) if slice.len > asked.max_bytes && !asked.min_one => {
                    Some(Ok(Read::Empty))
                }
                Some(Ok(Read::Hot(slice))) => Some(Ok(Read::Hot(slice.clone()))),
                Some(_) => entries.remove(&question).and_then(|entry| entry.outcome),
            };
        }
        // Full of questions under way: asked again later. Nobody waits longer for it than the fetch allows.
        if entries.len() < ENTRIES_MAX || evict_oldest(&mut entries) {
            entries.insert(question, Entry { asked: now, outcome: None });
            let (lane, board, inbox) = (self.lane.clone(), self.board.clone(), self.inbox.clone());
            let (partition, asked) = (partition.clone(), *asked);
            threads.spawn(async move {
                let asks = partition.clone();
                let outcome = lane.run(move || Ok(look_up(&asks, &asked))).await;
                let failed = |error: std::io::Error| ReadError::Storage { what: error.to_string().into() };
                inbox.lock().push((question, outcome.map_err(failed).flatten()));
                board.announce(question.0, partition.interest());
            });
        }
        None
    }

    /// The answer to this question went out: it is not needed again.
    pub fn served(&self, partition: &PartitionHandle, from: Offset, isolation: Isolation) {
        self.entries.borrow_mut().remove(&(partition.wait_key(), from, isolation));
    }

    fn collect(&self) {
        let arrived = std::mem::take(&mut *self.inbox.lock());
        let mut entries = self.entries.borrow_mut();
        for (question, outcome) in arrived {
            if let Some(entry) = entries.get_mut(&question) {
                entry.outcome = Some(outcome);
            }
        }
    }
}

fn look_up(partition: &PartitionHandle, asked: &Asked) -> Outcome {
    partition.log().read(asked.from, asked.max_bytes, partition.bound(asked.isolation), asked.min_one)
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

    #[test]
    fn the_answer_nobody_asked_for_longest_goes_first_and_what_is_under_way_never() {
        let question = |offset| (WaitKey { topic: 1, partition: 0 }, Offset(offset), Isolation::Committed);
        let entry = |asked, answered: bool| Entry { asked, outcome: answered.then_some(Ok(Read::Empty)) };
        let mut entries = BTreeMap::from([
            (question(0), entry(1, false)),
            (question(1), entry(7, true)),
            (question(2), entry(3, true)),
        ]);
        assert!(evict_oldest(&mut entries) && !entries.contains_key(&question(2)));
        assert!(evict_oldest(&mut entries) && !evict_oldest(&mut entries));
        assert_eq!(entries.len(), 1);
    }
}
