//! One partition of `__consumer_offsets` as a state machine: takes a step, writes what it said, then answers.
//! It knows no rules of groups. Steps of all cores meet in one short lock that no await and no disk wait is under.
//! Invariant: a step begins only when all records of the steps before are in the log or refused, and nobody is answered
//! before every record written so far is committed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::clock::Clock;
use firnline_tiering::offsets::Offset;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::coordinator::group::classic::Limits;
use crate::coordinator::group::effects::{Effects, Joined, Now, Synced};
use crate::coordinator::group::error::{GroupError, JoinRefused};
use crate::coordinator::group::groups::{Dump, Groups};
use crate::coordinator::group::member::Waiter;
use crate::coordinator::group::records::Record;
use crate::coordinator::journal::{Journal, JournalError};
use crate::coordinator::loader::Replayed;
use crate::coordinator::ticker::Ticker;

/// What a join is answered.
pub type JoinAnswer = Result<Joined, JoinRefused>;
/// What a sync is answered.
pub type SyncAnswer = Result<Synced, GroupError>;
/// What a request is answered that waits for its records.
pub type SettledAnswer = Result<(), GroupError>;

/// What all shards share.
#[derive(Debug)]
pub struct ShardParts {
    /// Limits of groups.
    pub limits: Limits,
    /// The wall clock, for records.
    pub clock: Arc<dyn Clock>,
    /// The monotonic scale of deadlines, and who wakes up for them.
    pub ticker: Arc<Ticker>,
}

/// One partition's coordinator.
#[derive(Debug)]
pub struct Shard {
    index: i32,
    journal: Arc<dyn Journal>,
    parts: Arc<ShardParts>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    groups: Groups,
    /// What the last step left to do; empty unless the log was busy.
    effects: Effects,
    waiting: Waiting,
    /// First offset after the last record written.
    written: Offset,
    /// Answers that wait for their offset to be committed, in order.
    gated: VecDeque<(Offset, Delivery)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Loading,
    Serving,
    /// Its log could not be replayed; the log says why.
    Failed,
    /// Another broker's, or the broker stops.
    Resigned,
}

/// Requests that wait, by the number the state machine knows them by.
#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    joins: BTreeMap<Waiter, oneshot::Sender<JoinAnswer>>,
    syncs: BTreeMap<Waiter, oneshot::Sender<SyncAnswer>>,
    settles: BTreeMap<Waiter, oneshot::Sender<SettledAnswer>>,
}

/// An answer on its way. A receiver that is gone hung up: nobody misses the answer.
#[derive(Debug)]
enum Delivery {
    Join(oneshot::Sender<JoinAnswer>, JoinAnswer),
    Sync(oneshot::Sender<SyncAnswer>, SyncAnswer),
    Settled(oneshot::Sender<SettledAnswer>, SettledAnswer),
    Passed(oneshot::Sender<()>),
}

impl Delivery {
    fn send(self) {
        match self {
            Delivery::Join(to, answer) => drop(to.send(answer)),
            Delivery::Sync(to, answer) => drop(to.send(answer)),
            Delivery::Settled(to, answer) => drop(to.send(answer)),
            Delivery::Passed(to) => drop(to.send(())),
        }
    }
}

/// A step under way: the groups, and all a step may need.
pub struct Step<'a> {
    /// The groups.
    pub groups: &'a mut Groups,
    /// What the step asks for.
    pub effects: &'a mut Effects,
    /// Limits of groups.
    pub limits: &'a Limits,
    /// The moment.
    pub now: Now,
    waiting: &'a mut Waiting,
}

impl Step<'_> {
    fn waiter(&mut self) -> Waiter {
        self.waiting.next += 1;
        Waiter(self.waiting.next)
    }

    /// Somebody waits for a join.
    pub fn wait_for_join(&mut self) -> (Waiter, oneshot::Receiver<JoinAnswer>) {
        let (waiter, (to, answer)) = (self.waiter(), oneshot::channel());
        self.waiting.joins.insert(waiter, to);
        (waiter, answer)
    }

    /// Somebody waits for a sync.
    pub fn wait_for_sync(&mut self) -> (Waiter, oneshot::Receiver<SyncAnswer>) {
        let (waiter, (to, answer)) = (self.waiter(), oneshot::channel());
        self.waiting.syncs.insert(waiter, to);
        (waiter, answer)
    }

    /// Somebody waits for his records.
    pub fn wait_for_records(&mut self) -> (Waiter, oneshot::Receiver<SettledAnswer>) {
        let (waiter, (to, answer)) = (self.waiter(), oneshot::channel());
        self.waiting.settles.insert(waiter, to);
        (waiter, answer)
    }

    /// Nobody waits after all.
    pub fn wait_no_more(&mut self, waiter: Waiter) {
        self.waiting.joins.remove(&waiter);
        self.waiting.syncs.remove(&waiter);
        self.waiting.settles.remove(&waiter);
    }
}

