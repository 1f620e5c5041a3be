//! `firn bench first`: dials and writes until every partition has acknowledged one record. It is started before the
//! broker, so that whoever starts the broker can tell how long that took.
//! Invariant: what it answers was acknowledged by all in-sync replicas of each partition.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cli::bench::produce::{Values, batch};
use crate::cli::bench::stamp;
use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::client::records::{ACKS_ALL, PRODUCE_VERSION, acked, production_with};
use crate::wire::message::ProduceRequest;

/// Between two attempts before anything was acknowledged: what the first acknowledgement is late at most.
const PAUSE: Duration = Duration::from_millis(1);
/// Between two attempts afterwards: a broker that makes its partitions has other things to do.
const LONG_PAUSE: Duration = Duration::from_millis(20);
/// Requests sent before their answers are read.
const AT_ONCE: i32 = 50;

/// When it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct First {
    /// The first acknowledgement, microseconds since 1970.
    pub first_us: u64,
    /// The last partition's first acknowledgement, microseconds since 1970.
    pub all_us: u64,
}

/// Knocks for `patience` at most; the last refusal is the error.
pub async fn run(
    bootstrap: &str,
    client_id: &str,
    topic: &str,
    partitions: i32,
    patience: Duration,
) -> Result<First, ClientError> {
    let began = Instant::now();
    let (mut next, mut first_us) = (0, None);
    loop {
        match write(bootstrap, client_id, topic, &mut next, partitions, &mut first_us).await {
            Ok(all_us) => return Ok(First { first_us: first_us.unwrap_or(all_us), all_us }),
            Err(error) if began.elapsed() >= patience => return Err(error),
            Err(_) => sleep(if first_us.is_none() { PAUSE } else { LONG_PAUSE }).await,
        }
    }
}

/// Writes to the partitions from `next` on, until one refuses.
async fn write(
    bootstrap: &str,
    client_id: &str,
    topic: &str,
    next: &mut i32,
    partitions: i32,
    first_us: &mut Option<u64>,
) -> Result<u64, ClientError> {
    let mut connection = Connection::open(bootstrap, client_id).await?;
    let version = connection.version::<ProduceRequest>(PRODUCE_VERSION)?;
    let (batch, _) = batch(&Values { record_bytes: 100, ..Values::default() }, 100);
    while *next < partitions {
        let some = *next..partitions.min(*next + AT_ONCE);
        let mut sent = Vec::with_capacity(AT_ONCE as usize);
        for partition in some {
            let request = production_with(topic, partition, batch.clone(), ACKS_ALL);
            sent.push(connection.send(version, &request).await?);
        }
        for id in sent {
            let answer = connection.receive::<ProduceRequest>(version, id).await?;
            acked(&answer)?;
            first_us.get_or_insert_with(stamp::now_us);
            *next += 1;
        }
    }
    Ok(stamp::now_us())
}
