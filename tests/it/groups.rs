//! Consumer groups over the wire, classic protocol: two members, a rebalance, commits, members that fall silent or
//! come back by their lasting names, and what a restart keeps.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
};

use crate::harness::asks::text;
use crate::harness::broker::{Client, TestBroker};
use crate::harness::wait::until;
use crate::harness::wire_client::name;

const GROUP: &str = "readers";
const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const ILLEGAL_GENERATION: i16 = 22;
const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const INVALID_GROUP_ID: i16 = 24;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const REBALANCE_IN_PROGRESS: i16 = 27;
const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;
const MEMBER_ID_REQUIRED: i16 = 79;
const GROUP_MAX_SIZE_REACHED: i16 = 81;
const FENCED_INSTANCE_ID: i16 = 82;
const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;

fn group() -> GroupId {
    GroupId(text(GROUP))
}

/// One member: a connection and who the group says it is.
struct Member {
    client: Client,
    id: String,
    generation: i32,
    instance: Option<&'static str>,
    session_ms: i32,
}

impl Member {
    /// One that the group does not know.
    async fn stranger(broker: &TestBroker) -> Self {
        let client = broker.client().await;
        Self { client, id: String::new(), generation: -1, instance: None, session_ms: 30_000 }
    }

    /// A process whose configuration gives it a lasting name (KIP-345).
    async fn named(broker: &TestBroker, instance: &'static str) -> Self {
        Self { instance: Some(instance), ..Self::stranger(broker).await }
    }

    /// Asks for a member id, as every client since KIP-394 does.
    async fn new(broker: &TestBroker) -> Self {
        let mut member = Self::stranger(broker).await;
        let first = member.join().await;
        assert_eq!(first.error_code, MEMBER_ID_REQUIRED);
        assert!(!first.member_id.is_empty());
        member.id = first.member_id.to_string();
        member
    }

    fn join_request(&self) -> JoinGroupRequest {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(b"topics"));
        JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(self.session_ms)
            .with_rebalance_timeout_ms(60_000)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(text))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    }

    async fn join(&mut self) -> JoinGroupResponse {
        let request = self.join_request();
        let joined = self.client.call(7, &request).await.expect("JoinGroup");
        if joined.error_code == 0 {
            (self.id, self.generation) = (joined.member_id.to_string(), joined.generation_id);
        }
        joined
    }

    /// The leader hands in an assignment for everyone, the others none; answers (error, own assignment).
    async fn sync(&mut self, assignments: &[(&str, &'static [u8])]) -> (i16, Bytes) {
        let assignments = assignments.iter().map(|(member, bytes)| {
            let assignment = SyncGroupRequestAssignment::default().with_member_id(text(member));
            assignment.with_assignment(Bytes::from_static(bytes))
        });
        let request = SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(text))
            .with_assignments(assignments.collect());
        let answer = self.client.call(3, &request).await.expect("SyncGroup");
        (answer.error_code, answer.assignment)
    }

    async fn heartbeat(&mut self) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(text));
        self.client.call(3, &request).await.expect("Heartbeat").error_code
    }

    fn commit_request(&self, generation: i32, offset: i64, metadata: &str) -> OffsetCommitRequest {
        let part = OffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text(metadata)));
        let topic = OffsetCommitRequestTopic::default().with_name(name("read")).with_partitions(vec![part]);
        OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(text))
            .with_topics(vec![topic])
    }

    async fn commit(&mut self, generation: i32, offset: i64) -> i16 {
        let request = self.commit_request(generation, offset, "here");
        self.client.call(7, &request).await.expect("OffsetCommit").topics[0].partitions[0].error_code
    }

    async fn leave(&mut self) -> i16 {
        let member = MemberIdentity::default().with_member_id(text(&self.id));
        let request = LeaveGroupRequest::default().with_group_id(group()).with_members(vec![member]);
        let answer = self.client.call(3, &request).await.expect("LeaveGroup");
        answer.members.first().map_or(answer.error_code, |member| member.error_code)
    }
}

