//! The one loop that decides: takes requests, decides each on a speculative image (committed + proposed), proposes
//! in decision order and answers once applied. Requests that wait together share one entry, so one sync.
//! Invariant: no answer is given that rests on a proposal which did not commit.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use firnline_tiering::cold::tier::{TierChange, TierRow};
use firnline_tiering::entropy::Entropy;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use crate::decide::brokers::{self, BrokerRegistration};
use crate::decide::decision::{Decision, Draft};
use crate::decide::partitions::{self, NewPartitions};
use crate::decide::topics::{self, CreatedTopic, NewTopic};
use crate::decide::{configs, producer_ids, tiers};
use crate::error::{
    AllocateError, AlterConfigsError, CreatePartitionsError, CreateTopicError, DeleteTopicError,
    FinishPurgeError, RegisterError, TierRefused, Unavailable,
};
use crate::id::{BrokerEpoch, TopicId};
use crate::image::current::Current;
use crate::image::fold::{NoOp, Outcome};
use crate::quorum::node::Node;
use crate::record::entry::Entry;
use crate::record::kinds::Resource;

/// Requests that may wait for the loop; who asks beyond that waits to ask.
pub(crate) const QUEUE: usize = 1024;
/// Entries under way at once. The next ones are decided meanwhile, on what these will have changed.
const ROUNDS_IN_FLIGHT: usize = 4;
/// Records after which an entry takes no further request; one request may bring more.
const RECORDS_PER_ENTRY: usize = 4096;

/// A request with the place its answer goes to.
pub(crate) enum Command {
    Register(BrokerRegistration, oneshot::Sender<Result<BrokerEpoch, RegisterError>>),
    CreateTopics {
        topics: Vec<NewTopic>,
        validate_only: bool,
        reply: oneshot::Sender<Vec<Result<CreatedTopic, CreateTopicError>>>,
    },
    DeleteTopics(Vec<TopicId>, oneshot::Sender<Vec<Result<(), DeleteTopicError>>>),
    CreatePartitions {
        topics: Vec<NewPartitions>,
        validate_only: bool,
        reply: oneshot::Sender<Vec<Result<i32, CreatePartitionsError>>>,
    },
    AlterConfigs(Resource, Vec<(String, Option<String>)>, oneshot::Sender<Result<(), AlterConfigsError>>),
    AllocateProducerIds(oneshot::Sender<Result<Range<i64>, AllocateError>>),
    ChangeTiers(Vec<(TopicId, i32, TierChange)>, oneshot::Sender<Vec<Result<Arc<TierRow>, TierRefused>>>),
    FinishPurge(TopicId, oneshot::Sender<Result<(), FinishPurgeError>>),
    Shutdown(oneshot::Sender<()>),
}

/// What became of a request's groups.
type Fate = Result<Vec<Outcome>, Unavailable>;

/// A decided request that waits for its groups.
struct Waiting {
    groups: usize,
    answer: Box<dyn FnOnce(Fate) + Send>,
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
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) commands: mpsc::Receiver<Command>,
    draft: Draft,
    proposed: VecDeque<Entry>,
    /// Counts how often what was proposed had to be given up.
    speculation: u64,
    term: Option<u64>,
}

impl Server {
    /// Decides for the member `node`, which leads.
    pub(crate) fn new(
        node: Node,
        current: Arc<Current>,
        entropy: Arc<dyn Entropy>,
        commands: mpsc::Receiver<Command>,
    ) -> Server {
        let term = node.leads_in();
        let mut server = Server {
            node,
            current,
            entropy,
            commands,
            draft: Draft::default(),
            proposed: VecDeque::new(),
            speculation: 0,
            term,
        };
        server.rebase();
        server
    }

    /// Runs until told to shut down, or until no handle is left.
    pub(crate) async fn run(mut self) {
        let mut rounds: FuturesOrdered<BoxFuture<'static, Round>> = FuturesOrdered::new();
        let mut told = None;
        loop {
            let room = told.is_none() && rounds.len() < ROUNDS_IN_FLIGHT;
            // Biased: the simulation wants the same order every time, and old rounds make room for new ones.
            tokio::select! {
                biased;
                Some(round) = rounds.next(), if !rounds.is_empty() => self.settle(round).await,
                command = self.commands.recv(), if room => match command {
                    None => break,
                    Some(Command::Shutdown(reply)) => {
                        self.commands.close();
                        told = Some(reply);
                    }
                    Some(command) => {
                        let round = self.begin_round(command, &mut told).await;
                        rounds.push_back(round);
                    }
                },
                else => break,
            }
        }
        self.node.shutdown().await;
        if let Some(reply) = told {
            // Whoever asked may have stopped waiting.
            _ = reply.send(());
        }
    }

