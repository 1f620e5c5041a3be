//! One core's cold reads: begun for one fetch, kept until the same question is asked again.
//! A fetch waits for the bucket no longer than `remote.fetch.max.wait.ms`: what comes later lies here for the next
//! fetch. Invariant: entries and their bytes are bounded; a lost entry only means that it is read again.

use std::rc::Rc;
use std::sync::Arc;

use firnline_tiering::cold::reader::{ColdBatches, ColdReadError, ColdReader};
use firnline_tiering::hot::transactions::AbortedTransaction;
use firnline_tiering::offsets::Offset;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::partition::answers::Answers;
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
    answers: Answers<Question, Outcome>,
}

impl ColdDesk {
    /// An empty desk; `board` tells waiters of an arrival.
    pub fn new(access: Arc<ColdAccess>, board: Arc<WakeBoard>) -> Rc<Self> {
        Rc::new(Self { access, board, answers: Answers::new(ENTRIES_MAX) })
    }

    /// Asks for batches of `partition` from `from` on, below `bound`. The first time this begins a read.
    pub fn ask(&self, partition: &PartitionHandle, from: Offset, max_bytes: u64, bound: Offset) -> Desk {
        if self.answers.collect() {
            while self.answers.weight(held_bytes) > BYTES_MAX && self.answers.drop_oldest() {}
        }
        let question = (partition.wait_key(), from);
        match self.answers.ask(&question) {
            Some(None) => {}
            Some(Some(Ok(batches))) => return Desk::Here(batches),
            Some(Some(Err(error))) => return Desk::Failed(error),
            // Full of reads under way: asked again later. Nobody waits longer for it than the fetch allows.
            None if self.answers.has_room() => {
                self.begin(question, partition, max_bytes.min(READ_MAX), bound)
            }
            None => {}
        }
        Desk::Coming
    }

    /// The answer to this question went out: it is not needed again.
    pub fn served(&self, partition: &PartitionHandle, from: Offset) {
        self.answers.forget(&(partition.wait_key(), from));
    }

    /// Begins a read that outlives the request which asked, unless too many are under way.
    fn begin(&self, question: Question, partition: &PartitionHandle, max_bytes: u64, bound: Offset) {
        let Ok(place) = self.access.pending.clone().try_acquire_owned() else { return };
        let (access, board, arrive) = (self.access.clone(), self.board.clone(), self.answers.begin(question));
        let partition = partition.clone();
        self.access.cold.spawn(async move {
            arrive(read(&access, &partition, question.1, max_bytes, bound).await);
            drop(place);
            board.announce(question.0, partition.interest());
        });
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

fn held_bytes(outcome: &Outcome) -> usize {
    outcome.as_ref().map_or(0, |batches| batches.bytes.len() + batches.aborted.len() * ABORTED_BYTES)
}
