//! openraft's way to other members. Not the calls themselves (`peers.rs`) nor when an election begins (`campaign.rs`).
//! Invariant: what openraft is told a member answered, that member answered.

use std::time::Duration;

use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, SnapshotMismatch, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{BasicNode, SnapshotSegmentId};

use crate::quorum::identity::Whereabouts;
use crate::quorum::peer_codec::Kind;
use crate::quorum::peers::{CallError, Peers};
use crate::quorum::raft_messages;
use crate::quorum::type_config::{TypeConfig, VoterId};
use crate::record::bytes::CodecError;
use crate::transport::{Address, TransportError};

type RpcError<E = RaftError<VoterId>> = RPCError<VoterId, BasicNode, E>;

/// Between the first two tries to reach a member that was not there; each further pause is twice as long.
const RETRY: Duration = Duration::from_millis(50);
/// The longest pause: so late at most does a member that is back hear of what it missed.
const RETRY_MAX: Duration = Duration::from_millis(400);

/// Makes connections to members.
#[derive(Debug, Clone)]
pub struct Network {
    /// The calls.
    pub peers: Peers,
}

/// The connection to one member.
#[derive(Debug, Clone)]
pub struct Connection {
    peers: Peers,
    target: VoterId,
    node: BasicNode,
    address: Option<Address>,
}

impl Connection {
    async fn ask<T, E: std::error::Error>(
        &self,
        kind: Kind,
        body: &[u8],
        patience: Duration,
        read: impl FnOnce(&[u8]) -> Result<T, CodecError>,
    ) -> Result<T, RpcError<E>> {
        let answer = self.peers.call(self.target, self.address.as_ref(), kind, body, patience).await;
        match answer {
            Ok(body) => read(&body).map_err(|error| RPCError::Network(NetworkError::new(&error))),
            // Known not to be done, and likely so for a while: openraft waits before it tries again.
            Err(error @ (CallError::Transport(TransportError::Unreachable(_)) | CallError::Refused(_))) => {
                Err(RPCError::Unreachable(Unreachable::new(&error)))
            }
            Err(error) => Err(RPCError::Network(NetworkError::new(&error))),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: VoterId, node: &BasicNode) -> Connection {
        let address = Whereabouts::of(node).address;
        Connection { peers: self.peers.clone(), target, node: node.clone(), address }
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<VoterId>, RpcError> {
        let body = raft_messages::encode_append(&request);
        self.ask(Kind::Append, &body, option.hard_ttl(), raft_messages::decode_append_answer).await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<VoterId>, RpcError<RaftError<VoterId, InstallSnapshotError>>> {
        let body = raft_messages::encode_snapshot(&request);
        let read = raft_messages::decode_snapshot_answer;
        match self.ask(Kind::Snapshot, &body, option.hard_ttl(), read).await? {
            Some(vote) => Ok(InstallSnapshotResponse { vote }),
            None => {
                let segment = |offset| SnapshotSegmentId { id: request.meta.snapshot_id.clone(), offset };
                let error = SnapshotMismatch { expect: segment(0), got: segment(request.offset) };
                let error = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(error));
                Err(RPCError::RemoteError(RemoteError::new_with_node(self.target, self.node.clone(), error)))
            }
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<VoterId>,
        option: RPCOption,
    ) -> Result<VoteResponse<VoterId>, RpcError> {
        let body = raft_messages::encode_election(&request);
        self.ask(Kind::Vote, &body, option.hard_ttl(), raft_messages::decode_election_answer).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::successors(Some(RETRY), |pause| Some((*pause * 2).min(RETRY_MAX))))
    }
}
