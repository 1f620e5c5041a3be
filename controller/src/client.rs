//! The handle to the controller, usable from any thread and runtime. Not the controller: requests travel to its
//! loop over a bounded queue. Invariant: an answer is given only after this node's image shows what was done, but for
//! a sign of life.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use firnline_tiering::clock::{Clock, SystemClock};
use firnline_tiering::cold::tier::{TierChange, TierRow};
use firnline_tiering::entropy::{Entropy, OsEntropy};
use firnline_tiering::hot::file::Files;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

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
    RegisterError, StartError, TierRefused, Unavailable, UnregisterError, VoterError,
};
use crate::id::{BrokerEpoch, BrokerId, TopicId};
use crate::image::current::Current;
use crate::image::metadata::MetadataImage;
use crate::quorum::node::{Leader, Node, NodeConfig};
use crate::quorum::peer_codec::Refusal;
use crate::quorum::plan::Plan;
use crate::quorum::status::QuorumStatus;
use crate::record::entry::Entry;
use crate::record::kinds::{Partition, Resource};
use crate::rpc::{Answer, Answered, Asked, Reply, Request, SentRow, TierStep};
use crate::serial::{self, Malformed};
use crate::server::{Command, QUEUE, Server};
use crate::transport::{Address, Nowhere, Transport};

/// How long a verb may take, with all its attempts.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts; the last one repeats. A quorum whose leader fell has the next one in less than a second.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(60),
    Duration::from_millis(100),
];

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
    /// `node.id`.
    pub node_id: BrokerId,
    /// Kafka's cluster id, as formatted.
    pub cluster_id: String,
    /// Kafka's directory id of the log directory that `dir` is in; nil if it has none.
    pub directory: Uuid,
    /// `<first log.dir>/__cluster_metadata-0`; made if missing.
    pub dir: PathBuf,
    /// The door to the disk.
    pub files: Arc<dyn Files>,
    /// The wall clock; it decides nothing, timers are tokio's.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for topic ids and this member's identity.
    pub entropy: Arc<dyn Entropy>,
    /// Records applied between two snapshots; at least 1.
    pub snapshot_every_records: u64,
    /// What is decided beside the metadata: sessions, defaults of topics, rebalancing.
    pub policy: Policy,
    /// How this node finds its quorum.
    pub plan: Plan,
    /// Where other nodes reach [`Controller::answer_peer`]; `None` where there are no others.
    pub address: Option<Address>,
    /// The way to other nodes; [`crate::transport::Nowhere`] where there are none.
    pub transport: Arc<dyn Transport>,
}

impl ControllerConfig {
    /// A node that is its own quorum.
    pub fn alone(node_id: BrokerId, cluster_id: String, dir: PathBuf, files: Arc<dyn Files>) -> Self {
        ControllerConfig {
            node_id,
            cluster_id,
            directory: Uuid::nil(),
            dir,
            files,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            snapshot_every_records: 10_000,
            policy: Policy::default(),
            plan: Plan::Alone,
            address: None,
            transport: Arc::new(Nowhere),
        }
    }
}

/// The controller's handle. A clone is another handle to the same controller.
#[derive(Clone)]
pub struct Controller {
    commands: mpsc::Sender<Command>,
    current: Arc<Current>,
    node: Node,
    entropy: Arc<dyn Entropy>,
    unclean: Arc<AtomicU64>,
    /// Where it was started: its timers and tasks run there, whoever asks.
    runtime: Handle,
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller").field("quorum", &self.node.status()).finish_non_exhaustive()
    }
}