/// (offset, metadata) the group has committed for partition 0; -1 for nothing.
async fn committed(client: &mut Client) -> (i64, String) {
    let topic = OffsetFetchRequestTopic::default().with_name(name("read")).with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic]));
    let mut found = None;
    // After a start the coordinator may still be replaying: 14 and 16 say so.
    until("the coordinator answers", async || {
        let answer = client.call(6, &request).await.expect("OffsetFetch");
        let Some(part) = answer.topics.first().map(|topic| &topic.partitions[0]) else { return false };
        let loading = [14, 15, 16].contains(&answer.error_code) || [14, 15, 16].contains(&part.error_code);
        if !loading {
            assert_eq!((answer.error_code, part.error_code), (0, 0));
            let metadata = part.metadata.as_ref().map(ToString::to_string).unwrap_or_default();
            found = Some((part.committed_offset, metadata));
        }
        !loading
    })
    .await;
    found.expect("just found")
}

async fn find_coordinator(broker: &TestBroker) {
    let mut client = broker.client().await;
    let request = FindCoordinatorRequest::default().with_key(text(GROUP)).with_key_type(0);
    until("the group has a coordinator", async || {
        let answer = client.call(2, &request).await.expect("FindCoordinator");
        answer.error_code == 0 && answer.port == i32::from(broker.broker().addr().port())
    })
    .await;
    // Found is not loaded yet: clients ask again on 14, and so does this.
    committed(&mut client).await;
}

async fn scene() -> TestBroker {
    scene_with(&[]).await
}

async fn scene_with(set: &[&str]) -> TestBroker {
    let broker = TestBroker::with(set).await;
    broker.client().await.create("read", 2, &[]).await;
    find_coordinator(&broker).await;
    broker
}

#[tokio::test]
async fn two_members_share_a_group_through_a_rebalance() {
    let broker = scene().await;
    let mut first = Member::new(&broker).await;
    let joined = first.join().await;
    assert_eq!((joined.error_code, joined.leader.as_str(), joined.members.len()), (0, first.id.as_str(), 1));
    let own = first.id.clone();
    assert_eq!(first.sync(&[(&own, b"both")]).await, (0, Bytes::from_static(b"both")));
    assert_eq!(first.heartbeat().await, 0);

    // The second member's join waits until the first one, told by its heartbeat, joins again.
    let mut second = Member::new(&broker).await;
    let request = second.join_request();
    let waiting = second.client.send(7, &request).await.unwrap();
    until("the first member is told", async || first.heartbeat().await == REBALANCE_IN_PROGRESS).await;
    let before = first.generation;
    let rejoined = first.join().await;
    let joined = second.client.receive::<JoinGroupRequest>(7, waiting).await.unwrap();
    assert_eq!((rejoined.error_code, joined.error_code), (0, 0));
    second.generation = joined.generation_id;
    assert_eq!(first.generation, second.generation);
    assert!(first.generation > before);
    assert_eq!((rejoined.leader.as_str(), joined.leader.as_str()), (first.id.as_str(), first.id.as_str()));
    assert_eq!((rejoined.members.len(), joined.members.len()), (2, 0), "only the leader learns who is there");

    // The follower's sync waits for the leader's.
    let (one, two) = (first.id.clone(), second.id.clone());
    let parts: [(&str, &[u8]); 2] = [(&one, b"p0"), (&two, b"p1")];
    let (led, followed) = tokio::join!(first.sync(&parts), second.sync(&[]));
    assert_eq!((led, followed), ((0, Bytes::from_static(b"p0")), (0, Bytes::from_static(b"p1"))));

    assert_eq!(first.commit(first.generation, 42).await, 0);
    assert_eq!(first.commit(before, 7).await, ILLEGAL_GENERATION, "an old generation commits nothing");
    assert_eq!(committed(&mut second.client).await, (42, "here".to_owned()));

    // One leaves, the other is told and gets everything.
    assert_eq!(second.leave().await, 0);
    until("the rest is told", async || first.heartbeat().await == REBALANCE_IN_PROGRESS).await;
    assert_eq!(first.join().await.members.len(), 1);
    assert_eq!(first.sync(&[(&own, b"both")]).await.1, Bytes::from_static(b"both"));
    assert_eq!(second.heartbeat().await, UNKNOWN_MEMBER_ID);
}

