//! openraft's way to other members. There is none yet: a quorum of one has nobody to call, and says so.
//! A transport takes this file's place of answering; nothing else in the room changes then.

use openraft::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, BasicNode};

use crate::quorum::type_config::{TypeConfig, VoterId};

type RpcError<E = RaftError<VoterId>> = RPCError<VoterId, BasicNode, E>;

/// Makes connections to members.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network;

/// The connection to one member.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    target: VoterId,
}

impl Connection {
    fn unreachable<E: std::error::Error>(self) -> RpcError<E> {
        let why = AnyError::error(format!("voter {} cannot be reached: there is no transport", self.target));
        RPCError::Unreachable(Unreachable::new(&why))
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: VoterId, _: &BasicNode) -> Connection {
        Connection { target }
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<VoterId>, RpcError> {
        Err(self.unreachable())
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<VoterId>, RpcError<RaftError<VoterId, InstallSnapshotError>>> {
        Err(self.unreachable())
    }

    async fn vote(
        &mut self,
        _: VoteRequest<VoterId>,
        _: RPCOption,
    ) -> Result<VoteResponse<VoterId>, RpcError> {
        Err(self.unreachable())
    }
}
