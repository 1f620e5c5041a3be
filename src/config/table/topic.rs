//! Keys of a topic, each with the broker keys that give its default.
//! Rows only; rules between keys (`local.retention.ms` ≤ `retention.ms`, ...) are checked in `topic`.

use crate::config::key::{Key, Kind, int_from, long_any, long_from, topic};

/// Values of `compression.type`.
pub const COMPRESSION: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

const MAX: &str = "9223372036854775807";
const ONE_LEVEL: &str = "the lz4 writer here has one level";

/// All topic keys.
#[rustfmt::skip] // one row per key
pub const TOPIC: &[Key] = &[
    topic("cleanup.policy", Kind::List(&["compact", "delete"]), "delete", "What happens to old records: deleted, compacted by key, both, or neither when empty.").from(&["log.cleanup.policy"]),
    topic("retention.ms", long_from(-1), "604800000", "Age at which records go, from disk and bucket; -1 keeps them for ever.").from(&["log.retention.ms", "log.retention.minutes", "log.retention.hours"]),
    topic("retention.bytes", long_any(), "-1", "Size over disk and bucket above which the oldest segments go; -1 means no limit.").from(&["log.retention.bytes"]),
    topic("remote.storage.enable", Kind::Boolean, "false", "Offload sealed segments to the bucket. Needs remote.log.storage.system.enable on the broker.").from(&["firn.topic.remote.storage.enable"]),
    topic("local.retention.ms", long_from(-2), "-2", "Age at which offloaded segments leave the local disk; -2 means retention.ms.").from(&["log.local.retention.ms"]),
    topic("local.retention.bytes", long_from(-2), "-2", "Local size above which offloaded segments leave the disk; -2 means retention.bytes.").from(&["log.local.retention.bytes"]),
    topic("remote.log.copy.disable", Kind::Boolean, "false", "Stop offloading; what lies in the bucket stays readable. Needs local.retention.* at -2 or equal to retention.*."),
    topic("remote.log.delete.on.disable", Kind::Boolean, "false", "Needed to switch remote.storage.enable off.").default_only("taking a topic out of the bucket is not built yet; use remote.log.copy.disable to stop offloading"),
    topic("remote.copy.lag.ms", long_from(-1), "0", "Age a segment must have before it is offloaded.").from(&["log.remote.copy.lag.ms"]).default_only("delayed offload (KIP-1241) is not built yet"),
    topic("remote.copy.lag.bytes", long_from(-1), "-1", "Bytes behind the log end before a segment is offloaded.").from(&["log.remote.copy.lag.bytes"]).default_only("delayed offload (KIP-1241) is not built yet"),
    topic("segment.bytes", int_from(1048576), "1073741824", "A segment is sealed at this size.").from(&["log.segment.bytes"]),
    topic("segment.ms", long_from(1), "604800000", "A segment is sealed at this age.").from(&["log.roll.ms", "log.roll.hours"]),
    topic("segment.jitter.ms", long_from(0), "0", "A segment is sealed at most this much earlier, each at a time of its own.").from(&["log.roll.jitter.ms", "log.roll.jitter.hours"]),
    topic("min.insync.replicas", int_from(1), "1", "In-sync replicas below which a produce with acks=all is refused.").from(&["min.insync.replicas"]),
    topic("unclean.leader.election.enable", Kind::Boolean, "false", "Let a replica lead that may have lost records.").from(&["unclean.leader.election.enable"]),
    topic("max.message.bytes", int_from(0), "1048588", "Largest record batch, after compression.").from(&["message.max.bytes"]),
    topic("compression.type", Kind::Choice(COMPRESSION), "producer", "Codec a batch is stored with; `producer` keeps what was sent.").from(&["compression.type"]),
    topic("compression.gzip.level", Kind::Int(-1, 9), "-1", "Level when the broker compresses with gzip: 1 to 9, or -1 for the codec's own.").from(&["compression.gzip.level"]),
    topic("compression.lz4.level", Kind::Int(1, 17), "9", "Level when the broker compresses with lz4.").from(&["compression.lz4.level"]).accepted(ONE_LEVEL),
    topic("compression.zstd.level", Kind::Int(-131072, 22), "3", "Level when the broker compresses with zstd.").from(&["compression.zstd.level"]),
    topic("message.timestamp.type", Kind::Choice(&["CreateTime", "LogAppendTime"]), "CreateTime", "Whose clock stamps records: the producer's or the broker's.").from(&["log.message.timestamp.type"]),
    topic("message.timestamp.before.max.ms", long_from(0), MAX, "Records older than now by more than this are refused.").from(&["log.message.timestamp.before.max.ms"]),
    topic("message.timestamp.after.max.ms", long_from(0), "3600000", "Records newer than now by more than this are refused.").from(&["log.message.timestamp.after.max.ms"]),
    topic("delete.retention.ms", long_from(0), "86400000", "How long a tombstone, or the marker of a transaction, stays once all it speaks of is gone.").from(&["log.cleaner.delete.retention.ms"]),
    topic("min.cleanable.dirty.ratio", Kind::Double(0.0, 1.0), "0.5", "Dirty part of the log that starts a cleaning.").from(&["log.cleaner.min.cleanable.ratio"]),
    topic("min.compaction.lag.ms", long_from(0), "0", "Records younger than this are not compacted.").from(&["log.cleaner.min.compaction.lag.ms"]),
    topic("max.compaction.lag.ms", long_from(1), MAX, "Records older than this are compacted whatever the ratio.").from(&["log.cleaner.max.compaction.lag.ms"]),
    topic("index.interval.bytes", int_from(0), "4096", "Bytes of log between two index entries.").from(&["log.index.interval.bytes"]),
    topic("segment.index.bytes", int_from(4), "10485760", "An index of this size seals its segment.").from(&["log.index.size.max.bytes"]),
    topic("file.delete.delay.ms", long_from(0), "60000", "A deleted segment's files stay this long, for readers in progress.").from(&["log.segment.delete.delay.ms"]),
    topic("flush.messages", long_from(1), MAX, "At most so many records wait for an fsync: the produce request that reaches it is answered once they are on disk. With 1 every acknowledged record is.").from(&["log.flush.interval.messages"]),
    topic("flush.ms", long_from(0), MAX, "Appended records are fsynced after so long at the latest, or half a second later. Answers to producers do not wait for it.").from(&["log.flush.interval.ms", "log.flush.scheduler.interval.ms"]),
    topic("preallocate", Kind::Boolean, "false", "Take room on the disk for a whole segment when it begins; its file is as long as its records all the same.").from(&["log.preallocate"]),
    topic("leader.replication.throttled.replicas", Kind::List(&[]), "", "Replicas that take no more than leader.replication.throttled.rate from their leaders while out of sync: partition:broker pairs, or *."),
    topic("follower.replication.throttled.replicas", Kind::List(&[]), "", "Replicas that fetch no more than follower.replication.throttled.rate while they catch up: partition:broker pairs, or *."),
    topic("message.downconversion.enable", Kind::Boolean, "true", "Conversion for consumers of before 2017.").from(&["log.message.downconversion.enable"]).accepted("batches are always served as stored"),
    topic("errors.deadletterqueue.group.enable", Kind::Boolean, "false", "Let share groups use this topic for dead letters.").accepted("share groups are not built yet"),
    topic("firn.durability", Kind::Choice(&["cache", "disk"]), "cache", "What acknowledged means: in the log of every in-sync replica (cache), or fsynced there too (disk).").from(&["firn.durability"]),
];
