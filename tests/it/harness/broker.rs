//! A whole broker in this process: its own data directory, a free port, a bucket with faults, a clock to put forward.
//! It asserts nothing of the broker's behaviour but that it starts. Invariant: what a flow set up survives a restart.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use firnline::broker::doors::Doors;
use firnline::broker::lifecycle::Broker;
use firnline::broker::start_error::StartError;
use firnline::config::load::{Places, load};
use firnline::config::start::build;
use firnline::partition::replica::PartitionHandle;
use firnline_tiering::clock::{Clock, SystemClock};
use firnline_tiering::cold::store::{Store, StoreLimits};
use firnline_tiering::entropy::OsEntropy;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::bucket::FaultyBucket;
use super::wait::eventually;
use super::wire_client::WireClient;

/// A raw client over TCP.
pub type Client = WireClient<TcpStream>;

/// The system's clock, put forward by as much as a flow likes.
#[derive(Debug, Default)]
pub struct TestClock {
    ahead_ms: AtomicI64,
}

impl TestClock {
    pub fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).expect("a flow's time");
        self.ahead_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        SystemClock.now_ms() + self.ahead_ms.load(Ordering::SeqCst)
    }
}

/// A broker and its world.
pub struct TestBroker {
    dir: TempDir,
    set: Vec<String>,
    running: Option<Broker>,
    pub bucket: FaultyBucket,
    pub clock: Arc<TestClock>,
}

impl TestBroker {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With further settings, `key=value`, over the flows' own.
    pub async fn with(set: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let set = set.iter().map(|each| (*each).to_owned()).collect();
        let mut broker =
            Self { dir, set, running: None, bucket: FaultyBucket::default(), clock: Arc::default() };
        broker.running = Some(broker.open().await.expect("the broker starts"));
        broker
    }

    async fn open(&self) -> Result<Broker, StartError> {
        self.open_with(&[]).await
    }

    async fn open_with(&self, over: &[&str]) -> Result<Broker, StartError> {
        let mut set = vec![
            "node.id=1".to_owned(),
            format!("log.dirs={}", self.data_dir().display()),
            "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
            "firn.cores=2".to_owned(),
            "offsets.topic.num.partitions=1".to_owned(),
            "group.initial.rebalance.delay.ms=0".to_owned(),
            "log.retention.check.interval.ms=100".to_owned(),
            "log.segment.delete.delay.ms=0".to_owned(),
            "remote.log.storage.system.enable=true".to_owned(),
            "remote.log.manager.task.interval.ms=100".to_owned(),
            "remote.log.manager.task.retry.backoff.ms=20".to_owned(),
            "remote.log.manager.task.retry.backoff.max.ms=100".to_owned(),
            "firn.remote.url=file:///bucket".to_owned(),
            "firn.cache.disk.bytes=0".to_owned(),
        ];
        set.extend(self.set.iter().cloned());
        set.extend(over.iter().map(|each| (*each).to_owned()));
        let loaded = load(&Places { set, ..Places::default() }).expect("settings of a flow");
        let config = build(loaded.settings, true).expect("a configuration of a flow").config;
        let wait = Duration::from_millis(5);
        let limits = StoreLimits { attempts: 2, first_wait: wait, max_wait: wait, ..StoreLimits::default() };
        let inner = Arc::new(self.bucket.clone());
        let store = Store::over(inner, "memory://flows", "", limits, Arc::new(OsEntropy));
        let doors = Doors { clock: self.clock.clone(), bucket: Some(store), ..Doors::real() };
        Broker::start(config, doors).await
    }

    /// A clean stop and a new start on the same data and bucket.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.running = Some(self.open().await.expect("the broker starts again"));
    }

    /// A clean stop.
    pub async fn stop(&mut self) {
        let running = self.running.take().expect("a broker runs");
        running.shutdown().await.expect("a clean stop");
    }

    /// The process dies: nothing is flushed, no marker is left.
    pub fn kill(&mut self) {
        drop(self.running.take().expect("a broker runs"));
    }

    /// A second process on the same data: with these settings over the first one's.
    pub async fn second(&self, set: &[&str]) -> Result<Broker, StartError> {
        self.open_with(set).await
    }

    /// A start after [`TestBroker::kill`]: waits until the dead broker's threads have let go of the directory.
    pub async fn revive(&mut self) {
        let mut last = None;
        let started = eventually("the broker starts after a crash", async || match self.open().await {
            Ok(broker) => Some(broker),
            Err(error) => {
                let why = error.to_string();
                if last.replace(why.clone()).as_ref() != Some(&why) {
                    eprintln!("not yet: {why}");
                }
                None
            }
        });
        self.running = Some(started.await);
    }

    pub fn broker(&self) -> &Broker {
        self.running.as_ref().expect("a broker runs")
    }

    /// The only entry of `log.dirs`.
    pub fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("log")
    }

    /// The folder around it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// For clients that bring their own connections.
    pub fn bootstrap(&self) -> String {
        self.broker().addr().to_string()
    }

    /// A new connection.
    pub async fn client(&self) -> Client {
        WireClient::new(TcpStream::connect(self.broker().addr()).await.expect("the port answers"))
    }

    /// A partition as the broker holds it.
    pub fn partition(&self, topic: &str, index: i32) -> PartitionHandle {
        self.broker().shared().hosted.find(topic, index).expect("the broker holds the partition")
    }

    /// The folder of a partition's objects, below the cluster's.
    pub fn folder(&self, topic: &str, index: i32) -> String {
        self.partition(topic, index).log().id().to_string()
    }
}
