//! The metrics of the bucket, the cache and what moves between: Kafka's names for the remote tier, and ours.
//! It reads plain counters at each scrape and asks the bucket nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firnline_tiering::cold::marker::Ownership;
use firnline_tiering::cold::probe::Finding;

use crate::broker::tiers::Tiers;
use crate::partition::replica::PartitionHandle;
use crate::telemetry::backlog::Backlog;
use crate::telemetry::exposition::{Family, Labels};
use crate::telemetry::labels::topic;

/// The families of the tier.
pub fn families(tiers: &Tiers, hosted: &[PartitionHandle]) -> Vec<Family> {
    let mut families = offload(tiers);
    families.extend(backlog(hosted));
    families.extend(bucket(tiers));
    families.extend(cache(tiers));
    families
}

fn offload(tiers: &Tiers) -> Vec<Family> {
    let (counts, requests) = (&tiers.counts, tiers.bucket.store.requests());
    vec![
        Family::counter("kafka_server_brokertopicmetrics_remotecopybytes", "Bytes of log offloaded")
            .of(counts.copy_bytes.get()),
        Family::counter("kafka_server_brokertopicmetrics_remotecopyrequests", "Segments offloaded")
            .of(counts.copies.get()),
        Family::counter("kafka_server_brokertopicmetrics_remotecopyerrors", "Offloads that failed")
            .of(counts.copy_errors.get()),
        Family::counter("kafka_server_brokertopicmetrics_remotefetchbytes", "Bytes read from the bucket")
            .of(requests.bytes_got),
        Family::counter("kafka_server_brokertopicmetrics_remotefetchrequests", "GETs of the bucket")
            .of(requests.gets),
        Family::counter("kafka_server_brokertopicmetrics_remotedeleterequests", "DELETEs in the bucket")
            .of(requests.deletes),
    ]
}

fn backlog(hosted: &[PartitionHandle]) -> Vec<Family> {
    let mut by_topic: BTreeMap<Arc<str>, Backlog> = BTreeMap::new();
    for replica in hosted.iter().filter(|replica| replica.is_leader() && replica.log().tier().is_some()) {
        by_topic.entry(replica.topic_name().clone()).or_default().add(&Backlog::of(replica.log()));
    }
    let each = |value: fn(&Backlog) -> u64| by_topic.iter().map(move |(name, sum)| (topic(name), value(sum)));
    vec![
        Family::gauge(
            "kafka_server_brokertopicmetrics_remotecopylagbytes",
            "Bytes of sealed segments not offloaded yet",
        )
        .all(each(|sum| sum.sealed_bytes)),
        Family::gauge(
            "kafka_server_brokertopicmetrics_remotecopylagsegments",
            "Sealed segments not offloaded yet",
        )
        .all(each(|sum| sum.sealed)),
        Family::gauge("kafka_server_brokertopicmetrics_remotelogsizebytes", "Bytes of log in the bucket")
            .all(each(|sum| sum.bucket_bytes)),
        Family::gauge("kafka_server_brokertopicmetrics_remotelogmetadatacount", "Remote segments")
            .all(each(|sum| sum.segments)),
    ]
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn bucket(tiers: &Tiers) -> Vec<Family> {
    let (store, requests) = (&tiers.bucket.store, tiers.bucket.store.requests());
    let op = |name: &str| vec![("op", name.to_owned())];
    let direction = |name: &str| vec![("direction", name.to_owned())];
    let owner = match tiers.bucket.ownership() {
        Ownership::Ours => "ours",
        Ownership::Unclaimed => "unclaimed",
        Ownership::Unknown => "unknown",
        Ownership::Foreign { .. } => "foreign",
    };
    let mut found: Vec<(Labels, i64)> = Vec::new();
    if let Some(report) = tiers.counts.probe() {
        let findings = [
            ("reachable", &report.reachable),
            ("range_get", &report.range_get),
            ("checksum", &report.checksum),
            ("versioning", &report.versioning),
        ];
        for (what, finding) in findings {
            let value = match finding {
                Finding::Yes => 1,
                Finding::No(_) => 0,
                Finding::Unknown(_) => -1,
            };
            found.push((vec![("what", what.to_owned())], value));
        }
    }
    vec![
        Family::counter("firn_bucket_requests", "Requests to the bucket, every try counted")
            .with(op("put"), requests.puts)
            .with(op("get"), requests.gets)
            .with(op("head"), requests.heads)
            .with(op("delete"), requests.deletes)
            .with(op("list"), requests.lists),
        Family::counter("firn_bucket_request_errors", "Tries that failed").of(requests.errors),
        Family::counter("firn_bucket_request_retries", "Tries after the first").of(requests.retries),
        Family::counter("firn_bucket_bytes", "Bytes moved")
            .with(direction("up"), requests.bytes_put)
            .with(direction("down"), requests.bytes_got),
        Family::counter("firn_bucket_throttle_ms", "Time requests waited for the byte quotas")
            .with(direction("up"), millis(store.copy_pace().waited()))
            .with(direction("down"), millis(store.fetch_pace().waited())),
        Family::gauge("firn_bucket_owner", "1 at whose the bucket is, as far as it is known")
            .with(vec![("owner", owner.to_owned())], true),
        Family::gauge("firn_bucket_probe", "What the probe at start found: 1 yes, 0 no, -1 unknown")
            .all(found),
    ]
}

fn cache(tiers: &Tiers) -> Vec<Family> {
    let now = tiers.cache.metrics();
    let tier = |name: &str| vec![("tier", name.to_owned())];
    let why = |name: &str| vec![("why", name.to_owned())];
    vec![
        Family::counter("firn_cache_hits", "Chunks found in the cache")
            .with(tier("memory"), now.hits_memory)
            .with(tier("disk"), now.hits_disk),
        Family::counter("firn_cache_misses", "Chunks not found in the cache").of(now.misses),
        Family::counter("firn_cache_loads", "Chunks loaded from the bucket").of(now.loads),
        Family::counter("firn_cache_load_errors", "Loads that failed").of(now.load_errors),
        Family::counter("firn_cache_joins", "Readers that waited for a load somebody else had started")
            .of(now.joins),
        Family::counter("firn_cache_loaded_bytes", "Bytes loaded from the bucket").of(now.loaded_bytes),
        Family::counter("firn_cache_dropped", "Chunks that did not enter the cache")
            .with(why("not_admitted"), now.not_admitted)
            .with(why("write_queue_full"), now.dropped_inserts)
            .with(why("prefetch_queue_full"), now.dropped_prefetches),
        Family::counter("firn_cache_disk_faults", "Disk entries that were damaged or could not be read")
            .of(now.disk_lies + now.disk_errors),
        Family::gauge("firn_cache_memory_bytes", "Bytes of chunks in memory").of(now.memory_bytes),
    ]
}
