//! Incremental fetch sessions (KIP-227): what a client asked for before, so that a fetch names only what changed.
//! It reads no log. Sessions are found from every connection, each guarded by its own short lock.
//! Invariant: a session's epoch moves by exactly one per accepted request, and "changed" is decided once per answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use firnline_tiering::entropy::Entropy;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::wire::fetch::{FetchPartition, FetchView, TopicRef};
use crate::wire::fetch_answer::{Fetched, FetchedTopic};
use crate::wire::message::StrBytes;

/// A session unused for this long may make room for a new one.
const EVICT_IDLE: Duration = Duration::from_secs(120);

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
    Create,
    /// Only what changed is answered.
    Incremental(Arc<Slot>),
}

/// The sessions of a broker.
pub struct FetchSessions {
    cache: Mutex<HashMap<i32, Arc<Slot>>>,
    slots: usize,
    entropy: Arc<dyn Entropy>,
}

struct Slot {
    id: i32,
    by_id: bool,
    session: Mutex<Session>,
}

/// What the client asked for and was told last.
struct Session {
    /// Epoch of the next request.
    epoch: i32,
    used: Instant,
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
        Self { cache: Mutex::default(), slots, entropy }
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
            let kind = if view.session_epoch == 0 { Kind::Create } else { Kind::Sessionless };
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
        session.used = Instant::now();
        session.update(view);
        let wanted = session.wanted();
        if wanted.is_empty() || wanted.len() > PARTITIONS_MAX {
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
            Kind::Create => {
                let id = self.create(&opened.wanted, &fetched, by_id);
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
    fn create(&self, wanted: &[Wanted], fetched: &[Fetched], by_id: bool) -> i32 {
        if wanted.is_empty() || wanted.len() > PARTITIONS_MAX || self.slots == 0 {
            return 0;
        }
        let now = Instant::now();
        let mut session =
            Session { epoch: 1, used: now, line: BTreeMap::new(), places: HashMap::new(), next_place: 0 };
        for (wanted, fetched) in wanted.iter().zip(fetched) {
            session.put(&wanted.topic, wanted.ask);
            session.note(wanted, fetched);
        }
        let mut cache = self.cache.lock();
        if cache.len() >= self.slots && !evict_idle(&mut cache, now) {
            return 0;
        }
        let id = loop {
            let id = self.draw_id();
            if !cache.contains_key(&id) {
                break id;
            }
        };
        cache.insert(id, Arc::new(Slot { id, by_id, session: Mutex::new(session) }));
        id
    }

    /// 1..=i32::MAX, unguessable: whoever knows an id may continue the session.
    fn draw_id(&self) -> i32 {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        (i32::from_be_bytes(bytes) & i32::MAX).max(1)
    }
}

/// Drops the session unused for longest, if that is long enough; a tie goes to the smaller id.
fn evict_idle(cache: &mut HashMap<i32, Arc<Slot>>, now: Instant) -> bool {
    let oldest = cache.values().map(|slot| (slot.session.lock().used, slot.id)).min();
    match oldest {
        Some((used, id)) if now.saturating_duration_since(used) >= EVICT_IDLE => cache.remove(&id).is_some(),
        _ => false,
    }
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
mod tests {
    use super::*;
    use bytes::Bytes;
    use firnline_tiering::entropy::OsEntropy;

    use crate::wire::fetch::{FetchTopic, ForgottenTopic};
    use crate::wire::response::Piece;

    fn sessions(slots: usize) -> FetchSessions {
        FetchSessions::new(slots, Arc::new(OsEntropy))
    }

    fn name(topic: &str) -> TopicRef {
        TopicRef::Name(StrBytes::from_string(topic.to_owned()))
    }

    fn ask(index: i32, offset: i64) -> FetchPartition {
        FetchPartition {
            index,
            current_leader_epoch: -1,
            fetch_offset: offset,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            max_bytes: 1 << 20,
        }
    }

    fn view(id: i32, epoch: i32, parts: &[(i32, i64)], forgotten: &[i32]) -> FetchView {
        let topics = match parts {
            [] => vec![],
            _ => vec![FetchTopic {
                topic: name("t"),
                partitions: parts.iter().map(|(index, offset)| ask(*index, *offset)).collect(),
            }],
        };
        let forgotten = match forgotten {
            [] => vec![],
            _ => vec![ForgottenTopic { topic: name("t"), partitions: forgotten.to_vec() }],
        };
        FetchView {
            replica_id: -1,
            replica_epoch: -1,
            max_wait_ms: 0,
            min_bytes: 1,
            max_bytes: 1 << 20,
            read_committed: false,
            session_id: id,
            session_epoch: epoch,
            topics,
            forgotten,
            rack_id: StrBytes::from_string(String::new()),
            cluster_id: None,
        }
    }

    fn found(index: i32, high_watermark: i64, bytes: usize) -> Fetched {
        let records = match bytes {
            0 => vec![],
            _ => vec![Piece::Bytes(Bytes::from(vec![0; bytes]))],
        };
        Fetched { high_watermark, log_start_offset: 0, records, ..Fetched::empty(index, 0) }
    }

    fn answered(topics: &[FetchedTopic]) -> Vec<i32> {
        topics.iter().flat_map(|topic| topic.partitions.iter().map(|part| part.index)).collect()
    }

    fn start(sessions: &FetchSessions, parts: &[(i32, i64)]) -> i32 {
        let opened = sessions.open(&view(0, 0, parts, &[]), false).unwrap();
        let fetched = parts.iter().map(|(index, _)| found(*index, 0, 0)).collect();
        let (id, topics) = sessions.close(opened, fetched, false);
        assert_eq!(answered(&topics), parts.iter().map(|part| part.0).collect::<Vec<_>>());
        id
    }

    #[test]
    fn an_idle_session_answers_nothing_the_second_time() {
        let sessions = sessions(10);
        let id = start(&sessions, &[(0, 0), (1, 0)]);
        assert!(id > 0);
        let opened = sessions.open(&view(id, 1, &[], &[]), false).unwrap();
        assert_eq!(opened.wanted.len(), 2);
        let (again, topics) = sessions.close(opened, vec![found(0, 0, 0), found(1, 0, 0)], false);
        assert_eq!((again, topics.len()), (id, 0));
    }

    #[test]
    fn only_what_changed_is_answered_and_the_served_go_last() {
        let sessions = sessions(10);
        let id = start(&sessions, &[(0, 0), (1, 0), (2, 0)]);
        let opened = sessions.open(&view(id, 1, &[], &[]), false).unwrap();
        let (_, topics) = sessions.close(opened, vec![found(0, 5, 9), found(1, 0, 0), found(2, 3, 0)], false);
        assert_eq!(answered(&topics), [0, 2]);
        let opened = sessions.open(&view(id, 2, &[(0, 5)], &[]), false).unwrap();
        let line: Vec<_> = opened.wanted.iter().map(|w| (w.ask.index, w.ask.fetch_offset)).collect();
        assert_eq!(line, [(1, 0), (2, 0), (0, 5)]);
    }

    #[test]
    fn an_error_is_told_and_so_is_its_end() {
        let sessions = sessions(10);
        let id = start(&sessions, &[(0, 0)]);
        for (epoch, fetched, told) in [
            (1, Fetched { error: 56, ..found(0, 0, 0) }, true),
            (2, found(0, 0, 0), true),
            (3, found(0, 0, 0), false),
        ] {
            let opened = sessions.open(&view(id, epoch, &[], &[]), false).unwrap();
            let (_, topics) = sessions.close(opened, vec![fetched], false);
            assert_eq!(!topics.is_empty(), told, "epoch {epoch}");
        }
    }

    #[test]
    fn wrong_epochs_ids_and_names_are_refused_and_change_nothing() {
        let sessions = sessions(10);
        let id = start(&sessions, &[(0, 0)]);
        let refused = |view: FetchView, by_id| sessions.open(&view, by_id).err();
        assert_eq!(refused(view(id + 1, 1, &[], &[]), false), Some(SessionRefused::NotFound));
        assert_eq!(
            refused(view(id, 2, &[], &[]), false),
            Some(SessionRefused::Epoch { got: 2, expected: 1 })
        );
        assert_eq!(refused(view(id, 1, &[], &[]), true), Some(SessionRefused::TopicNaming));
        assert!(sessions.open(&view(id, 1, &[], &[]), false).is_ok());
    }

    #[test]
    fn forgetting_the_last_partition_ends_the_session() {
        let sessions = sessions(10);
        let id = start(&sessions, &[(0, 0), (1, 0)]);
        let opened = sessions.open(&view(id, 1, &[], &[1]), false).unwrap();
        assert_eq!(opened.wanted.len(), 1);
        sessions.close(opened, vec![found(0, 0, 0)], false);
        assert!(sessions.open(&view(id, 2, &[], &[0]), false).unwrap().wanted.is_empty());
        assert!(sessions.is_empty());
    }

    #[test]
    fn closing_and_starting_over_replace_a_session() {
        let sessions = sessions(10);
        let id = start(&sessions, &[(0, 0)]);
        let opened = sessions.open(&view(id, 0, &[(0, 0)], &[]), false).unwrap();
        let (next, _) = sessions.close(opened, vec![found(0, 0, 0)], false);
        assert!(next != id && sessions.len() == 1);
        sessions.open(&view(next, -1, &[], &[]), false).unwrap();
        assert!(sessions.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_cache_serves_without_sessions_until_one_is_idle() {
        let sessions = sessions(1);
        let first = start(&sessions, &[(0, 0)]);
        assert_eq!(start(&sessions, &[(0, 0)]), 0);
        tokio::time::advance(EVICT_IDLE).await;
        let second = start(&sessions, &[(0, 0)]);
        assert!(second > 0 && second != first);
        assert_eq!(sessions.len(), 1);
    }
}
