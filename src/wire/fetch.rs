//! Our own view of a Fetch request, versions 4 to 16, as plain values. Names are slices of the frame.
//! Not here: sessions, or what lies at an offset. Its one invariant: counts were bounded before anything grew.
//!
//! ```text
//! replica_id (..v14) | max_wait | min_bytes | max_bytes | isolation i8 | v7: session_id, session_epoch
//! | [topic name, id from v13 | [partition, v9 epoch, offset, v12 last epoch, v5 log start, max_bytes] ]
//! | v7: forgotten [topic | [i32] ] | v11: rack_id        (compact + tags from v12; tag 0 cluster, tag 1 replica)
//! ```
use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use crate::wire::api_key::ApiKey;
use crate::wire::cursor::Cursor;
use crate::wire::error::WireError;
use crate::wire::guard::MAX_ELEMENTS;
use crate::wire::message::StrBytes;

/// How a Fetch names a topic: by name up to version 12, by id from 13 (KIP-516).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicRef {
    /// Versions 4 to 12.
    Name(StrBytes),
    /// Versions 13 on.
    Id(Uuid),
}

/// A Fetch request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchView {
    /// The follower that asks, -1 for a consumer. From v15 it comes in the replica state tag.
    pub replica_id: i32,
    /// The follower's broker epoch, -1 when absent (v15+).
    pub replica_epoch: i64,
    /// Longest wait for `min_bytes`, milliseconds.
    pub max_wait_ms: i32,
    /// Bytes that end the wait.
    pub min_bytes: i32,
    /// Bound on the whole answer; the first batch may exceed it (KIP-74).
    pub max_bytes: i32,
    /// READ_COMMITTED (1) instead of READ_UNCOMMITTED (0).
    pub read_committed: bool,
    /// Session, 0 for none (KIP-227).
    pub session_id: i32,
    /// Session epoch: 0 full and create, -1 full without a session, else incremental.
    pub session_epoch: i32,
    /// Topics asked for, in order.
    pub topics: Vec<FetchTopic>,
    /// Topics and partitions to drop from the session.
    pub forgotten: Vec<ForgottenTopic>,
    /// The consumer's rack, empty when unset (KIP-392).
    pub rack_id: StrBytes,
    /// Cluster id the client believes in (tag 0, v12+).
    pub cluster_id: Option<StrBytes>,
}

/// A topic of a Fetch request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopic {
    /// Name or id.
    pub topic: TopicRef,
    /// Its partitions, in order.
    pub partitions: Vec<FetchPartition>,
}

/// A partition of a Fetch request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPartition {
    /// Partition index.
    pub index: i32,
    /// Leader epoch the client believes in, -1 unknown (KIP-320).
    pub current_leader_epoch: i32,
    /// First offset wanted.
    pub fetch_offset: i64,
    /// Epoch of the last record the client has, -1 unknown (KIP-595).
    pub last_fetched_epoch: i32,
    /// The follower's log start, -1 for a consumer.
    pub log_start_offset: i64,
    /// Bound for this partition; its first batch may exceed it.
    pub max_bytes: i32,
}

/// Partitions to drop from a fetch session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgottenTopic {
    /// Name or id.
    pub topic: TopicRef,
    /// Partition indexes.
    pub partitions: Vec<i32>,
}

impl FetchView {
    /// Reads the body (what follows the header) of `version`.
    ///
    /// # Errors
    /// Lengths that lie, names that are not UTF-8.
    pub fn parse(body: BytesMut, version: i16) -> Result<FetchView, WireError> {
        let body = body.freeze();
        let mut reader = Reader {
            at: Cursor::new(&body),
            body: &body,
            version,
            compact: ApiKey::Fetch.flexible(version),
            elements: 0,
        };
        reader.request()
    }
}

struct Reader<'a> {
    at: Cursor<'a>,
    body: &'a Bytes,
    version: i16,
    compact: bool,
    elements: usize,
}

