//! From a frame to a typed request. Produce and Fetch become our own views; every other body is decoded by
//! kafka-protocol, and only after the guard has walked it. Not here: what a request means.
//! Its one invariant: no input, whatever its bytes, makes [`decode`] panic or allocate beyond the frame's size class.
use bytes::{Bytes, BytesMut};

use crate::wire::api_key::{ApiKey, PRODUCE_SERVED_FROM};
use crate::wire::fetch::FetchView;
use crate::wire::guard;
use crate::wire::header::{self, Header};
use crate::wire::message::*;
use crate::wire::produce::ProduceView;
use crate::wire::produce_answer;
use crate::wire::response::Response;

/// Why a frame is not a request we can serve. Each closes the connection, with one log line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A key outside the version table. Kafka closes the connection too.
    #[error("unknown api key {key} (version {version})")]
    UnknownApiKey {
        /// Raw key.
        key: i16,
        /// Raw version.
        version: i16,
    },
    /// A version outside the table's row. Kafka closes the connection too.
    #[error("{api_key} version {version} is not supported (we speak {}-{})", api_key.api().min, api_key.api().max)]
    UnsupportedVersion {
        /// The key.
        api_key: ApiKey,
        /// The version asked.
        version: i16,
    },
    /// A length or count reaches past the end of the frame.
    #[error("a length at byte {at} wants {wanted} bytes where {remaining} remain")]
    Truncated {
        /// Position inside the slice that was read.
        at: usize,
        /// Bytes the length asks for.
        wanted: u64,
        /// Bytes that remain.
        remaining: u64,
    },
    /// A length below -1, or -1 where null is not allowed.
    #[error("a length at byte {at} is {length}")]
    NegativeLength {
        /// Position of the length.
        at: usize,
        /// The length read.
        length: i64,
    },
    /// A varint wider than 32 bits.
    #[error("a varint at byte {at} is wider than 32 bits")]
    BadVarint {
        /// Position of the varint.
        at: usize,
    },
    /// A string that is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// Which field.
        field: &'static str,
    },
    /// More array elements in one request than any client sends.
    #[error("more than {limit} array elements in one request")]
    TooManyElements {
        /// The limit.
        limit: usize,
    },
    /// Bytes after the last field of the body.
    #[error("{left} bytes are left over after the body of {api_key} version {version}")]
    TrailingBytes {
        /// The key.
        api_key: ApiKey,
        /// The version.
        version: i16,
        /// How many bytes.
        left: usize,
    },
    /// kafka-protocol refused a body that the guard had passed.
    #[error("{api_key} version {version} does not decode: {reason}")]
    Undecodable {
        /// The key.
        api_key: ApiKey,
        /// The version.
        version: i16,
        /// What the codec said.
        reason: String,
    },
}

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
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    DescribeCluster(DescribeClusterRequest),
    DescribeTopicPartitions(DescribeTopicPartitionsRequest),
}

/// Decodes one frame (without its four size bytes).
///
/// # Errors
/// See [`WireError`]: all close the connection.
pub fn decode(frame: BytesMut) -> Result<Request, WireError> {
    todo!()
}
