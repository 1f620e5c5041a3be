//! JoinGroup: a member wants in; answered when the rebalance it takes part in completes.
//! Invariant: the members' bytes reach the leader as they came.

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::api::groups::names;
use crate::coordinator::group::effects::{Joined, JoinedMember};
use crate::coordinator::group::error::JoinRefused;
use crate::coordinator::group::id::MemberId;
use crate::coordinator::group::join::Join;
use crate::coordinator::group::member::Protocol;
use crate::wire::header::Header;
use crate::wire::message::join_group_response::JoinGroupResponseMember;
use crate::wire::message::{JoinGroupRequest, JoinGroupResponse, StrBytes};
use crate::wire::response::encode;

/// First version with a rebalance timeout of its own (KIP-62).
const REBALANCE_TIMEOUT: i16 = 1;
/// First version that joins with an id it was given (KIP-394).
const NEEDS_ID: i16 = 4;
/// First version whose protocol may be null.
const NULL_PROTOCOL: i16 = 7;
/// First version that understands `skip_assignment` (KIP-814).
const MAY_SKIP: i16 = 9;

/// Handles one JoinGroup request.
pub fn handle(ctx: &Context, header: &Header, request: JoinGroupRequest) -> Answer {
    let group = names::group(&request.group_id);
    let host = format!("/{}", ctx.peer.address.ip());
    let join = join(header, host, ctx.shared.groups.fresh(), request);
    let (groups, header) = (ctx.shared.groups.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let outcome = groups.join(group, join).await;
        encode(&header, &response(header.version, outcome)).into()
    }))
}

fn join(header: &Header, client_host: String, fresh: uuid::Uuid, request: JoinGroupRequest) -> Join {
    let version = header.version;
    let rebalance =
        if version >= REBALANCE_TIMEOUT { request.rebalance_timeout_ms } else { request.session_timeout_ms };
    let protocols = request.protocols.into_iter();
    Join {
        member: names::member(&request.member_id),
        instance: names::instance(request.group_instance_id.as_ref()),
        client_id: header.client().to_owned(),
        client_host,
        rebalance_timeout_ms: rebalance,
        session_timeout_ms: request.session_timeout_ms,
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols
            .map(|it| Protocol { name: it.name.to_string(), metadata: it.metadata })
            .collect(),
        needs_id: version >= NEEDS_ID,
        may_skip: version >= MAY_SKIP,
        reason: request.reason.map_or_else(|| "no reason given".to_owned(), |reason| reason.to_string()),
        fresh,
    }
}

fn response(version: i16, outcome: Result<Joined, JoinRefused>) -> JoinGroupResponse {
    let response = JoinGroupResponse::default();
    // Older versions write an empty name where newer ones write null.
    let nullable = |name: Option<String>| match name {
        None if version < NULL_PROTOCOL => Some(StrBytes::default()),
        name => name.map(StrBytes::from_string),
    };
    match outcome {
        Err(refused) => response
            .with_error_code(ErrorCode::from(&refused.error).code())
            .with_protocol_name(nullable(None))
            .with_member_id(names::text(refused.member.as_str())),
        Ok(joined) => response
            .with_generation_id(joined.generation)
            .with_protocol_type(
                joined.protocol_type.filter(|_| version >= NULL_PROTOCOL).map(StrBytes::from_string),
            )
            .with_protocol_name(nullable(joined.protocol))
            .with_leader(names::text(joined.leader.as_ref().map_or("", MemberId::as_str)))
            .with_skip_assignment(joined.skip_assignment)
            .with_member_id(names::text(joined.member.as_str()))
            .with_members(joined.members.into_iter().map(member).collect()),
    }
}

fn member(joined: JoinedMember) -> JoinGroupResponseMember {
    JoinGroupResponseMember::default()
        .with_member_id(names::text(joined.id.as_str()))
        .with_group_instance_id(names::instance_out(joined.instance.as_ref()))
        .with_metadata(joined.metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};

    use crate::coordinator::group::error::GroupError;
    use crate::wire::message::{Decodable, Encodable};

    fn joined() -> Joined {
        Joined {
            generation: 3,
            protocol_type: Some("consumer".into()),
            protocol: Some("range".into()),
            leader: Some("m".into()),
            member: "m".into(),
            members: vec![JoinedMember {
                id: "m".into(),
                instance: Some("i".into()),
                metadata: Bytes::from_static(b"\xff\x00raw"),
            }],
            skip_assignment: false,
        }
    }

    #[test]
    fn every_version_encodes_a_join_and_a_refusal() {
        for version in 0..=9 {
            let mut bytes = BytesMut::new();
            response(version, Ok(joined())).encode(&mut bytes, version).expect("encodes");
            let read = JoinGroupResponse::decode(&mut bytes.freeze(), version).expect("decodes");
            assert_eq!((read.generation_id, read.leader.as_str()), (3, "m"));
            assert_eq!(&read.members[0].metadata[..], b"\xff\x00raw");
            assert_eq!(read.members[0].group_instance_id.is_some(), version >= 5);

            let mut bytes = BytesMut::new();
            let refused = JoinRefused { error: GroupError::MemberIdRequired, member: "new".into() };
            response(version, Err(refused)).encode(&mut bytes, version).expect("encodes");
            let read = JoinGroupResponse::decode(&mut bytes.freeze(), version).expect("decodes");
            assert_eq!((read.error_code, read.member_id.as_str(), read.generation_id), (79, "new", -1));
            assert_eq!(read.protocol_name.is_none(), version >= 7);
        }
    }
}