    /// Decides `first` and what waits behind it, and proposes one entry for all of them.
    async fn begin_round(
        &mut self,
        first: Command,
        told: &mut Option<oneshot::Sender<()>>,
    ) -> BoxFuture<'static, Round> {
        self.follow_term();
        let mut waiting = vec![self.decide(first)];
        while self.draft.groups.iter().map(|group| group.records.len()).sum::<usize>() < RECORDS_PER_ENTRY
            && waiting.len() < QUEUE
        {
            match self.commands.try_recv() {
                Ok(Command::Shutdown(reply)) => {
                    self.commands.close();
                    *told = Some(reply);
                    break;
                }
                Ok(command) => waiting.push(self.decide(command)),
                Err(_) => break,
            }
        }
        let entry = Entry { groups: std::mem::take(&mut self.draft.groups).into() };
        self.proposed.push_back(entry.clone());
        let speculation = self.speculation;
        if entry.groups.is_empty() {
            // Nothing to write, but the answers may rest on what is under way: they wait their turn.
            return Box::pin(async move { Round { waiting, speculation, fate: Ok(Vec::new()) } });
        }
        match self.node.propose(entry).await {
            Ok(proposal) => {
                Box::pin(async move { Round { waiting, speculation, fate: proposal.outcome().await } })
            }
            Err(unavailable) => {
                Box::pin(async move { Round { waiting, speculation, fate: Err(unavailable) } })
            }
        }
    }

    /// Answers a round and looks at what is committed now.
    async fn settle(&mut self, round: Round) {
        self.proposed.pop_front();
        let given_up = round.speculation != self.speculation;
        if round.fate.is_err() {
            self.speculation += 1;
        }
        self.rebase();
        let mut outcomes = round.fate.map(Vec::into_iter);
        for Waiting { groups, answer } in round.waiting {
            match &mut outcomes {
                Ok(_) if groups == 0 && given_up => answer(Err(Unavailable::Interrupted)),
                Ok(outcomes) => answer(Ok(outcomes.take(groups).collect())),
                Err(unavailable) => answer(Err(unavailable.clone())),
            }
        }
        self.node.snapshot_if_due().await;
    }

    /// A new term may have brought entries of another leader: what this one proposed before counts no more.
    fn follow_term(&mut self) {
        let term = self.node.leads_in();
        if term != self.term {
            self.term = term;
            self.speculation += 1;
            self.rebase();
        }
    }

    /// The speculative image is what is committed with what is under way on top. It starts from the committed one,
    /// so that both share their structure in memory.
    fn rebase(&mut self) {
        let mut image = (*self.current.load()).clone();
        for group in self.proposed.iter().flat_map(|entry| entry.groups.iter()) {
            // What does not apply any more will be a no-op when it is committed, too.
            _ = image.apply_group(group);
        }
        self.draft = Draft { image, groups: Vec::new() };
    }

    fn decide(&mut self, command: Command) -> Waiting {
        match command {
            Command::Register(broker, reply) => {
                let decided = brokers::register(&self.draft.image, &broker);
                self.one(decided, reply, |_, epoch| Ok(epoch))
            }
            Command::CreateTopics { topics, validate_only, reply } => {
                self.create_topics(&topics, validate_only, reply)
            }
            Command::DeleteTopics(ids, reply) => self.delete_topics(&ids, reply),
            Command::CreatePartitions { topics, validate_only, reply } => {
                self.create_partitions(&topics, validate_only, reply)
            }
            Command::AlterConfigs(resource, changes, reply) => {
                let decided = configs::alter(&self.draft.image, resource, &changes);
                self.one(decided, reply, |_, ()| Ok(()))
            }
            Command::AllocateProducerIds(reply) => {
                let decided = producer_ids::allocate(&self.draft.image).ok_or(AllocateError::Exhausted);
                self.one(decided, reply, |_, block| Ok(block))
            }
            Command::ChangeTiers(changes, reply) => {
                let decide = |draft: &mut Draft, (topic, index, change): &(TopicId, i32, TierChange)| {
                    tiers::change(&draft.image, *topic, *index, change)
                };
                let decided = each(&mut self.draft, &changes, decide);
                waiting(decided, reply, |outcome, ()| match outcome {
                    Some(Ok(applied)) => applied.tiers.into_iter().next().ok_or_else(|| lost().into()),
                    Some(Err(NoOp::Tier(refused))) => Err(refused.into()),
                    Some(Err(no_op)) => Err(overtaken(&no_op).into()),
                    None => Err(lost().into()),
                })
            }
            Command::FinishPurge(topic, reply) => {
                let decided = topics::finish_purge(&self.draft.image, topic);
                self.one(decided.ok_or(FinishPurgeError::UnknownTopic(topic)), reply, |_, ()| Ok(()))
            }
            Command::Shutdown(_) => unreachable!("the loop takes it before it decides"),
        }
    }

    fn create_topics(
        &mut self,
        topics: &[NewTopic],
        validate_only: bool,
        reply: oneshot::Sender<Vec<Result<CreatedTopic, CreateTopicError>>>,
    ) -> Waiting {
        let (occurrences, entropy, mut earlier) = (topics::occurrences(topics), self.entropy.clone(), 0);
        let decide = |draft: &mut Draft, new: &NewTopic| {
            if occurrences.get(&new.name).is_some_and(|times| *times > 1) {
                let why = format!("topic '{}' is named twice in the request", new.name);
                return Err(CreateTopicError::InvalidRequest(why));
            }
            let decision = topics::create(&draft.image, new, TopicId::draw(entropy.as_ref()), earlier)?;
            earlier += decision.answer.partitions as u64;
            Ok(decision)
        };
        let decided = self.each_or_rehearse(validate_only, topics, decide);
        waiting(decided, reply, |outcome, created| match outcome {
            Some(Err(no_op)) => Err(overtaken(&no_op).into()),
            _ => Ok(created),
        })
    }

    fn create_partitions(
        &mut self,
        new: &[NewPartitions],
        validate_only: bool,
        reply: oneshot::Sender<Vec<Result<i32, CreatePartitionsError>>>,
    ) -> Waiting {
        let mut earlier = 0;
        let decide = |draft: &mut Draft, new: &NewPartitions| {
            let decision = partitions::grow(&draft.image, new, earlier)?;
            earlier += decision.group.records.len() as u64;
            Ok(decision)
        };
        let decided = self.each_or_rehearse(validate_only, new, decide);
        waiting(decided, reply, |outcome, count| match outcome {
            Some(Err(no_op)) => Err(overtaken(&no_op).into()),
            _ => Ok(count),
        })
    }

    fn delete_topics(
        &mut self,
        ids: &[TopicId],
        reply: oneshot::Sender<Vec<Result<(), DeleteTopicError>>>,
    ) -> Waiting {
        let mut seen = std::collections::BTreeSet::new();
        let decide = |draft: &mut Draft, id: &TopicId| match seen.insert(*id) {
            true => topics::delete(&draft.image, *id),
            false => Err(DeleteTopicError::Duplicate(*id)),
        };
        let decided = each(&mut self.draft, ids, decide);
        waiting(decided, reply, |outcome, ()| match outcome {
            Some(Err(no_op)) => Err(overtaken(&no_op).into()),
            _ => Ok(()),
        })
    }

    fn each_or_rehearse<I, T, E>(
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

    /// A request of one decision. A no-op means that another decision came first, whatever `settle` says.
    fn one<T: Send + 'static, A: Send + 'static, E: From<Unavailable> + Send + 'static>(
        &mut self,
        decided: Result<Decision<A>, E>,
        reply: oneshot::Sender<Result<T, E>>,
        settle: fn(Option<Outcome>, A) -> Result<T, E>,
    ) -> Waiting {
        let decided = decided.map(|decision| self.draft.take(decision));
        let groups = decided.as_ref().map_or(0, |(groups, _)| *groups);
        let answer = move |fate: Fate| {
            let answer = match (fate, decided) {
                (Err(unavailable), _) => Err(unavailable.into()),
                (Ok(_), Err(refused)) => Err(refused),
                (Ok(outcomes), Ok((_, answer))) => match outcomes.into_iter().next() {
                    Some(Err(no_op)) => Err(overtaken(&no_op).into()),
                    outcome => settle(outcome, answer),
                },
            };
            // Whoever asked may have stopped waiting.
            _ = reply.send(answer);
        };
        Waiting { groups, answer: Box::new(answer) }
    }
}

