//! Names in a data directory, spelled only here: segment files, checkpoints, and the directories of logs.
//! It touches no file. Invariant: every name written here is read back to the same meaning; Kafka's, but for
//! `.producers` and `tip-note`, which Kafka ignores.
//!
//! ```text
//! <log.dir>/meta.properties  .lock  .kafka_cleanshutdown  *-offset-checkpoint
//! <log.dir>/<name>-<number>/                         one log
//! <log.dir>/<name>-<number>.<uuid, 32 hex>-delete/   a log on its way out
//! <log.dir>/<name>-<number>.<uuid, 32 hex>-future/   a copy of a log of another log.dir, on its way here
//! <log>/<20-digit base>.log .index .timeindex .txnindex .snapshot .producers [.deleted]
//! <log>/<20-digit base>.log .index .timeindex .txnindex [.cleaned | .swap]
//! <log>/leader-epoch-checkpoint  partition.metadata  tip-note  [.moved, empty: this copy counts if there are two]
//! ```

use crate::offsets::Offset;
use std::fmt;
use uuid::Uuid;

/// Epochs and where they began.
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// The log's topic id.
pub const PARTITION_METADATA: &str = "partition.metadata";
/// How far the active segment was known to be whole, in this boot of the machine; ours, Kafka ignores it.
pub const TIP_NOTE: &str = "tip-note";
/// The directory's identity.
pub const META_PROPERTIES: &str = "meta.properties";
/// There only while nobody runs, after a clean stop.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// Added to the name of a file that is on its way out.
pub const DELETED: &str = ".deleted";
/// Added to the name of a file that the cleaner is writing.
pub const CLEANED: &str = ".cleaned";
/// Added to the name of a file that the cleaner has written and that takes its place now.
pub const SWAP: &str = ".swap";
/// There in a log that came from another log directory, until the one it came from is gone.
pub const MOVED: &str = ".moved";
const DELETE_DIR: &str = "-delete";
const FUTURE_DIR: &str = "-future";
/// Longest directory name a file system takes.
const NAME_MAX: usize = 255;

/// What a segment's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Record batches.
    Log,
    /// Offset → position.
    OffsetIndex,
    /// Timestamp → offset.
    TimeIndex,
    /// Aborted transactions.
    TxnIndex,
    /// Last batch of each producer, Kafka's format.
    Snapshot,
    /// Last five batches of each producer, ours.
    Producers,
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::Log, Kind::OffsetIndex, Kind::TimeIndex, Kind::TxnIndex, Kind::Snapshot, Kind::Producers];

    /// The name's end, dot included.
    pub const fn suffix(self) -> &'static str {
        match self {
            Kind::Log => ".log",
            Kind::OffsetIndex => ".index",
            Kind::TimeIndex => ".timeindex",
            Kind::TxnIndex => ".txnindex",
            Kind::Snapshot => ".snapshot",
            Kind::Producers => ".producers",
        }
    }
}

/// Name of the file of `kind` for the segment (or snapshot) at `base`.
pub fn file_name(base: Offset, kind: Kind) -> String {
    debug_assert!(base.0 >= 0, "offset {base} cannot be a name");
    format!("{:020}{}", base.0, kind.suffix())
}

/// The files that are a segment, the log last: whoever finds that finds the others.
pub const SEGMENT_FILES: [Kind; 4] = [Kind::OffsetIndex, Kind::TimeIndex, Kind::TxnIndex, Kind::Log];

/// Reads [`file_name`] back; `None` for any other name.
pub fn parse_file_name(name: &str) -> Option<(Offset, Kind)> {
    let (digits, suffix) = name.split_at_checked(20)?;
    let base = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    let kind = Kind::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
    Some((Offset(base), kind))
}

/// A log's directory name, `<name>-<number>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    /// The part before the last dash; not empty, no `/`.
    pub name: String,
    /// The number after it, ≥ 0.
    pub number: i32,
}

impl LogName {
    /// Reads [`LogName`]'s text back; `None` for any other name.
    pub fn parse(text: &str) -> Option<LogName> {
        let (name, number) = text.rsplit_once('-')?;
        let plain = !name.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let number = plain.then(|| number.parse().ok())??;
        let parsed = LogName { name: name.to_owned(), number };
        // "a-007" is not how 7 is written: two names must never mean one log.
        (parsed.to_string() == text).then_some(parsed)
    }

