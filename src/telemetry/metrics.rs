//! The metrics of a broker that need neither bucket nor groups, by the names Kafka's dashboards use (Strimzi's
//! spelling), those of kafka_exporter, and ours. It reads plain counters at each scrape and keeps none. The number of
//! series is bounded by what is held; `firn.metrics.partition.level=off` leaves partitions out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use firnline_controller::id::BrokerId;
use firnline_controller::image::metadata::MetadataImage;

use crate::api::context::Shared;
use crate::broker::tiers::Tiers;
use crate::partition::replica::PartitionHandle;
use crate::telemetry::exposition::{Family, Labels};
use crate::telemetry::labels::{partition, topic};
use crate::telemetry::{cleaner_metrics, group_metrics, process, replication_metrics, tier_metrics};
use crate::wire::api_key::TABLE;

/// What a scrape looks at.
pub struct Seen {
    /// What every core shares.
    pub shared: Arc<Shared>,
    /// The bucket, if there is one.
    pub tiers: Option<Arc<Tiers>>,
}

impl Seen {
    /// All families now.
    pub async fn families(&self) -> Vec<Family> {
        let (image, hosted) = (self.shared.controller.image(), self.shared.hosted.all());
        let mut families = traffic(&hosted);
        families.extend(replicas(&image, &hosted));
        families.extend(replication_metrics::families(&self.shared, &hosted));
        families.extend(self.controller(&image));
        families.extend(self.serving());
        families.extend(self.lane());
        families.extend(self.disks());
        families.extend(self.cleaner());
        families.extend(process::families());
        if self.shared.config.settings.text("firn.metrics.partition.level") != Some("off") {
            families.extend(partitions(&hosted));
            families.push(replication_metrics::lags(&hosted));
            families.extend(exporter(&image, &hosted));
            families.extend(group_metrics::families(&self.shared).await);
        }
        if let Some(tiers) = &self.tiers {
            families.extend(tier_metrics::families(tiers, &hosted));
        }
        families
    }
}

fn traffic(hosted: &[PartitionHandle]) -> Vec<Family> {
    let mut by_topic: BTreeMap<Arc<str>, [u64; 7]> = BTreeMap::new();
    for replica in hosted {
        let sums = by_topic.entry(replica.topic_name().clone()).or_default();
        for (sum, now) in sums.iter_mut().zip(replica.traffic().now()) {
            *sum += now;
        }
    }
    let names = [
        ("kafka_server_brokertopicmetrics_messagesin", "Records produced"),
        ("kafka_server_brokertopicmetrics_bytesin", "Bytes produced"),
        ("kafka_server_brokertopicmetrics_bytesout", "Bytes fetched by consumers"),
        (
            "kafka_server_brokertopicmetrics_totalproducerequests",
            "Produce requests, once per partition in them",
        ),
        ("kafka_server_brokertopicmetrics_totalfetchrequests", "Fetch requests, once per partition in them"),
        (
            "kafka_server_brokertopicmetrics_failedproducerequests",
            "Partitions of produce requests that failed",
        ),
        ("kafka_server_brokertopicmetrics_failedfetchrequests", "Partitions of fetch requests that failed"),
    ];
    let families = names.iter().enumerate().map(|(at, (name, help))| {
        Family::counter(name, help).all(by_topic.iter().map(|(name, sums)| (topic(name), sums[at])))
    });
    families.collect()
}

