//! A small cluster for the tests of handlers. Broker 1 is live on two listeners, 2 is live on one, 3 is fenced.
//! Not a fixture of a format. Invariant: it is built from records, as every image is.
use std::sync::Arc;

use firnline_controller::id::{BrokerEpoch, BrokerId, PartitionEpoch, TopicId};
use firnline_controller::image::metadata::MetadataImage;
use firnline_controller::record::entry::Group;
use firnline_controller::record::kinds::{Broker, Endpoint, FEATURE_LEVEL, Partition, Record, Resource};
use firnline_tiering::epoch::LeaderEpoch;
use uuid::Uuid;

use crate::metadata::view::MetadataView;

/// Topic `orders`: three partitions, led by 1, 2 and nobody.
pub(crate) const ORDERS: TopicId = TopicId(Uuid::from_u128(0xa));
/// Topic `__consumer_offsets`: one partition, led by 1.
pub(crate) const OFFSETS: TopicId = TopicId(Uuid::from_u128(0xb));
/// Topic `quiet`: one partition, led by 3, which is fenced.
pub(crate) const QUIET: TopicId = TopicId(Uuid::from_u128(0xc));

/// The cluster at one moment; `orders` has `retention.ms=1000`.
pub(crate) fn view() -> MetadataView {
    let mut records = vec![Record::FeatureLevel { level: FEATURE_LEVEL }];
    records.extend([
        broker(1, &["OUT", "IN"], false),
        broker(2, &["IN"], false),
        broker(3, &["OUT", "IN"], true),
    ]);
    topic(&mut records, ORDERS, "orders", &[Some(1), Some(2), None]);
    topic(&mut records, OFFSETS, "__consumer_offsets", &[Some(1)]);
    topic(&mut records, QUIET, "quiet", &[Some(3)]);
    let (key, value) = ("retention.ms".to_owned(), Some("1000".to_owned()));
    records.push(Record::Config { resource: Resource::Topic(ORDERS), key, value });
    let mut image = MetadataImage::default();
    // cannot fail: the records above are consistent, and this is compiled for tests only.
    image.apply_group(&Group { preconditions: Vec::new(), records }).expect("a consistent cluster");
    MetadataView::new(Arc::new(image))
}

fn broker(id: i32, listeners: &[&str], fenced: bool) -> Record {
    let endpoints = listeners.iter().map(|listener| Endpoint {
        listener: (*listener).to_owned(),
        host: format!("{}-{id}", listener.to_lowercase()),
        port: 9092,
        protocol: 0,
    });
    Record::Broker(Broker {
        id: BrokerId(id),
        epoch: BrokerEpoch(i64::from(id)),
        incarnation: Uuid::from_u128(id as u128),
        endpoints: endpoints.collect(),
        rack: Some(format!("rack-{id}")),
        fenced,
        ..Broker::default()
    })
}

fn topic(records: &mut Vec<Record>, id: TopicId, name: &str, leaders: &[Option<i32>]) {
    records.push(Record::Topic { id, name: name.to_owned() });
    for (leader, index) in leaders.iter().zip(0..) {
        let row = Partition {
            replicas: [BrokerId(leader.unwrap_or(1)), BrokerId(3)].into(),
            isr: leader.iter().map(|id| BrokerId(*id)).collect(),
            leader: leader.map(BrokerId),
            leader_epoch: LeaderEpoch(5),
            epoch: PartitionEpoch(0),
            ..Partition::default()
        };
        records.push(Record::Partition { topic: id, index, row });
    }
}