    /// The name of this log's directory while it waits for removal; the front is cut if it would be too long.
    pub fn deleted(&self, unique: Uuid) -> String {
        self.with_suffix(&format!(".{}{DELETE_DIR}", unique.simple()))
    }

    /// The name of a copy of this log on its way here, as Kafka spells it; `None` if no file system takes it.
    pub fn future(&self, unique: Uuid) -> Option<String> {
        let name = format!("{self}.{}{FUTURE_DIR}", unique.simple());
        (name.len() <= NAME_MAX).then_some(name)
    }

    /// Reads [`LogName::future`]'s text back; `None` for any other name.
    pub fn parse_future(text: &str) -> Option<LogName> {
        let (front, unique) = text.strip_suffix(FUTURE_DIR)?.rsplit_once('.')?;
        let is_unique = unique.len() == 32 && unique.bytes().all(|b| b.is_ascii_hexdigit());
        if is_unique { LogName::parse(front) } else { None }
    }

    fn with_suffix(&self, suffix: &str) -> String {
        let mut front = self.to_string();
        let mut keep = front.len().min(NAME_MAX - suffix.len());
        while !front.is_char_boundary(keep) {
            keep -= 1;
        }
        front.truncate(keep);
        front + suffix
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.name, self.number)
    }
}

/// Whether a directory waits for removal.
pub fn is_deleted_dir(name: &str) -> bool {
    let unique = name.strip_suffix(DELETE_DIR).and_then(|front| front.rsplit_once('.'));
    unique.is_some_and(|(_, unique)| unique.len() == 32 && unique.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_kafkas() {
        assert_eq!(file_name(Offset(368769), Kind::Log), "00000000000000368769.log");
        assert_eq!(file_name(Offset(i64::MAX), Kind::TimeIndex), "09223372036854775807.timeindex");
        assert_eq!(parse_file_name("00000000000000368769.txnindex"), Some((Offset(368769), Kind::TxnIndex)));
        for other in [
            "",
            "x.log",
            "0000000000000000000é.log",
            "00000000000000368769.log.deleted",
            "99999999999999999999.log",
        ] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }

    #[test]
    fn log_names_have_one_spelling() {
        assert_eq!(LogName::parse("a-b-3"), Some(LogName { name: "a-b".into(), number: 3 }));
        for other in ["", "-", "-0", "a", "a-", "a-x", "a-01", "a-99999999999", "__cluster_metadata"] {
            assert_eq!(LogName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_copy_on_its_way_is_named_as_kafkas_and_is_no_log() {
        let log = LogName { name: "a.b-c".into(), number: 7 };
        let name = log.future(Uuid::from_u128(7)).expect("short enough");
        assert_eq!(name, "a.b-c-7.00000000000000000000000000000007-future");
        assert_eq!(LogName::parse_future(&name), Some(log));
        assert!(LogName::parse(&name).is_none() && !is_deleted_dir(&name));
        assert_eq!(LogName { name: "x".repeat(249), number: 1 }.future(Uuid::nil()), None);
        for other in ["a-0", "a-0-future", "a-0.7-future", "a.00000000000000000000000000000007-future"] {
            assert_eq!(LogName::parse_future(other), None, "{other}");
        }
    }

    #[test]
    fn a_deleted_directory_is_no_log_and_fits_a_file_system() {
        let unique = Uuid::from_u128(7);
        let long = LogName { name: "é".repeat(124), number: 12 };
        let name = long.deleted(unique);
        assert!(name.len() <= NAME_MAX, "{}", name.len());
        assert!(is_deleted_dir(&name) && LogName::parse(&name).is_none());
        let short = LogName { name: "a".into(), number: 0 }.deleted(unique);
        assert_eq!(short, "a-0.00000000000000000000000000000007-delete");
        assert!(!is_deleted_dir("a-delete") && !is_deleted_dir("a.b-delete"));
    }

    proptest! {
        #[test]
        fn names_read_back(base in 0..i64::MAX, name in "[a-zA-Z0-9._-]{1,40}", number in 0..i32::MAX) {
            for kind in Kind::ALL {
                prop_assert_eq!(parse_file_name(&file_name(Offset(base), kind)), Some((Offset(base), kind)));
            }
            let log = LogName { name, number };
            prop_assert_eq!(LogName::parse(&log.to_string()), Some(log));
        }
    }
}
