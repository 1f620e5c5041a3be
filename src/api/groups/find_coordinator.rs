//! FindCoordinator: which broker holds a group. The first question makes the topic that groups live in.
//! Transactions are refused with the one code that librdkafka does not retry, share groups as Kafka refuses them where
//! they are off. Invariant: every key gets an answer of its own, in the request's order.

use crate::api::context::{Answer, Context};
use crate::api::error_code::{ErrorCode, Failure};
use crate::api::groups::{names, offsets_topic};
use crate::coordinator::group::coordinator::OFFSETS_TOPIC;
use crate::coordinator::group::id::GroupId;
use crate::metadata::view::BrokerAddress;
use crate::wire::header::Header;
use crate::wire::message::find_coordinator_response::Coordinator;
use crate::wire::message::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, StrBytes};
use crate::wire::response::encode;

/// First version with many keys and an answer for each (KIP-699).
const MANY_KEYS: i16 = 4;
/// First version whose answer has a text.
const HAS_TEXT: i16 = 1;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// No broker.
const NOBODY: BrokerId = BrokerId(-1);

/// Handles one FindCoordinator request.
pub fn handle(ctx: &Context, header: &Header, request: FindCoordinatorRequest) -> Answer {
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let mut found = Vec::new();
        let keys = if header.version >= MANY_KEYS { request.coordinator_keys } else { vec![request.key] };
        for key in keys {
            let outcome = find(&ctx, &header, request.key_type, &key).await;
            found.push((key, outcome));
        }
        encode(&header, &response(header.version, found)).into()
    }))
}

async fn find(ctx: &Context, header: &Header, kind: i8, key: &StrBytes) -> Result<BrokerAddress, Failure> {
    match kind {
        GROUP => find_group(ctx, &GroupId::from(key.as_str())).await,
        TRANSACTION => {
            if ctx.shared.transactions_refused.first(header.client()) {
                let client = header.client();
                tracing::warn!(client, transactional_id = key.as_str(), "transactions are not built yet");
            }
            let code = ErrorCode::TransactionalIdAuthorizationFailed;
            Err(Failure::new(code, "transactions are not built yet"))
        }
        kind => Err(Failure::new(
            ErrorCode::InvalidRequest,
            format!("there are no coordinators of type {kind} here"),
        )),
    }
}

async fn find_group(ctx: &Context, group: &GroupId) -> Result<BrokerAddress, Failure> {
    let not_yet =
        || Failure::new(ErrorCode::CoordinatorNotAvailable, "the group's partition has no leader yet");
    if ctx.metadata().topic(OFFSETS_TOPIC).is_none() && !offsets_topic::make(ctx).await {
        return Err(not_yet());
    }
    let view = ctx.metadata();
    let partitions = view.topic(OFFSETS_TOPIC).map_or(0, |topic| topic.partition_count());
    if partitions == 0 {
        return Err(not_yet());
    }
    let partition = group.partition(partitions);
    let leader = view.leader(OFFSETS_TOPIC, partition).ok_or_else(not_yet)?;
    // A client that is sent here should not find the door still closed.
    if leader.id == ctx.shared.config.node_id && !ctx.shared.groups.leads(partition) {
        offsets_topic::usable(ctx).await;
    }
    view.broker(leader.id, &ctx.peer.listener.name).ok_or_else(not_yet)
}

fn response(version: i16, found: Vec<(StrBytes, Result<BrokerAddress, Failure>)>) -> FindCoordinatorResponse {
    let response = FindCoordinatorResponse::default();
    if version >= MANY_KEYS {
        return response
            .with_coordinators(found.into_iter().map(|(key, outcome)| one(key, outcome)).collect());
    }
    // Below version 4 there is one key; a request without any cannot be written.
    let Some((key, outcome)) = found.into_iter().next() else { return response };
    let only = one(key, outcome);
    response
        .with_error_code(only.error_code)
        .with_error_message(only.error_message.filter(|_| version >= HAS_TEXT))
        .with_node_id(only.node_id)
        .with_host(only.host)
        .with_port(only.port)
}

fn one(key: StrBytes, outcome: Result<BrokerAddress, Failure>) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key);
    match outcome {
        Ok(broker) => coordinator
            .with_node_id(BrokerId(broker.id))
            .with_host(names::text(&broker.host))
            .with_port(i32::from(broker.port)),
        Err(failure) => coordinator
            .with_node_id(NOBODY)
            .with_port(-1)
            .with_error_code(failure.code.code())
            .with_error_message(failure.message.map(StrBytes::from_string)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    use crate::wire::message::Encodable;

    fn found() -> Vec<(StrBytes, Result<BrokerAddress, Failure>)> {
        let broker = BrokerAddress { id: 7, host: "h".into(), port: 9092, rack: None };
        let refused = Failure::new(ErrorCode::CoordinatorNotAvailable, "not yet");
        vec![(names::text("a"), Ok(broker)), (names::text("b"), Err(refused))]
    }

    #[test]
    fn each_key_has_its_own_answer_and_old_versions_have_one() {
        let many = response(4, found());
        assert_eq!(many.error_code, 0);
        let ids: Vec<_> =
            many.coordinators.iter().map(|it| (it.key.as_str(), it.node_id.0, it.error_code)).collect();
        assert_eq!(ids, [("a", 7, 0), ("b", -1, 15)]);
        let one = response(3, found());
        assert_eq!((one.node_id.0, one.host.as_str(), one.port, one.error_code), (7, "h", 9092, 0));
    }

    #[test]
    fn every_version_encodes() {
        for version in 0..=6 {
            for found in [found(), found().into_iter().rev().collect()] {
                response(version, found).encode(&mut BytesMut::new(), version).expect("encodes");
            }
        }
    }
}
