//! OffsetCommit: a group says how far it has read. Unknown topics and partitions are refused one by one.
//! Invariant: every partition in the request has its answer, and one without error is stored.

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::api::groups::names;
use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::groups::{Commit, OffsetToCommit};
use crate::metadata::view::MetadataView;
use crate::wire::header::Header;
use crate::wire::message::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::wire::message::{OffsetCommitRequest, OffsetCommitResponse};
use crate::wire::response::encode;

/// First version whose clients know that a group may not exist.
const KNOWS_NOT_FOUND: i16 = 9;
/// What clients send for "the broker's retention".
const BROKERS_RETENTION: i64 = -1;

/// Handles one OffsetCommit request.
pub fn handle(ctx: &Context, header: &Header, request: OffsetCommitRequest) -> Answer {
    let group = names::group(&request.group_id);
    let (mut response, offsets) = sort_out(&ctx.metadata(), &request);
    if offsets.is_empty() {
        return encode(header, &response).into();
    }
    let (instance, generation) = (request.group_instance_id.as_ref(), request.generation_id_or_member_epoch);
    let commit = Commit {
        claim: names::claim(&request.member_id, instance, generation),
        retention_ms: Some(request.retention_time_ms).filter(|ms| *ms != BROKERS_RETENTION),
        knows_not_found: header.version >= KNOWS_NOT_FOUND,
        offsets,
    };
    let (groups, header) = (ctx.shared.groups.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        fill(&mut response, groups.commit(group, commit).await);
        encode(&header, &response).into()
    }))
}

/// The answer with the code of every unknown partition in it, and the offsets to commit, in the answer's order.
fn sort_out(
    view: &MetadataView,
    request: &OffsetCommitRequest,
) -> (OffsetCommitResponse, Vec<OffsetToCommit>) {
    let mut offsets = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let topic = view.topic(asked.name.as_str());
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for partition in &asked.partitions {
            let known = topic.is_some_and(|topic| topic.partition(partition.partition_index).is_some());
            let code = if known { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition };
            if known {
                offsets.push(OffsetToCommit {
                    topic: asked.name.to_string(),
                    partition: partition.partition_index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition
                        .committed_metadata
                        .as_ref()
                        .map_or_else(String::new, ToString::to_string),
                });
            }
            let answer = OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code.code());
            partitions.push(answer);
        }
        let name = asked.name.clone();
        topics.push(OffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions));
    }
    (OffsetCommitResponse::default().with_topics(topics), offsets)
}

/// Writes the coordinator's answers over the partitions that were asked of it.
fn fill(response: &mut OffsetCommitResponse, outcome: Result<Vec<Result<(), GroupError>>, GroupError>) {
    let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    let asked = partitions.filter(|partition| partition.error_code == ErrorCode::None.code());
    match outcome {
        Err(error) => asked.for_each(|partition| partition.error_code = ErrorCode::from(&error).code()),
        Ok(answers) => {
            for (partition, answer) in asked.zip(answers) {
                partition.error_code = answer.err().map_or(0, |error| ErrorCode::from(&error).code());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(codes: &[&[i16]]) -> OffsetCommitResponse {
        let topics = codes.iter().map(|codes| {
            let partitions =
                codes.iter().map(|code| OffsetCommitResponsePartition::default().with_error_code(*code));
            OffsetCommitResponseTopic::default().with_partitions(partitions.collect())
        });
        OffsetCommitResponse::default().with_topics(topics.collect())
    }

    fn codes(response: &OffsetCommitResponse) -> Vec<Vec<i16>> {
        let topics = response.topics.iter();
        topics.map(|topic| topic.partitions.iter().map(|it| it.error_code).collect()).collect()
    }

    #[test]
    fn answers_fall_on_the_partitions_that_were_asked_for() {
        let mut mixed = response(&[&[0, 3, 0], &[3], &[0]]);
        fill(&mut mixed, Ok(vec![Ok(()), Err(GroupError::MetadataTooLarge), Ok(())]));
        assert_eq!(codes(&mixed), [vec![0, 3, 12], vec![3], vec![0]]);
        let mut refused = response(&[&[0, 3]]);
        fill(&mut refused, Err(GroupError::IllegalGeneration));
        assert_eq!(codes(&refused), [vec![22, 3]]);
    }
}
