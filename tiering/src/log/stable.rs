//! The last stable offset of a log, and the aborted transactions its readers have to leave out.
//! What is held back is counted in `unstable.rs`. Invariant: the last stable offset lies between the log start and the
//! high watermark, and below it every transaction is decided.

use crate::batch::control::Outcome;
use crate::hot::segment::Segment;
use crate::hot::transactions::AbortedTransaction;
use crate::log::read::ReadError;
use crate::log::unified::Log;
use crate::log::unstable::aborted;
use crate::offsets::Offset;
use crate::producer::state::{EndedTransaction, ProducerTable};

impl Log {
    /// First offset of the oldest open transaction; `None` if everything is decided.
    pub fn first_undecided(&self) -> Option<Offset> {
        self.unstable.first_open()
    }

    /// First offset that a reader of committed records may not see, where `high_watermark` is the first that no
    /// reader may. Between the log start and the high watermark.
    pub fn last_stable(&self, high_watermark: Offset) -> Offset {
        // The open ones first: a marker is put to the waiting ones before it closes its transaction.
        let open = self.unstable.first_open();
        let waiting = self.unstable.first_waiting(|ended| ended.last_offset >= high_watermark);
        let first = [open, waiting].into_iter().flatten().min();
        first.map_or(high_watermark, |first| first.max(self.log_start()).min(high_watermark))
    }

    /// Every in-sync replica has what lies below `high_watermark`: markers there hold nothing back any more.
    pub fn note_replicated(&self, high_watermark: Offset) {
        self.unstable.first_waiting(|ended| ended.last_offset >= high_watermark);
    }

    /// The aborted transactions that a reader of `[from, to)` has to leave out, by first offset. Only those whose
    /// marker lies on local disk; `to` is at most the last stable offset.
    pub fn aborted(&self, from: Offset, to: Offset) -> Result<Vec<AbortedTransaction>, ReadError> {
        if !self.unstable.has_aborted() || from >= to {
            return Ok(Vec::new());
        }
        self.on_segments(|segments| {
            let mut found = Vec::new();
            for segment in &segments.all()[segments.find(from)..] {
                let done = segment.aborted(from, to, &mut found);
                if done.map_err(|error| ReadError::of(segment, error.into()))? {
                    break;
                }
            }
            found.sort_unstable_by_key(|one| (one.first, one.producer_id));
            Ok(found)
        })
    }

    pub(super) fn note_undecided(&self, producers: &ProducerTable) {
        self.unstable.set_open(producers);
    }

    /// A marker ended this transaction; `producers` has seen it. Before [`Log::note_undecided`].
    pub(super) fn note_ended(
        &self,
        segment: &Segment,
        producers: &ProducerTable,
        ended: EndedTransaction,
        outcome: Outcome,
    ) {
        if outcome == Outcome::Abort {
            segment.transactions().push(aborted(&ended, producers));
            self.unstable.count_aborted(1);
        }
        self.unstable.wait_for(ended);
    }
}
