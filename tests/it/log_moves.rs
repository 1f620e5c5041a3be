//! Replicas that move between log directories of a broker: records, groups and log starts are there afterwards as before,
//! tools see how far a move is, it can be slowed down and taken back, and a crash at any step loses nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use firnline::broker::lifecycle::Broker;
use firnline::partition::replica::PartitionHandle;
use firnline_tiering::hot::file::Files;
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsPartition;
use kafka_protocol::messages::{AlterReplicaLogDirsRequest, DescribeLogDirsRequest};

use crate::harness::asks::text;
use crate::harness::broker::Client;
use crate::harness::moving::{OF_BROKER, ids};
use crate::harness::nodes::Nodes;
use crate::harness::records::bulk;
use crate::harness::twin::disk::{Call, Fate, Kind, Nature, TwinDisk};
use crate::harness::twin_broker;
use crate::harness::wait::until;
use crate::harness::wire_client::name;

const TOPIC: &str = "moved";
const LIMIT: &str = "replica.alter.log.dirs.io.max.bytes.per.second";

/// Asks for partition `index` to lie in `to`; the error code.
async fn ask(client: &mut Client, to: &str, index: i32) -> i16 {
    let topic = AlterReplicaLogDirTopic::default().with_name(name(TOPIC)).with_partitions(vec![index]);
    let dir = AlterReplicaLogDir::default().with_path(text(to)).with_topics(vec![topic]);
    let request = AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]);
    let answer = client.call(2, &request).await.expect("AlterReplicaLogDirs");
    answer.results[0].partitions[0].error_code
}

/// What DescribeLogDirs says of partition 0 in one directory.
async fn described(client: &mut Client, dir: &str) -> Vec<DescribeLogDirsPartition> {
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let answer = client.call(4, &request).await.expect("DescribeLogDirs");
    let here = answer.results.into_iter().find(|each| each.log_dir.as_str() == dir).expect("the directory");
    let topics = here.topics.into_iter().filter(|topic| topic.name == name(TOPIC));
    topics.flat_map(|topic| topic.partitions).filter(|each| each.partition_index == 0).collect()
}

fn held(broker: &Broker) -> PartitionHandle {
    broker.shared().hosted.find(TOPIC, 0).expect("the broker holds the partition")
}

fn lies_in(broker: &Broker, dir: &str) -> bool {
    let found = broker.shared().hosted.find(TOPIC, 0);
    found.is_some_and(|it| it.log().dir().parent() == Some(Path::new(dir)) && it.log().offline().is_none())
}

/// The directory of the two that the partition does not lie in.
fn other<'a>(broker: &Broker, dirs: &'a [String]) -> &'a str {
    dirs.iter().find(|dir| !lies_in(broker, dir)).expect("there are two")
}

/// Writes until it is acked: for a moment the partition is led by nobody.
async fn write(nodes: &Nodes, serial: u64) {
    until("it is acked", async || {
        let mut client = nodes.client(1).await;
        client.produce(TOPIC, 0, bulk(serial, 60_000)).await.is_ok_and(|acked| acked.error_code == 0)
    })
    .await;
}

/// Two nodes, the first with two directories, and a replicated partition with records whose log start was moved.
async fn with_records(records: u64) -> Nodes {
    let mut nodes = Nodes::prepared(2, &["log.segment.delete.delay.ms=0"]);
    nodes.give_folders(1, &["a", "b"]);
    nodes.start_all().await;
    nodes.create_on(TOPIC, &[&[1, 2]], &[("segment.bytes", "1048576")]).await;
    for serial in 0..records {
        write(&nodes, serial).await;
    }
    assert_eq!(nodes.client(1).await.delete_records(TOPIC, 0, 3).await.low_watermark, 3);
    nodes
}

