//! What `__consumer_offsets` holds: Kafka's own record formats, so that Burrow, MirrorMaker and a UI can read them.
//! Reads every version Kafka ever wrote, writes version 3 (1 for a commit with its own expiry), the last ones that
//! old tools understand. Keys of newer kinds (KIP-848, share, streams) are passed over.
//!
//! ```text
//! key    i16 kind: 0,1 offset | 2 group      value  i16 version, then
//!   offset: string group, string topic, i32 partition
//!           i64 offset, [v3+: i32 leader epoch], string metadata, i64 committed, [v1: i64 expires]
//!   group:  string group
//!           string type, i32 generation, string? protocol, string? leader, [v2+: i64 since], members: i32 count of
//!             string id, [v3+: string? instance], string client, string host, [v1+: i32 rebalance timeout],
//!             i32 session timeout, bytes subscription, bytes assignment
//! version 4 of both: compact lengths, tagged fields at the end of each struct. A null value is a tombstone.
//! ```

use bytes::Bytes;

use crate::coordinator::group::field::{
    FieldError, Fields, TooLong, put_bytes, put_count, put_nullable_string, put_string,
};
use crate::coordinator::group::id::{GroupId, InstanceId, MemberId};

/// One record; `None` is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A committed offset of one partition.
    Offset {
        /// Whose.
        group: GroupId,
        /// Topic name.
        topic: String,
        /// Partition index.
        partition: i32,
        /// What was committed.
        value: Option<OffsetValue>,
    },
    /// One generation of a group.
    Group {
        /// Which.
        group: GroupId,
        /// Its members and protocol.
        value: Option<GroupValue>,
    },
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetValue {
    /// Next offset the group wants.
    pub offset: i64,
    /// Epoch of the last record consumed, -1 for none. Lost when `expire_ms` is set, as in Kafka.
    pub leader_epoch: i32,
    /// The client's text.
    pub metadata: String,
    /// When it was committed, ms since 1970.
    pub commit_ms: i64,
    /// When it expires, for clients that asked for a retention of their own (OffsetCommit 2-4).
    pub expire_ms: Option<i64>,
}

/// One generation of a group, as the leader assigned it, or an empty group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupValue {
    /// `consumer`, `connect`...; empty for a group that never had members.
    pub protocol_type: String,
    /// The generation.
    pub generation: i32,
    /// The chosen protocol; null without members.
    pub protocol: Option<String>,
    /// The leading member; null without members.
    pub leader: Option<MemberId>,
    /// When the group reached this state, ms since 1970; null in records before version 2.
    pub since_ms: Option<i64>,
    /// The members.
    pub members: Vec<MemberValue>,
}

/// One member of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberValue {
    /// Its id.
    pub id: MemberId,
    /// Its lasting name, for a static member.
    pub instance: Option<InstanceId>,
    /// The client's own name.
    pub client_id: String,
    /// Where it connected from, `/127.0.0.1`.
    pub client_host: String,
    /// How long a rebalance waits for it, ms.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent, ms.
    pub session_timeout_ms: i32,
    /// Its metadata for the chosen protocol, untouched.
    pub subscription: Bytes,
    /// What the leader assigned to it, untouched.
    pub assignment: Bytes,
}

/// Bytes that are not a record we can read. Loading stops at one: a forgotten offset is worse than a loud stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A field is wrong.
    #[error("{what}: {fault}")]
    Field {
        /// Key or value of which kind.
        what: &'static str,
        /// What is wrong.
        fault: FieldError,
    },
    /// A value written by a newer Kafka or a newer Firnline.
    #[error("{what} has version {version}, this binary knows 0 to 4")]
    Version {
        /// Value of which kind.
        what: &'static str,
        /// The version found.
        version: i16,
    },
}

const OFFSET_KINDS: [i16; 2] = [0, 1];
const GROUP_KIND: i16 = 2;
/// First version with compact lengths.
const FLEXIBLE: i16 = 4;
const OFFSET_KEY: &str = "offset key";
const OFFSET_VALUE: &str = "offset value";
const GROUP_KEY: &str = "group key";
const GROUP_VALUE: &str = "group value";

