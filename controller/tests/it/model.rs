//! A cluster without a network: random events decided one after the other, against what every image promises and
//! against a model of which replica holds which records. Not the loop around the decisions.

use std::collections::{BTreeMap, BTreeSet};

use firnline_controller::decide::brokers::{self, BrokerRegistration, Heard, Heartbeat};
use firnline_controller::decide::configs;
use firnline_controller::decide::decision::{Decision, Draft};
use firnline_controller::decide::elect::{self, Election};
use firnline_controller::decide::format::format;
use firnline_controller::decide::isr::{self, IsrChange};
use firnline_controller::decide::partitions::{self, NewPartitions};
use firnline_controller::decide::policy::{MIN_INSYNC_REPLICAS, Policy, UNCLEAN_LEADER_ELECTION};
use firnline_controller::decide::reassign::{self, Reassignment};
use firnline_controller::decide::topics::{self, NewTopic};
use firnline_controller::id::{BrokerEpoch, BrokerId, TopicId};
use firnline_controller::image::metadata::MetadataImage;
use firnline_controller::record::entry::Group;
use firnline_controller::record::kinds::{Partition, Resource};
use proptest::prelude::*;
use uuid::Uuid;

use crate::scene::{CLUSTER, broker_of, topic};

/// How a broker comes back.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Back {
    Clean,
    SameBoot,
    Unclean,
    Wiped,
}

#[derive(Debug, Clone)]
enum Event {
    Register(i32, Back),
    Beat { id: i32, fence: bool, stop: bool, seen: bool },
    Expire(i32),
    Unregister(i32),
    Create(i32, i16),
    Grow(usize),
    Alter { at: usize, members: u8, stale: bool },
    Reassign { at: usize, target: Vec<i32> },
    Cancel(usize),
    Elect(usize, Election),
    MinInsync(usize, Option<u8>),
    Unclean(usize, bool),
    GiveBack,
    Produce(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let id = || 1_i32..5;
    let at = || 0_usize..6;
    let back = prop_oneof![Just(Back::Clean), Just(Back::SameBoot), Just(Back::Unclean), Just(Back::Wiped)];
    let flag = || prop::bool::weighted(0.15);
    let event = prop_oneof![
        4 => (id(), back).prop_map(|(id, back)| Event::Register(id, back)),
        8 => (id(), flag(), flag(), any::<bool>())
            .prop_map(|(id, fence, stop, seen)| Event::Beat { id, fence, stop, seen }),
        3 => id().prop_map(Event::Expire),
        1 => id().prop_map(Event::Unregister),
        3 => (1_i32..3, 1_i16..4).prop_map(|(n, replicas)| Event::Create(n, replicas)),
        1 => at().prop_map(Event::Grow),
        8 => (at(), any::<u8>(), flag()).prop_map(|(at, members, stale)| Event::Alter { at, members, stale }),
        3 => (at(), prop::collection::vec(id(), 0..4)).prop_map(|(at, target)| Event::Reassign { at, target }),
        1 => at().prop_map(Event::Cancel),
        2 => at().prop_map(|at| Event::Elect(at, Election::Preferred)),
        1 => at().prop_map(|at| Event::Elect(at, Election::Unclean)),
        4 => (at(), prop::option::of(1_u8..4)).prop_map(|(at, min)| Event::MinInsync(at, min)),
        1 => (at(), any::<bool>()).prop_map(|(at, on)| Event::Unclean(at, on)),
        1 => Just(Event::GiveBack),
        8 => at().prop_map(Event::Produce),
    ];
    prop::collection::vec(event, 1..120)
}

/// Three brokers that live, and a topic on all of them that wants two in sync: where interesting things begin.
fn prelude() -> Vec<Event> {
    let mut events: Vec<Event> = (1..=3)
        .flat_map(|id| {
            let beat = Event::Beat { id, fence: false, stop: false, seen: true };
            [Event::Register(id, Back::Clean), beat]
        })
        .collect();
    events.extend([Event::Create(2, 3), Event::MinInsync(0, Some(2)), Event::Produce(0), Event::Produce(1)]);
    events
}

/// Which replica of one partition holds how many records, and how many were acked.
#[derive(Debug, Clone, Default)]
struct Log {
    holds: BTreeMap<BrokerId, u64>,
    acked: u64,
}

type Place = (TopicId, i32);

/// The image and what the brokers would hold.
struct World {
    image: MetadataImage,
    policy: Policy,
    logs: BTreeMap<Place, Log>,
    led: BTreeMap<(Place, i32), BrokerId>,
    fresh: u128,
    boots: BTreeMap<i32, u128>,
    disks: BTreeMap<i32, u128>,
}

impl World {
    fn new() -> World {
        let mut draft = Draft::default();
        draft.take(format(&draft.image, CLUSTER).expect("an empty image"));
        World {
            image: draft.image,
            policy: Policy::default(),
            logs: BTreeMap::new(),
            led: BTreeMap::new(),
            fresh: 1,
            boots: BTreeMap::new(),
            disks: BTreeMap::new(),
        }
    }

