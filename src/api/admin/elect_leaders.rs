//! ElectLeaders: has partitions led by their preferred replica, or, where nobody in sync is left, by one that may have
//! lost records. Not here: who may lead (the controller's).
//! Invariant: every partition named is answered; of those nobody named only what was tried.
use std::collections::BTreeMap;

use firnline_controller::decide::elect::Election;
use firnline_controller::id::TopicId;

use crate::api::context::{Answer, Context};
use crate::api::error_code::{ErrorCode, Failure};
use crate::metadata::view::MetadataView;
use crate::wire::header::Header;
use crate::wire::message::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use crate::wire::message::{ElectLeadersRequest, ElectLeadersResponse, StrBytes, TopicName};
use crate::wire::response::encode;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// A partition of the request, and what to ask for it or why not.
struct Planned {
    topic: String,
    index: i32,
    id: Result<TopicId, Failure>,
}

/// Handles one ElectLeaders request.
pub fn handle(ctx: &Context, header: &Header, request: ElectLeadersRequest) -> Answer {
    let election = match request.election_type {
        PREFERRED => Election::Preferred,
        UNCLEAN => Election::Unclean,
        _ => {
            let response = ElectLeadersResponse::default();
            return encode(header, &response.with_error_code(ErrorCode::InvalidRequest.code())).into();
        }
    };
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let all = request.topic_partitions.is_none();
        let plan = plan(&ctx.metadata(), &request);
        let asked: Vec<(TopicId, i32)> =
            plan.iter().filter_map(|planned| Some((*planned.id.as_ref().ok()?, planned.index))).collect();
        let mut outcomes = ctx.shared.controller.elect(election, asked).await.into_iter();
        let mut topics: BTreeMap<String, Vec<PartitionResult>> = BTreeMap::new();
        for Planned { topic, index, id } in plan {
            let outcome = match id {
                Err(failure) => Err(failure),
                Ok(_) => match outcomes.next() {
                    Some(outcome) => outcome.map_err(|error| Failure::of(&error)),
                    None => Err(ErrorCode::RequestTimedOut.into()),
                },
            };
            let needless = outcome.as_ref().is_err_and(|no| no.code == ErrorCode::ElectionNotNeeded);
            if !(all && needless) {
                topics.entry(topic).or_default().push(result(index, outcome));
            }
        }
        let results = topics.into_iter().map(|(topic, partitions)| {
            ReplicaElectionResult::default()
                .with_topic(TopicName(StrBytes::from_string(topic)))
                .with_partition_result(partitions)
        });
        let response = ElectLeadersResponse::default().with_replica_election_results(results.collect());
        encode(&header, &response).into()
    }))
}

fn plan(view: &MetadataView, request: &ElectLeadersRequest) -> Vec<Planned> {
    let Some(topics) = &request.topic_partitions else {
        let all = view.image().topics.iter().flat_map(|topic| {
            (0..topic.partition_count()).map(|index| Planned {
                topic: topic.name.to_string(),
                index,
                id: Ok(topic.id),
            })
        });
        return all.collect();
    };
    let named = topics.iter().flat_map(|asked| {
        let known = view.topic(&asked.topic);
        asked.partitions.iter().map(move |index| {
            let there = known.filter(|topic| topic.partition(*index).is_some());
            let unknown = || Failure::new(ErrorCode::UnknownTopicOrPartition, "there is no such partition");
            Planned {
                topic: asked.topic.to_string(),
                index: *index,
                id: there.map(|topic| topic.id).ok_or_else(unknown),
            }
        })
    });
    named.collect()
}

fn result(index: i32, outcome: Result<(), Failure>) -> PartitionResult {
    let result = PartitionResult::default().with_partition_id(index);
    match outcome {
        Ok(()) => result.with_error_message(None),
        Err(failure) => result
            .with_error_code(failure.code.code())
            .with_error_message(failure.message.map(StrBytes::from_string)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::sample;
    use crate::wire::message::elect_leaders_request::TopicPartitions;

    fn planned(request: &ElectLeadersRequest) -> Vec<(String, i32, bool)> {
        let plan = plan(&sample::view(), request);
        plan.into_iter().map(|planned| (planned.topic, planned.index, planned.id.is_ok())).collect()
    }

    #[test]
    fn null_means_every_partition_and_names_are_looked_up() {
        let all = planned(&ElectLeadersRequest::default().with_topic_partitions(None));
        assert!(all.len() > 2 && all.iter().all(|(.., known)| *known), "{all:?}");
        let of = |topic: &'static str| {
            let topic = TopicName(StrBytes::from_static_str(topic));
            TopicPartitions::default().with_topic(topic).with_partitions(vec![0, 99])
        };
        let named = vec![of("orders"), of("nobody")];
        let named = planned(&ElectLeadersRequest::default().with_topic_partitions(Some(named)));
        let known: Vec<bool> = named.iter().map(|(.., known)| *known).collect();
        assert_eq!(known, [true, false, false, false]);
    }
}
