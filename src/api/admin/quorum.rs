//! DescribeQuorum: who leads the metadata quorum, who votes, who only follows, and how far each is. The metadata log is
//! shown under Kafka's name for it, topic `__cluster_metadata`, partition 0.
//! Not here: elections. Invariant: every partition asked for is answered.
use firnline_controller::quorum::status::{QuorumStatus, Replica};

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::wire::header::Header;
use crate::wire::message::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use crate::wire::message::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse, StrBytes};
use crate::wire::response::encode;

/// Kafka's name of the metadata log.
const TOPIC: &str = "__cluster_metadata";
/// First version that tells when members were heard.
const WITH_TIMES: i16 = 1;
/// First version that tells where the voters are (KIP-853).
const WITH_NODES: i16 = 2;

/// Handles one DescribeQuorum request.
pub fn handle(ctx: &Context, header: &Header, request: DescribeQuorumRequest) -> Answer {
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let response = match ctx.shared.controller.describe_quorum().await {
            Ok(status) => response(header.version, &request, &status),
            Err(error) => DescribeQuorumResponse::default()
                .with_error_code(ErrorCode::from(&error).code())
                .with_error_message(Some(StrBytes::from_string(error.to_string()))),
        };
        encode(&header, &response).into()
    }))
}

fn response(version: i16, request: &DescribeQuorumRequest, status: &QuorumStatus) -> DescribeQuorumResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let data = PartitionData::default()
                .with_partition_index(partition.partition_index)
                .with_error_message(None);
            match topic.topic_name.as_str() == TOPIC && partition.partition_index == 0 {
                true => described(version, data, status),
                false => data.with_error_code(ErrorCode::UnknownTopicOrPartition.code()),
            }
        });
        let partitions = partitions.collect();
        TopicData::default().with_topic_name(topic.topic_name.clone()).with_partitions(partitions)
    });
    let response = DescribeQuorumResponse::default().with_topics(topics.collect()).with_error_message(None);
    if version >= WITH_NODES { response.with_nodes(nodes(status)) } else { response }
}

fn nodes(status: &QuorumStatus) -> Vec<Node> {
    let voters = status.voters.iter().filter_map(|replica| {
        let address = replica.address.as_ref()?;
        let listener = Listener::default()
            .with_name(StrBytes::from_static_str("CONTROLLER"))
            .with_host(StrBytes::from_string(address.host.clone()))
            .with_port(address.port);
        Some(Node::default().with_node_id(BrokerId(replica.id.0)).with_listeners(vec![listener]))
    });
    voters.collect()
}

fn described(version: i16, data: PartitionData, status: &QuorumStatus) -> PartitionData {
    let offset = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
    let state = |replica: &Replica| {
        let mut state = ReplicaState::default()
            .with_replica_id(BrokerId(replica.id.0))
            .with_log_end_offset(offset(replica.log_end));
        if version >= WITH_TIMES {
            state.last_fetch_timestamp = replica.last_fetch;
            state.last_caught_up_timestamp = replica.last_caught_up;
        }
        if version >= WITH_NODES {
            state.replica_directory_id = replica.directory;
        }
        state
    };
    data.with_leader_id(BrokerId(status.leader.map_or(-1, |id| id.0)))
        .with_leader_epoch(i32::try_from(status.term).unwrap_or(i32::MAX))
        .with_high_watermark(offset(status.high_watermark))
        .with_current_voters(status.voters.iter().map(state).collect())
        .with_observers(status.learners.iter().map(state).collect())
}
