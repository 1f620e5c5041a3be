//! Writes Produce responses, versions 0 to 11, from the request's outline and one result per slot.
//! Not here: which error a failure is. Its one invariant: topics and partitions leave in the request's order,
//! each exactly once (clients hang on a missing one).
//!
//! ```text
//! [topic | [index, error, base_offset, v2 log_append_time, v5 log_start, v8 record_errors, v8 error_message,
//!   v10 tag 0 current_leader] ] | v1 throttle_ms | v10 tag 0 node_endpoints          (compact + tags from v9)
//! ```
use bytes::BytesMut;

use crate::wire::header::Header;
use crate::wire::produce::ProduceOutline;
use crate::wire::response::{EncodeError, Response};
use crate::wire::writer::Writer;

/// What became of one partition's batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produced {
    /// Kafka's error code, 0 for none.
    pub error: i16,
    /// Offset of the first record, -1 on error.
    pub base_offset: i64,
    /// Broker's time where the topic uses LogAppendTime, else -1.
    pub log_append_time_ms: i64,
    /// Start of the log, -1 unknown.
    pub log_start_offset: i64,
    /// Records that made the batch fail (v8+).
    pub record_errors: Vec<RecordError>,
    /// The reason in words (v8+).
    pub error_message: Option<String>,
    /// Who leads instead (KIP-951, v10+).
    pub current_leader: Option<LeaderHint>,
}

/// A record that made its batch fail (KIP-467).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// Index within the batch.
    pub batch_index: i32,
    /// The reason in words.
    pub message: Option<String>,
}

/// Who leads a partition (KIP-951).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderHint {
    /// Broker, -1 unknown.
    pub id: i32,
    /// Leader epoch, -1 unknown.
    pub epoch: i32,
}

/// Where a broker listens (KIP-951).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// Broker.
    pub id: i32,
    /// Host on the listener the request came by.
    pub host: String,
    /// Port on that listener.
    pub port: i32,
    /// Its rack.
    pub rack: Option<String>,
}

impl Produced {
    /// A failure with its reason in words.
    pub fn failed(error: i16, message: Option<String>) -> Produced {
        Produced {
            error,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: message,
            current_leader: None,
        }
    }
}

/// Encodes the response; `parts[slot]` answers slot `slot` of the outline.
///
/// # Errors
/// A response larger than the protocol can carry.
///
/// # Panics
/// When `parts` and the outline differ in number: a fault of the handler.
pub fn encode(
    header: &Header,
    outline: &ProduceOutline,
    parts: &[Produced],
    endpoints: &[NodeEndpoint],
    throttle_ms: i32,
) -> Result<Response, EncodeError> {
    assert_eq!(parts.len(), outline.slots(), "one result per partition of the request");
    let version = header.version;
    let names: usize = outline.topics().map(|(name, _)| name.len()).sum();
    let mut body = Response::begin(header, 64 + names + 64 * parts.len());
    body.count(outline.topics().len());
    for (name, slots) in outline.topics() {
        body.string(name);
        body.count(slots.len());
        for slot in slots {
            part(&mut body, version, outline.index(slot), &parts[slot]);
        }
        body.no_tags();
    }
    if version >= 1 {
        body.i32(throttle_ms);
    }
    match endpoints {
        [] => body.no_tags(),
        _ if version < 10 => body.no_tags(),
        _ => body.tags(&[(0, node_endpoints(endpoints))]),
    }
    Response::finish(body.out, Vec::new())
}

fn part(body: &mut Writer, version: i16, index: i32, part: &Produced) {
    body.i32(index);
    body.i16(part.error);
    body.i64(part.base_offset);
    if version >= 2 {
        body.i64(part.log_append_time_ms);
    }
    if version >= 5 {
        body.i64(part.log_start_offset);
    }
    if version >= 8 {
        body.count(part.record_errors.len());
        for record in &part.record_errors {
            body.i32(record.batch_index);
            body.nullable_string(record.message.as_deref());
            body.no_tags();
        }
        body.nullable_string(part.error_message.as_deref());
    }
    match part.current_leader {
        Some(leader) if version >= 10 => body.tags(&[(0, leader_hint(leader))]),
        _ => body.no_tags(),
    }
}

