//! The bytes of records. Not of the entries that group them. Invariant: what this binary writes it reads back
//! equal, and it stops at a kind or version it does not know, naming it.
//!
//! ```text
//!  0         2          3            7
//!  | kind u16 | version u8 | len u32 | body, `len` bytes |        big-endian; text is u16 length + UTF-8
//!
//!  1 feature level  level u16
//!  2 cluster        id text
//!  3 broker         id i32, epoch i64, incarnation uuid, fenced u8, rack u8 + text,
//!                   count u32 x (listener text, host text, port u16, protocol i16)
//!  4 topic          id uuid, name text
//!  5 partition      topic uuid, index i32, leader i32 (-1 none), leader epoch i32, partition epoch i32,
//!                   count u32 x replica i32, count u32 x in-sync replica i32
//!  6 topic deleted  id uuid, partitions i32, name text
//!  7 topic purged   id uuid
//!  8 config         resource u8 (1 topic uuid, 2 broker i32, 3 broker default), key text, value u8 + text
//!  9 producer ids   next i64
//! 10 tier changed   topic uuid, index i32, change (tiering's bytes, to the end)
//! 11 tier row       topic uuid, index i32, row (tiering's bytes, to the end)
//! ```

use std::sync::Arc;

use firnline_tiering::cold::tier::{TierChange, TierRow};
use firnline_tiering::epoch::LeaderEpoch;

use crate::id::{BrokerEpoch, BrokerId, PartitionEpoch, TopicId};
use crate::record::bytes::{CodecError, Reader, Writer};
use crate::record::kinds::{Broker, Endpoint, FEATURE_LEVEL, Partition, Record, Resource};

/// Bytes before a record's body.
pub const HEAD_BYTES: usize = 7;
/// The version of every kind so far.
const VERSION: u8 = 1;

/// A record's number on disk.
pub fn kind(record: &Record) -> u16 {
    match record {
        Record::FeatureLevel { .. } => 1,
        Record::Cluster { .. } => 2,
        Record::Broker(_) => 3,
        Record::Topic { .. } => 4,
        Record::Partition { .. } => 5,
        Record::TopicDeleted { .. } => 6,
        Record::TopicPurged { .. } => 7,
        Record::Config { .. } => 8,
        Record::ProducerIds { .. } => 9,
        Record::TierChanged { .. } => 10,
        Record::TierRow { .. } => 11,
    }
}

/// Appends a record's head and body.
pub fn encode(record: &Record, out: &mut Writer) {
    out.u16(kind(record)).u8(VERSION).sized(|out| encode_body(record, out));
}

/// Reads one record, head and body.
pub fn decode(from: &mut Reader<'_>) -> Result<Record, CodecError> {
    let (kind, version, len) = decode_head(from)?;
    decode_body(kind, version, from.take(len)?)
}

/// Reads a head: kind, version, length of the body. Refuses what is unknown before anyone reads the body.
pub fn decode_head(from: &mut Reader<'_>) -> Result<(u16, u8, usize), CodecError> {
    let (kind, version, len) = (from.u16()?, from.u8()?, from.u32()?);
    if !(1..=11).contains(&kind) || version != VERSION {
        return Err(CodecError::Unknown { what: "metadata record kind", kind, version: version.into() });
    }
    Ok((kind, version, len as usize))
}

/// Reads a body whose head was read.
pub fn decode_body(kind: u16, version: u8, body: &[u8]) -> Result<Record, CodecError> {
    let mut from = Reader::new(body);
    let record = match kind {
        1 => read_level(&mut from)?,
        2 => Record::Cluster { id: from.text()? },
        3 => Record::Broker(read_broker(&mut from)?),
        4 => Record::Topic { id: TopicId(from.uuid()?), name: from.text()? },
        5 => read_partition(&mut from)?,
        6 => {
            let (id, partitions) = (TopicId(from.uuid()?), not_negative(from.i32()?)?);
            Record::TopicDeleted { id, partitions, name: from.text()? }
        }
        7 => Record::TopicPurged { id: TopicId(from.uuid()?) },
        8 => {
            let (resource, key) = (read_resource(&mut from)?, from.text()?);
            Record::Config { resource, key, value: from.optional_text()? }
        }
        9 => Record::ProducerIds { next: from.i64()? },
        10 => {
            let (topic, index) = read_place(&mut from)?;
            let change = TierChange::decode(from.take(from.left())?)?;
            Record::TierChanged { topic, index, change }
        }
        11 => {
            let (topic, index) = read_place(&mut from)?;
            let row = Arc::new(TierRow::decode(from.take(from.left())?)?);
            Record::TierRow { topic, index, row }
        }
        _ => return Err(CodecError::Unknown { what: "metadata record kind", kind, version: version.into() }),
    };
    from.finish()?;
    Ok(record)
}

