//! Keys of the log for the whole broker: most of them give topics their defaults.
//! Rows only; how a topic's value falls back to these is written in `resolve`.

use crate::config::key::{Key, Kind, broker, int_from, long_any, long_from};

const MAX: Option<&str> = Some("9223372036854775807");
const NEXT: &str = "a first start needs no delay";

/// Topics that nobody configured.
#[rustfmt::skip] // one row per key
pub const TOPICS: &[Key] = &[
    broker("auto.create.topics.enable", Kind::Boolean, Some("true"), "Create a topic that a client asks for."),
    broker("delete.topic.enable", Kind::Boolean, Some("true"), "Allow topics to be deleted."),
    broker("num.partitions", int_from(1), Some("1"), "Partitions of a topic that does not say."),
    broker("default.replication.factor", Kind::Short(1, 32767), Some("1"), "Replicas of a topic that does not say."),
    broker("message.max.bytes", int_from(0), Some("1048588"), "Largest record batch, after compression.").dynamic(),
    broker("compression.type", Kind::Choice(super::topic::COMPRESSION), Some("producer"), "Codec a batch is stored with; `producer` keeps what was sent.").dynamic(),
    broker("compression.gzip.level", Kind::Int(-1, 9), Some("-1"), "Level when the broker compresses with gzip: 1 to 9, or -1 for the codec's own.").dynamic(),
    broker("compression.lz4.level", Kind::Int(1, 17), Some("9"), "Level when the broker compresses with lz4.").dynamic().accepted("the lz4 writer here has one level"),
    broker("compression.zstd.level", Kind::Int(-131072, 22), Some("3"), "Level when the broker compresses with zstd.").dynamic(),
    broker("create.topic.policy.class.name", Kind::Class, None, "A class that may refuse new topics.").refused("policies are Java classes; there is none here to ask"),
    broker("alter.config.policy.class.name", Kind::Class, None, "A class that may refuse config changes.").refused("policies are Java classes; there is none here to ask"),
];

