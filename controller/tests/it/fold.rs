//! Decisions and folding without a quorum: random requests against a model, stale decisions, images compared.

use std::collections::{BTreeMap, BTreeSet};

use firnline_controller::decide::brokers::{self, BrokerRegistration, Heard, Heartbeat, HeartbeatAnswer};
use firnline_controller::decide::configs;
use firnline_controller::decide::decision::{Decision, Draft};
use firnline_controller::decide::features;
use firnline_controller::decide::format::format;
use firnline_controller::decide::partitions::{self, NewPartitions};
use firnline_controller::decide::policy::Policy;
use firnline_controller::decide::producer_ids;
use firnline_controller::decide::tiers;
use firnline_controller::decide::topics::{self, NewTopic};
use firnline_controller::error::{CreateTopicError, RegisterError};
use firnline_controller::id::{BrokerEpoch, BrokerId, TopicId};
use firnline_controller::image::delta::Delta;
use firnline_controller::image::metadata::MetadataImage;
use firnline_controller::record::entry::{Entry, Group};
use firnline_controller::record::kinds::{Broker, Partition, Record, Resource};
use proptest::prelude::*;
use uuid::Uuid;

use crate::scene::{CLUSTER, append, broker_of, topic};

#[derive(Debug, Clone)]
enum Request {
    Register(i32, u128),
    Beat(i32),
    Create(String, i32, i16),
    Delete(usize),
    Grow(usize, i32),
    Configure(usize, String, Option<String>),
    Ids,
    Append(usize, i32),
    Purge(usize),
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let pick = || 0_usize..6;
    let request = prop_oneof![
        1 => (0_i32..4, 0_u128..3).prop_map(|(id, incarnation)| Request::Register(id, incarnation)),
        2 => (0_i32..4).prop_map(Request::Beat),
        4 => ("[ab._]{1,3}", 1_i32..5, 1_i16..4).prop_map(|(name, n, replicas)| Request::Create(name, n, replicas)),
        2 => pick().prop_map(Request::Delete),
        2 => (pick(), 1_i32..8).prop_map(|(at, count)| Request::Grow(at, count)),
        2 => (pick(), "[kl]", prop::option::of("[vw]")).prop_map(|(at, key, value)| Request::Configure(at, key, value)),
        1 => Just(Request::Ids),
        4 => (pick(), 0_i32..3).prop_map(|(at, index)| Request::Append(at, index)),
        1 => pick().prop_map(Request::Purge),
    ];
    prop::collection::vec(request, 1..60)
}

/// A sign of life of a broker that has seen everything.
fn heard(image: &MetadataImage, id: i32) -> Option<Decision<HeartbeatAnswer>> {
    let (id, heard) = (BrokerId(id), Heard { caught_up: true, seen_by_all: true });
    let epoch = image.brokers.get(id)?.epoch;
    let beat = Heartbeat { id, epoch, image_offset: 0, wants_fence: false, wants_stop: false };
    brokers::heartbeat(image, &Policy::default(), &beat, heard).ok()
}

/// A broker's first registration, alive as soon as it is alone.
fn registered(image: &MetadataImage, id: i32) -> Decision<BrokerEpoch> {
    brokers::register(image, &Policy::default(), &broker_of(id, 1), false).expect("registered")
}

fn nth(image: &MetadataImage, at: usize) -> Option<TopicId> {
    let count = image.topics.len();
    image.topics.iter().nth(at % count.max(1)).map(|topic| topic.id)
}

