//! Who is heard: the sessions of brokers, in the memory of the active controller, and when what it does by itself is
//! due. Not what becomes of a broker that is not heard (`decide/brokers.rs`). Pure given the time.
//! Invariant: no session ends earlier than its length after it was last full, and time in which nobody listened
//! ends none.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::brokers::{Heard, Heartbeat};
use crate::decide::policy::Policy;
use crate::id::{BrokerEpoch, BrokerId};
use crate::image::metadata::MetadataImage;

/// How often sessions are looked at, as a part of their length.
const LOOKS_PER_SESSION: u32 = 24;
/// What is left at least of the session of the node that led before: time for a heartbeat that finds the new leader.
const GRACE: Duration = Duration::from_millis(500);

/// One broker's session.
#[derive(Debug, Clone, Copy)]
struct Session {
    epoch: BrokerEpoch,
    /// It is full since then, or was heard then.
    heard: Instant,
    /// When it really spoke to this node, if it did.
    spoke: Option<Instant>,
    /// Offset of the image it acts on.
    image_offset: u64,
    /// What that must reach before it is unfenced.
    unfence_at: u64,
    /// What every live broker's must reach before it may stop; known once it is on its way down.
    seen_at: Option<u64>,
}

/// All sessions. The leader of the quorum begins with full ones.
#[derive(Debug)]
pub struct Liveness {
    length: Duration,
    sessions: BTreeMap<BrokerId, Session>,
    looked: Option<Instant>,
}

impl Liveness {
    /// Sessions of this length; none yet.
    pub fn new(length: Duration) -> Self {
        Liveness { length, sessions: BTreeMap::new(), looked: None }
    }

    /// How long to wait between two looks.
    pub fn pause(&self) -> Duration {
        (self.length / LOOKS_PER_SESSION).max(Duration::from_millis(1))
    }

    /// This node leads the quorum from now on: nobody was heard by it before, so every session is full. Except that
    /// of the node that led `before`, whose beats it heard until then: that one has been silent for as long, and has
    /// [`GRACE`] to find the new leader if it was only deposed.
    pub fn begin(&mut self, image: &MetadataImage, now: Instant, before: Option<(BrokerId, Instant)>) {
        self.looked = None;
        self.sessions.clear();
        for broker in image.brokers.iter() {
            self.open(broker.id, broker.epoch, image.offset, now);
        }
        let silent = before.and_then(|(id, heard)| Some((self.sessions.get_mut(&id)?, heard)));
        if let Some((session, heard)) = silent {
            let left = self.length.saturating_sub(now.saturating_duration_since(heard)).max(GRACE);
            session.heard = now.checked_sub(self.length.saturating_sub(left)).unwrap_or(now);
        }
    }

    /// Live brokers among those whose process has `gone` at some time, in the order of their ids: their sessions are
    /// over now. Who spoke after that time lives, whatever its host said then: it is another process, or was not gone.
    pub fn lost(&mut self, image: &MetadataImage, gone: &BTreeMap<BrokerId, Instant>) -> Vec<BrokerId> {
        let alone = image.brokers.iter().count() < 2;
        let lost = |id: BrokerId, since: Instant| {
            let broker = image.brokers.get(id).filter(|broker| !broker.fenced)?;
            let session = self.sessions.get(&id).filter(|session| session.epoch == broker.epoch)?;
            (!alone && session.spoke.is_none_or(|spoke| spoke < since)).then_some(id)
        };
        gone.iter().filter_map(|(id, since)| lost(*id, *since)).collect()
    }

    /// A broker registered, on top of the image of this offset.
    pub fn registered(&mut self, id: BrokerId, epoch: BrokerEpoch, offset: u64, now: Instant) {
        match self.sessions.get_mut(&id).filter(|session| session.epoch == epoch) {
            Some(session) => session.heard = now,
            None => self.open(id, epoch, offset, now),
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.spoke = Some(now);
        }
    }

