//! Metrics of replication: ISRs that shrink and grow, how far followers are behind, bytes copied, what throttles hold
//! back. Kafka's names where it has them, in the spelling of Strimzi's dashboards. It reads counters and keeps none.
//! Invariant: a lag is of partitions that this broker follows, in-sync ones included.

use crate::api::context::Shared;
use crate::partition::replica::PartitionHandle;
use crate::telemetry::exposition::{Family, Labels};
use crate::telemetry::labels::partition;

/// The families that name no partition.
pub fn families(shared: &Shared, hosted: &[PartitionHandle]) -> Vec<Family> {
    let (gauge, counter) = (Family::gauge, Family::counter);
    let [shrinks, expands, failures] = shared.isr.counts();
    let [bytes_in, bytes_out] = shared.quotas.copied();
    let lag = hosted.iter().filter(|replica| replica.is_following()).map(|replica| replica.lag()).max();
    let client: Labels = vec![("clientId", "Replica".to_owned())];
    let failed = |partition: &&PartitionHandle| partition.log().offline().is_some();
    let offline = hosted.iter().filter(failed).count() + shared.hosted.failed().len();
    let mut families = vec![
        counter(
            "kafka_server_replicamanager_isrshrinks",
            "ISRs that lost a member because its leader here asked",
        )
        .of(shrinks),
        counter(
            "kafka_server_replicamanager_isrexpands",
            "ISRs that gained a member because its leader here asked",
        )
        .of(expands),
        counter(
            "kafka_server_replicamanager_failedisrupdates",
            "Changes of an ISR that the controller did not make",
        )
        .of(failures),
        gauge("kafka_server_replicamanager_offlinereplicacount", "Replicas here whose disk failed")
            .of(offline),
        gauge(
            "kafka_server_replicafetchermanager_maxlag",
            "Committed records that the slowest follower here lacks",
        )
        .with(client, lag.unwrap_or(0)),
        counter("kafka_server_brokertopicmetrics_replicationbytesin", "Bytes taken from leaders")
            .of(bytes_in),
        counter("kafka_server_brokertopicmetrics_replicationbytesout", "Bytes given to followers")
            .of(bytes_out),
        counter(
            "kafka_controller_controllerstats_uncleanleaderelections",
            "Leaders chosen by this node that may lack acknowledged records",
        )
        .of(shared.controller.unclean_elections()),
    ];
    families.extend(throttles(shared));
    families
}

fn throttles(shared: &Shared) -> [Family; 3] {
    let quotas = &shared.quotas;
    let all =
        [("leader", &quotas.leader), ("follower", &quotas.follower), ("directories", &quotas.directories)];
    let by = |by: &str| -> Labels { vec![("by", by.to_owned())] };
    [
        Family::gauge("firn_replication_throttle_bytes_per_second", "The limit for throttled replicas")
            .all(all.iter().map(|(name, quota)| (by(name), quota.limit()))),
        Family::counter("firn_replication_throttled_bytes", "Bytes that counted against it")
            .all(all.iter().map(|(name, quota)| (by(name), quota.counts().0))),
        Family::counter("firn_replication_held_back", "How often a replica had to wait for it")
            .all(all.iter().map(|(name, quota)| (by(name), quota.counts().1))),
    ]
}

/// How far each partition that is followed here is behind its leader.
pub fn lags(hosted: &[PartitionHandle]) -> Family {
    let series = hosted.iter().filter_map(|replica| {
        let leader = replica.following()?.leader.0;
        let mut labels = partition(replica.topic_name(), replica.id().index);
        labels.push(("clientId", format!("ReplicaFetcherThread-0-{leader}")));
        Some((labels, replica.lag()))
    });
    Family::gauge(
        "kafka_server_fetcherlagmetrics_consumerlag",
        "Committed records that a follower here lacks",
    )
    .all(series)
}
