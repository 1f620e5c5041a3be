//! From the arguments of `firn bench` to its result: opens the connections, deals out partitions, adds up.
//! Every connection starts at the same intended time. Invariant: one refused operation fails the bench.

use futures::future::try_join_all;
use tokio::time::Instant;

use crate::cli::arguments::{Bench, Load, Output};
use crate::cli::bench::meter::{BenchResult, Meter};
use crate::cli::bench::pace::Pace;
use crate::cli::bench::{consume, produce};
use crate::cli::failure::Failure;
use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::client::topics;

const CLIENT_ID: &str = "firn-bench";

/// Runs `firn bench`.
pub async fn run(command: &Bench) -> Result<String, Failure> {
    let (side, load) = match command {
        Bench::Produce { load, .. } => ("produce", load),
        Bench::Consume { load } => ("consume", load),
    };
    let failed = |error: ClientError| Failure::of_call(format!("bench {side} did not end well"), &error);
    let bootstrap = &load.broker.bootstrap_server;
    let mut first = Connection::open(bootstrap, CLIENT_ID).await.map_err(failed)?;
    let names = [load.topic.clone()];
    let described = topics::describe(&mut first, Some(&names)).await.map_err(|error| {
        failed(error).next(format!("create it with `firn topic create {} -b {bootstrap}`", load.topic))
    })?;
    let partitions = described.iter().map(|topic| topic.partitions.len()).sum::<usize>().max(1) as u32;
    let opening = (0..load.connections).map(|_| Connection::open(bootstrap, CLIENT_ID));
    let connections = try_join_all(opening).await.map_err(failed)?;
    let start = Instant::now();
    let meters = match command {
        Bench::Produce { record_bytes, in_flight, .. } => {
            produce_all(connections, load, partitions, *record_bytes, *in_flight, start).await
        }
        Bench::Consume { .. } => consume_all(connections, load, partitions, start).await,
    };
    let total = meters.map_err(failed)?.iter().fold(Meter::default(), Meter::add);
    let result = total.result(side, start.elapsed().as_secs_f64());
    if result.records == 0 {
        let why = format!("topic {} brought no record in {} s", load.topic, load.seconds);
        return Err(Failure::new(format!("bench {side} measured nothing"), why));
    }
    print(&result, load.output)
}

async fn produce_all(
    connections: Vec<Connection>,
    load: &Load,
    partitions: u32,
    record_bytes: u32,
    in_flight: u32,
    start: Instant,
) -> Result<Vec<Meter>, ClientError> {
    let (batch, records) = produce::batch(record_bytes as usize, load.batch_bytes as usize);
    let run = |(turn, connection)| {
        let work = produce::Work {
            topic: &load.topic,
            partition: (turn % partitions) as i32,
            pace: pace(load, start, batch.len(), turn),
            batch: batch.clone(),
            records,
            in_flight: in_flight as usize,
        };
        produce::run(connection, work)
    };
    try_join_all((0..).zip(connections).map(run)).await
}

async fn consume_all(
    connections: Vec<Connection>,
    load: &Load,
    partitions: u32,
    start: Instant,
) -> Result<Vec<Meter>, ClientError> {
    let run = |(turn, mut connection): (u32, Connection)| async move {
        let partition = (turn % partitions) as i32;
        let earliest = topics::earliest(&mut connection, &load.topic, partition).await?;
        let work = consume::Work {
            topic: &load.topic,
            partition,
            batch_bytes: load.batch_bytes as i32,
            pace: pace(load, start, load.batch_bytes as usize, turn),
        };
        consume::run(connection, earliest, work).await
    };
    try_join_all((0..).zip(connections).map(run)).await
}

fn pace(load: &Load, start: Instant, bytes: usize, turn: u32) -> Pace {
    Pace::new(start, load.seconds, load.rate * 1e6, bytes, load.connections, turn)
}

fn print(result: &BenchResult, output: Output) -> Result<String, Failure> {
    match output {
        Output::Table => Ok(result.text()),
        Output::Json => serde_json::to_string_pretty(result)
            .map(|json| json + "\n")
            .map_err(|error| Failure::new("the result cannot be printed", error)),
    }
}