fn encode_body(record: &Record, out: &mut Writer) {
    match record {
        Record::FeatureLevel { level } => out.u16(*level),
        Record::Cluster { id } => out.text(id),
        Record::Broker(broker) => write_broker(broker, out),
        Record::Topic { id, name } => out.uuid(id.0).text(name),
        Record::Partition { topic, index, row } => write_partition(row, out.uuid(topic.0).i32(*index)),
        Record::TopicDeleted { id, name, partitions } => out.uuid(id.0).i32(*partitions).text(name),
        Record::TopicPurged { id } => out.uuid(id.0),
        Record::Config { resource, key, value } => {
            write_resource(*resource, out).text(key).optional_text(value.as_deref())
        }
        Record::ProducerIds { next } => out.i64(*next),
        Record::TierChanged { topic, index, change } => out.uuid(topic.0).i32(*index).raw(&change.encode()),
        Record::TierRow { topic, index, row } => out.uuid(topic.0).i32(*index).raw(&row.encode()),
    };
}

/// A level above ours announces formats this binary would misread: it stops here.
fn read_level(from: &mut Reader<'_>) -> Result<Record, CodecError> {
    match from.u16()? {
        level @ 1..=FEATURE_LEVEL => Ok(Record::FeatureLevel { level }),
        kind => Err(CodecError::Unknown { what: "feature level", kind, version: VERSION.into() }),
    }
}

fn write_broker<'w>(broker: &Broker, out: &'w mut Writer) -> &'w mut Writer {
    out.i32(broker.id.0).i64(broker.epoch.0).uuid(broker.incarnation).flag(broker.fenced);
    out.optional_text(broker.rack.as_deref()).count(broker.endpoints.len());
    for endpoint in &broker.endpoints {
        out.text(&endpoint.listener).text(&endpoint.host).u16(endpoint.port).i16(endpoint.protocol);
    }
    out
}

fn read_broker(from: &mut Reader<'_>) -> Result<Broker, CodecError> {
    /// Two empty texts, port and protocol.
    const ENDPOINT_BYTES_MIN: usize = 8;
    let mut broker = Broker {
        id: BrokerId(from.i32()?),
        epoch: BrokerEpoch(from.i64()?),
        incarnation: from.uuid()?,
        fenced: from.flag()?,
        rack: from.optional_text()?,
        endpoints: Vec::new(),
    };
    for _ in 0..from.count(ENDPOINT_BYTES_MIN)? {
        let (listener, host) = (from.text()?, from.text()?);
        broker.endpoints.push(Endpoint { listener, host, port: from.u16()?, protocol: from.i16()? });
    }
    Ok(broker)
}

fn write_partition<'w>(row: &Partition, out: &'w mut Writer) -> &'w mut Writer {
    out.i32(row.leader.map_or(-1, |leader| leader.0)).i32(row.leader_epoch.0).i32(row.epoch.0);
    for brokers in [&row.replicas, &row.isr] {
        out.count(brokers.len());
        brokers.iter().for_each(|id| _ = out.i32(id.0));
    }
    out
}

fn read_partition(from: &mut Reader<'_>) -> Result<Record, CodecError> {
    let (topic, index) = read_place(from)?;
    let leader = match from.i32()? {
        -1 => None,
        id => Some(BrokerId(id)),
    };
    let (leader_epoch, epoch) =
        (LeaderEpoch(not_negative(from.i32()?)?), PartitionEpoch(not_negative(from.i32()?)?));
    let (replicas, isr) = (read_brokers(from)?, read_brokers(from)?);
    let row = Partition { replicas, isr, leader, leader_epoch, epoch };
    Ok(Record::Partition { topic, index, row })
}

fn read_brokers(from: &mut Reader<'_>) -> Result<Arc<[BrokerId]>, CodecError> {
    let count = from.count(size_of::<i32>())?;
    (0..count).map(|_| Ok(BrokerId(from.i32()?))).collect()
}

fn write_resource(resource: Resource, out: &mut Writer) -> &mut Writer {
    match resource {
        Resource::Topic(id) => out.u8(1).uuid(id.0),
        Resource::Broker(id) => out.u8(2).i32(id.0),
        Resource::BrokerDefault => out.u8(3),
    }
}

fn read_resource(from: &mut Reader<'_>) -> Result<Resource, CodecError> {
    match from.u8()? {
        1 => Ok(Resource::Topic(TopicId(from.uuid()?))),
        2 => Ok(Resource::Broker(BrokerId(from.i32()?))),
        3 => Ok(Resource::BrokerDefault),
        kind => {
            Err(CodecError::Unknown { what: "config resource", kind: kind.into(), version: VERSION.into() })
        }
    }
}

fn read_place(from: &mut Reader<'_>) -> Result<(TopicId, i32), CodecError> {
    Ok((TopicId(from.uuid()?), not_negative(from.i32()?)?))
}

fn not_negative(value: i32) -> Result<i32, CodecError> {
    if value < 0 {
        Err(CodecError::Invalid(format!("{value} where no negative number can stand")))
    } else {
        Ok(value)
    }
}
