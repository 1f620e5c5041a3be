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
//!    5 leader epoch: topic, i32, i32
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
    let mut group = Group::default();
    for _ in 0..from.count(1)? {
        group.preconditions.push(read_precondition(from)?);
    }
    for _ in 0..from.count(codec::HEAD_BYTES)? {
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
        kind => {
            let version = ENTRY_VERSION.into();
            return Err(CodecError::Unknown { what: "precondition kind", kind: kind.into(), version });
        }
    })
}