fn faulty(what: &'static str) -> impl Fn(FieldError) -> RecordError {
    move |fault| RecordError::Field { what, fault }
}

impl Record {
    /// Key and value as they stand in the log. The value of a tombstone is null.
    pub fn encode(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), TooLong> {
        let mut key = Vec::with_capacity(64);
        let value = match self {
            Record::Offset { group, topic, partition, value } => {
                key.extend_from_slice(&OFFSET_KINDS[1].to_be_bytes());
                put_string(&mut key, group.as_str())?;
                put_string(&mut key, topic)?;
                key.extend_from_slice(&partition.to_be_bytes());
                value.as_ref().map(OffsetValue::encode).transpose()?
            }
            Record::Group { group, value } => {
                key.extend_from_slice(&GROUP_KIND.to_be_bytes());
                put_string(&mut key, group.as_str())?;
                value.as_ref().map(GroupValue::encode).transpose()?
            }
        };
        Ok((key, value))
    }

    /// Reads a record; `None` when the key is of a kind this binary has no use for.
    pub fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Record>, RecordError> {
        let mut fields = Fields::new(key.clone());
        let kind = fields.i16().map_err(faulty("key"))?;
        if OFFSET_KINDS.contains(&kind) {
            let (group, topic, partition) = offset_key(&mut fields).map_err(faulty(OFFSET_KEY))?;
            let value = value.map(OffsetValue::decode).transpose()?;
            return Ok(Some(Record::Offset { group, topic, partition, value }));
        }
        if kind != GROUP_KIND {
            return Ok(None);
        }
        let group = fields.string().map_err(faulty(GROUP_KEY))?.into();
        Ok(Some(Record::Group { group, value: value.map(GroupValue::decode).transpose()? }))
    }
}

fn offset_key(fields: &mut Fields) -> Result<(GroupId, String, i32), FieldError> {
    Ok((fields.string()?.into(), fields.string()?, fields.i32()?))
}

/// The version in front of a value, and the fields behind it.
fn versioned(what: &'static str, value: &Bytes) -> Result<(i16, Fields), RecordError> {
    let mut fields = Fields::new(value.clone());
    let version = fields.i16().map_err(faulty(what))?;
    if !(0..=FLEXIBLE).contains(&version) {
        return Err(RecordError::Version { what, version });
    }
    fields.set_compact(version >= FLEXIBLE);
    Ok((version, fields))
}

impl OffsetValue {
    fn encode(&self) -> Result<Vec<u8>, TooLong> {
        let mut out = Vec::with_capacity(32 + self.metadata.len());
        let version: i16 = if self.expire_ms.is_some() { 1 } else { 3 };
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
        if version >= 3 {
            out.extend_from_slice(&self.leader_epoch.to_be_bytes());
        }
        put_string(&mut out, &self.metadata)?;
        out.extend_from_slice(&self.commit_ms.to_be_bytes());
        if let Some(expire_ms) = self.expire_ms {
            out.extend_from_slice(&expire_ms.to_be_bytes());
        }
        Ok(out)
    }

    fn decode(value: &Bytes) -> Result<Self, RecordError> {
        let (version, mut fields) = versioned(OFFSET_VALUE, value)?;
        Self::fields(version, &mut fields).map_err(faulty(OFFSET_VALUE))
    }

    fn fields(version: i16, fields: &mut Fields) -> Result<Self, FieldError> {
        let offset = fields.i64()?;
        let leader_epoch = if version >= 3 { fields.i32()? } else { -1 };
        let metadata = fields.string()?;
        let commit_ms = fields.i64()?;
        let expire_ms = if version == 1 { Some(fields.i64()?).filter(|at| *at != -1) } else { None };
        fields.skip_tags()?;
        Ok(Self { offset, leader_epoch, metadata, commit_ms, expire_ms })
    }
}

