//! The small text files of a log directory: offset checkpoints, identity, clean-shutdown marker. Text in, text out.
//! It touches no file. Invariant: what is written is read back equal, and anything else is an error, never a guess.
//!
//! ```text
//! *-offset-checkpoint    "0\n" "<count>\n" then "<name> <number> <offset>\n" for each log, sorted
//! meta.properties        "version=1\n" "cluster.id=..\n" "node.id=..\n" "directory.id=<22 characters base64url>\n"
//! .kafka_cleanshutdown   {"version":0,"brokerEpoch":<number>}
//! ```

use crate::hot::dir::LogName;
use crate::offsets::Offset;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Offsets by log, as one checkpoint file holds them.
pub type Offsets = BTreeMap<LogName, Offset>;

/// Largest file of this room that is read: a checkpoint of a million logs.
pub const TEXT_MAX: u64 = 300 << 20;

/// Why a text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Another version, or none.
    #[error("version is {found:?}, known is {known}")]
    Version {
        /// What stands there.
        found: String,
        /// What is understood.
        known: &'static str,
    },
    /// A line that means nothing.
    #[error("line {line} is malformed: {text:?}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// More or fewer entries than announced.
    #[error("{announced} entries are announced, {found} follow")]
    Count {
        /// From the second line.
        announced: usize,
        /// Distinct entries that follow.
        found: usize,
    },
    /// A key that must be there.
    #[error("{0} is missing or malformed")]
    Key(&'static str),
}

/// An offset checkpoint's text.
pub fn write_offsets(offsets: &Offsets) -> String {
    use std::fmt::Write;
    let mut text = format!("0\n{}\n", offsets.len());
    for (log, offset) in offsets {
        // cannot fail: writing to a String never does.
        let _ = writeln!(text, "{} {} {offset}", log.name, log.number);
    }
    text
}

/// Reads [`write_offsets`] back.
pub fn read_offsets(text: &str) -> Result<Offsets, TextError> {
    let mut lines = text.lines();
    let version = lines.next().unwrap_or_default().trim();
    if version != "0" {
        return Err(TextError::Version { found: version.to_owned(), known: "0" });
    }
    let count = lines.next().unwrap_or_default().trim();
    let announced = count.parse().map_err(|_| TextError::Line { line: 2, text: count.to_owned() })?;
    let mut offsets = Offsets::new();
    for (at, line) in lines.enumerate() {
        let (log, offset) =
            read_offset(line).ok_or_else(|| TextError::Line { line: at + 3, text: line.to_owned() })?;
        offsets.insert(log, offset);
    }
    if offsets.len() != announced {
        return Err(TextError::Count { announced, found: offsets.len() });
    }
    Ok(offsets)
}

fn read_offset(line: &str) -> Option<(LogName, Offset)> {
    let mut words = line.split_ascii_whitespace();
    let (name, number, offset) = (words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?);
    let offset: i64 = offset.parse().ok()?;
    let whole = words.next().is_none() && number >= 0 && offset >= 0;
    whole.then_some((LogName { name, number }, Offset(offset)))
}

/// What `meta.properties` says (version 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryIdentity {
    /// The cluster's id.
    pub cluster_id: String,
    /// The node's id.
    pub node_id: i32,
    /// Names the directory for ever (KIP-858).
    pub directory_id: Uuid,
}

/// The text of `meta.properties`.
pub fn write_identity(identity: &DirectoryIdentity) -> String {
    let DirectoryIdentity { cluster_id, node_id, directory_id } = identity;
    let directory = base64url(*directory_id);
    format!("version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={directory}\n")
}

/// Reads `meta.properties`, ours or Kafka's: comments and unknown keys are skipped, as Java's properties do.
pub fn read_identity(text: &str) -> Result<DirectoryIdentity, TextError> {
    let mut keys = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!']) && !line.is_empty()) {
        if let Some((key, value)) = line.split_once('=') {
            keys.insert(key.trim(), value.trim());
        }
    }
    let version = keys.get("version").copied().unwrap_or_default();
    if version != "1" {
        return Err(TextError::Version { found: version.to_owned(), known: "1" });
    }
    let cluster_id =
        keys.get("cluster.id").filter(|id| !id.is_empty()).ok_or(TextError::Key("cluster.id"))?;
    let node_id = keys.get("node.id").and_then(|id| id.parse().ok()).ok_or(TextError::Key("node.id"))?;
    let directory_id =
        keys.get("directory.id").and_then(|id| uuid_of(id)).ok_or(TextError::Key("directory.id"))?;
    Ok(DirectoryIdentity { cluster_id: (*cluster_id).to_owned(), node_id, directory_id })
}

