//! Calls to other members, and what their answers told. Not what is said (`peer_codec.rs`, `raft_messages.rs`).
//! Invariant: a call reaches the member it names or fails: a node that changed its identity does not answer for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::quorum::peer_codec::{self, BeatAnswer, Kind, Refusal};
use crate::quorum::type_config::VoterId;
use crate::transport::{Address, Transport, TransportError};

/// Says who calls.
#[derive(Debug, Clone)]
pub struct Peers {
    /// The way out.
    pub transport: Arc<dyn Transport>,
    /// Kafka's cluster id.
    pub cluster_id: String,
    /// This member.
    pub me: VoterId,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The transport.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The other side.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
}

impl CallError {
    /// The other side may have done what was asked.
    pub fn may_be_done(&self) -> bool {
        matches!(self, CallError::Transport(TransportError::Lost(_)))
    }
}

impl Peers {
    /// Calls `to` (0: whoever it is) at `address`.
    pub async fn call(
        &self,
        to: VoterId,
        address: Option<&Address>,
        kind: Kind,
        body: &[u8],
        patience: Duration,
    ) -> Result<Bytes, CallError> {
        let Some(address) = address else {
            return Err(TransportError::Unreachable("it has not said where it takes calls".to_owned()).into());
        };
        let request = peer_codec::encode_request(&self.cluster_id, self.me, to, kind, body);
        let call = self.transport.call(address, request.into(), patience);
        let answer = match tokio::time::timeout(patience, call).await {
            Ok(answered) => answered?,
            Err(_) => {
                return Err(TransportError::Lost(format!("{address} did not answer in {patience:?}")).into());
            }
        };
        let body = peer_codec::decode_answer(&answer);
        let body = body.map_err(|error| TransportError::Lost(format!("{address}: {error}")))??;
        Ok(answer.slice_ref(body))
    }
}

/// What a leader knows of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// When the last answered beat was sent.
    pub sent: Instant,
    /// The same on the wall clock, in milliseconds (Kafka's last fetch timestamp).
    pub fetched: i64,
    /// When it was last known to have everything (Kafka's last caught-up timestamp), −1 for never.
    pub caught_up: i64,
    /// Index after its last entry.
    pub log_end: u64,
    /// The newest feature level its binary reads.
    pub level: u16,
}

/// What a leader knows of the members, since it leads.
#[derive(Debug, Clone, Default)]
pub struct Contacts {
    known: Arc<Mutex<(u64, BTreeMap<VoterId, Contact>)>>,
}

impl Contacts {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<VoterId, Contact>)> {
        // What is lost with a panic is one contact; the next beat brings it again.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was learnt in another term.
    pub fn begin(&self, term: u64) {
        let mut known = self.lock();
        if known.0 != term {
            *known = (term, BTreeMap::new());
        }
    }

    /// A member answered a beat of `term`. `all`: it has everything the leader had.
    pub fn note(&self, term: u64, member: VoterId, sent: Instant, wall: i64, answer: BeatAnswer, all: bool) {
        let mut known = self.lock();
        if known.0 == term {
            let before = known.1.get(&member).map_or(-1, |contact| contact.caught_up);
            let caught_up = if all { wall } else { before };
            let BeatAnswer { log_end, level, .. } = answer;
            known.1.insert(member, Contact { sent, fetched: wall, caught_up, log_end, level });
        }
    }

    /// What is known of one.
    pub fn of(&self, member: VoterId) -> Option<Contact> {
        self.lock().1.get(&member).copied()
    }

    /// Forgets those that are members no more.
    pub fn keep(&self, is_member: impl Fn(VoterId) -> bool) {
        self.lock().1.retain(|id, _| is_member(*id));
    }
}
