//! CreatePartitions: asks the controller for more partitions of a topic. Not here: placement.
//! Invariant: one result per topic name.
use std::collections::BTreeMap;

use firnline_controller::decide::partitions::NewPartitions;
use firnline_controller::id::BrokerId;

use crate::api::context::{Answer, Context};
use crate::api::error_code::{ErrorCode, Failure};
use crate::api::topics::create_topics::wait_until_usable;
use crate::metadata::view::MetadataView;
use crate::wire::header::Header;
use crate::wire::message::create_partitions_request::CreatePartitionsTopic;
use crate::wire::message::create_partitions_response::CreatePartitionsTopicResult;
use crate::wire::message::{CreatePartitionsRequest, CreatePartitionsResponse, StrBytes, TopicName};
use crate::wire::response::encode;

/// Handles one CreatePartitions request.
pub fn handle(ctx: &Context, header: &Header, request: CreatePartitionsRequest) -> Answer {
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let plan = plan(&ctx.metadata(), &request.topics);
        let asked: Vec<NewPartitions> =
            plan.iter().filter_map(|(_, new)| new.as_ref().ok().cloned()).collect();
        let outcomes = ctx.shared.controller.create_partitions(asked, request.validate_only).await;
        let mut outcomes = outcomes.into_iter();
        if !request.validate_only {
            wait_until_usable(&ctx, request.timeout_ms).await;
        }
        let results = plan.into_iter().map(|(name, planned)| {
            let outcome = match planned {
                Err(failure) => Err(failure),
                Ok(_) => match outcomes.next() {
                    Some(outcome) => outcome.map(|_| ()).map_err(|error| Failure::of(&error)),
                    None => Err(Failure::from(ErrorCode::RequestTimedOut)),
                },
            };
            result(name, outcome)
        });
        encode(&header, &CreatePartitionsResponse::default().with_results(results.collect())).into()
    }))
}

/// What to ask the controller, or why not, once per topic name in the request's order.
fn plan(
    view: &MetadataView,
    asked: &[CreatePartitionsTopic],
) -> Vec<(TopicName, Result<NewPartitions, Failure>)> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in asked {
        *times.entry(topic.name.as_str()).or_default() += 1;
    }
    let mut plan = Vec::with_capacity(times.len());
    for topic in asked {
        let planned = match times.remove(topic.name.as_str()) {
            None => continue,
            Some(1) => grown(view, topic),
            Some(_) => Err(Failure::new(ErrorCode::InvalidRequest, "the request names this topic twice")),
        };
        plan.push((topic.name.clone(), planned));
    }
    plan
}

fn grown(view: &MetadataView, asked: &CreatePartitionsTopic) -> Result<NewPartitions, Failure> {
    let topic = view.topic(&asked.name).ok_or(Failure::from(ErrorCode::UnknownTopicOrPartition))?;
    let assignments = asked.assignments.iter().flatten();
    let assignments = assignments.map(|of| of.broker_ids.iter().map(|id| BrokerId(id.0)).collect());
    Ok(NewPartitions { topic: topic.id, count: asked.count, assignments: assignments.collect() })
}

fn result(name: TopicName, outcome: Result<(), Failure>) -> CreatePartitionsTopicResult {
    let result = CreatePartitionsTopicResult::default().with_name(name);
    match outcome {
        Ok(()) => result,
        Err(failure) => result
            .with_error_code(failure.code.code())
            .with_error_message(failure.message.map(StrBytes::from_string)),
    }
}