/// A second member enters: the first, told by its heartbeat, joins again, leads, and gives itself `p0`, the other `p1`.
async fn share(first: &mut Member, second: &mut Member) {
    let request = second.join_request();
    let waiting = second.client.send(7, &request).await.unwrap();
    until("the first member is told", async || first.heartbeat().await == REBALANCE_IN_PROGRESS).await;
    assert_eq!(first.join().await.error_code, 0);
    let joined = second.client.receive::<JoinGroupRequest>(7, waiting).await.unwrap();
    assert_eq!(joined.error_code, 0);
    (second.id, second.generation) = (joined.member_id.to_string(), joined.generation_id);
    let (one, two) = (first.id.clone(), second.id.clone());
    let parts: [(&str, &[u8]); 2] = [(&one, b"p0"), (&two, b"p1")];
    let (led, followed) = tokio::join!(first.sync(&parts), second.sync(&[]));
    assert_eq!((led, followed), ((0, Bytes::from_static(b"p0")), (0, Bytes::from_static(b"p1"))));
}

#[tokio::test]
async fn a_member_that_falls_silent_is_out_and_the_rest_share_what_it_had() {
    let broker = scene_with(&["group.min.session.timeout.ms=1000"]).await;
    let mut first = Member::new(&broker).await;
    assert_eq!(first.join().await.error_code, 0);
    let own = first.id.clone();
    assert_eq!(first.sync(&[(&own, b"both")]).await.0, 0);
    let mut silent = Member::new(&broker).await;
    silent.session_ms = 3_000;
    share(&mut first, &mut silent).await;

    // It sends nothing more, and its connection stays open: only its session says that it is gone.
    until("the first member is told", async || first.heartbeat().await == REBALANCE_IN_PROGRESS).await;
    let before = first.generation;
    let rejoined = first.join().await;
    assert_eq!((rejoined.error_code, rejoined.members.len()), (0, 1));
    assert_eq!(first.generation, before + 1, "one silent member, one rebalance");
    assert_eq!(first.sync(&[(&own, b"both")]).await, (0, Bytes::from_static(b"both")));
    assert_eq!(first.heartbeat().await, 0);
    assert_eq!(silent.heartbeat().await, UNKNOWN_MEMBER_ID);
    assert_eq!(silent.commit(silent.generation, 7).await, UNKNOWN_MEMBER_ID, "what it had is another's now");
    agrees_with_its_log(&broker).await;
}

#[tokio::test]
async fn a_static_member_comes_back_to_its_part_and_fences_who_else_uses_its_name() {
    let mut broker = scene().await;
    let mut first = Member::named(&broker, "a").await;
    assert_eq!(first.join().await.error_code, 0, "a lasting name needs no id to join with");
    let own = first.id.clone();
    assert_eq!(first.sync(&[(&own, b"both")]).await.0, 0);
    let mut second = Member::named(&broker, "b").await;
    share(&mut first, &mut second).await;
    let generation = first.generation;

    // Its process ended without a word and starts again, without the id it had.
    let mut again = Member::named(&broker, "b").await;
    let joined = again.join().await;
    assert_eq!((joined.error_code, again.generation), (0, generation), "no rebalance");
    assert_ne!(again.id, second.id);
    assert_eq!(again.sync(&[]).await, (0, Bytes::from_static(b"p1")));
    assert_eq!((first.heartbeat().await, again.heartbeat().await), (0, 0), "nobody has to join again");

    // The one before was not dead after all: whatever it does now is refused, and disturbs nobody.
    assert_eq!(second.heartbeat().await, FENCED_INSTANCE_ID);
    assert_eq!(second.sync(&[]).await.0, FENCED_INSTANCE_ID);
    assert_eq!(second.commit(generation, 7).await, FENCED_INSTANCE_ID);
    assert_eq!(second.join().await.error_code, FENCED_INSTANCE_ID);
    assert_eq!((first.heartbeat().await, again.heartbeat().await), (0, 0));
    assert_eq!(again.commit(generation, 42).await, 0);

    // The names outlive the broker's own restart.
    broker.restart().await;
    find_coordinator(&broker).await;
    let mut later = Member::named(&broker, "b").await;
    assert_eq!((later.join().await.error_code, later.generation), (0, generation));
    assert_eq!(later.sync(&[]).await, (0, Bytes::from_static(b"p1")));
    assert_eq!(committed(&mut later.client).await, (42, "here".to_owned()));
    agrees_with_its_log(&broker).await;
}

