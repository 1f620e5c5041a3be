//! Our own view of a Produce request, versions 0 to 11. The frame stays one uniquely owned buffer, so that a
//! batch is patched where it was received; nothing is allocated per record. Not here: what a batch holds.
//! Its one invariant: every range it keeps lies inside the frame, and no two record ranges overlap.
//!
//! ```text
//! v3+: transactional_id | acks i16 | timeout_ms i32 | [topic | [index i32 | records] ]     (compact + tags from v9)
//! ```
use std::ops::Range;

use bytes::BytesMut;

use crate::wire::api_key::ApiKey;
use crate::wire::cursor::Cursor;
use crate::wire::guard::MAX_ELEMENTS;
use crate::wire::request::WireError;

/// A Produce request over its own frame.
#[derive(Debug)]
pub struct ProduceView {
    acks: i16,
    timeout_ms: i32,
    transactional_id: Option<Range<usize>>,
    outline: ProduceOutline,
    records: Vec<Option<Range<usize>>>,
    body: BytesMut,
}

/// What the response repeats from the request: topic names and partition indexes in the request's order.
/// It outlives the frame, so that a parked request does not hold its records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProduceOutline {
    names: String,
    topics: Vec<OutlinedTopic>,
    indexes: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct OutlinedTopic {
    name: Range<usize>,
    slots: Range<usize>,
}

/// One partition of a Produce request, its records writable in place.
#[derive(Debug)]
pub struct ProducePart<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition index.
    pub index: i32,
    /// The bytes sent, `None` for null. Not looked at yet in any way.
    pub records: Option<&'a mut [u8]>,
}

impl ProduceView {
    /// Reads the body (what follows the header) of `version`.
    ///
    /// # Errors
    /// Lengths that lie, names that are not UTF-8, left-over bytes.
    pub fn parse(body: BytesMut, version: i16) -> Result<ProduceView, WireError> {
        let compact = ApiKey::Produce.flexible(version);
        let mut at = Cursor::new(&body);
        let transactional_id = match version {
            ..3 => None,
            _ if compact => at.compact_range()?,
            _ => at.nullable_string_range()?,
        };
        if let Some(id) = &transactional_id {
            utf8(&body, id.clone(), "transactional_id")?;
        }
        let (acks, timeout_ms) = (at.i16()?, at.i32()?);
        let mut parts = Parts::default();
        let topics = required(&mut at, compact, if compact { 3 } else { 6 })?;
        for _ in 0..topics {
            parts.topic(&body, &mut at, compact)?;
        }
        if compact {
            at.skip_tagged_fields()?;
        }
        if at.remaining() > 0 {
            let left = at.remaining();
            return Err(WireError::TrailingBytes { api_key: ApiKey::Produce, version, left });
        }
        let Parts { outline, records } = parts;
        Ok(ProduceView { acks, timeout_ms, transactional_id, outline, records, body })
    }

    /// How many replicas must have the records before the answer: 0, 1 or -1 for all in sync; others are an error
    /// the handler reports (INVALID_REQUIRED_ACKS).
    pub fn acks(&self) -> i16 {
        self.acks
    }

    /// Milliseconds to wait for acknowledgements.
    pub fn timeout_ms(&self) -> i32 {
        self.timeout_ms
    }

    /// The transactional id, `None` when null.
    pub fn transactional_id(&self) -> Option<&str> {
        // cannot fail: `parse` checked that these bytes are UTF-8, and nothing outside record ranges is written.
        self.transactional_id.clone().map(|id| std::str::from_utf8(&self.body[id]).expect("checked by parse"))
    }

    /// Number of partitions, over all topics. Slots `0..slots()` are in the request's order.
    pub fn slots(&self) -> usize {
        self.records.len()
    }

    /// The partition in a slot, its records writable in place.
    ///
    /// # Panics
    /// When `slot >= slots()`: a fault of the caller.
    pub fn part(&mut self, slot: usize) -> ProducePart<'_> {
        let (topic, index) = self.outline.slot(slot);
        let records = self.records[slot].clone().map(|range| &mut self.body[range]);
        ProducePart { topic, index, records }
    }

    /// Bytes of records over all partitions, for quotas and counters.
    pub fn record_bytes(&self) -> u64 {
        self.records.iter().flatten().map(|range| range.len() as u64).sum()
    }

    /// What the response repeats.
    pub fn outline(&self) -> &ProduceOutline {
        &self.outline
    }

    /// Lets go of the frame and keeps what the response repeats.
    pub fn into_outline(self) -> ProduceOutline {
        self.outline
    }
}

impl ProduceOutline {
    /// Topics in the request's order: name, and the slots of its partitions.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = (&str, Range<usize>)> {
        self.topics.iter().map(|topic| (&self.names[topic.name.clone()], topic.slots.clone()))
    }

    /// Partition index of a slot.
    pub fn index(&self, slot: usize) -> i32 {
        self.indexes[slot]
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.indexes.len()
    }

    /// Topic and partition index of a slot.
    pub fn slot(&self, slot: usize) -> (&str, i32) {
        let after = self.topics.partition_point(|topic| topic.slots.end <= slot);
        (&self.names[self.topics[after].name.clone()], self.indexes[slot])
    }
}

#[derive(Default)]
struct Parts {
    outline: ProduceOutline,
    records: Vec<Option<Range<usize>>>,
}

impl Parts {
    fn topic(&mut self, body: &[u8], at: &mut Cursor<'_>, compact: bool) -> Result<(), WireError> {
        let start = at.position();
        let name = if compact { at.compact_range()? } else { at.nullable_string_range()? };
        let name = name.ok_or(WireError::NegativeLength { at: start, length: -1 })?;
        let from = self.outline.names.len();
        self.outline.names.push_str(utf8(body, name, "topic name")?);
        let first = self.records.len();
        for _ in 0..required(at, compact, if compact { 6 } else { 8 })? {
            self.partition(at, compact)?;
        }
        if compact {
            at.skip_tagged_fields()?;
        }
        let (name, slots) = (from..self.outline.names.len(), first..self.records.len());
        self.outline.topics.push(OutlinedTopic { name, slots });
        self.bound()
    }

    fn partition(&mut self, at: &mut Cursor<'_>, compact: bool) -> Result<(), WireError> {
        self.outline.indexes.push(at.i32()?);
        self.records.push(if compact { at.compact_range()? } else { at.nullable_bytes_range()? });
        if compact {
            at.skip_tagged_fields()?;
        }
        self.bound()
    }

    fn bound(&self) -> Result<(), WireError> {
        if self.records.len() + self.outline.topics.len() > MAX_ELEMENTS {
            return Err(WireError::TooManyElements { limit: MAX_ELEMENTS });
        }
        Ok(())
    }
}

fn required(at: &mut Cursor<'_>, compact: bool, least: usize) -> Result<usize, WireError> {
    let start = at.position();
    at.count(compact, least)?.ok_or(WireError::NegativeLength { at: start, length: -1 })
}

fn utf8<'a>(body: &'a [u8], range: Range<usize>, field: &'static str) -> Result<&'a str, WireError> {
    std::str::from_utf8(&body[range]).map_err(|_| WireError::NotUtf8 { field })
}