impl Reader<'_> {
    fn request(&mut self) -> Result<FetchView, WireError> {
        let replica_id = if self.version <= 14 { self.at.i32()? } else { -1 };
        let (max_wait_ms, min_bytes) = (self.at.i32()?, self.at.i32()?);
        let (max_bytes, isolation) = (self.at.i32()?, self.at.i8()?);
        let (session_id, session_epoch) =
            if self.version >= 7 { (self.at.i32()?, self.at.i32()?) } else { (0, -1) };
        let topics = self.list(self.least(Self::TOPIC), Self::topic)?;
        let forgotten =
            if self.version >= 7 { self.list(self.least(Self::TOPIC), Self::forgotten)? } else { vec![] };
        let rack_id = if self.version >= 11 { self.string("rack_id")? } else { StrBytes::new() };
        let mut view = FetchView {
            replica_id,
            replica_epoch: -1,
            max_wait_ms,
            min_bytes,
            max_bytes,
            read_committed: isolation == 1,
            session_id,
            session_epoch,
            topics,
            forgotten,
            rack_id,
            cluster_id: None,
        };
        if self.compact {
            self.request_tags(&mut view)?;
        }
        Ok(view)
    }

    /// Fewest bytes of a topic beside its name's length prefix.
    const TOPIC: usize = 4;

    fn least(&self, rest: usize) -> usize {
        match (self.compact, self.version >= 13) {
            (_, true) => 16 + 2,
            (true, false) => 3,
            (false, false) => 2 + rest,
        }
    }

    /// A list of elements of at least `least` bytes, grown as they are read.
    fn list<T>(
        &mut self,
        least: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let start = self.at.position();
        let count = self.at.count(self.compact, least)?;
        let count = count.ok_or(WireError::NegativeLength { at: start, length: -1 })?;
        self.elements += count;
        if self.elements > MAX_ELEMENTS {
            return Err(WireError::TooManyElements { limit: MAX_ELEMENTS });
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(element(self)?);
        }
        Ok(list)
    }

    fn topic(&mut self) -> Result<FetchTopic, WireError> {
        let topic = self.topic_ref()?;
        let partitions = self.list(16, Self::partition)?;
        self.skip_tags()?;
        Ok(FetchTopic { topic, partitions })
    }

    fn partition(&mut self) -> Result<FetchPartition, WireError> {
        let index = self.at.i32()?;
        let current_leader_epoch = if self.version >= 9 { self.at.i32()? } else { -1 };
        let fetch_offset = self.at.i64()?;
        let last_fetched_epoch = if self.version >= 12 { self.at.i32()? } else { -1 };
        let log_start_offset = if self.version >= 5 { self.at.i64()? } else { -1 };
        let max_bytes = self.at.i32()?;
        self.skip_tags()?;
        Ok(FetchPartition {
            index,
            current_leader_epoch,
            fetch_offset,
            last_fetched_epoch,
            log_start_offset,
            max_bytes,
        })
    }

    fn forgotten(&mut self) -> Result<ForgottenTopic, WireError> {
        let topic = self.topic_ref()?;
        let partitions = self.list(4, |reader| reader.at.i32())?;
        self.skip_tags()?;
        Ok(ForgottenTopic { topic, partitions })
    }

    fn topic_ref(&mut self) -> Result<TopicRef, WireError> {
        if self.version >= 13 {
            return Ok(TopicRef::Id(self.at.uuid()?));
        }
        Ok(TopicRef::Name(self.string("topic name")?))
    }

    fn string(&mut self, field: &'static str) -> Result<StrBytes, WireError> {
        let start = self.at.position();
        let range = if self.compact { self.at.compact_range()? } else { self.at.nullable_string_range()? };
        let range = range.ok_or(WireError::NegativeLength { at: start, length: -1 })?;
        StrBytes::from_utf8(self.body.slice(range)).map_err(|_| WireError::NotUtf8 { field })
    }

    fn skip_tags(&mut self) -> Result<(), WireError> {
        if self.compact {
            self.elements += self.at.skip_tagged_fields()?;
        }
        Ok(())
    }

    /// Tag 0 is the cluster id (v12+), tag 1 the replica state (v15+); others are skipped.
    fn request_tags(&mut self, view: &mut FetchView) -> Result<(), WireError> {
        for _ in 0..self.at.uvarint()? {
            let tag = self.at.uvarint()?;
            let size = self.at.uvarint()? as usize;
            let range = self.at.range(size)?;
            let mut inner =
                Reader { at: Cursor::new(&self.body[range.clone()]), body: &self.body.slice(range), ..*self };
            match tag {
                0 => view.cluster_id = inner.nullable_string("cluster_id")?,
                1 if self.version >= 15 => {
                    view.replica_id = inner.at.i32()?;
                    view.replica_epoch = inner.at.i64()?;
                    inner.skip_tags()?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn nullable_string(&mut self, field: &'static str) -> Result<Option<StrBytes>, WireError> {
        let Some(range) = self.at.compact_range()? else { return Ok(None) };
        let text = StrBytes::from_utf8(self.body.slice(range));
        text.map(Some).map_err(|_| WireError::NotUtf8 { field })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::fetch_request::{
        FetchPartition as SentPartition, FetchTopic as SentTopic, ForgottenTopic as SentForgotten,
        ReplicaState,
    };
    use crate::wire::message::{BrokerId, FetchRequest, TopicName};
    use crate::wire::request::testing::encoded;
    use proptest::prelude::*;

    fn name(text: &str) -> TopicName {
        TopicName(StrBytes::from_string(text.to_owned()))
    }

    fn sent(version: i16, topics: &[(String, Vec<i32>)], number: i32) -> FetchRequest {
        let from = |least: i16, value: i32| if version >= least { value } else { -1 };
        let ids = version >= 13;
        let named = |text: &str| if ids { name("") } else { name(text) };
        let id = |text: &str| if ids { Uuid::from_u128(text.len() as u128 + 1) } else { Uuid::nil() };
        let asked = topics.iter().map(|(text, indexes)| {
            let partitions = indexes.iter().map(|index| {
                SentPartition::default()
                    .with_partition(*index)
                    .with_current_leader_epoch(from(9, number))
                    .with_fetch_offset(i64::from(number) << 8)
                    .with_last_fetched_epoch(from(12, number))
                    .with_log_start_offset(i64::from(from(5, number)))
                    .with_partition_max_bytes(number ^ 5)
            });
            let topic = SentTopic::default().with_topic(named(text)).with_topic_id(id(text));
            topic.with_partitions(partitions.collect())
        });
        let dropped = topics.iter().filter(|_| version >= 7).map(|(text, indexes)| {
            let topic = SentForgotten::default().with_topic(named(text)).with_topic_id(id(text));
            topic.with_partitions(indexes.clone())
        });
        let request = FetchRequest::default()
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(number)
            .with_isolation_level(1)
            .with_session_id(if version >= 7 { number } else { 0 })
            .with_session_epoch(if version >= 7 { 6 } else { -1 })
            .with_rack_id(StrBytes::from_static_str(if version >= 11 { "rack" } else { "" }))
            .with_cluster_id((version >= 12).then(|| StrBytes::from_static_str("cluster")))
            .with_topics(asked.collect())
            .with_forgotten_topics_data(dropped.collect());
        if version < 15 {
            return request.with_replica_id(BrokerId(4));
        }
        let state = ReplicaState::default().with_replica_id(BrokerId(4)).with_replica_epoch(99);
        request.with_replica_state(state)
    }

    proptest! {
        #[test]
        fn the_view_reads_what_the_codec_wrote(
            version in 4i16..=16, number in any::<i32>(),
            topics in proptest::collection::vec(("[a-z]{1,9}", proptest::collection::vec(any::<i32>(), 0..4)), 0..4),
        ) {
            let message = sent(version, &topics, number);
            let view = FetchView::parse(BytesMut::from(&encoded(&message, version)[..]), version).expect("parses");
            prop_assert_eq!((view.replica_id, view.replica_epoch), (4, if version >= 15 { 99 } else { -1 }));
            prop_assert_eq!((view.max_wait_ms, view.min_bytes, view.max_bytes), (500, 1, number));
            prop_assert!(view.read_committed);
            prop_assert_eq!((view.session_id, view.session_epoch), (message.session_id, message.session_epoch));
            prop_assert_eq!(&view.rack_id, &message.rack_id);
            prop_assert_eq!(&view.cluster_id, &message.cluster_id);
            prop_assert_eq!(view.topics.len(), message.topics.len());
            for (read, wrote) in view.topics.iter().zip(&message.topics) {
                let wanted = match version {
                    13.. => TopicRef::Id(wrote.topic_id),
                    _ => TopicRef::Name(wrote.topic.0.clone()),
                };
                prop_assert_eq!(&read.topic, &wanted);
                let partitions: Vec<_> = wrote.partitions.iter().map(|wrote| FetchPartition {
                    index: wrote.partition,
                    current_leader_epoch: wrote.current_leader_epoch,
                    fetch_offset: wrote.fetch_offset,
                    last_fetched_epoch: wrote.last_fetched_epoch,
                    log_start_offset: wrote.log_start_offset,
                    max_bytes: wrote.partition_max_bytes,
                }).collect();
                prop_assert_eq!(&read.partitions, &partitions);
            }
            let forgotten: Vec<_> = view.forgotten.iter().map(|topic| &topic.partitions).collect();
            let wanted: Vec<_> = message.forgotten_topics_data.iter().map(|topic| &topic.partitions).collect();
            prop_assert_eq!(forgotten, wanted);
        }

        #[test]
        fn a_body_cut_anywhere_is_an_error(version in 4i16..=16, number in any::<i32>()) {
            let body = encoded(&sent(version, &[("a".to_owned(), vec![1, 2])], number), version);
            for length in 0..body.len() {
                prop_assert!(FetchView::parse(BytesMut::from(&body[..length]), version).is_err());
            }
        }

        #[test]
        fn arbitrary_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200), version in 4i16..=16) {
            let view = || FetchView::parse(BytesMut::from(&body[..]), version);
            let allocated = allocation_counter::measure(|| drop(view()));
            prop_assert!(allocated.bytes_max < 4096 + 32 * body.len() as u64, "{} bytes", allocated.bytes_max);
        }
    }
}
