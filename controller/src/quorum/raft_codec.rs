//! openraft's values in our own bytes, so that its serde form is never on disk: log id, vote, membership, and the
//! small files that hold one of them. Invariant: a small file is read back whole and undamaged, or not at all.
//!
//! ```text
//!  log id      | term u64 | leader u64 | index u64 |      optional: u8 before it, 1 if it is there
//!  membership  | version u8 = 1 | configs u32 x (voters u32 x id u64) | nodes u32 x (id u64, address text) |
//!  file        | mark 4 | version u16 = 1 | body | crc32c u32 of all before |
//!    "FRNV" vote:    term u64, candidate u64, committed u8
//!    "FRNP" purged:  log id
//!    "FRNM" member:  member id u64 (identity.rs)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use openraft::{BasicNode, LeaderId};

use crate::quorum::type_config::{LogId, Membership, StoredMembership, Vote, VoterId};
use crate::record::bytes::{CodecError, Reader, Writer, checksum};

/// Marks the vote's file.
const VOTE_MARK: &[u8; 4] = b"FRNV";
/// Marks the file that names the last purged entry.
const PURGED_MARK: &[u8; 4] = b"FRNP";
/// Marks the file that holds this directory's identity.
const MEMBER_MARK: &[u8; 4] = b"FRNM";
/// The version of these files, and of a membership.
const VERSION: u8 = 1;

/// Appends a log id.
pub fn write_log_id(id: &LogId, out: &mut Writer) {
    out.u64(id.leader_id.term).u64(id.leader_id.node_id).u64(id.index);
}

/// Reads [`write_log_id`]'s bytes.
pub fn read_log_id(from: &mut Reader<'_>) -> Result<LogId, CodecError> {
    let leader = LeaderId::new(from.u64()?, from.u64()?);
    Ok(LogId::new(leader, from.u64()?))
}

/// Appends a flag and, if it is set, the log id.
pub fn write_optional_log_id(id: Option<&LogId>, out: &mut Writer) {
    out.flag(id.is_some());
    if let Some(id) = id {
        write_log_id(id, out);
    }
}

/// Reads [`write_optional_log_id`]'s bytes.
pub fn read_optional_log_id(from: &mut Reader<'_>) -> Result<Option<LogId>, CodecError> {
    if from.flag()? { read_log_id(from).map(Some) } else { Ok(None) }
}

/// Appends a membership.
pub fn write_membership(membership: &Membership, out: &mut Writer) {
    out.u8(VERSION).count(membership.get_joint_config().len());
    for voters in membership.get_joint_config() {
        out.count(voters.len());
        voters.iter().for_each(|id| _ = out.u64(*id));
    }
    let nodes: Vec<_> = membership.nodes().collect();
    out.count(nodes.len());
    for (id, node) in nodes {
        out.u64(*id).text(&node.addr);
    }
}