/// Retention, segments, timestamps.
#[rustfmt::skip] // one row per key
pub const LOG: &[Key] = &[
    broker("log.retention.ms", long_from(-1), None, "Age at which records go; -1 keeps them for ever.").dynamic(),
    broker("log.retention.minutes", int_from(-1), None, "The same in minutes; read when log.retention.ms is not set.").dynamic(),
    broker("log.retention.hours", int_from(-1), Some("168"), "The same in hours; read when neither of the others is set.").dynamic(),
    broker("log.retention.bytes", long_any(), Some("-1"), "Size of a partition above which its oldest segments go; -1 means no limit.").dynamic(),
    broker("log.retention.check.interval.ms", long_from(1), Some("300000"), "How often retention looks for segments to delete."),
    broker("log.segment.bytes", int_from(1048576), Some("1073741824"), "A segment is sealed at this size.").dynamic(),
    broker("log.roll.ms", long_from(1), None, "A segment is sealed at this age.").dynamic(),
    broker("log.roll.hours", int_from(1), Some("168"), "The same in hours; read when log.roll.ms is not set.").dynamic(),
    broker("log.roll.jitter.ms", long_from(0), None, "A segment is sealed at most this much earlier, each at a time of its own.").dynamic(),
    broker("log.roll.jitter.hours", int_from(0), Some("0"), "The same in hours; read when log.roll.jitter.ms is not set.").dynamic(),
    broker("log.cleanup.policy", Kind::List(&["compact", "delete"]), Some("delete"), "What happens to old records: deleted, compacted by key, both, or neither when empty.").dynamic(),
    broker("log.index.interval.bytes", int_from(0), Some("4096"), "Bytes of log between two index entries.").dynamic(),
    broker("log.index.size.max.bytes", int_from(4), Some("10485760"), "An index of this size seals its segment.").dynamic(),
    broker("log.segment.delete.delay.ms", long_from(0), Some("60000"), "A deleted segment's files stay this long, for readers in progress.").dynamic(),
    broker("log.preallocate", Kind::Boolean, Some("false"), "Take room on the disk for a whole segment when it begins.").dynamic(),
    broker("log.message.timestamp.type", Kind::Choice(&["CreateTime", "LogAppendTime"]), Some("CreateTime"), "Whose clock stamps records: the producer's or the broker's.").dynamic(),
    broker("log.message.timestamp.before.max.ms", long_from(0), MAX, "Records older than now by more than this are refused.").dynamic(),
    broker("log.message.timestamp.after.max.ms", long_from(0), Some("3600000"), "Records newer than now by more than this are refused.").dynamic(),
    broker("log.message.downconversion.enable", Kind::Boolean, Some("true"), "Conversion for consumers of before 2017.").dynamic().accepted("batches are always served as stored"),
    broker("producer.id.expiration.ms", int_from(1), Some("86400000"), "An idempotent producer silent for this long is forgotten.").dynamic(),
    broker("producer.id.expiration.check.interval.ms", int_from(1), Some("600000"), "How often silent producers are looked for."),
    broker("log.flush.interval.messages", long_from(1), MAX, "At most so many records wait for an fsync: the produce request that reaches it is answered once they are on disk.").dynamic(),
    broker("log.flush.interval.ms", long_from(0), None, "Appended records are fsynced after so long at the latest. Answers to producers do not wait for it.").dynamic(),
    broker("log.flush.scheduler.interval.ms", long_from(0), MAX, "The same, read when log.flush.interval.ms is not set. Logs are looked at every half second."),
    broker("log.flush.offset.checkpoint.interval.ms", int_from(0), Some("60000"), "How often recovery points are written."),
    broker("log.flush.start.offset.checkpoint.interval.ms", int_from(0), Some("60000"), "How often log starts are written.").accepted("log starts are written with the recovery points"),
    broker("log.initial.task.delay.ms", long_from(0), Some("30000"), "Pause before log tasks start.").accepted(NEXT),
    broker("log.dir.failure.timeout.ms", long_from(1), Some("30000"), "A broker that cannot report a failed directory for this long stops.").accepted("the controller is this process and is told at once"),
    broker("num.recovery.threads.per.data.dir", int_from(1), Some("2"), "Threads that open logs after a crash.").dynamic().accepted("logs are opened by one thread per core"),
    broker("internal.segment.bytes", int_from(1), None, "Kafka's test-only way below the smallest segment.").accepted("segments are at least 1 MiB"),
];

/// Compaction.
#[rustfmt::skip] // one row per key
pub const CLEANER: &[Key] = &[
    broker("log.cleaner.enable", Kind::Boolean, Some("true"), "Compact topics whose cleanup.policy says so."),
    broker("log.cleaner.threads", int_from(0), Some("1"), "Logs cleaned at once.").dynamic(),
    broker("log.cleaner.dedupe.buffer.size", long_any(), Some("134217728"), "Memory for the cleaner's key maps, 24 bytes a key, shared by its threads; at least 1 MiB each.").dynamic(),
    broker("log.cleaner.io.buffer.size", int_from(0), Some("524288"), "Memory for the cleaner's reads and writes, shared by its threads; at least 32 KiB each.").dynamic(),
    broker("log.cleaner.io.buffer.load.factor", Kind::Double(0.0, 1.0), Some("0.9"), "How full the cleaner's key map may get.").dynamic(),
    broker("log.cleaner.io.max.bytes.per.second", Kind::Double(0.0, f64::MAX), Some("1.7976931348623157E308"), "Bytes per second the cleaner may move.").dynamic(),
    broker("log.cleaner.backoff.ms", long_from(0), Some("15000"), "Pause of a cleaner with nothing to do.").dynamic(),
    broker("log.cleaner.min.cleanable.ratio", Kind::Double(0.0, 1.0), Some("0.5"), "Dirty part of a log that starts a cleaning.").dynamic(),
    broker("log.cleaner.delete.retention.ms", long_from(0), Some("86400000"), "How long a tombstone stays visible.").dynamic(),
    broker("log.cleaner.min.compaction.lag.ms", long_from(0), Some("0"), "Records younger than this are not compacted.").dynamic(),
    broker("log.cleaner.max.compaction.lag.ms", long_from(1), MAX, "Records older than this are compacted whatever the ratio.").dynamic(),
];