impl Shard {
    /// A shard whose log is about to be replayed.
    pub fn new(index: i32, journal: Arc<dyn Journal>, parts: Arc<ShardParts>) -> Arc<Self> {
        let inner = Inner {
            phase: Phase::Loading,
            groups: Groups::default(),
            effects: Effects::default(),
            waiting: Waiting::default(),
            written: Offset::ZERO,
            gated: VecDeque::new(),
        };
        Arc::new(Self { index, journal, parts, inner: Mutex::new(inner) })
    }

    /// The partition's index.
    pub fn index(&self) -> i32 {
        self.index
    }

    /// Its log.
    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// Takes over what a replay found, and serves. Offsets of topics that `exists` does not know go first: they were
    /// deleted when nobody could write that down, and their names may come back for other topics.
    pub async fn begin(&self, replayed: Replayed, exists: impl Fn(&str) -> bool) {
        {
            let mut inner = self.inner.lock();
            if inner.phase != Phase::Loading {
                return;
            }
            inner.groups = replayed.groups;
            inner.written = replayed.end;
            inner.phase = Phase::Serving;
        }
        // Resigned in between: there is nothing to begin.
        let begun = self.run(|step| {
            step.groups.begin(step.now, step.limits, step.effects);
            step.groups.forget_topics(|topic| !exists(topic), step.effects);
        });
        let _ = begun.await;
    }

    /// The log cannot be replayed.
    pub fn fail(&self) {
        self.end(Phase::Failed);
    }

    /// This broker no longer coordinates these groups: whoever waits is sent away.
    pub fn resign(&self) {
        self.end(Phase::Resigned);
    }

    fn end(&self, phase: Phase) {
        let mut inner = self.inner.lock();
        inner.phase = phase;
        inner.groups = Groups::default();
        inner.effects = Effects::default();
        // Dropping a sender tells its receiver.
        inner.waiting = Waiting::default();
        inner.gated.clear();
    }

    /// Takes a step and answers what it answers, once everything written so far is committed.
    pub async fn run<R>(&self, step: impl FnOnce(&mut Step<'_>) -> R) -> Result<R, GroupError> {
        let (answer, flushed) = loop {
            if let Some(mut inner) = self.enter()? {
                break self.take(&mut inner, step);
            }
            // Another core is in, or the log is busy: its turn lasts microseconds.
            yield_now().await;
        };
        let passed = loop {
            if flushed.is_some() {
                break flushed.flatten();
            }
            if let Some(mut inner) = self.enter()? {
                break self.gate(&mut inner);
            }
            yield_now().await;
        };
        match passed {
            None => Ok(answer),
            Some(passed) => passed.await.map(|()| answer).map_err(|_| GroupError::NotCoordinator),
        }
    }

    /// The lock, when it is free and the step before is done.
    fn enter(&self) -> Result<Option<MutexGuard<'_, Inner>>, GroupError> {
        let Some(mut inner) = self.inner.try_lock() else { return Ok(None) };
        match inner.phase {
            Phase::Serving => {}
            Phase::Loading => return Err(GroupError::Loading),
            Phase::Failed | Phase::Resigned => return Err(GroupError::NotCoordinator),
        }
        let flushed = inner.flush(&*self.journal, &self.parts, self.now());
        Ok(flushed.then_some(inner))
    }

