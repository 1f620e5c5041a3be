//! One thing that is wrong: in which file, at which byte, of what kind. Values only.
//! Invariant: a kind's name is fixed for scripts.

use std::path::PathBuf;

/// What kind of damage it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// The file ends inside a batch: what a crash leaves.
    Torn,
    /// No batch where one must begin.
    Batch,
    /// A batch whose bytes are not those that were checksummed.
    Crc,
    /// Offsets that fall, overlap, or do not fit the segment.
    Offsets,
    /// A batch with the right checksum whose records contradict it.
    Records,
    /// `.index`.
    OffsetIndex,
    /// `.timeindex`.
    TimeIndex,
    /// `.txnindex`.
    TransactionIndex,
    /// `.snapshot` or `.producers`.
    Producers,
    /// `leader-epoch-checkpoint`.
    Epochs,
    /// A text file of the log directory or the partition.
    Text,
    /// The log ends or begins where a checkpoint says it cannot.
    Lost,
    /// A remote segment's sections, footer or tail.
    Object,
}

impl Damage {
    /// Its name, for scripts.
    pub const fn name(self) -> &'static str {
        match self {
            Damage::Torn => "torn",
            Damage::Batch => "batch",
            Damage::Crc => "crc",
            Damage::Offsets => "offsets",
            Damage::Records => "records",
            Damage::OffsetIndex => "offset-index",
            Damage::TimeIndex => "time-index",
            Damage::TransactionIndex => "transaction-index",
            Damage::Producers => "producers",
            Damage::Epochs => "epochs",
            Damage::Text => "text",
            Damage::Lost => "lost",
            Damage::Object => "object",
        }
    }

    /// Whether a broker mends it by itself at its next start, without losing a record.
    pub const fn is_rebuilt(self) -> bool {
        matches!(self, Damage::OffsetIndex | Damage::TimeIndex | Damage::Producers | Damage::Epochs)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In which file.
    pub file: PathBuf,
    /// First bad byte; `None` where no byte can be named.
    pub at: Option<u64>,
    /// What kind.
    pub damage: Damage,
    /// In words.
    pub why: String,
}
