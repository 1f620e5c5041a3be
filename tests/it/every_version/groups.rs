//! Every version of the groups' APIs, classic protocol.
//! Invariant: each version gets a group of its own, so that none leans on what another left.

use std::time::Duration;

use bytes::Bytes;
use firnline::wire::api_key::ApiKey;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{Bench, versions};
use crate::harness::wire_client::name;

const ASSIGNMENT: Bytes = Bytes::from_static(b"assignment");

/// A group's member.
struct Member {
    group: GroupId,
    id: StrBytes,
    generation: i32,
}

fn group(name: &str) -> GroupId {
    GroupId(StrBytes::from_string(name.to_owned()))
}

/// A bench whose coordinator works: the first question makes its topic, which is then replayed.
async fn open() -> Bench {
    let mut bench = Bench::open().await;
    let keys = vec![StrBytes::from_static_str("g")];
    let find = FindCoordinatorRequest::default().with_coordinator_keys(keys);
    let nobody = Member { group: group("g"), id: StrBytes::from_static_str("nobody"), generation: 1 };
    let mut told = Vec::new();
    for _ in 0..500 {
        let found = bench.client.call(4, &find).await.expect("an answer").coordinators[0].error_code;
        let beat = beat_in(&mut bench, 4, &nobody, nobody.generation).await;
        if (found, beat) == (0, 25) {
            return bench;
        }
        told.push((found, beat));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no coordinator: {told:?}")
}

fn joining(version: i16, group: &GroupId, member: StrBytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
    let request = JoinGroupRequest::default()
        .with_group_id(group.clone())
        .with_session_timeout_ms(30_000)
        .with_member_id(member)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol.with_metadata(Bytes::from_static(b"metadata"))]);
    if version >= 1 { request.with_rebalance_timeout_ms(30_000) } else { request }
}

async fn join_in(bench: &mut Bench, version: i16, group: &GroupId) -> JoinGroupResponse {
    let response =
        bench.client.call(version, &joining(version, group, StrBytes::new())).await.expect("an answer");
    if version < 4 {
        return response;
    }
    assert_eq!(response.error_code, 79, "version {version} gives a member id first");
    let request = joining(version, group, response.member_id);
    bench.client.call(version, &request).await.expect("an answer")
}

/// A group of one member, stable.
async fn stable(bench: &mut Bench, named: &str) -> Member {
    let group = group(named);
    let joined = join_in(bench, 5, &group).await;
    let member = Member { group, id: joined.member_id, generation: joined.generation_id };
    assert_eq!(sync_in(bench, 3, &member).await, (0, ASSIGNMENT));
    member
}

async fn sync_in(bench: &mut Bench, version: i16, member: &Member) -> (i16, Bytes) {
    let assignment =
        SyncGroupRequestAssignment::default().with_member_id(member.id.clone()).with_assignment(ASSIGNMENT);
    let mut request = SyncGroupRequest::default()
        .with_group_id(member.group.clone())
        .with_generation_id(member.generation)
        .with_member_id(member.id.clone())
        .with_assignments(vec![assignment]);
    if version >= 5 {
        request.protocol_type = Some(StrBytes::from_static_str("consumer"));
        request.protocol_name = Some(StrBytes::from_static_str("range"));
    }
    let response = bench.client.call(version, &request).await.expect("an answer");
    (response.error_code, response.assignment)
}

async fn beat_in(bench: &mut Bench, version: i16, member: &Member, generation: i32) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(member.group.clone())
        .with_generation_id(generation)
        .with_member_id(member.id.clone());
    bench.client.call(version, &request).await.expect("an answer").error_code
}

async fn commit_in(bench: &mut Bench, version: i16, group: &GroupId, offset: i64) {
    let part = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(offset);
    let part = part.with_committed_metadata(Some(StrBytes::from_static_str("kept")));
    let topic = OffsetCommitRequestTopic::default().with_name(name("t")).with_partitions(vec![part]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group.clone())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let response = bench.client.call(version, &request).await.expect("an answer");
    assert_eq!(response.topics[0].partitions[0].error_code, 0, "version {version}");
}