/// What the pure deciders say, as a group; `None` for a refusal.
fn decide(image: &MetadataImage, request: &Request, fresh: u128) -> Option<Group> {
    match request {
        Request::Register(id, incarnation) => {
            let asked = broker_of(*id, *incarnation + 1);
            brokers::register(image, &Policy::default(), &asked, false).ok().map(|decision| decision.group)
        }
        Request::Beat(id) => heard(image, *id).map(|decision| decision.group),
        Request::Create(name, partitions, replication_factor) => {
            let new = NewTopic { replication_factor: *replication_factor, ..topic(name, *partitions) };
            let id = TopicId(Uuid::from_u128(fresh));
            topics::create(image, &new, id, 0).ok().map(|decision| decision.group)
        }
        Request::Delete(at) => topics::delete(image, nth(image, *at)?).ok().map(|decision| decision.group),
        Request::Grow(at, count) => {
            let new = NewPartitions { topic: nth(image, *at)?, count: *count, assignments: Vec::new() };
            partitions::grow(image, &new, 0).ok().map(|decision| decision.group)
        }
        Request::Configure(at, key, value) => {
            let changes = [(key.clone(), value.clone())];
            configs::alter(image, &Policy::default(), Resource::Topic(nth(image, *at)?), &changes)
                .ok()
                .map(|decision| decision.group)
        }
        Request::Ids => producer_ids::allocate(image).map(|decision| decision.group),
        Request::Append(at, index) => {
            let id = nth(image, *at)?;
            let row = image.tier_row(id, *index)?;
            let change = append(&row, image.topics.partition(id, *index)?.leader_epoch.0);
            tiers::change(image, id, *index, &change).ok().map(|decision| decision.group)
        }
        Request::Purge(at) => {
            let gone = image.topics.tombstones().nth(*at).map(|(id, _)| id)?;
            topics::finish_purge(image, gone).map(|decision| decision.group)
        }
    }
}

fn records(image: &MetadataImage) -> Vec<Record> {
    image.to_records().collect()
}

fn formatted() -> MetadataImage {
    let mut draft = Draft::default();
    draft.take(format(&draft.image, CLUSTER).expect("an empty image"));
    draft.image
}

/// What every image promises.
fn check(image: &MetadataImage) {
    let mut names = BTreeSet::new();
    for topic in image.topics.iter() {
        assert!(names.insert(topic.name.replace('.', "_")), "{} collides", topic.name);
        assert!(topic.partition_count() > 0, "{} has no partition", topic.name);
        assert_eq!(image.topics.by_name(&topic.name).map(|found| found.id), Some(topic.id));
        for (row, index) in topic.partitions.iter().zip(0..) {
            assert!(row.isr.iter().all(|id| row.replicas.contains(id)), "{row:?}");
            assert!(row.leader.is_none_or(|leader| row.isr.contains(&leader)), "{row:?}");
            assert_eq!(row.replicas.iter().collect::<BTreeSet<_>>().len(), row.replicas.len(), "{row:?}");
            if let Some(tier) = image.tiers.get(topic.id, index) {
                assert_eq!(tier.leader_epoch, row.leader_epoch, "the tier's fence is the partition's leader");
            }
        }
    }
    let epochs: BTreeSet<_> = image.brokers.iter().map(|broker| broker.epoch).collect();
    assert_eq!(epochs.len(), image.brokers.iter().count(), "two brokers have one epoch");
}

/// The slow way to [`Delta::between`].
fn delta(old: &MetadataImage, new: &MetadataImage) -> Delta {
    let partitions = |image: &MetadataImage| -> BTreeMap<_, _> {
        let rows = image.topics.iter().flat_map(|topic| {
            topic.partitions.iter().zip(0..).map(|(row, index)| ((topic.id, index), row.clone()))
        });
        rows.collect()
    };
    let ids = |image: &MetadataImage| image.topics.iter().map(|topic| topic.id).collect::<BTreeSet<_>>();
    let (before, after) = (partitions(old), partitions(new));
    let resources = old.topics.iter().chain(new.topics.iter()).map(|topic| Resource::Topic(topic.id));
    let all: BTreeSet<_> = ids(old).union(&ids(new)).copied().collect();
    let tombs = old.topics.tombstones().chain(new.topics.tombstones());
    let tombs = tombs.map(|(id, _)| id).chain(all.iter().copied());
    let rows: BTreeSet<_> = tombs.flat_map(|id| (0..8).map(move |index| (id, index))).collect();
    Delta {
        topics_created: ids(new).difference(&ids(old)).copied().collect(),
        topics_deleted: ids(old).difference(&ids(new)).copied().collect(),
        partitions: after
            .iter()
            .filter(|(key, row)| before.get(key) != Some(row))
            .map(|(key, _)| *key)
            .collect(),
        configs: resources
            .filter(|resource| old.configs.of(*resource) != new.configs.of(*resource))
            .collect(),
        brokers: new
            .brokers
            .iter()
            .filter(|now| old.brokers.get(now.id) != Some(now))
            .map(|now| now.id)
            .collect(),
        tiers: rows.into_iter().filter(|(id, i)| old.tiers.get(*id, *i) != new.tiers.get(*id, *i)).collect(),
    }
}

