//! The real binary, killed in the middle of produce and offload again and again: every acknowledged batch is at its
//! offset at the end, byte for byte, and most of them come from the bucket because they are nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use firnline_tiering::batch::header::BatchHeader;
use kafka_protocol::messages::ProduceRequest;

use crate::harness::asks::{EARLIEST, LATEST, production};
use crate::harness::process::{Home, Process};
use crate::harness::records::{assert_same_batch, bulk};
use crate::harness::wait::{eventually, until};

const TOPIC: &str = "survivors";
const KILLS: u64 = 20;
/// Bytes of one batch, one record each.
const BATCH: usize = 48 << 10;
/// Requests under way at once: some of them meet the kill.
const IN_FLIGHT: usize = 8;
/// Kafka's version of Produce that these requests speak.
const PRODUCE: i16 = 9;

/// What was sent, and what of it was acknowledged where.
#[derive(Default)]
struct Book {
    /// By the CRC of a batch, which stays as it is when the broker stamps offset and epoch.
    sent: BTreeMap<u32, Bytes>,
    acked: BTreeMap<i64, Bytes>,
}

impl Book {
    fn next(&mut self) -> Bytes {
        let batch = bulk(self.sent.len() as u64, BATCH);
        let crc = BatchHeader::parse(&batch).expect("a batch of ours").crc;
        assert!(
            self.sent.insert(crc, batch.clone()).is_none(),
            "two batches with one crc: draw other values"
        );
        batch
    }

    /// First offset that nothing acknowledged lies at or above.
    fn end(&self) -> i64 {
        self.acked.last_key_value().map_or(0, |(offset, _)| offset + 1)
    }
}

/// Produces with several requests under way; after `acks` acknowledgements the process is killed while they go on.
async fn produce_until_killed(process: &mut Process, book: &mut Book, acks: usize) {
    let mut client = process.client().await;
    let (mut waiting, mut count) = (std::collections::VecDeque::new(), 0);
    let mut killed = false;
    loop {
        while waiting.len() < IN_FLIGHT && !killed {
            let batch = book.next();
            let request = production(TOPIC, -1, vec![(0, batch.clone())]);
            let id = client.send(PRODUCE, &request).await.expect("the broker still runs");
            waiting.push_back((id, batch));
        }
        let Some((id, batch)) = waiting.pop_front() else { break };
        // What was answered before the kill still arrives after it, and counts.
        let Ok(answer) = client.receive::<ProduceRequest>(PRODUCE, id).await else {
            assert!(killed, "the broker closed a connection by itself:\n{}", process.log().join("\n"));
            break;
        };
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        let twice = book.acked.insert(answer.base_offset, batch);
        assert!(twice.is_none(), "offset {} was acknowledged twice", answer.base_offset);
        count += 1;
        if count == acks {
            process.kill();
            killed = true;
        }
    }
}

/// Reads everything from offset 0: each acknowledged batch is at its offset, and nothing is there that was not sent.
async fn check(process: &Process, book: &Book) {
    let mut client = process.client().await;
    let end = client.offset(TOPIC, 0, LATEST).await;
    assert!(end >= book.end(), "the log ends at {end}, acknowledged up to {}", book.end());
    let mut seen = BTreeSet::new();
    for (header, stored) in client.read(TOPIC, 0, 0, end).await {
        let offset = header.base_offset.0;
        let sent = book.sent.get(&header.crc).unwrap_or_else(|| panic!("nobody sent what lies at {offset}"));
        assert_same_batch(&stored, sent);
        assert!(seen.insert(header.crc), "the batch at {offset} is there twice: nobody retried");
        if let Some(acked) = book.acked.get(&offset) {
            assert_same_batch(&stored, acked);
        }
    }
    assert_eq!(seen.len() as i64, end, "a batch per offset");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_record_is_lost_in_twenty_kills() {
    let home = Home::new(&[]);
    let mut process = home.start(&[]).await;
    let configs = [
        ("remote.storage.enable", "true"),
        ("segment.bytes", "1048576"),
        ("local.retention.ms", "1"),
        ("retention.ms", "-1"),
    ];
    process.client().await.create(TOPIC, 1, &configs).await;
    let mut book = Book::default();
    let mut tiered = 0;
    for round in 0..KILLS {
        // Now after few, now after many: kills meet the head of a segment, its roll, and uploads at any stage.
        let acks = 5 + (round as usize * 37) % 61;
        produce_until_killed(&mut process, &mut book, acks).await;
        process = home.start(&[]).await;
        let mut client = process.client().await;
        until("the partition is led again", async || client.try_offset(TOPIC, 0, LATEST).await.0 == 0).await;
        let end = client.offset(TOPIC, 0, LATEST).await;
        assert!(end >= book.end(), "kill {round}: {end} of {} acknowledged are left", book.end());
        if round % 5 == 4 {
            // The bucket takes part while the kills go on, not after them.
            tiered = eventually("segments reach the bucket between kills", async || {
                let local = process.status(TOPIC).await.topics[0].partitions[0].local_start;
                (local > tiered).then_some(local)
            })
            .await;
        }
    }
    until("at least half of what was acknowledged lies in the bucket only", async || {
        let partition = process.status(TOPIC).await.topics.remove(0).partitions.remove(0);
        let below = book.acked.range(..partition.local_start).count();
        2 * below >= book.acked.len() && partition.bucket_only_bytes >= (below * BATCH) as u64
    })
    .await;
    assert_eq!(process.client().await.offset(TOPIC, 0, EARLIEST).await, 0);
    check(&process, &book).await;
    let gets = process.status(TOPIC).await.bucket.expect("a bucket").requests.gets;
    assert!(gets > 0, "what lies in the bucket only came from elsewhere");
}
