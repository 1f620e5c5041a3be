//! The bytes of an entry: what one frame of the quorum's log carries. Not the frame (`quorum/frame.rs`).
//! Invariant: an entry this binary cannot read whole is not read in part.
//!
//! ```text
//!  | version u8 = 1 | groups u32 | group ...
//!  group:         | preconditions u32 | precondition ... | records u32 | record ... |
//!  precondition:  | kind u8 | fields |
//!    1 unformatted                      6 broker epoch: broker i32, epoch i64
//!    2 name free: text                  7 next broker epoch: i64
//!    3 partition count: topic, i32      8 next producer id: i64
//!    4 partition epoch: topic, i32, i32 9 awaits purge: topic
//!    5 leader epoch: topic, i32, i32        10 broker active: broker i32, epoch i64
//! ```

use firnline_tiering::epoch::LeaderEpoch;

use crate::id::{BrokerEpoch, BrokerId, PartitionEpoch, TopicId};
use crate::record::bytes::{CodecError, Reader, Writer};
use crate::record::codec;
use crate::record::entry::{Entry, Group, Precondition};

/// The version written, and the only one read.
pub const ENTRY_VERSION: u8 = 1;
/// Two counts.
const GROUP_BYTES_MIN: usize = 8;
/// Elements for which room is made before they are read; a count found in bytes earns no more.
const RESERVED_MAX: usize = 16;

/// The entry's bytes.
pub fn encode(entry: &Entry, out: &mut Writer) {
    out.u8(ENTRY_VERSION).count(entry.groups.len());
    for group in entry.groups.iter() {
        out.count(group.preconditions.len());
        group.preconditions.iter().for_each(|fact| write_precondition(fact, out));
        out.count(group.records.len());
        group.records.iter().for_each(|record| codec::encode(record, out));
    }
}

/// Reads [`encode`]'s bytes back.
pub fn decode(bytes: &[u8]) -> Result<Entry, CodecError> {
    let mut from = Reader::new(bytes);
    match from.u8()? {
        ENTRY_VERSION => {}
        found => return Err(CodecError::Unknown { what: "metadata entry", kind: 0, version: found.into() }),
    }
    let count = from.count(GROUP_BYTES_MIN)?;
    let groups: Result<Vec<Group>, CodecError> = (0..count).map(|_| read_group(&mut from)).collect();
    let groups = groups?;
    from.finish()?;
    Ok(Entry { groups: groups.into() })
}

fn read_group(from: &mut Reader<'_>) -> Result<Group, CodecError> {
    // Most groups hold one record, and the log keeps them in memory: a vector that grows by itself would take four.
    let count = from.count(1)?;
    let mut group = Group { preconditions: Vec::with_capacity(count.min(RESERVED_MAX)), records: Vec::new() };
    for _ in 0..count {
        group.preconditions.push(read_precondition(from)?);
    }
    let count = from.count(codec::HEAD_BYTES)?;
    group.records.reserve_exact(count.min(RESERVED_MAX));
    for _ in 0..count {
        group.records.push(codec::decode(from)?);
    }
    Ok(group)
}

fn write_precondition(fact: &Precondition, out: &mut Writer) {
    match fact {
        Precondition::Unformatted => out.u8(1),
        Precondition::NameFree(name) => out.u8(2).text(name),
        Precondition::PartitionCount(topic, count) => out.u8(3).uuid(topic.0).i32(*count),
        Precondition::PartitionEpoch(topic, index, epoch) => out.u8(4).uuid(topic.0).i32(*index).i32(epoch.0),
        Precondition::LeaderEpoch(topic, index, epoch) => out.u8(5).uuid(topic.0).i32(*index).i32(epoch.0),
        Precondition::BrokerEpoch(id, epoch) => out.u8(6).i32(id.0).i64(epoch.0),
        Precondition::NextBrokerEpoch(epoch) => out.u8(7).i64(epoch.0),
        Precondition::NextProducerId(next) => out.u8(8).i64(*next),
        Precondition::AwaitsPurge(topic) => out.u8(9).uuid(topic.0),
        Precondition::BrokerActive(id, epoch) => out.u8(10).i32(id.0).i64(epoch.0),
    };
}

