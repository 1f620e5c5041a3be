//! The cleaner's metrics, by Kafka's names in Strimzi's spelling, and ours. It reads what the cleaner noted.
//! Invariant: one series per log directory at most.

use std::path::Path;

use crate::partition::cleaning::CleanerNow;
use crate::telemetry::exposition::Family;

/// All families; `directories` are the log directories, `now_ms` the wall clock.
pub fn families<'a>(
    now: &CleanerNow,
    directories: impl Iterator<Item = &'a Path>,
    now_ms: i64,
) -> Vec<Family> {
    let (gauge, counter) = (Family::gauge, Family::counter);
    let (mut counts, mut bytes) = (Vec::new(), Vec::new());
    for directory in directories {
        let here = || now.uncleanable.values().filter(|log| log.directory == directory);
        let labels = vec![("logDirectory", directory.display().to_string())];
        counts.push((labels.clone(), here().count()));
        bytes.push((labels, here().map(|log| log.bytes).sum::<u64>()));
    }
    let since = if now.looked_ms > 0 { now_ms.saturating_sub(now.looked_ms).max(0) } else { 0 };
    vec![
        gauge(
            "kafka_log_logcleanermanager_max_dirty_percent",
            "Dirty part of the dirtiest compacted log, percent",
        )
        .of(now.dirty_percent),
        gauge(
            "kafka_log_logcleanermanager_time_since_last_run_ms",
            "Time since the cleaner looked for a dirty log",
        )
        .of(since),
        gauge(
            "kafka_log_logcleanermanager_uncleanable_partitions_count",
            "Logs that could not be cleaned and are left alone",
        )
        .all(counts),
        gauge(
            "kafka_log_logcleanermanager_uncleanable_bytes",
            "Dirty bytes of logs that could not be cleaned",
        )
        .all(bytes),
        gauge(
            "kafka_log_logcleaner_max_compaction_delay_secs",
            "How long the latest log is past its max.compaction.lag.ms",
        )
        .of(now.delay_ms / 1000),
        gauge(
            "kafka_log_logcleaner_max_buffer_utilization_percent",
            "How full the key map of the last cleaning was",
        )
        .of(now.map_percent),
        gauge(
            "kafka_log_logcleaner_cleaner_recopy_percent",
            "Bytes written of the bytes read by the last cleaning",
        )
        .of(now.recopy_percent),
        gauge("kafka_log_logcleaner_max_clean_time_secs", "Duration of the last cleaning")
            .of(now.took_ms / 1000),
        gauge(
            "kafka_log_logcleaner_deadthreadcount",
            "Cleanings that ended by a defect; their logs are not cleaned again before a restart",
        )
        .of(now.broke_off),
        counter("firn_cleaner_cleanings", "Cleanings of a log that came to their end").of(now.cleanings),
        counter("firn_cleaner_read_bytes", "Bytes of compacted logs read to be written anew")
            .of(now.bytes_read),
        counter("firn_cleaner_written_bytes", "Bytes of compacted logs written anew").of(now.bytes_written),
        counter("firn_cleaner_removed_records", "Records that compaction removed").of(now.records_removed),
        counter(
            "firn_cleaner_lying_batches",
            "Batches left as they are because they contradict themselves, once per cleaning",
        )
        .of(now.lies),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::cleaning::Uncleanable;
    use crate::partition::replica::PartitionId;
    use firnline_controller::id::TopicId;

    #[test]
    fn uncleanable_logs_are_counted_where_they_lie() {
        let mut now =
            CleanerNow { looked_ms: 1000, dirty_percent: 41, broke_off: 1, ..CleanerNow::default() };
        for index in 0..2 {
            let log = Uncleanable { directory: "/a".into(), why: "damaged".into(), bytes: 7 };
            now.uncleanable.insert(PartitionId { topic: TopicId(uuid::Uuid::nil()), index }, log);
        }
        let families = families(&now, ["/a", "/b"].iter().map(Path::new), 1500);
        let series = |name: &str| {
            let family = families.iter().find(|family| family.name == name).unwrap();
            family.series.iter().map(|(_, value)| *value).collect::<Vec<f64>>()
        };
        assert_eq!(series("kafka_log_logcleanermanager_uncleanable_partitions_count"), [2.0, 0.0]);
        assert_eq!(series("kafka_log_logcleanermanager_uncleanable_bytes"), [14.0, 0.0]);
        assert_eq!(series("kafka_log_logcleanermanager_max_dirty_percent"), [41.0]);
        assert_eq!(series("kafka_log_logcleanermanager_time_since_last_run_ms"), [500.0]);
        assert_eq!(series("kafka_log_logcleaner_deadthreadcount"), [1.0]);
    }
}