proptest! {
    #[test]
    fn the_image_is_the_fold_of_its_records(requests in requests(), cut in 0_usize..60) {
        let (mut image, mut entries, mut middle) = (formatted(), Vec::new(), MetadataImage::default());
        for (request, fresh) in requests.iter().zip(1_u128..) {
            if fresh as usize == cut {
                middle = image.clone();
            }
            let Some(group) = decide(&image, request, fresh) else { continue };
            let applied = image.apply_group(&group);
            prop_assert!(applied.is_ok(), "{:?} was decided on this image: {:?}", request, applied);
            entries.push(Entry { groups: [group].into() });
            check(&image);
        }
        let folded = entries.iter().fold(formatted(), |image, entry| image.apply(entry).0);
        prop_assert_eq!(records(&folded), records(&image));
        // All groups in one entry are the same as each in its own.
        let groups: Vec<Group> = entries.iter().flat_map(|entry| entry.groups.to_vec()).collect();
        let (at_once, outcomes) = formatted().apply(&Entry { groups: groups.into() });
        prop_assert!(outcomes.iter().all(Result::is_ok));
        prop_assert_eq!(records(&at_once), records(&image));
        // A snapshot is the same image.
        let mut restored = MetadataImage::default();
        for record in image.to_records() {
            prop_assert_eq!(restored.restore(&record), Ok(()));
        }
        prop_assert_eq!(records(&restored), records(&image));
        prop_assert_eq!(restored.brokers.next_epoch(), image.brokers.next_epoch());
        prop_assert_eq!(Delta::between(&middle, &image), delta(&middle, &image));
        prop_assert!(Delta::between(&image, &restored).is_empty(), "equal values that share nothing do not differ");
    }

    #[test]
    fn a_stale_decision_applies_whole_or_changes_nothing(requests in requests(), late in requests()) {
        let mut image = formatted();
        let mut stale = Vec::new();
        for (request, fresh) in requests.iter().zip(1_u128..) {
            stale.extend(late.iter().zip(10_000 * fresh..).filter_map(|(request, id)| decide(&image, request, id)));
            if let Some(group) = decide(&image, request, fresh) {
                image.apply_group(&group).expect("decided on this image");
            }
        }
        for group in stale {
            let before = records(&image);
            match image.apply_group(&group) {
                Ok(_) => check(&image),
                Err(_) => prop_assert_eq!(records(&image), before),
            }
        }
    }
}