impl GroupValue {
    fn encode(&self) -> Result<Vec<u8>, TooLong> {
        let mut out = Vec::with_capacity(64 + 128 * self.members.len());
        out.extend_from_slice(&3_i16.to_be_bytes());
        put_string(&mut out, &self.protocol_type)?;
        out.extend_from_slice(&self.generation.to_be_bytes());
        put_nullable_string(&mut out, self.protocol.as_deref())?;
        put_nullable_string(&mut out, self.leader.as_ref().map(MemberId::as_str))?;
        out.extend_from_slice(&self.since_ms.unwrap_or(-1).to_be_bytes());
        put_count(&mut out, self.members.len())?;
        for member in &self.members {
            member.encode(&mut out)?;
        }
        Ok(out)
    }

    fn decode(value: &Bytes) -> Result<Self, RecordError> {
        let (version, mut fields) = versioned(GROUP_VALUE, value)?;
        Self::fields(version, &mut fields).map_err(faulty(GROUP_VALUE))
    }

    fn fields(version: i16, fields: &mut Fields) -> Result<Self, FieldError> {
        let protocol_type = fields.string()?;
        let generation = fields.i32()?;
        let protocol = fields.nullable_string()?;
        let leader = fields.nullable_string()?.map(MemberId::from);
        let since_ms = if version >= 2 { Some(fields.i64()?).filter(|at| *at != -1) } else { None };
        // The smallest member there can be: version 4 with empty texts, two timeouts and no tags.
        let count = fields.count(15)?;
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(MemberValue::fields(version, fields)?);
        }
        fields.skip_tags()?;
        Ok(Self { protocol_type, generation, protocol, leader, since_ms, members })
    }
}

