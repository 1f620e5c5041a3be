//! The one loop that decides: takes requests, decides each on a speculative image (committed + proposed), proposes
//! in decision order and answers once applied. Requests that wait together share one entry, so one sync.
//! Invariant: no answer is given that rests on a proposal which did not commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::decide::decision::{Decision, Draft};
use crate::decide::format::format;
use crate::decide::partitions::{self, NewPartitions};
use crate::decide::policy::Policy;
use crate::decide::topics::{self, NewTopic};
use crate::decide::{configs, producer_ids, tiers};
use crate::error::{
    AllocateError, CreatePartitionsError, CreateTopicError, DeleteTopicError, FinishPurgeError, TierRefused,
    Unavailable,
};
use crate::id::TopicId;
use crate::image::current::Current;
use crate::image::fold::{NoOp, Outcome};
use crate::liveness::Watch;
use crate::quorum::leadership::Session;
use crate::quorum::node::Node;
use crate::record::entry::Entry;
use crate::rpc::{Answer, Answered, Asked, Reply, Request, SentRow, TierStep};

/// Requests that may wait for the loop; who asks beyond that waits to ask.
pub(crate) const QUEUE: usize = 1024;
/// Entries under way at once. The next ones are decided meanwhile, on what these will have changed.
const ROUNDS_IN_FLIGHT: usize = 4;
/// Records after which an entry takes no further request; one request may bring more.
const RECORDS_PER_ENTRY: usize = 4096;

/// What the loop is told.
pub(crate) enum Command {
    /// A request and where its answer goes.
    Decide(Asked, oneshot::Sender<Reply>),
    /// Finish what is under way and stop.
    Shutdown(oneshot::Sender<()>),
}

/// What became of a request's groups.
type Fate = Result<Vec<Outcome>, Unavailable>;

/// A decided request that waits for its groups.
struct Waiting {
    groups: usize,
    reply: oneshot::Sender<Reply>,
    answer: Box<dyn FnOnce(Vec<Outcome>) -> Answer + Send>,
}

/// Groups a request made, and its answer once their outcomes are known.
pub(crate) struct Decided {
    groups: usize,
    answer: Box<dyn FnOnce(Vec<Outcome>) -> Answer + Send>,
}

impl Decided {
    /// What is not decided here.
    fn known(answer: Answer) -> Decided {
        Decided { groups: 0, answer: Box::new(|_| answer) }
    }
}

/// An entry under way and who waits for it.
struct Round {
    waiting: Vec<Waiting>,
    /// The speculation it was decided in.
    speculation: u64,
    fate: Fate,
}

/// The loop's state.
pub(crate) struct Server {
    pub(crate) node: Node,
    pub(crate) current: Arc<Current>,
    pub(crate) commands: mpsc::Receiver<Command>,
    cluster_id: String,
    pub(crate) draft: Draft,
    /// What is decided beside the image.
    pub(crate) policy: Policy,
    /// Who is heard, and when what happens by itself is due.
    pub(crate) watch: Watch,
    /// Entries under way, each with the number of its session.
    proposed: VecDeque<(u64, Entry)>,
    /// Counts how often what was proposed had to be given up.
    speculation: u64,
    pub(crate) session: Option<Session>,
    /// Leaders chosen here that may lack acked records.
    pub(crate) unclean: Arc<AtomicU64>,
}

impl Server {
    /// Decides for the member `node` whenever it leads.
    pub(crate) fn new(
        node: Node,
        current: Arc<Current>,
        cluster_id: String,
        commands: mpsc::Receiver<Command>,
        policy: Policy,
    ) -> Server {
        let mut server = Server {
            watch: Watch::new(&policy),
            policy,
            node,
            current,
            commands,
            cluster_id,
            draft: Draft::default(),
            proposed: VecDeque::new(),
            speculation: 0,
            session: None,
            unclean: Arc::default(),
        };
        server.rebase();
        server.watch.begin(&server.draft.image, Instant::now(), None);
        server
    }

