//! Written down before a PUT: which object is about to exist. A crash between PUT and commit then leaves a name to
//! look after, not an orphan that only a LIST would find. Not the judgement over it (`offload/settle.rs`).
//! Invariant: the file is fsynced before the first byte is sent, and goes only when the object is committed or gone.
//!
//! ```text
//! <data directory>/firn-intents/<uuid>.intent
//! "FRNI" | version u16 =1 | min reader u16 =1 | log id: length u16, text | object name: length u16, text
//!        | on version u64 | leader epoch i32 | since i64 ms | crc32c u32 |
//! ```

use crate::cold::format::{Decoder, Encoder, FormatError, unseal};
use crate::cold::layout::ObjectName;
use crate::cold::tier::TierVersion;
use crate::config::LogId;
use crate::epoch::LeaderEpoch;
use crate::hot::file::Files;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// The folder of the intents, in a data directory.
pub const INTENTS_DIR: &str = "firn-intents";
/// The version written, and the newest read.
pub const INTENT_VERSION: u16 = 1;
const SUFFIX: &str = ".intent";
const MARK: &[u8; 4] = b"FRNI";
const WHAT: &str = "offload intent";
const MAX_BYTES: u64 = 4096;

/// An object that is about to exist, or may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Whose.
    pub log: LogId,
    /// Its name.
    pub name: ObjectName,
    /// The row's version that its commit will name.
    pub on_version: TierVersion,
    /// The leader epoch that its commit will name.
    pub leader_epoch: LeaderEpoch,
    /// When it was written, milliseconds.
    pub since_ms: i64,
}

impl Intent {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::marked(MARK, INTENT_VERSION, INTENT_VERSION);
        out.text(self.log.as_str()).text(&self.name.to_string());
        out.u64(self.on_version.0).i32(self.leader_epoch.0).i64(self.since_ms).sealed()
    }

    /// Reads [`Intent::encode`]'s bytes back.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Decoder::new(bytes, WHAT).open(MARK, INTENT_VERSION)?;
        let mut from = Decoder::new(unseal(bytes, WHAT)?, WHAT);
        from.open(MARK, INTENT_VERSION)?;
        let (log, name) = (from.text()?, from.text()?);
        let Some(parsed) = ObjectName::parse(name).filter(|_| !log.is_empty()) else {
            return Err(from.invalid(format!("{name:?} of log {log:?} is no object of ours")));
        };
        let intent = Self {
            log: LogId::new(log),
            name: parsed,
            on_version: TierVersion(from.u64()?),
            leader_epoch: LeaderEpoch(from.i32()?),
            since_ms: from.i64()?,
        };
        from.finish()?;
        Ok(intent)
    }
}

/// The intents of one data directory.
#[derive(Debug)]
pub struct Intents {
    dir: PathBuf,
    files: Arc<dyn Files>,
}

impl Intents {
    /// Opens (and makes) the folder in `data_dir`; removes what an interrupted write left.
    pub fn open(data_dir: &Path, files: Arc<dyn Files>) -> io::Result<Self> {
        let dir = data_dir.join(INTENTS_DIR);
        files.create_dir_all(&dir)?;
        files.sync_dir(data_dir)?;
        for name in files.list(&dir)? {
            if name.ends_with(".tmp") {
                files.remove(&dir.join(name))?;
            }
        }
        Ok(Self { dir, files })
    }

    /// Writes an intent and makes it durable.
    pub fn write(&self, intent: &Intent) -> io::Result<()> {
        self.files.write_atomic(&self.path(intent.name.uuid()), &intent.encode())
    }

    /// Forgets an intent. Not fsynced: one that comes back after a crash is settled once more, to the same end.
    pub fn forget(&self, uuid: Uuid) -> io::Result<()> {
        match self.files.remove(&self.path(uuid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All open intents, in no particular but always the same order. One that cannot be read is reported and left:
    /// its object may be anything.
    pub fn open_intents(&self) -> io::Result<Vec<Intent>> {
        let mut intents = Vec::new();
        for name in self.files.list(&self.dir)? {
            if !name.ends_with(SUFFIX) {
                continue;
            }
            let bytes = match self.files.read_all(&self.dir.join(&name), MAX_BYTES) {
                // Settled by another task since the listing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            match Intent::decode(&bytes) {
                Ok(intent) => intents.push(intent),
                Err(error) => {
                    tracing::error!(file = name, %error, "offload intent cannot be read; left as it is")
                }
            }
        }
        Ok(intents)
    }

    fn path(&self, uuid: Uuid) -> PathBuf {
        self.dir.join(format!("{uuid}{SUFFIX}"))
    }
}
