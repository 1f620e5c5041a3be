//! Heartbeat: a member lives, and learns whether it has to join again.
//! It keeps no sessions: the group does.

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::api::groups::names;
use crate::wire::header::Header;
use crate::wire::message::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::response::encode;

/// Handles one Heartbeat request.
pub fn handle(ctx: &Context, header: &Header, request: HeartbeatRequest) -> Answer {
    let group = names::group(&request.group_id);
    let claim = names::claim(&request.member_id, request.group_instance_id.as_ref(), request.generation_id);
    let (groups, header) = (ctx.shared.groups.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let outcome = groups.heartbeat(group, claim).await;
        let code = outcome.err().map_or(ErrorCode::None, |error| ErrorCode::from(&error));
        encode(&header, &HeartbeatResponse::default().with_error_code(code.code())).into()
    }))
}
