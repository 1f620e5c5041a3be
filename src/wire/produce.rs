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
use crate::wire::error::WireError;
use crate::wire::guard::MAX_ELEMENTS;

/// A Produce request over its own frame.
#[derive(Debug)]
pub struct ProduceView {
    acks: i16,
    timeout_ms: i32,
    transactional_id: Option<String>,
    outline: ProduceOutline,
    body: BytesMut,
}

/// What the response repeats from the request: topic names and partition indexes in the request's order.
/// It outlives the frame, so that a parked request does not hold its records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProduceOutline {
    names: String,
    topics: Vec<OutlinedTopic>,
    slots: Vec<Slot>,
}

/// A partition's index, and where its records lie in the frame as long as that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    index: i32,
    records: Option<Range<usize>>,
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
    /// Lengths that lie, names that are not UTF-8.
    pub fn parse(body: BytesMut, version: i16) -> Result<ProduceView, WireError> {
        let compact = ApiKey::Produce.flexible(version);
        let mut at = Cursor::new(&body);
        let transactional_id = match version {
            ..3 => None,
            _ if compact => at.compact_range()?,
            _ => at.nullable_string_range()?,
        };
        let transactional_id = match transactional_id {
            None => None,
            Some(id) => Some(utf8(&body, id, "transactional_id")?.to_owned()),
        };
        let (acks, timeout_ms) = (at.i16()?, at.i32()?);
        let mut outline = ProduceOutline::default();
        let topics = required(&mut at, compact, if compact { 3 } else { 6 })?;
        for _ in 0..topics {
            outline.read_topic(&body, &mut at, compact)?;
        }
        if compact {
            at.skip_tagged_fields()?;
        }
        Ok(ProduceView { acks, timeout_ms, transactional_id, outline, body })
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
        self.transactional_id.as_deref()
    }

    /// Number of partitions, over all topics. Slots `0..slots()` are in the request's order.
    pub fn slots(&self) -> usize {
        self.outline.slots()
    }

    /// The partition in a slot, its records writable in place.
    ///
    /// # Panics
    /// When `slot >= slots()`: a fault of the caller.
    pub fn part(&mut self, slot: usize) -> ProducePart<'_> {
        let (topic, index) = self.outline.slot(slot);
        let records = self.outline.slots[slot].records.clone().map(|range| &mut self.body[range]);
        ProducePart { topic, index, records }
    }

    /// Bytes of records over all partitions, for quotas and counters.
    pub fn record_bytes(&self) -> u64 {
        self.outline.slots.iter().flat_map(|slot| &slot.records).map(|range| range.len() as u64).sum()
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
        self.slots[slot].index
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Topic and partition index of a slot.
    pub fn slot(&self, slot: usize) -> (&str, i32) {
        let after = self.topics.partition_point(|topic| topic.slots.end <= slot);
        (&self.names[self.topics[after].name.clone()], self.slots[slot].index)
    }

    fn read_topic(&mut self, body: &[u8], at: &mut Cursor<'_>, compact: bool) -> Result<(), WireError> {
        let start = at.position();
        let name = if compact { at.compact_range()? } else { at.nullable_string_range()? };
        let name = name.ok_or(WireError::NegativeLength { at: start, length: -1 })?;
        let from = self.names.len();
        self.names.push_str(utf8(body, name, "topic name")?);
        let first = self.slots.len();
        for _ in 0..required(at, compact, if compact { 6 } else { 8 })? {
            self.read_partition(at, compact)?;
        }
        if compact {
            at.skip_tagged_fields()?;
        }
        let (name, slots) = (from..self.names.len(), first..self.slots.len());
        self.topics.push(OutlinedTopic { name, slots });
        self.bound()
    }

    fn read_partition(&mut self, at: &mut Cursor<'_>, compact: bool) -> Result<(), WireError> {
        let index = at.i32()?;
        let records = if compact { at.compact_range()? } else { at.nullable_bytes_range()? };
        self.slots.push(Slot { index, records });
        if compact {
            at.skip_tagged_fields()?;
        }
        self.bound()
    }

    fn bound(&self) -> Result<(), WireError> {
        if self.slots.len() + self.topics.len() > MAX_ELEMENTS {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::produce_request::{PartitionProduceData, TopicProduceData};
    use crate::wire::message::{ProduceRequest, StrBytes, TopicName, TransactionalId};
    use crate::wire::request::testing::encoded;
    use bytes::Bytes;
    use proptest::prelude::*;

    type Sent = Vec<(String, Vec<(i32, Option<Vec<u8>>)>)>;

    fn sent() -> impl Strategy<Value = Sent> {
        let records = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..30));
        let partitions = proptest::collection::vec((any::<i32>(), records), 0..4);
        proptest::collection::vec(("[a-z]{0,12}", partitions), 0..4)
    }

    fn message(sent: &Sent, id: Option<&str>) -> ProduceRequest {
        let topics = sent.iter().map(|(name, partitions)| {
            let data = partitions.iter().map(|(index, records)| {
                let records = records.as_deref().map(Bytes::copy_from_slice);
                PartitionProduceData::default().with_index(*index).with_records(records)
            });
            let name = TopicName(StrBytes::from_string(name.clone()));
            TopicProduceData::default().with_name(name).with_partition_data(data.collect())
        });
        let id = id.map(|id| TransactionalId(StrBytes::from_string(id.to_owned())));
        ProduceRequest::default()
            .with_transactional_id(id)
            .with_acks(-1)
            .with_timeout_ms(1500)
            .with_topic_data(topics.collect())
    }

    proptest! {
        #[test]
        fn the_view_reads_what_the_codec_wrote(
            sent in sent(), version in 3i16..=11, id in proptest::option::of("[a-z]{0,9}"),
        ) {
            let body = encoded(&message(&sent, id.as_deref()), version);
            let mut view = ProduceView::parse(BytesMut::from(&body[..]), version).expect("parses");
            prop_assert_eq!((view.acks(), view.timeout_ms()), (-1, 1500));
            prop_assert_eq!(view.transactional_id(), id.as_deref());
            let mut slot = 0;
            for (name, partitions) in &sent {
                for (index, records) in partitions {
                    let mut records = records.clone();
                    let part = view.part(slot);
                    prop_assert_eq!((part.topic, part.index), (name.as_str(), *index));
                    prop_assert_eq!(part.records, records.as_deref_mut());
                    slot += 1;
                }
            }
            prop_assert_eq!(view.slots(), slot);
            let read: Vec<_> = view.outline().topics().map(|(name, slots)| (name.to_owned(), slots.len())).collect();
            let wanted: Vec<_> = sent.into_iter().map(|(name, partitions)| (name, partitions.len())).collect();
            prop_assert_eq!(read, wanted, "topics without partitions are kept, for the response repeats them");
        }

        #[test]
        fn a_body_cut_anywhere_is_an_error(sent in sent(), version in 3i16..=11) {
            let body = encoded(&message(&sent, None), version);
            for length in 0..body.len() {
                prop_assert!(ProduceView::parse(BytesMut::from(&body[..length]), version).is_err());
            }
        }

        #[test]
        fn arbitrary_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200), version in 0i16..=11) {
            let _ = ProduceView::parse(BytesMut::from(&body[..]), version);
        }
    }

    #[test]
    fn a_batch_is_patched_where_it_was_received() {
        let sent = vec![("t".to_owned(), vec![(0, Some(vec![1; 8])), (1, Some(vec![2; 8]))])];
        let frame = BytesMut::from(&encoded(&message(&sent, None), 9)[..]);
        let before = frame.as_ptr_range();
        let mut view = ProduceView::parse(frame, 9).expect("parses");
        let records = view.part(1).records.expect("records");
        assert!(before.contains(&records.as_ptr()), "the records were copied");
        records.fill(9);
        assert_eq!(view.part(0).records.expect("records"), &[1; 8]);
        assert_eq!(view.part(1).records.expect("records"), &[9; 8]);
    }

    #[test]
    fn many_records_cost_no_allocation() {
        let parse = |bytes: usize| {
            let sent = vec![("topic".to_owned(), vec![(0, Some(vec![0; bytes]))])];
            let body = BytesMut::from(&encoded(&message(&sent, None), 9)[..]);
            allocation_counter::measure(|| drop(ProduceView::parse(body, 9).expect("parses"))).count_total
        };
        assert_eq!(parse(100), parse(1 << 20));
        assert!(parse(100) <= 8, "{} allocations", parse(100));
    }
}
