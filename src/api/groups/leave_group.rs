//! LeaveGroup: members leave, one (to version 2) or several, also by instance id alone, which administrators do.
//! Invariant: every named member gets an answer, in the request's order.

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::api::groups::names;
use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::sync::Leaving;
use crate::wire::header::Header;
use crate::wire::message::leave_group_request::MemberIdentity;
use crate::wire::message::leave_group_response::MemberResponse;
use crate::wire::message::{LeaveGroupRequest, LeaveGroupResponse};
use crate::wire::response::encode;

/// First version with several members (KIP-345).
const MANY: i16 = 3;

/// Handles one LeaveGroup request.
pub fn handle(ctx: &Context, header: &Header, request: LeaveGroupRequest) -> Answer {
    let group = names::group(&request.group_id);
    let members = match header.version {
        MANY.. => request.members,
        _ => vec![MemberIdentity::default().with_member_id(request.member_id)],
    };
    let leaving = members.iter().map(|it| Leaving {
        member: names::member(&it.member_id),
        instance: names::instance(it.group_instance_id.as_ref()),
        reason: it.reason.as_ref().map_or_else(|| "no reason given".to_owned(), |reason| reason.to_string()),
    });
    let leaving: Vec<Leaving> = leaving.collect();
    let (groups, header) = (ctx.shared.groups.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let outcome = groups.leave(group, leaving).await;
        encode(&header, &response(header.version, members, outcome)).into()
    }))
}

fn response(
    version: i16,
    members: Vec<MemberIdentity>,
    outcome: Result<Vec<Result<(), GroupError>>, GroupError>,
) -> LeaveGroupResponse {
    let response = LeaveGroupResponse::default();
    let code = |answer: &Result<(), GroupError>| match answer {
        Ok(()) => ErrorCode::None.code(),
        Err(error) => ErrorCode::from(error).code(),
    };
    match outcome {
        Err(error) => response.with_error_code(ErrorCode::from(&error).code()),
        Ok(answers) if version < MANY => response.with_error_code(answers.first().map_or(0, code)),
        Ok(answers) => {
            let left = members.into_iter().zip(&answers).map(|(member, answer)| {
                MemberResponse::default()
                    .with_member_id(member.member_id)
                    .with_group_instance_id(member.group_instance_id)
                    .with_error_code(code(answer))
            });
            response.with_members(left.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    use crate::wire::message::{Decodable, Encodable};

    #[test]
    fn old_versions_say_the_one_members_error_at_the_top() {
        for version in 0..=5 {
            let members = vec![MemberIdentity::default().with_member_id(names::text("m"))];
            let mut bytes = BytesMut::new();
            let outcome = Ok(vec![Err(GroupError::UnknownMember)]);
            response(version, members, outcome).encode(&mut bytes, version).expect("encodes");
            let read = LeaveGroupResponse::decode(&mut bytes.freeze(), version).expect("decodes");
            let codes: Vec<i16> = read.members.iter().map(|member| member.error_code).collect();
            match version {
                0..=2 => assert_eq!((read.error_code, codes), (25, vec![])),
                _ => assert_eq!((read.error_code, codes), (0, vec![25])),
            }
        }
    }
}