/// The value of a `current_leader` tag.
pub(crate) fn leader_hint(leader: LeaderHint) -> BytesMut {
    let mut tag = Writer::new(true, 9);
    tag.i32(leader.id);
    tag.i32(leader.epoch);
    tag.no_tags();
    tag.out
}

/// The value of a `node_endpoints` tag.
pub(crate) fn node_endpoints(endpoints: &[NodeEndpoint]) -> BytesMut {
    let mut tag = Writer::new(true, 32 * endpoints.len() + 1);
    tag.count(endpoints.len());
    for endpoint in endpoints {
        tag.i32(endpoint.id);
        tag.string(&endpoint.host);
        tag.i32(endpoint.port);
        tag.nullable_string(endpoint.rack.as_deref());
        tag.no_tags();
    }
    tag.out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api_key::ApiKey;
    use crate::wire::message::produce_request::{PartitionProduceData, TopicProduceData};
    use crate::wire::message::{Decodable, ProduceRequest, ProduceResponse, StrBytes, TopicName};
    use crate::wire::produce::ProduceView;
    use crate::wire::request::testing::encoded;

    fn outline() -> ProduceOutline {
        let topics = ["a", "bb"].map(|name| {
            let data = [4, 2].map(|index| PartitionProduceData::default().with_index(index));
            let name = TopicName(StrBytes::from_static_str(name));
            TopicProduceData::default().with_name(name).with_partition_data(data.to_vec())
        });
        let request = ProduceRequest::default().with_topic_data(topics.to_vec());
        ProduceView::parse(BytesMut::from(&encoded(&request, 3)[..]), 3).expect("parses").into_outline()
    }

    fn results() -> Vec<Produced> {
        let good = Produced {
            base_offset: 77,
            log_append_time_ms: 12,
            log_start_offset: 3,
            ..Produced::failed(0, None)
        };
        let lost = Produced {
            current_leader: Some(LeaderHint { id: 3, epoch: 8 }),
            ..Produced::failed(6, Some("moved".to_owned()))
        };
        let record = RecordError { batch_index: 5, message: Some("null key".to_owned()) };
        let bad = Produced { record_errors: vec![record], ..Produced::failed(87, None) };
        vec![good.clone(), lost, bad, good]
    }

    #[test]
    fn the_codec_reads_every_version() {
        let endpoint = NodeEndpoint { id: 3, host: "h".to_owned(), port: 9092, rack: Some("r".to_owned()) };
        for version in 3..=11 {
            let header = Header { api_key: ApiKey::Produce, version, correlation_id: 9, client_id: None };
            let response = encode(&header, &outline(), &results(), std::slice::from_ref(&endpoint), 21)
                .expect("encodes");
            let wire = response.flattened();
            assert_eq!(
                wire.len() - 4,
                i32::from_be_bytes(wire[..4].try_into().expect("four bytes")) as usize
            );
            let mut body = wire.slice(if version >= 9 { 9 } else { 8 }..);
            let decoded = ProduceResponse::decode(&mut body, version).expect("decodes");
            assert!(body.is_empty(), "version {version}: {} bytes left", body.len());
            assert_eq!(decoded.throttle_time_ms, 21);
            assert_eq!(decoded.node_endpoints.len(), usize::from(version >= 10));
            let parts: Vec<_> =
                decoded.responses.iter().flat_map(|topic| &topic.partition_responses).collect();
            let indexes: Vec<_> = parts.iter().map(|part| part.index).collect();
            assert_eq!(indexes, [4, 2, 4, 2], "version {version}");
            assert_eq!((parts[0].base_offset, parts[0].log_append_time_ms), (77, 12));
            assert_eq!(parts[0].log_start_offset, if version >= 5 { 3 } else { -1 });
            assert_eq!(parts[1].error_code, 6);
            assert_eq!(parts[1].error_message.is_some(), version >= 8);
            assert_eq!(parts[1].current_leader.leader_epoch, if version >= 10 { 8 } else { -1 });
            assert_eq!(parts[2].record_errors.len(), usize::from(version >= 8));
        }
    }
}
