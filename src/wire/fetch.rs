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
use crate::wire::guard::MAX_ELEMENTS;
use crate::wire::message::StrBytes;
use crate::wire::request::WireError;

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
    /// Lengths that lie, names that are not UTF-8, left-over bytes.
    pub fn parse(body: BytesMut, version: i16) -> Result<FetchView, WireError> {
        let body = body.freeze();
        let mut reader = Reader {
            at: Cursor::new(&body),
            body: &body,
            version,
            compact: ApiKey::Fetch.flexible(version),
            elements: 0,
        };
        let view = reader.request()?;
        match reader.at.remaining() {
            0 => Ok(view),
            left => Err(WireError::TrailingBytes { api_key: ApiKey::Fetch, version, left }),
        }
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
