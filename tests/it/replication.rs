//! One broker leads, and a follower that is not in its process's broker fetches from it over TCP: what acks=all waits for,
//! how the ISR shrinks and grows through the quorum, and that nobody fetches as a follower who is none.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use firnline::partition::cold_lane::ColdLane;
use firnline::partition::replica::{PartitionHandle, PartitionId, Replica, ReplicaSettings, StartKeeper};
use firnline::purgatory::delayed::WakeBoard;
use firnline::replication::fetchers::Fetchers;
use firnline::replication::follow::Follow;
use firnline::replication::world::World;
use firnline::transport::net::OsNet;
use firnline_controller::client::Controller;
use firnline_controller::decide::brokers::{BrokerRegistration, Heartbeat};
use firnline_controller::decide::elect::Election;
use firnline_controller::decide::reassign::Reassignment;
use firnline_controller::id::{BrokerEpoch, BrokerId};
use firnline_controller::record::kinds::{Endpoint, FEATURE_RANGE, Partition};
use firnline_tiering::clock::SystemClock;
use firnline_tiering::config::LogConfig;
use firnline_tiering::hot::file::OsFiles;
use firnline_tiering::log::open::OpenLog;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use kafka_protocol::messages::{BrokerId as WireId, CreateTopicsRequest, FetchRequest, ProduceRequest};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::harness::asks::{production, text};
use crate::harness::broker::{Client, TestBroker};
use crate::harness::records::batch;
use crate::harness::wait::{eventually, until};
use crate::harness::wire_client::name;

const TOPIC: &str = "copied";
const LEADER: BrokerId = BrokerId(1);
const FOLLOWER: BrokerId = BrokerId(2);
/// Kafka's version of Produce that these requests speak.
const PRODUCE: i16 = 9;

struct NoKeeper;

impl StartKeeper for NoKeeper {
    fn keep(&self, _: &str, _: i32, _: Offset) -> io::Result<()> {
        Ok(())
    }
    fn lower_recovery_point(&self, _: &str, _: i32, _: Offset) -> io::Result<()> {
        Ok(())
    }
}

/// A broker that leads, and the second one's registration, kept alive by signs of life for both.
struct Pair {
    leader: TestBroker,
    alive: Arc<AtomicBool>,
    beats: JoinHandle<()>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.beats.abort();
    }
}

impl Pair {
    async fn start(set: &[&str]) -> Pair {
        let leader = TestBroker::with(set).await;
        let controller = leader.broker().shared().controller.clone();
        let registration = BrokerRegistration {
            id: FOLLOWER,
            cluster_id: leader.broker().shared().cluster_id.to_string(),
            incarnation: Uuid::from_u128(2),
            endpoints: vec![Endpoint {
                listener: "PLAINTEXT".to_owned(),
                host: "127.0.0.1".to_owned(),
                port: 1,
                protocol: 0,
            }],
            rack: Some("there".to_owned()),
            directories: vec![Uuid::from_u128(22)],
            features: FEATURE_RANGE,
            ..BrokerRegistration::default()
        };
        controller.register_broker(registration).await.expect("the second broker registers");
        let alive = Arc::new(AtomicBool::new(true));
        let beats = tokio::spawn(beat(controller.clone(), alive.clone()));
        until("both are live", async || {
            [LEADER, FOLLOWER].iter().all(|id| controller.image().brokers.is_live(*id))
        })
        .await;
        Pair { leader, alive, beats }
    }

    fn controller(&self) -> &Controller {
        &self.leader.broker().shared().controller
    }

    fn row(&self) -> Partition {
        let image = self.controller().image();
        let topic = image.topics.by_name(TOPIC).expect("the topic");
        topic.partition(0).expect("its partition").clone()
    }

    fn isr(&self) -> Vec<i32> {
        self.row().isr.iter().map(|id| id.0).collect()
    }

