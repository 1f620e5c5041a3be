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