fn read_precondition(from: &mut Reader<'_>) -> Result<Precondition, CodecError> {
    Ok(match from.u8()? {
        1 => Precondition::Unformatted,
        2 => Precondition::NameFree(from.text()?),
        3 => Precondition::PartitionCount(TopicId(from.uuid()?), from.i32()?),
        4 => Precondition::PartitionEpoch(TopicId(from.uuid()?), from.i32()?, PartitionEpoch(from.i32()?)),
        5 => Precondition::LeaderEpoch(TopicId(from.uuid()?), from.i32()?, LeaderEpoch(from.i32()?)),
        6 => Precondition::BrokerEpoch(BrokerId(from.i32()?), BrokerEpoch(from.i64()?)),
        7 => Precondition::NextBrokerEpoch(BrokerEpoch(from.i64()?)),
        8 => Precondition::NextProducerId(from.i64()?),
        9 => Precondition::AwaitsPurge(TopicId(from.uuid()?)),
        10 => Precondition::BrokerActive(BrokerId(from.i32()?), BrokerEpoch(from.i64()?)),
        kind => {
            let version = ENTRY_VERSION.into();
            return Err(CodecError::Unknown { what: "precondition kind", kind: kind.into(), version });
        }
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::golden::golden;
    use crate::record::codec::tests::{any_record, samples, samples_of_level_2};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn id() -> impl Strategy<Value = TopicId> {
        any::<u128>().prop_map(|bits| TopicId(Uuid::from_u128(bits)))
    }

    fn any_precondition() -> impl Strategy<Value = Precondition> {
        prop_oneof![
            Just(Precondition::Unformatted),
            "[a-z.]{0,20}".prop_map(Precondition::NameFree),
            (id(), any::<i32>()).prop_map(|(id, count)| Precondition::PartitionCount(id, count)),
            (id(), any::<i32>(), any::<i32>()).prop_map(|(id, index, epoch)| Precondition::PartitionEpoch(
                id,
                index,
                PartitionEpoch(epoch)
            )),
            (id(), any::<i32>(), any::<i32>()).prop_map(|(id, index, epoch)| Precondition::LeaderEpoch(
                id,
                index,
                LeaderEpoch(epoch)
            )),
            (any::<i32>(), any::<i64>())
                .prop_map(|(id, epoch)| Precondition::BrokerEpoch(BrokerId(id), BrokerEpoch(epoch))),
            any::<i64>().prop_map(|epoch| Precondition::NextBrokerEpoch(BrokerEpoch(epoch))),
            any::<i64>().prop_map(Precondition::NextProducerId),
            id().prop_map(Precondition::AwaitsPurge),
            (any::<i32>(), any::<i64>())
                .prop_map(|(id, epoch)| Precondition::BrokerActive(BrokerId(id), BrokerEpoch(epoch))),
        ]
    }

    /// Any entry at all.
    pub(crate) fn any_entry() -> impl Strategy<Value = Entry> {
        let group =
            (prop::collection::vec(any_precondition(), 0..4), prop::collection::vec(any_record(), 0..4));
        let group = group.prop_map(|(preconditions, records)| Group { preconditions, records });
        prop::collection::vec(group, 0..4).prop_map(|groups| Entry { groups: groups.into() })
    }

    /// What feature level 2 added.
    fn sample_of_level_2() -> Entry {
        let records = samples_of_level_2().into_iter().map(|(_, record)| record).collect();
        Entry { groups: [Group { preconditions: Vec::new(), records }].into() }
    }

    /// Every precondition and every record of feature level 1, in two groups.
    pub(crate) fn sample() -> Entry {
        let id = TopicId(Uuid::from_u128(5));
        let preconditions = vec![
            Precondition::Unformatted,
            Precondition::NameFree("orders".into()),
            Precondition::PartitionCount(id, 3),
            Precondition::PartitionEpoch(id, 2, PartitionEpoch(4)),
            Precondition::LeaderEpoch(id, 2, LeaderEpoch(1)),
            Precondition::BrokerEpoch(BrokerId(1), BrokerEpoch(9)),
            Precondition::NextBrokerEpoch(BrokerEpoch(10)),
            Precondition::NextProducerId(2000),
            Precondition::AwaitsPurge(id),
        ];
        let records = samples().into_iter().map(|(_, record)| record).collect();
        let purge = Group {
            preconditions: Vec::new(),
            records: vec![crate::record::kinds::Record::TopicPurged { id }],
        };
        Entry { groups: [Group { preconditions, records }, purge].into() }
    }

    fn bytes(entry: &Entry) -> Vec<u8> {
        let mut out = Writer::default();
        encode(entry, &mut out);
        out.finish()
    }

    #[test]
    fn golden_file() {
        let stored = golden("entry/v1/everything", &bytes(&sample()));
        assert_eq!(decode(&stored), Ok(sample()));
        let active = vec![Precondition::BrokerActive(BrokerId(1), BrokerEpoch(9))];
        let active = Entry { groups: [Group { preconditions: active, records: Vec::new() }].into() };
        let stored = golden("entry/v1/broker-active", &bytes(&active));
        assert_eq!(decode(&stored), Ok(active));
        let stored = golden("entry/v1/level-2", &bytes(&sample_of_level_2()));
        assert_eq!(decode(&stored), Ok(sample_of_level_2()));
    }

    #[test]
    fn what_is_unknown_is_named() {
        let newer = decode(&[2, 0, 0, 0, 0]).expect_err("a newer entry");
        assert!(newer.is_unknown() && newer.to_string().contains("metadata entry 0 version 2"), "{newer}");
        let newer = decode(&[1, 0, 0, 0, 1, 0, 0, 0, 1, 77, 0, 0, 0, 0]).expect_err("a newer precondition");
        assert!(newer.is_unknown() && newer.to_string().contains("precondition kind 77"), "{newer}");
    }

    #[test]
    fn a_count_that_cannot_fit_allocates_nothing() {
        for bytes in
            [[1, 0xff, 0xff, 0xff, 0xff].as_slice(), &[1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]]
        {
            let refused = decode(bytes);
            assert!(matches!(refused, Err(CodecError::Invalid(_))), "{refused:?}");
        }
    }

    proptest! {
        #[test]
        fn entries_round_trip(entry in any_entry()) {
            let bytes = bytes(&entry);
            prop_assert_eq!(decode(&bytes), Ok(entry));
            for cut in 0..bytes.len() {
                prop_assert!(decode(&bytes[..cut]).is_err(), "cut at {}", cut);
            }
        }

        #[test]
        fn any_bytes_are_an_entry_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            let _ = decode(&bytes);
            bytes[0] = ENTRY_VERSION;
            let _ = decode(&bytes);
        }
    }
}
