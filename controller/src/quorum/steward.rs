//! The member's own clockwork beside raft: beats while it leads, canvasses when its leader falls silent, keeps the
//! session, joins where it is no member, begins a new quorum (`beginning.rs`). Invariant: it waits for nothing: what takes time is
//! under way beside it, so that no slow disk or peer delays a beat.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firnline_tiering::clock::Clock;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use openraft::{BasicNode, ChangeMembers, RaftMetrics};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::id::BrokerId;
use crate::quorum::campaign::{self, BEAT, Campaign, QUIET};
use crate::quorum::founder::{Beginning, Disagreement, Elector, Founder};
use crate::quorum::founding::{Founders, is_unmet};
use crate::quorum::identity::{Whereabouts, node_of};
use crate::quorum::leadership::{Leadership, Session};
use crate::quorum::lines::{Came, Lines, Try};
use crate::quorum::log_store::LogStore;
use crate::quorum::membership::Changes;
use crate::quorum::peer_codec::{self, BeatAnswer, HelloAnswer, JoinAnswer, Kind, Refusal};
use crate::quorum::peers::{CallError, Contacts, Peers};
use crate::quorum::plan::Plan;
use crate::quorum::type_config::{LogId, Raft, VoterId};
use crate::transport::Address;

/// How often it looks at the clock.
const LOOK: Duration = Duration::from_millis(50);
/// What a beat or a canvass may take.
const CALL: Duration = Duration::from_millis(400);
/// Between two tries to join or to begin.
const RETRY: Duration = Duration::from_millis(300);
/// What a try to join may take: the leader commits a change in it.
const JOIN: Duration = Duration::from_secs(9);
/// A leader whose core answers nothing for so long (its disk hangs) stops to beat, so that others take over. Seconds
/// are a disk that is busy: nothing is decided meanwhile, and nothing is lost by waiting.
const HANGS: Duration = Duration::from_secs(5);
/// A leader that a majority does not answer for so long (it can speak and not hear, or votes no more) falls silent...
const UNHEARD: Duration = Duration::from_secs(1);
/// ... for so long: whoever hears it would otherwise wait for it.
const REST: Duration = Duration::from_secs(2);

/// So often the leader may say that this node is a member before it has said a word to it.
const UNREACHED: u32 = 5;

/// What a steward works with.
pub struct Steward {
    pub(super) raft: Raft,
    pub(super) log: LogStore,
    pub(super) metrics: watch::Receiver<RaftMetrics<VoterId, BasicNode>>,
    pub(super) me: VoterId,
    pub(super) plan: Plan,
    pub(super) founder: Founder,
    pub(super) whereabouts: Whereabouts,
    pub(super) peers: Peers,
    pub(super) contacts: Contacts,
    pub(super) campaign: Arc<Mutex<Campaign>>,
    pub(super) changes: Changes,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) leadership: watch::Sender<Leadership>,
    pub(super) gone: watch::Sender<BTreeMap<BrokerId, Instant>>,
    pub(super) trouble: Arc<Mutex<Option<String>>>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) state: State,
}

/// What it remembers between two looks.
#[derive(Default)]
pub struct State {
    pub(super) underway: FuturesUnordered<BoxFuture<'static, Event>>,
    beating: BTreeSet<VoterId>,
    /// Members that did not answer the last beat.
    silent: BTreeSet<VoterId>,
    next_beat: Option<Instant>,
    /// When the last question to raft's core was asked, if it is unanswered; and how many were.
    asked_core: Option<Instant>,
    core_questions: u64,
    /// The first question whose answer tells where a session begins.
    session_question: u64,
    /// The core's last entry when this member began to lead with authority; the session begins once it is applied.
    session_from: Option<u64>,
    wants_session: bool,
    sessions: u64,
    canvassing: bool,
    pub(super) joining: bool,
    next_try: Option<Instant>,
    pub(super) hint: Option<(VoterId, Address)>,
    turn: usize,
    led_since: Option<(u64, Instant)>,
    /// A leader without authority is silent until then, so that others can take over.
    rests_until: Option<Instant>,
    /// When it last had authority.
    had_authority: Option<Instant>,
    lines: Lines,
    /// Whom it followed last, and when that one was heard.
    followed: Option<(VoterId, Instant)>,
    pub(super) beginning: Beginning,
    /// How often in a row it was told that it is a member, without hearing so from the log.
    taken_unheard: u32,
}