    /// The step's answer, and what it still waits for, once its records are in the log or refused.
    fn take<R>(
        &self,
        inner: &mut Inner,
        step: impl FnOnce(&mut Step<'_>) -> R,
    ) -> (R, Option<Option<oneshot::Receiver<()>>>) {
        let now = self.now();
        let Inner { groups, effects, waiting, .. } = inner;
        let answer = step(&mut Step { groups, effects, limits: &self.parts.limits, now, waiting });
        let mut flushed = inner.flush(&*self.journal, &self.parts, now);
        if flushed {
            // A deadline of now, such as an initial delay of 0, needs no one to wake up for it.
            inner.groups.expire(now, &self.parts.limits, &mut inner.effects);
            flushed = inner.flush(&*self.journal, &self.parts, now);
        }
        if let Some(next) = inner.groups.next_deadline() {
            self.parts.ticker.wake_by(next);
        }
        (answer, flushed.then(|| self.gate(inner)))
    }

    /// What an answer given now has to wait for, so that it tells nothing that may still be lost.
    fn gate(&self, inner: &mut Inner) -> Option<oneshot::Receiver<()>> {
        let written = inner.written;
        (self.journal.committed() < written).then(|| {
            let (to, passed) = oneshot::channel();
            inner.gated.push_back((written, Delivery::Passed(to)));
            passed
        })
    }

    fn now(&self) -> Now {
        Now { wall_ms: self.parts.clock.now_ms(), tick_ms: self.parts.ticker.now() }
    }

    /// Does what is due; answers when to come back.
    pub async fn expire(&self) -> Option<u64> {
        let looked = self.run(|step| {
            step.groups.expire(step.now, step.limits, step.effects);
            step.groups.next_deadline()
        });
        looked.await.ok().flatten()
    }

    /// Sends the answers whose records are committed by now; for whoever moves the committed end later than append.
    pub fn release(&self) {
        self.inner.lock().release(self.journal.committed());
    }

    /// Nobody waits and nothing is left to write.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        let waiting = &inner.waiting;
        waiting.joins.is_empty()
            && waiting.syncs.is_empty()
            && waiting.settles.is_empty()
            && inner.gated.is_empty()
            && inner.effects.is_empty()
    }

    /// The durable part of the state.
    pub async fn dump(&self) -> Result<Dump, GroupError> {
        self.run(|step| step.groups.dump()).await
    }
}

impl Inner {
    /// Writes what is to be written, in order, and answers; false while the log is busy.
    fn flush(&mut self, journal: &dyn Journal, parts: &ShardParts, now: Now) -> bool {
        while let Some(store) = self.effects.stores.pop_front() {
            let outcome = match append(journal, &store.records, now.wall_ms) {
                Err(JournalError::Busy) => {
                    self.effects.stores.push_front(store);
                    return false;
                }
                Ok(end) => {
                    self.written = end;
                    Ok(())
                }
                Err(error) => {
                    tracing::warn!(group = %store.group, %error, "group records could not be written");
                    Err(refusal(&error))
                }
            };
            self.groups.stored(now, &parts.limits, store, outcome, &mut self.effects);
        }
        self.deliver();
        self.release(journal.committed());
        true
    }

    fn deliver(&mut self) {
        let (gate, waiting) = (self.written, &mut self.waiting);
        for (waiter, answer) in self.effects.joined.drain(..) {
            let to = waiting.joins.remove(&waiter);
            self.gated.extend(to.map(|to| (gate, Delivery::Join(to, answer))));
        }
        for (waiter, answer) in self.effects.synced.drain(..) {
            let to = waiting.syncs.remove(&waiter);
            self.gated.extend(to.map(|to| (gate, Delivery::Sync(to, answer))));
        }
        for (waiter, answer) in self.effects.settled.drain(..) {
            let to = waiting.settles.remove(&waiter);
            self.gated.extend(to.map(|to| (gate, Delivery::Settled(to, answer))));
        }
    }

    fn release(&mut self, committed: Offset) {
        while self.gated.front().is_some_and(|(gate, _)| *gate <= committed) {
            if let Some((_, delivery)) = self.gated.pop_front() {
                delivery.send();
            }
        }
    }
}

fn append(journal: &dyn Journal, records: &[Record], now_ms: i64) -> Result<Offset, JournalError> {
    assert!(!records.is_empty(), "a store without records has no outcome");
    let mut builder = BatchBuilder::new();
    for record in records {
        let (key, value) = record.encode().map_err(|error| JournalError::TooLarge(error.to_string()))?;
        builder.push(now_ms, Some(&key), value.as_deref(), &[]);
    }
    if builder.size() > BATCH_BYTES_MAX {
        return Err(JournalError::TooLarge(format!("{} bytes in one batch", builder.size())));
    }
    let mut batch = Vec::from(builder.build());
    journal.append(&mut batch, now_ms)
}

/// What a batch's length field can say, less its header; the log's own limit is far below.
const BATCH_BYTES_MAX: usize = 1 << 30;

fn refusal(error: &JournalError) -> GroupError {
    match error {
        JournalError::Busy | JournalError::Unavailable(_) => GroupError::NotAvailable,
        JournalError::NotLeader | JournalError::Storage(_) => GroupError::NotCoordinator,
        JournalError::TooLarge(_) => GroupError::RecordTooLarge,
    }
}
