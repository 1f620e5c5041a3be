//! Kafka's keys of the remote tier (KIP-405 and successors): where Kafka loads a plugin, the bucket is built in here.
//! Rows only.

use crate::config::key::{Key, Kind, broker, int_from, long_from};

const PLUGIN: &str = "the bucket needs no plugin; set firn.remote.url and, for S3, firn.s3.*";
const NO_RLMM: &str = "the quorum keeps the tier's metadata; there is no metadata topic";
const WINDOW: &str = "byte rates are kept second by second";

/// The remote tier by Kafka's names.
#[rustfmt::skip] // one row per key
pub const REMOTE: &[Key] = &[
    broker("remote.log.storage.system.enable", Kind::Boolean, Some("false"), "Switch the bucket on. Needs firn.remote.url; topics still choose with remote.storage.enable."),
    broker("log.local.retention.ms", long_from(-2), Some("-2"), "Age at which offloaded segments leave the local disk; -2 means the topic's retention.ms.").dynamic(),
    broker("log.local.retention.bytes", long_from(-2), Some("-2"), "Local size above which offloaded segments leave the disk; -2 means retention.bytes.").dynamic(),
    broker("log.remote.copy.lag.ms", long_from(-1), Some("0"), "Age a segment must have before it is offloaded.").dynamic().default_only("delayed offload (KIP-1241) is not built yet"),
    broker("log.remote.copy.lag.bytes", long_from(-1), Some("-1"), "Bytes behind the log end before a segment is offloaded.").dynamic().default_only("delayed offload (KIP-1241) is not built yet"),
    broker("remote.log.manager.task.interval.ms", long_from(1), Some("30000"), "How often a partition looks for segments to offload, release or delete."),
    broker("remote.log.manager.task.retry.backoff.ms", long_from(1), Some("500"), "First pause after a failed offload; it doubles."),
    broker("remote.log.manager.task.retry.backoff.max.ms", long_from(1), Some("30000"), "Longest pause after failed offloads."),
    broker("remote.log.manager.task.retry.jitter", Kind::Double(0.0, 0.5), Some("0.2"), "Random part of those pauses.").accepted("a fixed part of a fifth is used"),
    broker("remote.log.manager.copier.thread.pool.size", int_from(1), Some("10"), "Uploads at once."),
    broker("remote.log.manager.expiration.thread.pool.size", int_from(1), Some("10"), "Deletions at once.").accepted("a log's deletions run one after the other, beside its uploads"),
    broker("remote.log.manager.follower.thread.pool.size", int_from(1), Some("2"), "Followers looked after at once.").accepted("replication between brokers is not built yet"),
    broker("remote.log.manager.thread.pool.size", int_from(1), Some("2"), "Older name of the copier and expiration pools.").accepted("use the copier and expiration keys"),
    broker("remote.log.manager.copy.max.bytes.per.second", long_from(1), Some("9223372036854775807"), "Bytes per second to the bucket; uploads over it wait (KIP-956).").dynamic(),
    broker("remote.log.manager.fetch.max.bytes.per.second", long_from(1), Some("9223372036854775807"), "Bytes per second from the bucket, cold reads and the reading back of uploads together; what is over it waits (KIP-956).").dynamic(),
    broker("remote.log.manager.copy.quota.*", Kind::Text, None, "Window of the copy quota.").accepted(WINDOW),
    broker("remote.log.manager.fetch.quota.*", Kind::Text, None, "Window of the fetch quota.").accepted(WINDOW),
    broker("remote.log.reader.threads", int_from(1), Some("10"), "Cold reads at once."),
    broker("remote.log.reader.max.pending.tasks", int_from(1), Some("100"), "Cold reads that may wait for their turn."),
    broker("remote.fetch.max.wait.ms", int_from(1), Some("500"), "How long a fetch that needs the bucket waits for it, whatever its client allows for new records; what comes later waits for the next fetch.").dynamic(),
    broker("remote.list.offsets.request.timeout.ms", long_from(1), Some("30000"), "How long a lookup by time waits for the bucket.").dynamic(),
    broker("remote.log.index.file.cache.total.size.bytes", long_from(1), Some("1073741824"), "Disk for indexes of remote segments.").dynamic().accepted("indexes share the chunk cache, see firn.cache.*"),
    broker("remote.log.index.file.cache.ttl.ms", long_from(1), Some("900000"), "How long an unused index is kept.").accepted("indexes share the chunk cache, see firn.cache.*"),
    broker("remote.log.storage.manager.class.name", Kind::Class, None, "Kafka's storage plugin.").accepted(PLUGIN),
    broker("remote.log.storage.manager.class.path", Kind::Text, None, "Where Kafka's storage plugin lies.").accepted(PLUGIN),
    broker("remote.log.storage.manager.impl.prefix", Kind::Text, Some("rsm.config."), "Prefix of the plugin's keys.").accepted(PLUGIN),
    broker("rsm.config.encryption.*", Kind::Secret, None, "Encryption in Kafka's storage plugin.").refused("encryption of objects is not built yet; use the bucket's own"),
    broker("rsm.config.*", Kind::Secret, None, "Keys of Kafka's storage plugin, hidden because some hold credentials.").accepted(PLUGIN),
    broker("remote.log.metadata.manager.class.name", Kind::Class, None, "Kafka's tier metadata plugin.").accepted(NO_RLMM),
    broker("remote.log.metadata.manager.class.path", Kind::Text, None, "Where that plugin lies.").accepted(NO_RLMM),
    broker("remote.log.metadata.manager.impl.prefix", Kind::Text, Some("rlmm.config."), "Prefix of that plugin's keys.").accepted(NO_RLMM),
    broker("remote.log.metadata.manager.listener.name", Kind::Text, None, "Listener that plugin uses.").accepted(NO_RLMM),
    broker("remote.log.metadata.custom.metadata.max.bytes", int_from(0), Some("128"), "Bytes a plugin may add per segment.").accepted(NO_RLMM),
    broker("rlmm.config.*", Kind::Text, None, "Keys of Kafka's tier metadata plugin.").accepted(NO_RLMM),
    broker("follower.fetch.last.tiered.offset.enable", Kind::Boolean, Some("false"), "A new follower starts where the bucket ends (KIP-1023).").dynamic().accepted("replication between brokers is not built yet"),
];