impl MemberValue {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        put_string(out, self.id.as_str())?;
        put_nullable_string(out, self.instance.as_ref().map(InstanceId::as_str))?;
        put_string(out, &self.client_id)?;
        put_string(out, &self.client_host)?;
        out.extend_from_slice(&self.rebalance_timeout_ms.to_be_bytes());
        out.extend_from_slice(&self.session_timeout_ms.to_be_bytes());
        put_bytes(out, &self.subscription)?;
        put_bytes(out, &self.assignment)
    }

    fn fields(version: i16, fields: &mut Fields) -> Result<Self, FieldError> {
        let id = fields.string()?.into();
        let instance = if version >= 3 { fields.nullable_string()?.map(InstanceId::from) } else { None };
        let (client_id, client_host) = (fields.string()?, fields.string()?);
        let rebalance = if version >= 1 { fields.i32()? } else { -1 };
        let session_timeout_ms = fields.i32()?;
        let (subscription, assignment) = (fields.bytes()?, fields.bytes()?);
        fields.skip_tags()?;
        // Before KIP-62 one timeout served for both.
        let rebalance_timeout_ms = if rebalance == -1 { session_timeout_ms } else { rebalance };
        Ok(Self {
            id,
            instance,
            client_id,
            client_host,
            rebalance_timeout_ms,
            session_timeout_ms,
            subscription,
            assignment,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    macro_rules! golden {
        ($name:literal) => {
            (
                Bytes::from_static(include_bytes!(concat!(
                    "../../../tests/fixtures/consumer-offsets/v1/",
                    $name,
                    ".key"
                ))),
                Bytes::from_static(include_bytes!(concat!(
                    "../../../tests/fixtures/consumer-offsets/v1/",
                    $name,
                    ".value"
                ))),
            )
        };
    }

    fn read((key, value): (Bytes, Bytes)) -> Record {
        Record::decode(&key, Some(&value)).expect("a golden record").expect("a kind of ours")
    }

    fn offset() -> OffsetValue {
        OffsetValue {
            offset: 1_234_567_890_123,
            leader_epoch: 42,
            metadata: "metadata ü".into(),
            commit_ms: 1_767_225_600_000,
            expire_ms: None,
        }
    }

    fn offset_record(value: OffsetValue) -> Record {
        Record::Offset {
            group: "orders-consumer".into(),
            topic: "orders".into(),
            partition: 7,
            value: Some(value),
        }
    }

    const SUBSCRIPTION: &[u8] = b"\0\x01\0\0\0\x01\0\x06orders\xff\xff\xff\xff";
    const ASSIGNMENT: &[u8] = b"\0\x01\0\0\0\x01\0\x06orders\0\0\0\x01\0\0\0\x07\xff\xff\xff\xff";

    fn member(id: &str, instance: Option<&str>, client: (&str, &str), timeouts: (i32, i32)) -> MemberValue {
        MemberValue {
            id: id.into(),
            instance: instance.map(InstanceId::from),
            client_id: client.0.into(),
            client_host: client.1.into(),
            rebalance_timeout_ms: timeouts.0,
            session_timeout_ms: timeouts.1,
            subscription: Bytes::from_static(SUBSCRIPTION),
            assignment: Bytes::from_static(ASSIGNMENT),
        }
    }

    fn group() -> GroupValue {
        let leader = "c1-11111111-2222-3333-4444-555555555555";
        let first = member(leader, Some("instance-1"), ("c1", "/127.0.0.1"), (300_000, 45_000));
        let other = "c2-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
        let second = member(other, None, ("c2", "/10.0.0.2"), (60_000, 10_000));
        GroupValue {
            protocol_type: "consumer".into(),
            generation: 5,
            protocol: Some("range".into()),
            leader: Some(leader.into()),
            since_ms: Some(1_767_225_600_000),
            members: vec![first, MemberValue { assignment: Bytes::new(), ..second }],
        }
    }

    fn group_record(value: GroupValue) -> Record {
        Record::Group { group: "orders-consumer".into(), value: Some(value) }
    }

    #[test]
    fn every_version_of_an_offset_is_read() {
        let without_epoch = OffsetValue { leader_epoch: -1, ..offset() };
        let expiring = OffsetValue { expire_ms: Some(1_767_830_400_000), ..without_epoch.clone() };
        assert_eq!(read(golden!("offset-v0")), offset_record(without_epoch.clone()));
        assert_eq!(read(golden!("offset-v1")), offset_record(expiring));
        assert_eq!(read(golden!("offset-v2")), offset_record(without_epoch));
        assert_eq!(read(golden!("offset-v3")), offset_record(offset()));
        assert_eq!(read(golden!("offset-v4")), offset_record(offset()));
    }

    #[test]
    fn every_version_of_a_group_is_read() {
        let mut old = group();
        old.since_ms = None;
        old.members[0].instance = None;
        let mut oldest = old.clone();
        // One timeout served for both.
        oldest.members.iter_mut().for_each(|member| member.rebalance_timeout_ms = member.session_timeout_ms);
        assert_eq!(read(golden!("group-v0")), group_record(oldest));
        assert_eq!(read(golden!("group-v1")), group_record(old.clone()));
        old.since_ms = Some(1_767_225_600_000);
        assert_eq!(read(golden!("group-v2")), group_record(old));
        assert_eq!(read(golden!("group-v3")), group_record(group()));
        assert_eq!(read(golden!("group-v4")), group_record(group()));
    }

    #[test]
    fn what_is_written_are_the_golden_bytes() {
        let expiring = OffsetValue { expire_ms: Some(1_767_830_400_000), leader_epoch: -1, ..offset() };
        let empty = GroupValue {
            protocol_type: String::new(),
            generation: 0,
            protocol: None,
            leader: None,
            since_ms: Some(1_767_225_600_000),
            members: Vec::new(),
        };
        let written = [
            (offset_record(offset()), golden!("offset-v3")),
            (offset_record(expiring), golden!("offset-v1")),
            (group_record(group()), golden!("group-v3")),
            (group_record(empty), golden!("group-empty-v3")),
        ];
        for (record, (key, value)) in written {
            assert_eq!(record.encode(), Ok((key.to_vec(), Some(value.to_vec()))), "{record:?}");
        }
    }

    #[test]
    fn a_newer_value_is_named_and_a_foreign_key_passed_over() {
        let (key, value) = golden!("group-v4");
        let mut newer = value.to_vec();
        newer[1] = 5;
        assert_eq!(
            Record::decode(&key, Some(&Bytes::from(newer))),
            Err(RecordError::Version { what: GROUP_VALUE, version: 5 })
        );
        for kind in 3..25_i16 {
            let key = Bytes::copy_from_slice(&kind.to_be_bytes());
            assert_eq!(Record::decode(&key, Some(&value)), Ok(None));
        }
    }

    #[test]
    fn a_text_that_does_not_fit_its_length_is_refused() {
        let record = Record::Group { group: "x".repeat(32_768).into(), value: None };
        assert_eq!(record.encode(), Err(TooLong(32_768)));
        let longest = Record::Group { group: "x".repeat(32_767).into(), value: None };
        assert_eq!(decoded(&longest), longest);
    }

    fn decoded(record: &Record) -> Record {
        let (key, value) = record.encode().expect("fits");
        let value = value.map(Bytes::from);
        Record::decode(&Bytes::from(key), value.as_ref()).expect("reads").expect("ours")
    }

    fn any_bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    fn any_member() -> impl Strategy<Value = MemberValue> {
        let names = (".{0,9}", proptest::option::of(".{0,9}"), ".{0,9}", ".{0,9}");
        // A rebalance timeout of -1 stands for "as the session's", so it cannot come back.
        (names, 0..i32::MAX, any::<i32>(), any_bytes(), any_bytes()).prop_map(
            |((id, instance, client_id, client_host), rebalance, session, subscription, assignment)| {
                MemberValue {
                    id: id.into(),
                    instance: instance.map(InstanceId::from),
                    client_id,
                    client_host,
                    rebalance_timeout_ms: rebalance,
                    session_timeout_ms: session,
                    subscription,
                    assignment,
                }
            },
        )
    }

    fn any_group() -> impl Strategy<Value = GroupValue> {
        let names = (".{0,9}", proptest::option::of(".{0,9}"), proptest::option::of(".{0,9}"));
        let members = proptest::collection::vec(any_member(), 0..4);
        (names, any::<i32>(), proptest::option::of(0..i64::MAX), members).prop_map(
            |((protocol_type, protocol, leader), generation, since_ms, members)| GroupValue {
                protocol_type,
                generation,
                protocol,
                leader: leader.map(MemberId::from),
                since_ms,
                members,
            },
        )
    }

    fn any_offset() -> impl Strategy<Value = OffsetValue> {
        let numbers = (any::<i64>(), any::<i32>(), any::<i64>(), proptest::option::of(0..i64::MAX));
        (numbers, ".{0,20}").prop_map(|((offset, epoch, commit_ms, expire_ms), metadata)| OffsetValue {
            offset,
            leader_epoch: if expire_ms.is_some() { -1 } else { epoch },
            metadata,
            commit_ms,
            expire_ms,
        })
    }

    proptest! {
        #[test]
        fn offsets_come_back(group in ".{0,20}", topic in ".{0,20}", partition: i32, value in proptest::option::of(any_offset())) {
            let record = Record::Offset { group: group.into(), topic, partition, value };
            prop_assert_eq!(decoded(&record), record);
        }

        #[test]
        fn groups_come_back(group in ".{0,20}", value in proptest::option::of(any_group())) {
            let record = Record::Group { group: group.into(), value };
            prop_assert_eq!(decoded(&record), record);
        }

        #[test]
        fn any_bytes_are_a_record_or_refused(kind in -1..4_i16, key: Vec<u8>, version in -1..6_i16, value: Vec<u8>) {
            let key: Bytes = kind.to_be_bytes().into_iter().chain(key).collect();
            let value: Bytes = version.to_be_bytes().into_iter().chain(value).collect();
            let _ = Record::decode(&key, Some(&value));
        }

        #[test]
        fn a_cut_or_flipped_record_is_read_or_refused(value in any_group(), cut: prop::sample::Index, bit: prop::sample::Index) {
            let (key, whole) = Record::Group { group: "g".into(), value: Some(value) }.encode().expect("fits");
            let (key, mut bytes) = (Bytes::from(key), whole.expect("a value"));
            let short = Bytes::copy_from_slice(&bytes[..cut.index(bytes.len())]);
            prop_assert!(Record::decode(&key, Some(&short)).is_err());
            let at = bit.index(bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
            let _ = Record::decode(&key, Some(&Bytes::from(bytes)));
        }
    }
}
