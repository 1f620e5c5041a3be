//! What a log is told: its opaque id and its settings, already parsed and in range.
//! Not the names, defaults and ranges users see: those are the broker's table of keys.

use crate::codec::{Codec, CompressionLevels, TimestampType};
use std::fmt;
use std::sync::Arc;

/// Names one log, opaque to this crate. The broker writes `<topic id, 22 characters base64url>/<partition>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(Arc<str>);

impl LogId {
    /// Any non-empty text; it becomes part of object names, so callers keep it to URL-safe characters and `/`.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        let id = id.into();
        assert!(!id.is_empty(), "a log id is never empty");
        Self(id)
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Kafka's `compression.type` of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TopicCompression {
    /// Keep what the producer sent (Kafka's `producer`, the default).
    #[default]
    Producer,
    /// Store with this codec (`uncompressed` is [`Codec::None`]).
    Always(Codec),
}

/// A log's settings. Times in milliseconds, sizes in bytes; names and meaning are Kafka's topic configs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment rolls before it would grow past this.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment rolls once its first record is this old.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: at most so much earlier, each segment at a time of its own.
    pub segment_jitter_ms: i64,
    /// `preallocate`: room for a whole segment is taken when it begins.
    pub preallocate: bool,
    /// `index.interval.bytes`: log bytes between two entries of the sparse indexes.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`: an index file's largest size.
    pub segment_index_bytes: u32,
    /// `retention.ms`; −1 keeps for ever.
    pub retention_ms: i64,
    /// `retention.bytes`; −1 keeps everything.
    pub retention_bytes: i64,
    /// `local.retention.ms`; −2 means `retention.ms`.
    pub local_retention_ms: i64,
    /// `local.retention.bytes`; −2 means `retention.bytes`.
    pub local_retention_bytes: i64,
    /// `remote.storage.enable`.
    pub remote_enabled: bool,
    /// `remote.log.copy.disable`: what is remote stays readable, nothing new is offloaded.
    pub remote_copy_disable: bool,
    /// `cleanup.policy` names `compact`.
    pub compact: bool,
    /// `cleanup.policy` names `delete`.
    pub delete: bool,
    /// `max.message.bytes`: the largest batch, header included, as received.
    pub max_message_bytes: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far in the past a CreateTime may lie.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far in the future a CreateTime may lie.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`.
    pub compression: TopicCompression,
    /// `compression.gzip.level` and `compression.zstd.level`.
    pub compression_levels: CompressionLevels,
    /// `flush.messages`: so many appended records are fsynced before they are answered; `i64::MAX` leaves it to the
    /// kernel.
    pub flush_messages: i64,
    /// `flush.ms`: appended records are fsynced after so long at the latest; `i64::MAX` leaves it to the kernel.
    pub flush_ms: i64,
    /// `file.delete.delay.ms`: how long a removed segment's files stay under their `.deleted` names.
    pub file_delete_delay_ms: i64,
    /// `firn.validate.compressed`: open compressed batches when they are produced.
    pub validate_compressed: bool,
    /// `producer.id.expiration.ms`: a producer silent this long is forgotten.
    pub producer_expiration_ms: i64,
    /// `min.cleanable.dirty.ratio` in millionths: the dirty part of a log that starts a cleaning.
    pub min_cleanable_ppm: u32,
    /// `delete.retention.ms`: how long a tombstone stays once everything older of its key is gone.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: segments with a younger record are not cleaned.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: a segment this old is cleaned whatever the ratio.
    pub max_compaction_lag_ms: i64,
    /// `producer.id.expiration.check.interval.ms`: how often silent producers are looked for.
    pub producer_check_ms: i64,
    /// Bytes appended to the active segment between two notes of how far it is whole: so many are read again after a
    /// process died.
    pub tip_note_bytes: u64,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            preallocate: false,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 << 20,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            local_retention_ms: -2,
            local_retention_bytes: -2,
            remote_enabled: false,
            remote_copy_disable: false,
            compact: false,
            delete: true,
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression: TopicCompression::Producer,
            compression_levels: CompressionLevels::default(),
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            file_delete_delay_ms: 60_000,
            validate_compressed: false,
            producer_expiration_ms: 24 * 3_600_000,
            min_cleanable_ppm: 500_000,
            delete_retention_ms: 24 * 3_600_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            producer_check_ms: 600_000,
            tip_note_bytes: 256 << 10,
        }
    }
}

impl LogConfig {
    /// The age at which a segment rolls. The cleaner never touches the active one, so a compacted log rolls in time
    /// for `max.compaction.lag.ms` (KIP-354).
    pub fn roll_ms(&self) -> i64 {
        if self.compact { self.segment_ms.min(self.max_compaction_lag_ms) } else { self.segment_ms }
    }

    /// Local retention by time once −2 ("as the whole log") is resolved; −1 keeps for ever.
    pub fn effective_local_retention_ms(&self) -> i64 {
        if self.local_retention_ms == -2 { self.retention_ms } else { self.local_retention_ms }
    }

    /// Local retention by size once −2 ("as the whole log") is resolved; −1 keeps everything.
    pub fn effective_local_retention_bytes(&self) -> i64 {
        if self.local_retention_bytes == -2 { self.retention_bytes } else { self.local_retention_bytes }
    }
}
