//! DescribeGroups: state, protocol and members of groups, with the members' bytes as they came.
//! Invariant: every asked group has an answer; one that does not exist is Dead, and says so from version 6 on.

use crate::api::authorized;
use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::api::groups::names;
use crate::coordinator::group::classic::State;
use crate::coordinator::group::coordinator::Described;
use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::id::MemberId;
use crate::coordinator::group::member::Member;
use crate::wire::header::Header;
use crate::wire::message::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::wire::message::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use crate::wire::response::encode;

/// First version that says that a group does not exist (KIP-1043).
const SAYS_NOT_FOUND: i16 = 6;
/// First version with the operations a caller may do (KIP-430).
const OPERATIONS: i16 = 3;
/// Kafka's name for the state of a group that is not there.
const DEAD: &str = "Dead";

/// Handles one DescribeGroups request.
pub fn handle(ctx: &Context, header: &Header, request: DescribeGroupsRequest) -> Answer {
    let (groups, header) = (ctx.shared.groups.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let asked = header.version >= OPERATIONS && request.include_authorized_operations;
        let mut described = Vec::with_capacity(request.groups.len());
        for id in request.groups {
            let outcome = groups.describe(&names::group(&id)).await;
            described.push(describe(header.version, id, asked, outcome));
        }
        encode(&header, &DescribeGroupsResponse::default().with_groups(described)).into()
    }))
}

fn describe(
    version: i16,
    id: GroupId,
    operations: bool,
    outcome: Result<Option<Described>, GroupError>,
) -> DescribedGroup {
    let name = id.to_string();
    let group = DescribedGroup::default().with_group_id(id);
    match outcome {
        Err(error) => group.with_error_code(ErrorCode::from(&error).code()),
        Ok(None) if version < SAYS_NOT_FOUND => group.with_group_state(names::text(DEAD)),
        Ok(None) => group
            .with_group_state(names::text(DEAD))
            .with_error_code(ErrorCode::GroupIdNotFound.code())
            .with_error_message(Some(names::text(&format!("Group {name} not found.")))),
        Ok(Some(described)) => {
            // Which bytes a member's metadata is made of is settled when the group is.
            let protocol = Some(&described.protocol).filter(|_| described.state == State::Stable);
            let members =
                described.members.iter().map(|(id, it)| member(id, it, protocol.map(String::as_str)));
            group
                .with_group_state(names::text(described.state.name()))
                .with_protocol_type(names::text(&described.protocol_type))
                .with_protocol_data(names::text(&described.protocol))
                .with_members(members.collect())
                .with_authorized_operations(authorized::when(operations, authorized::GROUP))
        }
    }
}

fn member(id: &MemberId, member: &Member, protocol: Option<&str>) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(names::text(id.as_str()))
        .with_group_instance_id(names::instance_out(member.instance.as_ref()))
        .with_client_id(names::text(&member.client_id))
        .with_client_host(names::text(&member.client_host))
        .with_member_metadata(protocol.map(|protocol| member.metadata(protocol)).unwrap_or_default())
        .with_member_assignment(member.assignment.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};

    use crate::coordinator::group::records::MemberValue;
    use crate::wire::message::{Decodable, Encodable};

    fn described(state: State) -> Described {
        let value = MemberValue {
            id: "m".into(),
            instance: Some("i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: 1,
            session_timeout_ms: 1,
            subscription: Bytes::from_static(b"\xffsubscription"),
            assignment: Bytes::from_static(b"\xffassignment"),
        };
        let protocol = if state == State::Stable { "range" } else { "" };
        Described {
            state,
            protocol_type: "consumer".into(),
            protocol: protocol.into(),
            members: vec![(value.id.clone(), Member::from_record(&value, "range"))],
        }
    }

    fn read(version: i16, outcome: Result<Option<Described>, GroupError>) -> DescribedGroup {
        let mut bytes = BytesMut::new();
        let group = describe(version, GroupId(names::text("g")), version >= 3, outcome);
        DescribeGroupsResponse::default()
            .with_groups(vec![group])
            .encode(&mut bytes, version)
            .expect("encodes");
        DescribeGroupsResponse::decode(&mut bytes.freeze(), version).expect("decodes").groups.remove(0)
    }

    #[test]
    fn members_bytes_are_theirs_and_metadata_waits_for_stability() {
        for version in 0..=6 {
            let stable = read(version, Ok(Some(described(State::Stable))));
            assert_eq!((stable.group_state.as_str(), stable.protocol_data.as_str()), ("Stable", "range"));
            assert_eq!(&stable.members[0].member_metadata[..], b"\xffsubscription");
            assert_eq!(&stable.members[0].member_assignment[..], b"\xffassignment");
            assert_eq!(stable.authorized_operations, if version >= 3 { authorized::GROUP } else { i32::MIN });
            let moving = read(version, Ok(Some(described(State::PreparingRebalance))));
            assert_eq!((moving.protocol_data.as_str(), moving.members[0].member_metadata.len()), ("", 0));
        }
    }

    #[test]
    fn a_group_that_is_not_there_is_dead() {
        for version in 0..=6 {
            let dead = read(version, Ok(None));
            assert_eq!(
                (dead.group_state.as_str(), dead.error_code),
                ("Dead", if version >= 6 { 69 } else { 0 })
            );
        }
    }
}
