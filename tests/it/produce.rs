//! Produce through the wire: what is acked, what is refused and why, and that a refusal harms nobody else.
//! Each flow reads back what it wrote: an ack is only worth what a fetch finds.

use bytes::Bytes;
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::header::crc32c;
use firnline_tiering::clock::{Clock, SystemClock};
use kafka_protocol::messages::InitProducerIdRequest;

use crate::harness::asks::{LATEST, bytes, production};
use crate::harness::broker::{Client, TestBroker};
use crate::harness::records::{batch, values};
use crate::harness::wait::until;

const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_REQUIRED_ACKS: i16 = 21;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_RECORD: i16 = 87;

async fn all(client: &mut Client, topic: &str, index: i32) -> Vec<String> {
    let answer = client.fetch(topic, index, 0, 8 << 20, 0).await.expect("Fetch");
    assert_eq!(answer.error_code, 0);
    values(&bytes(&answer)).into_iter().map(|(_, value)| value).collect()
}

/// Puts the right CRC on a batch that was changed.
fn sealed(mut batch: Vec<u8>) -> Bytes {
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

fn with(batch: &Bytes, at: usize, field: &[u8]) -> Vec<u8> {
    let mut changed = batch.to_vec();
    changed[at..at + field.len()].copy_from_slice(field);
    changed
}

#[tokio::test]
async fn every_kind_of_acks_writes() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("acks", 1, &[]).await;
    // No answer comes to acks=0: the next answer belongs to the next request, which `receive` asserts.
    client.send(9, &production("acks", 0, vec![(0, batch(&["none"]))])).await.unwrap();
    for (acks, value, offset) in [(1, "one", 1), (-1, "all", 2)] {
        let response = client.call(9, &production("acks", acks, vec![(0, batch(&[value]))])).await.unwrap();
        let part = &response.responses[0].partition_responses[0];
        assert_eq!((part.error_code, part.base_offset), (0, offset));
    }
    assert_eq!(all(&mut client, "acks", 0).await, ["none", "one", "all"]);
    let response = client.call(9, &production("acks", 2, vec![(0, batch(&["two"]))])).await.unwrap();
    assert_eq!(response.responses[0].partition_responses[0].error_code, INVALID_REQUIRED_ACKS);
    assert_eq!(client.offset("acks", 0, LATEST).await, 3);
}

#[tokio::test]
async fn a_failure_without_acks_closes_the_connection() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("silent", 1, &[]).await;
    client
        .send(9, &production("silent", 0, vec![(0, sealed(with(&batch(&["x"]), 57, &[0, 0, 0, 9])))]))
        .await
        .unwrap();
    assert!(client.read_frame().await.is_err(), "the only way to tell a client that awaits no answer");
    assert_eq!(broker.client().await.offset("silent", 0, LATEST).await, 0);
}

#[tokio::test]
async fn one_partitions_error_leaves_the_others_alone() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("parts", 2, &[]).await;
    let broken = with(&batch(&["damaged"]), 70, b"!").into();
    let parts = vec![(0, batch(&["a"])), (1, broken), (7, batch(&["nowhere"]))];
    let response = client.call(9, &production("parts", -1, parts)).await.unwrap();
    let told: Vec<_> =
        response.responses[0].partition_responses.iter().map(|p| (p.index, p.error_code)).collect();
    assert_eq!(told, [(0, 0), (1, CORRUPT_MESSAGE), (7, UNKNOWN_TOPIC_OR_PARTITION)]);
    assert_eq!(all(&mut client, "parts", 0).await, ["a"]);
    assert_eq!(client.offset("parts", 1, LATEST).await, 0);
    let response = client.call(9, &production("no-such-topic", -1, vec![(0, batch(&["x"]))])).await.unwrap();
    assert_eq!(response.responses[0].partition_responses[0].error_code, UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
async fn a_repeated_idempotent_batch_is_acked_at_its_first_offset() {
    let mut broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("once", 1, &[]).await;
    let request =
        InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(-1);
    let producer = client.call(4, &request).await.unwrap();
    assert_eq!(producer.error_code, 0);
    let sent = |sequence: i32| {
        let mut builder =
            BatchBuilder::new().producer(producer.producer_id.0, producer.producer_epoch, sequence);
        builder.push(SystemClock.now_ms(), None, Some(format!("v{sequence}").as_bytes()), &[]);
        builder.build()
    };
    for sequence in 0..5 {
        assert_eq!(client.append("once", 0, sent(sequence)).await, i64::from(sequence));
    }
    for sequence in 0..5 {
        assert_eq!(client.append("once", 0, sent(sequence)).await, i64::from(sequence), "a duplicate");
    }
    let gap = client.produce("once", 0, sent(7)).await.unwrap();
    assert_eq!(gap.error_code, OUT_OF_ORDER_SEQUENCE_NUMBER);
    // The window of five outlives the process.
    broker.restart().await;
    let mut client = broker.client().await;
    assert_eq!(client.append("once", 0, sent(1)).await, 1, "a duplicate from before the restart");
    assert_eq!(client.append("once", 0, sent(5)).await, 5);
    assert_eq!(all(&mut client, "once", 0).await, ["v0", "v1", "v2", "v3", "v4", "v5"]);
}

#[tokio::test]
async fn a_batch_above_the_topics_limit_is_refused() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("small", 1, &[("max.message.bytes", "1000")]).await;
    let large = client.produce("small", 0, batch(&[&"x".repeat(1000)])).await.unwrap();
    assert_eq!(large.error_code, MESSAGE_TOO_LARGE);
    assert_eq!(client.append("small", 0, batch(&[&"x".repeat(900)])).await, 0);
}

