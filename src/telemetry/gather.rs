//! Gathers tier status and readiness from a running broker.
//! It asks the chunk cache and, for folded partitions, the manifest cache; it sends the bucket nothing on purpose but
//! the manifest that a first look at a partition may need.

use firnline_tiering::cold::marker::Ownership;

use crate::broker::tiers::Tiers;
use crate::partition::replica::PartitionHandle;
use crate::telemetry::backlog::Backlog;
use crate::telemetry::metrics::Seen;
use crate::telemetry::tier_status::{
    BucketStatus, CacheStatus, OffloadStatus, PartitionStatus, Requests, TierStatus, TopicStatus,
};

/// The status of the tier; of one topic, or of all that are tiered. `None` when there is no such topic.
pub async fn tier_status(seen: &Seen, topic: Option<&str>) -> Option<TierStatus> {
    let shared = &seen.shared;
    if let Some(name) = topic {
        shared.hosted.topic(name)?;
    }
    let mut topics: Vec<TopicStatus> = Vec::new();
    let mut hosted = shared.hosted.all();
    hosted.sort_by(|a, b| (a.topic_name(), a.id().index).cmp(&(b.topic_name(), b.id().index)));
    for replica in hosted.iter().filter(|replica| replica.is_leader()) {
        let tiered = replica.log().config().remote_enabled;
        let wanted = match topic {
            Some(name) => **replica.topic_name() == *name,
            None => tiered,
        };
        if !wanted {
            continue;
        }
        if topics.last().is_none_or(|last| last.topic != **replica.topic_name()) {
            topics.push(TopicStatus {
                topic: replica.topic_name().to_string(),
                tiered,
                partitions: Vec::new(),
            });
        }
        let status = partition_status(replica, seen.tiers.as_deref()).await;
        if let Some(last) = topics.last_mut() {
            last.partitions.push(status);
        }
    }
    Some(TierStatus {
        cluster_id: shared.cluster_id.to_string(),
        node_id: shared.config.node_id,
        bucket: seen.tiers.as_deref().map(bucket_status),
        cache: seen.tiers.as_deref().map(cache_status),
        offload: seen.tiers.as_deref().map(offload_status),
        topics,
    })
}

async fn partition_status(replica: &PartitionHandle, tiers: Option<&Tiers>) -> PartitionStatus {
    let (log, offsets) = (replica.log(), replica.offsets());
    let backlog = Backlog::of(log);
    let row = log.tier();
    let mut status = PartitionStatus {
        partition: replica.id().index,
        log_start: offsets.log_start.0,
        local_start: offsets.local_start.0,
        bucket_end: row.as_ref().map_or(offsets.log_start.0, |row| row.end.0.max(offsets.log_start.0)),
        end: offsets.end.0,
        local_bytes: backlog.local_bytes,
        bucket_bytes: backlog.bucket_bytes,
        bucket_only_bytes: backlog.bucket_only_bytes(),
        segments: backlog.segments,
        waiting_bytes: if row.is_some() { backlog.waiting_bytes() } else { 0 },
        ..PartitionStatus::default()
    };
    if let (Some(row), Some(tiers)) = (row, tiers) {
        let resident = tiers.reader.residency(log.id(), &row).await;
        (status.cached_memory_bytes, status.cached_disk_bytes) = (resident.memory, resident.disk);
    }
    status
}

fn bucket_status(tiers: &Tiers) -> BucketStatus {
    let requests = tiers.bucket.store.requests();
    let owner = match tiers.bucket.ownership() {
        Ownership::Ours => "ours".to_owned(),
        Ownership::Unclaimed => "unclaimed".to_owned(),
        Ownership::Unknown => "unknown".to_owned(),
        Ownership::Foreign { whose } => format!("foreign: {whose}; offload and cold reads are off"),
    };
    let report = tiers.counts.probe();
    let found = |finding: Option<String>| finding.unwrap_or_else(|| "unknown: not looked at yet".to_owned());
    BucketStatus {
        url: tiers.bucket.store.url().to_owned(),
        owner,
        reachable: found(report.as_ref().map(|report| report.reachable.to_string())),
        range_get: found(report.as_ref().map(|report| report.range_get.to_string())),
        checksum: found(report.as_ref().map(|report| report.checksum.to_string())),
        versioning: found(report.as_ref().map(|report| report.versioning.to_string())),
        requests: Requests {
            puts: requests.puts,
            gets: requests.gets,
            heads: requests.heads,
            deletes: requests.deletes,
            lists: requests.lists,
            errors: requests.errors,
            bytes_put: requests.bytes_put,
            bytes_got: requests.bytes_got,
        },
    }
}

fn cache_status(tiers: &Tiers) -> CacheStatus {
    let now = tiers.cache.metrics();
    CacheStatus {
        hits_memory: now.hits_memory,
        hits_disk: now.hits_disk,
        misses: now.misses,
        memory_bytes: now.memory_bytes,
    }
}

fn offload_status(tiers: &Tiers) -> OffloadStatus {
    OffloadStatus {
        segments: tiers.counts.copies.get(),
        bytes: tiers.counts.copy_bytes.get(),
        errors: tiers.counts.copy_errors.get(),
        last_error: tiers.counts.last_error(),
    }
}

/// Why this broker is not ready to serve; empty when it is.
pub fn reasons_not_ready(seen: &Seen) -> Vec<String> {
    let (shared, mut reasons) = (&seen.shared, Vec::new());
    let image = shared.controller.image();
    if !image.brokers.live().any(|broker| broker.id.0 == shared.config.node_id) {
        reasons.push("this broker is not registered, or fenced".to_owned());
    }
    if shared.controller.quorum().leader.is_none() {
        reasons.push("the metadata quorum has no leader".to_owned());
    }
    let (applied, decided) = (*shared.assigned.borrow(), image.offset);
    if applied < decided {
        reasons
            .push(format!("partitions are being opened: metadata is at {decided}, this broker at {applied}"));
    }
    for replica in shared.hosted.all() {
        if let Some(why) = replica.log().offline() {
            reasons.push(format!("{}-{} is offline: {why}", replica.topic_name(), replica.id().index));
            if reasons.len() == REASONS_MAX {
                break;
            }
        }
    }
    reasons
}

/// Reasons named at most: a dead disk may hold thousands of partitions.
const REASONS_MAX: usize = 20;
