//! One core's questions to logs whose answer does not lie in memory: where the bytes of a fetch are. Looking it up
//! reads headers and indexes from the disk, which a serving core never waits for; the answer lies here until the fetch
//! looks again. It holds no record bytes. Invariant: entries are bounded, and a lost one is only looked up again.

use std::rc::Rc;
use std::sync::Arc;

use firnline_tiering::log::read::{Read, ReadError};
use firnline_tiering::offsets::Offset;
use tokio::runtime::Handle;

use crate::partition::answers::Answers;
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
    answers: Answers<Question, Outcome>,
}

impl LocalDesk {
    /// An empty desk; `board` tells waiters of an answer.
    pub fn new(lane: Arc<ColdLane>, board: Arc<WakeBoard>) -> Rc<Self> {
        Rc::new(Self { lane, board, answers: Answers::new(ENTRIES_MAX) })
    }

    /// Asks where the answer to a fetch of `partition` lies. `None`: it is being looked up, and the partition's
    /// waiters are woken when it is known. A slice stays here until [`LocalDesk::served`]; any other answer is given
    /// once.
    pub fn ask(&self, partition: &PartitionHandle, asked: &Asked) -> Option<Outcome> {
        let Some(threads) = self.lane.threads() else { return Some(look_up(partition, asked)) };
        self.answers.collect();
        let question = question(partition, asked.from, asked.isolation);
        match self.answers.ask(&question) {
            Some(None) => None,
            // Other partitions took the room meanwhile; it is this one's turn in the next fetch.
            Some(Some(Ok(Read::Hot(slice)))) if slice.len > asked.max_bytes && !asked.min_one => {
                Some(Ok(Read::Empty))
            }
            Some(Some(Ok(Read::Hot(slice)))) => Some(Ok(Read::Hot(slice))),
            Some(Some(other)) => {
                self.answers.forget(&question);
                Some(other)
            }
            // Full of questions under way: asked again later. Nobody waits longer for it than the fetch allows.
            None if self.answers.has_room() => {
                self.begin(threads, question, partition, asked);
                None
            }
            None => None,
        }
    }

    fn begin(&self, threads: &Handle, question: Question, partition: &PartitionHandle, asked: &Asked) {
        let (lane, board, arrive) = (self.lane.clone(), self.board.clone(), self.answers.begin(question));
        let (partition, asked) = (partition.clone(), *asked);
        threads.spawn(async move {
            let asks = partition.clone();
            let outcome = lane.run(move || Ok(look_up(&asks, &asked))).await;
            let failed = |error: std::io::Error| ReadError::Storage { what: error.to_string().into() };
            let outcome = outcome.map_err(failed).flatten();
            let more = outcome.as_ref().ok().and_then(|read| match read {
                Read::Hot(slice) => Some(slice.clone()),
                Read::Cold | Read::Empty => None,
            });
            arrive(outcome);
            let (key, interest) = partition.waiters(asked.isolation);
            board.announce(key, interest);
            // While the reader takes this, its next places are looked up: then it does not have to ask here.
            if let Some(slice) = more {
                let ahead = lane.run(move || {
                    partition.log().look_ahead(&slice, asked.max_bytes);
                    Ok(())
                });
                // Only the lane itself can fail, and that is told to whoever waits for it.
                let _ = ahead.await;
            }
        });
    }

    /// The answer to this question went out: it is not needed again.
    pub fn served(&self, partition: &PartitionHandle, from: Offset, isolation: Isolation) {
        self.answers.forget(&question(partition, from, isolation));
    }
}

fn question(partition: &PartitionHandle, from: Offset, isolation: Isolation) -> Question {
    (partition.wait_key(), from, isolation)
}

fn look_up(partition: &PartitionHandle, asked: &Asked) -> Outcome {
    partition.log().read(asked.from, asked.max_bytes, partition.bound(asked.isolation), asked.min_one)
}