#[tokio::test]
async fn what_no_group_takes_is_refused_by_its_name_and_disturbs_nobody() {
    let set = ["group.max.size=1", "group.max.session.timeout.ms=60000", "offset.metadata.max.bytes=10"];
    let broker = scene_with(&set).await;
    let mut member = Member::new(&broker).await;
    assert_eq!(member.join().await.error_code, 0);
    let own = member.id.clone();
    assert_eq!(member.sync(&[(&own, b"all")]).await.0, 0);

    let fresh = Member::stranger(&broker).await.join_request();
    let other = JoinGroupRequestProtocol::default().with_name(text("other"));
    let refusals = [
        (fresh.clone().with_session_timeout_ms(1), INVALID_SESSION_TIMEOUT),
        (fresh.clone().with_session_timeout_ms(60_001), INVALID_SESSION_TIMEOUT),
        (fresh.clone().with_group_id(GroupId(text(""))), INVALID_GROUP_ID),
        (fresh.clone().with_member_id(text("nobody")), GROUP_MAX_SIZE_REACHED),
        (fresh.clone(), GROUP_MAX_SIZE_REACHED),
        (member.join_request().with_protocol_type(text("connect")), INCONSISTENT_GROUP_PROTOCOL),
        (member.join_request().with_protocols(vec![]), INCONSISTENT_GROUP_PROTOCOL),
        (member.join_request().with_protocols(vec![other]), INCONSISTENT_GROUP_PROTOCOL),
        (fresh.with_group_id(GroupId(text("new"))).with_protocols(vec![]), INCONSISTENT_GROUP_PROTOCOL),
    ];
    let mut client = broker.client().await;
    for (request, code) in refusals {
        let refused = client.call(7, &request).await.unwrap();
        assert_eq!((refused.error_code, refused.generation_id), (code, -1), "{request:?}");
    }
    let generation = member.generation;
    assert_eq!(member.commit(generation, 1).await, 0);
    let long = member.commit_request(generation, 2, "eleven byte");
    let refused = client.call(7, &long).await.unwrap();
    assert_eq!(refused.topics[0].partitions[0].error_code, OFFSET_METADATA_TOO_LARGE);
    let mut nobody = Member::stranger(&broker).await;
    nobody.id = "nobody".to_owned();
    assert_eq!(nobody.commit(generation, 3).await, UNKNOWN_MEMBER_ID);
    assert_eq!(nobody.leave().await, UNKNOWN_MEMBER_ID);
    nobody.generation = generation;
    assert_eq!(nobody.sync(&[]).await.0, UNKNOWN_MEMBER_ID);
    assert_eq!((member.heartbeat().await, member.generation), (0, generation), "it never noticed");
    assert_eq!(committed(&mut client).await, (1, "here".to_owned()));
    agrees_with_its_log(&broker).await;
}

/// What the coordinator holds is what a replay of its log gives.
async fn agrees_with_its_log(broker: &TestBroker) {
    let differences = broker.broker().shared().groups.verify().await.expect("the coordinator serves");
    assert_eq!(differences, Vec::<String>::new());
}

#[tokio::test]
async fn committed_offsets_outlive_restart_and_crash() {
    let mut broker = scene().await;
    let mut member = Member::new(&broker).await;
    assert_eq!(member.join().await.error_code, 0);
    let own = member.id.clone();
    assert_eq!(member.sync(&[(&own, b"all")]).await.0, 0);
    for offset in [1, 5, 3] {
        let generation = member.generation;
        assert_eq!(member.commit(generation, offset).await, 0);
    }
    agrees_with_its_log(&broker).await;
    broker.restart().await;
    find_coordinator(&broker).await;
    agrees_with_its_log(&broker).await;
    let mut client = broker.client().await;
    assert_eq!(committed(&mut client).await, (3, "here".to_owned()), "the newest, though not the largest");
    // A simple consumer, outside any generation, may commit to an empty group only.
    broker.kill();
    broker.revive().await;
    find_coordinator(&broker).await;
    assert_eq!(committed(&mut broker.client().await).await, (3, "here".to_owned()));
}