    fn draw(&mut self) -> u128 {
        self.fresh += 1;
        self.fresh
    }

    fn places(&self) -> Vec<Place> {
        let topics = self.image.topics.iter();
        topics.flat_map(|topic| (0..topic.partition_count()).map(|index| (topic.id, index))).collect()
    }

    fn place(&self, at: usize) -> Option<Place> {
        let places = self.places();
        places.get(at % places.len().max(1)).copied()
    }

    fn row(&self, (topic, index): Place) -> Partition {
        self.image.topics.partition(topic, index).expect("a live partition").clone()
    }

    fn min_insync(&self, (topic, index): Place) -> usize {
        let set = self.image.configs.get(Resource::Topic(topic), MIN_INSYNC_REPLICAS);
        let set = set.map_or(1, |value| value.parse::<usize>().expect("a number"));
        set.min(self.row((topic, index)).replicas.len())
    }

    fn allows_unclean(&self, (topic, _): Place) -> bool {
        let set = self.image.configs.get(Resource::Topic(topic), UNCLEAN_LEADER_ELECTION);
        set.is_some_and(|value| &**value == "true")
    }

    /// The group an event makes on this image, if it is not refused.
    fn decide(&mut self, event: &Event) -> Option<Group> {
        let fresh = self.draw();
        let (image, policy) = (&self.image, &self.policy);
        let group = |decision: Decision<()>| decision.group;
        match event {
            Event::Register(id, back) => {
                let asked = self.registration(*id, *back, fresh);
                let decided = brokers::register(&self.image, &self.policy, &asked, false);
                Some(decided.expect("nothing is wrong with it").group)
            }
            Event::Beat { id, fence, stop, seen } => {
                let id = BrokerId(*id);
                let epoch = image.brokers.get(id)?.epoch;
                let beat = Heartbeat { id, epoch, image_offset: 0, wants_fence: *fence, wants_stop: *stop };
                let heard = Heard { caught_up: true, seen_by_all: *seen };
                let decided = brokers::heartbeat(image, policy, &beat, heard).expect("the epoch is current");
                if decided.answer.may_stop && image.brokers.iter().count() > 1 {
                    assert!(decided.answer.fenced, "it may stop, and is still counted on");
                }
                Some(decided.group)
            }
            Event::Expire(id) => Some(group(brokers::expire(image, policy, BrokerId(*id)))),
            Event::Unregister(id) => brokers::unregister(image, policy, BrokerId(*id)).ok().map(group),
            Event::Create(count, replicas) => {
                let new = NewTopic { replication_factor: *replicas, ..topic(&format!("t{fresh}"), *count) };
                let id = TopicId(Uuid::from_u128(fresh));
                topics::create(image, &new, id, 0).ok().map(|decision| decision.group)
            }
            Event::Grow(at) => {
                let (topic, _) = self.place(*at)?;
                let count = image.topics.get(topic)?.partition_count() + 1;
                let new = NewPartitions { topic, count, assignments: Vec::new() };
                partitions::grow(image, &new, 0).ok().map(|decision| decision.group)
            }
            Event::Alter { at, members, stale } => self.alter(*at, *members, *stale),
            Event::Reassign { at, target } => {
                let (topic, index) = self.place(*at)?;
                let replicas = Some(target.iter().copied().map(BrokerId).collect());
                let asked = Reassignment { topic, index, replicas, may_resize: true };
                reassign::reassign(image, policy, &asked).ok().map(group)
            }
            Event::Cancel(at) => {
                let (topic, index) = self.place(*at)?;
                let asked = Reassignment { topic, index, replicas: None, may_resize: false };
                reassign::reassign(image, policy, &asked).ok().map(group)
            }
            Event::Elect(at, election) => {
                let (topic, index) = self.place(*at)?;
                elect::elect(image, policy, *election, topic, index).ok().map(group)
            }
            Event::MinInsync(at, min) => {
                let change = (MIN_INSYNC_REPLICAS.to_owned(), min.map(|min| min.to_string()));
                configs::alter(image, policy, Resource::Topic(self.place(*at)?.0), &[change]).ok().map(group)
            }
            Event::Unclean(at, on) => {
                let change = (UNCLEAN_LEADER_ELECTION.to_owned(), Some(on.to_string()));
                configs::alter(image, policy, Resource::Topic(self.place(*at)?.0), &[change]).ok().map(group)
            }
            Event::GiveBack => Some(group(elect::rebalance(image, policy))),
            Event::Produce(_) => None,
        }
    }

