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
    let writer = Response::begin(header, 64 + 80 * partitions);
    let mut body = Body { version, writer, head: None, rest: Vec::new() };
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
    Response::finish(body.head.unwrap_or_default(), body.rest)
}

struct Body {
    version: i16,
    writer: Writer,
    /// What goes out before the first records, once it is whole. Its first bytes take the size.
    head: Option<BytesMut>,
    rest: Vec<Piece>,
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
            self.rest.extend(partition.records);
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
        let bytes = self.writer.out.split();
        match self.head {
            None => self.head = Some(bytes),
            Some(_) if bytes.is_empty() => {}
            Some(_) => self.rest.push(Piece::Bytes(bytes.freeze())),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api_key::ApiKey;
    use crate::wire::message::{Decodable, FetchResponse, StrBytes};
    use bytes::Bytes;
    use uuid::Uuid;

    fn answer(version: i16) -> FetchAnswer {
        let piece = |text: &'static str| Piece::Bytes(Bytes::from_static(text.as_bytes()));
        let full = Fetched {
            high_watermark: 9,
            last_stable_offset: 8,
            log_start_offset: 2,
            aborted: Some(vec![Aborted { producer_id: 5, first_offset: 6 }]),
            records: vec![piece("one"), piece("two")],
            ..Fetched::empty(0, 0)
        };
        let moved = Fetched {
            diverging: Some((3, 40)),
            current_leader: Some(LeaderHint { id: 2, epoch: 7 }),
            ..Fetched::empty(1, 6)
        };
        let topic = match version {
            13.. => TopicRef::Id(Uuid::from_u128(77)),
            _ => TopicRef::Name(StrBytes::from_static_str("t")),
        };
        let topics = vec![FetchedTopic { topic, partitions: vec![full, moved, Fetched::empty(2, 0)] }];
        let endpoints = vec![NodeEndpoint { id: 2, host: "h".to_owned(), port: 1, rack: None }];
        FetchAnswer { throttle_ms: 3, error: 0, session_id: 12, topics, endpoints }
    }

    #[test]
    fn the_codec_reads_every_version() {
        for version in 4..=16 {
            let header = Header { api_key: ApiKey::Fetch, version, correlation_id: 9, client_id: None };
            let wire = encode(&header, answer(version)).expect("encodes").flattened();
            assert_eq!(
                wire.len() - 4,
                i32::from_be_bytes(wire[..4].try_into().expect("four bytes")) as usize
            );
            let mut body = wire.slice(if version >= 12 { 9 } else { 8 }..);
            let decoded = FetchResponse::decode(&mut body, version).expect("decodes");
            assert!(body.is_empty(), "version {version}: {} bytes left", body.len());
            assert_eq!(decoded.session_id, if version >= 7 { 12 } else { 0 });
            assert_eq!(decoded.node_endpoints.len(), usize::from(version >= 16));
            let parts = &decoded.responses[0].partitions;
            assert_eq!(parts[0].records.as_deref(), Some(&b"onetwo"[..]), "version {version}");
            assert_eq!((parts[0].high_watermark, parts[0].last_stable_offset), (9, 8));
            assert_eq!(parts[0].aborted_transactions.as_ref().map(Vec::len), Some(1));
            assert_eq!(parts[1].error_code, 6);
            assert_eq!(parts[1].records.as_deref(), Some(&b""[..]), "records are empty, never null");
            assert_eq!(parts[1].aborted_transactions, None);
            assert_eq!(parts[1].diverging_epoch.end_offset, if version >= 12 { 40 } else { -1 });
            assert_eq!(parts[1].current_leader.leader_epoch, if version >= 12 { 7 } else { -1 });
            assert_eq!(parts[2].partition_index, 2);
        }
    }

    #[test]
    fn records_leave_as_the_pieces_they_came_as() {
        let header = Header { api_key: ApiKey::Fetch, version: 16, correlation_id: 9, client_id: None };
        let response = encode(&header, answer(16)).expect("encodes");
        let whole: Vec<_> = response.pieces().into_iter().filter(|piece| piece.len() == 3).collect();
        assert_eq!(whole.len(), 2, "{response:?}");
    }

    #[test]
    fn a_name_where_an_id_belongs_is_our_fault_and_said() {
        let header = Header { api_key: ApiKey::Fetch, version: 13, correlation_id: 9, client_id: None };
        assert!(matches!(encode(&header, answer(12)), Err(EncodeError::Message { what: "Fetch", .. })));
    }
}
