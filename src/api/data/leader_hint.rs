//! Where the leaders named in an answer listen, so that a client needs no metadata round trip (KIP-951).
//! It decides nothing: a hint may be stale, the client checks it by asking. Invariant: each broker is named once.

use std::collections::BTreeSet;

use crate::api::context::Context;
use crate::wire::produce_answer::{LeaderHint, NodeEndpoint};

/// The endpoints of the brokers that `hints` name, on the listener this client came by.
pub fn endpoints(ctx: &Context, hints: impl Iterator<Item = LeaderHint>) -> Vec<NodeEndpoint> {
    let ids: BTreeSet<i32> = hints.map(|hint| hint.id).collect();
    if ids.is_empty() {
        return Vec::new();
    }
    let metadata = ctx.metadata();
    let brokers = ids.into_iter().filter_map(|id| metadata.broker(id, &ctx.peer.listener.name));
    brokers
        .map(|broker| NodeEndpoint {
            id: broker.id,
            host: broker.host,
            port: i32::from(broker.port),
            rack: broker.rack,
        })
        .collect()
}
