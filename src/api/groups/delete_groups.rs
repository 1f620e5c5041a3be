//! DeleteGroups: groups without members go, with all their offsets.
//! Invariant: every named group gets one answer, also when it is named twice.

use std::collections::BTreeSet;

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::api::groups::names;
use crate::wire::header::Header;
use crate::wire::message::delete_groups_response::DeletableGroupResult;
use crate::wire::message::{DeleteGroupsRequest, DeleteGroupsResponse};
use crate::wire::response::encode;

/// Handles one DeleteGroups request.
pub fn handle(ctx: &Context, header: &Header, request: DeleteGroupsRequest) -> Answer {
    let (groups, header) = (ctx.shared.groups.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let mut seen = BTreeSet::new();
        let mut results = Vec::with_capacity(request.groups_names.len());
        for id in request.groups_names {
            if !seen.insert(id.clone()) {
                continue;
            }
            let outcome = groups.delete(&names::group(&id)).await;
            let code = outcome.err().map_or(ErrorCode::None, |error| ErrorCode::from(&error));
            if code.is_none() {
                tracing::info!(group = id.as_str(), "group is deleted");
            }
            results.push(DeletableGroupResult::default().with_group_id(id).with_error_code(code.code()));
        }
        encode(&header, &DeleteGroupsResponse::default().with_results(results)).into()
    }))
}
