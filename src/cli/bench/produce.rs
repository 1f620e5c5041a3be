//! `firn bench produce`: each connection sends one prepared batch again and again, at its pace, acks from all in-sync
//! replicas. Answers are read beside the sending. Invariant: an answer is matched to the time its request was due.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::clock::{Clock, SystemClock};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::cli::bench::meter::Meter;
use crate::cli::bench::pace::Pace;
use crate::client::connection::{CORRELATION_ID_AT, Connection};
use crate::client::error::ClientError;
use crate::client::pipeline::{Receiver, Sender, split};
use crate::client::records::{PRODUCE_VERSION, acked, production};
use crate::wire::message::ProduceRequest;

/// One connection's work.
pub struct Work<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition it writes to.
    pub partition: i32,
    /// What it sends.
    pub batch: Bytes,
    /// Records in it.
    pub records: u64,
    /// When.
    pub pace: Pace,
    /// Requests sent and not yet answered, at most.
    pub in_flight: usize,
}

/// A request on its way: its correlation id, and when it was due.
type Sent = (i32, Instant);

/// Sends until the pace ends, and waits for the last answer.
pub async fn run(connection: Connection, work: Work<'_>) -> Result<Meter, ClientError> {
    let version = connection.version::<ProduceRequest>(PRODUCE_VERSION)?;
    let request = production(work.topic, work.partition, work.batch.clone());
    let frame = connection.frame(version, 0, &request)?;
    let (sender, receiver) = split(connection);
    let room = Arc::new(Semaphore::new(work.in_flight));
    // Bounded by the permits of `room`.
    let (sent, awaited) = mpsc::unbounded_channel();
    let sending = send(sender, frame, work.pace, room.clone(), sent);
    let receiving = receive(receiver, version, &work, room, awaited);
    let ((), meter) = tokio::try_join!(sending, receiving)?;
    Ok(meter)
}

async fn send(
    mut sender: Sender,
    mut frame: BytesMut,
    pace: Pace,
    room: Arc<Semaphore>,
    sent: mpsc::UnboundedSender<Sent>,
) -> Result<(), ClientError> {
    for place in 0.. {
        // A closed semaphore means that the receiving half failed, which is what will be told.
        let Ok(permit) = room.acquire().await else { break };
        permit.forget();
        let Some(due) = pace.due(place).await else { break };
        let id = place as i32;
        frame[CORRELATION_ID_AT..CORRELATION_ID_AT + 4].copy_from_slice(&id.to_be_bytes());
        if sent.send((id, due)).is_err() {
            break;
        }
        sender.send_frame(&frame).await?;
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
        let answer = receiver.receive::<ProduceRequest>(version, id).await?;
        acked(&answer)?;
        meter.count(work.records, work.batch.len() as u64, due.elapsed());
        room.add_permits(1);
    }
    Ok(meter)
}

/// A batch of about `batch_bytes` with values of `record_bytes`, and how many records it holds: at least one.
pub fn batch(record_bytes: usize, batch_bytes: usize) -> (Bytes, u64) {
    let (mut builder, now_ms) = (BatchBuilder::new(), SystemClock.now_ms());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while builder.is_empty() || builder.size() + record_bytes < batch_bytes {
        // xorshift64: the values do not compress, and each bench sends the same.
        let value = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        });
        let value: Vec<u8> = value.take(record_bytes).collect();
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
        let (bytes, records) = batch(1024, 16_384);
        assert_eq!(records, 15);
        assert!(bytes.len() <= 16_384 && bytes.len() > 15_000, "{}", bytes.len());
        assert_eq!(batch(4096, 100).1, 1, "one record at least");
    }
}