async fn limit(nodes: &Nodes, value: Option<&str>) {
    nodes.set(1, (OF_BROKER, "1"), LIMIT, value).await;
    let wanted = value.map_or(i64::MAX, |value| value.parse().expect("a number"));
    until("the limit is known", async || nodes.broker(1).shared().quotas.directories.limit() == wanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_moves_while_it_is_written_and_read() {
    let nodes = with_records(40).await;
    let dirs = nodes.log_dirs(1);
    let (mut client, to) = (nodes.client(1).await, other(nodes.broker(1), &dirs).to_owned());
    assert_eq!(ask(&mut client, "/nowhere", 0).await, 57, "LOG_DIR_NOT_FOUND");
    limit(&nodes, Some("1")).await;
    assert_eq!(ask(&mut client, &to, 0).await, 0);
    let quotas = nodes.broker(1).shared().quotas.clone();
    until("the limit holds it back", async || quotas.directories.counts().1 >= 3).await;
    let future = described(&mut client, &to).await;
    assert!(future.len() == 1 && future[0].is_future_key && future[0].offset_lag > 0, "{future:?}");
    assert!(future[0].partition_size > 0 && !lies_in(nodes.broker(1), &to));

    // Taken back: it stays, and the copy goes.
    let from = dirs.iter().find(|dir| **dir != to).expect("there are two").clone();
    assert_eq!(ask(&mut client, &from, 0).await, 0);
    let copies = || std::fs::read_dir(&to).expect("a directory").flatten();
    until("the copy is gone", async || {
        !copies().any(|entry| entry.file_name().to_string_lossy().ends_with("-future"))
    })
    .await;
    assert_eq!(described(&mut client, &to).await, []);

    limit(&nodes, None).await;
    assert_eq!(ask(&mut client, &to, 0).await, 0);
    let mut serial = 40;
    until("it has moved", async || {
        write(&nodes, serial).await;
        serial += 1;
        lies_in(nodes.broker(1), &to)
    })
    .await;
    (0..3).for_each(|_| serial += 1);
    for late in serial - 3..serial {
        write(&nodes, late).await;
    }
    until("both are in sync", async || nodes.row(1, TOPIC, 0).is_some_and(|row| ids(&row.isr) == [1, 2]))
        .await;
    let end = held(nodes.broker(1)).offsets().end;
    until("all of it is committed", async || held(nodes.broker(1)).high_watermark() == end).await;
    let mut client = nodes.client(1).await;
    assert_eq!(client.read(TOPIC, 0, 3, end.0).await.len() as i64, end.0 - 3);
    assert_eq!(held(nodes.broker(1)).offsets().log_start.0, 3, "the log start moved with it");
    let now = described(&mut client, &to).await;
    assert!(now.len() == 1 && !now[0].is_future_key, "{now:?}");
    assert!(!Path::new(&from).join(format!("{TOPIC}-0")).exists());
    assert!(!Path::new(&to).join(format!("{TOPIC}-0/.moved")).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_lies_where_it_was_asked_to() {
    let mut nodes = Nodes::prepared(1, &[]);
    nodes.give_folders(1, &["a", "b"]);
    nodes.start_all().await;
    let dirs = nodes.log_dirs(1);
    let mut client = nodes.client(1).await;
    // Four in the second directory, where two would go by themselves.
    for index in 0..4 {
        assert_eq!(ask(&mut client, &dirs[1], index).await, 9, "REPLICA_NOT_AVAILABLE, and remembered");
    }
    nodes.create_on(TOPIC, &[&[1], &[1], &[1], &[1]], &[]).await;
    until("they are there", async || {
        (0..4).all(|index| {
            let found = nodes.broker(1).shared().hosted.find(TOPIC, index);
            found.is_some_and(|it| it.log().dir().starts_with(&dirs[1]))
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_a_crash_ended_begins_again() {
    let mut nodes = with_records(40).await;
    let dirs = nodes.log_dirs(1);
    let to = other(nodes.broker(1), &dirs).to_owned();
    limit(&nodes, Some("1")).await;
    assert_eq!(ask(&mut nodes.client(1).await, &to, 0).await, 0);
    let quotas = nodes.broker(1).shared().quotas.clone();
    until("it is under way", async || quotas.directories.counts().1 >= 3).await;
    nodes.kill(1);
    nodes.revive(1).await;
    assert!(!lies_in(nodes.broker(1), &to));
    limit(&nodes, None).await;
    until("it arrives", async || lies_in(nodes.broker(1), &to)).await;
    until("both are in sync", async || nodes.row(1, TOPIC, 0).is_some_and(|row| ids(&row.isr) == [1, 2]))
        .await;
    let ends = [1, 2].map(|id| held(nodes.broker(id)).offsets());
    assert_eq!((ends[0].end, ends[0].log_start), (ends[1].end, ends[1].log_start));
    let bytes = |dir: &str| std::fs::read(format!("{dir}/{TOPIC}-0/00000000000000000000.log"));
    let follower = nodes.data_dir(2).display().to_string();
    assert_eq!(bytes(&to).expect("a segment"), bytes(&follower).expect("a segment"), "byte for byte");
}

/// Dies at the call that many changes away.
#[derive(Debug)]
struct DiesAt(AtomicI64);

impl Nature for DiesAt {
    fn decide(&self, call: &Call<'_>) -> Fate {
        match call.verb.changes() && self.0.fetch_sub(1, Ordering::SeqCst) == 0 {
            true => Fate::Dies(0),
            false => Fate::Happens,
        }
    }
}

const NEVER: i64 = i64::MAX / 2;

async fn start(disk: &TwinDisk) -> Broker {
    twin_broker::start(disk, &["log.dirs=/a,/b", "firn.cores=1", "firn.durability=disk"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_of_a_move_loses_nothing() {
    const RECORDS: i64 = 5;
    let (mut steps, mut moved_at_last) = (0, false);
    while !moved_at_last {
        let nature = Arc::new(DiesAt(AtomicI64::new(NEVER)));
        let disk = TwinDisk::new(Arc::new(Kind));
        ["/a", "/b"].iter().for_each(|root| disk.create_dir_all(Path::new(root)).expect("a root"));
        disk.sync_dir(Path::new("/")).expect("durable roots");
        let disk = disk.with(nature.clone());
        let broker = start(&disk).await;
        let mut client = twin_broker::client(&broker).await;
        client.create(TOPIC, 1, &[]).await;
        for serial in 0..RECORDS {
            client.append(TOPIC, 0, bulk(serial as u64, 1_000)).await;
        }
        let dirs = ["/a".to_owned(), "/b".to_owned()];
        let to = other(&broker, &dirs).to_owned();
        nature.0.store(steps, Ordering::SeqCst);
        assert_eq!(ask(&mut client, &to, 0).await, 0);
        until("it has moved, or the process died", async || {
            let settled = !disk.files().keys().any(|path| path.ends_with(".moved"));
            disk.is_dead() || (lies_in(&broker, &to) && settled)
        })
        .await;
        moved_at_last = !disk.is_dead();
        nature.0.store(NEVER, Ordering::SeqCst);
        broker.abandon().await;
        disk.lose_power(steps as u64);
        disk.revive();

        let broker = start(&disk).await;
        let mut client = twin_broker::client(&broker).await;
        // A move that the crash ended begins again, and nobody leads for a moment when it ends.
        let moves = broker.shared().moves.clone();
        until("no move goes on", async || moves.all().is_empty()).await;
        let read = client.read(TOPIC, 0, 0, RECORDS).await;
        assert_eq!(read.len() as i64, RECORDS, "after {steps} steps");
        assert_eq!(client.append(TOPIC, 0, bulk(9, 1_000)).await, RECORDS, "after {steps} steps");
        // Whether it had happened or not, it can happen now.
        assert_eq!(ask(&mut client, &to, 0).await, 0);
        until("it moves", async || lies_in(&broker, &to) && moves.all().is_empty()).await;
        assert_eq!(client.read(TOPIC, 0, 0, RECORDS + 1).await.len() as i64, RECORDS + 1);
        let names = disk.files();
        let logs = names.keys().filter(|path| path.ends_with("00000000000000000000.log"));
        let mine: Vec<_> = logs.filter(|path| path.to_string_lossy().contains("/moved-0/")).collect();
        assert_eq!(mine.len(), 1, "after {steps} steps: {mine:?}");
        broker.abandon().await;
        steps += 1;
    }
    assert!(steps > 15, "the crash points were there: {steps}");
}
