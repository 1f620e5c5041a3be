//! Keys of our own, under `firn.`: what Kafka has no name for.
//! Rows only.

use crate::config::key::{Key, Kind, broker, int_from, long_from};

/// The bucket, the cache, the disk, and what is seen from outside.
#[rustfmt::skip] // one row per key
pub const OURS: &[Key] = &[
    broker("firn.remote.url", Kind::Text, None, "The bucket: s3://BUCKET/PREFIX, or file:///DIR for a local directory that poses as one."),
    broker("firn.s3.endpoint", Kind::Text, None, "Address of an S3-compatible store, e.g. http://127.0.0.1:9000; without it AWS."),
    broker("firn.s3.region", Kind::Text, None, "Region of the bucket; without it us-east-1, which MinIO and others take."),
    broker("firn.s3.path.style", Kind::Boolean, None, "Put the bucket in the path instead of the host name; without it true when firn.s3.endpoint is set."),
    broker("firn.s3.access.key.id", Kind::Secret, None, "Access key; without it AWS's environment and profile."),
    broker("firn.s3.secret.access.key", Kind::Secret, None, "Secret of firn.s3.access.key.id; both or neither."),
    broker("firn.topic.remote.storage.enable", Kind::Boolean, Some("false"), "remote.storage.enable of topics that do not say. Compacted and internal topics stay local."),
    broker("firn.remote.delete.grace.ms", long_from(0), Some("60000"), "An object no longer referenced stays this long, for readers in progress."),
    broker("firn.remote.orphan.age.ms", long_from(0), Some("604800000"), "An object that no record knows is left alone until it is this old.").accepted("nothing lists the bucket for such objects yet; open uploads are settled from a file of intents"),
    broker("firn.cache.memory.bytes", long_from(1048576), Some("67108864"), "Memory for chunks read from the bucket; taken at the first cold read."),
    broker("firn.cache.disk.bytes", long_from(0), Some("1073741824"), "Disk for chunks read from the bucket, at most a tenth of the file system; 0 keeps them in memory only."),
    broker("firn.cache.disk.path", Kind::Text, None, "Directory of those chunks; without it .firn-cache in the first of log.dirs."),
    broker("firn.cold.lane.memory.bytes", long_from(4194304), Some("67108864"), "Memory for local log data that is not in the page cache, on its way to consumers and read ahead for them."),
    broker("firn.durability", Kind::Choice(&["cache", "disk"]), Some("cache"), "What acknowledged means: in the log of every in-sync replica, as in Kafka (cache), or fsynced there too (disk)."),
    broker("firn.validate.compressed", Kind::Boolean, Some("false"), "Open compressed batches when they are produced and check the records inside.").dynamic(),
    broker("firn.disk.reserve.bytes", long_from(0), None, "Free bytes below which produce is refused; without it the smaller of 256 MiB and 5 % of the file system."),
    broker("firn.cores", int_from(0), Some("0"), "Serving cores; 0 means one per CPU this process may use."),
    broker("firn.metrics.listener", Kind::Text, Some("127.0.0.1:9404"), "HOST:PORT of /metrics; empty switches it off."),
    broker("firn.metrics.partition.level", Kind::Choice(&["off", "all"]), Some("all"), "Whether metrics name single partitions."),
    broker("firn.admin.listener", Kind::Text, Some("127.0.0.1:9644"), "HOST:PORT of health checks and tier status; empty switches it off."),
    broker("firn.describe.log.dirs.remote", Kind::Boolean, Some("true"), "Show the bucket as log dir remote://BUCKET in DescribeLogDirs.").dynamic(),
    broker("firn.log.format", Kind::Choice(&["auto", "human", "json"]), Some("auto"), "Form of log lines; auto is human on a terminal, else JSON."),
    broker("firn.log.level", Kind::Text, Some("info"), "Least level of log lines, or a filter such as info,firnline::server=debug."),
];
