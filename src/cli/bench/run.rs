//! From the arguments of `firn bench` to its result: opens the connections, deals out partitions, adds up.
//! Every connection starts at the same intended time. Invariant: one refused operation fails the bench.

use std::time::Duration;

use firnline_tiering::batch::header::Codec;
use futures::future::try_join_all;
use tokio::time::Instant;

use crate::cli::arguments::{Acks, BatchCodec, Bench, Load, Output};
use crate::cli::bench::meter::{BenchResult, Meter};
use crate::cli::bench::pace::Pace;
use crate::cli::bench::produce::Values;
use crate::cli::bench::{consume, first, produce};
use crate::cli::failure::Failure;
use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::client::topics;

const CLIENT_ID: &str = "firn-bench";
/// Connections dialled at once: more would only wait in the broker's backlog.
const DIALS_AT_ONCE: usize = 64;

/// Runs `firn bench`.
pub async fn run(command: &Bench) -> Result<String, Failure> {
    let (side, load) = match command {
        Bench::Produce { load, .. } => ("produce", load),
        Bench::Consume { load, .. } => ("consume", load),
        Bench::First { topic, partitions, seconds, broker } => {
            let patience = Duration::from_secs(*seconds);
            let first = first::run(&broker.bootstrap_server, CLIENT_ID, topic, *partitions, patience).await;
            let first = first.map_err(|error| Failure::of_call("nothing was acknowledged", &error))?;
            return json(&first);
        }
    };
    let failed = |error: ClientError| Failure::of_call(format!("bench {side} did not end well"), &error);
    let bootstrap = &load.broker.bootstrap_server;
    let mut asking = Connection::open(bootstrap, CLIENT_ID).await.map_err(failed)?;
    let names = [load.topic.clone()];
    let described = topics::describe(&mut asking, Some(&names)).await.map_err(|error| {
        failed(error).next(format!("create it with `firn topic create {} -b {bootstrap}`", load.topic))
    })?;
    let partitions = described.iter().map(|topic| topic.partitions.len()).sum::<usize>().max(1);
    let dealt = deal(partitions as i32, load.connections as usize);
    let connections = open(bootstrap, dealt.len()).await.map_err(failed)?;
    let (meters, start) = match command {
        Bench::Consume { tail, wait_ms, .. } => {
            let starts = starts(&mut asking, &load.topic, &dealt, *tail).await.map_err(failed)?;
            let start = Instant::now();
            (consume_all(connections, load, starts, *tail, *wait_ms, start).await, start)
        }
        _ => {
            let start = Instant::now();
            (produce_all(connections, command, load, dealt, start).await, start)
        }
    };
    let total = meters.map_err(failed)?.iter().fold(Meter::default(), Meter::add);
    let result = total.result(side, start.elapsed().as_secs_f64());
    if result.records == 0 && !matches!(command, Bench::Consume { tail: true, .. }) {
        let why = format!("topic {} brought no record in {} s", load.topic, load.seconds);
        return Err(Failure::new(format!("bench {side} measured nothing"), why));
    }
    match load.output {
        Output::Table => Ok(result.text()),
        Output::Json => json::<BenchResult>(&result),
    }
}

/// Which partitions each of `connections` has: all are dealt out, and nobody is left with none.
fn deal(partitions: i32, connections: usize) -> Vec<Vec<i32>> {
    let of = |turn: usize| match turn < partitions as usize {
        true => (turn as i32..partitions).step_by(connections).collect(),
        false => vec![(turn % partitions as usize) as i32],
    };
    (0..connections).map(of).collect()
}

async fn open(bootstrap: &str, count: usize) -> Result<Vec<Connection>, ClientError> {
    let mut connections = Vec::with_capacity(count);
    while connections.len() < count {
        let some = DIALS_AT_ONCE.min(count - connections.len());
        connections.extend(try_join_all((0..some).map(|_| Connection::open(bootstrap, CLIENT_ID))).await?);
    }
    Ok(connections)
}

