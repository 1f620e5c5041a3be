//! Who a member is: `node.id` and a salt drawn once per metadata directory, so that a wiped disk is never taken for
//! the member it was. Not where it is reached. Invariant: an identity is on disk before it is told to anyone.
//!
//! ```text
//!  member id   | salt, 31 bits | node.id, 32 bits |        the salt is 0 where a log is older than this file, and the
//!                                                          directory id's first bits where formatting named the voters
//!  "member"    | "FRNM" | version u16 = 1 | member id u64 | crc32c u32 of all before |
//!  address     host:port/directory id      text of a member's node in the membership; either part may be missing
//! ```

use std::path::Path;
use std::sync::Arc;

use firnline_tiering::entropy::Entropy;
use firnline_tiering::hot::file::Files;
use openraft::BasicNode;
use uuid::Uuid;

use crate::error::StartError;
use crate::id::{BrokerId, TopicId};
use crate::quorum::log_store::read_small;
use crate::quorum::raft_codec;
use crate::quorum::type_config::VoterId;
use crate::transport::Address;

const MEMBER_FILE: &str = "member";

/// The node a member runs in.
pub fn node_of(id: VoterId) -> BrokerId {
    // The lower half is a node id, which is never negative.
    BrokerId((id & 0x7fff_ffff) as i32)
}

/// The identity of a node whose directory id was known before its directory was.
pub fn salted(node: BrokerId, directory: Uuid) -> VoterId {
    let salt = (directory.as_u128() >> 96) as u64 & 0x7fff_ffff;
    salt.max(1) << 32 | u64::from(node.0.unsigned_abs())
}

/// Reads this directory's identity, or draws it. `used`: there is a log or a vote in it already.
pub fn settle(
    files: &Arc<dyn Files>,
    dir: &Path,
    node: BrokerId,
    used: bool,
    entropy: &dyn Entropy,
) -> Result<VoterId, StartError> {
    let plain = u64::try_from(node.0)
        .map_err(|_| StartError::Quorum(format!("{node} cannot be a member's node id")))?;
    let path = dir.join(MEMBER_FILE);
    if let Some(id) = read_small(files.as_ref(), &path, raft_codec::decode_member)? {
        return match node_of(id) == node {
            true => Ok(id),
            false => Err(StartError::OtherNode { found: id & 0x7fff_ffff, wanted: plain }),
        };
    }
    if used {
        return Ok(plain);
    }
    let mut salt = [0; 4];
    entropy.fill(&mut salt);
    let salt = u64::from((u32::from_be_bytes(salt) & 0x7fff_ffff).max(1));
    let id = salt << 32 | plain;
    let written = files.write_atomic(&path, &raft_codec::encode_member(id));
    written.map_err(|source| StartError::Io { what: format!("cannot write {}", path.display()), source })?;
    Ok(id)
}

/// What the membership says of a member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whereabouts {
    /// Where it takes calls.
    pub address: Option<Address>,
    /// Kafka's directory id of its metadata directory; nil if it has none.
    pub directory: Uuid,
}

impl Whereabouts {
    /// As a node of the membership.
    pub fn to_node(&self) -> BasicNode {
        let mut addr = self.address.as_ref().map(Address::to_string).unwrap_or_default();
        if !self.directory.is_nil() {
            addr = format!("{addr}/{}", TopicId(self.directory));
        }
        BasicNode { addr }
    }

    /// Reads [`Whereabouts::to_node`] back; what cannot be read is missing.
    pub fn of(node: &BasicNode) -> Whereabouts {
        let (address, directory) = node.addr.split_once('/').unwrap_or((&node.addr, ""));
        let directory = directory.parse::<TopicId>().map_or(Uuid::nil(), |id| id.0);
        Whereabouts { address: address.parse().ok(), directory }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use firnline_tiering::entropy::OsEntropy;

    #[test]
    fn an_identity_stays_with_its_directory_and_an_old_log_keeps_the_plain_one() {
        let dir = Path::new("/quorum");
        let settle = |disk: &Disk, node, used| {
            super::settle(&(Arc::new(disk.clone()) as Arc<dyn Files>), dir, BrokerId(node), used, &OsEntropy)
        };
        let disk = Disk::default();
        let drawn = settle(&disk, 3, false).expect("an empty directory");
        assert!(node_of(drawn) == BrokerId(3) && drawn >> 32 > 0, "{drawn:#x}");
        assert_eq!(settle(&disk, 3, true).expect("its own"), drawn);
        assert!(matches!(settle(&disk, 4, true), Err(StartError::OtherNode { found: 3, wanted: 4 })));
        assert_ne!(settle(&Disk::default(), 3, false).expect("a wiped directory"), drawn);
        assert_eq!(settle(&Disk::default(), 3, true).expect("an old log"), 3);
        assert!(settle(&Disk::default(), -1, false).is_err());
    }

    #[test]
    fn whereabouts_read_as_they_are_written() {
        let address = Some(Address { host: "::1".into(), port: 9093 });
        for (address, directory) in [(None, 0), (address.clone(), 0), (None, 7), (address, u128::MAX)] {
            let known = Whereabouts { address, directory: Uuid::from_u128(directory) };
            assert_eq!(Whereabouts::of(&known.to_node()), known);
        }
    }
}
