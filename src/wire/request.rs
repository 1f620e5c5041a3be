//! From a frame to a typed request. Produce and Fetch become our own views; every other body is decoded by
//! kafka-protocol, and only after the guard has walked it. Not here: what a request means.
//! Its one invariant: no input, whatever its bytes, makes [`decode`] panic or allocate beyond the frame's size class.
use bytes::{Bytes, BytesMut};

use crate::wire::api_key::{ApiKey, PRODUCE_SERVED_FROM};
pub use crate::wire::error::WireError;
use crate::wire::fetch::FetchView;
use crate::wire::guard;
use crate::wire::header::{self, Header};
use crate::wire::message::*;
use crate::wire::produce::ProduceView;
use crate::wire::produce_answer::{self, Produced};
use crate::wire::response::Response;

/// A request: its header and its typed body.
#[derive(Debug)]
pub struct Request {
    /// Key, version, correlation id, client.
    pub header: Header,
    /// The body.
    pub body: Body,
}

/// A request's body. Sizes differ by design: a body is moved once, into its handler.
#[derive(Debug)]
#[expect(missing_docs, reason = "each variant is the request of its name in the protocol guide")]
pub enum Body {
    /// Our own view; records are patched in place.
    Produce(ProduceView),
    /// Our own view.
    Fetch(FetchView),
    ApiVersions(ApiVersionsRequest),
    /// ApiVersions in a version we do not speak: answer v0 with error 35 and the table (KIP-511).
    ApiVersionsUnsupported,
    /// What another node says, in its own encoding.
    Node(Bytes),
    /// A body we understand but never serve (Produce 0-2): this response is to be sent as it is.
    Refused(Response),
    ListOffsets(ListOffsetsRequest),
    Metadata(MetadataRequest),
    OffsetCommit(OffsetCommitRequest),
    OffsetFetch(OffsetFetchRequest),
    FindCoordinator(FindCoordinatorRequest),
    JoinGroup(JoinGroupRequest),
    Heartbeat(HeartbeatRequest),
    LeaveGroup(LeaveGroupRequest),
    SyncGroup(SyncGroupRequest),
    DescribeGroups(DescribeGroupsRequest),
    ListGroups(ListGroupsRequest),
    CreateTopics(CreateTopicsRequest),
    DeleteTopics(DeleteTopicsRequest),
    DeleteRecords(DeleteRecordsRequest),
    InitProducerId(InitProducerIdRequest),
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest),
    DescribeConfigs(DescribeConfigsRequest),
    DescribeLogDirs(DescribeLogDirsRequest),
    CreatePartitions(CreatePartitionsRequest),
    DeleteGroups(DeleteGroupsRequest),
    /// Key 61.
    DescribeProducers(DescribeProducersRequest),
    /// Key 47.
    OffsetDelete(OffsetDeleteRequest),
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    DescribeCluster(DescribeClusterRequest),
    DescribeTopicPartitions(DescribeTopicPartitionsRequest),
    AlterReplicaLogDirs(AlterReplicaLogDirsRequest),
    ElectLeaders(ElectLeadersRequest),
    AlterPartitionReassignments(AlterPartitionReassignmentsRequest),
    ListPartitionReassignments(ListPartitionReassignmentsRequest),
    DescribeQuorum(DescribeQuorumRequest),
    UpdateFeatures(UpdateFeaturesRequest),
    UnregisterBroker(UnregisterBrokerRequest),
    AddRaftVoter(AddRaftVoterRequest),
    RemoveRaftVoter(RemoveRaftVoterRequest),
}

/// Decodes one frame (without its four size bytes). Bytes behind the last field are ignored, as Kafka does.
///
/// # Errors
/// See [`WireError`]: all close the connection.
pub fn decode(mut frame: BytesMut) -> Result<Request, WireError> {
    let header = header::split(&mut frame)?;
    if header.api_key == ApiKey::ApiVersions && !header.api_key.advertises(header.version) {
        return Ok(Request { header, body: Body::ApiVersionsUnsupported });
    }
    let body = match header.api_key {
        // Our own views check every length and count themselves.
        ApiKey::Produce => produce(&header, frame)?,
        ApiKey::Fetch => Body::Fetch(FetchView::parse(frame, header.version)?),
        ApiKey::Node => Body::Node(frame.freeze()),
        _ => {
            guard::check(header.api_key, header.version, &frame)?;
            control(&header, frame.freeze())?
        }
    };
    Ok(Request { header, body })
}

/// Produce 0-2 is advertised for librdkafka's sake and answered with UNSUPPORTED_VERSION per partition; without a
/// response to carry it (acks=0) the connection closes.
fn produce(header: &Header, body: BytesMut) -> Result<Body, WireError> {
    let view = ProduceView::parse(body, header.version)?;
    if header.version >= PRODUCE_SERVED_FROM {
        return Ok(Body::Produce(view));
    }
    let unsupported = WireError::UnsupportedVersion { api_key: header.api_key, version: header.version };
    if view.acks() == 0 {
        return Err(unsupported);
    }
    let refused = Produced::failed(UNSUPPORTED_VERSION, None);
    let parts = vec![refused; view.slots()];
    let response = produce_answer::encode(header, view.outline(), &parts, &[], 0);
    response.map(Body::Refused).map_err(|_| unsupported)
}

