//! `firn tier status [TOPIC]`: asks a broker's admin port and prints the bucket's health and a bar per partition.
//! It computes nothing the JSON does not say.

use std::fmt::Write as _;

use crate::cli::arguments::{Output, Tier};
use crate::cli::bar::{LEGEND, bar};
use crate::cli::columns::{Columns, bytes};
use crate::cli::failure::{Exit, Failure};
use crate::client::error::ClientError;
use crate::client::http;
use crate::telemetry::tier_status::{TierStatus, TopicStatus};

/// Letters of a bar.
const BAR_WIDTH: usize = 32;

/// Runs `firn tier`.
pub async fn run(command: &Tier) -> Result<String, Failure> {
    let Tier::Status { topic, admin, output } = command;
    let status = ask(admin, topic.as_deref()).await?;
    match output {
        Output::Json => serde_json::to_string_pretty(&status)
            .map(|json| json + "\n")
            .map_err(|error| Failure::new("the status cannot be printed", error)),
        Output::Table => Ok(match topic {
            Some(_) => status.topics.iter().map(topic_text).collect(),
            None => health_text(&status),
        }),
    }
}

/// The status as the broker at `admin` tells it.
pub async fn ask(admin: &str, topic: Option<&str>) -> Result<TierStatus, Failure> {
    let what = "the tier's status is not known";
    let path = match topic {
        Some(topic) => format!("/tier?topic={}", http::escape(topic)),
        None => "/tier".to_owned(),
    };
    let answer = http::get(admin, &path).await.map_err(|error| match error {
        ClientError::Unreachable { .. } => Failure::new(what, &error)
            .next("name the broker's admin listener with --admin HOST:PORT; its log says where it listens")
            .exit(Exit::Unreachable),
        _ => Failure::of_call(what, &error),
    })?;
    if answer.status != 200 {
        return Err(Failure::new(what, answer.body.trim()));
    }
    serde_json::from_str(&answer.body).map_err(|error| {
        Failure::new(what, format!("{admin} answered something else: {error}"))
            .next("check the port: the admin listener is 9644 unless firn.admin.listener says otherwise")
    })
}

/// The bars of one topic.
pub fn topic_text(topic: &TopicStatus) -> String {
    let mut columns =
        Columns::new(&["PARTITION", "OFFSETS", "", "LOCAL", "BUCKET", "OBJECTS", "CACHED", "WAITING"]);
    for partition in &topic.partitions {
        columns.row(vec![
            partition.partition.to_string(),
            format!("{}..{}", partition.log_start, partition.end),
            bar(partition, BAR_WIDTH),
            bytes(partition.local_bytes),
            bytes(partition.bucket_bytes),
            partition.segments.to_string(),
            bytes(partition.cached_memory_bytes + partition.cached_disk_bytes),
            bytes(partition.waiting_bytes),
        ]);
    }
    let tiered = if topic.tiered { "" } else { " (remote.storage.enable is off: local only)" };
    format!("{}{tiered}\n{}{LEGEND}\n", topic.topic, columns.print())
}

fn health_text(status: &TierStatus) -> String {
    let Some(bucket) = &status.bucket else {
        return "no bucket: remote.log.storage.system.enable is false\n".to_owned();
    };
    let mut text = String::new();
    let mut line = |label: &str, value: &str| _ = writeln!(text, "{label:<12}{value}");
    line("bucket", &bucket.url);
    line("owner", &bucket.owner);
    line("reachable", &bucket.reachable);
    line("range GET", &bucket.range_get);
    line("checksum", &bucket.checksum);
    line("versioning", &bucket.versioning);
    let requests = &bucket.requests;
    line(
        "requests",
        &format!(
            "{} PUT, {} GET, {} HEAD, {} DELETE, {} LIST, {} failed",
            requests.puts, requests.gets, requests.heads, requests.deletes, requests.lists, requests.errors
        ),
    );
    line("moved", &format!("{} up, {} down", bytes(requests.bytes_put), bytes(requests.bytes_got)));
    if let Some(offload) = &status.offload {
        let moved =
            format!("{} segments, {}, {} failures", offload.segments, bytes(offload.bytes), offload.errors);
        line("offloaded", &moved);
        if let Some(error) = &offload.last_error {
            line("last error", error);
        }
    }
    if let Some(cache) = &status.cache {
        let held = bytes(cache.memory_bytes);
        let hits = format!(
            "{} from memory, {} from disk, {} missed",
            cache.hits_memory, cache.hits_disk, cache.misses
        );
        line("cache", &format!("{hits}, {held} in memory"));
    }
    let (local, only, _, _) = status.totals();
    line(
        "topics",
        &format!(
            "{} tiered, {} local, {} in the bucket only",
            status.topics.len(),
            bytes(local),
            bytes(only)
        ),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tier_status::{BucketStatus, OffloadStatus, PartitionStatus};

    fn topic() -> TopicStatus {
        let partition = PartitionStatus {
            partition: 0,
            log_start: 0,
            local_start: 80,
            bucket_end: 90,
            end: 100,
            local_bytes: 2 << 20,
            bucket_bytes: 9 << 20,
            bucket_only_bytes: 6 << 20,
            cached_memory_bytes: 3 << 20,
            segments: 9,
            waiting_bytes: 1 << 20,
            ..PartitionStatus::default()
        };
        TopicStatus { topic: "orders".into(), tiered: true, partitions: vec![partition] }
    }

    #[test]
    fn a_topic_is_a_bar_per_partition() {
        let expected = "\
orders
PARTITION  OFFSETS                                    LOCAL    BUCKET   OBJECTS  CACHED   WAITING
0          0..100   ░░░░░░░░░░░░▓▓▓▓▓▓▓▓▓▓▓▓████████  2.0 MiB  9.0 MiB  9        3.0 MiB  1.0 MiB
░ bucket only   ▒ cached on disk   ▓ cached in memory   █ local disk
";
        assert_eq!(topic_text(&topic()), expected);
    }

    #[test]
    fn health_names_what_is_wrong() {
        let bucket = BucketStatus {
            url: "s3://b/p".into(),
            owner: "foreign: cluster x".into(),
            reachable: "no: connection refused".into(),
            range_get: "unknown: the bucket is not reachable".into(),
            checksum: "unknown: the bucket is not reachable".into(),
            versioning: "unknown: the bucket is not reachable".into(),
            ..BucketStatus::default()
        };
        let offload =
            OffloadStatus { errors: 3, last_error: Some("timed out".into()), ..OffloadStatus::default() };
        let status = TierStatus {
            bucket: Some(bucket),
            offload: Some(offload),
            topics: vec![topic()],
            ..TierStatus::default()
        };
        let expected = "\
bucket      s3://b/p
owner       foreign: cluster x
reachable   no: connection refused
range GET   unknown: the bucket is not reachable
checksum    unknown: the bucket is not reachable
versioning  unknown: the bucket is not reachable
requests    0 PUT, 0 GET, 0 HEAD, 0 DELETE, 0 LIST, 0 failed
moved       0 B up, 0 B down
offloaded   0 segments, 0 B, 3 failures
last error  timed out
topics      1 tiered, 2.0 MiB local, 6.0 MiB in the bucket only
";
        assert_eq!(health_text(&status), expected);
        assert!(health_text(&TierStatus::default()).starts_with("no bucket"));
    }
}
