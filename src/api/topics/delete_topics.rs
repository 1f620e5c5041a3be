//! DeleteTopics, by name or, from version 6, by id. What a topic left in the bucket is purged later, by others.
//! Invariant: one result per topic named, and a deleted name can be created again by whoever reads the answer.
use std::collections::BTreeMap;

use firnline_controller::id::TopicId;

use crate::api::context::{Answer, Context};
use crate::api::error_code::{ErrorCode, Failure};
use crate::api::topics::create_topics::wait_until_usable;
use crate::metadata::view::MetadataView;
use crate::wire::header::Header;
use crate::wire::message::delete_topics_response::DeletableTopicResult;
use crate::wire::message::{DeleteTopicsRequest, DeleteTopicsResponse, StrBytes, TopicName};
use crate::wire::response::encode;

/// First version that knows TOPIC_DELETION_DISABLED.
const DELETION_DISABLED: i16 = 3;

/// A topic to delete, as far as the request and the image name it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    name: Option<String>,
    id: TopicId,
    found: Result<TopicId, Failure>,
}

/// Handles one DeleteTopics request.
pub fn handle(ctx: &Context, header: &Header, request: DeleteTopicsRequest) -> Answer {
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let mut targets = targets(&ctx.metadata(), &request);
        if !ctx.shared.config.topics.delete_enable {
            let code = match header.version {
                DELETION_DISABLED.. => ErrorCode::TopicDeletionDisabled,
                _ => ErrorCode::InvalidRequest,
            };
            let failure = Failure::new(code, "delete.topic.enable is false");
            targets.iter_mut().for_each(|target| target.found = Err(failure.clone()));
        }
        let ids: Vec<TopicId> =
            targets.iter().filter_map(|target| target.found.as_ref().ok().copied()).collect();
        if !ids.is_empty() {
            let mut outcomes = ctx.shared.controller.delete_topics(ids).await.into_iter();
            for target in targets.iter_mut().filter(|target| target.found.is_ok()) {
                if let Some(Err(error)) = outcomes.next() {
                    target.found = Err(Failure::of(&error));
                }
            }
            wait_until_usable(&ctx, request.timeout_ms).await;
        }
        let responses = targets.into_iter().map(result).collect();
        encode(&header, &DeleteTopicsResponse::default().with_responses(responses)).into()
    }))
}

/// Every topic named, once; those named twice, by whatever, are refused.
fn targets(view: &MetadataView, request: &DeleteTopicsRequest) -> Vec<Target> {
    let by_name = request.topic_names.iter().map(|name| by_name(view, name));
    let by_state = request.topics.iter().map(|topic| match &topic.name {
        Some(name) if topic.topic_id.is_nil() => by_name_of(view, name),
        None if !topic.topic_id.is_nil() => by_id(view, TopicId(topic.topic_id)),
        name => Target {
            name: name.as_ref().map(|name| name.to_string()),
            id: TopicId(topic.topic_id),
            found: Err(Failure::new(
                ErrorCode::InvalidRequest,
                "name a topic by its name or its id, not both",
            )),
        },
    });
    let mut targets: Vec<Target> = Vec::new();
    let mut seen: BTreeMap<(Option<String>, TopicId), usize> = BTreeMap::new();
    for target in by_name.chain(by_state) {
        let key = match &target.found {
            Ok(id) => (None, *id),
            Err(_) => (target.name.clone(), target.id),
        };
        if let Some(first) = seen.get(&key) {
            let twice = Failure::new(ErrorCode::InvalidRequest, "the request names this topic twice");
            targets[*first].found = Err(twice);
        } else {
            seen.insert(key, targets.len());
            targets.push(target);
        }
    }
    targets
}

fn by_name(view: &MetadataView, name: &TopicName) -> Target {
    by_name_of(view, name)
}