impl Controller {
    /// Opens log and snapshot and takes part in the quorum. A voter that is alone leads, with everything that it
    /// decided before, when this returns; of several, members find each other once [`Controller::answer_peer`] is
    /// served, and verbs wait for that.
    ///
    /// Runs on the runtime that calls it, whose thread waits for the disk at every commit: not a serving core's.
    pub async fn start(config: ControllerConfig) -> Result<Controller, StartError> {
        let current = Arc::new(Current::new(Arc::default()));
        let node = Node::start(NodeConfig {
            id: config.node_id,
            cluster_id: config.cluster_id.clone(),
            directory: config.directory,
            dir: config.dir,
            files: config.files,
            clock: config.clock,
            entropy: config.entropy.clone(),
            snapshot_every_records: config.snapshot_every_records,
            current: current.clone(),
            plan: config.plan,
            address: config.address,
            transport: config.transport,
        })
        .await?;
        if let Err(error) = format_if_new(&node, &current, &config.cluster_id).await {
            node.shutdown().await;
            return Err(error);
        }
        let (commands, queue) = mpsc::channel(QUEUE);
        let server = Server::new(node.clone(), current.clone(), config.cluster_id, queue, config.policy);
        let unclean = server.unclean.clone();
        tokio::spawn(server.run());
        let (entropy, runtime) = (config.entropy, Handle::current());
        Ok(Controller { commands, current, node, entropy, unclean, runtime })
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
    /// or led out of office by one that wants it, and fenced when none comes for a session. Alone of all verbs it does
    /// not wait until this node's image shows what was done.
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

    /// A broker's replicas that it cannot use because their disks failed, all of them: others lead what it led there.
    pub async fn replicas_offline(
        &self,
        from: BrokerId,
        epoch: BrokerEpoch,
        offline: Vec<(TopicId, i32)>,
    ) -> Result<(), HeartbeatError> {
        let request = Request::ReplicasOffline { from, epoch, offline };
        self.ask(request, said!(Answer::ReplicasOffline)).await?
    }

    /// Leaders chosen since this node started to decide that may lack acked records.
    pub fn unclean_elections(&self) -> u64 {
        self.unclean.load(Ordering::Relaxed)
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

    /// Makes a learner of the quorum a voter (KIP-853). `directory`: its metadata directory's id, nil for whichever.
    pub async fn add_voter(&self, node: BrokerId, directory: Uuid) -> Result<(), VoterError> {
        self.ask(Request::AddVoter(node, directory), said!(Answer::AddVoter)).await?
    }

    /// Makes a voter of the quorum a learner (KIP-853). Not the last one.
    pub async fn remove_voter(&self, node: BrokerId, directory: Uuid) -> Result<(), VoterError> {
        self.ask(Request::RemoveVoter(node, directory), said!(Answer::RemoveVoter)).await?
    }

    /// The quorum as its leader sees it: it alone knows how far the others are.
    pub async fn describe_quorum(&self) -> Result<QuorumStatus, Unavailable> {
        self.ask(Request::DescribeQuorum, said!(Answer::DescribeQuorum)).await
    }

    /// The quorum as this node sees it. Never waits.
    pub fn quorum(&self) -> QuorumStatus {
        self.node.status()
    }

    /// Answers a call of another node's [`Transport`]. Hostile bytes get a refusal.
    pub fn answer_peer(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        let this = self.clone();
        let answer = self.runtime.spawn(async move {
            this.node
                .answer(request, async |from, body| {
                    let asked: Asked =
                        serial::decode(&body).map_err(|error| Refusal::Malformed(error.to_string()))?;
                    if let Some(other) = asked.request.speaks_for().filter(|other| *other != from) {
                        return Err(Refusal::Sender(format!("node {from} asks for broker {other}")));
                    }
                    let reply = this.decide(asked).await;
                    serial::encode(&reply).map_err(|error| Refusal::Malformed(error.to_string()))
                })
                .await
        });
        Box::pin(async move { answer.await.unwrap_or_default() })
    }

    /// Stops taking requests, answers those under way and closes the log.
    pub async fn shutdown(&self) {
        let commands = self.commands.clone();
        // There, so that it comes after what was asked before.
        let stopped = self.runtime.spawn(async move {
            let (reply, done) = oneshot::channel();
            // An error means that it has stopped already.
            if commands.send(Command::Shutdown(reply)).await.is_ok() {
                _ = done.await;
            }
        });
        // An error means that its runtime ended first.
        _ = stopped.await;
    }

    /// Has a request decided by whoever leads, asking again until [`PATIENCE`] is over, and waits until this node's
    /// image shows what was done.
    async fn ask<T>(&self, request: Request, said: fn(Answer) -> Option<T>) -> Result<T, Unavailable> {
        let this = self.clone();
        let answer = self.runtime.spawn(async move { this.ask_here(request).await }).await;
        let stopped = |_| Unavailable::Stopped("its runtime has ended".to_owned());
        let unasked = || Unavailable::Stopped("the leader answered another request".to_owned());
        said(answer.map_err(stopped)??).ok_or_else(unasked)
    }

    async fn ask_here(&self, request: Request) -> Result<Answer, Unavailable> {
        let deadline = Instant::now() + PATIENCE;
        let mut asked = Asked { request, again: false };
        for attempt in 0.. {
            let failed = match self.attempt(&asked, deadline).await {
                Ok(answered) => {
                    // A sign of life waits for no disk, and this node's image does: the next sign has to be in time.
                    if !matches!(asked.request, Request::Heartbeat(_)) {
                        self.see(answered.offset, deadline).await?;
                    }
                    return Ok(answered.answer);
                }
                Err(failed) => failed,
            };
            asked.again |= failed.may_be_done;
            let pause = PAUSES.get(attempt).or(PAUSES.last()).copied().unwrap_or(PATIENCE);
            if failed.for_good || Instant::now() + pause >= deadline {
                return Err(if asked.again { Unavailable::Interrupted } else { failed.why });
            }
            tokio::time::sleep(pause).await;
        }
        Err(Unavailable::Interrupted)
    }

    async fn attempt(&self, asked: &Asked, deadline: Instant) -> Result<Answered, Failed> {
        match self.node.leader() {
            Leader::Me => {
                let reply = tokio::time::timeout_at(deadline, self.decide(asked.clone())).await;
                let reply = reply.unwrap_or(Err(Unavailable::Interrupted));
                reply.map_err(|why| Failed::here(why, self.node.unavailable()))
            }
            Leader::Other(id, address) => self.forward(asked, id, &address, deadline).await,
            Leader::Unknown => Err(Failed::there(Unavailable::NotLeader { leader: None })),
            Leader::Stopped(why) => {
                Err(Failed { why: Unavailable::Stopped(why), may_be_done: false, for_good: true })
            }
        }
    }

    /// Asks another node, until it answers or this node knows of another leader.
    async fn forward(
        &self,
        asked: &Asked,
        id: u64,
        address: &Address,
        deadline: Instant,
    ) -> Result<Answered, Failed> {
        let malformed = |error: Malformed| Failed {
            why: Unavailable::Stopped(error.to_string()),
            may_be_done: true,
            for_good: true,
        };
        let body = serial::encode(asked).map_err(malformed)?;
        let mut leadership = self.node.leadership();
        let patience = deadline.saturating_duration_since(Instant::now());
        let answer = tokio::select! {
            biased;
            answer = self.node.forward(id, address, &body, patience) => answer,
            _ = leadership.wait_for(|shown| shown.leader != Some(id)) => {
                let why = Unavailable::Interrupted;
                return Err(Failed { why, may_be_done: true, for_good: false });
            }
        };
        match answer {
            Ok(body) => serial::decode::<Reply>(&body).map_err(malformed)?.map_err(Failed::there),
            Err(error) => {
                tracing::debug!(%address, %error, "the quorum's leader did not answer");
                let (may_be_done, why) = (error.may_be_done(), Unavailable::NotLeader { leader: None });
                Err(Failed { why, may_be_done, for_good: false })
            }
        }
    }

    /// Has a request decided here, or refused because another leads.
    async fn decide(&self, asked: Asked) -> Reply {
        let voters = match &asked.request {
            Request::AddVoter(node, directory) => {
                Some(Answer::AddVoter(self.node.add_voter(*node, *directory).await))
            }
            Request::RemoveVoter(node, directory) => {
                Some(Answer::RemoveVoter(self.node.remove_voter(*node, *directory).await))
            }
            _ => None,
        };
        match voters {
            Some(Answer::AddVoter(Err(VoterError::Unavailable(why))))
            | Some(Answer::RemoveVoter(Err(VoterError::Unavailable(why)))) => return Err(why),
            // Done by the attempt before, whose answer was missed.
            Some(Answer::AddVoter(Err(VoterError::AlreadyVotes(_)))) if asked.again => {
                return Ok(self.answered(Answer::AddVoter(Ok(()))));
            }
            Some(Answer::RemoveVoter(Err(VoterError::NoVoter(_)))) if asked.again => {
                return Ok(self.answered(Answer::RemoveVoter(Ok(()))));
            }
            Some(answer) => return Ok(self.answered(answer)),
            None => {}
        }
        let unregistered = match &asked.request {
            Request::UnregisterBroker(id) => Some(*id),
            _ => None,
        };
        let (reply, answer) = oneshot::channel();
        let stopped = || Unavailable::Stopped("it takes no requests".to_owned());
        self.commands.send(Command::Decide(asked, reply)).await.map_err(|_| stopped())?;
        let answered = answer.await.map_err(|_| stopped())??;
        if let (Some(gone), Answer::UnregisterBroker(Ok(()))) = (unregistered, &answered.answer) {
            self.node.forget(gone).await;
        }
        Ok(answered)
    }

    fn answered(&self, answer: Answer) -> Answered {
        Answered { offset: self.current.load().offset, answer }
    }

    /// Waits until this node's image has reached `offset`.
    async fn see(&self, offset: u64, deadline: Instant) -> Result<(), Unavailable> {
        if self.current.load().offset >= offset {
            return Ok(());
        }
        let mut images = self.current.subscribe();
        let shown = images.wait_for(|image| image.offset >= offset);
        match tokio::time::timeout_at(deadline, shown).await {
            Ok(Ok(_)) => Ok(()),
            // It is done, but this node cannot show it: to whoever looks here it is as if nobody knew.
            _ => Err(Unavailable::Interrupted),
        }
    }

    async fn ask_each<T, E: From<Unavailable>>(
        &self,
        count: usize,
        request: Request,
        said: fn(Answer) -> Option<Each<T, E>>,
    ) -> Vec<Result<T, E>> {
        match self.ask(request, said).await {
            Ok(answers) if answers.len() == count => answers,
            Ok(_) => (0..count).map(|_| Err(Unavailable::Interrupted.into())).collect(),
            Err(unavailable) => (0..count).map(|_| Err(unavailable.clone().into())).collect(),
        }
    }
}

/// One answer per item of a request.
type Each<T, E> = Vec<Result<T, E>>;

/// Why an attempt gave no answer.
struct Failed {
    why: Unavailable,
    /// The request may have been carried out.
    may_be_done: bool,
    /// Nobody will answer another attempt of this node.
    for_good: bool,
}

impl Failed {
    /// Another node said so: it may know better soon.
    fn there(why: Unavailable) -> Failed {
        let may_be_done = why == Unavailable::Interrupted;
        Failed { why, may_be_done, for_good: false }
    }

    /// This node said so; once it has stopped it answers nothing any more.
    fn here(why: Unavailable, now: Unavailable) -> Failed {
        let for_good = [&why, &now].iter().any(|why| matches!(why, Unavailable::Stopped(_)));
        Failed { for_good, ..Failed::there(why) }
    }
}

/// A leader gives an empty log its first records; a log of another cluster is refused.
async fn format_if_new(node: &Node, current: &Current, cluster_id: &str) -> Result<(), StartError> {
    let decided = format(&current.load(), cluster_id);
    let decision =
        decided.map_err(|other| StartError::OtherCluster { found: other.found, wanted: other.wanted })?;
    let Some(session) = node.session().filter(|_| !decision.group.records.is_empty()) else {
        return Ok(());
    };
    let proposal = node.propose(Entry { groups: [decision.group].into() }, session).await?;
    match proposal.outcome().await?.into_iter().find_map(Result::err) {
        Some(no_op) => Err(Unavailable::Overtaken(no_op.to_string()).into()),
        None => Ok(()),
    }
}