/// Something that took time is done.
pub enum Event {
    Core(u64, Option<u64>),
    Beaten(VoterId, u64, Instant, u64, Result<BeatAnswer, CallError>),
    Canvassed(BTreeSet<VoterId>),
    Greeted(Vec<(Elector, Result<HelloAnswer, CallError>)>),
    Agreed(Result<Founders, Disagreement>),
    Joined(Result<JoinAnswer, CallError>),
    Line(VoterId, Address, Instant, Came),
    Changed,
}

pub(super) type View = RaftMetrics<VoterId, BasicNode>;

impl Steward {
    /// Works until told to stop, or until raft has stopped.
    pub async fn run(mut self) {
        let mut clock = tokio::time::interval(LOOK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Biased: the simulation wants the same order every time.
            tokio::select! {
                biased;
                _ = self.stop.changed() => break,
                Some(event) = self.state.underway.next(), if !self.state.underway.is_empty() => self.take(event),
                changed = self.metrics.changed() => if changed.is_err() { break },
                _ = clock.tick() => {}
            }
            let view = self.metrics.borrow_and_update().clone();
            if let Err(fatal) = &view.running_state {
                self.end(fatal.to_string());
                return;
            }
            self.look(&view, Instant::now());
        }
        self.end("it takes no requests".to_owned());
    }

    fn end(&self, why: String) {
        self.leadership.send_replace(Leadership { stopped: Some(why), ..Leadership::default() });
    }

    fn look(&mut self, view: &View, now: Instant) {
        let configs = view.membership_config.membership().get_joint_config().clone();
        let leads = view.state.is_leader();
        if leads {
            self.lead(view, &configs, now);
        } else {
            self.state.led_since = None;
            self.state.wants_session = false;
            self.state.session_from = None;
            self.state.next_beat = None;
            self.rest(None);
        }
        self.show(view, &configs, now);
        let votes = configs.iter().any(|voters| voters.contains(&self.me));
        if leads || votes {
            self.hold_lines(view, now);
        }
        if !leads && votes {
            let leader = view.current_leader.filter(|id| *id != self.me);
            let gone = leader.is_some_and(|id| self.state.lines.gone(id).is_some());
            let heard = {
                let mut campaign = self.campaign();
                campaign.leader_gone(gone);
                campaign.last_heard()
            };
            self.state.followed = leader.map(|id| (id, heard)).or(self.state.followed);
            self.follow(view, &configs, now);
        }
        if self.state.next_try.is_none_or(|at| now >= at) && !self.state.joining {
            self.settle_in(view, !configs.iter().all(BTreeSet::is_empty), now);
        }
    }

    /// Beats, and asks the core whether it still works.
    fn lead(&mut self, view: &View, configs: &[BTreeSet<VoterId>], now: Instant) {
        let term = view.current_term;
        if self.state.led_since.is_none_or(|(led, _)| led != term) {
            self.state.led_since = Some((term, now));
            self.contacts.begin(term);
            self.state.had_authority = Some(now);
        }
        let voter = configs.iter().any(|voters| voters.contains(&self.me));
        let committed = view.last_applied.as_ref() >= view.membership_config.log_id().as_ref();
        let unheard = self.state.had_authority.is_none_or(|had| now >= had + UNHEARD);
        match self.state.rests_until {
            Some(until) if now < until => return,
            Some(_) => {
                self.rest(None);
                self.state.had_authority = Some(now);
            }
            None if unheard || (committed && !voter) => return self.rest(Some(now + REST)),
            None => {}
        }
        let hangs = self.state.asked_core.is_some_and(|asked| now >= asked + HANGS);
        if self.state.next_beat.is_none_or(|at| now >= at) {
            self.state.next_beat = Some(now + BEAT);
            if self.state.asked_core.is_none() {
                self.ask_core(now);
            }
            if hangs {
                tracing::warn!("the quorum's disk hangs: this member stops to lead until it works again");
                return;
            }
            let membership = view.membership_config.membership();
            self.contacts.keep(|id| membership.get_node(&id).is_some());
            self.state.silent.retain(|id| membership.get_node(id).is_some());
            let me = self.me;
            for (id, node) in membership.nodes().filter(|(id, _)| **id != me && !is_unmet(**id)) {
                self.beat(*id, node, term, view.last_log_index.map_or(0, |last| last + 1), now);
            }
        }
        let joint = configs.len() > 1;
        let applied = view.last_applied.as_ref() >= view.membership_config.log_id().as_ref();
        if joint && applied && !self.changes.busy() && self.leadership.borrow().session.is_some() {
            self.finish_change(configs);
        }
    }

