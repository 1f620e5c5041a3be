//! What a handler may touch: shared services, its core, and who is asking.
//! It holds no behaviour. Invariant: everything shared is safe from every core; what is of one core stays there.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use firnline_controller::client::Controller;
use firnline_tiering::clock::Clock;
use firnline_tiering::cold::commit::TierCommit;
use firnline_tiering::entropy::Entropy;
use futures::future::LocalBoxFuture;
use tokio::sync::watch;

use crate::api::counters::Counters;
use crate::api::data::fetch_session::FetchSessions;
use crate::api::error_code::ErrorCode;
use crate::api::said_once::SaidOnce;
use crate::config::broker::BrokerConfig;
use crate::coordinator::group::coordinator::GroupCoordinator;
use crate::metadata::producer_ids::ProducerIds;
use crate::metadata::view::MetadataView;
use crate::partition::cleaning::CleanerCounts;
use crate::partition::cold_desk::{ColdAccess, ColdDesk};
use crate::partition::cold_lane::ColdLane;
use crate::partition::directory::Directory;
use crate::partition::hosted::HostedPartitions;
use crate::partition::local_desk::LocalDesk;
use crate::partition::moving::LogMoves;
use crate::purgatory::delayed::{Purgatory, WakeBoard};
use crate::replication::isr_news::IsrNews;
use crate::replication::quota::Quotas;
use crate::wire::response::{EncodeError, Response};

/// What every core shares. Built once by `broker/startup.rs`.
pub struct Shared {
    /// The broker's settings at start; what may change is read from the image through `config.settings`.
    pub config: Arc<BrokerConfig>,
    /// The cluster's id, 22 characters; the same for all brokers for ever.
    pub cluster_id: Arc<str>,
    /// Decides about topics, configs, producer ids, tiers.
    pub controller: Controller,
    /// The partitions held here.
    pub hosted: Arc<HostedPartitions>,
    /// The groups of the `__consumer_offsets` partitions led here.
    pub groups: Arc<GroupCoordinator>,
    /// The lane to the bucket; `None` without one.
    pub cold: Option<Arc<ColdAccess>>,
    /// Asks the quorum to change tier rows.
    pub tiers: Arc<dyn TierCommit>,
    /// Work that may wait for the local disk.
    pub lane: Arc<ColdLane>,
    /// Offset of the newest metadata image whose partitions are open (or gone) here: a handler that changed metadata
    /// waits for it, so that its client finds what it made.
    pub assigned: watch::Receiver<u64>,
    /// Incremental fetch sessions.
    pub sessions: FetchSessions,
    /// Reaches waiters on every core, from any thread.
    pub board: Arc<WakeBoard>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// What the cleaner has seen and done.
    pub cleaner: Arc<CleanerCounts>,
    /// What the serving path counts.
    pub counters: Arc<Counters>,
    /// The partitions of this broker are open; before, only other nodes are answered.
    pub serving: AtomicBool,
    /// Listeners with the ports that were really bound.
    pub listeners: Vec<Arc<ServedListener>>,
    /// The log directories in the configuration's order, with the room housekeeping last saw on them.
    pub directories: Vec<Arc<Directory>>,
    /// Identities for idempotent producers.
    pub producer_ids: ProducerIds,
    /// Tells the keeper of the ISRs which partition to look at.
    pub isr: Arc<IsrNews>,
    /// How fast throttled replicas may be copied.
    pub quotas: Arc<Quotas>,
    /// Replicas on their way to another log directory.
    pub moves: Arc<LogMoves>,
    /// Clients that were told in the log that they are no followers.
    pub followers_refused: SaidOnce,
    /// Clients that were told in the log that transactions are not built yet.
    pub transactions_refused: SaidOnce,
}

/// One listener as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedListener {
    /// Its name, e.g. `PLAINTEXT`.
    pub name: String,
    /// Where the socket is bound.
    pub bound: SocketAddr,
    /// The host that clients are told.
    pub advertised_host: String,
    /// The port that clients are told.
    pub advertised_port: u16,
    /// Who is served.
    pub audience: Audience,
}

