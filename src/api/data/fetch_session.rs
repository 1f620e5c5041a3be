//! Incremental fetch sessions (KIP-227): what a client asked for before, so that a fetch names only what changed.
//! It reads no log. Sessions are found from every connection, each guarded by its own short lock, which is never held
//! while the cache's is taken. Invariants: a session's epoch moves by exactly one per accepted request, "changed" is
//! decided once per answer, and all sessions together stay within `BYTES_MAX`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use firnline_tiering::entropy::Entropy;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::wire::fetch::{FetchPartition, FetchView, TopicRef};
use crate::wire::fetch_answer::{Fetched, FetchedTopic};
use crate::wire::message::StrBytes;

/// A session unused for this long may make room for any other; one this old, for a larger one (Kafka's
/// `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
const EVICT_AFTER: Duration = Duration::from_secs(120);

/// Memory of all sessions together. Beyond it new ones are not made, and one that grows has to start over: its client
/// goes on with full fetches.
const BYTES_MAX: usize = 64 << 20;

/// What a partition costs in a session beside its topic's name: both maps, with room to grow.
const PARTITION_BYTES: usize = 384;

/// Partitions that one session may hold; a client beyond it has to start over.
const PARTITIONS_MAX: usize = 100_000;

/// Why a session cannot be continued. The client starts over with a full fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefused {
    /// Closed, evicted, or from before a restart.
    #[error("no such fetch session")]
    NotFound,
    /// A request was lost or repeated.
    #[error("fetch session epoch {got}, expected {expected}")]
    Epoch {
        /// What the client sent.
        got: i32,
        /// What the session expects.
        expected: i32,
    },
    /// Topic names before, ids now, or the other way round.
    #[error("the session names topics in another way")]
    TopicNaming,
}

/// One partition a client wants, in the order it should be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The topic as the client named it.
    pub topic: TopicRef,
    /// Offset, limits and epochs.
    pub ask: FetchPartition,
}

/// What a request turned out to ask for.
pub struct Opened {
    /// Partitions to look at, in order.
    pub wanted: Vec<Wanted>,
    kind: Kind,
}

enum Kind {
    /// Every partition is answered and nothing is remembered.
    Sessionless,
    /// Every partition is answered and a session is made of them.
    Create {
        /// For a follower.
        privileged: bool,
    },
    /// Only what changed is answered.
    Incremental(Arc<Slot>),
}

/// The sessions of a broker.
pub struct FetchSessions {
    cache: Mutex<HashMap<i32, Arc<Slot>>>,
    slots: usize,
    entropy: Arc<dyn Entropy>,
    started: Instant,
    /// Of all sessions in the cache.
    held: Arc<Held>,
    evictions: AtomicU64,
}

/// What sessions hold together.
#[derive(Default)]
struct Held {
    partitions: AtomicUsize,
    bytes: AtomicUsize,
}

struct Slot {
    id: i32,
    by_id: bool,
    /// A follower's: it may take any consumer's place.
    privileged: bool,
    /// Milliseconds after the cache was made.
    created: u64,
    used: AtomicU64,
    held: Arc<Held>,
    partitions: AtomicUsize,
    bytes: AtomicUsize,
    session: Mutex<Session>,
}

