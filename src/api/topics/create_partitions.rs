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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::sample::{self, ORDERS};
    use crate::wire::message::create_partitions_request::CreatePartitionsAssignment;

    fn asked(name: &'static str, count: i32) -> CreatePartitionsTopic {
        let name = TopicName(StrBytes::from_static_str(name));
        CreatePartitionsTopic::default().with_name(name).with_count(count).with_assignments(None)
    }

    #[test]
    fn one_plan_per_name_in_the_requests_order() {
        let topics = [asked("quiet", 2), asked("orders", 5), asked("nobody", 2), asked("quiet", 3)];
        let plan = plan(&sample::view(), &topics);
        let names: Vec<_> = plan.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["quiet", "orders", "nobody"]);
        let codes = plan.iter().map(|(_, planned)| planned.as_ref().err().map(|failure| failure.code));
        let twice = Some(ErrorCode::InvalidRequest);
        assert_eq!(codes.collect::<Vec<_>>(), [twice, None, Some(ErrorCode::UnknownTopicOrPartition)]);
    }

    #[test]
    fn replicas_are_passed_on() {
        let of =
            CreatePartitionsAssignment::default().with_broker_ids(vec![crate::wire::message::BrokerId(2)]);
        let grown = grown(&sample::view(), &asked("orders", 4).with_assignments(Some(vec![of])));
        let wanted = NewPartitions { topic: ORDERS, count: 4, assignments: vec![vec![BrokerId(2)]] };
        assert_eq!(grown, Ok(wanted));
    }
}