#[test]
fn names_partitions_and_assignments_are_judged_as_in_kafka() {
    let mut draft = Draft::default();
    draft.take(format(&draft.image, CLUSTER).unwrap());
    for id in 1..=3 {
        draft.take(registered(&draft.image, id));
        draft.take(heard(&draft.image, id).expect("registered"));
    }
    let id = |n: u128| TopicId(Uuid::from_u128(n + 100));
    draft.take(topics::create(&draft.image, &topic("a.b", 2), id(1), 0).unwrap());
    let refuse = |new: NewTopic| topics::create(&draft.image, &new, id(2), 0).expect_err("refused");
    assert!(matches!(refuse(topic("", 1)), CreateTopicError::InvalidName(_)));
    assert!(matches!(refuse(topic("..", 1)), CreateTopicError::InvalidName(_)));
    assert!(matches!(refuse(topic(&"x".repeat(250), 1)), CreateTopicError::InvalidName(_)));
    assert_eq!(refuse(topic("a.b", 1)), CreateTopicError::Exists { name: "a.b".into(), id: id(1) });
    let collides = CreateTopicError::Collides { name: "a_b".into(), existing: "a.b".into() };
    assert_eq!(refuse(topic("a_b", 1)), collides);
    assert_eq!(refuse(topic("c", 0)), CreateTopicError::InvalidPartitions(0));
    assert_eq!(refuse(topic("c", -1)), CreateTopicError::InvalidPartitions(-1));
    let many = refuse(topic("c", 10_001));
    assert_eq!(many, CreateTopicError::TooManyPartitions { asked: 10_001, limit: 10_000 });
    for asked in [0, -2, 4] {
        let new = NewTopic { replication_factor: asked, ..topic("c", 1) };
        assert_eq!(refuse(new), CreateTopicError::InvalidReplicationFactor { asked, live: 3 });
    }
    let assigned = |assignments: &[(i32, &[i32])]| NewTopic {
        name: "c".into(),
        partitions: -1,
        replication_factor: -1,
        assignments: assignments
            .iter()
            .map(|(at, ids)| (*at, ids.iter().copied().map(BrokerId).collect()))
            .collect(),
        configs: Vec::new(),
    };
    for bad in [
        &[(1, [1].as_slice())][..],
        &[(0, &[1]), (2, &[1])],
        &[(0, &[1]), (0, &[2])],
        &[(0, &[])],
        &[(0, &[1, 1])],
        &[(0, &[9])],
        &[(0, &[1, 2]), (1, &[1])],
    ] {
        let refused = refuse(assigned(bad));
        assert!(matches!(refused, CreateTopicError::InvalidAssignment(_)), "{bad:?}: {refused}");
    }
    let both = NewTopic { partitions: 1, ..assigned(&[(0, &[1])]) };
    assert!(matches!(refuse(both), CreateTopicError::InvalidRequest(_)));
    let good = assigned(&[(1, &[3, 1]), (0, &[2, 3])]);
    let decision = topics::create(&draft.image, &good, id(3), 0).unwrap();
    assert_eq!((decision.answer.partitions, decision.answer.replication_factor), (2, 2));
    draft.take(decision);
    let row = draft.image.topics.partition(id(3), 1).unwrap();
    assert_eq!((row.leader, row.isr.as_ref()), (Some(BrokerId(3)), [BrokerId(3), BrokerId(1)].as_slice()));
}

#[test]
fn partitions_only_grow() {
    let mut draft = Draft::default();
    draft.take(format(&draft.image, CLUSTER).unwrap());
    draft.take(registered(&draft.image, 1));
    let id = TopicId(Uuid::from_u128(7));
    draft.take(topics::create(&draft.image, &topic("a", 2), id, 0).unwrap());
    let asked = |count, assignments: &[&[i32]]| NewPartitions {
        topic: id,
        count,
        assignments: assignments.iter().map(|ids| ids.iter().copied().map(BrokerId).collect()).collect(),
    };
    for bad in [
        asked(2, &[]),
        asked(1, &[]),
        asked(-1, &[]),
        asked(4, &[&[1]]),
        asked(3, &[&[1, 1]]),
        asked(3, &[&[7]]),
    ] {
        assert!(partitions::grow(&draft.image, &bad, 0).is_err(), "{bad:?}");
    }
    let (_, count) = draft.take(partitions::grow(&draft.image, &asked(4, &[&[1], &[1]]), 0).unwrap());
    assert_eq!((count, draft.image.topics.get(id).unwrap().partition_count()), (4, 4));
}

