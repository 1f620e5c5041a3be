//! Two log directories, one of them failing: only its partitions go offline, tools are told, new partitions go to the
//! other; a failed fsync is final; with the first directory the broker gives up and says why.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use firnline::broker::lifecycle::Broker;
use firnline_tiering::hot::file::Files;
use kafka_protocol::messages::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;

use crate::harness::asks::{fetching, of, production};
use crate::harness::broker::Client;
use crate::harness::records::batch;
use crate::harness::twin::disk::{Call, Fate, Kind, Nature, TwinDisk, Verb};
use crate::harness::twin_broker::{self, client};
use crate::harness::wait::until;

const STORAGE_ERROR: i16 = 56;

/// Which directories fail: bit 0 is `/a`, bit 1 is `/b`; bit 2 lets only fsyncs fail.
#[derive(Debug, Default)]
struct Failing(AtomicU8);

impl Nature for Failing {
    fn decide(&self, call: &Call<'_>) -> Fate {
        let failing = self.0.load(Ordering::SeqCst);
        let here = (failing & 1 != 0 && call.path.starts_with("/a"))
            || (failing & 2 != 0 && call.path.starts_with("/b"));
        let this = failing & 4 == 0 || call.verb == Verb::Sync;
        if here && this { Fate::Fails(std::io::ErrorKind::Other, 0) } else { Fate::Happens }
    }
}

fn disks(nature: &Arc<Failing>) -> TwinDisk {
    let disk = TwinDisk::new(Arc::new(Kind));
    for root in ["/a", "/b"] {
        disk.create_dir_all(Path::new(root)).expect("a root");
    }
    disk.with(nature.clone())
}

async fn start(disk: &TwinDisk, set: &[&str]) -> Broker {
    twin_broker::start(disk, &[&["log.dirs=/a,/b", "firn.cores=1"], set].concat()).await
}

async fn produced(client: &mut Client, topic: &str, index: i32) -> i16 {
    let answer =
        client.call(9, &production(topic, -1, vec![(index, batch(&["a"]))])).await.expect("an answer");
    answer.responses[0].partition_responses[0].error_code
}

async fn described(client: &mut Client) -> Vec<DescribeLogDirsResult> {
    client.call(4, &DescribeLogDirsRequest::default().with_topics(None)).await.expect("an answer").results
}

