//! Two words that settings and batches share: the codec of a batch's records, and whose clock stamps them.
//! Not the compression itself (`batch::compress`). Invariant: numbers and names are Kafka's.

/// The attribute bits that hold the codec.
pub const CODEC_MASK: i16 = 0b111;

/// How the records are compressed (attribute bits 0-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952, possibly several members.
    Gzip,
    /// Raw, or in the framing of the Java client.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard frames (KIP-110).
    Zstd,
}

impl Codec {
    /// The codec with this number; `None` for 5-7, which mean nothing.
    pub const fn from_bits(bits: i16) -> Option<Codec> {
        match bits & CODEC_MASK {
            0 => Some(Codec::None),
            1 => Some(Codec::Gzip),
            2 => Some(Codec::Snappy),
            3 => Some(Codec::Lz4),
            4 => Some(Codec::Zstd),
            _ => None,
        }
    }

    /// The number in attribute bits 0-2.
    pub const fn bits(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

/// How hard the broker compresses where it does (Kafka's `compression.*.level`). Snappy and lz4 have one level here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressionLevels {
    /// 1 to 9; −1 is the codec's own.
    pub gzip: i32,
    /// −131072 to 22.
    pub zstd: i32,
}

impl Default for CompressionLevels {
    /// Kafka's defaults.
    fn default() -> Self {
        Self { gzip: -1, zstd: 3 }
    }
}

/// Whose clock the timestamps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    CreateTime,
    /// The broker's at append: every record's timestamp is the batch's max timestamp.
    LogAppendTime,
}
