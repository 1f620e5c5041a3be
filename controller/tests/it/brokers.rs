//! Several brokers against one controller, through its handle: what they are told, what the image shows, and how
//! many entries it took. Time is paused, so a session ends when the test says so.

use std::sync::Arc;
use std::time::Duration;

use firnline_controller::client::Controller;
use firnline_controller::decide::brokers::{BrokerRegistration, Heartbeat, HeartbeatAnswer};
use firnline_controller::decide::elect::Election;
use firnline_controller::decide::isr::IsrChange;
use firnline_controller::decide::reassign::{self, Reassignment};
use firnline_controller::decide::topics::NewTopic;
use firnline_controller::error::{
    AlterPartitionError, CreateTopicError, ElectError, FeatureLevelError, HeartbeatError, ReassignError,
    RegisterError, UnregisterError,
};
use firnline_controller::id::{BrokerEpoch, BrokerId, TopicId};
use firnline_controller::record::kinds::{FeatureRange, Partition, Resource};
use uuid::Uuid;

use crate::disk::Disk;
use crate::scene::{broker_of, start, topic};

/// A controller and the epochs of its brokers 1 to n.
struct Cluster {
    controller: Controller,
    epochs: Vec<BrokerEpoch>,
}

fn at_home(id: i32, incarnation: u128) -> BrokerRegistration {
    BrokerRegistration { directories: vec![Uuid::from_u128(id as u128)], ..broker_of(id, incarnation) }
}

impl Cluster {
    async fn of(brokers: i32) -> Cluster {
        let controller = start(Arc::new(Disk::default()), 0).await.expect("started");
        let mut cluster = Cluster { controller, epochs: Vec::new() };
        for id in 1..=brokers {
            cluster
                .epochs
                .push(cluster.controller.register_broker(at_home(id, 1)).await.expect("registered"));
            assert!(!cluster.beat(id).await.fenced);
        }
        cluster
    }

    fn epoch(&self, id: i32) -> BrokerEpoch {
        self.epochs[id as usize - 1]
    }

    fn heartbeat(&self, id: i32) -> Heartbeat {
        let image_offset = self.controller.image().offset;
        Heartbeat {
            id: BrokerId(id),
            epoch: self.epoch(id),
            image_offset,
            wants_fence: false,
            wants_stop: false,
        }
    }

    async fn beat(&self, id: i32) -> HeartbeatAnswer {
        self.controller.heartbeat(self.heartbeat(id)).await.expect("heard")
    }

    async fn stop(&self, id: i32) -> HeartbeatAnswer {
        let beat = Heartbeat { wants_stop: true, ..self.heartbeat(id) };
        self.controller.heartbeat(beat).await.expect("heard")
    }

    /// Time passes, and all but the silent ones are heard.
    async fn pass(&self, ms: u64, silent: &[i32]) {
        for _ in 0..ms / 100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for id in (1..=self.epochs.len() as i32).filter(|id| !silent.contains(id)) {
                self.beat(id).await;
            }
        }
    }

    /// Partitions on these brokers each, the first preferred.
    async fn create(&self, name: &str, assignments: &[&[i32]]) -> TopicId {
        let ids = |ids: &&[i32]| ids.iter().copied().map(BrokerId).collect();
        let new = NewTopic {
            name: name.to_owned(),
            partitions: -1,
            replication_factor: -1,
            assignments: (0..).zip(assignments.iter().map(ids)).collect(),
            configs: Vec::new(),
        };
        let created = self.controller.create_topics(vec![new], false).await;
        created.into_iter().next().expect("one answer").expect("created").id
    }

    async fn set(&self, topic: TopicId, key: &str, value: &str) {
        let change = vec![(key.to_owned(), Some(value.to_owned()))];
        self.controller.alter_configs(Resource::Topic(topic), change).await.expect("set");
    }

    fn row(&self, topic: TopicId) -> Partition {
        self.controller.image().topics.partition(topic, 0).expect("a partition").clone()
    }

    fn isr_change(&self, topic: TopicId, isr: &[i32]) -> IsrChange {
        let row = self.row(topic);
        let isr = isr.iter().map(|id| (BrokerId(*id), self.epoch(*id))).collect();
        IsrChange { topic, index: 0, leader_epoch: row.leader_epoch, partition_epoch: row.epoch, isr }
    }

    async fn alter(&self, from: i32, change: IsrChange) -> Result<Partition, AlterPartitionError> {
        let answers = self.controller.alter_partitions(BrokerId(from), self.epoch(from), vec![change]).await;
        answers.into_iter().next().expect("one answer")
    }

    async fn elect(&self, election: Election, topic: TopicId) -> Result<(), ElectError> {
        let answers = self.controller.elect(election, vec![(topic, 0)]).await;
        answers.into_iter().next().expect("one answer")
    }

    async fn move_to(&self, topic: TopicId, replicas: Option<&[i32]>) -> Result<(), ReassignError> {
        let replicas = replicas.map(|ids| ids.iter().copied().map(BrokerId).collect());
        let asked = Reassignment { topic, index: 0, replicas, may_resize: true };
        self.controller.reassign(vec![asked]).await.into_iter().next().expect("one answer")
    }
}

fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|id| id.0).collect()
}

/// Leader, leader epoch, ISR, ELR.
fn state(row: &Partition) -> (Option<i32>, i32, Vec<i32>, Vec<i32>) {
    (row.leader.map(|id| id.0), row.leader_epoch.0, ids(&row.isr), ids(&row.elr))
}

#[tokio::test(start_paused = true)]
async fn a_broker_is_fenced_until_it_has_seen_its_registration() {
    let mut cluster = Cluster::of(1).await;
    let epoch = cluster.controller.register_broker(at_home(2, 1)).await.expect("registered");
    cluster.epochs.push(epoch);
    assert!(!cluster.controller.image().brokers.is_live(BrokerId(2)));
    let behind = Heartbeat { image_offset: 0, ..cluster.heartbeat(2) };
    assert!(
        cluster.controller.heartbeat(behind).await.expect("heard").fenced,
        "its image has not come so far"
    );
    assert!(!cluster.beat(2).await.fenced);
    let before = cluster.controller.image().offset;
    assert!(!cluster.beat(2).await.fenced);
    assert_eq!(cluster.controller.image().offset, before, "a heartbeat that changes nothing writes nothing");
}

/// Start as before: no heartbeat is waited for, no entry more.
#[tokio::test(start_paused = true)]
async fn a_broker_that_is_alone_leads_from_its_registration_on_and_is_never_fenced() {
    let cluster = Cluster::of(1).await;
    let a = cluster.create("a", &[&[1]]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(state(&cluster.row(a)), (Some(1), 0, vec![1], vec![]));
    let before = cluster.controller.image().offset;
    assert_eq!(cluster.stop(1).await, HeartbeatAnswer { fenced: false, may_stop: true });
    assert_eq!(cluster.controller.image().offset, before);
    cluster.controller.register_broker(at_home(1, 2)).await.expect("registered");
    assert_eq!(cluster.controller.image().offset, before + 1, "one entry");
    assert_eq!(state(&cluster.row(a)), (Some(1), 1, vec![1], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_is_fenced_in_one_entry_whatever_it_leads() {
    let cluster = Cluster::of(3).await;
    let new = NewTopic { replication_factor: 3, ..topic("many", 5_000) };
    let many = cluster.controller.create_topics(vec![new], false).await.remove(0).expect("created").id;
    cluster.pass(1_000, &[2]).await;
    let before = cluster.controller.image();
    let led = |id| move |row: &&Partition| row.leader == Some(BrokerId(id));
    let partitions = &before.topics.get(many).expect("a topic").partitions;
    assert!(partitions.iter().filter(led(2)).count() > 1_500, "it leads a third");
    cluster.pass(500, &[2]).await;
    let after = cluster.controller.image();
    assert_eq!(after.offset, before.offset + 1, "one entry");
    let partitions = &after.topics.get(many).expect("a topic").partitions;
    assert!(partitions.iter().all(|row| row.leader.is_some() && !row.isr.contains(&BrokerId(2))));
    assert!(!cluster.beat(2).await.fenced, "it is heard again, and may follow");
    assert!(ids(&cluster.row(many).isr) != [1, 2, 3], "it has to catch up first");
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_led_out_of_office() {
    let cluster = Cluster::of(3).await;
    let (a, only) = (cluster.create("a", &[&[1, 2, 3]]).await, cluster.create("only", &[&[1]]).await);
    assert_eq!(cluster.stop(1).await, HeartbeatAnswer { fenced: false, may_stop: false });
    assert_eq!(state(&cluster.row(a)), (Some(2), 1, vec![2, 3], vec![]));
    assert_eq!(cluster.row(only).leader, Some(BrokerId(1)), "nobody else can");
    let joins = cluster.alter(2, cluster.isr_change(a, &[1, 2, 3])).await;
    assert!(matches!(joins, Err(AlterPartitionError::IneligibleReplica { .. })), "{joins:?}");
    assert!(!cluster.stop(1).await.may_stop, "2 and 3 have not been heard since");
    cluster.pass(100, &[1]).await;
    assert_eq!(cluster.stop(1).await, HeartbeatAnswer { fenced: true, may_stop: true });
    assert_eq!(state(&cluster.row(only)), (None, 1, vec![], vec![1]));
    let created = cluster
        .controller
        .create_topics(vec![NewTopic { replication_factor: 3, ..topic("b", 1) }], false)
        .await;
    assert_eq!(created, [Err(CreateTopicError::InvalidReplicationFactor { asked: 3, live: 2 })]);
}

#[tokio::test(start_paused = true)]
async fn one_node_id_is_one_node() {
    let cluster = Cluster::of(2).await;
    let other = BrokerRegistration { directories: vec![Uuid::from_u128(99)], ..broker_of(2, 7) };
    let refused = cluster.controller.register_broker(other.clone()).await;
    assert_eq!(refused, Err(RegisterError::Duplicate { id: BrokerId(2) }));
    let stolen = BrokerRegistration { directories: vec![Uuid::from_u128(1)], ..broker_of(3, 7) };
    let refused = cluster.controller.register_broker(stolen).await;
    assert!(
        matches!(&refused, Err(RegisterError::InvalidRequest(why)) if why.contains("broker 1")),
        "{refused:?}"
    );
    let newer = BrokerRegistration { features: FeatureRange { min: 4, max: 5 }, ..at_home(3, 7) };
    let refused = cluster.controller.register_broker(newer).await;
    assert_eq!(refused, Err(RegisterError::UnsupportedLevel { id: BrokerId(3), level: 3, min: 4, max: 5 }));
    // The same directories are the same node, started again.
    let again = cluster.controller.register_broker(at_home(2, 8)).await.expect("registered");
    assert!(again > cluster.epoch(2));
    let stale = cluster.controller.heartbeat(cluster.heartbeat(2)).await;
    let (id, found) = (BrokerId(2), cluster.epoch(2));
    assert_eq!(stale, Err(HeartbeatError::StaleEpoch { id, found, current: again }));
    let unknown = Heartbeat { id: BrokerId(9), ..cluster.heartbeat(1) };
    assert_eq!(cluster.controller.heartbeat(unknown).await, Err(HeartbeatError::UnknownBroker(BrokerId(9))));
    cluster.pass(1_500, &[2]).await;
    cluster.controller.register_broker(other).await.expect("its session has ended");
}

#[tokio::test(start_paused = true)]
async fn isr_changes_are_refused_as_in_kafka() {
    let cluster = Cluster::of(3).await;
    let a = cluster.create("a", &[&[1, 2, 3]]).await;
    let change = || cluster.isr_change(a, &[1, 2]);
    let missing = TopicId(Uuid::from_u128(404));
    let newer_leader = IsrChange { leader_epoch: firnline_tiering::epoch::LeaderEpoch(9), ..change() };
    let mut newer_row = change();
    newer_row.partition_epoch.0 += 1;
    let stranger =
        IsrChange { isr: vec![(BrokerId(1), BrokerEpoch(-1)), (BrokerId(7), BrokerEpoch(-1))], ..change() };
    let twice =
        IsrChange { isr: vec![(BrokerId(1), BrokerEpoch(-1)), (BrokerId(1), BrokerEpoch(-1))], ..change() };
    let other_life =
        IsrChange { isr: vec![(BrokerId(1), BrokerEpoch(-1)), (BrokerId(2), BrokerEpoch(77))], ..change() };
    let invalid = |refused: &Result<Partition, AlterPartitionError>| {
        matches!(refused, Err(AlterPartitionError::InvalidRequest(_)))
    };
    let refused = cluster.alter(1, IsrChange { topic: missing, ..change() }).await;
    assert_eq!(refused, Err(AlterPartitionError::UnknownTopic(missing)));
    let refused = cluster.alter(1, IsrChange { index: 1, ..change() }).await;
    assert_eq!(refused, Err(AlterPartitionError::UnknownPartition(a, 1)));
    assert_eq!(cluster.alter(1, newer_leader).await, Err(AlterPartitionError::NewerThanController));
    assert_eq!(cluster.alter(1, newer_row).await, Err(AlterPartitionError::NewerThanController));
    assert!(invalid(&cluster.alter(2, change()).await), "it does not lead");
    assert!(invalid(&cluster.alter(1, stranger).await));
    assert!(invalid(&cluster.alter(1, twice).await));
    assert!(invalid(&cluster.alter(1, cluster.isr_change(a, &[2, 3])).await), "the leader is missing");
    let refused = cluster.alter(1, other_life).await;
    assert!(
        matches!(refused, Err(AlterPartitionError::IneligibleReplica { id: BrokerId(2), .. })),
        "{refused:?}"
    );
    let first = change();
    let shrunk = cluster.alter(1, first.clone()).await.expect("changed");
    assert_eq!(state(&shrunk), (Some(1), 0, vec![1, 2], vec![]), "a smaller ISR is no new leader");
    let current = shrunk.epoch;
    assert_eq!(cluster.alter(1, first).await, Err(AlterPartitionError::StalePartitionEpoch { current }));
    cluster.pass(1_500, &[1]).await;
    let current = cluster.row(a).leader_epoch;
    let late = IsrChange { leader_epoch: firnline_tiering::epoch::LeaderEpoch(0), ..change() };
    assert_eq!(cluster.alter(1, late.clone()).await, Err(AlterPartitionError::FencedLeaderEpoch { current }));
    let joins = cluster.alter(2, cluster.isr_change(a, &[1, 2])).await;
    assert!(
        matches!(joins, Err(AlterPartitionError::IneligibleReplica { id: BrokerId(1), .. })),
        "{joins:?}"
    );
    let stale = cluster.controller.alter_partitions(BrokerId(2), BrokerEpoch(0), vec![late]).await;
    assert!(matches!(stale[0], Err(AlterPartitionError::StaleBrokerEpoch { .. })), "{stale:?}");
}

#[tokio::test(start_paused = true)]
async fn below_min_insync_replicas_who_leaves_the_isr_stays_eligible() {
    let cluster = Cluster::of(3).await;
    let a = cluster.create("a", &[&[1, 2, 3]]).await;
    cluster.set(a, "min.insync.replicas", "2").await;
    cluster.pass(1_500, &[3]).await;
    assert_eq!(state(&cluster.row(a)), (Some(1), 0, vec![1, 2], vec![]), "two are enough, 3 falls behind");
    cluster.pass(1_500, &[2, 3]).await;
    assert_eq!(state(&cluster.row(a)), (Some(1), 0, vec![1], vec![2]));
    cluster.pass(1_500, &[1, 2, 3]).await;
    let row = cluster.row(a);
    assert_eq!((state(&row), row.last_leader), ((None, 1, vec![], vec![1, 2]), Some(BrokerId(1))));
    cluster.beat(3).await;
    assert_eq!(cluster.row(a).leader, None, "3 lacks what was acked");
    cluster.beat(2).await;
    assert_eq!(state(&cluster.row(a)), (Some(2), 2, vec![2], vec![1]));
    cluster.set(a, "min.insync.replicas", "1").await;
    assert_eq!(
        state(&cluster.row(a)),
        (Some(2), 2, vec![2], vec![]),
        "one is enough, and acks alone from now on"
    );
}

/// How broker 1 comes back, and whether it stays eligible.
async fn back_as(change: impl Fn(&mut BrokerRegistration, BrokerEpoch)) -> Vec<i32> {
    let mut cluster = Cluster::of(2).await;
    let booted =
        |incarnation| BrokerRegistration { boot: Some(Uuid::from_u128(5)), ..at_home(1, incarnation) };
    let a = cluster.create("a", &[&[1, 2]]).await;
    cluster.set(a, "min.insync.replicas", "2").await;
    cluster.epochs[0] = cluster.controller.register_broker(booted(2)).await.expect("registered");
    cluster.beat(1).await;
    cluster.alter(2, cluster.isr_change(a, &[1, 2])).await.expect("1 is in sync");
    let mut back = booted(3);
    change(&mut back, cluster.epoch(1));
    cluster.pass(1_500, &[1]).await;
    assert_eq!(ids(&cluster.row(a).elr), [1], "as long as nobody knows how it stopped");
    cluster.controller.register_broker(back).await.expect("registered");
    let row = cluster.row(a);
    assert_eq!(row.leader, Some(BrokerId(2)));
    ids(&row.elr)
}

#[tokio::test(start_paused = true)]
async fn an_unclean_stop_counts_unless_the_boot_is_the_same() {
    const NOBODY: [i32; 0] = [];
    let other_boot = Some(Uuid::from_u128(6));
    assert_eq!(back_as(|_, _| {}).await, [1], "its page cache survived");
    assert_eq!(back_as(|back, _| back.boot = other_boot).await, NOBODY);
    let clean = |back: &mut BrokerRegistration, known| {
        (back.boot, back.stopped) = (other_boot, Some(known));
    };
    assert_eq!(back_as(clean).await, [1]);
    let older_copy = |back: &mut BrokerRegistration, known: BrokerEpoch| {
        back.stopped = Some(BrokerEpoch(known.0 - 1));
    };
    assert_eq!(back_as(older_copy).await, NOBODY, "an incarnation before that one left this disk");
    let another_disk = |back: &mut BrokerRegistration, _| back.directories = vec![Uuid::from_u128(55)];
    assert_eq!(back_as(another_disk).await, NOBODY);
}

#[tokio::test(start_paused = true)]
async fn a_wiped_last_leader_does_not_lead_over_those_that_hold_something() {
    let mut cluster = Cluster::of(2).await;
    let (a, only) = (cluster.create("a", &[&[1, 2]]).await, cluster.create("only", &[&[1]]).await);
    cluster.alter(1, cluster.isr_change(a, &[1])).await.expect("2 fell behind");
    cluster.pass(1_500, &[1]).await;
    assert_eq!(state(&cluster.row(a)).0, None);
    let wiped = BrokerRegistration { directories: vec![Uuid::from_u128(55)], ..broker_of(1, 2) };
    cluster.epochs[0] = cluster.controller.register_broker(wiped).await.expect("registered");
    cluster.beat(1).await;
    let row = cluster.row(a);
    assert_eq!(
        (state(&row), row.last_leader),
        ((None, 1, vec![], vec![]), None),
        "2 holds something, 1 nothing"
    );
    assert_eq!(cluster.row(only).leader, Some(BrokerId(1)), "nobody else ever will");
    assert_eq!(cluster.elect(Election::Unclean, a).await, Ok(()), "an operator may");
}

#[tokio::test(start_paused = true)]
async fn unclean_elections_need_leave() {
    let cluster = Cluster::of(2).await;
    let a = cluster.create("a", &[&[1, 2]]).await;
    cluster.alter(1, cluster.isr_change(a, &[1])).await.expect("2 fell behind");
    cluster.pass(1_500, &[1]).await;
    assert_eq!(cluster.row(a).leader, None);
    cluster.set(a, "unclean.leader.election.enable", "true").await;
    assert_eq!(state(&cluster.row(a)), (Some(2), 2, vec![2], vec![]), "as soon as it is allowed");
}

#[tokio::test(start_paused = true)]
async fn leaders_are_elected_as_asked_and_given_back_by_themselves() {
    let cluster = Cluster::of(3).await;
    let a = cluster.create("a", &[&[1, 2, 3]]).await;
    let missing = TopicId(Uuid::from_u128(404));
    assert_eq!(
        cluster.elect(Election::Preferred, missing).await,
        Err(ElectError::UnknownPartition(missing, 0))
    );
    assert_eq!(cluster.elect(Election::Preferred, a).await, Err(ElectError::NotNeeded));
    assert_eq!(cluster.elect(Election::Unclean, a).await, Err(ElectError::NotNeeded));
    cluster.pass(1_500, &[1]).await;
    assert_eq!(cluster.elect(Election::Preferred, a).await, Err(ElectError::PreferredNotAvailable));
    cluster.pass(100, &[]).await;
    cluster.alter(2, cluster.isr_change(a, &[1, 2, 3])).await.expect("1 caught up");
    assert_eq!(cluster.row(a).leader, Some(BrokerId(2)));
    assert_eq!(cluster.elect(Election::Preferred, a).await, Ok(()));
    assert_eq!(state(&cluster.row(a)), (Some(1), 2, vec![1, 2, 3], vec![]));
    cluster.pass(1_500, &[1]).await;
    cluster.pass(100, &[]).await;
    cluster.alter(2, cluster.isr_change(a, &[1, 2, 3])).await.expect("1 caught up");
    cluster.pass(301_000, &[]).await;
    assert_eq!(cluster.row(a).leader, Some(BrokerId(1)), "five minutes are over");
}

#[tokio::test(start_paused = true)]
async fn moves_complete_with_the_isr_and_can_be_taken_back() {
    let cluster = Cluster::of(4).await;
    let a = cluster.create("a", &[&[1, 2]]).await;
    assert_eq!(cluster.move_to(a, None).await, Err(ReassignError::NotMoving));
    for bad in [&[][..], &[1, 1], &[1, 9]] {
        let refused = cluster.move_to(a, Some(bad)).await;
        assert!(matches!(refused, Err(ReassignError::InvalidAssignment(_))), "{bad:?}: {refused:?}");
    }
    let resize = Reassignment { topic: a, index: 0, replicas: Some(vec![BrokerId(3)]), may_resize: false };
    let refused = cluster.controller.reassign(vec![resize]).await;
    assert_eq!(refused, [Err(ReassignError::InvalidReplicationFactor { now: 2, asked: 1 })]);
    cluster.move_to(a, Some(&[3, 4])).await.expect("begun");
    let row = cluster.row(a);
    assert_eq!(
        (ids(&row.replicas), ids(&row.adding), ids(&row.removing)),
        (vec![3, 4, 1, 2], vec![3, 4], vec![1, 2])
    );
    let image = cluster.controller.image();
    assert_eq!(reassign::under_way(&image).map(|moving| moving.topic).collect::<Vec<_>>(), [a]);
    cluster.move_to(a, None).await.expect("taken back");
    assert_eq!((ids(&cluster.row(a).replicas), cluster.row(a).is_moving()), (vec![1, 2], false));
    cluster.move_to(a, Some(&[3, 4])).await.expect("begun again");
    cluster.alter(1, cluster.isr_change(a, &[1, 2, 3])).await.expect("3 caught up");
    assert!(cluster.row(a).is_moving());
    let last = cluster.alter(1, cluster.isr_change(a, &[1, 2, 3, 4])).await;
    assert_eq!(last, Err(AlterPartitionError::NewLeaderElected), "the asker is no replica any more");
    let row = cluster.row(a);
    assert_eq!((ids(&row.replicas), row.is_moving(), row.leader), (vec![3, 4], false, Some(BrokerId(3))));
    assert_eq!(ids(&row.isr), [3, 4]);
}

#[tokio::test(start_paused = true)]
async fn an_unregistered_broker_is_named_by_nothing_but_its_replicas() {
    let cluster = Cluster::of(2).await;
    let a = cluster.create("a", &[&[2, 1]]).await;
    let unknown = cluster.controller.unregister_broker(BrokerId(9)).await;
    assert_eq!(unknown, Err(UnregisterError::UnknownBroker(BrokerId(9))));
    cluster.controller.unregister_broker(BrokerId(2)).await.expect("forgotten");
    assert!(cluster.controller.image().brokers.get(BrokerId(2)).is_none());
    assert_eq!(state(&cluster.row(a)), (Some(1), 1, vec![1], vec![]));
    assert_eq!(ids(&cluster.row(a).replicas), [2, 1]);
    let refused = cluster.controller.heartbeat(cluster.heartbeat(2)).await;
    assert_eq!(refused, Err(HeartbeatError::UnknownBroker(BrokerId(2))));
}

#[tokio::test(start_paused = true)]
async fn the_feature_level_is_what_everybody_can_run_at() {
    let cluster = Cluster::of(2).await;
    let update = |level, validate_only| cluster.controller.update_feature_level(level, validate_only);
    assert_eq!(update(3, false).await, Ok(()), "it is there already");
    assert_eq!(update(1, false).await, Err(FeatureLevelError::Downgrade { current: 3, asked: 1 }));
    assert_eq!(update(4, true).await, Err(FeatureLevelError::Unknown { asked: 4, newest: 3 }));
}

/// Lowered while nobody led: the first that returns is enough by itself, and must not leave another one eligible.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_enough_alone_leaves_nobody_eligible() {
    let cluster = Cluster::of(3).await;
    let a = cluster.create("a", &[&[1, 2]]).await;
    cluster.set(a, "min.insync.replicas", "2").await;
    cluster.pass(1_500, &[1, 2]).await;
    let row = cluster.row(a);
    assert_eq!((row.leader, ids(&row.elr)), (None, vec![1, 2]));
    cluster.set(a, "min.insync.replicas", "1").await;
    cluster.beat(2).await;
    let row = cluster.row(a);
    assert_eq!((row.leader, ids(&row.isr), ids(&row.elr)), (Some(BrokerId(2)), vec![2], vec![]));
    cluster.pass(1_500, &[1, 2]).await;
    cluster.beat(1).await;
    assert_eq!(cluster.row(a).leader, None, "2 acked alone, 1 does not hold it");
}
