//! How tiers reach the quorum: changes of many logs, proposed together.
//! It decides nothing: the row does, twice. Invariant: each change gets exactly one answer, its own.

use std::sync::Arc;

use async_trait::async_trait;
use firnline_controller::client::Controller;
use firnline_controller::error::{TierRefused, Unavailable};
use firnline_controller::id::TopicId;
use firnline_tiering::cold::commit::{CommitError, TierCommit};
use firnline_tiering::cold::tier::{TierChange, TierRow};
use firnline_tiering::config::LogId;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// Changes that may wait for the quorum; more than offloads run at once.
const WAITING_MAX: usize = 1024;

/// Changes proposed together.
const BATCH_MAX: usize = 256;

struct Waiting {
    topic: TopicId,
    partition: i32,
    change: TierChange,
    reply: oneshot::Sender<Result<Arc<TierRow>, TierRefused>>,
}

/// Tier changes over the controller's client.
pub struct QuorumCommit {
    controller: Controller,
    waiting: mpsc::Sender<Waiting>,
}

impl QuorumCommit {
    /// Proposes from a task on `quorum` until the last handle is gone.
    pub fn start(controller: Controller, quorum: &Handle) -> Arc<Self> {
        let (waiting, inbox) = mpsc::channel(WAITING_MAX);
        quorum.spawn(propose(controller.clone(), inbox));
        Arc::new(Self { controller, waiting })
    }
}

/// Takes what has gathered while the last proposal was under way, and proposes it as one.
async fn propose(controller: Controller, mut inbox: mpsc::Receiver<Waiting>) {
    let mut taken = Vec::with_capacity(BATCH_MAX);
    while inbox.recv_many(&mut taken, BATCH_MAX).await > 0 {
        let (mut changes, mut replies) = (Vec::with_capacity(taken.len()), Vec::with_capacity(taken.len()));
        for Waiting { topic, partition, change, reply } in taken.drain(..) {
            changes.push((topic, partition, change));
            replies.push(reply);
        }
        let answers = controller.change_tiers(changes).await;
        assert_eq!(answers.len(), replies.len(), "one answer per change");
        for (reply, answer) in replies.into_iter().zip(answers) {
            // Who asked may have given up; the row knows what became of it.
            let _ = reply.send(answer);
        }
    }
}

#[async_trait]
impl TierCommit for QuorumCommit {
    async fn commit(&self, log: &LogId, change: TierChange) -> Result<Arc<TierRow>, CommitError> {
        let (topic, partition) = TopicId::of_log(log).ok_or(CommitError::NoSuchLog)?;
        let (reply, answer) = oneshot::channel();
        let stopped = || CommitError::Unavailable("the broker stops".to_owned());
        let waiting = Waiting { topic, partition, change, reply };
        self.waiting.send(waiting).await.map_err(|_| stopped())?;
        match answer.await {
            Ok(Ok(row)) => Ok(row),
            Ok(Err(refused)) => Err(translate(refused)),
            Err(_) => Err(CommitError::Unknown("the broker stopped meanwhile".to_owned())),
        }
    }

    fn row(&self, log: &LogId) -> Option<Arc<TierRow>> {
        let (topic, partition) = TopicId::of_log(log)?;
        self.controller.image().tier_row(topic, partition)
    }
}

fn translate(refused: TierRefused) -> CommitError {
    match refused {
        TierRefused::Refused(refused) => CommitError::Refused(refused),
        TierRefused::UnknownPartition(..) => CommitError::NoSuchLog,
        TierRefused::Unavailable(Unavailable::Interrupted) => {
            CommitError::Unknown("the quorum's leader changed".to_owned())
        }
        TierRefused::Unavailable(unavailable) => CommitError::Unavailable(unavailable.to_string()),
    }
}