#[tokio::test]
async fn groups_are_listed_described_and_deleted() {
    let broker = scene().await;
    let mut member = Member::new(&broker).await;
    assert_eq!(member.join().await.error_code, 0);
    let own = member.id.clone();
    assert_eq!(member.sync(&[(&own, b"all")]).await.0, 0);
    let generation = member.generation;
    assert_eq!(member.commit(generation, 9).await, 0);
    let mut client = broker.client().await;
    let listed = client.call(4, &ListGroupsRequest::default()).await.unwrap();
    let states: Vec<_> =
        listed.groups.iter().map(|g| (g.group_id.to_string(), g.group_state.to_string())).collect();
    assert_eq!(states, [(GROUP.to_owned(), "Stable".to_owned())]);
    let described =
        client.call(4, &DescribeGroupsRequest::default().with_groups(vec![group()])).await.unwrap();
    let described = &described.groups[0];
    assert_eq!((described.group_state.as_str(), described.members.len()), ("Stable", 1));
    assert_eq!(described.members[0].member_assignment, Bytes::from_static(b"all"));
    assert_eq!(forget(&mut client).await, [0, GROUP_SUBSCRIBED_TO_TOPIC], "its member may read the topic");
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    assert_eq!(client.call(2, &delete).await.unwrap().results[0].error_code, NON_EMPTY_GROUP);
    assert_eq!(member.leave().await, 0);
    assert_eq!(client.call(2, &delete).await.unwrap().results[0].error_code, 0);
    assert_eq!(committed(&mut client).await.0, -1, "its offsets went with it");
    assert_eq!(client.call(2, &delete).await.unwrap().results[0].error_code, GROUP_ID_NOT_FOUND);
    agrees_with_its_log(&broker).await;
}

#[tokio::test]
async fn an_operator_makes_a_group_forget_a_partition() {
    let broker = scene().await;
    let mut simple = Member::stranger(&broker).await;
    assert_eq!(simple.commit(-1, 7).await, 0);
    let mut client = broker.client().await;
    assert_eq!(forget(&mut client).await, [0, 0]);
    assert_eq!(committed(&mut client).await.0, -1);
    assert_eq!(forget(&mut client).await, [0, 0], "there is nothing left to forget");
    agrees_with_its_log(&broker).await;
}

/// The codes of the whole and of the partition that the group had committed.
async fn forget(client: &mut Client) -> [i16; 2] {
    let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
    let topic = OffsetDeleteRequestTopic::default().with_name(name("read")).with_partitions(vec![partition]);
    let request = OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![topic]);
    let answer = client.call(0, &request).await.expect("OffsetDelete");
    [answer.error_code, answer.topics[0].partitions[0].error_code]
}

#[tokio::test]
async fn offsets_of_a_deleted_topic_go_with_it() {
    let broker = scene().await;
    let mut simple = Member::stranger(&broker).await;
    assert_eq!(simple.commit(-1, 7).await, 0);
    let mut client = broker.client().await;
    assert_eq!(committed(&mut client).await.0, 7);
    assert_eq!(client.delete("read").await, 0);
    until("its offsets go too", async || committed(&mut client).await.0 == -1).await;
    agrees_with_its_log(&broker).await;
}

#[tokio::test]
async fn groups_live_in_a_topic_that_clients_cannot_write() {
    let broker = scene().await;
    let mut client = broker.client().await;
    let metadata = client.metadata("__consumer_offsets").await.unwrap();
    assert!(metadata.topics[0].is_internal);
    let refused =
        client.produce("__consumer_offsets", 0, crate::harness::records::batch(&["x"])).await.unwrap();
    assert_ne!(refused.error_code, 0);
}