    /// The earlier registration's process was heard within its session.
    pub fn is_live(&self, id: BrokerId, now: Instant) -> bool {
        self.sessions
            .get(&id)
            .is_some_and(|session| now.saturating_duration_since(session.heard) < self.length)
    }

    /// Hears a broker whose epoch is current, and says how far it and the others have come. `committed` is the
    /// offset of this node's image.
    pub fn hear(&mut self, image: &MetadataImage, beat: &Heartbeat, committed: u64, now: Instant) -> Heard {
        let stopping = image.brokers.get(beat.id).is_some_and(|broker| broker.stopping);
        if self.sessions.get(&beat.id).is_none_or(|session| session.epoch != beat.epoch) {
            self.open(beat.id, beat.epoch, committed, now);
        }
        let lowest = self.lowest(image, beat.id);
        let Some(session) = self.sessions.get_mut(&beat.id) else {
            return Heard { caught_up: false, seen_by_all: false };
        };
        (session.heard, session.spoke) = (now, Some(now));
        session.image_offset = beat.image_offset;
        session.seen_at = stopping.then_some(session.seen_at.unwrap_or(committed));
        Heard {
            caught_up: session.image_offset >= session.unfence_at,
            seen_by_all: session.seen_at.is_some_and(|at| lowest >= at),
        }
    }

    /// Live brokers not heard for a session, in the order of their ids. A broker that is alone is never one of
    /// them: it would be fenced in favour of nobody.
    pub fn expired(&mut self, image: &MetadataImage, now: Instant) -> Vec<BrokerId> {
        self.forgive(now);
        let alone = image.brokers.iter().count() < 2;
        let mut ended = Vec::new();
        for broker in image.brokers.iter() {
            match self.sessions.get(&broker.id).filter(|session| session.epoch == broker.epoch) {
                None => self.open(broker.id, broker.epoch, image.offset, now),
                Some(session) if now.saturating_duration_since(session.heard) >= self.length => {
                    ended.push(broker.id);
                }
                Some(_) => {}
            }
        }
        self.sessions.retain(|id, _| image.brokers.get(*id).is_some());
        ended.retain(|id| !alone && image.brokers.is_live(*id));
        ended
    }

    /// If this node itself stood still (a slow disk, a stopped process), it heard nobody, whoever spoke.
    fn forgive(&mut self, now: Instant) {
        let stood = self.looked.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.looked = Some(now);
        if stood > self.length / 2 {
            self.sessions.values_mut().for_each(|session| session.heard = (session.heard + stood).min(now));
        }
    }

    /// The lowest offset any other live broker's image is known to have.
    fn lowest(&self, image: &MetadataImage, except: BrokerId) -> u64 {
        let others = image.brokers.live().filter(|broker| broker.id != except);
        let offsets =
            others.map(|broker| self.sessions.get(&broker.id).map_or(0, |session| session.image_offset));
        offsets.min().unwrap_or(u64::MAX)
    }

    fn open(&mut self, id: BrokerId, epoch: BrokerEpoch, offset: u64, now: Instant) {
        let session =
            Session { epoch, heard: now, spoke: None, image_offset: 0, unfence_at: offset, seen_at: None };
        self.sessions.insert(id, session);
    }
}

/// What the loop does by itself, and when.
#[derive(Debug)]
pub struct Watch {
    /// Who is heard.
    pub liveness: Liveness,
    look_at: Instant,
    rebalance_every: Option<Duration>,
    rebalance_at: Option<Instant>,
}

impl Watch {
    /// Nothing is due before [`Watch::begin`].
    pub fn new(policy: &Policy) -> Self {
        Watch {
            liveness: Liveness::new(policy.session),
            look_at: Instant::now(),
            rebalance_every: policy.rebalance_every,
            rebalance_at: None,
        }
    }