/// Reads [`write_membership`]'s bytes.
pub fn read_membership(from: &mut Reader<'_>) -> Result<Membership, CodecError> {
    let version = from.u8()?;
    if version != VERSION {
        return Err(CodecError::Unknown { what: "membership", kind: 0, version: version.into() });
    }
    let mut configs = Vec::new();
    for _ in 0..from.count(4)? {
        let voters = from.count(8)?;
        configs.push((0..voters).map(|_| from.u64()).collect::<Result<BTreeSet<_>, _>>()?);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..from.count(10)? {
        let id = from.u64()?;
        nodes.insert(id, BasicNode { addr: from.text()? });
    }
    if let Some(stranger) = configs.iter().flatten().find(|id| !nodes.contains_key(*id)) {
        return Err(CodecError::Invalid(format!("voter {stranger} is not among the members")));
    }
    Ok(Membership::new(configs, nodes))
}

/// Appends a membership and where it was set.
pub fn write_stored_membership(stored: &StoredMembership, out: &mut Writer) {
    write_optional_log_id(stored.log_id().as_ref(), out);
    write_membership(stored.membership(), out);
}

/// Reads [`write_stored_membership`]'s bytes.
pub fn read_stored_membership(from: &mut Reader<'_>) -> Result<StoredMembership, CodecError> {
    let id = read_optional_log_id(from)?;
    Ok(StoredMembership::new(id, read_membership(from)?))
}

/// The vote's file.
pub fn encode_vote(vote: &Vote) -> Vec<u8> {
    seal(VOTE_MARK, |out| {
        out.u64(vote.leader_id.term).u64(vote.leader_id.node_id).flag(vote.committed);
    })
}

/// Reads [`encode_vote`]'s bytes.
pub fn decode_vote(bytes: &[u8]) -> Result<Vote, CodecError> {
    unseal(bytes, VOTE_MARK, "vote", |from| {
        let leader_id = LeaderId::new(from.u64()?, from.u64()?);
        Ok(Vote { leader_id, committed: from.flag()? })
    })
}

/// The file that names the last purged entry.
pub fn encode_purged(id: &LogId) -> Vec<u8> {
    seal(PURGED_MARK, |out| write_log_id(id, out))
}

/// Reads [`encode_purged`]'s bytes.
pub fn decode_purged(bytes: &[u8]) -> Result<LogId, CodecError> {
    unseal(bytes, PURGED_MARK, "purged log id", read_log_id)
}

/// The file that holds a member's id.
pub fn encode_member(id: VoterId) -> Vec<u8> {
    seal(MEMBER_MARK, |out| _ = out.u64(id))
}

/// Reads [`encode_member`]'s bytes.
pub fn decode_member(bytes: &[u8]) -> Result<VoterId, CodecError> {
    unseal(bytes, MEMBER_MARK, "member id", |from| from.u64())
}

/// A small file: mark, version, body, checksum.
pub fn seal(mark: &[u8; 4], body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    out.raw(mark).u16(VERSION.into());
    body(&mut out);
    let mut bytes = out.finish();
    let crc = checksum(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// Reads [`seal`]'s bytes. Mark and version are judged before the checksum, so that a newer version is named as such and
/// not as damage.
pub fn unseal<T>(
    bytes: &[u8],
    mark: &[u8; 4],
    what: &'static str,
    body: impl FnOnce(&mut Reader<'_>) -> Result<T, CodecError>,
) -> Result<T, CodecError> {
    let mut from = Reader::new(bytes);
    if from.take(4)? != mark {
        return Err(CodecError::Invalid(format!("this is no {what}: its mark is missing")));
    }
    let version = from.u16()?;
    if version != u16::from(VERSION) {
        return Err(CodecError::Unknown { what, kind: 0, version });
    }
    let Some((sealed, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(CodecError::Truncated { wanted: 4, left: bytes.len() });
    };
    let (stored, computed) = (u32::from_be_bytes(*crc), checksum(sealed));
    if stored != computed {
        return Err(CodecError::Invalid(format!(
            "{what} is damaged: crc {computed:#010x}, stored {stored:#010x}"
        )));
    }
    let mut from = Reader::new(sealed);
    from.take(6)?;
    let value = body(&mut from)?;
    from.finish()?;
    Ok(value)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::golden::golden;
    use proptest::prelude::*;

    /// A place in the log.
    pub(crate) fn log_id(term: u64, index: u64) -> LogId {
        LogId::new(LeaderId::new(term, 1), index)
    }

    /// Two voters on their way to three, and a learner.
    pub(crate) fn membership() -> Membership {
        let nodes = (1..=4).map(|id| (id, BasicNode::new(format!("broker-{id}:9093"))));
        let nodes: BTreeMap<u64, BasicNode> = nodes.collect();
        Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([1, 2, 3])], nodes)
    }

    #[test]
    fn golden_files() {
        let vote = Vote { leader_id: LeaderId::new(7, 3), committed: true };
        assert_eq!(decode_vote(&golden("vote/v1/committed", &encode_vote(&vote))), Ok(vote));
        let id = log_id(7, 1234);
        assert_eq!(decode_purged(&golden("purged/v1/log-id", &encode_purged(&id))), Ok(id));
        let member = 5 << 32 | 3;
        assert_eq!(decode_member(&golden("member/v1/salted", &encode_member(member))), Ok(member));
        let mut out = Writer::default();
        let stored = StoredMembership::new(Some(id), membership());
        write_stored_membership(&stored, &mut out);
        let bytes = golden("membership/v1/joint-with-learner", &out.finish());
        assert_eq!(read_stored_membership(&mut Reader::new(&bytes)), Ok(stored));
    }

    #[test]
    fn newer_versions_are_named_and_damage_is_noticed() {
        let mut bytes = encode_vote(&Vote { leader_id: LeaderId::new(7, 3), committed: true });
        bytes[12] ^= 1;
        assert!(matches!(decode_vote(&bytes), Err(CodecError::Invalid(_))), "{:?}", decode_vote(&bytes));
        bytes[5] = 2;
        let newer = decode_vote(&bytes).expect_err("a newer vote");
        assert!(newer.is_unknown() && newer.to_string().contains("vote 0 version 2"), "{newer}");
        assert!(decode_purged(&encode_vote(&Vote::default())).is_err(), "a vote is no purged log id");
    }

    proptest! {
        #[test]
        fn votes_and_log_ids_round_trip(term: u64, node: u64, index: u64, committed: bool) {
            let vote = Vote { leader_id: LeaderId::new(term, node), committed };
            prop_assert_eq!(decode_vote(&encode_vote(&vote)), Ok(vote));
            let id = LogId::new(LeaderId::new(term, node), index);
            prop_assert_eq!(decode_purged(&encode_purged(&id)), Ok(id));
        }

        #[test]
        fn memberships_round_trip(
            nodes in prop::collection::btree_map(any::<u64>(), "[a-z0-9:.]{0,20}", 1..6),
            picks in prop::collection::vec(any::<u8>(), 1..3),
        ) {
            let nodes: BTreeMap<u64, BasicNode> = nodes.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
            let pick = |bits: &u8| nodes.keys().enumerate().filter(|(at, _)| bits >> (at % 8) & 1 == 1).map(|(_, id)| *id).collect();
            let membership = Membership::new(picks.iter().map(pick).collect(), nodes.clone());
            let mut out = Writer::default();
            write_membership(&membership, &mut out);
            let bytes = out.finish();
            prop_assert_eq!(read_membership(&mut Reader::new(&bytes)), Ok(membership));
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (decode_vote(&bytes), decode_purged(&bytes));
            let _ = (read_membership(&mut Reader::new(&bytes)), read_stored_membership(&mut Reader::new(&bytes)));
        }
    }
}
