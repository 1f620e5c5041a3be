//! image → the records that rebuild it, as snapshots store it; and back. Not their bytes.
//! Invariant: `from_records(to_records(image))` equals the image, offset and term apart.

use crate::image::fold::{Applied, NoOp};
use crate::image::metadata::MetadataImage;
use crate::record::kinds::Record;

impl MetadataImage {
    /// The records, in an order that folds: the feature level first, partitions after their topic. Empty for an
    /// image before its first record.
    pub fn to_records(&self) -> impl Iterator<Item = Record> + '_ {
        let level = (self.feature_level != 0).then_some(Record::FeatureLevel { level: self.feature_level });
        let cluster = (!self.cluster_id.is_empty()).then(|| Record::Cluster { id: self.cluster_id.clone() });
        let next = self.producer_ids.next();
        let ids = (next != 0).then_some(Record::ProducerIds { next });
        let brokers = self.brokers.table().values().cloned().map(Record::Broker);
        let brokers = brokers.chain(self.epochs_of_the_gone());
        let head = level.into_iter().chain(cluster).chain(ids).chain(brokers);
        head.chain(self.topic_records()).chain(self.config_records()).chain(self.tier_records())
    }

    /// The next broker epoch, if the registrations left do not tell it.
    fn epochs_of_the_gone(&self) -> Option<Record> {
        let next = self.brokers.next_epoch();
        let told = self.brokers.iter().map(|broker| broker.epoch.0.saturating_add(1)).max().unwrap_or(0);
        (told < next.0).then_some(Record::BrokerEpochs { next })
    }

    fn topic_records(&self) -> impl Iterator<Item = Record> + '_ {
        let live = self.topics.live().values().flat_map(|topic| {
            let id = topic.id;
            let rows = topic.partitions.iter().zip(0..);
            let head = Record::Topic { id, name: topic.name.to_string() };
            let rows = rows.map(move |(row, index)| Record::Partition { topic: id, index, row: row.clone() });
            std::iter::once(head).chain(rows)
        });
        let deleted = self.topics.tombstones().map(|(id, tombstone)| Record::TopicDeleted {
            id,
            name: tombstone.name.to_string(),
            partitions: tombstone.partitions,
        });
        live.chain(deleted)
    }

    fn config_records(&self) -> impl Iterator<Item = Record> + '_ {
        self.configs.table().iter().flat_map(|(resource, values)| {
            values.iter().map(|(key, value)| Record::Config {
                resource: *resource,
                key: key.to_string(),
                value: Some(value.to_string()),
            })
        })
    }

    fn tier_records(&self) -> impl Iterator<Item = Record> + '_ {
        self.tiers.table().iter().map(|((topic, index), row)| Record::TierRow {
            topic: *topic,
            index: *index,
            row: row.clone(),
        })
    }

    /// Folds one record of a snapshot.
    pub fn restore(&mut self, record: &Record) -> Result<(), NoOp> {
        self.fold(record, &mut Applied::default())
    }
}