    /// This node leads the quorum from now on.
    pub fn begin(&mut self, image: &MetadataImage, now: Instant, before: Option<(BrokerId, Instant)>) {
        self.liveness.begin(image, now, before);
        self.look_at = now + self.liveness.pause();
        self.rebalance_at = self.rebalance_every.map(|every| now + every);
    }

    /// Waits until sessions are to be looked at.
    pub async fn due(&self) {
        tokio::time::sleep_until(self.look_at).await;
    }

    /// Whether to look at the sessions now; if so, the next look is a pause away.
    pub fn looks(&mut self, now: Instant) -> bool {
        let due = now >= self.look_at;
        if due {
            self.look_at = now + self.liveness.pause();
        }
        due
    }

    /// Whether leaders are to be given back now.
    pub fn rebalances(&mut self, now: Instant) -> bool {
        let due = self.rebalance_at.is_some_and(|at| now >= at);
        if due {
            self.rebalance_at = self.rebalance_every.map(|every| now + every);
        }
        due
    }

    /// There is more to give back than one entry took.
    pub fn rebalance_again(&mut self, now: Instant) {
        self.rebalance_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::entry::Group;
    use crate::record::kinds::{Broker, Record};

    fn cluster(brokers: i32) -> MetadataImage {
        let mut image = MetadataImage { offset: 7, ..MetadataImage::default() };
        let mut records = vec![Record::FeatureLevel { level: 2 }];
        records.extend((1..=brokers).map(|id| {
            let (id, epoch) = (BrokerId(id), BrokerEpoch(i64::from(id)));
            Record::Broker(Broker { id, epoch, ..Broker::default() })
        }));
        image.apply_group(&Group { preconditions: Vec::new(), records }).expect("a consistent cluster");
        image
    }

    fn beat(id: i32, image_offset: u64) -> Heartbeat {
        let (id, epoch) = (BrokerId(id), BrokerEpoch(i64::from(id)));
        Heartbeat { id, epoch, image_offset, wants_fence: false, wants_stop: false }
    }

    const MS: Duration = Duration::from_millis(1);

    /// Looks every 100 ms, hearing `heard` each time, until somebody's session ends or two seconds are over.
    fn first_ended(image: &MetadataImage, heard: &[i32]) -> (u32, Vec<BrokerId>) {
        let (start, mut live) = (Instant::now(), Liveness::new(1_200 * MS));
        live.begin(image, start, None);
        for ms in (0..2_000).step_by(100) {
            let now = start + ms * MS;
            for id in heard {
                live.hear(image, &beat(*id, 7), 7, now);
            }
            let ended = live.expired(image, now);
            if !ended.is_empty() {
                return (ms, ended);
            }
        }
        (2_000, Vec::new())
    }

    #[test]
    fn a_session_ends_its_length_after_a_new_leader_began() {
        assert_eq!(first_ended(&cluster(3), &[1, 3]), (1_200, vec![BrokerId(2)]));
        assert_eq!(first_ended(&cluster(3), &[1, 2, 3]), (2_000, vec![]));
        assert_eq!(first_ended(&cluster(1), &[]), (2_000, vec![]), "it would be fenced in favour of nobody");
    }

    #[test]
    fn the_session_of_who_led_before_counts_from_its_last_beat() {
        let image = cluster(3);
        let ended = |silent: u32| {
            let (start, mut live) = (Instant::now() + 10_000 * MS, Liveness::new(1_200 * MS));
            live.begin(&image, start, Some((BrokerId(2), start - silent * MS)));
            let ends = |ms: &u32| {
                let now = start + *ms * MS;
                [1, 3].iter().for_each(|id| _ = live.hear(&image, &beat(*id, 7), 7, now));
                live.expired(&image, now) == [BrokerId(2)]
            };
            (0..2_000).step_by(50).find(ends)
        };
        assert_eq!((ended(100), ended(600), ended(5_000)), (Some(1_100), Some(600), Some(500)));
    }

    #[test]
    fn a_process_that_has_gone_is_lost_at_once_unless_it_spoke_after_that() {
        let (image, start) = (cluster(3), Instant::now());
        let gone = |since: u32| BTreeMap::from([(BrokerId(2), start + since * MS), (BrokerId(9), start)]);
        let mut live = Liveness::new(1_200 * MS);
        live.begin(&image, start, None);
        assert_eq!(live.lost(&image, &gone(0)), [BrokerId(2)], "this leader never heard it");
        live.hear(&image, &beat(2, 7), 7, start + 10 * MS);
        assert_eq!(live.lost(&image, &gone(11)), [BrokerId(2)]);
        assert_eq!(live.lost(&image, &gone(10)), [], "it spoke after its host refused: it lives");
        let mut fenced = image.clone();
        let two = image.brokers.get(BrokerId(2)).expect("registered").clone();
        let records = vec![Record::Broker(Broker { fenced: true, ..two })];
        fenced.apply_group(&Group { preconditions: Vec::new(), records }).expect("registered");
        assert_eq!(live.lost(&fenced, &gone(11)), [], "it is fenced already");
        live.registered(BrokerId(2), BrokerEpoch(2), 7, start + 20 * MS);
        assert_eq!(live.lost(&image, &gone(11)), [], "it registered again");
        let mut alone = Liveness::new(1_200 * MS);
        let gone = BTreeMap::from([(BrokerId(1), start + MS)]);
        alone.begin(&cluster(1), start, None);
        assert_eq!(alone.lost(&cluster(1), &gone), [], "it would be fenced in favour of nobody");
    }

    #[test]
    fn time_in_which_nobody_listened_ends_no_session() {
        let (image, start) = (cluster(2), Instant::now());
        let mut live = Liveness::new(1_200 * MS);
        live.begin(&image, start, None);
        assert_eq!(live.expired(&image, start), []);
        let woken = start + 60_000 * MS;
        assert_eq!(live.expired(&image, woken), [], "the controller was stopped for a minute");
        live.hear(&image, &beat(1, 7), 7, woken);
        let later = (0..12).map(|nth| live.expired(&image, woken + (nth * 100) * MS)).collect::<Vec<_>>();
        assert!(later.iter().all(Vec::is_empty), "{later:?}");
        assert_eq!(live.expired(&image, woken + 1_200 * MS), [BrokerId(1), BrokerId(2)]);
    }

    #[test]
    fn a_broker_is_caught_up_when_its_image_has_what_it_registered_on() {
        let (image, now) = (cluster(2), Instant::now());
        let mut live = Liveness::new(1_200 * MS);
        live.registered(BrokerId(1), BrokerEpoch(1), 9, now);
        assert!(!live.hear(&image, &beat(1, 8), 9, now).caught_up);
        assert!(live.hear(&image, &beat(1, 9), 9, now).caught_up);
        live.registered(BrokerId(1), BrokerEpoch(1), 50, now);
        assert!(live.hear(&image, &beat(1, 9), 50, now).caught_up, "it amended its registration");
    }

    #[test]
    fn who_goes_down_waits_until_everyone_has_seen_it() {
        let (mut image, now) = (cluster(3), Instant::now());
        let mut live = Liveness::new(1_200 * MS);
        live.begin(&image, now, None);
        assert!(!live.hear(&image, &beat(1, 7), 7, now).seen_by_all, "it does not go down");
        let stopping =
            Broker { stopping: true, ..image.brokers.get(BrokerId(1)).expect("registered").clone() };
        let records = vec![Record::Broker(stopping)];
        image.apply_group(&Group { preconditions: Vec::new(), records }).expect("registered");
        assert!(!live.hear(&image, &beat(1, 8), 8, now).seen_by_all);
        live.hear(&image, &beat(2, 8), 9, now);
        assert!(!live.hear(&image, &beat(1, 9), 9, now).seen_by_all, "3 has not");
        live.hear(&image, &beat(3, 9), 9, now);
        assert!(live.hear(&image, &beat(1, 9), 9, now).seen_by_all);
    }
}
