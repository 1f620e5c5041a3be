//! What another node of the cluster says: votes, entries of the metadata log, life signs, forwarded requests. All of it
//! goes to the controller as it came. Not here: what it means. Invariant: the answer is the controller's own bytes.
use bytes::Bytes;

use crate::api::context::{Answer, Context};
use crate::wire::header::Header;
use crate::wire::response::opaque;

/// Hands one request of another node to the controller.
pub fn handle(ctx: &Context, header: &Header, request: Bytes) -> Answer {
    let (answer, header) = (ctx.shared.controller.answer_peer(request), header.clone());
    Answer::Later(Box::pin(async move { opaque(&header, answer.await).into() }))
}