fn replicas(image: &MetadataImage, hosted: &[PartitionHandle]) -> Vec<Family> {
    let (mut under_replicated, mut under_min, mut at_min, mut counts) = (0, 0, 0, Vec::new());
    let mut series: [Vec<(Labels, bool)>; 2] = Default::default();
    for replica in hosted.iter().filter(|replica| replica.is_leader()) {
        let id = replica.id();
        let Some(row) = image.topics.partition(id.topic, id.index) else { continue };
        let (in_sync, required) = replica.in_sync();
        under_replicated += usize::from(row.isr.len() < row.replicas.len());
        under_min += usize::from(in_sync < required);
        at_min += usize::from(in_sync == required);
        let labels = partition(replica.topic_name(), id.index);
        series[0].push((labels.clone(), in_sync < required));
        series[1].push((labels.clone(), in_sync == required));
        counts.push((labels, row.replicas.len()));
    }
    let led = hosted.iter().filter(|replica| replica.is_leader()).count();
    let [below, at] = series;
    vec![
        Family::gauge("kafka_server_replicamanager_leadercount", "Partitions led here").of(led),
        Family::gauge("kafka_server_replicamanager_partitioncount", "Partitions held here").of(hosted.len()),
        Family::gauge(
            "kafka_server_replicamanager_underreplicatedpartitions",
            "Partitions led here with fewer in-sync replicas than replicas",
        )
        .of(under_replicated),
        Family::gauge(
            "kafka_server_replicamanager_underminisrpartitioncount",
            "Partitions led here below min.insync.replicas",
        )
        .of(under_min),
        Family::gauge(
            "kafka_server_replicamanager_atminisrpartitioncount",
            "Partitions led here at min.insync.replicas",
        )
        .of(at_min),
        Family::gauge("kafka_cluster_partition_underminisr", "1 below min.insync.replicas").all(below),
        Family::gauge("kafka_cluster_partition_atminisr", "1 at min.insync.replicas").all(at),
        Family::gauge("kafka_cluster_partition_replicascount", "Replicas of a partition led here")
            .all(counts),
    ]
}

impl Seen {
    fn controller(&self, image: &MetadataImage) -> Vec<Family> {
        let quorum = self.shared.controller.quorum();
        let node = BrokerId(self.shared.config.node_id);
        let partitions = || image.topics.iter().flat_map(|topic| topic.partitions.iter());
        let preferred = |row: &&firnline_controller::record::kinds::Partition| {
            row.leader != row.replicas.first().copied()
        };
        let log_end = quorum.voters.iter().find(|voter| voter.id == node).map(|voter| voter.log_end);
        let gauge = Family::gauge;
        vec![
            gauge("kafka_controller_kafkacontroller_activecontrollercount", "1 on the active controller")
                .of(quorum.leader == Some(node)),
            gauge("kafka_controller_kafkacontroller_offlinepartitionscount", "Partitions without a leader")
                .of(partitions().filter(|row| row.leader.is_none()).count()),
            gauge(
                "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
                "Partitions not led by their first replica",
            )
            .of(partitions().filter(preferred).count()),
            gauge("kafka_controller_kafkacontroller_globaltopiccount", "Topics").of(image.topics.len()),
            gauge("kafka_controller_kafkacontroller_globalpartitioncount", "Partitions")
                .of(partitions().count()),
            gauge("kafka_controller_kafkacontroller_activebrokercount", "Live brokers")
                .of(image.brokers.live().count()),
            gauge(
                "kafka_controller_kafkacontroller_fencedbrokercount",
                "Registered brokers that are not live",
            )
            .of(image.brokers.iter().count() - image.brokers.live().count()),
            gauge("kafka_server_raftmetrics_current_leader", "Node id of the quorum's leader, -1 for none")
                .of(quorum.leader.map_or(-1, |leader| i64::from(leader.0))),
            gauge("kafka_server_raftmetrics_current_epoch", "Term of the quorum").of(quorum.term),
            gauge("kafka_server_raftmetrics_high_watermark", "Committed end of the metadata log")
                .of(quorum.high_watermark),
            gauge("kafka_server_raftmetrics_log_end_offset", "End of this node's metadata log")
                .all(log_end.map(|end| (Labels::new(), end))),
        ]
    }

    fn cleaner(&self) -> Vec<Family> {
        let directories = self.shared.directories.iter().map(|directory| directory.path());
        cleaner_metrics::families(&self.shared.cleaner.now(), directories, self.shared.clock.now_ms())
    }

