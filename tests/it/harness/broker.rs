//! An in-process broker on a free port with a directory of its own, and connections to it.
//! It is the whole broker behind real doors. Invariant: what it wrote goes when the test ends.

use std::time::Duration;

use firnline::broker::doors::Doors;
use firnline::broker::lifecycle::Broker;
use firnline::config::settings::{Settings, Source};
use firnline::config::start;
use firnline::transport::dial::dial;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::wire_client::WireClient;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running broker.
pub struct TestBroker {
    broker: Broker,
    dir: TempDir,
}

impl TestBroker {
    /// A broker with these keys over what suits a test: one core, few partitions of internal topics, no delays.
    pub async fn start(keys: &[(&str, &str)]) -> TestBroker {
        let dir = TempDir::new().expect("a temporary directory");
        let broker = Self::open(&dir, keys).await;
        TestBroker { broker, dir }
    }

    /// Stops it in order and starts it again on the same directory.
    pub async fn restart(self, keys: &[(&str, &str)]) -> TestBroker {
        let TestBroker { broker, dir } = self;
        broker.shutdown().await.expect("an orderly stop");
        let broker = Self::open(&dir, keys).await;
        TestBroker { broker, dir }
    }

    async fn open(dir: &TempDir, keys: &[(&str, &str)]) -> Broker {
        let mut settings = Settings::default();
        let data = dir.path().join("data").to_string_lossy().into_owned();
        let base = [
            ("node.id", "1"),
            ("log.dirs", data.as_str()),
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("firn.cores", "1"),
            ("firn.metrics.listener", ""),
            ("firn.admin.listener", ""),
            ("offsets.topic.num.partitions", "1"),
            ("group.initial.rebalance.delay.ms", "0"),
        ];
        for (key, value) in base.iter().chain(keys) {
            settings.put(Source::Set, key, value).expect("a key the broker knows");
        }
        let start = start::build(settings, true).expect("settings that fit each other");
        Broker::start(start.config, Doors::real()).await.expect("a broker that starts")
    }

    /// The broker itself.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// A new connection.
    pub async fn connect(&self) -> WireClient<TcpStream> {
        let address = self.broker.addr().to_string();
        WireClient::new(dial(&address, PATIENCE).await.expect("the broker listens"))
    }

    /// Stops it in order.
    pub async fn stop(self) {
        self.broker.shutdown().await.expect("an orderly stop");
    }
}
