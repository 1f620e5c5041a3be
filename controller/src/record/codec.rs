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
//!      version 2:   and stopping u8, count u32 x directory uuid, boot u8 + uuid, oldest level u16, newest level u16
//!      version 3:   and count u32 x offline (topic uuid, index i32)
//!  5 partition      topic uuid, index i32, leader i32 (-1 none), leader epoch i32, partition epoch i32,
//!                   count u32 x replica i32, count u32 x in-sync replica i32
//!      version 2:   and count u32 x adding i32, count u32 x removing i32, count u32 x eligible i32,
//!                   last leader i32 (-1 none)
//!  6 topic deleted  id uuid, partitions i32, name text
//!  7 topic purged   id uuid
//!  8 config         resource u8 (1 topic uuid, 2 broker i32, 3 broker default), key text, value u8 + text
//!  9 producer ids   next i64
//! 10 tier changed   topic uuid, index i32, change (tiering's bytes, to the end)
//! 11 tier row       topic uuid, index i32, row (tiering's bytes, to the end)
//! 12 broker gone    id i32
//! 13 broker epochs  next i64
//! ```
//!
//! Version 1 is written where it can hold the value, so a cluster at feature level 1 keeps the bytes of level 1.

use std::sync::Arc;

use firnline_tiering::cold::tier::{TierChange, TierRow};
use firnline_tiering::epoch::LeaderEpoch;

use crate::id::{BrokerEpoch, BrokerId, PartitionEpoch, TopicId};
use crate::record::bytes::{CodecError, Reader, Writer};
use crate::record::kinds::{Broker, Endpoint, FEATURE_LEVEL, FeatureRange, Partition, Record, Resource};

/// Bytes before a record's body.
pub const HEAD_BYTES: usize = 7;
/// The version of every kind, but for [`WIDE`] brokers and partitions.
const VERSION: u8 = 1;
/// The version of a broker or partition that says what feature level 1 cannot hold.
const WIDE: u8 = 2;
/// The version of a broker that says what feature level 2 cannot hold.
const WIDER: u8 = 3;
/// The newest kind.
const KIND_MAX: u16 = 13;

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
        Record::BrokerGone { .. } => 12,
        Record::BrokerEpochs { .. } => 13,
    }
}

fn version(record: &Record) -> u8 {
    match record {
        Record::Broker(broker) if !broker.offline.is_empty() => WIDER,
        Record::Broker(broker) if !broker.is_plain() => WIDE,
        Record::Partition { row, .. } if !row.is_plain() => WIDE,
        _ => VERSION,
    }
}

/// Appends a record's head and body.
pub fn encode(record: &Record, out: &mut Writer) {
    out.u16(kind(record)).u8(version(record)).sized(|out| encode_body(record, out));
}

/// Reads one record, head and body.
pub fn decode(from: &mut Reader<'_>) -> Result<Record, CodecError> {
    let (kind, version, len) = decode_head(from)?;
    decode_body(kind, version, from.take(len)?)
}

/// Reads a head: kind, version, length of the body. Refuses what is unknown before anyone reads the body.
pub fn decode_head(from: &mut Reader<'_>) -> Result<(u16, u8, usize), CodecError> {
    let (kind, version, len) = (from.u16()?, from.u8()?, from.u32()?);
    let known = match kind {
        3 => (VERSION..=WIDER).contains(&version),
        5 => (VERSION..=WIDE).contains(&version),
        1..=KIND_MAX => version == VERSION,
        _ => false,
    };
    if !known {
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
        3 => Record::Broker(read_broker(version, &mut from)?),
        4 => Record::Topic { id: TopicId(from.uuid()?), name: from.text()? },
        5 => read_partition(version, &mut from)?,
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
            let mut row = TierRow::decode(from.take(from.left())?)?;
            // It is about to live in an image, with many others.
            row.entries.shrink_to_fit();
            Record::TierRow { topic, index, row: Arc::new(row) }
        }
        12 => Record::BrokerGone { id: BrokerId(from.i32()?) },
        13 => Record::BrokerEpochs { next: BrokerEpoch(from.i64()?) },
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
        Record::BrokerGone { id } => out.i32(id.0),
        Record::BrokerEpochs { next } => out.i64(next.0),
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
    if broker.is_plain() {
        return out;
    }
    out.flag(broker.stopping).count(broker.directories.len());
    broker.directories.iter().for_each(|directory| _ = out.uuid(*directory));
    out.flag(broker.boot.is_some());
    if let Some(boot) = broker.boot {
        out.uuid(boot);
    }
    out.u16(broker.features.min).u16(broker.features.max);
    if !broker.offline.is_empty() {
        out.count(broker.offline.len());
        broker.offline.iter().for_each(|(topic, index)| _ = out.uuid(topic.0).i32(*index));
    }
    out
}

