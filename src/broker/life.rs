//! A broker's life in its cluster: it registers, tells the active controller that it lives, acts on what it is told,
//! and asks before it stops. Not here: who is alive (the controller's).
//! Invariant: nothing here waits for a disk: it runs on a thread of its own, so that a slow fsync fences nobody.

use std::time::Duration;

use firnline_controller::client::Controller;
use firnline_controller::decide::brokers::{BrokerRegistration, Heartbeat, HeartbeatAnswer};
use firnline_controller::error::{HeartbeatError, RegisterError};
use firnline_controller::id::BrokerEpoch;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::broker::start_error::StartError;
use crate::config::broker::Cluster;

/// Pause between two tries to register.
const AGAIN: Duration = Duration::from_millis(100);
/// Sessions without an answer after which a stop waits no longer: two controllers may have gone in a row.
const SESSIONS_OF_SILENCE: u32 = 3;
/// How long a stop waits for the controller to move this broker's leaders away.
const MAY_STOP: Duration = Duration::from_secs(30);

/// What the controller said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Of this process's registration.
    pub epoch: BrokerEpoch,
    /// It leads nothing and is in no ISR.
    pub fenced: bool,
    /// Nothing is led here any more, and it was asked for.
    pub may_stop: bool,
}

/// What the life of a broker needs.
pub struct Parts {
    /// Where it registers.
    pub controller: Controller,
    /// What it says about itself.
    pub registration: BrokerRegistration,
    /// Intervals and limits.
    pub times: Cluster,
    /// The metadata this broker has acted on.
    pub assigned: watch::Receiver<u64>,
}

/// A registered broker.
pub struct Life {
    parts: Parts,
    state: watch::Sender<State>,
    wants_stop: watch::Receiver<bool>,
    /// The last failure, so that each is said once.
    said: Option<String>,
}

/// How this process stands in the cluster.
pub struct Joined {
    state: Option<watch::Receiver<State>>,
    wants_stop: watch::Sender<bool>,
    /// Without an answer for this long, nobody is there who could move leaders.
    silence: Duration,
    task: Option<JoinHandle<()>>,
}

impl Joined {
    /// A process that serves no clients: there is nothing to register.
    pub fn without_broker() -> Joined {
        Joined { state: None, wants_stop: watch::channel(false).0, silence: Duration::ZERO, task: None }
    }

    /// A broker that nobody else can join: registered is alive, and no life signs are sent.
    pub fn alone(epoch: BrokerEpoch) -> Joined {
        let state = watch::channel(State { epoch, fenced: false, may_stop: true }).1;
        Joined { state: Some(state), ..Joined::without_broker() }
    }

    /// The epoch of the registration, -1 without one.
    pub fn epoch(&self) -> i64 {
        self.state.as_ref().map_or(-1, |state| state.borrow().epoch.0)
    }

    /// Asks the controller to move leaders away, and waits until it has, but not for ever.
    pub async fn leave(&self) {
        let Some(mut state) = self.state.clone() else { return };
        self.wants_stop.send_replace(true);
        let until = Instant::now() + MAY_STOP;
        while !state.borrow_and_update().may_stop {
            let silent = (Instant::now() + self.silence).min(until);
            if !matches!(timeout_at(silent, state.changed()).await, Ok(Ok(()))) {
                tracing::warn!("no controller moved the leaders away: stopping all the same");
                return;
            }
        }
    }

