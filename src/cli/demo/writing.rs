//! The demo's producers: one connection per partition, several batches in flight, every acknowledgement checked.
//! Invariant: when it answers, each partition holds exactly the records it was to get, at the offsets they name.

use std::collections::VecDeque;

use firnline_tiering::clock::{Clock, SystemClock};
use futures::future::try_join_all;

use crate::cli::demo::content::{self, BATCH_RECORDS};
use crate::cli::demo::progress::Bar;
use crate::cli::demo::stage::{Stage, TOPIC};
use crate::cli::failure::Failure;
use crate::client::error::ClientError;
use crate::client::records::{PRODUCE_VERSION, acked, production};
use crate::wire::message::ProduceRequest;

/// Batches sent and not yet acknowledged, per connection.
const IN_FLIGHT: usize = 4;
const WHAT: &str = "the demo could not write its records";

/// Writes `records` records to each partition; answers the bytes of all batches.
pub async fn write(stage: &Stage, partitions: i32, records: i64, bar: &Bar) -> Result<u64, Failure> {
    let all = (0..partitions).map(|partition| write_partition(stage, partition, records, bar));
    Ok(try_join_all(all).await?.iter().sum())
}

async fn write_partition(stage: &Stage, partition: i32, records: i64, bar: &Bar) -> Result<u64, Failure> {
    let failed = |error: ClientError| Failure::of_call(WHAT, &error);
    let mut connection = stage.connect().await?;
    let version = connection.version::<ProduceRequest>(PRODUCE_VERSION).map_err(failed)?;
    let (mut next, mut bytes, mut awaited) = (0, 0, VecDeque::with_capacity(IN_FLIGHT));
    while next < records || !awaited.is_empty() {
        if next < records && awaited.len() < IN_FLIGHT {
            let count = BATCH_RECORDS.min(records - next);
            let batch = content::batch(partition, next, count, SystemClock.now_ms());
            let size = batch.len() as u64;
            let request = production(TOPIC, partition, batch);
            let id = connection.send(version, &request).await.map_err(failed)?;
            awaited.push_back((id, next, size));
            next += count;
        } else if let Some((id, first, size)) = awaited.pop_front() {
            let answer = connection.receive::<ProduceRequest>(version, id).await.map_err(failed)?;
            let base = acked(&answer).map_err(failed)?;
            if base != first {
                let why = format!("partition {partition}: records for offset {first} were put at {base}");
                return Err(Failure::new(WHAT, why));
            }
            bytes += size;
            bar.add(size);
        }
    }
    Ok(bytes)
}