fn read_broker(version: u8, from: &mut Reader<'_>) -> Result<Broker, CodecError> {
    /// Two empty texts, port and protocol.
    const ENDPOINT_BYTES_MIN: usize = 8;
    const UUID_BYTES: usize = 16;
    const PLACE_BYTES: usize = 20;
    let mut broker = Broker {
        id: BrokerId(from.i32()?),
        epoch: BrokerEpoch(from.i64()?),
        incarnation: from.uuid()?,
        fenced: from.flag()?,
        rack: from.optional_text()?,
        ..Broker::default()
    };
    for _ in 0..from.count(ENDPOINT_BYTES_MIN)? {
        let (listener, host) = (from.text()?, from.text()?);
        broker.endpoints.push(Endpoint { listener, host, port: from.u16()?, protocol: from.i16()? });
    }
    if version == VERSION {
        return Ok(broker);
    }
    broker.stopping = from.flag()?;
    for _ in 0..from.count(UUID_BYTES)? {
        broker.directories.push(from.uuid()?);
    }
    broker.boot = if from.flag()? { Some(from.uuid()?) } else { None };
    broker.features = FeatureRange { min: from.u16()?, max: from.u16()? };
    if version >= WIDER {
        let count = from.count(PLACE_BYTES)?;
        broker.offline = (0..count).map(|_| read_place(from)).collect::<Result<_, _>>()?;
    }
    Ok(broker)
}

fn write_partition<'w>(row: &Partition, out: &'w mut Writer) -> &'w mut Writer {
    out.i32(row.leader.map_or(-1, |leader| leader.0)).i32(row.leader_epoch.0).i32(row.epoch.0);
    write_brokers(&row.isr, write_brokers(&row.replicas, out));
    if row.is_plain() {
        return out;
    }
    [&row.adding, &row.removing, &row.elr].into_iter().for_each(|brokers| _ = write_brokers(brokers, out));
    out.i32(row.last_leader.map_or(-1, |leader| leader.0))
}

fn read_partition(version: u8, from: &mut Reader<'_>) -> Result<Record, CodecError> {
    let (topic, index) = read_place(from)?;
    let leader = read_leader(from)?;
    let (leader_epoch, epoch) =
        (LeaderEpoch(not_negative(from.i32()?)?), PartitionEpoch(not_negative(from.i32()?)?));
    let (replicas, isr) = (read_brokers(from)?, read_brokers(from)?);
    let mut row = Partition { replicas, isr, leader, leader_epoch, epoch, ..Partition::default() };
    if version > VERSION {
        (row.adding, row.removing) = (read_brokers(from)?, read_brokers(from)?);
        (row.elr, row.last_leader) = (read_brokers(from)?, read_leader(from)?);
    }
    Ok(Record::Partition { topic, index, row })
}

fn read_leader(from: &mut Reader<'_>) -> Result<Option<BrokerId>, CodecError> {
    Ok(match from.i32()? {
        -1 => None,
        id => Some(BrokerId(id)),
    })
}

