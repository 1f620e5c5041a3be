//! Every advertised version of every API, sent to a running broker by the codec and answered with what it should be.
//! `docs/protocol.md` names these tests row by row. Invariant: the versions come from the table, not from here.

mod admin;
mod cluster;
mod data;
mod groups;

use std::ops::RangeInclusive;

use firnline::wire::api_key::ApiKey;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{CreateTopicsRequest, MetadataRequest};
use tokio::net::TcpStream;

use crate::harness::broker::TestBroker;
use crate::harness::wire_client::{WireClient, name};

/// What the table advertises.
fn versions(key: ApiKey) -> RangeInclusive<i16> {
    key.api().min..=key.api().max
}

/// A broker, a connection to it, and topic `t` of two partitions with its id.
struct Bench {
    broker: TestBroker,
    client: WireClient<TcpStream>,
    id: uuid::Uuid,
}

impl Bench {
    async fn open() -> Bench {
        let broker = TestBroker::start().await;
        let mut client = broker.client().await;
        create(&mut client, "t", 2).await;
        let request = MetadataRequest::default().with_topics(None);
        let metadata = client.call(12, &request).await.expect("metadata");
        let id =
            metadata.topics.iter().find(|topic| topic.name == Some(name("t"))).expect("it was made").topic_id;
        Bench { broker, client, id }
    }

    async fn close(mut self) {
        drop(self.client);
        self.broker.stop().await;
    }
}

async fn create(client: &mut WireClient<TcpStream>, topic: &str, partitions: i32) {
    let topic = CreatableTopic::default().with_name(name(topic)).with_num_partitions(partitions);
    let topics = vec![topic.with_replication_factor(1)];
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000);
    let response = client.call(7, &request).await.expect("an answer");
    assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0]);
}