/// Partitions of `orders` by the directory they lie in.
fn placed(broker: &Broker, topic: &str, root: &str) -> Vec<i32> {
    let hosted = broker.shared().hosted.topic(topic).expect("a topic");
    let here = hosted.partitions().filter(|it| it.log().dir().starts_with(root));
    here.map(|it| it.id().index).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_failing_directory_takes_only_its_own_partitions_offline() {
    let failing = Arc::new(Failing::default());
    let disk = disks(&failing);
    let broker = start(&disk, &[]).await;
    let mut client = client(&broker).await;
    client.create("orders", 4, &[]).await;
    let (well, ill) = (placed(&broker, "orders", "/a"), placed(&broker, "orders", "/b"));
    assert_eq!((well.len(), ill.len()), (2, 2), "partitions spread over the directories");
    for index in 0..4 {
        assert_eq!(produced(&mut client, "orders", index).await, 0);
    }
    failing.0.store(2, Ordering::SeqCst);
    assert_eq!(produced(&mut client, "orders", ill[0]).await, STORAGE_ERROR);
    assert_eq!(produced(&mut client, "orders", ill[1]).await, STORAGE_ERROR, "the disk is one");
    let fetched = client.call(12, &fetching("orders", &[(ill[1], 0)], 0)).await.expect("an answer");
    assert_eq!(of(&fetched, ill[1]).error_code, STORAGE_ERROR);
    for index in &well {
        assert_eq!(produced(&mut client, "orders", *index).await, 0);
        let fetched = client.call(12, &fetching("orders", &[(*index, 0)], 0)).await.expect("an answer");
        assert_eq!(of(&fetched, *index).error_code, 0);
    }
    let dirs = described(&mut client).await;
    let told: Vec<(&str, i16, usize)> =
        dirs.iter().map(|dir| (dir.log_dir.as_str(), dir.error_code, dir.topics.len())).collect();
    assert_eq!(told, [("/a", 0, 1), ("/b", STORAGE_ERROR, 0)]);
    client.create("later", 3, &[]).await;
    assert_eq!(placed(&broker, "later", "/a").len(), 3, "new partitions go where disks work");
    broker.abandon().await;

    // The next process finds the same disk: what lay there is not begun anew elsewhere.
    disk.kill();
    disk.revive();
    let broker = start(&disk, &[]).await;
    let mut client = self::client(&broker).await;
    assert_eq!(produced(&mut client, "orders", ill[0]).await, STORAGE_ERROR);
    assert_eq!(produced(&mut client, "orders", well[0]).await, 0);
    assert_eq!(described(&mut client).await[1].error_code, STORAGE_ERROR);
    broker.abandon().await;

    // And with the disk back, everything that was acknowledged is there.
    failing.0.store(0, Ordering::SeqCst);
    disk.kill();
    disk.revive();
    let broker = start(&disk, &[]).await;
    let mut client = self::client(&broker).await;
    assert_eq!(client.read("orders", ill[0], 0, 1).await.len(), 1);
    assert_eq!(produced(&mut client, "orders", ill[0]).await, 0);
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_fsync_is_final() {
    let failing = Arc::new(Failing::default());
    let disk = disks(&failing);
    let broker = start(&disk, &["firn.durability=disk"]).await;
    let mut client = client(&broker).await;
    client.create("orders", 2, &[]).await;
    let ill = placed(&broker, "orders", "/b")[0];
    failing.0.store(2 | 4, Ordering::SeqCst);
    assert_eq!(produced(&mut client, "orders", ill).await, STORAGE_ERROR, "not acknowledged");
    failing.0.store(0, Ordering::SeqCst);
    assert_eq!(
        produced(&mut client, "orders", ill).await,
        STORAGE_ERROR,
        "the next fsync would succeed, and lie"
    );
    assert_eq!(produced(&mut client, "orders", placed(&broker, "orders", "/a")[0]).await, 0);
    broker.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_directory_gone_the_broker_gives_up_and_says_why() {
    let failing = Arc::new(Failing::default());
    let disk = disks(&failing);
    let broker = start(&disk, &[]).await;
    let mut client = client(&broker).await;
    client.create("orders", 2, &[]).await;
    failing.0.store(3, Ordering::SeqCst);
    for index in 0..2 {
        assert_eq!(produced(&mut client, "orders", index).await, STORAGE_ERROR);
    }
    let why =
        tokio::time::timeout(std::time::Duration::from_secs(60), broker.lost()).await.expect("it gives up");
    assert!(why.starts_with("every log directory is offline"), "{why}");
    broker.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_a_reserve_may_fill_up_and_recovers_when_room_returns() {
    let disk = disks(&Arc::default());
    let broker = start(&disk, &["firn.disk.reserve.bytes=0", "log.retention.check.interval.ms=100"]).await;
    let mut client = client(&broker).await;
    client.create("orders", 1, &[("segment.bytes", "1048576")]).await;
    for _ in 0..10 {
        assert_eq!(produced(&mut client, "orders", 0).await, 0);
    }
    let used: u64 = disk.files().values().map(|bytes| bytes.len() as u64).sum();
    // Room for one batch and a half: the second is torn by the full disk.
    disk.set_capacity(used + 100);
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(produced(&mut client, "orders", 0).await);
    }
    assert!(codes.contains(&STORAGE_ERROR), "{codes:?}");
    let partition = broker.shared().hosted.find("orders", 0).expect("a partition");
    assert_eq!(partition.log().offline(), None, "a full disk is no failed one");
    disk.set_capacity(1 << 30);
    until("produce is taken again", async || produced(&mut client, "orders", 0).await == 0).await;
    let end = partition.offsets().end.0;
    assert_eq!(client.read("orders", 0, 0, end).await.len() as i64, end, "no torn batch is left");
    broker.shutdown().await.expect("a clean stop");
}
