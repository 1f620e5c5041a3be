//! DescribeQuorum: who leads the metadata quorum, who votes, who only follows, and how far each is. The metadata log is
//! shown under Kafka's name for it, topic `__cluster_metadata`, partition 0.
//! Not here: elections. Invariant: every partition asked for is answered.
use firnline_controller::quorum::status::{QuorumStatus, Replica};

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::wire::header::Header;
use crate::wire::message::describe_quorum_response::{PartitionData, ReplicaState, TopicData};
use crate::wire::message::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse};
use crate::wire::response::encode;

/// Kafka's name of the metadata log.
const TOPIC: &str = "__cluster_metadata";

/// Handles one DescribeQuorum request.
pub fn handle(ctx: &Context, header: &Header, request: &DescribeQuorumRequest) -> Answer {
    let status = ctx.shared.controller.quorum();
    encode(header, &response(request, &status)).into()
}

fn response(request: &DescribeQuorumRequest, status: &QuorumStatus) -> DescribeQuorumResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let data = PartitionData::default()
                .with_partition_index(partition.partition_index)
                .with_error_message(None);
            match topic.topic_name.as_str() == TOPIC && partition.partition_index == 0 {
                true => described(data, status),
                false => data.with_error_code(ErrorCode::UnknownTopicOrPartition.code()),
            }
        });
        let partitions = partitions.collect();
        TopicData::default().with_topic_name(topic.topic_name.clone()).with_partitions(partitions)
    });
    DescribeQuorumResponse::default().with_topics(topics.collect()).with_error_message(None)
}

fn described(data: PartitionData, status: &QuorumStatus) -> PartitionData {
    let offset = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
    let state = |replica: &Replica| {
        ReplicaState::default()
            .with_replica_id(BrokerId(replica.id.0))
            .with_log_end_offset(offset(replica.log_end))
            .with_last_fetch_timestamp(replica.last_fetch)
            .with_last_caught_up_timestamp(replica.last_caught_up)
    };
    data.with_leader_id(BrokerId(status.leader.map_or(-1, |leader| leader.0)))
        .with_leader_epoch(i32::try_from(status.term).unwrap_or(i32::MAX))
        .with_high_watermark(offset(status.high_watermark))
        .with_current_voters(status.voters.iter().map(state).collect())
        .with_observers(status.learners.iter().map(state).collect())
}