#[tokio::test]
async fn find_coordinator() {
    let mut bench = open().await;
    for version in versions(ApiKey::FindCoordinator) {
        let key = StrBytes::from_static_str("g");
        let mut request = FindCoordinatorRequest::default();
        match version {
            4.. => request.coordinator_keys = vec![key],
            _ => request.key = key,
        }
        let response = bench.client.call(version, &request).await.expect("an answer");
        let (code, port) = match version {
            4.. => (response.coordinators[0].error_code, response.coordinators[0].port),
            _ => (response.error_code, response.port),
        };
        assert_eq!((code, port), (0, i32::from(bench.broker.broker().addr().port())), "version {version}");
        if version >= 1 {
            let response = bench.client.call(version, &request.with_key_type(1)).await.expect("an answer");
            let code = response.coordinators.first().map_or(response.error_code, |one| one.error_code);
            assert_eq!(code, 53, "version {version}: transactions are not built yet");
        }
    }
    bench.close().await;
}

#[tokio::test]
async fn join_group() {
    let mut bench = open().await;
    for version in versions(ApiKey::JoinGroup) {
        let joined = join_in(&mut bench, version, &group(&format!("g-{version}"))).await;
        assert_eq!((joined.error_code, joined.generation_id), (0, 1), "version {version}");
        assert_eq!((&joined.leader, joined.members.len()), (&joined.member_id, 1), "version {version}");
        assert_eq!(joined.protocol_name.as_deref(), Some("range"), "version {version}");
        assert_eq!(joined.members[0].metadata, Bytes::from_static(b"metadata"), "version {version}");
        assert_eq!(joined.protocol_type.is_some(), version >= 7, "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn sync_group() {
    let mut bench = open().await;
    for version in versions(ApiKey::SyncGroup) {
        let group = group(&format!("g-{version}"));
        let joined = join_in(&mut bench, 5, &group).await;
        let mut member = Member { group, id: joined.member_id, generation: joined.generation_id };
        assert_eq!(sync_in(&mut bench, version, &member).await, (0, ASSIGNMENT), "version {version}");
        member.generation += 1;
        assert_eq!(sync_in(&mut bench, version, &member).await.0, 22, "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn heartbeat() {
    let mut bench = open().await;
    let member = stable(&mut bench, "g").await;
    for version in versions(ApiKey::Heartbeat) {
        assert_eq!(beat_in(&mut bench, version, &member, member.generation).await, 0, "version {version}");
        assert_eq!(
            beat_in(&mut bench, version, &member, member.generation + 1).await,
            22,
            "version {version}"
        );
    }
    bench.close().await;
}

#[tokio::test]
async fn leave_group() {
    let mut bench = open().await;
    for version in versions(ApiKey::LeaveGroup) {
        let member = stable(&mut bench, &format!("g-{version}")).await;
        let mut request = LeaveGroupRequest::default().with_group_id(member.group.clone());
        match version {
            3.. => request.members = vec![MemberIdentity::default().with_member_id(member.id.clone())],
            _ => request.member_id = member.id.clone(),
        }
        let response = bench.client.call(version, &request).await.expect("an answer");
        let inner = response.members.first().map_or(0, |member| member.error_code);
        assert_eq!((response.error_code, inner), (0, 0), "version {version}");
        assert_eq!(beat_in(&mut bench, 4, &member, member.generation).await, 25, "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn offset_commit() {
    let mut bench = open().await;
    for version in versions(ApiKey::OffsetCommit) {
        commit_in(&mut bench, version, &group("g"), i64::from(version)).await;
        assert_eq!(fetched_in(&mut bench, 7, &group("g")).await, (0, i64::from(version), "kept".to_owned()));
    }
    bench.close().await;
}

#[tokio::test]
async fn offset_fetch() {
    let mut bench = open().await;
    commit_in(&mut bench, 9, &group("g"), 77).await;
    for version in versions(ApiKey::OffsetFetch) {
        let told = fetched_in(&mut bench, version, &group("g")).await;
        assert_eq!(told, (0, 77, "kept".to_owned()), "version {version}");
        let none = fetched_in(&mut bench, version, &group("nobody")).await;
        assert_eq!(none, (0, -1, String::new()), "version {version}: no offset is no error");
    }
    bench.close().await;
}

/// Error, offset and metadata of partition 0 of topic `t`.
async fn fetched_in(bench: &mut Bench, version: i16, group: &GroupId) -> (i16, i64, String) {
    let mut request = OffsetFetchRequest::default();
    if version >= 8 {
        let topic = OffsetFetchRequestTopics::default().with_name(name("t")).with_partition_indexes(vec![0]);
        let asked =
            OffsetFetchRequestGroup::default().with_group_id(group.clone()).with_topics(Some(vec![topic]));
        request.groups = vec![asked];
    } else {
        let topic = OffsetFetchRequestTopic::default().with_name(name("t")).with_partition_indexes(vec![0]);
        request.group_id = group.clone();
        request.topics = Some(vec![topic]);
    }
    let response = bench.client.call(version, &request).await.expect("an answer");
    if version >= 8 {
        let part = &response.groups[0].topics[0].partitions[0];
        return (part.error_code, part.committed_offset, part.metadata.as_deref().unwrap_or("").to_owned());
    }
    let part = &response.topics[0].partitions[0];
    (part.error_code, part.committed_offset, part.metadata.as_deref().unwrap_or("").to_owned())
}

#[tokio::test]
async fn list_groups() {
    let mut bench = open().await;
    stable(&mut bench, "g").await;
    for version in versions(ApiKey::ListGroups) {
        let mut request = ListGroupsRequest::default();
        if version >= 4 {
            request.states_filter = vec![StrBytes::from_static_str("Stable")];
        }
        if version >= 5 {
            request.types_filter = vec![StrBytes::from_static_str("classic")];
        }
        let response = bench.client.call(version, &request).await.expect("an answer");
        let listed: Vec<_> = response
            .groups
            .iter()
            .map(|group| (group.group_id.as_str(), group.protocol_type.as_str()))
            .collect();
        assert_eq!((response.error_code, listed), (0, vec![("g", "consumer")]), "version {version}");
        if version >= 4 {
            request.states_filter = vec![StrBytes::from_static_str("Empty")];
            let response = bench.client.call(version, &request).await.expect("an answer");
            assert_eq!(response.groups.len(), 0, "version {version}");
        }
    }
    bench.close().await;
}

#[tokio::test]
async fn describe_groups() {
    let mut bench = open().await;
    let member = stable(&mut bench, "g").await;
    for version in versions(ApiKey::DescribeGroups) {
        let request = DescribeGroupsRequest::default().with_groups(vec![group("g"), group("nobody")]);
        let response = bench.client.call(version, &request).await.expect("an answer");
        let known = &response.groups[0];
        assert_eq!((known.error_code, known.group_state.as_str()), (0, "Stable"), "version {version}");
        assert_eq!(known.members[0].member_id, member.id, "version {version}");
        assert_eq!(known.members[0].member_assignment, ASSIGNMENT, "version {version}");
        let unknown = &response.groups[1];
        let wanted = (if version >= 6 { 69 } else { 0 }, "Dead");
        assert_eq!((unknown.error_code, unknown.group_state.as_str()), wanted, "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn offset_delete() {
    let mut bench = open().await;
    for version in versions(ApiKey::OffsetDelete) {
        commit_in(&mut bench, 8, &group("idle"), 5).await;
        let partition = |index| OffsetDeleteRequestPartition::default().with_partition_index(index);
        let topics = ["t", "nothing"].map(|topic| {
            let partitions = vec![partition(0), partition(99)];
            OffsetDeleteRequestTopic::default().with_name(name(topic)).with_partitions(partitions)
        });
        let request =
            OffsetDeleteRequest::default().with_group_id(group("idle")).with_topics(topics.to_vec());
        let response = bench.client.call(version, &request).await.expect("an answer");
        let codes: Vec<i16> =
            response.topics.iter().flat_map(|topic| &topic.partitions).map(|it| it.error_code).collect();
        assert_eq!((response.error_code, codes), (0, vec![0, 3, 3, 3]), "version {version}");
        let nobody = request.with_group_id(group("nobody"));
        let response = bench.client.call(version, &nobody).await.expect("an answer");
        assert_eq!(response.error_code, 69, "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn delete_groups() {
    let mut bench = open().await;
    stable(&mut bench, "busy").await;
    for version in versions(ApiKey::DeleteGroups) {
        commit_in(&mut bench, 8, &group("idle"), 5).await;
        let names = ["idle", "busy", "nobody"].map(group).to_vec();
        let request = DeleteGroupsRequest::default().with_groups_names(names);
        let response = bench.client.call(version, &request).await.expect("an answer");
        let codes: Vec<_> = response.results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [0, 68, 69], "version {version}");
    }
    bench.close().await;
}
