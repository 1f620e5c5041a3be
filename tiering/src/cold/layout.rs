//! The names of everything we keep in a bucket; spelled here and nowhere else. Not where the bucket is, nor its
//! prefix: the store puts that in front. Invariant: a name carries a uuid drawn for it alone, so none is reused.
//!
//! ```text
//! PREFIX/firn-cluster.json                                         whose bucket this is
//! PREFIX/CLUSTER-ID/LOG-ID/<20-digit base>-<leader epoch>-<uuid>.firn       one remote segment
//! PREFIX/CLUSTER-ID/LOG-ID/manifest-<20-digit tier version>-<uuid>.firnm    the folded entries and the graveyard
//! PREFIX/CLUSTER-ID/LOG-ID/leaf-<20-digit base>-<uuid>.firnm                entries a manifest refers to
//! ```

use crate::cold::entry::Entry;
use crate::config::LogId;
use crate::epoch::LeaderEpoch;
use crate::offsets::Offset;
use std::fmt;
use uuid::Uuid;

/// The marker object's name, below the prefix.
pub const MARKER: &str = "firn-cluster.json";
/// What the probe writes, reads and removes; a uuid and this suffix, below the prefix.
pub const PROBE_SUFFIX: &str = ".firn-probe";

/// An object's name below a log's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// A remote segment.
    Segment {
        /// Its first offset.
        base: Offset,
        /// Epoch of the leader that uploaded it.
        leader_epoch: LeaderEpoch,
        /// Its own.
        uuid: Uuid,
    },
    /// A manifest root.
    Manifest {
        /// The row's version it was made on.
        on_version: u64,
        /// Its own.
        uuid: Uuid,
    },
    /// A sealed leaf of a manifest.
    Leaf {
        /// First offset it covers.
        base: Offset,
        /// Its own.
        uuid: Uuid,
    },
}

impl ObjectName {
    /// The object of an entry.
    pub fn of_entry(entry: &Entry) -> Self {
        Self::Segment { base: entry.base, leader_epoch: entry.leader_epoch, uuid: entry.uuid }
    }

    /// The uuid in the name.
    pub fn uuid(&self) -> Uuid {
        match self {
            Self::Segment { uuid, .. } | Self::Manifest { uuid, .. } | Self::Leaf { uuid, .. } => *uuid,
        }
    }

    /// Reads a name back; `None` if it is none of ours.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(stem) = name.strip_suffix(".firn") {
            let (base, rest) = stem.split_once('-')?;
            let (epoch, uuid) = rest.split_once('-')?;
            let epoch: i32 = epoch.parse().ok()?;
            return Some(Self::Segment {
                base: Offset(number(base)?),
                leader_epoch: LeaderEpoch(epoch),
                uuid: uuid_of(uuid)?,
            })
            .filter(|parsed| parsed.to_string() == name);
        }
        let stem = name.strip_suffix(".firnm")?;
        let parsed = if let Some(rest) = stem.strip_prefix("manifest-") {
            let (version, uuid) = rest.split_once('-')?;
            let on_version = u64::try_from(number(version)?).ok()?;
            Self::Manifest { on_version, uuid: uuid_of(uuid)? }
        } else {
            let (base, uuid) = stem.strip_prefix("leaf-")?.split_once('-')?;
            Self::Leaf { base: Offset(number(base)?), uuid: uuid_of(uuid)? }
        };
        Some(parsed).filter(|parsed| parsed.to_string() == name)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment { base, leader_epoch, uuid } => {
                write!(f, "{base:020}-{leader_epoch}-{uuid}.firn", base = base.0)
            }
            Self::Manifest { on_version, uuid } => write!(f, "manifest-{on_version:020}-{uuid}.firnm"),
            Self::Leaf { base, uuid } => write!(f, "leaf-{:020}-{uuid}.firnm", base.0),
        }
    }
}

fn number(digits: &str) -> Option<i64> {
    (digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn uuid_of(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok()
}

/// Names below one cluster's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    cluster_id: String,
}

impl Layout {
    /// Panics on a cluster id that could leave its folder: the broker has checked it long before.
    pub fn new(cluster_id: impl Into<String>) -> Self {
        let cluster_id = cluster_id.into();
        let plain =
            !cluster_id.is_empty() && !cluster_id.contains('/') && cluster_id != "." && cluster_id != "..";
        assert!(plain, "cluster id {cluster_id:?} cannot name a folder");
        Self { cluster_id }
    }

    /// The cluster id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Key of an object of a log, below the store's prefix.
    pub fn key(&self, log: &LogId, name: &ObjectName) -> String {
        format!("{}/{log}/{name}", self.cluster_id)
    }

    /// Where a log's objects lie, without a slash at the end.
    pub fn folder(&self, log: &LogId) -> String {
        format!("{}/{log}", self.cluster_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_documented_and_read_back() {
        let uuid = Uuid::from_u128(0x11112222_3333_4444_8555_666677778888);
        let names = [
            (
                ObjectName::Segment { base: Offset(42), leader_epoch: LeaderEpoch(7), uuid },
                "00000000000000000042-7-11112222-3333-4444-8555-666677778888.firn",
            ),
            (
                ObjectName::Manifest { on_version: 9, uuid },
                "manifest-00000000000000000009-11112222-3333-4444-8555-666677778888.firnm",
            ),
            (
                ObjectName::Leaf { base: Offset(3), uuid },
                "leaf-00000000000000000003-11112222-3333-4444-8555-666677778888.firnm",
            ),
        ];
        for (name, spelled) in names {
            assert_eq!(name.to_string(), spelled);
            assert_eq!(ObjectName::parse(spelled), Some(name));
        }
    }

    #[test]
    fn foreign_names_are_not_ours() {
        for name in
            ["", ".firn", "42-7-x.firn", "manifest-1.firnm", "00000000000000000042-7.firn", "notes.txt"]
        {
            assert_eq!(ObjectName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_key_stands_below_cluster_and_log() {
        let layout = Layout::new("c1");
        let log = LogId::new("AAAAAAAAAAAAAAAAAAAAAQ/3");
        let name = ObjectName::Leaf { base: Offset(0), uuid: Uuid::nil() };
        assert_eq!(layout.key(&log, &name), format!("c1/AAAAAAAAAAAAAAAAAAAAAQ/3/{name}"));
    }
}