    /// Runs until told to shut down, or until no handle is left.
    pub(crate) async fn run(mut self) {
        let mut rounds: FuturesOrdered<BoxFuture<'static, Round>> = FuturesOrdered::new();
        let (mut told, mut leadership, mut gone) = (None, self.node.leadership(), self.node.gone());
        leadership.mark_changed();
        loop {
            let room = told.is_none() && rounds.len() < ROUNDS_IN_FLIGHT;
            // Biased: the simulation wants the same order every time, and old rounds make room for new ones.
            tokio::select! {
                biased;
                Some(round) = rounds.next(), if !rounds.is_empty() => self.settle(round).await,
                Ok(()) = leadership.changed(), if room => {
                    self.follow_session();
                    if self.must_format() {
                        let round = self.begin_round(None, &mut told).await;
                        rounds.push_back(round);
                    }
                    rounds.extend(self.decide_who_has_gone().await);
                }
                Ok(()) = gone.changed(), if room => {
                    self.follow_session();
                    rounds.extend(self.decide_who_has_gone().await);
                }
                command = self.commands.recv(), if room => match command {
                    None => break,
                    Some(command) => {
                        let round = self.begin_round(Some(command), &mut told).await;
                        rounds.push_back(round);
                    }
                },
                () = self.watch.due(), if room => {
                    self.follow_session();
                    self.decide_what_is_due();
                    if !self.draft.groups.is_empty() {
                        let round = self.propose(Vec::new()).await;
                        rounds.push_back(round);
                    }
                }
                else => break,
            }
        }
        self.node.shutdown().await;
        if let Some(reply) = told {
            // Whoever asked may have stopped waiting.
            _ = reply.send(());
        }
    }

    /// A log without its first records gets them before anything else.
    fn must_format(&self) -> bool {
        self.session.is_some() && self.draft.image.feature_level == 0
    }