    fn serving(&self) -> Vec<Family> {
        let (counters, listeners) = (&self.shared.counters, &self.shared.listeners);
        // Connections are counted together; with one listener they are its own.
        let listener = match listeners.as_slice() {
            [one] => one.name.clone(),
            _ => "all".to_owned(),
        };
        let path = |path: &str| vec![("path", path.to_owned())];
        let sessions = &self.shared.sessions;
        let requests = TABLE
            .iter()
            .map(|api| (vec![("api", api.name.to_owned())], counters.requests(api.key).get()))
            .filter(|(_, count)| *count > 0);
        vec![
            Family::gauge("kafka_server_fetchsessioncache_numincrementalfetchsessions", "Fetch sessions")
                .of(sessions.len()),
            Family::gauge(
                "kafka_server_fetchsessioncache_numincrementalfetchpartitionscached",
                "Partitions in all fetch sessions",
            )
            .of(sessions.partitions()),
            Family::counter(
                "kafka_server_fetchsessioncache_incrementalfetchsessionevictions",
                "Fetch sessions that made room for others",
            )
            .of(sessions.evictions()),
            Family::gauge("kafka_server_socket_server_metrics_connection_count", "Open client connections")
                .with(vec![("listener", listener)], counters.connections.get()),
            Family::counter("firn_fetch_bytes", "Record bytes that left for consumers, by the way they took")
                .with(path("sendfile"), counters.fetch_sendfile_bytes.get())
                .with(path("copy"), counters.fetch_copy_bytes.get())
                .with(path("cold"), counters.fetch_cold_bytes.get()),
            Family::gauge("firn_open_segment_files", "Open segment files")
                .of(counters.open_segment_files.get()),
            Family::counter("firn_cross_core_wakes", "Wakes from one serving core to another")
                .of(self.shared.board.cross_core_wakes()),
            Family::counter("firn_requests", "Requests by API").all(requests),
            Family::counter("firn_produce_bytes", "Record bytes appended for clients")
                .of(counters.produce_bytes.get()),
            Family::counter("firn_produce_batches", "Batches appended for clients")
                .of(counters.produce_batches.get()),
            Family::counter("firn_append_retries", "Appends that found the log's lock taken and tried again")
                .of(counters.append_retries.get()),
            Family::counter("firn_durability_rounds", "Rounds of fsyncs before acknowledgements")
                .of(counters.durability_rounds.get()),
            Family::counter("firn_durability_syncs", "Partitions made durable in those rounds")
                .of(counters.durability_syncs.get()),
            Family::counter("firn_connections_accepted", "Connections accepted")
                .of(counters.connections_accepted.get()),
            Family::counter("firn_connections_refused", "Connections refused because there were too many")
                .of(counters.connections_refused.get()),
            Family::counter("firn_connections_broken", "Connections closed for what they sent")
                .of(counters.connections_broken.get()),
        ]
    }

    /// What waits for the local disk, and what it holds meanwhile.
    fn lane(&self) -> Vec<Family> {
        let (lane, read) = (&self.shared.lane, |count: &AtomicU64| count.load(Ordering::Relaxed));
        let (counts, (held, limit)) = (lane.counts(), lane.memory());
        let why = |why: &str| vec![("why", why.to_owned())];
        let (gauge, counter) = (Family::gauge, Family::counter);
        vec![
            gauge("firn_cold_lane_waiting", "Local disk work that waits for a place or for memory")
                .of(read(&counts.waiting)),
            gauge("firn_cold_lane_memory_bytes", "Cold local bytes on their way to consumers").of(held),
            gauge("firn_cold_lane_memory_limit_bytes", "firn.cold.lane.memory.bytes").of(limit),
            counter("firn_cold_lane_budget_waits", "Cold local reads that waited for memory")
                .of(read(&counts.budget_waits)),
            counter("firn_cold_lane_read_bytes", "Cold local bytes read from disk, by why")
                .with(why("demand"), read(&counts.read_bytes))
                .with(why("ahead"), read(&counts.ahead_bytes)),
            counter("firn_cold_lane_ahead_used_bytes", "Bytes read ahead that a consumer took")
                .of(read(&counts.ahead_used_bytes)),
        ]
    }