    /// Falls silent until then, or speaks again.
    fn rest(&mut self, until: Option<Instant>) {
        if self.state.rests_until.is_some() != until.is_some() {
            self.raft.runtime_config().heartbeat(until.is_none());
        }
        self.state.rests_until = until;
    }

    /// A leader that fell in the middle of a change leaves two configurations in force; the next one ends it.
    fn finish_change(&mut self, configs: &[BTreeSet<VoterId>]) {
        let Some(last) = configs.last().cloned() else { return };
        let changes = self.changes.clone();
        self.state.underway.push(Box::pin(async move {
            if let Err(error) = changes.make(ChangeMembers::ReplaceAllVoters(last), true).await {
                tracing::warn!(%error, "a change of members that another leader began is not finished");
            }
            Event::Changed
        }));
    }

    fn ask_core(&mut self, now: Instant) {
        self.state.asked_core = Some(now);
        self.state.core_questions += 1;
        let question = self.state.core_questions;
        let (tell, told) = oneshot::channel();
        let log = self.log.clone();
        self.raft.external_request(move |_| {
            // Whoever asked may be gone.
            _ = tell.send(log.last_index());
        });
        self.state.underway.push(Box::pin(async move { Event::Core(question, told.await.ok().flatten()) }));
    }

    fn beat(&mut self, to: VoterId, node: &BasicNode, term: u64, end: u64, now: Instant) {
        if !self.state.beating.insert(to) {
            return;
        }
        let (peers, address) = (self.peers.clone(), Whereabouts::of(node).address);
        self.state.underway.push(Box::pin(async move {
            let body = peer_codec::encode_beat(term);
            let answer = peers.call(to, address.as_ref(), Kind::Beat, &body, CALL).await;
            let read = |body: bytes::Bytes| {
                let read = peer_codec::decode_beat_answer(&body);
                read.map_err(|error| crate::transport::TransportError::Lost(error.to_string()).into())
            };
            Event::Beaten(to, term, now, end, answer.and_then(read))
        }));
    }

    /// Begins or ends the session, and shows it.
    fn show(&mut self, view: &View, configs: &[BTreeSet<VoterId>], now: Instant) {
        let answered =
            |id| if id == self.me { Some(now) } else { self.contacts.of(id).map(|contact| contact.sent) };
        let authority = view.state.is_leader()
            && self.state.rests_until.is_none()
            && campaign::acknowledged(configs, answered).is_some_and(|since| now < since + QUIET);
        if authority {
            self.state.had_authority = Some(now);
        }
        let shown = self.leadership.borrow().clone();
        let kept = shown.session.filter(|session| authority && session.term == view.current_term);
        if kept.is_some() {
            self.state.wants_session = false;
        } else if !authority {
            (self.state.wants_session, self.state.session_from) = (false, None);
        } else if !self.state.wants_session {
            // What the core says from now on includes everything that was proposed before.
            (self.state.wants_session, self.state.session_from) = (true, None);
            self.ask_core(now);
            self.state.session_question = self.state.core_questions;
        }
        let applied = view.last_applied.map(|applied| applied.index);
        let begun = match self.state.session_from {
            Some(from) if kept.is_none() && authority && applied >= Some(from) => {
                self.state.sessions += 1;
                Some(Session { number: self.state.sessions, term: view.current_term })
            }
            _ => None,
        };
        let before =
            self.state.followed.filter(|_| view.state.is_leader()).map(|(id, heard)| (node_of(id), heard));
        let next = Leadership { session: kept.or(begun), leader: view.current_leader, before, stopped: None };
        if next != shown {
            if let Some(session) = begun {
                tracing::info!(term = session.term, "this node leads the quorum");
            } else if shown.session.is_some() && next.session.is_none() {
                tracing::info!(leader = ?next.leader.map(node_of), "this node leads the quorum no more");
            }
            self.leadership.send_replace(next);
        }
    }