#[tokio::test]
async fn a_compacted_topic_names_the_records_without_a_key() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("keyed", 1, &[("cleanup.policy", "compact")]).await;
    let mut builder = BatchBuilder::new();
    for key in [Some(&b"k"[..]), None, Some(b"k"), None] {
        builder.push(SystemClock.now_ms(), key, Some(b"v"), &[]);
    }
    let refused = client.produce("keyed", 0, builder.build()).await.unwrap();
    assert_eq!(refused.error_code, INVALID_RECORD);
    let named: Vec<i32> = refused.record_errors.iter().map(|error| error.batch_index).collect();
    assert_eq!(named, [1, 3]);
    assert!(refused.record_errors[0].batch_index_error_message.is_some(), "and says why");
    assert_eq!(client.append("keyed", 0, batch(&["with a key"])).await, 0);
}

#[tokio::test]
async fn bytes_that_lie_are_refused_and_never_stored() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("lies", 1, &[]).await;
    let good = batch(&["abc", "def"]);
    let magic = |magic: u8| Bytes::from(with(&good, 16, &[magic]));
    let first_record = 61;
    let lies = [
        ("bad CRC", with(&good, 80, b"!").into(), CORRUPT_MESSAGE),
        ("magic 0", magic(0), INVALID_RECORD),
        ("magic 1", magic(1), INVALID_RECORD),
        ("more records than there are", sealed(with(&good, 57, &9i32.to_be_bytes())), INVALID_RECORD),
        (
            "fewer records than there are",
            sealed(with(&with(&good, 57, &1i32.to_be_bytes()).into(), 23, &0i32.to_be_bytes())),
            INVALID_RECORD,
        ),
        (
            "2^31-1 records",
            sealed(with(&with(&good, 57, &i32::MAX.to_be_bytes()).into(), 23, &(i32::MAX - 1).to_be_bytes())),
            INVALID_RECORD,
        ),
        ("a record longer than the batch", sealed(with(&good, first_record, &[0xfe])), INVALID_RECORD),
        ("a record of negative length", sealed(with(&good, first_record, &[0x01])), INVALID_RECORD),
        ("a key longer than its record", sealed(with(&good, first_record + 4, &[0x7e])), INVALID_RECORD),
        (
            "a batch longer than its bytes",
            with(&good, 8, &(good.len() as i32).to_be_bytes()).into(),
            CORRUPT_MESSAGE,
        ),
        ("a batch of negative length", with(&good, 8, &(-1i32).to_be_bytes()).into(), CORRUPT_MESSAGE),
        ("half a header", good.slice(..40), CORRUPT_MESSAGE),
        ("two batches", [&good[..], &good[..]].concat().into(), INVALID_RECORD),
        ("no bytes", Bytes::new(), INVALID_RECORD),
    ];
    for (lie, bytes, code) in lies {
        let refused = client.produce("lies", 0, bytes).await.expect("the connection lives on");
        assert_eq!(refused.error_code, code, "{lie}: {:?}", refused.error_message);
    }
    assert_eq!(client.offset("lies", 0, LATEST).await, 0);
    assert_eq!(client.append("lies", 0, good).await, 0);
    assert_eq!(all(&mut client, "lies", 0).await, ["abc", "def"]);
}

#[tokio::test]
async fn requests_sent_ahead_are_appended_and_answered_in_order() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("pipe", 1, &[]).await;
    let mut ids = Vec::new();
    for number in 0..50 {
        let request = production("pipe", -1, vec![(0, batch(&[&number.to_string()]))]);
        ids.push(client.send(9, &request).await.unwrap());
    }
    for (number, id) in ids.into_iter().enumerate() {
        let response = client.receive::<kafka_protocol::messages::ProduceRequest>(9, id).await.unwrap();
        assert_eq!(response.responses[0].partition_responses[0].base_offset, number as i64);
    }
    let expected: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(all(&mut client, "pipe", 0).await, expected);
}

#[tokio::test]
async fn two_producers_never_share_an_offset() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("race", 1, &[]).await;
    let writers = (0..4).map(|writer| {
        let connect = broker.client();
        async move {
            let mut client = connect.await;
            let mut offsets = Vec::new();
            for number in 0..50 {
                let value = format!("{writer}:{number}");
                offsets.push((client.append("race", 0, batch(&[&value])).await, value));
            }
            offsets
        }
    });
    let mut acked: Vec<_> = futures::future::join_all(writers).await.concat();
    acked.sort();
    let mut found = Vec::new();
    until("all is readable", async || {
        let answer = client.fetch("race", 0, 0, 8 << 20, 0).await.unwrap();
        found = values(&bytes(&answer));
        found.len() == 200
    })
    .await;
    assert_eq!(found, acked);
}

#[tokio::test]
async fn what_flush_messages_asks_for_is_on_disk_before_it_is_answered() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("synced", 1, &[("flush.messages", "1")]).await;
    client.create("lazy", 1, &[]).await;
    for offset in 0..3 {
        assert_eq!(client.append("synced", 0, batch(&["v"])).await, offset);
        assert_eq!(client.append("lazy", 0, batch(&["v"])).await, offset);
        let synced = broker.partition("synced", 0).log().recovery_point();
        assert_eq!(synced.0, offset + 1, "acknowledged means fsynced");
    }
    assert_eq!(broker.partition("lazy", 0).log().recovery_point().0, 0);
}