/// Kafka's code for a version that is not served.
const UNSUPPORTED_VERSION: i16 = 35;

/// Decodes a body that the guard has passed.
fn control(header: &Header, body: Bytes) -> Result<Body, WireError> {
    use ApiKey as K;
    Ok(match header.api_key {
        K::Produce | K::Fetch | K::Node => unreachable!("{} has a view of its own", header.api_key),
        K::ApiVersions => Body::ApiVersions(message(header, body)?),
        K::ListOffsets => Body::ListOffsets(message(header, body)?),
        K::Metadata => Body::Metadata(message(header, body)?),
        K::OffsetCommit => Body::OffsetCommit(message(header, body)?),
        K::OffsetFetch => Body::OffsetFetch(message(header, body)?),
        K::FindCoordinator => Body::FindCoordinator(message(header, body)?),
        K::JoinGroup => Body::JoinGroup(message(header, body)?),
        K::Heartbeat => Body::Heartbeat(message(header, body)?),
        K::LeaveGroup => Body::LeaveGroup(message(header, body)?),
        K::SyncGroup => Body::SyncGroup(message(header, body)?),
        K::DescribeGroups => Body::DescribeGroups(message(header, body)?),
        K::ListGroups => Body::ListGroups(message(header, body)?),
        K::CreateTopics => Body::CreateTopics(message(header, body)?),
        K::DeleteTopics => Body::DeleteTopics(message(header, body)?),
        K::DeleteRecords => Body::DeleteRecords(message(header, body)?),
        K::InitProducerId => Body::InitProducerId(message(header, body)?),
        K::OffsetForLeaderEpoch => Body::OffsetForLeaderEpoch(message(header, body)?),
        K::DescribeConfigs => Body::DescribeConfigs(message(header, body)?),
        K::DescribeLogDirs => Body::DescribeLogDirs(message(header, body)?),
        K::CreatePartitions => Body::CreatePartitions(message(header, body)?),
        K::DeleteGroups => Body::DeleteGroups(message(header, body)?),
        K::IncrementalAlterConfigs => Body::IncrementalAlterConfigs(message(header, body)?),
        K::DescribeCluster => Body::DescribeCluster(message(header, body)?),
        K::DescribeTopicPartitions => Body::DescribeTopicPartitions(message(header, body)?),
        K::AlterReplicaLogDirs => Body::AlterReplicaLogDirs(message(header, body)?),
        K::ElectLeaders => Body::ElectLeaders(message(header, body)?),
        K::AlterPartitionReassignments => Body::AlterPartitionReassignments(message(header, body)?),
        K::ListPartitionReassignments => Body::ListPartitionReassignments(message(header, body)?),
        K::DescribeProducers => Body::DescribeProducers(message(header, body)?),
        K::OffsetDelete => Body::OffsetDelete(message(header, body)?),
        K::DescribeQuorum => Body::DescribeQuorum(message(header, body)?),
        K::UpdateFeatures => Body::UpdateFeatures(message(header, body)?),
        K::UnregisterBroker => Body::UnregisterBroker(message(header, body)?),
        K::AddRaftVoter => Body::AddRaftVoter(message(header, body)?),
        K::RemoveRaftVoter => Body::RemoveRaftVoter(message(header, body)?),
    })
}

fn message<M: Decodable>(header: &Header, mut body: Bytes) -> Result<M, WireError> {
    M::decode(&mut body, header.version).map_err(|error| WireError::Undecodable {
        api_key: header.api_key,
        version: header.version,
        reason: error.to_string(),
    })
}

#[cfg(test)]
pub(crate) mod testing {
    //! Requests for the tests of this room.
    use super::*;
    use crate::wire::message::Encodable;
    use bytes::BufMut;

    /// The frame of a request with correlation id 7 from client `t`.
    pub(crate) fn frame(api_key: ApiKey, version: i16, body: &[u8]) -> BytesMut {
        let mut frame = BytesMut::new();
        frame.put_i16(api_key.code());
        frame.put_i16(version);
        frame.put_i32(7);
        frame.put_i16(1);
        frame.put_u8(b't');
        if api_key.flexible(version) {
            frame.put_u8(0);
        }
        frame.extend_from_slice(body);
        frame
    }

    /// Decodes a body behind such a header.
    pub(crate) fn request(api_key: ApiKey, version: i16, body: &[u8]) -> Result<Request, WireError> {
        decode(frame(api_key, version, body))
    }

    /// Encodes a message.
    pub(crate) fn encoded<M: Encodable>(message: &M, version: i16) -> Vec<u8> {
        let mut out = BytesMut::new();
        message.encode(&mut out, version).expect("encodes");
        out.to_vec()
    }

