//! OffsetDelete (KIP-496): a group forgets how far it has read of some partitions. What its members read stays.
//! Invariant: every partition in the request has its answer, and of one without error nothing is left.

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::api::groups::names;
use crate::coordinator::group::error::GroupError;
use crate::metadata::view::MetadataView;
use crate::wire::header::Header;
use crate::wire::message::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::wire::message::{OffsetDeleteRequest, OffsetDeleteResponse};
use crate::wire::response::encode;

/// Handles one OffsetDelete request.
pub fn handle(ctx: &Context, header: &Header, request: OffsetDeleteRequest) -> Answer {
    let group = names::group(&request.group_id);
    let (mut response, asked) = sort_out(&ctx.metadata(), &request);
    let (groups, header) = (ctx.shared.groups.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        fill(&mut response, groups.delete_offsets(&group, &asked).await);
        encode(&header, &response).into()
    }))
}

/// The answer with the code of every unknown partition in it, and the offsets to forget, in the answer's order.
fn sort_out(
    view: &MetadataView,
    request: &OffsetDeleteRequest,
) -> (OffsetDeleteResponse, Vec<(String, i32)>) {
    let mut wanted = Vec::new();
    let topics = request.topics.iter().map(|asked| {
        let topic = view.topic(asked.name.as_str());
        let partitions = asked.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let known = topic.is_some_and(|topic| topic.partition(index).is_some());
            if known {
                wanted.push((asked.name.to_string(), index));
            }
            let code = if known { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition };
            OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(code.code())
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default().with_name(asked.name.clone()).with_partitions(partitions)
    });
    let response = OffsetDeleteResponse::default().with_topics(topics.collect());
    (response, wanted)
}

/// Writes the coordinator's answers over the partitions that were asked of it. A refusal of the whole names none.
fn fill(response: &mut OffsetDeleteResponse, outcome: Result<Vec<Result<(), GroupError>>, GroupError>) {
    match outcome {
        Err(error) => {
            response.error_code = ErrorCode::from(&error).code();
            response.topics.clear();
        }
        Ok(answers) => {
            let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            let asked = partitions.filter(|partition| partition.error_code == ErrorCode::None.code());
            for (partition, answer) in asked.zip(answers) {
                partition.error_code = answer.err().map_or(0, |error| ErrorCode::from(&error).code());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_fall_on_the_partitions_that_were_asked_for_and_a_refusal_on_the_whole() {
        let partition = |code: i16| OffsetDeleteResponsePartition::default().with_error_code(code);
        let topic = OffsetDeleteResponseTopic::default().with_partitions([0, 3, 0].map(partition).to_vec());
        let asked = OffsetDeleteResponse::default().with_topics(vec![topic]);
        let mut mixed = asked.clone();
        fill(&mut mixed, Ok(vec![Ok(()), Err(GroupError::Subscribed)]));
        let codes: Vec<i16> =
            mixed.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
        assert_eq!((mixed.error_code, codes), (0, vec![0, 3, 86]));
        let mut refused = asked;
        fill(&mut refused, Err(GroupError::NonEmpty));
        assert_eq!((refused.error_code, refused.topics.len()), (68, 0));
    }
}