    /// Canvasses when it is this voter's turn.
    fn follow(&mut self, view: &View, configs: &[BTreeSet<VoterId>], now: Instant) {
        if self.state.canvassing {
            return;
        }
        let voters: BTreeSet<VoterId> = configs.iter().flatten().copied().collect();
        let gone = view.current_leader.filter(|id| self.state.lines.gone(*id).is_some());
        let mut line = voters.iter().filter(|id| gone != Some(**id) && !is_unmet(**id));
        let rank = line.position(|id| *id == self.me).unwrap_or(voters.len());
        let last = self.last_log_id();
        {
            let mut campaign = self.campaign();
            if !campaign.stands(now, rank, voters.len() == 1) {
                return;
            }
            if let Err(why) = campaign.encourages(now, self.me, last, last) {
                tracing::debug!(why, "not standing for election");
                return;
            }
        }
        self.state.canvassing = true;
        tracing::info!(silence = ?now - self.campaign().last_heard(), "the quorum's leader is silent: canvassing");
        let membership = self.metrics.borrow().membership_config.membership().clone();
        let asked = voters.into_iter().filter(|id| *id != self.me && !is_unmet(*id)).map(|id| {
            let address = membership.get_node(&id).and_then(|node| Whereabouts::of(node).address);
            let (peers, body) = (self.peers.clone(), peer_codec::encode_canvass(last.as_ref()));
            async move {
                let answer = peers.call(id, address.as_ref(), Kind::Canvass, &body, CALL).await.ok()?;
                match peer_codec::decode_canvass_answer(&answer) {
                    Ok(Ok(())) => Some(id),
                    Ok(Err(why)) => {
                        tracing::info!(voter = %node_of(id), why, "would not vote for this node");
                        None
                    }
                    Err(_) => None,
                }
            }
        });
        let asked: FuturesUnordered<_> = asked.collect();
        let (me, configs) = (self.me, configs.to_vec());
        self.state.underway.push(Box::pin(async move {
            let (mut asked, mut yes) = (asked, BTreeSet::from([me]));
            while !campaign::majority(&configs, |id| yes.contains(&id)) {
                match asked.next().await {
                    Some(answer) => yes.extend(answer),
                    None => break,
                }
            }
            Event::Canvassed(yes)
        }));
    }

    fn last_log_id(&self) -> Option<LogId> {
        self.raft.data_metrics().borrow().last_log
    }

    fn campaign(&self) -> std::sync::MutexGuard<'_, Campaign> {
        // Times only: what a panic left half-done is put right by the next beat.
        self.campaign.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Where this member is none yet, or not as it should be: begins the quorum or asks to join it.
    fn settle_in(&mut self, view: &View, started: bool, now: Instant) {
        let membership = view.membership_config.membership();
        let known = membership.get_node(&self.me).map(Whereabouts::of);
        let named = self.plan.names(node_of(self.me));
        let twin = |id: VoterId| id != self.me && node_of(id) == node_of(self.me);
        let votes = membership.voter_ids().any(|id| id == self.me);
        let displaced = named && !votes && membership.voter_ids().any(twin);
        if known.as_ref() == Some(&self.whereabouts) && !displaced {
            self.set_trouble(None);
            self.state.next_try = Some(now + RETRY);
            return;
        }
        if self.whereabouts.address.is_none() && known.is_some() {
            return;
        }
        self.state.next_try = Some(now + RETRY);
        if view.state.is_leader() {
            self.move_myself();
        } else if !started && (named || self.founder.decided().is_some_and(|founders| founders.len() > 1)) {
            self.greet();
        } else {
            self.join(view);
        }
    }

