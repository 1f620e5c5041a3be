//! Which records belong to aborted transactions, and which markers nobody needs any more. Pure: batch headers and
//! markers in, in offset order. Invariant: a marker may go only once no batch of its transaction is left below it.

use crate::batch::control::{Control, Outcome};
use crate::batch::header::BatchHeader;
use crate::offsets::Offset;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    /// Whose.
    pub producer_id: i64,
    /// Its first record that is still there.
    pub first: Offset,
    /// Its marker.
    pub last: Offset,
}

/// Finds the aborted transactions of a log from its headers and markers.
#[derive(Debug, Default)]
pub struct Outcomes {
    open: BTreeMap<i64, Offset>,
    aborted: Vec<Aborted>,
}

impl Outcomes {
    /// The next batch; `control` is what it says if it is a control batch.
    pub fn see(&mut self, header: &BatchHeader, control: Option<Control>) {
        let producer_id = header.producer_id;
        match control {
            None if header.is_control() => {}
            None => {
                if header.is_transactional() {
                    self.open.entry(producer_id).or_insert(header.base_offset);
                }
            }
            Some(Control::EndTransaction { outcome, .. }) => {
                if let Some(first) = self.open.remove(&producer_id)
                    && outcome == Outcome::Abort
                {
                    self.aborted.push(Aborted { producer_id, first, last: header.base_offset });
                }
            }
            // A marker is emptied only once its transaction has nothing left.
            Some(Control::Emptied) => {
                self.open.remove(&producer_id);
            }
            Some(Control::Other(_)) => {}
        }
    }

    /// First offset of a transaction without a marker: nothing from there on is decided.
    pub fn first_open(&self) -> Option<Offset> {
        self.open.values().min().copied()
    }

    /// The aborted ones, by their first offset.
    pub fn aborted(mut self) -> Vec<Aborted> {
        self.aborted.sort_unstable_by_key(|aborted| aborted.first);
        self.aborted
    }
}

/// Walks the batches of a log in offset order beside its cleaner.
#[derive(Debug)]
pub struct Walked {
    ahead: VecDeque<Aborted>,
    /// Aborted transactions we are inside of, and whether a batch of theirs was met.
    aborted: BTreeMap<i64, bool>,
    /// Producers of other transactions with a batch and no marker yet.
    committed: BTreeSet<i64>,
    /// Markers of aborted transactions with a batch, since they were taken last.
    told: BTreeSet<Offset>,
}

impl Walked {
    /// From the first offset on; `aborted` by first offset.
    pub fn new(aborted: &[Aborted]) -> Walked {
        let ahead = aborted.to_vec().into();
        Walked { ahead, aborted: BTreeMap::new(), committed: BTreeSet::new(), told: BTreeSet::new() }
    }

    /// The next data batch; answers whether it belongs to an aborted transaction.
    pub fn data(&mut self, header: &BatchHeader) -> bool {
        self.enter(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some(met) => {
                *met = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// The next control batch, which says `control` (`None`: nothing we can read). Answers whether its transaction
    /// has no batch left, so that it may go.
    pub fn control(&mut self, header: &BatchHeader, control: Option<Control>) -> bool {
        self.enter(header.last_offset());
        match control {
            Some(Control::EndTransaction { outcome: Outcome::Abort, .. }) => {
                let met = self.aborted.remove(&header.producer_id).unwrap_or(false);
                if met {
                    self.told.insert(header.base_offset);
                }
                !met
            }
            Some(Control::EndTransaction { outcome: Outcome::Commit, .. }) => {
                !self.committed.remove(&header.producer_id)
            }
            Some(Control::Emptied) => true,
            Some(Control::Other(_)) | None => false,
        }
    }

    /// Markers, since this was called last, of aborted transactions that had a batch: who reads the files of before
    /// still has to be told of these.
    pub fn take_told(&mut self) -> BTreeSet<Offset> {
        std::mem::take(&mut self.told)
    }

    fn enter(&mut self, upto: Offset) {
        while let Some(next) = self.ahead.pop_front_if(|next| next.first <= upto) {
            self.aborted.entry(next.producer_id).or_insert(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::builder::BatchBuilder;
    use crate::batch::control::{end_transaction, read_control};
    use crate::batch::header::set_base_offset;

    fn data(at: i64, producer: i64) -> BatchHeader {
        let mut builder =
            BatchBuilder::new().producer(producer, 0, 0).transactional().base_offset(Offset(at));
        builder.push(0, Some(b"k"), None, &[]);
        BatchHeader::parse(&builder.build()).unwrap()
    }

    fn marker(at: i64, producer: i64, outcome: Outcome) -> (BatchHeader, Option<Control>) {
        let mut batch = end_transaction(producer, 0, outcome, 0, 0).to_vec();
        set_base_offset(&mut batch, Offset(at));
        let header = BatchHeader::parse(&batch).unwrap();
        (header, read_control(&header, &batch).ok())
    }

    #[test]
    fn transactions_of_several_producers_are_told_apart() {
        let mut outcomes = Outcomes::default();
        outcomes.see(&data(0, 1), None);
        outcomes.see(&data(1, 2), None);
        outcomes.see(&data(2, 1), None);
        let (header, control) = marker(3, 2, Outcome::Abort);
        outcomes.see(&header, control);
        assert_eq!(outcomes.first_open(), Some(Offset(0)));
        let (header, control) = marker(4, 1, Outcome::Abort);
        outcomes.see(&header, control);
        let (header, control) = marker(5, 1, Outcome::Abort);
        outcomes.see(&header, control);
        outcomes.see(&data(6, 1), None);
        assert_eq!(outcomes.first_open(), Some(Offset(6)));
        let aborted =
            |producer_id, first, last| Aborted { producer_id, first: Offset(first), last: Offset(last) };
        assert_eq!(outcomes.aborted(), [aborted(1, 0, 4), aborted(2, 1, 3)]);
    }

    #[test]
    fn a_marker_goes_after_the_last_batch_of_its_transaction() {
        let aborted = [Aborted { producer_id: 1, first: Offset(0), last: Offset(4) }];
        let mut walked = Walked::new(&aborted);
        assert!(walked.data(&data(0, 1)) && !walked.data(&data(1, 2)));
        let (header, control) = marker(4, 1, Outcome::Abort);
        assert!(!walked.control(&header, control), "a batch of it was there");
        assert_eq!(walked.take_told().into_iter().collect::<Vec<_>>(), [Offset(4)]);
        assert!(walked.control(&header, control), "the next marker ends nothing");
        assert!(walked.take_told().is_empty());
        let (header, control) = marker(5, 2, Outcome::Commit);
        assert!(!walked.control(&header, control) && walked.control(&header, control));
        assert!(!walked.data(&data(6, 1)), "the producer's next transaction is another one");
        assert!(!walked.control(&header, Some(Control::Other(5))) && !walked.control(&header, None));
    }
}
