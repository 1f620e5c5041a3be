//! What the demo plays on: a `--dev` broker on a free port, in a folder of its own that goes away at the end.
//! Invariant: whatever happened on it, `clear` stops the broker and removes the folder.

use std::path::{Path, PathBuf};

use firnline_tiering::entropy::{Entropy, OsEntropy};
use firnline_tiering::hot::file::{Files, OsFiles};

use crate::broker::doors::Doors;
use crate::broker::lifecycle::Broker;
use crate::cli::arguments::Source;
use crate::cli::configuration;
use crate::cli::failure::Failure;
use crate::cli::storage::disks::Disks;
use crate::client::connection::Connection;
use crate::client::topics::{self, NewTopic};
use crate::telemetry::gather::tier_status;
use crate::telemetry::metrics::Seen;
use crate::telemetry::tier_status::TierStatus;

/// The demo's topic.
pub const TOPIC: &str = "demo";
/// Bytes at which its segments are sealed.
pub const SEGMENT_BYTES: u64 = 1 << 20;
const CLIENT_ID: &str = "firn-demo";

/// A running broker and its folder.
pub struct Stage {
    folder: PathBuf,
    broker: Broker,
}

impl Stage {
    /// Makes the folder below the system's temporary one, and starts the broker there.
    pub async fn set_up() -> Result<Stage, Failure> {
        let folder = std::env::temp_dir().join(format!("firn-demo-{}", OsEntropy.uuid()));
        let started = match OsFiles.create_dir_all(&folder) {
            Ok(()) => start(&folder).await,
            Err(error) => Err(Failure::new(format!("{} cannot be made", folder.display()), error)
                .next("set TMPDIR to a directory you may write to")),
        };
        match started {
            Ok(broker) => Ok(Stage { folder, broker }),
            Err(failure) => {
                // The start's own failure is what matters.
                let _ = OsFiles.remove_dir_all(&folder);
                Err(failure)
            }
        }
    }

    /// Stops the broker and removes the folder.
    pub async fn clear(self) -> Result<(), Failure> {
        let stopped = self.broker.shutdown().await;
        let removed = OsFiles.remove_dir_all(&self.folder);
        stopped.map_err(|error| Failure::new("the demo's broker did not stop cleanly", error))?;
        removed.map_err(|error| Failure::new(format!("{} was not removed", self.folder.display()), error))
    }

    /// Where its files lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the broker listens, `HOST:PORT`.
    pub fn address(&self) -> String {
        self.broker.addr().to_string()
    }

    /// A connection over TCP.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        let opened = Connection::open(&self.address(), CLIENT_ID).await;
        opened.map_err(|error| Failure::of_call("the demo's broker does not answer", &error))
    }

    /// Creates the topic: tiered, and local as long as nothing else is said.
    pub async fn create_topic(&self, partitions: i32) -> Result<(), Failure> {
        let config = |key: &str, value: String| (key.to_owned(), value);
        let configs = vec![
            config("remote.storage.enable", "true".to_owned()),
            config("segment.bytes", SEGMENT_BYTES.to_string()),
            config("local.retention.ms", "-2".to_owned()),
        ];
        let new = NewTopic { name: TOPIC.to_owned(), partitions, replication_factor: 1, configs };
        let created = topics::create(&mut self.connect().await?, &new).await;
        created.map(drop).map_err(|error| Failure::of_call("the demo's topic was not created", &error))
    }

    /// Lets every segment that lies in the bucket leave the local disk.
    pub async fn let_go(&self) -> Result<(), Failure> {
        let altered = topics::alter(&mut self.connect().await?, TOPIC, &[("local.retention.ms", "1")]).await;
        altered.map_err(|error| Failure::of_call("local retention was not shortened", &error))
    }

    /// What `firn tier status demo` would tell.
    pub async fn status(&self) -> Result<TierStatus, Failure> {
        let what = "the tier's status is not known";
        let seen = Seen { shared: self.broker.shared().clone(), tiers: self.broker.tiers().cloned() };
        let asked = async move { tier_status(&seen, Some(TOPIC)).await };
        let told = self.broker.background().spawn(asked).await;
        told.map_err(|error| Failure::new(what, error))?
            .ok_or_else(|| Failure::new(what, format!("the broker does not hold topic {TOPIC}")))
    }
}

async fn start(folder: &Path) -> Result<Broker, Failure> {
    let source = Source { config: None, set: settings() };
    // Variables meant for a real broker must not reach this one.
    let configuration = configuration::read(&OsFiles, &source, Some(folder), Vec::new())?;
    let config = configuration.start.config;
    let disks = Disks::real();
    disks.format(&config, Some(&disks.draw_dev_id())).await?;
    let started = Broker::start(config, Doors::real()).await;
    started.map_err(|error| Failure::new("the demo's broker did not start", error))
}

/// What differs from `--dev`: a free port, and somebody who waits.
fn settings() -> Vec<String> {
    let set = [
        "listeners=PLAINTEXT://127.0.0.1:0",
        "log.retention.check.interval.ms=200",
        "log.segment.delete.delay.ms=0",
        "remote.log.manager.task.interval.ms=100",
        // The hot pass is to find everything on the local disk; the demo shortens this itself.
        "log.local.retention.ms=-2",
        "log.roll.ms=604800000",
    ];
    set.map(str::to_owned).to_vec()
}