    fn registration(&mut self, id: i32, back: Back, fresh: u128) -> BrokerRegistration {
        let boot =
            *self.boots.entry(id).and_modify(|boot| *boot += u128::from(back == Back::Unclean)).or_insert(1);
        let disk =
            *self.disks.entry(id).and_modify(|disk| *disk += u128::from(back == Back::Wiped)).or_insert(1);
        let named =
            |kind: u128, nth: u128| Uuid::from_u128((kind << 64) | (u128::from(id as u32) << 32) | nth);
        let known = self.image.brokers.get(BrokerId(id)).map(|broker| broker.epoch);
        BrokerRegistration {
            directories: vec![named(1, disk)],
            boot: Some(named(2, boot)),
            stopped: known.filter(|_| back == Back::Clean),
            ..broker_of(id, fresh)
        }
    }

    /// The leader asks for the members of a bit set, which fetch all it has first.
    fn alter(&mut self, at: usize, members: u8, stale: bool) -> Option<Group> {
        let (topic, index) = self.place(at)?;
        let row = self.row((topic, index));
        let from = row.leader?;
        let wanted = |id: &BrokerId| *id == from || members & (1 << id.0) != 0;
        let epoch = |id: BrokerId| self.image.brokers.get(id).map_or(BrokerEpoch(-1), |broker| broker.epoch);
        let isr: Vec<_> = row.replicas.iter().filter(|id| wanted(id)).map(|id| (*id, epoch(*id))).collect();
        let mut change =
            IsrChange { topic, index, leader_epoch: row.leader_epoch, partition_epoch: row.epoch, isr };
        if stale {
            change.partition_epoch.0 -= 1;
        }
        let decided = isr::alter(&self.image, &self.policy, (from, epoch(from)), &change);
        assert!(!stale || decided.is_err(), "a change of an older row was accepted");
        let group = decided.ok()?.group;
        let log = self.logs.entry((topic, index)).or_default();
        let end = log.holds.get(&from).copied().unwrap_or(0);
        log.holds.extend(change.isr.iter().map(|(id, _)| (*id, end)));
        Some(group)
    }

    /// Applies an event and checks every row it changed.
    fn play(&mut self, event: &Event) {
        if let Event::Produce(at) = event {
            self.produce(*at);
        }
        let group = self.decide(event);
        if let Event::Register(id, back @ (Back::Unclean | Back::Wiped)) = event {
            // Power is lost: of what was not acked by a sync nothing is certain.
            for log in self.logs.values_mut() {
                if let Some(held) = log.holds.get_mut(&BrokerId(*id)) {
                    *held = if *back == Back::Wiped { 0 } else { *held / 2 };
                }
            }
        }
        let Some(group) = group else { return };
        let before = self.image.clone();
        let applied = self.image.apply_group(&group);
        assert!(applied.is_ok(), "{event:?} was decided on this image: {applied:?}");
        check(&self.image);
        for place in self.places() {
            if let Some(old) = before.topics.partition(place.0, place.1) {
                self.check_step(event, place, old);
            }
            self.check_leader(place);
        }
    }

    /// The leader appends, whoever is in sync copies, and it is acked if they are enough.
    fn produce(&mut self, at: usize) {
        let Some(place) = self.place(at) else { return };
        let (row, needed) = (self.row(place), self.min_insync(place));
        let Some(leader) = row.leader else { return };
        let log = self.logs.entry(place).or_default();
        let end = log.holds.get(&leader).copied().unwrap_or(0) + 1;
        log.holds.extend(row.isr.iter().map(|id| (*id, end)));
        if row.isr.len() >= needed {
            log.acked = end;
        }
    }

