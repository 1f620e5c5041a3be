//! What `/tier` answers and `firn tier status` prints: the bucket's health, and per partition what lies where.
//! Plain values with one JSON form; gathering them is `gather`'s. Field names are an interface: add, never rename.

use serde::{Deserialize, Serialize};

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TierStatus {
    /// The cluster.
    pub cluster_id: String,
    /// The broker that answers.
    pub node_id: i32,
    /// The bucket, `None` when none is switched on.
    pub bucket: Option<BucketStatus>,
    /// The chunk cache, with the bucket.
    pub cache: Option<CacheStatus>,
    /// What moves, with the bucket.
    pub offload: Option<OffloadStatus>,
    /// Topics this broker leads partitions of, in name order: the one asked for, or all that are tiered.
    pub topics: Vec<TopicStatus>,
}

/// The bucket's health.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BucketStatus {
    /// `s3://BUCKET/PREFIX` or `file:///DIR`.
    pub url: String,
    /// `ours`, `unclaimed` (nobody's yet), `unknown` (not asked yet), or `foreign: ...`: offload and cold reads are off.
    pub owner: String,
    /// What the probe at start found: `yes`, `no: ...`, `unknown: ...`.
    pub reachable: String,
    /// The same for reads of a range.
    pub range_get: String,
    /// The same for checksums kept with an object.
    pub checksum: String,
    /// The same for old versions kept.
    pub versioning: String,
    /// Requests since the start, every try counted.
    pub requests: Requests,
}

/// Requests to the store since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Requests {
    /// PUT of an object or a part.
    pub puts: u64,
    /// GET.
    pub gets: u64,
    /// HEAD.
    pub heads: u64,
    /// DELETE.
    pub deletes: u64,
    /// LIST.
    pub lists: u64,
    /// Tries that failed.
    pub errors: u64,
    /// Bytes sent.
    pub bytes_put: u64,
    /// Bytes received.
    pub bytes_got: u64,
}

/// The chunk cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CacheStatus {
    /// Gets answered from memory.
    pub hits_memory: u64,
    /// Gets answered from disk.
    pub hits_disk: u64,
    /// Gets that went to the bucket.
    pub misses: u64,
    /// Bytes in memory now.
    pub memory_bytes: u64,
}

/// What moves to the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OffloadStatus {
    /// Segments offloaded since the start.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Offloads that failed and are tried again.
    pub errors: u64,
    /// Why the newest one failed, when nothing has succeeded since.
    pub last_error: Option<String>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicStatus {
    /// Name.
    pub topic: String,
    /// `remote.storage.enable` in force.
    pub tiered: bool,
    /// In index order.
    pub partitions: Vec<PartitionStatus>,
}

/// One partition. Offsets are Kafka's; bytes are of log, without indexes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// Index.
    pub partition: i32,
    /// First offset of the whole log.
    pub log_start: i64,
    /// First offset still on the local disk.
    pub local_start: i64,
    /// One past the last offset in the bucket; equal to `log_start` when nothing is there.
    pub bucket_end: i64,
    /// One past the last offset.
    pub end: i64,
    /// Bytes of log on the local disk.
    pub local_bytes: u64,
    /// Bytes of log in the bucket.
    pub bucket_bytes: u64,
    /// Bytes of log that lie in the bucket and not on the local disk.
    pub bucket_only_bytes: u64,
    /// Bytes of the bucket's that the memory cache holds too. An estimate.
    pub cached_memory_bytes: u64,
    /// Bytes of the bucket's that the disk cache holds too. An estimate.
    pub cached_disk_bytes: u64,
    /// Remote segments.
    pub segments: u64,
    /// Local bytes that are not in the bucket yet.
    pub waiting_bytes: u64,
}

impl TierStatus {
    /// Bytes over all partitions: (on the local disk, in the bucket only, cached in memory, cached on disk).
    pub fn totals(&self) -> (u64, u64, u64, u64) {
        let all = self.topics.iter().flat_map(|topic| &topic.partitions);
        all.fold((0, 0, 0, 0), |(local, bucket, memory, disk), partition| {
            (
                local + partition.local_bytes,
                bucket + partition.bucket_only_bytes,
                memory + partition.cached_memory_bytes,
                disk + partition.cached_disk_bytes,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_is_an_interface() {
        let partition =
            PartitionStatus { partition: 1, bucket_only_bytes: 8, local_bytes: 2, ..Default::default() };
        let topic = TopicStatus { topic: "t".into(), tiered: true, partitions: vec![partition] };
        let status =
            TierStatus { cluster_id: "c".into(), node_id: 1, topics: vec![topic], ..Default::default() };
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(
            json,
            r#"{"cluster_id":"c","node_id":1,"bucket":null,"cache":null,"offload":null,"topics":[{"topic":"t","tiered":true,"partitions":[{"partition":1,"log_start":0,"local_start":0,"bucket_end":0,"end":0,"local_bytes":2,"bucket_bytes":0,"bucket_only_bytes":8,"cached_memory_bytes":0,"cached_disk_bytes":0,"segments":0,"waiting_bytes":0}]}]}"#
        );
        assert_eq!(serde_json::from_str::<TierStatus>(&json).unwrap(), status);
        assert_eq!(status.totals(), (2, 8, 0, 0));
    }
}
