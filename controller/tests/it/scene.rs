//! What every test here needs: a controller on some disk, requests in their shortest form.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use firnline_controller::client::{Controller, ControllerConfig};
use firnline_controller::decide::brokers::BrokerRegistration;
use firnline_controller::decide::topics::NewTopic;
use firnline_controller::error::StartError;
use firnline_controller::id::{BrokerId, TopicId};
use firnline_controller::record::kinds::Endpoint;
use firnline_tiering::cold::entry::Entry;
use firnline_tiering::cold::tier::{TierChange, TierChangeKind, TierRow};
use firnline_tiering::entropy::Entropy;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::file::Files;
use firnline_tiering::offsets::Offset;
use uuid::Uuid;

/// The cluster of every test.
pub const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";

/// Numbers in a row, so that every run is the same.
#[derive(Debug, Default)]
pub struct Counting {
    next: AtomicU64,
}

impl Counting {
    /// Begins above what an earlier process drew.
    pub fn from(first: u64) -> Arc<Self> {
        Arc::new(Self { next: AtomicU64::new(first) })
    }
}

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) {
        let drawn = self.next.fetch_add(1, Ordering::Relaxed);
        for (at, byte) in out.iter_mut().enumerate() {
            *byte = (drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (8 * (at % 8))) as u8;
        }
    }
}

/// A configuration on some disk.
pub fn config(files: Arc<dyn Files>, entropy_from: u64) -> ControllerConfig {
    let dir = PathBuf::from("/data/__cluster_metadata-0");
    ControllerConfig {
        entropy: Counting::from(entropy_from),
        snapshot_every_records: 1_000_000,
        ..ControllerConfig::alone(BrokerId(1), CLUSTER.to_owned(), dir, files)
    }
}

/// Starts on some disk.
pub async fn start(files: Arc<dyn Files>, entropy_from: u64) -> Result<Controller, StartError> {
    Controller::start(config(files, entropy_from)).await
}

/// Broker 1's process number `incarnation`.
pub fn broker(incarnation: u128) -> BrokerRegistration {
    broker_of(1, incarnation)
}

/// Some broker's process number `incarnation`.
pub fn broker_of(id: i32, incarnation: u128) -> BrokerRegistration {
    let endpoint =
        Endpoint { listener: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092, protocol: 0 };
    BrokerRegistration {
        id: BrokerId(id),
        cluster_id: CLUSTER.to_owned(),
        incarnation: Uuid::from_u128(incarnation),
        endpoints: vec![endpoint],
        rack: None,
        ..BrokerRegistration::default()
    }
}

/// A topic of one replica per partition.
pub fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.to_owned(), partitions, replication_factor: 1, ..NewTopic::default() }
}

/// Creates one topic that must be created.
pub async fn create(controller: &Controller, name: &str, partitions: i32) -> TopicId {
    let created = controller.create_topics(vec![topic(name, partitions)], false).await;
    created.into_iter().next().expect("one answer").expect("created").id
}

/// The next segment of a log, of ten records.
pub fn append(row: &TierRow, epoch: i32) -> TierChange {
    let entry = Entry {
        base: row.end,
        next: Offset(row.end.0 + 10),
        min_timestamp: 1_000,
        max_timestamp: 2_000,
        leader_epoch: LeaderEpoch(epoch),
        previous_epoch: row.end_epoch,
        first_epoch: LeaderEpoch(epoch),
        last_epoch: LeaderEpoch(epoch),
        log_bytes: 4096,
        footer_at: 5000,
        footer_len: 300,
        footer_crc: 7,
        aborted: 0,
        uuid: Uuid::from_u128(u128::from(row.end.0 as u64) + 1),
    };
    TierChange {
        on_version: row.version,
        leader_epoch: LeaderEpoch(epoch),
        kind: TierChangeKind::Append(entry),
    }
}