    /// Decides `first` and what waits behind it, and proposes one entry for all of them.
    async fn begin_round(
        &mut self,
        first: Option<Command>,
        told: &mut Option<oneshot::Sender<()>>,
    ) -> BoxFuture<'static, Round> {
        self.follow_session();
        let mut waiting = Vec::new();
        if self.must_format() {
            waiting.extend(self.format());
        }
        if let Some(first) = first {
            self.take(first, &mut waiting, told);
        }
        while self.draft.groups.iter().map(|group| group.records.len()).sum::<usize>() < RECORDS_PER_ENTRY
            && waiting.len() < QUEUE
            && told.is_none()
        {
            match self.commands.try_recv() {
                Ok(command) => self.take(command, &mut waiting, told),
                Err(_) => break,
            }
        }
        self.decide_what_is_due();
        self.propose(waiting).await
    }

    /// Fences whose process has gone, in an entry of its own if need be.
    async fn decide_who_has_gone(&mut self) -> Option<BoxFuture<'static, Round>> {
        self.fence_who_has_gone();
        match self.draft.groups.is_empty() {
            true => None,
            false => Some(self.propose(Vec::new()).await),
        }
    }

    /// Proposes what was decided in one entry.
    async fn propose(&mut self, waiting: Vec<Waiting>) -> BoxFuture<'static, Round> {
        let entry = Entry { groups: std::mem::take(&mut self.draft.groups).into() };
        self.tell_unclean();
        let number = self.session.map_or(0, |session| session.number);
        self.proposed.push_back((number, entry.clone()));
        let speculation = self.speculation;
        let Some(session) = self.session.filter(|_| !entry.groups.is_empty()) else {
            // Nothing to write, but the answers may rest on what is under way: they wait their turn.
            return Box::pin(async move { Round { waiting, speculation, fate: Ok(Vec::new()) } });
        };
        match self.node.propose(entry, session).await {
            Ok(proposal) => {
                Box::pin(async move { Round { waiting, speculation, fate: proposal.outcome().await } })
            }
            Err(unavailable) => {
                Box::pin(async move { Round { waiting, speculation, fate: Err(unavailable) } })
            }
        }
    }

    fn take(&mut self, command: Command, waiting: &mut Vec<Waiting>, told: &mut Option<oneshot::Sender<()>>) {
        match command {
            // Whoever asked may have stopped waiting.
            Command::Decide(_, reply) if self.session.is_none() => {
                _ = reply.send(Err(self.node.unavailable()))
            }
            Command::Decide(asked, reply) => {
                let Decided { groups, answer } = self.decide(asked);
                waiting.push(Waiting { groups, reply, answer });
            }
            Command::Shutdown(reply) => {
                self.commands.close();
                *told = Some(reply);
            }
        }
    }

    /// Answers a round and looks at what is committed now.
    async fn settle(&mut self, round: Round) {
        self.proposed.pop_front();
        self.follow_session();
        let given_up = round.speculation != self.speculation;
        if round.fate.is_err() {
            self.speculation += 1;
        }
        self.rebase();
        let mut outcomes = round.fate.map(Vec::into_iter);
        let offset = self.current.load().offset;
        for Waiting { groups, reply, answer } in round.waiting {
            let said = match &mut outcomes {
                Ok(_) if groups == 0 && given_up => Err(Unavailable::Interrupted),
                Ok(outcomes) => Ok(Answered { offset, answer: answer(outcomes.take(groups).collect()) }),
                Err(unavailable) => Err(unavailable.clone()),
            };
            // Whoever asked may have stopped waiting.
            _ = reply.send(said);
        }
        self.node.snapshot_if_due().await;
    }

    /// What was proposed in an earlier session counts no more: its fate is not this one's to know.
    fn follow_session(&mut self) {
        let session = self.node.session();
        if session != self.session {
            self.session = session;
            self.speculation += 1;
            self.rebase();
            let before = self.node.leadership().borrow().before;
            self.watch.begin(&self.draft.image, Instant::now(), before);
        }
    }

    /// The speculative image is what is committed with what is under way on top. It starts from the committed one,
    /// so that both share their structure in memory.
    fn rebase(&mut self) {
        let mut image = (*self.current.load()).clone();
        let number = self.session.map_or(0, |session| session.number);
        let underway = self.proposed.iter().filter(|(session, _)| *session == number);
        for group in underway.flat_map(|(_, entry)| entry.groups.iter()) {
            // What does not apply any more will be a no-op when it is committed, too.
            _ = image.apply_group(group);
        }
        self.draft = Draft { image, ..Draft::default() };
    }

    /// Decides the first records; nobody waits for them.
    fn format(&mut self) -> Option<Waiting> {
        let decision = format(&self.draft.image, &self.cluster_id).ok()?;
        let (groups, ()) = self.draft.take(decision);
        let (reply, _) = oneshot::channel();
        let answer = Box::new(|_: Vec<Outcome>| Answer::FinishPurge(Ok(())));
        Some(Waiting { groups, reply, answer })
    }

    fn decide(&mut self, asked: Asked) -> Decided {
        let again = asked.again;
        match asked.request {
            Request::Register(broker) => {
                let decided = self.register(&broker);
                self.one(decided, Answer::Register)
            }
            Request::CreateTopics { topics, ids, validate_only } => {
                self.create_topics(&topics, &ids, validate_only)
            }
            Request::DeleteTopics(ids) => self.delete_topics(&ids, again),
            Request::CreatePartitions { topics, validate_only } => {
                self.create_partitions(&topics, validate_only, again)
            }
            Request::AlterConfigs(resource, changes) => {
                let decided = configs::alter(&self.draft.image, &self.policy, resource, &changes);
                self.one(decided, Answer::AlterConfigs)
            }
            Request::AllocateProducerIds => {
                let decided = producer_ids::allocate(&self.draft.image).ok_or(AllocateError::Exhausted);
                self.one(decided, Answer::AllocateProducerIds)
            }
            Request::ChangeTiers(steps) => self.change_tiers(&steps, again),
            // The client hands these to the member itself.
            Request::AddVoter(..) => Decided::known(Answer::AddVoter(Err(lost().into()))),
            Request::RemoveVoter(..) => Decided::known(Answer::RemoveVoter(Err(lost().into()))),
            Request::DescribeQuorum => Decided::known(Answer::DescribeQuorum(self.node.status())),
            Request::FinishPurge(topic) => {
                let decided = match topics::finish_purge(&self.draft.image, topic) {
                    None if again => Ok(Decision::nothing_to_do(())),
                    decided => decided.ok_or(FinishPurgeError::UnknownTopic(topic)),
                };
                self.one(decided, Answer::FinishPurge)
            }
            Request::Heartbeat(beat) => {
                let decided = self.heartbeat(&beat);
                self.one(decided, Answer::Heartbeat)
            }
            Request::AlterPartitions { from, epoch, changes } => {
                self.alter_partitions((from, epoch), &changes, again)
            }
            Request::Elect(election, partitions) => self.elect(election, &partitions, again),
            Request::Reassign(moves) => self.reassign(&moves, again),
            Request::UnregisterBroker(id) => {
                let decided = self.unregister(id, again);
                self.one(decided, Answer::UnregisterBroker)
            }
            Request::ReplicasOffline { from, epoch, offline } => {
                let decided = self.replicas_offline((from, epoch), &offline);
                self.one(decided, Answer::ReplicasOffline)
            }
            Request::UpdateFeatureLevel { level, validate_only } => {
                let decided = self.update_feature_level(level, validate_only);
                self.one(decided, Answer::UpdateFeatureLevel)
            }
        }
    }

    fn create_topics(&mut self, topics: &[NewTopic], ids: &[TopicId], validate_only: bool) -> Decided {
        let (occurrences, mut earlier, mut ids) = (topics::occurrences(topics), 0, ids.iter());
        let decide = |draft: &mut Draft, new: &NewTopic| {
            let id = ids.next().copied().unwrap_or_default();
            if occurrences.get(&new.name).is_some_and(|times| *times > 1) {
                let why = format!("topic '{}' is named twice in the request", new.name);
                return Err(CreateTopicError::InvalidRequest(why));
            }
            let decision = topics::create(&draft.image, new, id, earlier)?;
            earlier += decision.answer.partitions as u64;
            Ok(decision)
        };
        let decided = self.each_or_rehearse(validate_only, topics, decide);
        many(decided, Answer::CreateTopics, |outcome, created| match outcome {
            Some(Err(no_op)) => Err(overtaken(&no_op).into()),
            _ => Ok(created),
        })
    }

    /// A count that is exactly the one asked for may be what the attempt before made.
    fn create_partitions(&mut self, new: &[NewPartitions], validate_only: bool, again: bool) -> Decided {
        let mut earlier = 0;
        let decide =
            |draft: &mut Draft, new: &NewPartitions| match partitions::grow(&draft.image, new, earlier) {
                Err(CreatePartitionsError::InvalidPartitions { current, asked })
                    if again && current == asked =>
                {
                    Ok(Decision::nothing_to_do(asked))
                }
                decided => {
                    earlier += decided.as_ref().map_or(0, |decision| decision.group.records.len() as u64);
                    decided
                }
            };
        let decided = self.each_or_rehearse(validate_only, new, decide);
        many(decided, Answer::CreatePartitions, |outcome, count| match outcome {
            Some(Err(no_op)) => Err(overtaken(&no_op).into()),
            _ => Ok(count),
        })
    }

    /// A tombstone may be what the attempt before left: the topic is gone, as asked.
    fn delete_topics(&mut self, ids: &[TopicId], again: bool) -> Decided {
        let mut seen = std::collections::BTreeSet::new();
        let decide = |draft: &mut Draft, id: &TopicId| match seen.insert(*id) {
            true if again && draft.image.topics.tombstone(*id).is_some() => Ok(Decision::nothing_to_do(())),
            true => topics::delete(&draft.image, *id),
            false => Err(DeleteTopicError::Duplicate(*id)),
        };
        let decided = each(&mut self.draft, ids, decide);
        many(decided, Answer::DeleteTopics, |outcome, ()| match outcome {
            Some(Err(no_op)) => Err(overtaken(&no_op).into()),
            _ => Ok(()),
        })
    }

    /// A refusal after an attempt of unknown outcome proves nothing: that attempt may be what made the step stale.
    fn change_tiers(&mut self, steps: &[TierStep], again: bool) -> Decided {
        let decide = |draft: &mut Draft, step: &TierStep| {
            tiers::change(&draft.image, step.topic, step.index, &step.change).map_err(|refused| match refused
            {
                TierRefused::Refused(_) if again => Unavailable::Interrupted.into(),
                refused => refused,
            })
        };
        let decided = each(&mut self.draft, steps, decide);
        many(decided, Answer::ChangeTiers, |outcome, ()| match outcome {
            Some(Ok(applied)) => applied.tiers.into_iter().next().map(SentRow).ok_or_else(|| lost().into()),
            Some(Err(NoOp::Tier(refused))) => Err(refused.into()),
            Some(Err(no_op)) => Err(overtaken(&no_op).into()),
            None => Err(lost().into()),
        })
    }

    pub(crate) fn each_or_rehearse<I, T, E>(
        &mut self,
        rehearse: bool,
        items: &[I],
        decide: impl FnMut(&mut Draft, &I) -> Result<Decision<T>, E>,
    ) -> Vec<Result<(usize, T), E>> {
        if !rehearse {
            return each(&mut self.draft, items, decide);
        }
        let decided = each(&mut self.draft.rehearsal(), items, decide);
        decided.into_iter().map(|decided| decided.map(|(_, answer)| (0, answer))).collect()
    }

    /// A request of one decision. A no-op means that another decision came first.
    pub(crate) fn one<T: Send + 'static, E: From<Unavailable> + Send + 'static>(
        &mut self,
        decided: Result<Decision<T>, E>,
        answer: fn(Result<T, E>) -> Answer,
    ) -> Decided {
        let decided = decided.map(|decision| self.draft.take(decision));
        let groups = decided.as_ref().map_or(0, |(groups, _)| *groups);
        let settle = move |outcomes: Vec<Outcome>| {
            answer(decided.and_then(|(_, said)| match outcomes.into_iter().next() {
                Some(Err(no_op)) => Err(overtaken(&no_op).into()),
                _ => Ok(said),
            }))
        };
        Decided { groups, answer: Box::new(settle) }
    }
}

