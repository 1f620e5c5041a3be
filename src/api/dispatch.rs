//! API key to handler: one match, nothing else. A handler that is missing here does not exist for clients.

use crate::api::context::{Answer, Context};
use crate::api::data::{fetch, leader_epoch, produce};
use crate::wire::request::{Body, Request};

/// Hands a request to its handler.
pub fn dispatch(ctx: &Context, request: Request) -> Answer {
    let Request { header, body } = request;
    match body {
        Body::Produce(view) => produce::handle(ctx, &header, view),
        Body::Fetch(view) => fetch::handle(ctx, &header, view),
        Body::OffsetForLeaderEpoch(request) => leader_epoch::handle(ctx, &header, request),
        Body::Refused(response) => Answer::Ready(response),
        _ => Answer::Close(format!("{:?} has no handler yet", header.api_key)),
    }
}