    fn check_step(&mut self, event: &Event, place: Place, old: &Partition) {
        let new = self.row(place);
        if new == *old {
            return;
        }
        assert_eq!(new.epoch.0, old.epoch.0 + 1, "{event:?}: {old:?} -> {new:?}");
        let led = new.leader_epoch.0 - old.leader_epoch.0;
        assert!(led == 0 || led == 1, "{event:?}: {old:?} -> {new:?}");
        assert!(led == 1 || new.leader == old.leader, "{event:?}: {old:?} -> {new:?}");
        check_move(event, old, &new);
        let Some(leader) = new.leader.filter(|leader| old.leader != Some(*leader) || led == 1) else {
            return;
        };
        let asked = matches!(event, Event::Elect(_, Election::Unclean)) || self.allows_unclean(place);
        let joined = matches!(event, Event::Alter { .. });
        let held =
            |id: &BrokerId| old.isr.contains(id) || old.elr.contains(id) || (joined && new.isr.contains(id));
        let last = old.last_leader.or(old.leader);
        // Nobody else held anything acked, or the last one that did is back without it, or gone.
        let lost = |id: &BrokerId| match event {
            Event::Register(lost, Back::Unclean | Back::Wiped) | Event::Unregister(lost) => {
                *id == BrokerId(*lost)
            }
            _ => false,
        };
        let only = old.isr.iter().chain(old.elr.iter()).all(|id| *id == leader || lost(id));
        assert!(
            held(&leader) || asked || (last == Some(leader) && only),
            "{event:?} elected {leader}, which may lack acked records: {old:?} -> {new:?}"
        );
        let trusted =
            !matches!(event, Event::Register(id, Back::Unclean | Back::Wiped) if BrokerId(*id) == leader);
        let log = self.logs.entry(place).or_default();
        let end = log.holds.get(&leader).copied().unwrap_or(0);
        if held(&leader) && trusted {
            assert!(
                end >= log.acked,
                "{event:?} elected {leader}, which lacks acked records: {log:?}: {old:?} -> {new:?}"
            );
        }
        // Followers cut what the leader does not have.
        log.acked = log.acked.min(end);
        log.holds.values_mut().for_each(|held| *held = (*held).min(end));
    }

    fn check_leader(&mut self, place: Place) {
        let row = self.row(place);
        if let Some(leader) = row.leader {
            let known = *self.led.entry((place, row.leader_epoch.0)).or_insert(leader);
            assert_eq!(known, leader, "two leaders in one epoch of {place:?}: {row:?}");
        }
        if !row.elr.is_empty() {
            assert!(row.isr.len() < self.min_insync(place), "eligible beside a complete ISR: {row:?}");
        }
    }
}

/// A replica that a move brings counts as moved once it is in sync.
fn check_move(event: &Event, old: &Partition, new: &Partition) {
    let stays = |id: &&BrokerId| !new.adding.contains(id) && !new.removing.contains(id);
    for id in new.replicas.iter().filter(stays) {
        let came = !old.replicas.contains(id) || old.adding.contains(id);
        assert!(!came || new.isr.contains(id), "{event:?}: {id} has not caught up: {old:?} -> {new:?}");
    }
}

/// What every image promises.
fn check(image: &MetadataImage) {
    for row in image.topics.iter().flat_map(|topic| topic.partitions.iter()) {
        let replicas: BTreeSet<_> = row.replicas.iter().collect();
        assert_eq!(replicas.len(), row.replicas.len(), "{row:?}");
        for part in [&row.isr, &row.elr, &row.adding, &row.removing] {
            assert!(part.iter().all(|id| replicas.contains(id)), "{row:?}");
            assert_eq!(part.iter().collect::<BTreeSet<_>>().len(), part.len(), "{row:?}");
        }
        assert!(row.leader.is_none_or(|leader| row.isr.contains(&leader)), "{row:?}");
        assert!(!row.elr.iter().any(|id| row.isr.contains(id)), "{row:?}");
        assert!(row.isr.iter().all(|id| image.brokers.is_live(*id)), "a fenced broker is in sync: {row:?}");
        assert!(!row.isr.is_empty() || row.leader.is_none(), "{row:?}");
        assert!(row.leader.is_none() || row.last_leader.is_none(), "{row:?}");
    }
}

proptest! {
    #[test]
    fn no_clean_election_loses_what_was_acked(events in events()) {
        let mut world = World::new();
        for event in prelude().iter().chain(&events) {
            world.play(event);
        }
    }

    #[test]
    fn a_decision_on_an_older_image_applies_whole_or_not_at_all(events in events(), late in events()) {
        let mut world = World::new();
        let mut stale = Vec::new();
        prelude().iter().for_each(|event| world.play(event));
        for (event, late) in events.iter().zip(late.iter().cycle()) {
            stale.extend(world.decide(late).filter(|group| !group.records.is_empty()));
            world.play(event);
            for group in &stale {
                let mut image = world.image.clone();
                let before: Vec<_> = image.to_records().collect();
                match image.apply_group(group) {
                    Ok(_) => check(&image),
                    Err(_) => prop_assert_eq!(image.to_records().collect::<Vec<_>>(), before),
                }
            }
        }
    }
}
