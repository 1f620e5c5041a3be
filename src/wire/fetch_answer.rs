//! Writes Fetch responses, versions 4 to 16, as pieces with holes: records leave from files or shared bytes without a
//! copy. Not here: what to read. Its one invariant: `records` is never null, also beside an error
//! (clients of every language trip over null).
//!
//! ```text
//! throttle_ms | v7: error, session_id | [topic name, id from v13 | [index, error, HW, LSO, v5 log start,
//!   aborted or null, v11 preferred replica, records, v12 tags 0 diverging 1 leader] ] | v16 tag 0 node_endpoints
//! ```
use bytes::BytesMut;

use crate::wire::fetch::TopicRef;
use crate::wire::header::Header;
use crate::wire::produce_answer::{LeaderHint, NodeEndpoint, leader_hint, node_endpoints};
use crate::wire::response::{EncodeError, Piece, Response};
use crate::wire::writer::Writer;

/// A Fetch response.
#[derive(Debug, Clone, Default)]
pub struct FetchAnswer {
    /// Time the client is asked to stay away, milliseconds.
    pub throttle_ms: i32,
    /// Error of the whole request (sessions), v7+.
    pub error: i16,
    /// Session, 0 for none, v7+.
    pub session_id: i32,
    /// Topics with something to say.
    pub topics: Vec<FetchedTopic>,
    /// Where the leaders named in hints listen (KIP-951, v16+).
    pub endpoints: Vec<NodeEndpoint>,
}

/// A topic of a Fetch response.
#[derive(Debug, Clone)]
pub struct FetchedTopic {
    /// As the request named it.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<Fetched>,
}

/// A partition of a Fetch response.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Partition index.
    pub index: i32,
    /// Kafka's error code, 0 for none.
    pub error: i16,
    /// High watermark, -1 unknown; filled also beside errors where it is known.
    pub high_watermark: i64,
    /// Last stable offset, -1 unknown.
    pub last_stable_offset: i64,
    /// Log start, -1 unknown.
    pub log_start_offset: i64,
    /// `None` for READ_UNCOMMITTED, else the aborted transactions in the range, by first offset.
    pub aborted: Option<Vec<Aborted>>,
    /// Replica to read from instead, -1 for none (KIP-392).
    pub preferred_read_replica: i32,
    /// Where the follower's log leaves ours (KIP-595, v12+): epoch and end offset.
    pub diverging: Option<(i32, i64)>,
    /// Who leads instead (KIP-951, v12+).
    pub current_leader: Option<LeaderHint>,
    /// Whole batches, in order; none for an empty answer.
    pub records: Vec<Piece>,
}

/// An aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    /// Producer id.
    pub producer_id: i64,
    /// First offset of the transaction.
    pub first_offset: i64,
}

impl Fetched {
    /// An answer without records: offsets unknown, nothing aborted.
    pub fn empty(index: i32, error: i16) -> Fetched {
        Fetched {
            index,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted: None,
            preferred_read_replica: -1,
            diverging: None,
            current_leader: None,
            records: Vec::new(),
        }
    }

    /// Bytes of records.
    pub fn record_bytes(&self) -> u64 {
        self.records.iter().map(Piece::len).sum()
    }
}

/// Encodes the response in the request's version.
///
/// # Errors
/// A response larger than the protocol can carry.
pub fn encode(header: &Header, answer: FetchAnswer) -> Result<Response, EncodeError> {
    let version = header.version;
    let partitions: usize = answer.topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut body =
        Body { version, writer: Writer::new(header.flexible(), 64 + 80 * partitions), pieces: Vec::new() };
    body.writer.i32(answer.throttle_ms);
    if version >= 7 {
        body.writer.i16(answer.error);
        body.writer.i32(answer.session_id);
    }
    body.writer.count(answer.topics.len());
    for topic in answer.topics {
        body.topic(topic)?;
    }
    match answer.endpoints.as_slice() {
        endpoints @ [_, ..] if version >= 16 => body.writer.tags(&[(0, node_endpoints(endpoints))]),
        _ => body.writer.no_tags(),
    }
    body.cut();
    Response::framed(header, body.pieces)
}

struct Body {
    version: i16,
    writer: Writer,
    pieces: Vec<Piece>,
}

impl Body {
    fn topic(&mut self, topic: FetchedTopic) -> Result<(), EncodeError> {
        match (&topic.topic, self.version >= 13) {
            (TopicRef::Id(id), true) => self.writer.uuid(*id),
            (TopicRef::Name(name), false) => self.writer.string(name),
            (named, _) => {
                let reason = format!("topic named as {named:?}");
                return Err(EncodeError::Message { what: "Fetch", version: self.version, reason });
            }
        }
        self.writer.count(topic.partitions.len());
        for partition in topic.partitions {
            self.partition(partition)?;
        }
        self.writer.no_tags();
        Ok(())
    }

    fn partition(&mut self, partition: Fetched) -> Result<(), EncodeError> {
        let writer = &mut self.writer;
        writer.i32(partition.index);
        writer.i16(partition.error);
        writer.i64(partition.high_watermark);
        writer.i64(partition.last_stable_offset);
        if self.version >= 5 {
            writer.i64(partition.log_start_offset);
        }
        aborted(writer, partition.aborted.as_deref());
        if self.version >= 11 {
            writer.i32(partition.preferred_read_replica);
        }
        let bytes = partition.record_bytes();
        let length = i32::try_from(bytes).map_err(|_| EncodeError::TooLarge(bytes))?;
        writer.bytes_length(length as usize);
        if bytes > 0 {
            self.cut();
            self.pieces.extend(partition.records);
        }
        let mut tags: Vec<(u32, BytesMut)> = Vec::new();
        if self.version >= 12 {
            tags.extend(partition.diverging.map(|(epoch, end)| (0, diverging(epoch, end))));
            tags.extend(partition.current_leader.map(|leader| (1, leader_hint(leader))));
        }
        self.writer.tags(&tags);
        Ok(())
    }

    /// Ends the piece of plain bytes that is being written.
    fn cut(&mut self) {
        let bytes = self.writer.out.split().freeze();
        if !bytes.is_empty() {
            self.pieces.push(Piece::Bytes(bytes));
        }
    }
}

fn aborted(writer: &mut Writer, aborted: Option<&[Aborted]>) {
    let Some(aborted) = aborted else { return writer.null_array() };
    writer.count(aborted.len());
    for transaction in aborted {
        writer.i64(transaction.producer_id);
        writer.i64(transaction.first_offset);
        writer.no_tags();
    }
}

fn diverging(epoch: i32, end_offset: i64) -> BytesMut {
    let mut tag = Writer::new(true, 13);
    tag.i32(epoch);
    tag.i64(end_offset);
    tag.no_tags();
    tag.out
}
