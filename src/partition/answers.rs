//! Questions that one core has put to another place, a bucket or a disk, and the answers that came back and wait to be
//! asked for again. It knows neither place. Invariant: questions are bounded, one under way is never dropped, and of the
//! answered ones the one asked for longest ago goes first.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Where answers arrive, from any thread.
type Inbox<Q, A> = Arc<Mutex<Vec<(Q, A)>>>;

/// The questions of one core.
pub(super) struct Answers<Q, A> {
    most: usize,
    entries: RefCell<BTreeMap<Q, Entry<A>>>,
    inbox: Inbox<Q, A>,
    clock: Cell<u64>,
}

#[derive(Debug)]
struct Entry<A> {
    /// When it was asked for last, in questions.
    asked: u64,
    answer: Option<A>,
}

impl<Q: Ord + Copy, A: Clone> Answers<Q, A> {
    /// No question yet; never more than `most`.
    pub(super) fn new(most: usize) -> Self {
        Self { most, entries: RefCell::default(), inbox: Arc::default(), clock: Cell::new(0) }
    }

    /// Takes in what arrived; answers whether anything did.
    pub(super) fn collect(&self) -> bool {
        let arrived = std::mem::take(&mut *self.inbox.lock());
        let any = !arrived.is_empty();
        let mut entries = self.entries.borrow_mut();
        for (question, answer) in arrived {
            if let Some(entry) = entries.get_mut(&question) {
                entry.answer = Some(answer);
            }
        }
        any
    }

    /// The answer, `Some(None)` while it is under way, `None` if this was never asked.
    pub(super) fn ask(&self, question: &Q) -> Option<Option<A>> {
        let now = self.clock.get() + 1;
        self.clock.set(now);
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(question)?;
        entry.asked = now;
        Some(entry.answer.clone())
    }

    /// Whether another question may be put, after an old answer went for it if need be.
    pub(super) fn has_room(&self) -> bool {
        self.entries.borrow().len() < self.most || self.drop_oldest()
    }

    /// Puts a question; its answer comes by what this answers.
    pub(super) fn begin(&self, question: Q) -> impl FnOnce(A) + Send + 'static + use<Q, A>
    where
        Q: Send + 'static,
        A: Send + 'static,
    {
        self.entries.borrow_mut().insert(question, Entry { asked: self.clock.get(), answer: None });
        let inbox = self.inbox.clone();
        move |answer| inbox.lock().push((question, answer))
    }

    /// Forgets an answer that is not needed again.
    pub(super) fn forget(&self, question: &Q) {
        let mut entries = self.entries.borrow_mut();
        if entries.get(question).is_some_and(|entry| entry.answer.is_some()) {
            entries.remove(question);
        }
    }

    /// Sum of `weight` over the answers that wait.
    pub(super) fn weight(&self, weight: impl Fn(&A) -> usize) -> usize {
        self.entries.borrow().values().filter_map(|entry| entry.answer.as_ref()).map(weight).sum()
    }

    /// Drops the answer asked for longest ago; false when all questions are under way.
    pub(super) fn drop_oldest(&self) -> bool {
        let mut entries = self.entries.borrow_mut();
        let answered = entries.iter().filter(|(_, entry)| entry.answer.is_some());
        match answered.min_by_key(|(_, entry)| entry.asked).map(|(question, _)| *question) {
            Some(oldest) => entries.remove(&oldest).is_some(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_nobody_asked_for_longest_goes_first_and_what_is_under_way_never() {
        let answers: Answers<u8, usize> = Answers::new(3);
        let arrive: Vec<_> = (0..3).map(|question| answers.begin(question)).collect();
        assert!(!answers.has_room(), "all are under way");
        assert!(!answers.collect());
        arrive.into_iter().zip([None, Some(10), Some(20)]).for_each(|(arrive, weight)| {
            if let Some(weight) = weight {
                arrive(weight);
            }
        });
        assert!(answers.collect());
        assert_eq!(answers.weight(|weight| *weight), 30);
        assert_eq!(
            (answers.ask(&2), answers.ask(&1), answers.ask(&0)),
            (Some(Some(20)), Some(Some(10)), Some(None))
        );
        assert!(answers.has_room());
        assert_eq!(answers.ask(&2), None, "asked for before 1");
        answers.forget(&0);
        assert_eq!(answers.ask(&0), Some(None), "what is under way stays");
        assert!(answers.drop_oldest() && !answers.drop_oldest());
        assert_eq!(answers.weight(|weight| *weight), 0);
    }
}