/// A log that an older binary began says level 1: nothing of level 2 may enter it before the level is raised.
#[test]
fn a_cluster_at_level_1_holds_nothing_of_level_2() {
    let mut image = MetadataImage::default();
    let mut fold = |record: Record| image.apply_group(&Group { records: vec![record], ..Group::default() });
    fold(Record::FeatureLevel { level: 1 }).expect("the first record");
    let plain = Broker { id: BrokerId(1), ..Broker::default() };
    fold(Record::Broker(plain.clone())).expect("a record of level 1");
    let topic = TopicId(Uuid::from_u128(7));
    fold(Record::Topic { id: topic, name: "a".into() }).expect("a record of level 1");
    let moving = Partition { removing: [BrokerId(1)].into(), ..Partition::default() };
    let of_level_2 = [
        Record::Broker(Broker { stopping: true, ..plain }),
        Record::Partition { topic, index: 0, row: moving },
        Record::BrokerGone { id: BrokerId(1) },
    ];
    for record in &of_level_2 {
        let refused = fold(record.clone()).expect_err("a record of level 2").to_string();
        assert!(refused.contains("level 2") && refused.contains("level 1"), "{refused}");
    }
    fold(Record::FeatureLevel { level: 2 }).expect("raised");
    for record in of_level_2 {
        fold(record).expect("allowed now");
    }
    assert!(fold(Record::FeatureLevel { level: 1 }).is_err(), "a level never falls");
}

#[test]
fn the_epoch_of_a_broker_that_went_is_not_given_again() {
    let mut draft = Draft::default();
    draft.take(format(&draft.image, CLUSTER).unwrap());
    draft.take(registered(&draft.image, 1));
    let (_, last) = draft.take(registered(&draft.image, 2));
    let gone = Group { records: vec![Record::BrokerGone { id: BrokerId(2) }], ..Group::default() };
    draft.image.apply_group(&gone).expect("registered");
    assert!(draft.image.apply_group(&gone).is_err(), "it went once");
    let mut restored = MetadataImage::default();
    for record in draft.image.to_records() {
        restored.restore(&record).expect("a snapshot's record");
    }
    assert!(restored.brokers.next_epoch() > last, "{}", restored.brokers.next_epoch());
    assert_eq!(restored.brokers.next_epoch(), draft.image.brokers.next_epoch());
}

/// A broker that an older binary set up: it starts again, and raises the level when told to.
#[test]
fn a_log_of_level_1_goes_on_and_can_be_raised() {
    let mut draft = Draft::default();
    let records = vec![Record::FeatureLevel { level: 1 }, Record::Cluster { id: CLUSTER.to_owned() }];
    draft.take(Decision::new(Vec::new(), records, ()));
    let says_more = |incarnation| BrokerRegistration {
        directories: vec![Uuid::from_u128(1)],
        boot: Some(Uuid::from_u128(2)),
        ..broker_of(1, incarnation)
    };
    let policy = Policy::default();
    draft.take(brokers::register(&draft.image, &policy, &says_more(1), false).unwrap());
    let id = TopicId(Uuid::from_u128(7));
    draft.take(topics::create(&draft.image, &topic("a", 1), id, 0).unwrap());
    draft.take(brokers::register(&draft.image, &policy, &says_more(2), false).unwrap());
    let row = draft.image.topics.partition(id, 0).unwrap();
    assert_eq!((row.leader, row.leader_epoch.0, row.is_plain()), (Some(BrokerId(1)), 1, true));
    assert!(draft.image.brokers.get(BrokerId(1)).unwrap().is_plain());
    let second = brokers::register(&draft.image, &policy, &broker_of(2, 1), false);
    assert_eq!(second, Err(RegisterError::LevelTooLow { id: BrokerId(2), level: 1 }));
    draft.take(features::update(&draft.image, &[], 2).unwrap());
    assert!(brokers::register(&draft.image, &policy, &broker_of(2, 1), false).is_ok());
    assert_eq!(features::update(&draft.image, &[], 2).unwrap().group, Group::default(), "nothing to do");
}
