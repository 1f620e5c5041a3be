//! From the arguments of `firn bench` to its result: opens the connections, deals out partitions, adds up.
//! Each connection leads to the broker that leads its partitions when the bench begins. Every connection starts at the
//! same intended time. Invariant: one refused operation fails the bench.

use std::collections::BTreeMap;
use std::time::Duration;

use firnline_tiering::batch::header::Codec;
use futures::future::try_join_all;
use tokio::time::Instant;

use crate::cli::arguments::{Acks, BatchCodec, Bench, Load, Output};
use crate::cli::bench::meter::{BenchResult, Meter};
use crate::cli::bench::pace::Pace;
use crate::cli::bench::produce::Values;
use crate::cli::bench::{consume, first, produce, through};
use crate::cli::failure::Failure;
use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::client::leaders::{self, Leaders};
use crate::client::topics;

const CLIENT_ID: &str = "firn-bench";
/// Connections dialled at once: more would only wait in the broker's backlog.
const DIALS_AT_ONCE: usize = 64;

/// Runs `firn bench`.
pub async fn run(command: &Bench) -> Result<String, Failure> {
    let (side, load) = match command {
        Bench::Produce { load, .. } => ("produce", load),
        Bench::Consume { load, .. } => ("consume", load),
        Bench::Through(asked) => return through::run(asked).await,
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
    let leaders = leaders::ask(&mut asking, &load.topic).await.map_err(|error| {
        failed(error).next(format!("create it with `firn topic create {} -b {bootstrap}`", load.topic))
    })?;
    let hands = deal(&leaders, load.connections as usize);
    let addresses = addresses(bootstrap, &leaders, &hands);
    let dealt: Vec<Vec<i32>> = hands.into_iter().map(|hand| hand.partitions).collect();
    let mut connections = open(&addresses).await.map_err(failed)?;
    let (meters, start) = match command {
        Bench::Consume { tail, wait_ms, .. } => {
            let starts = starts(&mut connections, &load.topic, &dealt, *tail).await.map_err(failed)?;
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

/// What one connection has: partitions of one leader.
#[derive(Debug, PartialEq, Eq)]
struct Hand {
    leader: i32,
    partitions: Vec<i32>,
}

/// Deals partitions to `connections`, or to one per leader if those are more: all are dealt out, nobody is left with
/// none, and nobody has those of two leaders.
fn deal(leaders: &Leaders, connections: usize) -> Vec<Hand> {
    let mut groups: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (index, (leader, _)) in &leaders.partitions {
        groups.entry(*leader).or_default().push(*index);
    }
    if groups.is_empty() {
        return Vec::new();
    }
    let count = connections.max(groups.len());
    let groups: Vec<(i32, Vec<i32>)> = groups.into_iter().collect();
    let of = |turn: usize| {
        let (leader, led) = groups.get(turn % groups.len())?;
        // Connections of this leader are so many apart, and this one is so far from the first.
        let (place, mates) = (turn / groups.len(), (count - turn % groups.len()).div_ceil(groups.len()));
        let partitions = match place < led.len() {
            true => led.iter().skip(place).step_by(mates).copied().collect(),
            false => vec![led[place % led.len()]],
        };
        Some(Hand { leader: *leader, partitions })
    };
    (0..count).filter_map(of).collect()
}

/// Where each connection leads: with one leader to the address that was given, which may be the only one that works
/// from here.
fn addresses(bootstrap: &str, leaders: &Leaders, hands: &[Hand]) -> Vec<String> {
    let several = hands.iter().any(|hand| hand.leader != hands[0].leader) || leaders.brokers.len() > 1;
    let of = |hand: &Hand| leaders.brokers.get(&hand.leader).filter(|_| several);
    hands.iter().map(|hand| of(hand).map_or(bootstrap, String::as_str).to_owned()).collect()
}

async fn open(addresses: &[String]) -> Result<Vec<Connection>, ClientError> {
    let mut connections = Vec::with_capacity(addresses.len());
    for some in addresses.chunks(DIALS_AT_ONCE) {
        let dials = some.iter().map(|address| Connection::open(address, CLIENT_ID));
        connections.extend(try_join_all(dials).await?);
    }
    Ok(connections)
}

/// Where each connection begins in each of its partitions.
async fn starts(
    connections: &mut [Connection],
    topic: &str,
    dealt: &[Vec<i32>],
    tail: bool,
) -> Result<Vec<Vec<(i32, i64)>>, ClientError> {
    let end = if tail { topics::End::Last } else { topics::End::First };
    let mut starts = Vec::with_capacity(dealt.len());
    for (connection, parts) in connections.iter_mut().zip(dealt) {
        let offsets = topics::offsets(connection, topic, parts, end).await?;
        starts.push(parts.iter().copied().zip(offsets).collect());
    }
    Ok(starts)
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
    let count = u32::try_from(connections.len()).unwrap_or(u32::MAX);
    let operations_max = share(load, count).map_or(u64::MAX, |bytes| bytes.div_ceil(batch.len() as u64));
    let work = |((turn, connection), partitions)| {
        let work = produce::Work {
            topic: &load.topic,
            partitions,
            pace: pace(load, start, batch.len(), (turn, count)),
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
    let count = u32::try_from(connections.len()).unwrap_or(u32::MAX);
    let run = |((turn, connection), parts)| {
        let work = consume::Work {
            topic: &load.topic,
            parts,
            batch_bytes: load.batch_bytes as i32,
            tail,
            wait_ms,
            bytes_max: share(load, count).unwrap_or(u64::MAX),
            pace: pace(load, start, load.batch_bytes as usize, (turn, count)),
        };
        consume::run(connection, work)
    };
    try_join_all((0..).zip(connections).zip(starts).map(run)).await
}

/// Bytes of one of so many connections, if there is a limit.
fn share(load: &Load, connections: u32) -> Option<u64> {
    (load.megabytes > 0).then(|| (load.megabytes * 1_000_000).div_ceil(u64::from(connections)))
}

fn pace(load: &Load, start: Instant, bytes: usize, (turn, connections): (u32, u32)) -> Pace {
    let bytes_per_second = match load.operation_rate > 0.0 {
        true => load.operation_rate * bytes as f64,
        false => load.rate * 1e6,
    };
    Pace::new(start, load.seconds, bytes_per_second, bytes, connections, turn)
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
        let dealt = |leaders: &[i32], connections| {
            let led = |(index, leader): (i32, &i32)| (index, (*leader, 0));
            let partitions = (0..).zip(leaders).map(led).collect();
            let hands = deal(&Leaders { partitions, ..Leaders::default() }, connections);
            hands.into_iter().map(|hand| (hand.leader, hand.partitions)).collect::<Vec<_>>()
        };
        assert_eq!(dealt(&[1; 5], 2), [(1, vec![0, 2, 4]), (1, vec![1, 3])]);
        assert_eq!(dealt(&[1; 2], 3), [(1, vec![0]), (1, vec![1]), (1, vec![0])]);
        assert_eq!(dealt(&[1], 1), [(1, vec![0])]);
        assert_eq!(dealt(&[1, 2, 1, 3], 1), [(1, vec![0, 2]), (2, vec![1]), (3, vec![3])]);
        let four = [(1, vec![0]), (2, vec![1]), (1, vec![2]), (2, vec![1])];
        assert_eq!(dealt(&[1, 2, 1], 4), four);
        assert_eq!(dealt(&[1, 2, 1, 2], 3), [(1, vec![0]), (2, vec![1, 3]), (1, vec![2])]);
        assert_eq!(dealt(&[], 3), []);
    }
}