/// The text of the clean-shutdown marker; −1 if the broker epoch is unknown.
pub fn write_clean_shutdown(broker_epoch: i64) -> String {
    format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}")
}

/// The broker epoch in a clean-shutdown marker; `None` if it has none (an empty marker is a marker too).
pub fn read_clean_shutdown(text: &str) -> Option<i64> {
    let (_, after) = text.split_once("\"brokerEpoch\"")?;
    let number = after.trim_start().strip_prefix(':')?.trim_start();
    let end = number.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok().filter(|epoch| *epoch >= 0)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Kafka's text of a uuid: base64url without padding, 22 characters.
fn base64url(id: Uuid) -> String {
    let bits = id.as_u128();
    // 128 bits are 21 groups of six and two left over, which stand at the top of the 22nd.
    let group = |at: u32| if at < 21 { bits >> (122 - 6 * at) } else { bits << 4 };
    (0..22).map(|at| char::from(ALPHABET[(group(at) & 63) as usize])).collect()
}

fn uuid_of(text: &str) -> Option<Uuid> {
    if text.len() != 22 {
        return None;
    }
    let mut bits = 0_u128;
    for (at, byte) in text.bytes().enumerate() {
        let six = ALPHABET.iter().position(|letter| *letter == byte)? as u128;
        bits = if at < 21 { bits << 6 | six } else { bits << 2 | six >> 4 };
    }
    let id = Uuid::from_u128(bits);
    (base64url(id) == text).then_some(id)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test reads its fixtures itself")]
mod tests {
    use super::*;
    use crate::hot::file::{Files, OsFiles};
    use proptest::prelude::*;

    fn golden(path: &str) -> String {
        let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let bytes = OsFiles.read_all(&fixtures.join(path), TEXT_MAX).expect(path);
        String::from_utf8(bytes).expect(path)
    }

    #[test]
    fn golden_offsets() {
        let mut offsets = Offsets::new();
        offsets.insert(LogName { name: "orders".into(), number: 0 }, Offset(17));
        offsets.insert(LogName { name: "orders".into(), number: 10 }, Offset(i64::MAX));
        assert_eq!(write_offsets(&offsets), golden("offset-checkpoint/v1/two"));
        assert_eq!(read_offsets(&golden("offset-checkpoint/v1/two")), Ok(offsets));
    }

    #[test]
    fn golden_identity() {
        let identity = DirectoryIdentity {
            cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".into(),
            node_id: 7,
            directory_id: Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef),
        };
        assert_eq!(write_identity(&identity), golden("meta-properties/v1/ours"));
        assert_eq!(read_identity(&golden("meta-properties/v1/ours")), Ok(identity.clone()));
        assert_eq!(read_identity(&golden("meta-properties/v1/kafka")), Ok(identity));
    }

    #[test]
    fn golden_clean_shutdown() {
        assert_eq!(write_clean_shutdown(42), golden("clean-shutdown/v1/epoch-42"));
        assert_eq!(read_clean_shutdown(&golden("clean-shutdown/v1/epoch-42")), Some(42));
        for none in ["", "{}", "{\"version\":0,\"brokerEpoch\":-1}", "\"brokerEpoch\"", "\"brokerEpoch\":--"]
        {
            assert_eq!(read_clean_shutdown(none), None, "{none}");
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in [
            "",
            "1\n0\n",
            "0\n",
            "0\nx\n",
            "0\n1\n",
            "0\n0\na 0 1\n",
            "0\n1\na 0\n",
            "0\n1\na 0 -1\n",
            "0\n1\na 0 1 2\n",
        ] {
            assert!(read_offsets(text).is_err(), "{text:?}");
        }
        let good = golden("meta-properties/v1/ours");
        for key in ["version", "cluster.id", "node.id", "directory.id"] {
            let text = good.lines().filter(|line| !line.starts_with(key)).collect::<Vec<_>>().join("\n");
            assert!(read_identity(&text).is_err(), "without {key}");
        }
    }

    proptest! {
        #[test]
        fn uuids_read_back(bits in any::<u128>()) {
            let id = Uuid::from_u128(bits);
            prop_assert_eq!(uuid_of(&base64url(id)), Some(id));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,200}") {
            let _ = (read_offsets(&text), read_identity(&text), read_clean_shutdown(&text));
        }
    }
}