/// Whom a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Clients, and followers that copy partitions.
    Clients,
    /// Clients, followers, and the quorum: this node has no controller's listener to be reached by.
    ClientsAndNodes,
    /// The quorum, brokers' life signs, and Kafka's tools with `--bootstrap-controller`.
    Nodes,
}

impl Audience {
    /// Whether other nodes may speak to the quorum here.
    pub fn has_nodes(self) -> bool {
        self != Audience::Clients
    }

    /// Whether clients are served.
    pub fn has_clients(self) -> bool {
        self != Audience::Nodes
    }
}

/// One core's own things.
pub struct ServingCore {
    /// The core's number.
    pub index: usize,
    /// Requests that wait on this core.
    pub purgatory: Rc<Purgatory>,
    /// Places on the local disk being looked up for this core.
    pub local: Rc<LocalDesk>,
    /// Reads from the bucket under way on this core; `None` without a bucket.
    pub cold: Option<Rc<ColdDesk>>,
}

/// Who is asking.
#[derive(Debug)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// The listener it came by: addresses in answers are those of this listener.
    pub listener: Arc<ServedListener>,
}

/// What a handler may touch. Cheap to clone into a future that waits.
#[derive(Clone)]
pub struct Context {
    /// Shared by all cores.
    pub shared: Arc<Shared>,
    /// Of this core.
    pub core: Rc<ServingCore>,
    /// Of this connection.
    pub peer: Rc<Peer>,
}

impl Context {
    /// The cluster's metadata as it is now.
    pub fn metadata(&self) -> MetadataView {
        MetadataView::new(self.shared.controller.image())
    }

    /// The error for a partition that is not held here: unknown, or led by another broker.
    pub fn not_here(&self, topic: &str, index: i32) -> ErrorCode {
        match self.metadata().leader(topic, index) {
            Some(_) if self.shared.hosted.is_failed(topic, index) => ErrorCode::KafkaStorage,
            Some(_) => ErrorCode::NotLeaderOrFollower,
            None => ErrorCode::UnknownTopicOrPartition,
        }
    }

    /// Whom clients are told to send administrative requests to: the broker in whose process the quorum's leader runs,
    /// where they can reach it; else this one, which passes them on.
    pub fn controller_id(&self) -> i32 {
        let leader = self.shared.controller.quorum().leader.map(|leader| leader.0);
        let reached = leader.filter(|id| self.metadata().broker(*id, &self.peer.listener.name).is_some());
        reached.unwrap_or(self.shared.config.node_id)
    }

    /// Waits until this broker has acted on the metadata image of `offset`; false when it stopped before.
    pub async fn assigned(&self, offset: u64) -> bool {
        self.shared.assigned.clone().wait_for(|reached| *reached >= offset).await.is_ok()
    }
}

/// What a handler answers.
pub enum Answer {
    /// Done.
    Ready(Response),
    /// Waits for something outside of this connection. It is driven until it answers; of later requests only
    /// Produce starts meanwhile, and only behind Produce.
    Later(LocalBoxFuture<'static, Answer>),
    /// Has to finish before any later request of this connection starts: an append that found the lock taken must
    /// not be overtaken by its successor (I3).
    First(LocalBoxFuture<'static, Answer>),
    /// No response at all (acks=0).
    Silent,
    /// The connection ends, with this reason in the log. Earlier responses still go out.
    Close(String),
}

impl From<Result<Response, EncodeError>> for Answer {
    /// A response that does not encode is a fault of ours: the client learns it by the closed connection, we by the log.
    fn from(encoded: Result<Response, EncodeError>) -> Self {
        match encoded {
            Ok(response) => Answer::Ready(response),
            Err(error) => Answer::Close(error.to_string()),
        }
    }
}