/// Where each connection begins in each of its partitions.
async fn starts(
    asking: &mut Connection,
    topic: &str,
    dealt: &[Vec<i32>],
    tail: bool,
) -> Result<Vec<Vec<(i32, i64)>>, ClientError> {
    let end = if tail { topics::End::Last } else { topics::End::First };
    let last = dealt.iter().flatten().max().copied().unwrap_or_default();
    let all: Vec<i32> = (0..=last).collect();
    let offsets = topics::offsets(asking, topic, &all, end).await?;
    let of = |index: &i32| (*index, offsets[*index as usize]);
    Ok(dealt.iter().map(|parts| parts.iter().map(of).collect()).collect())
}

async fn produce_all(
    connections: Vec<Connection>,
    command: &Bench,
    load: &Load,
    dealt: Vec<Vec<i32>>,
    start: Instant,
) -> Result<Vec<Meter>, ClientError> {
    let Bench::Produce { record_bytes, in_flight, acks, codec, random_percent, stamp, .. } = command else {
        return Ok(Vec::new());
    };
    let values = Values {
        record_bytes: *record_bytes as usize,
        random_percent: *random_percent as usize,
        codec: codec_of(*codec),
        stamp: *stamp && *codec == BatchCodec::None,
    };
    let (batch, records) = produce::batch(&values, load.batch_bytes as usize);
    let operations_max = share(load).map_or(u64::MAX, |bytes| bytes.div_ceil(batch.len() as u64));
    let work = |((turn, connection), partitions)| {
        let work = produce::Work {
            topic: &load.topic,
            partitions,
            pace: pace(load, start, batch.len(), turn),
            batch: batch.clone(),
            records,
            operations_max: u32::try_from(operations_max).unwrap_or(u32::MAX),
            in_flight: *in_flight as usize,
            acks: acks_of(*acks),
        };
        (connection, work)
    };
    let works = (0..).zip(connections).zip(dealt).map(work);
    // Without answers there is nothing to match to a time; without a rate, no time to keep.
    match acks_of(*acks) != 0 && (load.rate > 0.0 || load.operation_rate > 0.0) {
        true => produce::run_open(works.collect()).await,
        false => try_join_all(works.map(|(connection, work)| produce::run(connection, work))).await,
    }
}

async fn consume_all(
    connections: Vec<Connection>,
    load: &Load,
    starts: Vec<Vec<(i32, i64)>>,
    tail: bool,
    wait_ms: i32,
    start: Instant,
) -> Result<Vec<Meter>, ClientError> {
    let run = |((turn, connection), parts)| {
        let work = consume::Work {
            topic: &load.topic,
            parts,
            batch_bytes: load.batch_bytes as i32,
            tail,
            wait_ms,
            bytes_max: share(load).unwrap_or(u64::MAX),
            pace: pace(load, start, load.batch_bytes as usize, turn),
        };
        consume::run(connection, work)
    };
    try_join_all((0..).zip(connections).zip(starts).map(run)).await
}

/// Bytes of one connection, if there is a limit.
fn share(load: &Load) -> Option<u64> {
    (load.megabytes > 0).then(|| (load.megabytes * 1_000_000).div_ceil(u64::from(load.connections)))
}

fn pace(load: &Load, start: Instant, bytes: usize, turn: u32) -> Pace {
    let bytes_per_second = match load.operation_rate > 0.0 {
        true => load.operation_rate * bytes as f64,
        false => load.rate * 1e6,
    };
    Pace::new(start, load.seconds, bytes_per_second, bytes, load.connections, turn)
}

fn acks_of(acks: Acks) -> i16 {
    match acks {
        Acks::Nobody => 0,
        Acks::Leader => 1,
        Acks::All => -1,
    }
}

fn codec_of(codec: BatchCodec) -> Codec {
    match codec {
        BatchCodec::None => Codec::None,
        BatchCodec::Gzip => Codec::Gzip,
        BatchCodec::Snappy => Codec::Snappy,
        BatchCodec::Lz4 => Codec::Lz4,
        BatchCodec::Zstd => Codec::Zstd,
    }
}

fn json<T: serde::Serialize>(result: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(result)
        .map(|json| json + "\n")
        .map_err(|error| Failure::new("the result cannot be printed", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_dealt_out_and_nobody_is_left_with_none() {
        assert_eq!(deal(5, 2), [vec![0, 2, 4], vec![1, 3]]);
        assert_eq!(deal(2, 3), [vec![0], vec![1], vec![0]]);
        assert_eq!(deal(1, 1), [vec![0]]);
    }
}