    /// A leader whose address is not the one the members know tells them.
    fn move_myself(&mut self) {
        let node = BTreeMap::from([(self.me, self.whereabouts.to_node())]);
        let changes = self.changes.clone();
        self.state.joining = true;
        self.state.underway.push(Box::pin(async move {
            Event::Joined(Ok(match changes.make(ChangeMembers::SetNodes(node), true).await {
                Ok(()) => JoinAnswer::Member,
                Err(error) => JoinAnswer::Later(error.to_string()),
            }))
        }));
    }

    /// Asks the leader, or whoever may know it.
    pub(super) fn join(&mut self, view: &View) {
        let members = view.membership_config.membership();
        let leader = view.current_leader.filter(|id| *id != self.me).and_then(|id| {
            members.get_node(&id).and_then(|node| Whereabouts::of(node).address).map(|address| (id, address))
        });
        let mut contacts = self.plan.contacts(node_of(self.me), self.whereabouts.address.as_ref());
        let others = members.nodes().filter(|(id, _)| **id != self.me);
        contacts.extend(others.filter_map(|(_, node)| Whereabouts::of(node).address));
        self.state.turn += 1;
        let any = contacts.get(self.state.turn % contacts.len().max(1)).map(|address| (0, address.clone()));
        // Every other time whoever is next: who was named may be gone.
        let named = if self.state.turn.is_multiple_of(2) {
            self.state.hint.take().or(leader)
        } else {
            leader.or(self.state.hint.take())
        };
        let Some((to, address)) = named.or(any) else { return };
        let (peers, votes) = (self.peers.clone(), self.plan.names(node_of(self.me)));
        let body = peer_codec::encode_join(&self.whereabouts.to_node().addr, votes);
        self.state.joining = true;
        self.state.underway.push(Box::pin(async move {
            let answer = peers.call(to, Some(&address), Kind::Join, &body, JOIN).await;
            Event::Joined(answer.and_then(|body| {
                let read = peer_codec::decode_join_answer(&body);
                read.map_err(|error| crate::transport::TransportError::Lost(error.to_string()).into())
            }))
        }));
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Core(question, last) => {
                if question == self.state.core_questions {
                    self.state.asked_core = None;
                }
                if self.state.wants_session && question >= self.state.session_question {
                    self.state.session_from = self.state.session_from.or(last);
                }
            }
            Event::Beaten(member, term, sent, end, answer) => self.beaten(member, (term, sent, end), answer),
            Event::Canvassed(yes) => {
                self.state.canvassing = false;
                self.elect(&yes);
            }
            Event::Greeted(answers) => {
                self.state.joining = false;
                self.greeted(&answers, Instant::now());
            }
            Event::Agreed(outcome) => {
                self.state.joining = false;
                self.agreed(outcome);
            }
            Event::Joined(answer) => {
                self.state.joining = false;
                self.joined(answer);
            }
            Event::Line(member, address, began, came) => self.line_ended(member, &address, began, &came),
            Event::Changed => {}
        }
    }

    /// A leader holds a line to every member, a voter one to its leader.
    fn hold_lines(&mut self, view: &View, now: Instant) {
        let membership = view.membership_config.membership();
        self.state.lines.keep(|id| membership.get_node(&id).is_some());
        let (me, leads, leader) = (self.me, view.state.is_leader(), view.current_leader);
        let wanted = membership
            .nodes()
            .filter(|(id, _)| **id != me && !is_unmet(**id) && (leads || Some(**id) == leader));
        for (id, node) in wanted {
            let (id, Some(address)) = (*id, Whereabouts::of(node).address) else { continue };
            let Some(step) = self.state.lines.due(id, &address, now) else { continue };
            let (peers, body) = (self.peers.clone(), peer_codec::encode_hello(&self.plan.voters()));
            self.state.underway.push(Box::pin(async move {
                let came = match step {
                    Try::Greet => {
                        let answer = peers.call(id, Some(&address), Kind::Hello, &body, CALL).await;
                        Came::Greeted(answer.is_ok())
                    }
                    Try::Hold => Came::Held(peers.transport.line(&address).await),
                };
                Event::Line(id, address, now, came)
            }));
        }
        self.show_gone();
    }

    fn line_ended(&mut self, member: VoterId, address: &Address, began: Instant, came: &Came) {
        if self.state.lines.came(member, address, began, came, Instant::now()) {
            tracing::warn!(node = %node_of(member), %address, "a member's process has gone: nobody listens there any more");
        }
        self.show_gone();
    }

    fn show_gone(&self) {
        let gone: BTreeMap<BrokerId, Instant> =
            self.state.lines.all_gone().map(|(member, since)| (node_of(member), since)).collect();
        self.gone.send_if_modified(|shown| {
            let changed = *shown != gone;
            *shown = gone;
            changed
        });
    }

    /// One line for a member that falls silent, one when it speaks again.
    fn beaten(
        &mut self,
        member: VoterId,
        (term, sent, end): (u64, Instant, u64),
        answer: Result<BeatAnswer, CallError>,
    ) {
        self.state.beating.remove(&member);
        match answer {
            Ok(answer) => {
                if self.state.silent.remove(&member) {
                    tracing::info!(node = %node_of(member), "a member of the quorum answers again");
                }
                if answer.heard {
                    let (wall, all) = (self.clock.now_ms(), answer.log_end >= end);
                    self.contacts.note(term, member, sent, wall, answer, all);
                }
            }
            Err(error) if self.state.silent.insert(member) => {
                tracing::warn!(node = %node_of(member), %error, "a member of the quorum does not answer");
            }
            Err(_) => {}
        }
    }

    /// Stands for election if a majority would vote for this member and no leader spoke meanwhile.
    fn elect(&mut self, yes: &BTreeSet<VoterId>) {
        let configs = self.metrics.borrow().membership_config.membership().get_joint_config().clone();
        let silent = self.campaign().silent(Instant::now()) || configs.iter().all(|voters| voters.len() == 1);
        if !silent || !campaign::majority(&configs, |id| yes.contains(&id)) {
            return;
        }
        let raft = self.raft.clone();
        self.state.underway.push(Box::pin(async move {
            if let Err(error) = raft.trigger().elect().await {
                tracing::warn!(%error, "no election was begun");
            }
            Event::Changed
        }));
    }

    fn joined(&mut self, answer: Result<JoinAnswer, CallError>) {
        match answer {
            Ok(JoinAnswer::Member) => {
                let heard = self.metrics.borrow().membership_config.membership().get_node(&self.me).is_some();
                self.state.taken_unheard = if heard { 0 } else { self.state.taken_unheard + 1 };
                let known = self.whereabouts.address.as_ref().map(Address::to_string).unwrap_or_default();
                self.set_trouble((self.state.taken_unheard > UNREACHED).then(|| {
                    format!(
                        "the quorum's leader took this node as a member and does not reach it at {known}: make that \
                         address lead here, or correct advertised.listeners"
                    )
                }));
            }
            Ok(JoinAnswer::Later(why)) => self.set_trouble(Some(format!("not a member yet: {why}"))),
            Ok(JoinAnswer::Refused(why)) => self.set_trouble(Some(format!("refused by the quorum: {why}"))),
            Ok(JoinAnswer::OtherLeader(leader)) => {
                self.state.hint = leader.and_then(|(id, at)| Some((id, at.parse().ok()?)));
            }
            Err(CallError::Refused(Refusal::OtherCluster(theirs))) => self.set_trouble(Some(format!(
                "those controllers belong to cluster {theirs}, this node to {}: correct controller.quorum.voters or \
                 .bootstrap.servers, or format an empty directory for their cluster",
                self.peers.cluster_id
            ))),
            Err(error) => self.set_trouble(Some(format!("no leader was found to join: {error}"))),
        }
    }

    /// Shows what is in the way; each new trouble is one line in the log.
    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        let mut shown = self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *shown != trouble {
            if let Some(why) = &trouble {
                tracing::warn!(why, "this node is not settled in its quorum");
            }
            *shown = trouble;
        }
    }
}