/// Decides a request's items one after the other, each on what the ones before it leave.
fn each<I, T, E>(
    draft: &mut Draft,
    items: &[I],
    mut decide: impl FnMut(&mut Draft, &I) -> Result<Decision<T>, E>,
) -> Vec<Result<(usize, T), E>> {
    items.iter().map(|item| decide(draft, item).map(|decision| draft.take(decision))).collect()
}

/// A request of many decisions, one answer each.
fn waiting<T: Send + 'static, A: Send + 'static, E: From<Unavailable> + Send + 'static>(
    decided: Vec<Result<(usize, A), E>>,
    reply: oneshot::Sender<Vec<Result<T, E>>>,
    settle: fn(Option<Outcome>, A) -> Result<T, E>,
) -> Waiting {
    let groups = decided.iter().flatten().map(|(groups, _)| groups).sum();
    let answer = move |fate: Fate| {
        let answers: Vec<Result<T, E>> = match fate {
            Err(unavailable) => decided.iter().map(|_| Err(unavailable.clone().into())).collect(),
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                let settled = decided.into_iter().map(|decided| {
                    let (groups, answer) = decided?;
                    settle((groups > 0).then(|| outcomes.next()).flatten(), answer)
                });
                settled.collect()
            }
        };
        // Whoever asked may have stopped waiting.
        _ = reply.send(answers);
    };
    Waiting { groups, answer: Box::new(answer) }
}

fn overtaken(no_op: &NoOp) -> Unavailable {
    Unavailable::Overtaken(no_op.to_string())
}

/// The quorum answered fewer groups than it was given.
fn lost() -> Unavailable {
    Unavailable::Interrupted
}