/// Decides a request's items one after the other, each on what the ones before it leave.
pub(crate) fn each<I, T, E>(
    draft: &mut Draft,
    items: &[I],
    mut decide: impl FnMut(&mut Draft, &I) -> Result<Decision<T>, E>,
) -> Vec<Result<(usize, T), E>> {
    items.iter().map(|item| decide(draft, item).map(|decision| draft.take(decision))).collect()
}

/// A request of many decisions, one answer each.
pub(crate) fn many<T: Send + 'static, A: Send + 'static, E: From<Unavailable> + Send + 'static>(
    decided: Vec<Result<(usize, A), E>>,
    answer: fn(Vec<Result<T, E>>) -> Answer,
    settle: fn(Option<Outcome>, A) -> Result<T, E>,
) -> Decided {
    let groups = decided.iter().flatten().map(|(groups, _)| groups).sum();
    let settle = move |outcomes: Vec<Outcome>| {
        let mut outcomes = outcomes.into_iter();
        let settled = decided.into_iter().map(|decided| {
            let (groups, said) = decided?;
            settle((groups > 0).then(|| outcomes.next()).flatten(), said)
        });
        answer(settled.collect())
    };
    Decided { groups, answer: Box::new(settle) }
}

pub(crate) fn overtaken(no_op: &NoOp) -> Unavailable {
    Unavailable::Overtaken(no_op.to_string())
}

/// The quorum answered fewer groups than it was given.
fn lost() -> Unavailable {
    Unavailable::Interrupted
}