    /// Sends no more life signs.
    pub fn end(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Life {
    /// Registers this process, trying again while the controller cannot be reached, or holds another process of this
    /// id for alive.
    ///
    /// # Errors
    /// What the controller refuses for good, or the last failure once the time is up.
    pub async fn register(parts: Parts) -> Result<Life, StartError> {
        let until = Instant::now() + Duration::from_millis(parts.times.registration_ms);
        let mut said = None;
        let epoch = loop {
            let error = match parts.controller.register_broker(parts.registration.clone()).await {
                Ok(epoch) => break epoch,
                Err(error) => error,
            };
            // A node that the quorum does not take knows nobody to register with: the reason is the quorum's.
            let trouble = parts.controller.quorum().trouble;
            let error = match (trouble, error) {
                (Some(why), RegisterError::Unavailable(_)) => StartError::NotAMember(why),
                (_, error) if !passes(&error) => return Err(error.into()),
                (_, error) => error.into(),
            };
            if Instant::now() + AGAIN >= until {
                return Err(error);
            }
            say_once(&mut said, &error);
            sleep(AGAIN).await;
        };
        tracing::info!(epoch = epoch.0, incarnation = %parts.registration.incarnation, "registered");
        let (state, _) = watch::channel(State { epoch, fenced: true, may_stop: false });
        let (_, wants_stop) = watch::channel(false);
        Ok(Life { parts, state, wants_stop, said: None })
    }

    /// Begins to send life signs on `on`.
    pub fn begin(mut self, on: &Handle) -> Joined {
        let (ask, wants_stop) = watch::channel(false);
        self.wants_stop = wants_stop;
        let state = Some(self.state.subscribe());
        let silence = SESSIONS_OF_SILENCE * Duration::from_millis(self.parts.times.session_ms);
        Joined { state, wants_stop: ask, silence, task: Some(on.spawn(self.run())) }
    }

    async fn run(mut self) {
        let interval = Duration::from_millis(self.parts.times.heartbeat_ms);
        // A call that takes longer than a session cannot keep it: the next one may find another controller.
        let patience = Duration::from_millis(self.parts.times.session_ms);
        loop {
            let began = Instant::now();
            let sign = self.sign();
            match timeout(patience, self.parts.controller.heartbeat(sign)).await {
                Ok(Ok(answer)) => self.take(answer),
                Ok(Err(HeartbeatError::StaleEpoch { .. } | HeartbeatError::UnknownBroker(_))) => {
                    self.register_again().await;
                }
                Ok(Err(error)) => say_once(&mut self.said, &error),
                Err(_) => say_once(&mut self.said, &"the controller did not answer"),
            }
            self.wait_until(began + interval).await;
        }
    }

    fn sign(&mut self) -> Heartbeat {
        let acted = *self.parts.assigned.borrow_and_update();
        Heartbeat {
            id: self.parts.registration.id,
            epoch: self.state.borrow().epoch,
            image_offset: acted,
            wants_fence: false,
            wants_stop: *self.wants_stop.borrow_and_update(),
        }
    }

    fn take(&mut self, answer: HeartbeatAnswer) {
        if self.said.take().is_some() {
            tracing::info!("the controller answers again");
        }
        let before = *self.state.borrow();
        if before.fenced != answer.fenced {
            match answer.fenced {
                true => tracing::warn!(epoch = before.epoch.0, "fenced: this broker leads nothing"),
                false => tracing::info!(epoch = before.epoch.0, "unfenced: this broker may lead"),
            }
        }
        let HeartbeatAnswer { fenced, may_stop } = answer;
        self.state.send_replace(State { epoch: before.epoch, fenced, may_stop });
    }

    /// The registration is not the current one any more: the broker was unregistered, or taken for another.
    async fn register_again(&mut self) {
        let before = self.state.borrow().epoch;
        match self.parts.controller.register_broker(self.parts.registration.clone()).await {
            Ok(epoch) => {
                tracing::warn!(
                    before = before.0,
                    epoch = epoch.0,
                    "the registration was gone: registered again"
                );
                self.state.send_replace(State { epoch, fenced: true, may_stop: false });
            }
            Err(error) => say_once(&mut self.said, &error),
        }
    }

    /// Until the next sign is due; earlier when there is news that the controller waits for.
    async fn wait_until(&mut self, due: Instant) {
        let fenced = self.state.borrow().fenced;
        let Parts { assigned, .. } = &mut self.parts;
        tokio::select! {
            biased;
            Ok(()) = self.wants_stop.changed() => {}
            Ok(()) = assigned.changed(), if fenced => {}
            () = sleep_until(due) => {}
        }
    }
}

/// Whether it is worth trying again.
fn passes(error: &RegisterError) -> bool {
    matches!(error, RegisterError::Unavailable(_) | RegisterError::Duplicate { .. })
}

fn say_once(said: &mut Option<String>, failure: &dyn std::fmt::Display) {
    let text = failure.to_string();
    if said.as_ref() != Some(&text) {
        tracing::warn!(why = text, "the controller does not take this broker's life signs; trying on");
        *said = Some(text);
    }
}
