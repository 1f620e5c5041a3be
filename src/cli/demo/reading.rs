//! The demo's consumers: one connection per partition, from offset 0 to the end, every record checked.
//! Invariant: it answers only when all records came, in order and as written; an empty answer is asked for again.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;

use crate::cli::demo::content;
use crate::cli::demo::progress::Bar;
use crate::cli::demo::stage::{Stage, TOPIC};
use crate::cli::failure::Failure;
use crate::client::records::{FetchAsk, fetch};

/// Bytes asked for at once.
const FETCH_BYTES: i32 = 1 << 20;
const FETCH_WAIT_MS: i32 = 500;
/// How long a partition may bring nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads and checks `records` records of each partition; answers the bytes that came.
pub async fn read(stage: &Stage, partitions: i32, records: i64, bar: &Bar) -> Result<u64, Failure> {
    let all = (0..partitions).map(|partition| read_partition(stage, partition, records, bar));
    Ok(try_join_all(all).await?.iter().sum())
}

async fn read_partition(stage: &Stage, partition: i32, records: i64, bar: &Bar) -> Result<u64, Failure> {
    let what = "what was written did not come back";
    let mut connection = stage.connect().await?;
    let (mut next, mut bytes, mut moved) = (0, 0, Instant::now());
    while next < records {
        let ask = FetchAsk {
            topic: TOPIC,
            index: partition,
            from: next,
            bytes_max: FETCH_BYTES,
            wait_ms: FETCH_WAIT_MS,
        };
        let fetched = fetch(&mut connection, &ask)
            .await
            .map_err(|error| Failure::new(what, format!("partition {partition}, offset {next}: {error}")))?;
        let end = content::check(partition, next, &fetched.records).map_err(|why| Failure::new(what, why))?;
        if end > next {
            (next, moved) = (end, Instant::now());
            bytes += fetched.records.len() as u64;
            bar.add(fetched.records.len() as u64);
        } else if moved.elapsed() > PATIENCE {
            let why =
                format!("partition {partition}, offset {next}: nothing came for {} s", PATIENCE.as_secs());
            return Err(Failure::new(what, why));
        }
    }
    Ok(bytes)
}