    /// Encodes a control-plane body again; our own views have tests of their own.
    pub(crate) fn reencode(body: &Body, version: i16) -> Option<Vec<u8>> {
        Some(match body {
            Body::Produce(_) | Body::Fetch(_) => return None,
            Body::ApiVersions(body) => encoded(body, version),
            Body::ListOffsets(body) => encoded(body, version),
            Body::Metadata(body) => encoded(body, version),
            Body::OffsetCommit(body) => encoded(body, version),
            Body::OffsetFetch(body) => encoded(body, version),
            Body::FindCoordinator(body) => encoded(body, version),
            Body::JoinGroup(body) => encoded(body, version),
            Body::Heartbeat(body) => encoded(body, version),
            Body::LeaveGroup(body) => encoded(body, version),
            Body::SyncGroup(body) => encoded(body, version),
            Body::DescribeGroups(body) => encoded(body, version),
            Body::ListGroups(body) => encoded(body, version),
            Body::CreateTopics(body) => encoded(body, version),
            Body::DeleteTopics(body) => encoded(body, version),
            Body::DeleteRecords(body) => encoded(body, version),
            Body::InitProducerId(body) => encoded(body, version),
            Body::OffsetForLeaderEpoch(body) => encoded(body, version),
            Body::DescribeConfigs(body) => encoded(body, version),
            Body::DescribeLogDirs(body) => encoded(body, version),
            Body::CreatePartitions(body) => encoded(body, version),
            Body::DeleteGroups(body) => encoded(body, version),
            Body::DescribeProducers(body) => encoded(body, version),
            Body::OffsetDelete(body) => encoded(body, version),
            Body::IncrementalAlterConfigs(body) => encoded(body, version),
            Body::DescribeCluster(body) => encoded(body, version),
            Body::DescribeTopicPartitions(body) => encoded(body, version),
            Body::AlterReplicaLogDirs(body) => encoded(body, version),
            Body::ElectLeaders(body) => encoded(body, version),
            Body::AlterPartitionReassignments(body) => encoded(body, version),
            Body::ListPartitionReassignments(body) => encoded(body, version),
            Body::DescribeQuorum(body) => encoded(body, version),
            Body::UpdateFeatures(body) => encoded(body, version),
            Body::UnregisterBroker(body) => encoded(body, version),
            Body::AddRaftVoter(body) => encoded(body, version),
            Body::RemoveRaftVoter(body) => encoded(body, version),
            other => panic!("{other:?} is no request"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{frame, request};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_nodes_say_is_passed_on_as_it_is() {
        let request = request(ApiKey::Node, 0, &[1, 2, 0xff]).expect("opaque");
        assert!(matches!(&request.body, Body::Node(bytes) if bytes[..] == [1, 2, 0xff]), "{request:?}");
        let answer = crate::wire::response::opaque(&request.header, Bytes::from_static(b"yes")).unwrap();
        assert_eq!(answer.flattened()[..], *b"\0\0\0\x07\0\0\0\x07yes");
    }

    #[test]
    fn unknown_keys_and_versions_are_refused_by_name() {
        let mut unknown = frame(ApiKey::Metadata, 1, &[]);
        unknown[..2].copy_from_slice(&71i16.to_be_bytes());
        assert_eq!(
            decode(unknown).expect_err("no such key"),
            WireError::UnknownApiKey { key: 71, version: 1 }
        );
        let error = request(ApiKey::Fetch, 17, &[]).expect_err("not advertised");
        assert_eq!(error.to_string(), "Fetch version 17 is not supported (we speak 4-16)");
    }

    #[test]
    fn api_versions_of_any_version_is_answered() {
        for version in [-1, 5, 99, i16::MAX] {
            let request = request(ApiKey::ApiVersions, version, &[1, 2, 3]).expect("answered");
            assert!(matches!(request.body, Body::ApiVersionsUnsupported), "{version}: {request:?}");
            assert_eq!((request.header.version, request.header.correlation_id), (version, 7));
        }
    }

    #[test]
    fn produce_below_three_is_refused_with_words_where_words_can_be_said() {
        let partition = [&3i32.to_be_bytes()[..], &0i32.to_be_bytes()].concat();
        let body = |acks: i16| {
            let topic = [&1i32.to_be_bytes()[..], &2i16.to_be_bytes(), b"ab", &1i32.to_be_bytes()].concat();
            [&acks.to_be_bytes()[..], &1000i32.to_be_bytes(), &topic, &partition].concat()
        };
        for version in 0..PRODUCE_SERVED_FROM {
            let Ok(Request { body: Body::Refused(response), .. }) =
                request(ApiKey::Produce, version, &body(1))
            else {
                panic!("version {version} not refused")
            };
            // Size and correlation id come first.
            let bytes = response.flattened().slice(8..);
            let wanted =
                [&body(1)[6..18], &3i32.to_be_bytes(), &35i16.to_be_bytes(), &(-1i64).to_be_bytes()].concat();
            assert_eq!(bytes[..wanted.len()], wanted, "version {version}");
            assert_eq!(bytes.len() - wanted.len(), [0, 4, 12][version as usize], "version {version}");
            assert!(request(ApiKey::Produce, version, &body(0)).is_err(), "acks=0 has no answer");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_frames_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(BytesMut::from(&bytes[..]));
        }
    }
}
