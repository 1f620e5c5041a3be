//! The consumer group series of kafka_exporter: members, committed offsets and lag, so that lag alerts need no program
//! of their own beside the broker. Lag is known for partitions this broker leads.

use std::collections::BTreeMap;

use crate::api::context::Shared;
use crate::telemetry::exposition::{Family, Labels};

/// The families of the groups coordinated here; none while their partitions are being loaded.
pub async fn families(shared: &Shared) -> Vec<Family> {
    let Ok(groups) = shared.groups.list().await else { return Vec::new() };
    let (mut members, mut current, mut lag, mut sums) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for group in groups {
        let name = group.id.as_str().to_owned();
        if let Ok(Some(described)) = shared.groups.describe(&group.id).await {
            members.push((vec![("consumergroup", name.clone())], described.members.len()));
        }
        let committed = shared.groups.offsets(&group.id, |offsets| {
            let each = offsets.into_iter().flat_map(|offsets| offsets.iter());
            each.map(|(topic, partition, value)| (topic.to_owned(), partition, value.offset))
                .collect::<Vec<_>>()
        });
        let mut by_topic: BTreeMap<String, i64> = BTreeMap::new();
        for (topic, partition, offset) in committed.await.unwrap_or_default() {
            let labels = labels(&name, &topic, Some(partition));
            current.push((labels.clone(), offset));
            if let Some(replica) = shared.hosted.find(&topic, partition) {
                let behind = (replica.high_watermark().0 - offset).max(0);
                lag.push((labels, behind));
                *by_topic.entry(topic).or_default() += behind;
            }
        }
        sums.extend(by_topic.into_iter().map(|(topic, sum)| (labels(&name, &topic, None), sum)));
    }
    vec![
        Family::gauge("kafka_consumergroup_members", "Members of a consumer group").all(members),
        Family::gauge("kafka_consumergroup_current_offset", "Committed offset").all(current),
        Family::gauge("kafka_consumergroup_lag", "Records between committed offset and high watermark")
            .all(lag),
        Family::gauge("kafka_consumergroup_lag_sum", "The same over the partitions of a topic").all(sums),
    ]
}

fn labels(group: &str, topic: &str, partition: Option<i32>) -> Labels {
    let mut labels = vec![("consumergroup", group.to_owned()), ("topic", topic.to_owned())];
    labels.extend(partition.map(|index| ("partition", index.to_string())));
    labels
}
