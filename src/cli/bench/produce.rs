//! `firn bench produce`: each connection sends one prepared batch again and again, at its pace, to its partitions in
//! turn. Answers are read beside the sending, which a rate keeps on time whatever they do. Invariant: an answer is matched to the time its request was due.

use std::sync::Arc;

use bytes::Bytes;
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::header::Codec;
use firnline_tiering::clock::{Clock, SystemClock};
use futures::future::try_join_all;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::cli::bench::frame::Frame;
use crate::cli::bench::meter::Meter;
use crate::cli::bench::metronome::{self, Beat};
use crate::cli::bench::pace::Pace;
use crate::cli::bench::stamp;
use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::client::pipeline::{Receiver, Sender, split, split_plain};
use crate::client::records::{PRODUCE_VERSION, acked, production_with};
use crate::wire::message::ProduceRequest;

/// One connection's work.
pub struct Work<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partitions it writes to, one request each in turn; not empty.
    pub partitions: Vec<i32>,
    /// What it sends.
    pub batch: Bytes,
    /// Records in it.
    pub records: u64,
    /// When.
    pub pace: Pace,
    /// Requests at most.
    pub operations_max: u32,
    /// Requests sent and not yet answered, at most.
    pub in_flight: usize,
    /// As Kafka numbers them; 0 is not answered.
    pub acks: i16,
}

/// A request on its way: its correlation id, and when it was due.
type Sent = (i32, Instant);

/// Sends what each connection's pace plans, on time, whatever the answers do; every pace has a rate.
pub async fn run_open(connections: Vec<(Connection, Work<'_>)>) -> Result<Vec<Meter>, ClientError> {
    let (mut beats, mut receiving) = (Vec::new(), Vec::new());
    for (connection, work) in connections {
        let version = connection.version::<ProduceRequest>(PRODUCE_VERSION)?;
        let frame = frame(&connection, version, &work)?;
        let (stream, receiver) = split_plain(connection)?;
        let planned = work.pace.planned(work.operations_max).unwrap_or_default();
        let partitions = work.partitions.clone();
        beats.push(Beat { stream, frame, partitions, pace: work.pace, planned });
        receiving.push(receive_planned(receiver, version, work, planned));
    }
    let sending = metronome::play(beats);
    let meters = try_join_all(receiving).await?;
    match sending.await {
        Ok(Err(source)) => Err(ClientError::Broken { address: CONNECTIONS.into(), source }),
        _ => Ok(meters),
    }
}

/// What a failed send of [`run_open`] is told of: its thread serves them all.
const CONNECTIONS: &str = "the broker";

async fn receive_planned(
    mut receiver: Receiver,
    version: i16,
    work: Work<'_>,
    planned: u32,
) -> Result<Meter, ClientError> {
    let mut meter = Meter::default();
    for place in 0..planned {
        acked(&receiver.receive::<ProduceRequest>(version, place as i32).await?)?;
        meter.count(work.records, work.batch.len() as u64, work.pace.at(place).elapsed());
    }
    Ok(meter)
}

/// Sends until the pace ends, and waits for the last answer.
pub async fn run(connection: Connection, work: Work<'_>) -> Result<Meter, ClientError> {
    let version = connection.version::<ProduceRequest>(PRODUCE_VERSION)?;
    let frame = frame(&connection, version, &work)?;
    let (sender, receiver) = split(connection);
    let room = Arc::new(Semaphore::new(work.in_flight));
    // Bounded by the permits of `room`.
    let (sent, awaited) = mpsc::unbounded_channel();
    let sending = send(sender, frame, &work, room.clone(), sent);
    let receiving = receive(receiver, version, &work, room, awaited);
    let ((), meter) = tokio::try_join!(sending, receiving)?;
    Ok(meter)
}

fn frame(connection: &Connection, version: i16, work: &Work<'_>) -> Result<Frame, ClientError> {
    let request = |partition| production_with(work.topic, partition, work.batch.clone(), work.acks);
    Frame::new(connection, version, request, &work.batch, &work.partitions)
}

async fn send(
    mut sender: Sender,
    mut frame: Frame,
    work: &Work<'_>,
    room: Arc<Semaphore>,
    sent: mpsc::UnboundedSender<Sent>,
) -> Result<(), ClientError> {
    for place in 0..work.operations_max {
        // A closed semaphore means that the receiving half failed, which is what will be told.
        let Ok(permit) = room.acquire().await else { break };
        permit.forget();
        let Some(due) = work.pace.due(place).await else { break };
        let id = frame.set(place, due, &work.partitions);
        if sent.send((id, due)).is_err() {
            break;
        }
        sender.send_frame(frame.bytes()).await?;
    }
    Ok(())
}

async fn receive(
    mut receiver: Receiver,
    version: i16,
    work: &Work<'_>,
    room: Arc<Semaphore>,
    mut awaited: mpsc::UnboundedReceiver<Sent>,
) -> Result<Meter, ClientError> {
    let mut meter = Meter::default();
    while let Some((id, due)) = awaited.recv().await {
        if work.acks != 0 {
            acked(&receiver.receive::<ProduceRequest>(version, id).await?)?;
        }
        meter.count(work.records, work.batch.len() as u64, due.elapsed());
        room.add_permits(1);
    }
    Ok(meter)
}

/// What the records of a batch are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Values {
    /// Bytes of each value.
    pub record_bytes: usize,
    /// How much of a value does not compress.
    pub random_percent: usize,
    /// Codec of the batch.
    pub codec: Codec,
    /// Leave room for a stamp in the first value.
    pub stamp: bool,
}

impl Default for Values {
    fn default() -> Self {
        Self { record_bytes: 1024, random_percent: 100, codec: Codec::None, stamp: false }
    }
}

/// A batch of about `batch_bytes` before its codec, and how many records it holds: at least one.
pub fn batch(values: &Values, batch_bytes: usize) -> (Bytes, u64) {
    let (mut builder, now_ms) = (BatchBuilder::new().codec(values.codec), SystemClock.now_ms());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let random_bytes = values.record_bytes * values.random_percent / 100;
    while builder.is_empty() || builder.size() + values.record_bytes < batch_bytes {
        // xorshift64: such bytes do not compress, and each bench sends the same.
        let random = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        });
        let mut value: Vec<u8> = random.take(random_bytes).collect();
        value.extend((random_bytes..values.record_bytes).map(|at| b'a' + (at % 16) as u8));
        if values.stamp && builder.is_empty() && value.len() >= stamp::STAMP_BYTES {
            value[..stamp::MAGIC.len()].copy_from_slice(stamp::MAGIC);
        }
        builder.push(now_ms, None, Some(&value), &[]);
    }
    let records = builder.len() as u64;
    (builder.build(), records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_about_as_large_as_asked() {
        let (bytes, records) = batch(&Values::default(), 16_384);
        assert_eq!(records, 15);
        assert!(bytes.len() <= 16_384 && bytes.len() > 15_000, "{}", bytes.len());
        assert_eq!(
            batch(&Values { record_bytes: 4096, ..Values::default() }, 100).1,
            1,
            "one record at least"
        );
    }

    #[test]
    fn half_random_values_compress_to_about_half() {
        let values = Values { random_percent: 50, codec: Codec::Zstd, ..Values::default() };
        let (bytes, records) = batch(&values, 65_536);
        assert_eq!(records, 63);
        assert!((30_000..40_000).contains(&bytes.len()), "{}", bytes.len());
    }
}
