//! The loads: requests prepared byte for byte, each sent when its predecessor was answered. Every answer is checked, so
//! that no refusal passes for a cheap request. Nothing here counts.

use bytes::{Bytes, BytesMut};
use firnline::client::records::{FETCH_VERSION, PRODUCE_VERSION, production};
use firnline::wire::message::create_topics_request::CreatableTopic;
use firnline::wire::message::create_topics_request::CreatableTopicConfig;
use firnline::wire::message::fetch_request::{FetchPartition, FetchTopic};
use firnline::wire::message::{
    BrokerId, CreateTopicsRequest, Encodable, FetchRequest, FetchResponse, ProduceRequest, Request,
    RequestHeader, StrBytes, TopicName,
};
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::clock::{Clock, SystemClock};

use super::client::Client;

const TOPIC: &str = "gate";
/// Whole batches, one to each fetch.
const BATCHES: i64 = 8;
const RECORDS: i64 = 16;

/// What is asked again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Produce one batch of 16 records of 1 KiB, acks=all.
    Produce,
    /// The same bytes as 160 records: nothing may grow with the number of records.
    ProduceMany,
    /// Fetch one such batch, without a session.
    Fetch,
    /// Fetch eight of them, sent from the file.
    FetchLarge,
    /// Fetch in a session where nothing is new: what an idle consumer costs.
    Poll,
    /// The same, waiting for 2 ms first.
    LongPoll,
}

impl Load {
    pub const ALL: [Load; 6] =
        [Load::Produce, Load::ProduceMany, Load::Fetch, Load::FetchLarge, Load::Poll, Load::LongPoll];

    pub fn name(self) -> &'static str {
        match self {
            Load::Produce => "produce-16x1024",
            Load::ProduceMany => "produce-160x100",
            Load::Fetch => "fetch-16KiB",
            Load::FetchLarge => "fetch-128KiB",
            Load::Poll => "poll",
            Load::LongPoll => "poll-2ms",
        }
    }
}

/// A whole frame, size included.
pub fn frame<Q: Request>(version: i16, request: &Q) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&[0; 4]);
    let header = RequestHeader::default()
        .with_request_api_key(Q::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("gates")));
    header.encode(&mut frame, Q::header_version(version)).expect("encodes");
    request.encode(&mut frame, version).expect("encodes");
    let size = i32::try_from(frame.len() - 4).expect("a small frame");
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

fn batch(records: usize, bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    let now_ms = SystemClock.now_ms();
    for _ in 0..records {
        builder.push(now_ms, None, Some(&vec![b'x'; bytes]), &[]);
    }
    builder.build()
}

/// A request that writes `records` records of `bytes` bytes.
pub fn produce(records: usize, bytes: usize) -> BytesMut {
    frame(PRODUCE_VERSION, &production(TOPIC, 0, batch(records, bytes)))
}

/// A fetch of the only partition: from where, how much, waiting for what, in which session.
#[derive(Clone, Copy, Debug)]
pub struct Fetching {
    pub from: i64,
    pub bytes_max: i32,
    pub min_bytes: i32,
    pub wait_ms: i32,
    pub session: (i32, i32),
    /// Names the partition; a session knows it already.
    pub named: bool,
}

impl Fetching {
    pub fn frame(self) -> BytesMut {
        let part = FetchPartition::default()
            .with_partition(0)
            .with_fetch_offset(self.from)
            .with_partition_max_bytes(self.bytes_max);
        let name = TopicName(StrBytes::from_static_str(TOPIC));
        let topic = FetchTopic::default().with_topic(name).with_partitions(vec![part]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(self.wait_ms)
            .with_min_bytes(self.min_bytes)
            .with_max_bytes(1 << 20)
            .with_session_id(self.session.0)
            .with_session_epoch(self.session.1)
            .with_topics(if self.named { vec![topic] } else { Vec::new() });
        frame(FETCH_VERSION, &request)
    }
}

/// Creates the topic and writes what the fetches read.
pub fn set_up(client: &mut Client) {
    // One segment for a whole run: a roll is not part of a request.
    let config = CreatableTopicConfig::default()
        .with_name(StrBytes::from_static_str("segment.bytes"))
        .with_value(Some(StrBytes::from_static_str("1073741824")));
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(vec![config]);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let created = client.call::<CreateTopicsRequest>(5, &frame(5, &request));
    assert_eq!(created.topics[0].error_code, 0, "{:?}", created.topics[0].error_message);
    run(client, Load::Produce, BATCHES as usize);
}

/// Sends `count` requests, one after the other.
pub fn run(client: &mut Client, load: Load, count: usize) {
    match load {
        Load::Produce => write(client, &produce(16, 1024), count),
        Load::ProduceMany => write(client, &produce(160, 100), count),
        Load::Fetch => {
            (0..count).for_each(|turn| batches(client, turn as i64 % BATCHES * RECORDS, 1, 16 << 10));
        }
        // Room for eight batches with their headers, and for no ninth.
        Load::FetchLarge => (0..count).for_each(|_| batches(client, 0, 136 << 10, 128 << 10)),
        Load::Poll => poll(client, count, 0),
        Load::LongPoll => poll(client, count, 2),
    }
}

/// Fetches at most `bytes_max` from `from`, at least one batch, and gets more than `least` bytes.
fn batches(client: &mut Client, from: i64, bytes_max: i32, least: usize) {
    let ask = Fetching { from, bytes_max, min_bytes: 1, wait_ms: 0, session: (0, -1), named: true };
    let read = fetch(client, ask);
    let part = &read.responses[0].partitions[0];
    assert_eq!(part.error_code, 0);
    assert!(part.records.as_ref().is_some_and(|records| records.len() > least));
}

fn write(client: &mut Client, frame: &[u8], count: usize) {
    for _ in 0..count {
        let answer = client.call::<ProduceRequest>(PRODUCE_VERSION, frame);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
}

fn poll(client: &mut Client, count: usize, wait_ms: i32) {
    // The high watermark: nothing lies behind it.
    let probe = Fetching { from: 0, bytes_max: 1, min_bytes: 0, wait_ms: 0, session: (0, -1), named: true };
    let end = fetch(client, probe).responses[0].partitions[0].high_watermark;
    let open = Fetching { from: end, bytes_max: 1 << 20, session: (0, 0), min_bytes: 1, ..probe };
    let wait = Fetching { wait_ms, named: false, ..open };
    let id = fetch(client, open).session_id;
    assert_ne!(id, 0, "a session was made");
    for epoch in 1..=count as i32 {
        let idle = fetch(client, Fetching { session: (id, epoch), ..wait });
        assert_eq!((idle.error_code, idle.responses.len()), (0, 0));
    }
}

fn fetch(client: &mut Client, ask: Fetching) -> FetchResponse {
    client.call::<FetchRequest>(FETCH_VERSION, &ask.frame())
}
