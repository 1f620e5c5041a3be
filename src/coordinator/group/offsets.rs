//! The offsets one group committed, and when they are forgotten. Pure.
//! It checks no member (`sync` does) and writes nothing: it says which records would. Invariant: what is here is what
//! the group's offset records in the log say, in their order.

use std::collections::BTreeMap;

use crate::coordinator::group::classic::{ClassicGroup, State};
use crate::coordinator::group::id::GroupId;
use crate::coordinator::group::records::{OffsetValue, Record};

/// Committed offsets by topic name and partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Offsets {
    topics: BTreeMap<String, BTreeMap<i32, OffsetValue>>,
}

impl Offsets {
    /// The offset of one partition.
    pub fn get(&self, topic: &str, partition: i32) -> Option<&OffsetValue> {
        self.topics.get(topic)?.get(&partition)
    }

    /// All of them, by topic and partition.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i32, &OffsetValue)> {
        self.topics.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(partition, value)| (topic.as_str(), *partition, value))
        })
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Applies a record: a value replaces, a tombstone removes.
    pub fn apply(&mut self, topic: String, partition: i32, value: Option<OffsetValue>) {
        if let Some(value) = value {
            self.topics.entry(topic).or_default().insert(partition, value);
        } else if let Some(partitions) = self.topics.get_mut(&topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.topics.remove(&topic);
            }
        }
    }

    /// Tombstones for every offset that `which` names.
    pub fn tombstones(&self, group: &GroupId, which: impl Fn(&str, &OffsetValue) -> bool) -> Vec<Record> {
        let doomed = self.iter().filter(|(topic, _, value)| which(topic, value));
        let tombstone = |(topic, partition, _): (&str, i32, &OffsetValue)| Record::Offset {
            group: group.clone(),
            topic: topic.to_owned(),
            partition,
            value: None,
        };
        doomed.map(tombstone).collect()
    }

    /// Tombstones for what has expired at `now_ms` (KIP-211): from when the group became empty, or from the commit
    /// where no members are to be expected or the members read other topics.
    pub fn expired(
        &self,
        group: &GroupId,
        classic: &ClassicGroup,
        now_ms: i64,
        retention_ms: i64,
    ) -> Vec<Record> {
        let old = |since_ms: i64| now_ms.saturating_sub(since_ms) >= retention_ms;
        let base = |value: &OffsetValue| match (classic.protocol_type(), classic.state()) {
            (None, _) => Some(value.commit_ms),
            (Some(_), State::Empty) => Some(classic.since_ms().unwrap_or(value.commit_ms)),
            (Some(_), State::Stable) if classic.knows_subscriptions() => Some(value.commit_ms),
            (Some(_), _) => None,
        };
        self.tombstones(group, |topic, value| {
            let Some(since_ms) = base(value) else { return false };
            let over = value.expire_ms.map_or_else(|| old(since_ms), |at| now_ms >= at);
            over && !(classic.state() != State::Empty && classic.reads(topic))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::group::records::{GroupValue, MemberValue};
    use bytes::Bytes;

    const DAY: i64 = 86_400_000;

    fn value(commit_ms: i64) -> OffsetValue {
        OffsetValue { offset: 1, leader_epoch: -1, metadata: String::new(), commit_ms, expire_ms: None }
    }

    fn offsets() -> Offsets {
        let mut offsets = Offsets::default();
        offsets.apply("read".into(), 0, Some(value(0)));
        offsets.apply("other".into(), 0, Some(value(0)));
        offsets.apply("other".into(), 1, Some(value(5 * DAY)));
        offsets
    }

    fn expired(classic: &ClassicGroup, now_ms: i64) -> Vec<(String, i32)> {
        let records = offsets().expired(&GroupId::from("g"), classic, now_ms, 7 * DAY);
        let place = |record| match record {
            Record::Offset { topic, partition, value: None, .. } => (topic, partition),
            record => panic!("{record:?} is no tombstone of an offset"),
        };
        records.into_iter().map(place).collect()
    }

    fn group(since_ms: Option<i64>, subscription: &'static [u8], members: usize) -> ClassicGroup {
        let member = |index: usize| MemberValue {
            id: format!("m{index}").into(),
            instance: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout_ms: 1,
            session_timeout_ms: 1,
            subscription: Bytes::from_static(subscription),
            assignment: Bytes::new(),
        };
        let value = GroupValue {
            protocol_type: "consumer".into(),
            generation: 1,
            protocol: Some("range".into()),
            leader: Some("m0".into()),
            since_ms,
            members: (0..members).map(member).collect(),
        };
        ClassicGroup::from_record("g".into(), &value)
    }

    fn all() -> Vec<(String, i32)> {
        vec![("other".into(), 0), ("other".into(), 1), ("read".into(), 0)]
    }

    #[test]
    fn a_simple_consumers_offsets_age_from_their_commit() {
        let simple = ClassicGroup::new("g".into(), None);
        assert_eq!(expired(&simple, 7 * DAY - 1), []);
        assert_eq!(expired(&simple, 7 * DAY), [("other".into(), 0), ("read".into(), 0)]);
        assert_eq!(expired(&simple, 12 * DAY), all());
    }

    #[test]
    fn an_empty_groups_offsets_age_from_the_day_it_became_empty() {
        let empty = group(Some(3 * DAY), b"", 0);
        assert_eq!(expired(&empty, 10 * DAY - 1), []);
        assert_eq!(expired(&empty, 10 * DAY), all());
        // A record too old to know that day falls back on the commit.
        assert_eq!(expired(&group(None, b"", 0), 7 * DAY), [("other".into(), 0), ("read".into(), 0)]);
    }

    #[test]
    fn members_keep_what_they_read_and_an_unreadable_subscription_keeps_all() {
        let reads = group(Some(0), b"\0\0\0\0\0\x01\0\x04read\0\0\0\0", 1);
        assert_eq!(expired(&reads, 100 * DAY), [("other".into(), 0), ("other".into(), 1)]);
        assert_eq!(expired(&group(Some(0), b"\xff", 1), 100 * DAY), []);
    }

    #[test]
    fn a_commit_with_a_retention_of_its_own_keeps_to_it() {
        let mut offsets = Offsets::default();
        let own = OffsetValue { expire_ms: Some(50), ..value(0) };
        offsets.apply("t".into(), 0, Some(own));
        let simple = ClassicGroup::new("g".into(), None);
        assert!(offsets.expired(&"g".into(), &simple, 49, 0).is_empty());
        assert_eq!(offsets.expired(&"g".into(), &simple, 50, 7 * DAY).len(), 1);
    }

    #[test]
    fn a_tombstone_leaves_nothing_behind() {
        let mut offsets = offsets();
        offsets.apply("read".into(), 0, None);
        offsets.apply("never".into(), 0, None);
        assert_eq!(offsets.iter().map(|(topic, ..)| topic).collect::<Vec<_>>(), ["other", "other"]);
        offsets.apply("other".into(), 0, None);
        offsets.apply("other".into(), 1, None);
        assert!(offsets.is_empty());
    }
}