impl Slot {
    /// Counts what the session holds now.
    fn weigh(&self, session: &Session) {
        let (partitions, bytes) = (session.line.len(), session.bytes);
        let before = self.partitions.swap(partitions, Ordering::Relaxed);
        self.held.partitions.fetch_add(partitions.wrapping_sub(before), Ordering::Relaxed);
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.held.bytes.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Worth to the cache: what is worth less goes first.
    fn worth(&self) -> (bool, usize) {
        (self.privileged, self.partitions.load(Ordering::Relaxed))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.held.partitions.fetch_sub(*self.partitions.get_mut(), Ordering::Relaxed);
        self.held.bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// What the client asked for and was told last.
#[derive(Default)]
struct Session {
    /// Epoch of the next request.
    epoch: i32,
    /// Memory it takes, about.
    bytes: usize,
    /// By place in line; a partition that was served goes to the end.
    line: BTreeMap<u64, Cached>,
    places: HashMap<(TopicRef, i32), u64>,
    next_place: u64,
}

struct Cached {
    topic: TopicRef,
    ask: FetchPartition,
    /// What the client knows, -1 for nothing.
    high_watermark: i64,
    log_start: i64,
}

impl FetchSessions {
    /// At most `slots` sessions (`max.incremental.fetch.session.cache.slots`).
    pub fn new(slots: usize, entropy: Arc<dyn Entropy>) -> Self {
        let (cache, held, evictions) = (Mutex::default(), Arc::default(), AtomicU64::new(0));
        Self { cache, slots, entropy, started: Instant::now(), held, evictions }
    }

    /// Partitions in all sessions.
    pub fn partitions(&self) -> usize {
        self.held.partitions.load(Ordering::Relaxed)
    }

    /// Sessions that had to make room for others.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How many sessions are open.
    pub fn len(&self) -> usize {
        self.cache.lock().len()
    }

    /// True without a session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds out what `view` asks for and moves its session one epoch on.
    pub fn open(&self, view: &FetchView, by_id: bool) -> Result<Opened, SessionRefused> {
        if view.session_epoch == 0 || view.session_epoch == -1 {
            if view.session_id != 0 {
                self.cache.lock().remove(&view.session_id);
            }
            let privileged = view.replica_id >= 0;
            let kind = if view.session_epoch == 0 { Kind::Create { privileged } } else { Kind::Sessionless };
            return Ok(Opened { wanted: all_of(view), kind });
        }
        let slot = self.cache.lock().get(&view.session_id).cloned().ok_or(SessionRefused::NotFound)?;
        let mut session = slot.session.lock();
        if session.epoch != view.session_epoch {
            return Err(SessionRefused::Epoch { got: view.session_epoch, expected: session.epoch });
        }
        if slot.by_id != by_id {
            return Err(SessionRefused::TopicNaming);
        }
        slot.used.store(self.now_ms(), Ordering::Relaxed);
        session.update(view);
        slot.weigh(&session);
        let wanted = session.wanted();
        let grew_too_large = !view.topics.is_empty() && self.held.bytes.load(Ordering::Relaxed) > BYTES_MAX;
        if wanted.is_empty() || wanted.len() > PARTITIONS_MAX || grew_too_large {
            drop(session);
            self.cache.lock().remove(&view.session_id);
            return match wanted.len() {
                0 => Ok(Opened { wanted, kind: Kind::Sessionless }),
                _ => Err(SessionRefused::NotFound),
            };
        }
        session.epoch = session.epoch.checked_add(1).unwrap_or(1);
        drop(session);
        Ok(Opened { wanted, kind: Kind::Incremental(slot) })
    }

    /// Turns what was read, one result per wanted partition in the same order, into the answer: the session's id
    /// (0 for none) and the topics to send. Call it once per request, when nothing will be read again.
    pub fn close(&self, opened: Opened, fetched: Vec<Fetched>, by_id: bool) -> (i32, Vec<FetchedTopic>) {
        assert_eq!(opened.wanted.len(), fetched.len(), "one result per partition");
        match opened.kind {
            Kind::Sessionless => (0, group(opened.wanted.into_iter().zip(fetched))),
            Kind::Create { privileged } => {
                let id = self.create(&opened.wanted, &fetched, by_id, privileged);
                (id, group(opened.wanted.into_iter().zip(fetched)))
            }
            Kind::Incremental(slot) => {
                let mut session = slot.session.lock();
                let pairs = opened.wanted.into_iter().zip(fetched);
                let changed = pairs.filter(|(wanted, fetched)| session.note(wanted, fetched));
                (slot.id, group(changed))
            }
        }
    }

    /// Makes a session, or answers 0 when the cache is full of busy ones or there is nothing to remember.
    fn create(&self, wanted: &[Wanted], fetched: &[Fetched], by_id: bool, privileged: bool) -> i32 {
        if wanted.is_empty() || wanted.len() > PARTITIONS_MAX || self.slots == 0 {
            return 0;
        }
        let bytes: usize = wanted.iter().map(|wanted| weight(&wanted.topic)).sum();
        let now = self.now_ms();
        let mut cache = self.cache.lock();
        while cache.len() >= self.slots || self.held.bytes.load(Ordering::Relaxed) + bytes > BYTES_MAX {
            if !evict(&mut cache, (privileged, wanted.len()), now) {
                return 0;
            }
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
        let mut session = Session { epoch: 1, ..Session::default() };
        for (wanted, fetched) in wanted.iter().zip(fetched) {
            session.put(&wanted.topic, wanted.ask);
            session.note(wanted, fetched);
        }
        let id = loop {
            let id = self.draw_id();
            if !cache.contains_key(&id) {
                break id;
            }
        };
        let slot = Slot {
            id,
            by_id,
            privileged,
            created: now,
            used: AtomicU64::new(now),
            held: self.held.clone(),
            partitions: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            session: Mutex::default(),
        };
        slot.weigh(&session);
        *slot.session.lock() = session;
        cache.insert(id, Arc::new(slot));
        id
    }

    /// 1..=i32::MAX, unguessable: whoever knows an id may continue the session.
    fn draw_id(&self) -> i32 {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        (i32::from_be_bytes(bytes) & i32::MAX).max(1)
    }
}

/// Drops one session for a new one that is worth `worth`, by Kafka's rule: the one unused for longest if that is long
/// enough; else the least worthy of those that are not new, if it is worth less. A tie goes to the smaller id.
fn evict(cache: &mut HashMap<i32, Arc<Slot>>, worth: (bool, usize), now: u64) -> bool {
    let patience = u64::try_from(EVICT_AFTER.as_millis()).unwrap_or(u64::MAX);
    let old = |since: u64| now.saturating_sub(since) >= patience;
    let idle = cache.values().map(|slot| (slot.used.load(Ordering::Relaxed), slot.id)).min();
    let idle = idle.filter(|(used, _)| old(*used)).map(|(_, id)| id);
    let least = || {
        let settled = cache.values().filter(|slot| old(slot.created));
        let least = settled.map(|slot| (slot.worth(), slot.id)).min();
        least.filter(|(least, _)| *least < worth).map(|(_, id)| id)
    };
    idle.or_else(least).is_some_and(|id| cache.remove(&id).is_some())
}

/// Memory of one partition in a session, about.
fn weight(topic: &TopicRef) -> usize {
    let name = match topic {
        TopicRef::Name(name) => name.len(),
        TopicRef::Id(_) => 0,
    };
    PARTITION_BYTES + name
}

/// Each partition of a full fetch, in the request's order.
fn all_of(view: &FetchView) -> Vec<Wanted> {
    let topics = view.topics.iter();
    topics
        .flat_map(|topic| topic.partitions.iter().map(|ask| Wanted { topic: topic.topic.clone(), ask: *ask }))
        .collect()
}

/// Neighbours of one topic become one topic of the answer.
fn group(parts: impl Iterator<Item = (Wanted, Fetched)>) -> Vec<FetchedTopic> {
    let mut topics: Vec<FetchedTopic> = Vec::new();
    for (wanted, fetched) in parts {
        match topics.last_mut() {
            Some(last) if last.topic == wanted.topic => last.partitions.push(fetched),
            _ => topics.push(FetchedTopic { topic: wanted.topic, partitions: vec![fetched] }),
        }
    }
    topics
}

impl Session {
    fn update(&mut self, view: &FetchView) {
        for topic in &view.topics {
            for ask in &topic.partitions {
                self.put(&topic.topic, *ask);
            }
        }
        for topic in &view.forgotten {
            for index in &topic.partitions {
                if let Some(place) = self.places.remove(&(topic.topic.clone(), *index)) {
                    self.line.remove(&place);
                    self.bytes = self.bytes.saturating_sub(weight(&topic.topic));
                }
            }
        }
    }

    fn put(&mut self, topic: &TopicRef, ask: FetchPartition) {
        if let Some(place) = self.places.get(&(topic.clone(), ask.index)) {
            if let Some(cached) = self.line.get_mut(place) {
                cached.ask = ask;
            }
            return;
        }
        // A copy of the name: a slice of the request would keep its whole frame alive.
        let topic = match topic {
            TopicRef::Name(name) => TopicRef::Name(StrBytes::from_string(name.to_string())),
            TopicRef::Id(id) => TopicRef::Id(*id),
        };
        let place = self.next_place;
        self.next_place += 1;
        self.bytes += weight(&topic);
        self.places.insert((topic.clone(), ask.index), place);
        self.line.insert(place, Cached { topic, ask, high_watermark: -1, log_start: -1 });
    }

    fn wanted(&self) -> Vec<Wanted> {
        self.line.values().map(|cached| Wanted { topic: cached.topic.clone(), ask: cached.ask }).collect()
    }

    /// Notes what the client is about to be told; true when it does not know it yet.
    fn note(&mut self, wanted: &Wanted, fetched: &Fetched) -> bool {
        let key = (wanted.topic.clone(), wanted.ask.index);
        // Forgotten by a later request of the same session: nobody waits for it.
        let Some(place) = self.places.get(&key).copied() else { return false };
        let Some(cached) = self.line.get_mut(&place) else { return false };
        let records = fetched.record_bytes() > 0;
        let mut changed = records
            || cached.high_watermark != fetched.high_watermark
            || cached.log_start != fetched.log_start_offset
            || fetched.preferred_read_replica >= 0
            || fetched.diverging.is_some();
        cached.high_watermark = fetched.high_watermark;
        cached.log_start = fetched.log_start_offset;
        if fetched.error != 0 {
            changed = true;
            // So that the partition is told again once it works.
            cached.high_watermark = -1;
        }
        if records {
            // Who was served goes to the end of the line: nobody starves behind a busy partition.
            if let Some(cached) = self.line.remove(&place) {
                let last = self.next_place;
                self.next_place += 1;
                self.line.insert(last, cached);
                self.places.insert(key, last);
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests;