    /// A topic on both brokers, led by the first.
    async fn create(&self, client: &mut Client, configs: &[(&str, &str)]) {
        let assignment = CreatableReplicaAssignment::default()
            .with_partition_index(0)
            .with_broker_ids(vec![WireId(LEADER.0), WireId(FOLLOWER.0)]);
        let configs = configs.iter().map(|(key, value)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(name(TOPIC))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(vec![assignment])
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let created = client.call(7, &request).await.expect("CreateTopics").topics.remove(0);
        assert_eq!(created.error_code, 0, "{:?}", created.error_message);
    }

    /// The follower's fetchers, over its log in `dir`.
    fn follow(&self, dir: &Path) -> (PartitionHandle, Arc<Fetchers>) {
        self.follow_from(dir, Offset(0))
    }

    /// The same with the log start that was kept for it.
    fn follow_from(&self, dir: &Path, log_start: Offset) -> (PartitionHandle, Arc<Fetchers>) {
        let shared = self.leader.broker().shared();
        let topic = self.controller().image().topics.by_name(TOPIC).expect("the topic").id;
        let keeper: Arc<dyn StartKeeper> = Arc::new(NoKeeper);
        let (log, _) = Log::open(OpenLog {
            id: topic.log_id(0),
            dir: dir.to_owned(),
            config: LogConfig::default(),
            files: Arc::new(OsFiles),
            health: Arc::default(),
            clock: Arc::new(SystemClock),
            boot: None,
            clean_shutdown: false,
            recovery_point: Offset(0),
            log_start,
            committed_remote_end: None,
        })
        .expect("the follower's log opens");
        let replica = Replica::open(ReplicaSettings {
            id: PartitionId { topic, index: 0 },
            me: FOLLOWER,
            topic_name: TOPIC.into(),
            log,
            internal: false,
            high_watermark: Offset(0),
            lag_max: Duration::from_secs(30),
            min_insync: 1,
            room: Arc::default(),
            durable: false,
            dirty: Arc::default(),
            keeper: Arc::downgrade(&keeper) as Weak<dyn StartKeeper>,
        });
        // As long as the test: the broker lets go of it with its directories.
        std::mem::forget(keeper);
        let world = World {
            node: FOLLOWER,
            cluster_id: shared.cluster_id.clone(),
            listener: "PLAINTEXT".to_owned(),
            settings: shared.config.cluster.clone(),
            controller: shared.controller.clone(),
            net: Arc::new(OsNet),
            board: WakeBoard::new(1),
            lane: ColdLane::new(None, 0),
            cold: None,
            quotas: Arc::default(),
            clock: Arc::new(SystemClock),
        };
        let fetchers = Fetchers::new(world, tokio::runtime::Handle::current());
        let row = self.row();
        replica.follow(row.leader, row.leader_epoch);
        fetchers.attend(&replica);
        (replica, fetchers)
    }
}

/// Signs of life of both brokers; of the second one while it is alive.
async fn beat(controller: Controller, alive: Arc<AtomicBool>) {
    loop {
        for id in [LEADER, FOLLOWER] {
            let image = controller.image();
            let Some(broker) = image.brokers.get(id).filter(|_| id == LEADER || alive.load(Ordering::SeqCst))
            else {
                continue;
            };
            let beat = Heartbeat {
                id,
                epoch: broker.epoch,
                image_offset: image.offset,
                wants_fence: false,
                wants_stop: false,
            };
            controller.heartbeat(beat).await.expect("a heartbeat is taken");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn segment(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("00000000000000000000.log")).expect("a segment")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_all_waits_for_the_follower_and_the_isr_follows_its_life() {
    let pair = Pair::start(&[]).await;
    let mut client = pair.leader.client().await;
    pair.create(&mut client, &[]).await;
    assert_eq!(pair.isr(), [1, 2]);
    let led = pair.leader.partition(TOPIC, 0);

    // In sync by the row, and not fetching yet: nothing is committed.
    let sent = client.send(PRODUCE, &production(TOPIC, -1, vec![(0, batch(&["one"]))])).await.expect("taken");
    until("it is appended", async || led.offsets().end.0 == 1).await;
    assert_eq!(led.high_watermark(), Offset(0));
    let mut quick = pair.leader.client().await;
    let answer =
        quick.call(PRODUCE, &production(TOPIC, 1, vec![(0, batch(&["two"]))])).await.expect("acks=1");
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "acks=1 waits for nobody");
    assert_eq!(led.high_watermark(), Offset(0));

    let dir: TempDir = tempfile::tempdir().expect("a directory");
    let (replica, fetchers) = pair.follow(dir.path());
    let answer =
        client.receive::<ProduceRequest>(PRODUCE, sent).await.expect("acked once the follower has it");
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    assert!(replica.offsets().end >= Offset(1));
    client.append(TOPIC, 0, batch(&["three"])).await;
    until("the follower hears what is committed", async || replica.high_watermark() == Offset(3)).await;
    assert_eq!(segment(dir.path()), segment(led.log().dir()), "byte for byte");

    // The log start travels with the fetches.
    assert_eq!(client.delete_records(TOPIC, 0, 2).await.low_watermark, 2);
    assert_eq!(replica.offsets().log_start, Offset(2));

    // It dies: its session ends, it leaves the ISR, and acks=all goes on without it.
    fetchers.stop();
    pair.alive.store(false, Ordering::SeqCst);
    until("the follower leaves the ISR", async || pair.isr() == [1]).await;
    client.append(TOPIC, 0, batch(&["four"])).await;
    assert_eq!(led.high_watermark(), Offset(4));

    // It comes back with what it had, catches up, and joins again because the leader asks the quorum for it.
    replica.log().close().expect("closes");
    pair.alive.store(true, Ordering::SeqCst);
    let (replica, _fetchers) = pair.follow(dir.path());
    until("the follower is in sync again", async || pair.isr() == [1, 2]).await;
    client.append(TOPIC, 0, batch(&["five"])).await;
    assert_eq!(replica.offsets().end, Offset(5));
    until("both logs are the same", async || segment(dir.path()) == segment(led.log().dir())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_begins_inside_a_batch_of_its_leader() {
    let pair = Pair::start(&[]).await;
    let mut client = pair.leader.client().await;
    pair.create(&mut client, &[]).await;
    pair.alive.store(false, Ordering::SeqCst);
    until("the leader is alone in sync", async || pair.isr() == [1]).await;
    client.append(TOPIC, 0, batch(&["gone", "also gone", "kept"])).await;
    client.append(TOPIC, 0, batch(&["last"])).await;
    assert_eq!(client.delete_records(TOPIC, 0, 2).await.low_watermark, 2);
    pair.alive.store(true, Ordering::SeqCst);
    let dir: TempDir = tempfile::tempdir().expect("a directory");
    // Its log is lost, its log start is not: both lie inside the first batch of the leader's log.
    let (replica, _fetchers) = pair.follow_from(dir.path(), Offset(1));
    until("it has everything", async || replica.offsets().end == Offset(4)).await;
    until("and knows where the log starts", async || replica.offsets().log_start == Offset(2)).await;
    until("it is in sync", async || pair.isr() == [1, 2]).await;
    let led = pair.leader.partition(TOPIC, 0);
    assert_eq!(segment(dir.path()), segment(led.log().dir()), "byte for byte");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_a_new_leader_does_not_know_yet_is_not_told() {
    const LATEST: i64 = -1;
    let pair = Pair::start(&[]).await;
    let mut client = pair.leader.client().await;
    pair.create(&mut client, &[]).await;
    let request = production(TOPIC, 1, vec![(0, batch(&["one", "two"]))]);
    client.call(PRODUCE, &request).await.expect("acks=1");
    assert_eq!(client.try_offset(TOPIC, 0, LATEST).await, (0, 0), "nothing is committed");
    // The other one leads for a moment: what this one has is from an earlier term now, and may have been read there.
    let topic = pair.controller().image().topics.by_name(TOPIC).expect("the topic").id;
    for first in [[FOLLOWER, LEADER], [LEADER, FOLLOWER]] {
        let replicas = Some(first.to_vec());
        let order = Reassignment { topic, index: 0, replicas, may_resize: false };
        pair.controller().reassign(vec![order]).await.remove(0).expect("another order");
        let elected = pair.controller().elect(Election::Preferred, vec![(topic, 0)]).await;
        elected[0].as_ref().expect("the first one leads");
    }
    let led = pair.leader.partition(TOPIC, 0);
    until("it leads again", async || led.is_leader() && led.leader_epoch().0 >= 2).await;
    assert_eq!(client.try_offset(TOPIC, 0, LATEST).await.0, 78, "OFFSET_NOT_AVAILABLE");
    assert_eq!(client.try_offset(TOPIC, 0, -2).await, (0, 0), "the start is known");
    let dir: TempDir = tempfile::tempdir().expect("a directory");
    let (_replica, _fetchers) = pair.follow(dir.path());
    until("the end is known", async || client.try_offset(TOPIC, 0, LATEST).await == (0, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_in_sync_refuse_acks_all_before_and_after_the_append() {
    let pair = Pair::start(&[]).await;
    let mut client = pair.leader.client().await;
    pair.create(&mut client, &[("min.insync.replicas", "2")]).await;
    let code = |answer: kafka_protocol::messages::ProduceResponse| {
        answer.responses[0].partition_responses[0].error_code
    };
    let asked = production(TOPIC, -1, vec![(0, batch(&["one"]))]);
    let sent = client.send(PRODUCE, &asked).await.expect("taken");
    let led = pair.leader.partition(TOPIC, 0);
    until("it is appended", async || led.offsets().end.0 == 1).await;
    pair.alive.store(false, Ordering::SeqCst);
    let answer = client.receive::<ProduceRequest>(PRODUCE, sent).await.expect("an answer");
    assert_eq!(code(answer), 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND");
    assert_eq!(code(client.call(PRODUCE, &asked).await.expect("an answer")), 19, "NOT_ENOUGH_REPLICAS");
    assert_eq!((led.offsets().end, led.high_watermark()), (Offset(1), Offset(0)));
    let asked = production(TOPIC, 1, vec![(0, batch(&["two"]))]);
    assert_eq!(code(client.call(PRODUCE, &asked).await.expect("an answer")), 0);
    assert_eq!(led.high_watermark(), Offset(0), "nothing is committed while too few are in sync");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_fetches_as_a_follower_who_is_none() {
    let pair = Pair::start(&[]).await;
    let mut client = pair.leader.client().await;
    pair.create(&mut client, &[]).await;
    let topic = pair.controller().image().topics.by_name(TOPIC).expect("the topic").id;
    let BrokerEpoch(epoch) = pair.controller().image().brokers.get(FOLLOWER).expect("registered").epoch;
    let ask = |id: i32, epoch: i64| {
        let part = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
        let asked = FetchTopic::default().with_topic_id(topic.0).with_partitions(vec![part]);
        FetchRequest::default()
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_replica_state(ReplicaState::default().with_replica_id(WireId(id)).with_replica_epoch(epoch))
            .with_topics(vec![asked])
    };
    let mut code = async |id, epoch| client.call(16, &ask(id, epoch)).await.expect("an answer").error_code;
    assert_eq!(code(9, epoch).await, 31, "CLUSTER_AUTHORIZATION_FAILED: nobody of this id");
    assert_eq!(code(FOLLOWER.0, epoch - 1).await, 77, "STALE_BROKER_EPOCH");
    assert_eq!(code(LEADER.0, epoch).await, 31, "the leader does not follow itself");
    assert_eq!(code(FOLLOWER.0, epoch).await, 0);
    let mut old = FetchRequest::default().with_replica_id(WireId(FOLLOWER.0)).with_max_bytes(1);
    old.topics = vec![];
    let refused = client.call(11, &old).await.expect("an answer");
    assert_eq!(refused.error_code, 31, "a version that cannot show a broker epoch");
    // A consumer sees nothing of what is not committed.
    let produced = production(TOPIC, 1, vec![(0, batch(&["one"]))]);
    client.call(PRODUCE, &produced).await.expect("acks=1");
    let consumed = eventually("an answer", async || client.call(16, &ask(-1, -1)).await.ok()).await;
    let part = &consumed.responses[0].partitions[0];
    assert_eq!((part.error_code, part.high_watermark), (0, 0));
    assert!(part.records.as_ref().is_none_or(|records| records.is_empty()));
}