fn by_name_of(view: &MetadataView, name: &str) -> Target {
    let topic = view.topic(name).map(|topic| topic.id);
    let unknown = || Failure::from(ErrorCode::UnknownTopicOrPartition);
    let id = topic.unwrap_or(TopicId::ZERO);
    Target { name: Some(name.to_owned()), id, found: topic.ok_or_else(unknown) }
}

fn by_id(view: &MetadataView, id: TopicId) -> Target {
    let topic = view.topic_by_id(id);
    let name = topic.map(|topic| topic.name.to_string());
    let unknown = || Failure::from(ErrorCode::UnknownTopicId);
    Target { name, id, found: topic.map(|topic| topic.id).ok_or_else(unknown) }
}

fn result(target: Target) -> DeletableTopicResult {
    let name = target.name.map(|name| TopicName(StrBytes::from_string(name)));
    let result = DeletableTopicResult::default().with_name(name).with_topic_id(target.id.0);
    match target.found {
        Ok(_) => result,
        Err(failure) => result
            .with_error_code(failure.code.code())
            .with_error_message(failure.message.map(StrBytes::from_string)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::sample::{self, ORDERS, QUIET};
    use crate::wire::api_key::ApiKey;
    use crate::wire::message::delete_topics_request::DeleteTopicState;
    use uuid::Uuid;

    fn name(name: &'static str) -> TopicName {
        TopicName(StrBytes::from_static_str(name))
    }

    fn state(of: Option<&'static str>, id: Uuid) -> DeleteTopicState {
        DeleteTopicState::default().with_name(of.map(name)).with_topic_id(id)
    }

    fn found(request: &DeleteTopicsRequest) -> Vec<Result<TopicId, ErrorCode>> {
        let targets = targets(&sample::view(), request);
        targets.into_iter().map(|target| target.found.map_err(|failure| failure.code)).collect()
    }

    #[test]
    fn topics_are_found_by_name_or_by_id_and_by_one_of_them_only() {
        let names = vec![name("orders"), name("nobody")];
        let request = DeleteTopicsRequest::default().with_topic_names(names);
        assert_eq!(found(&request), [Ok(ORDERS), Err(ErrorCode::UnknownTopicOrPartition)]);
        let states = vec![
            state(Some("orders"), Uuid::nil()),
            state(None, QUIET.0),
            state(None, Uuid::from_u128(77)),
            state(Some("quiet"), Uuid::from_u128(78)),
            state(None, Uuid::nil()),
        ];
        let invalid = Err(ErrorCode::InvalidRequest);
        assert_eq!(
            found(&DeleteTopicsRequest::default().with_topics(states)),
            [Ok(ORDERS), Ok(QUIET), Err(ErrorCode::UnknownTopicId), invalid, invalid]
        );
    }

    #[test]
    fn a_topic_named_twice_is_not_deleted() {
        let states = vec![state(Some("orders"), Uuid::nil()), state(None, QUIET.0), state(None, ORDERS.0)];
        let request = DeleteTopicsRequest::default().with_topics(states);
        assert_eq!(found(&request), [Err(ErrorCode::InvalidRequest), Ok(QUIET)]);
        let names = vec![name("nobody"), name("nobody")];
        let request = DeleteTopicsRequest::default().with_topic_names(names);
        assert_eq!(found(&request), [Err(ErrorCode::InvalidRequest)]);
    }

    #[test]
    fn every_version_encodes() {
        for version in 1..=6 {
            let names = vec![name("orders"), name("nobody")];
            let targets = targets(&sample::view(), &DeleteTopicsRequest::default().with_topic_names(names));
            let responses = targets.into_iter().map(result).collect();
            let header =
                Header { api_key: ApiKey::DeleteTopics, version, correlation_id: 1, client_id: None };
            let response = DeleteTopicsResponse::default().with_responses(responses);
            encode(&header, &response).unwrap_or_else(|error| panic!("{version}: {error}"));
        }
    }
}
