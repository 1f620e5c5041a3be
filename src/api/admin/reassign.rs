//! AlterPartitionReassignments and ListPartitionReassignments (KIP-455): which brokers are to hold a partition, and
//! which moves are under way. Not here: how a move proceeds (the controller's).
//! Invariant: every partition of a request is answered, in the request's order.
use std::collections::{BTreeMap, BTreeSet};

use firnline_controller::decide::reassign::Reassignment;
use firnline_controller::id::BrokerId as Id;
use firnline_controller::image::topics::Topic;
use firnline_controller::record::kinds::Partition;

use crate::api::context::{Answer, Context};
use crate::api::error_code::{ErrorCode, Failure};
use crate::metadata::view::MetadataView;
use crate::wire::header::Header;
use crate::wire::message::alter_partition_reassignments_request::ReassignablePartition;
use crate::wire::message::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::wire::message::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use crate::wire::message::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, StrBytes, TopicName,
};
use crate::wire::response::encode;

/// Handles one AlterPartitionReassignments request.
pub fn alter(ctx: &Context, header: &Header, request: AlterPartitionReassignmentsRequest) -> Answer {
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let planned = plan(&ctx.metadata(), &request);
        let moves: Vec<Reassignment> =
            planned.iter().flatten().filter_map(|planned| planned.as_ref().ok().cloned()).collect();
        let outcomes = ctx.shared.controller.reassign(moves).await;
        let mut outcomes = outcomes.into_iter().map(|outcome| outcome.map_err(|error| Failure::of(&error)));
        let topics = request.topics.iter().zip(planned).map(|(topic, planned)| {
            let partitions = topic.partitions.iter().zip(planned).map(|(asked, planned)| {
                let outcome =
                    planned.and_then(|_| outcomes.next().unwrap_or(Err(ErrorCode::RequestTimedOut.into())));
                partition_result(asked.partition_index, outcome)
            });
            ReassignableTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        let response = AlterPartitionReassignmentsResponse::default().with_responses(topics.collect());
        let allowed = header.version == 0 || request.allow_replication_factor_change;
        encode(&header, &response.with_allow_replication_factor_change(allowed)).into()
    }))
}

/// What to ask, or why not, per topic and partition of the request.
fn plan(
    view: &MetadataView,
    request: &AlterPartitionReassignmentsRequest,
) -> Vec<Vec<Result<Reassignment, Failure>>> {
    let mut seen = BTreeSet::new();
    // Version 0 cannot forbid it.
    let may_resize = request.allow_replication_factor_change;
    let topics = request.topics.iter().map(|topic| {
        let known = view.topic(&topic.name);
        let each = topic.partitions.iter().map(|asked| {
            if !seen.insert((topic.name.to_string(), asked.partition_index)) {
                let why = "the request names this partition twice";
                return Err(Failure::new(ErrorCode::InvalidRequest, why));
            }
            planned(known, asked, may_resize)
        });
        each.collect()
    });
    topics.collect()
}

fn planned(
    topic: Option<&Topic>,
    asked: &ReassignablePartition,
    may_resize: bool,
) -> Result<Reassignment, Failure> {
    let unknown = || Failure::new(ErrorCode::UnknownTopicOrPartition, "there is no such partition");
    let topic = topic.ok_or_else(unknown)?;
    topic.partition(asked.partition_index).ok_or_else(unknown)?;
    let wanted: Option<Vec<Id>> =
        asked.replicas.as_ref().map(|replicas| replicas.iter().map(|id| Id(id.0)).collect());
    Ok(Reassignment { topic: topic.id, index: asked.partition_index, replicas: wanted, may_resize })
}

fn partition_result(index: i32, outcome: Result<(), Failure>) -> ReassignablePartitionResponse {
    let result = ReassignablePartitionResponse::default().with_partition_index(index);
    match outcome {
        Ok(()) => result.with_error_message(None),
        Err(failure) => result
            .with_error_code(failure.code.code())
            .with_error_message(failure.message.map(StrBytes::from_string)),
    }
}

