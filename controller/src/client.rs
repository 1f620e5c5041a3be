//! The handle to the controller, usable from any thread and runtime. Not the controller: requests travel to its
//! loop over a bounded queue. Invariant: an answer is given only after this node's image shows what was done.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use firnline_tiering::clock::Clock;
use firnline_tiering::cold::tier::{TierChange, TierRow};
use firnline_tiering::entropy::Entropy;
use firnline_tiering::hot::file::Files;
use tokio::sync::{mpsc, oneshot, watch};

use crate::decide::brokers::{BrokerRegistration, Heartbeat, HeartbeatAnswer};
use crate::decide::elect::Election;
use crate::decide::format::format;
use crate::decide::isr::IsrChange;
use crate::decide::partitions::NewPartitions;
use crate::decide::policy::Policy;
use crate::decide::reassign::Reassignment;
use crate::decide::topics::{CreatedTopic, NewTopic};
use crate::error::{
    AllocateError, AlterConfigsError, AlterPartitionError, CreatePartitionsError, CreateTopicError,
    DeleteTopicError, ElectError, FeatureLevelError, FinishPurgeError, HeartbeatError, ReassignError,
    RegisterError, StartError, TierRefused, Unavailable, UnregisterError,
};
use crate::id::{BrokerEpoch, BrokerId, TopicId};
use crate::image::current::Current;
use crate::image::metadata::MetadataImage;
use crate::quorum::node::{Node, NodeConfig};
use crate::quorum::status::QuorumStatus;
use crate::record::entry::Entry;
use crate::record::kinds::{Partition, Resource};
use crate::rpc::{Answer, Answered, Asked, Request, SentRow, TierStep};
use crate::server::{Command, QUEUE, Server};

/// Takes what an answer's arm holds; `None` if it is another's.
macro_rules! said {
    ($arm:path) => {
        |answer| match answer {
            $arm(said) => Some(said),
            _ => None,
        }
    };
}

/// What a controller needs to start.
#[derive(Debug, Clone)]
pub struct ControllerConfig {
    /// `node.id`; also the voter's id.
    pub node_id: BrokerId,
    /// Kafka's cluster id, as formatted.
    pub cluster_id: String,
    /// `<first log.dir>/__cluster_metadata-0`; made if missing.
    pub dir: PathBuf,
    /// The door to the disk.
    pub files: Arc<dyn Files>,
    /// The wall clock; nothing is decided by it yet (sessions of several brokers will be).
    pub clock: Arc<dyn Clock>,
    /// Randomness, for topic ids.
    pub entropy: Arc<dyn Entropy>,
    /// Records applied between two snapshots; at least 1.
    pub snapshot_every_records: u64,
    /// What is decided beside the metadata: sessions, defaults of topics, rebalancing.
    pub policy: Policy,
}

/// The controller's handle. A clone is another handle to the same controller.
#[derive(Clone)]
pub struct Controller {
    commands: mpsc::Sender<Command>,
    current: Arc<Current>,
    node: Node,
    entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller").field("quorum", &self.node.status()).finish_non_exhaustive()
    }
}

impl Controller {
    /// Opens log and snapshot, becomes the quorum of one and replays what it decided before.
    ///
    /// Runs on the runtime that calls it, whose thread waits for the disk at every commit: not a serving core's.
    pub async fn start(config: ControllerConfig) -> Result<Controller, StartError> {
        let current = Arc::new(Current::new(Arc::default()));
        let node = Node::start(NodeConfig {
            id: config.node_id,
            dir: config.dir,
            files: config.files,
            snapshot_every_records: config.snapshot_every_records,
            current: current.clone(),
        })
        .await?;
        if let Err(error) = format_if_new(&node, &current, &config.cluster_id).await {
            node.shutdown().await;
            return Err(error);
        }
        let (commands, queue) = mpsc::channel(QUEUE);
        let server = Server::new(node.clone(), current.clone(), queue, config.policy);
        tokio::spawn(server.run());
        Ok(Controller { commands, current, node, entropy: config.entropy })
    }

