//! API key to handler: one match, nothing else. A handler that is missing here does not exist for clients.
//! It knows no version and no field: wire does, and the handlers.

use std::sync::atomic::Ordering;

use crate::api::admin::{
    alter_configs, cluster, describe_configs, elect_leaders, features, log_dirs, move_log_dirs, quorum,
    reassign, unregister, voters,
};
use crate::api::admission::takes;
use crate::api::context::{Answer, Context};
use crate::api::data::{
    delete_records, describe_producers, fetch, init_producer_id, leader_epoch, list_offsets, produce,
};
use crate::api::groups::{
    delete_groups, describe_groups, find_coordinator, heartbeat, join_group, leave_group, list_groups,
    offset_commit, offset_delete, offset_fetch, sync_group,
};
use crate::api::session::{api_versions, nodes};
use crate::api::topics::{
    create_partitions, create_topics, delete_topics, describe_topic_partitions, metadata,
};
use crate::wire::api_key::ApiKey;
use crate::wire::request::{Body, Request};

/// Hands a request to its handler.
pub fn dispatch(ctx: &Context, request: Request) -> Answer {
    let Request { header, body } = request;
    let listener = &ctx.peer.listener;
    if !takes(listener.audience, header.api_key) {
        return Answer::Close(format!("{} is not served on listener {}", header.api_key, listener.name));
    }
    if header.api_key != ApiKey::Node && !ctx.shared.serving.load(Ordering::Acquire) {
        return Answer::Close("this broker is still starting".to_owned());
    }
    match body {
        Body::Node(request) => nodes::handle(ctx, &header, request),
        Body::Produce(view) => produce::handle(ctx, &header, view),
        Body::Fetch(view) => fetch::handle(ctx, &header, view),
        Body::ListOffsets(request) => list_offsets::handle(ctx, &header, request),
        Body::OffsetForLeaderEpoch(request) => leader_epoch::handle(ctx, &header, request),
        Body::Metadata(request) => metadata::handle(ctx, &header, request),
        Body::CreateTopics(request) => create_topics::handle(ctx, &header, request),
        Body::DeleteTopics(request) => delete_topics::handle(ctx, &header, request),
        Body::CreatePartitions(request) => create_partitions::handle(ctx, &header, request),
        Body::DescribeTopicPartitions(request) => describe_topic_partitions::handle(ctx, &header, &request),
        Body::DescribeConfigs(request) => describe_configs::handle(ctx, &header, &request),
        Body::IncrementalAlterConfigs(request) => alter_configs::handle(ctx, &header, request),
        Body::DescribeCluster(request) => cluster::handle(ctx, &header, &request),
        Body::DescribeLogDirs(request) => log_dirs::handle(ctx, &header, &request),
        Body::DescribeProducers(request) => describe_producers::handle(ctx, &header, request),
        Body::InitProducerId(request) => init_producer_id::handle(ctx, &header, request),
        Body::FindCoordinator(request) => find_coordinator::handle(ctx, &header, request),
        Body::JoinGroup(request) => join_group::handle(ctx, &header, request),
        Body::SyncGroup(request) => sync_group::handle(ctx, &header, request),
        Body::Heartbeat(request) => heartbeat::handle(ctx, &header, request),
        Body::LeaveGroup(request) => leave_group::handle(ctx, &header, request),
        Body::OffsetCommit(request) => offset_commit::handle(ctx, &header, request),
        Body::OffsetFetch(request) => offset_fetch::handle(ctx, &header, request),
        Body::DescribeGroups(request) => describe_groups::handle(ctx, &header, request),
        Body::ListGroups(request) => list_groups::handle(ctx, &header, request),
        Body::DeleteGroups(request) => delete_groups::handle(ctx, &header, request),
        Body::OffsetDelete(request) => offset_delete::handle(ctx, &header, request),
        Body::AlterReplicaLogDirs(request) => move_log_dirs::handle(ctx, &header, &request),
        Body::ElectLeaders(request) => elect_leaders::handle(ctx, &header, request),
        Body::AlterPartitionReassignments(request) => reassign::alter(ctx, &header, request),
        Body::ListPartitionReassignments(request) => reassign::list(ctx, &header, &request),
        Body::DescribeQuorum(request) => quorum::handle(ctx, &header, request),
        Body::UpdateFeatures(request) => features::handle(ctx, &header, request),
        Body::UnregisterBroker(request) => unregister::handle(ctx, &header, &request),
        Body::AddRaftVoter(request) => voters::add(ctx, &header, request),
        Body::RemoveRaftVoter(request) => voters::remove(ctx, &header, request),
        Body::ApiVersions(request) => api_versions::handle(ctx, &header, &request),
        Body::ApiVersionsUnsupported => api_versions::unsupported(&header),
        Body::DeleteRecords(request) => delete_records::handle(ctx, &header, request),
        Body::Refused(response) => Answer::Ready(response),
    }
}
