//! Fetch from the hot tier: limits, offsets inside batches, waiting, and sessions (KIP-227).

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse};

use crate::harness::asks::{bytes, fetching, of};
use crate::harness::broker::{Client, TestBroker};
use crate::harness::records::{batch, bulk, values, whole};
use crate::harness::wire_client::name;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;

#[tokio::test]
async fn an_offset_inside_a_batch_gets_the_whole_batch() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("mid", 1, &[]).await;
    client.append("mid", 0, batch(&["a", "b", "c"])).await;
    client.append("mid", 0, batch(&["d", "e"])).await;
    let read = values(&bytes(&client.fetch("mid", 0, 1, 1 << 20, 0).await.unwrap()));
    assert_eq!(read.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    let read = values(&bytes(&client.fetch("mid", 0, 4, 1 << 20, 0).await.unwrap()));
    assert_eq!(read, [(3, "d".to_owned()), (4, "e".to_owned())]);
}

#[tokio::test]
async fn a_first_batch_larger_than_every_limit_still_comes() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("limits", 2, &[]).await;
    for index in 0..2 {
        for serial in 0..2 {
            client.append("limits", index, bulk(serial, 10_000)).await;
        }
    }
    let answer = client.fetch("limits", 0, 0, 100, 0).await.unwrap();
    assert_eq!(whole(&bytes(&answer)).len(), 1, "one whole batch, so that the reader moves on");
    // Only the first partition of a request may exceed its limits.
    let mut request = fetching("limits", &[(0, 0), (1, 0)], 0).with_max_bytes(100);
    request.topics[0].partitions.iter_mut().for_each(|part| part.partition_max_bytes = 100);
    let response = client.call(11, &request).await.unwrap();
    assert_eq!(whole(&bytes(of(&response, 0))).len(), 1);
    assert_eq!(whole(&bytes(of(&response, 1))).len(), 0, "the limit was used up");
    // Where the limit allows it, everything comes.
    let answer = client.fetch("limits", 1, 0, 1 << 20, 0).await.unwrap();
    assert_eq!(whole(&bytes(&answer)).len(), 2);
}

#[tokio::test]
async fn offsets_outside_the_log_are_told_with_the_logs_bounds() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("range", 1, &[]).await;
    client.append("range", 0, batch(&["a"])).await;
    for offset in [-1, 2, i64::MAX] {
        let answer = client.fetch("range", 0, offset, 1 << 20, 10_000).await.unwrap();
        assert_eq!(answer.error_code, OFFSET_OUT_OF_RANGE, "offset {offset}");
        assert_eq!((bytes(&answer).len(), answer.log_start_offset), (0, 0));
    }
    let end = client.fetch("range", 0, 1, 1 << 20, 0).await.unwrap();
    assert_eq!((end.error_code, end.high_watermark, bytes(&end).len()), (0, 1, 0), "the end is not outside");
    let response = client.fetch_parts("range", &[(5, 0)], 10_000).await;
    assert_eq!(of(&response, 5).error_code, UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
async fn a_fetch_waits_for_enough_and_no_longer_than_asked() {
    let broker = TestBroker::start().await;
    let (mut reader, mut writer) = (broker.client().await, broker.client().await);
    writer.create("wait", 1, &[]).await;
    // Nothing comes: the answer is empty once the wait is over.
    let empty = reader.fetch("wait", 0, 0, 1 << 20, 50).await.unwrap();
    assert_eq!((empty.error_code, bytes(&empty).len()), (0, 0));
    // An append on another connection wakes the reader: a wait of an hour ends with it.
    let id = reader.send(11, &fetching("wait", &[(0, 0)], 3_600_000)).await.unwrap();
    writer.append("wait", 0, batch(&["woken"])).await;
    let response = reader.receive::<FetchRequest>(11, id).await.unwrap();
    assert_eq!(values(&bytes(of(&response, 0))), [(0, "woken".to_owned())]);
    // One batch is less than min_bytes: the answer holds both.
    let id = reader.send(11, &fetching("wait", &[(0, 1)], 3_600_000).with_min_bytes(2_000)).await.unwrap();
    for serial in 0..2 {
        writer.append("wait", 0, bulk(serial, 1_200)).await;
    }
    let response = reader.receive::<FetchRequest>(11, id).await.unwrap();
    assert_eq!(whole(&bytes(of(&response, 0))).len(), 2);
    // Enough is there already: nobody waits.
    let response = reader.fetch_parts("wait", &[(0, 0)], 3_600_000).await;
    assert_eq!(whole(&bytes(of(&response, 0))).len(), 3);
}

#[tokio::test]
async fn reads_stop_at_the_partitions_limit_with_whole_batches() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("many", 1, &[]).await;
    let sent: Vec<_> = (0..20).map(|serial| bulk(serial, 1_000)).collect();
    for batch in &sent {
        client.append("many", 0, batch.clone()).await;
    }
    let limit = i32::try_from(sent[0].len() * 3 + 10).unwrap();
    let answer = bytes(&client.fetch("many", 0, 4, limit, 0).await.unwrap());
    assert!(answer.len() <= limit as usize, "{} bytes", answer.len());
    let read = whole(&answer);
    assert_eq!(read.iter().map(|(header, _)| header.base_offset.0).collect::<Vec<_>>(), [4, 5, 6]);
}