/// Handles one ListPartitionReassignments request.
pub fn list(ctx: &Context, header: &Header, request: &ListPartitionReassignmentsRequest) -> Answer {
    let wanted = request.topics.as_ref().map(|topics| {
        let mut wanted: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
        for topic in topics {
            wanted.entry(topic.name.as_str()).or_default().extend(&topic.partition_indexes);
        }
        wanted
    });
    let topics = under_way(&ctx.metadata(), wanted.as_ref());
    let response = ListPartitionReassignmentsResponse::default().with_error_message(None);
    encode(header, &response.with_topics(topics)).into()
}

/// The moves under way, of all topics or of these partitions.
fn under_way(
    view: &MetadataView,
    wanted: Option<&BTreeMap<&str, BTreeSet<i32>>>,
) -> Vec<OngoingTopicReassignment> {
    let ids = |ids: &[Id]| ids.iter().map(|id| BrokerId(id.0)).collect();
    let described = |index: i32, row: &Partition| {
        OngoingPartitionReassignment::default()
            .with_partition_index(index)
            .with_replicas(ids(&row.replicas))
            .with_adding_replicas(ids(&row.adding))
            .with_removing_replicas(ids(&row.removing))
    };
    let mut topics = Vec::new();
    for topic in view.image().topics.iter() {
        let asked = match wanted {
            None => None,
            Some(wanted) => match wanted.get(&*topic.name) {
                Some(of) => Some(of),
                None => continue,
            },
        };
        let rows = topic
            .partitions
            .iter()
            .zip(0..)
            .filter(|(row, index)| row.is_moving() && asked.is_none_or(|asked| asked.contains(index)));
        let partitions: Vec<_> = rows.map(|(row, index)| described(index, row)).collect();
        if !partitions.is_empty() {
            let name = TopicName(StrBytes::from_string(topic.name.to_string()));
            topics.push(OngoingTopicReassignment::default().with_name(name).with_partitions(partitions));
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::sample::{self, ORDERS};
    use crate::wire::message::alter_partition_reassignments_request::ReassignableTopic;

    fn asked(topic: &'static str, index: i32, replicas: Option<&[i32]>) -> ReassignableTopic {
        let replicas = replicas.map(|replicas| replicas.iter().map(|id| BrokerId(*id)).collect());
        let partition = ReassignablePartition::default().with_partition_index(index).with_replicas(replicas);
        ReassignableTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(topic)))
            .with_partitions(vec![partition])
    }

    #[test]
    fn what_cannot_be_asked_never_reaches_the_controller() {
        let many: &[i32] = &[1, 2, 3, 4, 5];
        let topics = vec![
            asked("orders", 0, Some(many)),
            asked("nobody", 0, Some(many)),
            asked("orders", 99, None),
            asked("orders", 0, None),
            asked("orders", 1, None),
        ];
        let request = AlterPartitionReassignmentsRequest::default()
            .with_topics(topics)
            .with_allow_replication_factor_change(false);
        let planned = plan(&sample::view(), &request).concat();
        let codes = planned.iter().map(|planned| planned.as_ref().err().map(|failure| failure.code));
        let unknown = Some(ErrorCode::UnknownTopicOrPartition);
        assert_eq!(
            codes.collect::<Vec<_>>(),
            [None, unknown, unknown, Some(ErrorCode::InvalidRequest), None]
        );
        let replicas = many.iter().map(|id| Id(*id)).collect();
        let first = Reassignment { topic: ORDERS, index: 0, replicas: Some(replicas), may_resize: false };
        assert_eq!(planned[0], Ok(first));
    }

    #[test]
    fn a_cluster_at_rest_has_no_moves() {
        assert_eq!(under_way(&sample::view(), None), []);
    }
}