    /// This node's newest committed image. Never waits.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.current.load()
    }

    /// Wakes at every newer image; [`crate::image::delta::Delta::between`] tells what changed.
    pub fn watch(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.current.subscribe()
    }

    /// Registers a broker's incarnation; it leads its partitions anew from then on.
    pub async fn register_broker(&self, broker: BrokerRegistration) -> Result<BrokerEpoch, RegisterError> {
        self.ask(Request::Register(broker), said!(Answer::Register)).await?
    }

    /// Creates topics, each with all its partitions or not at all; one answer per topic, in order.
    pub async fn create_topics(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Vec<Result<CreatedTopic, CreateTopicError>> {
        let ids: Vec<TopicId> = topics.iter().map(|_| TopicId::draw(self.entropy.as_ref())).collect();
        let count = topics.len();
        let request = Request::CreateTopics { topics, ids, validate_only };
        self.ask_each(count, request, said!(Answer::CreateTopics)).await
    }

    /// Deletes topics; one answer per id, in order. What they left in the bucket awaits [`Controller::finish_purge`].
    pub async fn delete_topics(&self, ids: Vec<TopicId>) -> Vec<Result<(), DeleteTopicError>> {
        self.ask_each(ids.len(), Request::DeleteTopics(ids), said!(Answer::DeleteTopics)).await
    }

    /// Adds partitions; answers how many each topic has then.
    pub async fn create_partitions(
        &self,
        topics: Vec<NewPartitions>,
        validate_only: bool,
    ) -> Vec<Result<i32, CreatePartitionsError>> {
        let count = topics.len();
        let request = Request::CreatePartitions { topics, validate_only };
        self.ask_each(count, request, said!(Answer::CreatePartitions)).await
    }

    /// Sets (`Some`) or removes (`None`) dynamic configuration of one resource, all or nothing.
    pub async fn alter_configs(
        &self,
        resource: Resource,
        changes: Vec<(String, Option<String>)>,
    ) -> Result<(), AlterConfigsError> {
        self.ask(Request::AlterConfigs(resource, changes), said!(Answer::AlterConfigs)).await?
    }

    /// A block of producer ids that nobody else gets, ever.
    pub async fn allocate_producer_ids(&self) -> Result<Range<i64>, AllocateError> {
        self.ask(Request::AllocateProducerIds, said!(Answer::AllocateProducerIds)).await?
    }

    /// Takes steps of tier rows; one answer per step, in order, each the row that step made.
    pub async fn change_tiers(
        &self,
        changes: Vec<(TopicId, i32, TierChange)>,
    ) -> Vec<Result<Arc<TierRow>, TierRefused>> {
        let steps = changes.into_iter().map(|(topic, index, change)| TierStep { topic, index, change });
        let steps: Vec<TierStep> = steps.collect();
        let rows = self.ask_each(steps.len(), Request::ChangeTiers(steps), said!(Answer::ChangeTiers)).await;
        rows.into_iter().map(|row| row.map(|SentRow(row)| row)).collect()
    }

    /// Ends a deleted topic's purge: its tombstone and tier rows go.
    pub async fn finish_purge(&self, topic: TopicId) -> Result<(), FinishPurgeError> {
        self.ask(Request::FinishPurge(topic), said!(Answer::FinishPurge)).await?
    }

    /// A sign of life. A broker is unfenced by the first one that shows that its image has its registration, fenced
    /// or led out of office by one that wants it, and fenced when none comes for a session.
    pub async fn heartbeat(&self, beat: Heartbeat) -> Result<HeartbeatAnswer, HeartbeatError> {
        self.ask(Request::Heartbeat(beat), said!(Answer::Heartbeat)).await?
    }

    /// Changes ISRs of partitions that `from` leads; one answer per change, in order, each the row from then on.
    pub async fn alter_partitions(
        &self,
        from: BrokerId,
        epoch: BrokerEpoch,
        changes: Vec<IsrChange>,
    ) -> Vec<Result<Partition, AlterPartitionError>> {
        let count = changes.len();
        let request = Request::AlterPartitions { from, epoch, changes };
        self.ask_each(count, request, said!(Answer::AlterPartitions)).await
    }

    /// Elects leaders; one answer per partition, in order.
    pub async fn elect(
        &self,
        election: Election,
        partitions: Vec<(TopicId, i32)>,
    ) -> Vec<Result<(), ElectError>> {
        self.ask_each(partitions.len(), Request::Elect(election, partitions), said!(Answer::Elect)).await
    }

    /// Begins, replaces or cancels moves of replicas; one answer per partition, in order. They are complete when the
    /// image says so.
    pub async fn reassign(&self, moves: Vec<Reassignment>) -> Vec<Result<(), ReassignError>> {
        self.ask_each(moves.len(), Request::Reassign(moves), said!(Answer::Reassign)).await
    }

    /// Forgets a broker that will not come back. Its replicas stay assigned to it until they are moved.
    pub async fn unregister_broker(&self, id: BrokerId) -> Result<(), UnregisterError> {
        self.ask(Request::UnregisterBroker(id), said!(Answer::UnregisterBroker)).await?
    }

    /// Raises the cluster's feature level, or says whether it could be.
    pub async fn update_feature_level(
        &self,
        level: u16,
        validate_only: bool,
    ) -> Result<(), FeatureLevelError> {
        let request = Request::UpdateFeatureLevel { level, validate_only };
        self.ask(request, said!(Answer::UpdateFeatureLevel)).await?
    }

    /// The quorum as this node sees it.
    pub fn quorum(&self) -> QuorumStatus {
        self.node.status()
    }

    /// Stops taking requests, answers those under way and closes the log.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        // An error means that it has stopped already.
        if self.commands.send(Command::Shutdown(reply)).await.is_ok() {
            _ = done.await;
        }
    }

    async fn ask<T>(&self, request: Request, said: fn(Answer) -> Option<T>) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let stopped = || Unavailable::Stopped("it takes no requests".to_owned());
        let asked = Asked { request, again: false };
        self.commands.send(Command::Decide(asked, reply)).await.map_err(|_| stopped())?;
        let Answered { answer, .. } = answer.await.map_err(|_| stopped())??;
        said(answer).ok_or_else(|| Unavailable::Stopped("the leader answered another request".to_owned()))
    }

    async fn ask_each<T, E: From<Unavailable>>(
        &self,
        count: usize,
        request: Request,
        said: fn(Answer) -> Option<Vec<Result<T, E>>>,
    ) -> Vec<Result<T, E>> {
        match self.ask(request, said).await {
            Ok(answers) => answers,
            Err(unavailable) => (0..count).map(|_| Err(unavailable.clone().into())).collect(),
        }
    }
}

/// Gives an empty log its first records; refuses one of another cluster.
async fn format_if_new(node: &Node, current: &Current, cluster_id: &str) -> Result<(), StartError> {
    let decided = format(&current.load(), cluster_id);
    let decision =
        decided.map_err(|other| StartError::OtherCluster { found: other.found, wanted: other.wanted })?;
    if decision.group.records.is_empty() {
        return Ok(());
    }
    let outcomes = node.propose(Entry { groups: [decision.group].into() }).await?.outcome().await?;
    match outcomes.into_iter().find_map(Result::err) {
        Some(no_op) => Err(Unavailable::Overtaken(no_op.to_string()).into()),
        None => Ok(()),
    }
}