    fn disks(&self) -> Vec<Family> {
        let (mut total, mut usable) = (Vec::new(), Vec::new());
        for directory in &self.shared.directories {
            let (all, left) = directory.space();
            if all >= 0 {
                let labels: Labels = vec![("dir", directory.path().display().to_string())];
                total.push((labels.clone(), all));
                usable.push((labels, left));
            }
        }
        let offline: Vec<(Labels, usize)> = self
            .shared
            .directories
            .iter()
            .map(|it| {
                (vec![("logDirectory", it.path().display().to_string())], it.failed().is_some() as usize)
            })
            .collect();
        let count: usize = offline.iter().map(|(_, offline)| offline).sum();
        vec![
            Family::gauge("firn_disk_total_bytes", "Size of a log directory's file system").all(total),
            Family::gauge("firn_disk_available_bytes", "Free bytes on it, as last looked").all(usable),
            Family::gauge(
                "kafka_log_logmanager_offlinelogdirectorycount",
                "Log directories with a failed disk",
            )
            .of(count),
            Family::gauge(
                "kafka_log_logmanager_logdirectoryoffline",
                "1 for a log directory with a failed disk",
            )
            .all(offline),
        ]
    }
}

fn partitions(hosted: &[PartitionHandle]) -> Vec<Family> {
    let each = |value: fn(&PartitionHandle) -> i64| {
        hosted
            .iter()
            .map(move |replica| (partition(replica.topic_name(), replica.id().index), value(replica)))
    };
    let size = |replica: &PartitionHandle| i64::try_from(replica.log().size_bytes()).unwrap_or(i64::MAX);
    let segments = |replica: &PartitionHandle| replica.log().segment_count() as i64;
    vec![
        Family::gauge("kafka_log_log_size", "Bytes of log on the local disk").all(each(size)),
        Family::gauge("kafka_log_log_numlogsegments", "Segments on the local disk").all(each(segments)),
        Family::gauge("kafka_log_log_logstartoffset", "First offset in any tier")
            .all(each(|replica| replica.offsets().log_start.0)),
        Family::gauge("kafka_log_log_logendoffset", "One past the last offset")
            .all(each(|replica| replica.offsets().end.0)),
        Family::gauge("firn_log_local_start_offset", "First offset on the local disk")
            .all(each(|replica| replica.offsets().local_start.0)),
    ]
}

/// The series of kafka_exporter that need no consumer group.
fn exporter(image: &MetadataImage, hosted: &[PartitionHandle]) -> Vec<Family> {
    let rows = || {
        let of_topic = |topic: &firnline_controller::image::topics::Topic| {
            let rows = topic.partitions.iter().cloned().enumerate();
            rows.map(|(index, row)| (partition(&topic.name, index as i32), row)).collect::<Vec<_>>()
        };
        image.topics.iter().flat_map(of_topic).collect::<Vec<_>>()
    };
    let gauge = |name, help, value: fn(&firnline_controller::record::kinds::Partition) -> i64| {
        Family::gauge(name, help).all(rows().into_iter().map(|(labels, row)| (labels, value(&row))))
    };
    let offsets = |name, help, value: fn(&PartitionHandle) -> i64| {
        let led = hosted.iter().filter(|replica| replica.is_leader());
        Family::gauge(name, help)
            .all(led.map(|replica| (partition(replica.topic_name(), replica.id().index), value(replica))))
    };
    let topics = image.topics.iter().map(|each| (topic(&each.name), each.partition_count()));
    vec![
        Family::gauge("kafka_brokers", "Live brokers").of(image.brokers.live().count()),
        Family::gauge("kafka_topic_partitions", "Partitions of a topic").all(topics),
        offsets(
            "kafka_topic_partition_current_offset",
            "One past the last offset a consumer may read",
            |replica| replica.high_watermark().0,
        ),
        offsets("kafka_topic_partition_oldest_offset", "First offset in any tier", |replica| {
            replica.offsets().log_start.0
        }),
        gauge("kafka_topic_partition_leader", "Leading broker, -1 for none", |row| {
            row.leader.map_or(-1, |leader| i64::from(leader.0))
        }),
        gauge("kafka_topic_partition_replicas", "Replicas", |row| row.replicas.len() as i64),
        gauge("kafka_topic_partition_in_sync_replica", "Replicas in sync", |row| row.isr.len() as i64),
        gauge("kafka_topic_partition_leader_is_preferred", "1 when the first replica leads", |row| {
            i64::from(row.leader.is_some() && row.leader == row.replicas.first().copied())
        }),
        gauge(
            "kafka_topic_partition_under_replicated_partition",
            "1 with fewer in-sync replicas than replicas",
            |row| i64::from(row.isr.len() < row.replicas.len()),
        ),
    ]
}