fn write_brokers<'w>(brokers: &[BrokerId], out: &'w mut Writer) -> &'w mut Writer {
    out.count(brokers.len());
    brokers.iter().for_each(|id| _ = out.i32(id.0));
    out
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::golden::golden;
    use firnline_tiering::cold::entry::Entry as Segment;
    use firnline_tiering::cold::manifest::ManifestPointer;
    use firnline_tiering::cold::tier::{NO_EPOCH, TierChangeKind, TierVersion};
    use firnline_tiering::offsets::Offset;
    use proptest::prelude::*;
    use uuid::Uuid;

    /// A log's next segment.
    pub(crate) fn segment(row: &TierRow, records: i64, uuid: u128) -> TierChange {
        let epoch = row.leader_epoch;
        let entry = Segment {
            base: row.end,
            next: row.end + records,
            min_timestamp: 1_763_700_000_000,
            max_timestamp: 1_763_700_009_999,
            leader_epoch: epoch,
            previous_epoch: row.end_epoch,
            first_epoch: row.end_epoch.max(LeaderEpoch(0)),
            last_epoch: epoch,
            log_bytes: 1 << 20,
            footer_at: (1 << 20) + 4096,
            footer_len: 300,
            footer_crc: 0xdead_beef,
            aborted: 2,
            uuid: Uuid::from_u128(uuid),
        };
        TierChange { on_version: row.version, leader_epoch: epoch, kind: TierChangeKind::Append(entry) }
    }

    fn swap() -> TierChange {
        let manifest = ManifestPointer {
            uuid: Uuid::from_u128(7),
            on_version: 9,
            object_bytes: 512,
            crc: 1,
            base: Offset(0),
            end: Offset(20),
            segments: 2,
            log_bytes: 2 << 20,
            graves: 1,
        };
        let folded = vec![Uuid::from_u128(1), Uuid::from_u128(2)];
        let kind = TierChangeKind::Swap { manifest, folded };
        TierChange { on_version: TierVersion(9), leader_epoch: LeaderEpoch(3), kind }
    }

    fn row(appends: u128) -> Arc<TierRow> {
        let mut row = TierRow::new(LeaderEpoch(3), Offset(0));
        for uuid in 0..appends {
            row = row.apply(&segment(&row, 10, uuid + 1)).expect("the next segment");
        }
        Arc::new(row)
    }

    /// What feature level 2 added, and its golden file's name.
    pub(crate) fn samples_of_level_2() -> Vec<(&'static str, Record)> {
        let sample =
            |name: &str| samples().into_iter().find(|(known, _)| *known == name).expect("a sample").1;
        let Record::Broker(mut broker) = sample("broker") else { panic!("a broker") };
        broker.stopping = true;
        broker.directories = vec![Uuid::from_u128(0xd1), Uuid::from_u128(0xd2)];
        broker.boot = Some(Uuid::from_u128(0xb007));
        broker.features = FeatureRange { min: 1, max: 2 };
        let Record::Partition { topic, index, mut row } = sample("partition") else { panic!("a partition") };
        row.replicas = [1, 2, 3].map(BrokerId).into();
        (row.adding, row.removing) = ([BrokerId(3)].into(), [BrokerId(1)].into());
        (row.elr, row.last_leader) = ([BrokerId(1)].into(), Some(BrokerId(2)));
        vec![
            ("v1/feature-level-2", Record::FeatureLevel { level: 2 }),
            ("v2/broker", Record::Broker(broker)),
            ("v2/partition", Record::Partition { topic, index, row }),
            ("v1/broker-gone", Record::BrokerGone { id: BrokerId(3) }),
            ("v1/broker-epochs", Record::BrokerEpochs { next: BrokerEpoch(44) }),
        ]
    }

    /// What feature level 3 added.
    pub(crate) fn samples_of_level_3() -> Vec<(&'static str, Record)> {
        let wide = samples_of_level_2().into_iter().find_map(|(_, record)| match record {
            Record::Broker(broker) => Some(broker),
            _ => None,
        });
        let topic = |id| TopicId(Uuid::from_u128(id));
        let broker = Broker { offline: [(topic(7), 0), (topic(7), 4)].into(), ..wide.expect("a broker") };
        vec![("v1/feature-level-3", Record::FeatureLevel { level: 3 }), ("v3/broker", Record::Broker(broker))]
    }

    /// One of each kind of feature level 1, and its golden file's name.
    pub(crate) fn samples() -> Vec<(&'static str, Record)> {
        let id = TopicId(Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0));
        let endpoint = Endpoint {
            listener: "PLAINTEXT".into(),
            host: "kafka-1.example".into(),
            port: 9092,
            protocol: 0,
        };
        let broker = Broker {
            id: BrokerId(1),
            epoch: BrokerEpoch(42),
            incarnation: Uuid::from_u128(0xfeed),
            endpoints: vec![endpoint],
            rack: Some("zone-a".into()),
            fenced: true,
            ..Broker::default()
        };
        let replicas: Arc<[BrokerId]> = [BrokerId(1), BrokerId(2)].into();
        let partition = Partition {
            replicas,
            isr: [BrokerId(2)].into(),
            leader: None,
            leader_epoch: LeaderEpoch(3),
            epoch: PartitionEpoch(5),
            ..Partition::default()
        };
        let config = |resource, value: Option<&str>| Record::Config {
            resource,
            key: "retention.ms".into(),
            value: value.map(str::to_owned),
        };
        let start = TierChangeKind::MoveLogStart(Offset(10));
        let start = TierChange { on_version: TierVersion(1), leader_epoch: LeaderEpoch(3), kind: start };
        let tier = |change| Record::TierChanged { topic: id, index: 4, change };
        vec![
            ("feature-level", Record::FeatureLevel { level: 1 }),
            ("cluster", Record::Cluster { id: "4L6g3nShT-eMCtK--X86sw".into() }),
            ("broker", Record::Broker(broker)),
            ("topic", Record::Topic { id, name: "orders.v1".into() }),
            ("partition", Record::Partition { topic: id, index: 4, row: partition }),
            ("topic-deleted", Record::TopicDeleted { id, name: "orders.v1".into(), partitions: 5 }),
            ("topic-purged", Record::TopicPurged { id }),
            ("config-topic", config(Resource::Topic(id), Some("1000"))),
            ("config-broker", config(Resource::Broker(BrokerId(1)), Some(""))),
            ("config-broker-default", config(Resource::BrokerDefault, None)),
            ("producer-ids", Record::ProducerIds { next: 5000 }),
            ("tier-append", tier(segment(&row(0), 10, 1))),
            ("tier-swap", tier(swap())),
            ("tier-move-log-start", tier(start)),
            ("tier-row", Record::TierRow { topic: id, index: 4, row: row(2) }),
        ]
    }

    fn text() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9._äß-]{0,24}"
    }

    fn id() -> impl Strategy<Value = TopicId> {
        any::<u128>().prop_map(|bits| TopicId(Uuid::from_u128(bits)))
    }

    fn brokers() -> impl Strategy<Value = Arc<[BrokerId]>> {
        prop::collection::vec(any::<i32>().prop_map(BrokerId), 0..5).prop_map(Into::into)
    }

    fn any_broker() -> impl Strategy<Value = Record> {
        let endpoint = (text(), text(), any::<u16>(), any::<i16>())
            .prop_map(|(listener, host, port, protocol)| Endpoint { listener, host, port, protocol });
        let endpoints = prop::collection::vec(endpoint, 0..4);
        let (rack, fenced) = (prop::option::of(text()), any::<bool>());
        let uuid = || any::<u128>().prop_map(Uuid::from_u128);
        let features = prop_oneof![Just((1, 1)), any::<(u16, u16)>()];
        let wide = (any::<bool>(), prop::collection::vec(uuid(), 0..3), prop::option::of(uuid()), features);
        let wide = (wide, prop::collection::vec((id(), 0..i32::MAX), 0..3));
        (any::<i32>(), any::<i64>(), uuid(), endpoints, rack, fenced, wide).prop_map(
            |(id, epoch, incarnation, endpoints, rack, fenced, (wide, offline))| {
                let (stopping, directories, boot, (min, max)) = wide;
                let (id, epoch, features) = (BrokerId(id), BrokerEpoch(epoch), FeatureRange { min, max });
                Record::Broker(Broker {
                    id,
                    epoch,
                    incarnation,
                    endpoints,
                    rack,
                    fenced,
                    stopping,
                    directories,
                    boot,
                    features,
                    offline: offline.into(),
                })
            },
        )
    }

    fn any_partition() -> impl Strategy<Value = Record> {
        let epochs = (0..i32::MAX, 0..i32::MAX);
        let leader = || prop::option::of((0..i32::MAX).prop_map(BrokerId));
        let moves = (brokers(), brokers(), brokers(), leader());
        let wide = prop_oneof![Just(Default::default()), moves];
        (id(), 0..i32::MAX, brokers(), brokers(), leader(), epochs, wide).prop_map(
            |(topic, index, replicas, isr, leader, (leader_epoch, epoch), wide)| {
                let (leader_epoch, epoch) = (LeaderEpoch(leader_epoch), PartitionEpoch(epoch));
                let (adding, removing, elr, last_leader) = wide;
                let row = Partition {
                    replicas,
                    isr,
                    leader,
                    leader_epoch,
                    epoch,
                    adding,
                    removing,
                    elr,
                    last_leader,
                };
                Record::Partition { topic, index, row }
            },
        )
    }

    fn any_config() -> impl Strategy<Value = Record> {
        let resource = prop_oneof![
            id().prop_map(Resource::Topic),
            any::<i32>().prop_map(|id| Resource::Broker(BrokerId(id))),
            Just(Resource::BrokerDefault),
        ];
        (resource, text(), prop::option::of(text())).prop_map(|(resource, key, value)| Record::Config {
            resource,
            key,
            value,
        })
    }

    /// Any record at all.
    pub(crate) fn any_record() -> impl Strategy<Value = Record> {
        let tier = || (id(), 0..i32::MAX, 0_u128..4);
        prop_oneof![
            Just(Record::FeatureLevel { level: FEATURE_LEVEL }),
            text().prop_map(|id| Record::Cluster { id }),
            any_broker(),
            (id(), text()).prop_map(|(id, name)| Record::Topic { id, name }),
            any_partition(),
            (id(), text(), 0..i32::MAX).prop_map(|(id, name, partitions)| Record::TopicDeleted {
                id,
                name,
                partitions
            }),
            id().prop_map(|id| Record::TopicPurged { id }),
            any_config(),
            any::<i64>().prop_map(|next| Record::ProducerIds { next }),
            tier().prop_map(|(topic, index, n)| {
                Record::TierChanged { topic, index, change: segment(&row(n), 10, 99) }
            }),
            tier().prop_map(|(topic, index, n)| Record::TierRow { topic, index, row: row(n) }),
            any::<i32>().prop_map(|id| Record::BrokerGone { id: BrokerId(id) }),
            any::<i64>().prop_map(|next| Record::BrokerEpochs { next: BrokerEpoch(next) }),
        ]
    }

    fn bytes(record: &Record) -> Vec<u8> {
        let mut out = Writer::default();
        encode(record, &mut out);
        out.finish()
    }

    #[test]
    fn golden_files_of_every_kind() {
        let mut kinds = std::collections::BTreeSet::new();
        for (name, record) in samples() {
            let stored = golden(&format!("record/v1/{name}"), &bytes(&record));
            assert_eq!(decode(&mut Reader::new(&stored)), Ok(record.clone()), "{name}");
            kinds.insert(kind(&record));
            assert_eq!(record.level(), 1, "{name}");
        }
        let of_level_2 = samples_of_level_2().into_iter().map(|sample| (2, sample));
        let of_level_3 = samples_of_level_3().into_iter().map(|sample| (3, sample));
        for (level, (name, record)) in of_level_2.chain(of_level_3) {
            let stored = golden(&format!("record/{name}"), &bytes(&record));
            assert_eq!(decode(&mut Reader::new(&stored)), Ok(record.clone()), "{name}");
            kinds.insert(kind(&record));
            assert_eq!(record.level(), level, "{name}");
        }
        assert_eq!(
            kinds.into_iter().collect::<Vec<_>>(),
            (1..=KIND_MAX).collect::<Vec<_>>(),
            "a kind without a file"
        );
        assert_eq!(row(0).end_epoch, NO_EPOCH, "the samples begin with an empty tier");
    }

    #[test]
    fn what_is_unknown_is_named() {
        for (unknown, named) in [
            ([0, 99, 1, 0, 0, 0, 0].as_slice(), "kind 99 version 1"),
            (&[0, 4, 2, 0, 0, 0, 0], "kind 4 version 2"),
            (&[0, 5, 3, 0, 0, 0, 0], "kind 5 version 3"),
            (&[0, 1, 1, 0, 0, 0, 2, 0, 9], "feature level 9"),
        ] {
            let error = decode(&mut Reader::new(unknown)).expect_err("unknown");
            assert!(error.is_unknown() && error.to_string().contains(named), "{error}");
        }
    }

    proptest! {
        #[test]
        fn records_round_trip(record in any_record()) {
            let bytes = bytes(&record);
            let mut from = Reader::new(&bytes);
            prop_assert_eq!(decode(&mut from), Ok(record));
            prop_assert_eq!(from.left(), 0);
            for cut in 0..bytes.len() {
                prop_assert!(decode(&mut Reader::new(&bytes[..cut])).is_err(), "cut at {}", cut);
            }
        }

        #[test]
        fn any_bytes_are_a_record_or_an_error(
            kind in 0_u16..15,
            version in 1_u8..3,
            body in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = decode_body(kind, version, &body);
            let _ = decode(&mut Reader::new(&body));
        }

        #[test]
        fn any_flipped_bit_is_a_record_or_an_error(nth in 0_usize..20, bit in 0_usize..4000) {
            let (_, record) = &[samples(), samples_of_level_2(), samples_of_level_3()].concat()[nth];
            let mut bytes = bytes(record);
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = decode(&mut Reader::new(&bytes));
        }
    }
}
