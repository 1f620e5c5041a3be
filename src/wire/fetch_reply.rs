//! Reads a Fetch response, version 16, as a follower gets it: plain values, and where the records of each partition lie.
//! `fetch_answer.rs` writes them. Its one invariant: counts are bounded by the bytes that remain before anything grows,
//! and every range lies inside the answer.
//!
//! ```text
//! header tags | throttle_ms | error, session_id | [topic id | [index, error, HW, LSO, log start, aborted or null,
//!   preferred replica, records, tags 0 diverging 1 leader] ] | tags
//! ```
use std::ops::Range;

use uuid::Uuid;

use crate::wire::cursor::Cursor;
use crate::wire::error::WireError;
use crate::wire::guard::MAX_ELEMENTS;

/// A Fetch response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchReply {
    /// Error of the whole request.
    pub error: i16,
    /// Session, 0 for none.
    pub session_id: i32,
    /// Partitions with something to say.
    pub partitions: Vec<FetchedPart>,
}

/// A partition of a Fetch response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPart {
    /// The topic.
    pub topic: Uuid,
    /// Partition index.
    pub index: i32,
    /// Kafka's error code, 0 for none.
    pub error: i16,
    /// The leader's high watermark, -1 unknown.
    pub high_watermark: i64,
    /// The leader's log start, -1 unknown.
    pub log_start: i64,
    /// Where our log leaves the leader's: epoch and end offset.
    pub diverging: Option<(i32, i64)>,
    /// Whole batches, as a range of the answer.
    pub records: Range<usize>,
}

/// Fewest bytes of a topic and of a partition.
const TOPIC_BYTES: usize = 18;
const PARTITION_BYTES: usize = 37;
/// Fewest bytes of an aborted transaction.
const ABORTED_BYTES: usize = 17;

impl FetchReply {
    /// Reads an answer, which begins with its header's tags.
    ///
    /// # Errors
    /// Lengths that lie.
    pub fn parse(answer: &[u8]) -> Result<FetchReply, WireError> {
        let mut at = Cursor::new(answer);
        tags(&mut at, |_, _| Ok(()))?;
        at.i32()?;
        let mut reply = FetchReply { error: at.i16()?, session_id: at.i32()?, partitions: Vec::new() };
        for _ in 0..count(&mut at, TOPIC_BYTES)? {
            let topic = at.uuid()?;
            for _ in 0..count(&mut at, PARTITION_BYTES)? {
                if reply.partitions.len() >= MAX_ELEMENTS {
                    return Err(WireError::TooManyElements { limit: MAX_ELEMENTS });
                }
                reply.partitions.push(partition(&mut at, topic)?);
            }
            tags(&mut at, |_, _| Ok(()))?;
        }
        Ok(reply)
    }
}

fn count(at: &mut Cursor<'_>, least: usize) -> Result<usize, WireError> {
    Ok(at.count(true, least)?.unwrap_or(0))
}

fn partition(at: &mut Cursor<'_>, topic: Uuid) -> Result<FetchedPart, WireError> {
    let (index, error, high_watermark) = (at.i32()?, at.i16()?, at.i64()?);
    at.i64()?;
    let log_start = at.i64()?;
    for _ in 0..count(at, ABORTED_BYTES)? {
        at.skip(16)?;
        tags(at, |_, _| Ok(()))?;
    }
    at.i32()?;
    let records = at.compact_range()?.unwrap_or(0..0);
    let mut part = FetchedPart { topic, index, error, high_watermark, log_start, diverging: None, records };
    tags(at, |tag, value| {
        if tag == 0 {
            let (epoch, end) = (value.i32()?, value.i64()?);
            // Both are -1 by default, which says nothing.
            part.diverging = (epoch >= 0 || end >= 0).then_some((epoch, end));
        }
        Ok(())
    })?;
    Ok(part)
}

/// Walks a tag section.
fn tags(
    at: &mut Cursor<'_>,
    mut each: impl FnMut(u32, &mut Cursor<'_>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    for _ in 0..at.uvarint()? {
        let (tag, length) = (at.uvarint()?, at.uvarint()?);
        let mut value = at.clone();
        at.skip(length as usize)?;
        each(tag, &mut value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api_key::ApiKey;
    use crate::wire::fetch::TopicRef;
    use crate::wire::fetch_answer::{Aborted, FetchAnswer, Fetched, FetchedTopic, encode};
    use crate::wire::header::Header;
    use crate::wire::produce_answer::LeaderHint;
    use crate::wire::response::Piece;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn sent() -> Bytes {
        let topic = Uuid::from_u128(77);
        let full = Fetched {
            high_watermark: 9,
            last_stable_offset: 8,
            log_start_offset: 2,
            aborted: Some(vec![Aborted { producer_id: 5, first_offset: 6 }]),
            records: vec![Piece::Bytes(Bytes::from_static(b"one")), Piece::Bytes(Bytes::from_static(b"two"))],
            ..Fetched::empty(0, 0)
        };
        let moved = Fetched {
            diverging: Some((3, 40)),
            current_leader: Some(LeaderHint { id: 2, epoch: 7 }),
            ..Fetched::empty(1, 6)
        };
        let topics = vec![FetchedTopic { topic: TopicRef::Id(topic), partitions: vec![full, moved] }];
        let answer = FetchAnswer { throttle_ms: 3, error: 0, session_id: 12, topics, endpoints: Vec::new() };
        let header = Header { api_key: ApiKey::Fetch, version: 16, correlation_id: 9, client_id: None };
        // Behind size and correlation id.
        encode(&header, answer).expect("encodes").flattened().slice(8..)
    }

    #[test]
    fn what_a_leader_writes_is_read() {
        let bytes = sent();
        let reply = FetchReply::parse(&bytes).expect("parses");
        assert_eq!((reply.error, reply.session_id, reply.partitions.len()), (0, 12, 2));
        let [full, moved] = &reply.partitions[..] else { panic!("two partitions") };
        assert_eq!((full.topic, full.index, full.error), (Uuid::from_u128(77), 0, 0));
        assert_eq!((full.high_watermark, full.log_start, full.diverging), (9, 2, None));
        assert_eq!(&bytes[full.records.clone()], b"onetwo");
        assert_eq!((moved.index, moved.error, moved.diverging), (1, 6, Some((3, 40))));
        assert!(moved.records.is_empty());
    }

    #[test]
    fn an_answer_cut_anywhere_is_an_error() {
        let bytes = sent();
        for length in 0..bytes.len() - 1 {
            assert!(FetchReply::parse(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let allocated = allocation_counter::measure(|| drop(FetchReply::parse(&bytes)));
            prop_assert!(allocated.bytes_max < 4096 + 32 * bytes.len() as u64, "{} bytes", allocated.bytes_max);
        }
    }
}