/// A client's side of a fetch session.
struct Session {
    client: Client,
    id: i32,
    epoch: i32,
}

impl Session {
    async fn open(mut client: Client, parts: &[(i32, i64)]) -> (Self, FetchResponse) {
        let request = fetching("session", parts, 0).with_session_epoch(0);
        let response = client.call(11, &request).await.unwrap();
        assert_eq!(response.error_code, 0);
        assert_ne!(response.session_id, 0, "a session was made");
        (Self { client, id: response.session_id, epoch: 1 }, response)
    }

    /// The next fetch, naming only what changed.
    async fn next(&mut self, request: FetchRequest) -> FetchResponse {
        let request = request.with_session_id(self.id).with_session_epoch(self.epoch);
        let response = self.client.call(11, &request).await.unwrap();
        if response.error_code == 0 {
            self.epoch += 1;
        }
        response
    }

    async fn quiet(&mut self) -> FetchResponse {
        self.next(fetching("session", &[], 0).with_topics(Vec::new())).await
    }
}

fn told(response: &FetchResponse) -> Vec<i32> {
    let mut told: Vec<i32> = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|part| part.partition_index)
        .collect();
    told.sort();
    told
}

#[tokio::test]
async fn a_second_fetch_on_an_idle_session_names_no_partition() {
    let broker = TestBroker::start().await;
    let mut writer = broker.client().await;
    writer.create("session", 3, &[]).await;
    let (mut session, first) = Session::open(broker.client().await, &[(0, 0), (1, 0), (2, 0)]).await;
    assert_eq!(told(&first), [0, 1, 2], "the first answer names all");
    assert_eq!(told(&session.quiet().await), [0; 0]);
    writer.append("session", 1, batch(&["news"])).await;
    let news = session.quiet().await;
    assert_eq!(told(&news), [1], "only what changed");
    assert_eq!(values(&bytes(of(&news, 1))), [(0, "news".to_owned())]);
    // Read on: nothing is new again.
    let on = session.next(fetching("session", &[(1, 1)], 0)).await;
    assert_eq!(values(&on.responses.first().map(|t| bytes(&t.partitions[0])).unwrap_or_default()), []);
    assert_eq!(told(&session.quiet().await), [0; 0]);
}

#[tokio::test]
async fn a_forgotten_partition_is_not_served_any_more() {
    let broker = TestBroker::start().await;
    let mut writer = broker.client().await;
    writer.create("session", 2, &[]).await;
    let (mut session, _) = Session::open(broker.client().await, &[(0, 0), (1, 0)]).await;
    let forgotten = ForgottenTopic::default().with_topic(name("session")).with_partitions(vec![0]);
    let request =
        fetching("session", &[], 0).with_topics(Vec::new()).with_forgotten_topics_data(vec![forgotten]);
    assert_eq!(session.next(request).await.error_code, 0);
    for index in 0..2 {
        writer.append("session", index, batch(&["news"])).await;
    }
    assert_eq!(told(&session.quiet().await), [1]);
    // And it can come back.
    let back = session.next(fetching("session", &[(0, 0)], 0)).await;
    assert!(told(&back).contains(&0), "{:?}", told(&back));
}

#[tokio::test]
async fn lost_and_unknown_sessions_are_told_apart() {
    let broker = TestBroker::start().await;
    let mut writer = broker.client().await;
    writer.create("session", 1, &[]).await;
    let (mut session, _) = Session::open(broker.client().await, &[(0, 0)]).await;
    session.epoch = 5;
    assert_eq!(session.quiet().await.error_code, INVALID_FETCH_SESSION_EPOCH);
    session.epoch = 1;
    assert_eq!(session.quiet().await.error_code, 0, "the session outlives a wrong epoch");
    let id = session.id;
    session.id = id.wrapping_add(1);
    assert_eq!(session.quiet().await.error_code, FETCH_SESSION_ID_NOT_FOUND);
    // Epoch -1 closes it.
    session.id = id;
    let part = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(name("session")).with_partitions(vec![part]);
    let close =
        fetching("session", &[], 0).with_topics(vec![topic]).with_session_id(id).with_session_epoch(-1);
    let closed = session.client.call(11, &close).await.unwrap();
    assert_eq!((closed.error_code, closed.session_id), (0, 0));
    assert_eq!(session.quiet().await.error_code, FETCH_SESSION_ID_NOT_FOUND);
}
