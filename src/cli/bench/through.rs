//! `firn bench through`: writes to every partition at a steady rate through whatever happens to its leaders, and tells
//! how long an acknowledgement was owed. Idempotent, one record per request, one request per partition under way, each
//! value only once; time begins once every partition has acknowledged one. Invariant: a record counts as acknowledged
//! only if a leader said so with acks=all.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::clock::{Clock, SystemClock};
use futures::future::join_all;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use crate::cli::arguments::{Output, Through};
use crate::cli::bench::meter::{Latency, Meter};
use crate::cli::bench::pace::Pace;
use crate::cli::bench::proof::{self, Proof};
use crate::cli::bench::route::Router;
use crate::cli::failure::Failure;
use crate::client::connection::Connection;
use crate::client::error::{ClientError, name};
use crate::client::leaders;
use crate::client::records::producer_identity;

const CLIENT_ID: &str = "firn-bench";
/// An answer that is missed for so long is a reason to ask who leads now.
const LATE: Duration = Duration::from_millis(100);
/// Before a batch that was refused is sent again.
const AGAIN: Duration = Duration::from_millis(10);
/// How long after the end an acknowledgement may come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Waits that count as a stall.
const STALL: Duration = Duration::from_millis(100);
/// DUPLICATE_SEQUENCE_NUMBER: an earlier attempt was appended.
const DUPLICATE: i16 = 46;

/// Said on standard error once every partition has acknowledged a record: the time begins.
const BEGUN: &str = "every partition has acknowledged a record: begun";

/// What all partitions share.
#[derive(Default)]
struct Tally {
    meter: Meter,
    last_ack: Option<Instant>,
    /// The longest time in which nothing at all was acknowledged.
    silence: Duration,
    retries: u64,
    errors: BTreeMap<String, u64>,
}

/// One partition.
struct Lane<'a> {
    router: &'a Router,
    tally: &'a Mutex<Tally>,
    partition: i32,
    producer: (i64, i16),
    record_bytes: usize,
}

/// What became of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    partition: i32,
    acked: u64,
    /// The one after them was sent and never acknowledged.
    open: bool,
    /// The longest from when a record was due to its acknowledgement.
    owed: Duration,
}

/// The result. Field names are an interface: add, never rename.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// From the first intended time to the last answer.
    pub seconds: f64,
    /// Records acknowledged.
    pub acked: u64,
    /// Records sent and never acknowledged.
    pub open: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// What brokers and connections said, by name.
    pub errors: BTreeMap<String, u64>,
    /// From the intended time of each record.
    pub latency_ms: Latency,
    /// The longest any partition owed an acknowledgement, from when its record was due.
    pub gap_ms: f64,
    /// The median of that over the partitions that owed one for more than 100 ms.
    pub gap_ms_median: f64,
    /// How many those are.
    pub stalled: usize,
    /// The longest time in which no partition acknowledged anything.
    pub silence_ms: f64,
    /// What is in the log, compared with what was acknowledged; absent with `--no-check`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// Runs it.
pub async fn run(asked: &Through) -> Result<String, Failure> {
    let told =
        measure(asked).await.map_err(|error| Failure::of_call("bench through did not end well", &error))?;
    let text = match asked.output {
        Output::Table => text(&told),
        Output::Json => serde_json::to_string_pretty(&told)
            .map(|json| json + "\n")
            .map_err(|error| Failure::new("the result cannot be printed", error))?,
    };
    match &told.proof {
        Some(proof) if !proof.holds() => {
            Err(Failure::new("the log does not hold what was acknowledged", text))
        }
        _ => Ok(text),
    }
}

async fn measure(asked: &Through) -> Result<Told, ClientError> {
    let mut connection = Connection::open(&asked.broker.bootstrap_server, CLIENT_ID).await?;
    let leaders = leaders::ask(&mut connection, &asked.topic).await?;
    let producer = producer_identity(&mut connection).await?;
    let partitions: Vec<i32> = leaders.partitions.keys().copied().collect();
    let router = Router::new(&asked.topic, CLIENT_ID, leaders);
    let askers = router.ask_all();
    let tally = Mutex::new(Tally::default());
    let count = u32::try_from(partitions.len()).unwrap_or(u32::MAX).max(1);
    let lanes = partitions.iter().map(|partition| {
        let (router, tally, record_bytes) = (&*router, &tally, asked.record_bytes as usize);
        Lane { router, tally, partition: *partition, producer, record_bytes }
    });
    let lanes: Vec<Lane<'_>> = lanes.collect();
    // A new topic's partitions are opened one after the other: that is no fall.
    let begun = join_all(lanes.iter().map(Lane::begin)).await;
    *tally.lock() = Tally::default();
    // Nobody needs to hear it.
    _ = writeln!(std::io::stderr(), "{BEGUN}");
    let start = Instant::now();
    let paced = (0..).zip(lanes.iter().zip(begun)).map(|(turn, (lane, acked))| {
        // Operations by seconds are bytes by seconds where each is one byte.
        lane.write(acked, Pace::new(start, asked.seconds, asked.rate, 1, count, turn))
    });
    let written = join_all(paced).await;
    let seconds = start.elapsed().as_secs_f64();
    let proof = match asked.no_check {
        true => None,
        false => {
            let expected = written.iter().map(|lane| (lane.partition, (lane.acked, lane.open))).collect();
            Some(proof::check(&router, &asked.topic, CLIENT_ID, &expected).await?)
        }
    };
    askers.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(told(&written, tally.into_inner(), seconds, proof))
}

impl Lane<'_> {
    /// Writes the first record; answers how many were acknowledged.
    async fn begin(&self) -> u64 {
        u64::from(timeout(PATIENCE, self.until_acked(&self.batch(0))).await.is_ok())
    }

    /// A partition whose first record is still open writes nothing more.
    async fn write(&self, acked: u64, pace: Pace) -> Written {
        let mut written =
            Written { partition: self.partition, acked, open: acked == 0, owed: Duration::ZERO };
        for place in 0.. {
            if written.open {
                break;
            }
            let Some(due) = pace.due(place).await else { break };
            let batch = self.batch(written.acked);
            if timeout(PATIENCE, self.until_acked(&batch)).await.is_err() {
                (written.open, written.owed) = (true, written.owed.max(due.elapsed()));
                continue;
            }
            written.acked += 1;
            written.owed = written.owed.max(due.elapsed());
            self.note(due, batch.len() as u64);
        }
        written
    }

    /// One record: its partition and its number, which is also its sequence.
    fn batch(&self, number: u64) -> Bytes {
        let (id, epoch) = self.producer;
        // Sequences go round at 2^31, as Kafka's do.
        let sequence = (number & 0x7fff_ffff) as i32;
        let value = proof::value(self.partition, number, self.record_bytes);
        let mut builder = BatchBuilder::new().producer(id, epoch, sequence);
        builder.push(SystemClock.now_ms(), None, Some(&value), &[]);
        builder.build()
    }

    async fn until_acked(&self, batch: &Bytes) {
        while let Err(why) = self.attempt(batch).await {
            {
                let mut tally = self.tally.lock();
                tally.retries += 1;
                *tally.errors.entry(why).or_default() += 1;
            }
            self.router.news().await;
            sleep(AGAIN).await;
        }
    }

    async fn attempt(&self, batch: &Bytes) -> Result<(), String> {
        let leader = self.router.leader(self.partition).ok_or("no leader is known")?;
        let answer = self.router.send(leader, self.partition, batch.clone()).ok_or("no connection")?;
        tokio::pin!(answer);
        loop {
            match timeout(LATE, &mut answer).await {
                Ok(Ok(Ok(()))) => return Ok(()),
                Ok(Ok(Err(ClientError::Refused { code: DUPLICATE, .. }))) => return Ok(()),
                Ok(Ok(Err(ClientError::Refused { code, .. }))) => return Err(name(code)),
                Ok(Ok(Err(error))) => return Err(error.to_string()),
                Ok(Err(_)) => return Err("the connection broke".to_owned()),
                Err(_) if self.router.leader(self.partition) != Some(leader) => {
                    return Err("another leads".to_owned());
                }
                Err(_) => self.router.want(),
            }
        }
    }

    fn note(&self, due: Instant, bytes: u64) {
        let (mut tally, now) = (self.tally.lock(), Instant::now());
        tally.meter.count(1, bytes, due.elapsed());
        if let Some(last) = tally.last_ack {
            tally.silence = tally.silence.max(now - last);
        }
        tally.last_ack = Some(now);
    }
}

fn told(written: &[Written], tally: Tally, seconds: f64, proof: Option<Proof>) -> Told {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let mut stalled: Vec<Duration> =
        written.iter().map(|lane| lane.owed).filter(|owed| *owed > STALL).collect();
    stalled.sort();
    Told {
        seconds,
        acked: written.iter().map(|lane| lane.acked).sum(),
        open: written.iter().filter(|lane| lane.open).count() as u64,
        retries: tally.retries,
        errors: tally.errors,
        latency_ms: tally.meter.result("produce", seconds).latency_ms,
        gap_ms: written.iter().map(|lane| ms(lane.owed)).fold(0.0, f64::max),
        gap_ms_median: stalled.get(stalled.len() / 2).map_or(0.0, |owed| ms(*owed)),
        stalled: stalled.len(),
        silence_ms: ms(tally.silence),
        proof,
    }
}

fn text(told: &Told) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| _ = writeln!(text, "{label:<12}{value}");
    let Latency { p50, p99, p999, max } = told.latency_ms;
    line("acked", format!("{} records in {:.2} s, {} left open", told.acked, told.seconds, told.open));
    line("latency", format!("p50 {p50:.3} ms, p99 {p99:.3} ms, p99.9 {p999:.3} ms, max {max:.3} ms"));
    let (gap, median, stalled) = (told.gap_ms, told.gap_ms_median, told.stalled);
    line("longest", format!("{gap:.0} ms; {stalled} partitions over 100 ms, their median {median:.0} ms"));
    line("silence", format!("{:.0} ms without any acknowledgement", told.silence_ms));
    for (why, times) in &told.errors {
        line("retried", format!("{times} × {why}"));
    }
    if let Some(Proof { found, lost, twice, disordered, strange }) = told.proof {
        let wrong = format!("lost {lost}, double {twice}, out of order {disordered}, never sent {strange}");
        line("in the log", format!("{found}; {wrong}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_debt_is_told_and_who_had_one() {
        let lane = |partition, acked, ms| Written {
            partition,
            acked,
            open: partition == 2,
            owed: Duration::from_millis(ms),
        };
        let errors = BTreeMap::from([("NOT_LEADER_OR_FOLLOWER".to_owned(), 3)]);
        let silence = Duration::from_millis(7);
        let tally = Tally { silence, retries: 3, errors, ..Tally::default() };
        let written = [lane(0, 10, 5), lane(1, 8, 300), lane(2, 7, 400), lane(3, 9, 200)];
        let proof = Proof { found: 34, lost: 1, twice: 0, disordered: 0, strange: 0 };
        let told = told(&written, tally, 2.0, Some(proof));
        assert_eq!((told.acked, told.open, told.stalled), (34, 1, 3));
        assert_eq!((told.gap_ms, told.gap_ms_median, told.silence_ms), (400.0, 300.0, 7.0));
        let text = text(&told);
        assert!(text.contains("longest     400 ms; 3 partitions over 100 ms, their median 300 ms"), "{text}");
        assert!(text.contains("retried     3 × NOT_LEADER_OR_FOLLOWER"), "{text}");
        assert!(text.contains("in the log  34; lost 1, double 0"), "{text}");
        assert!(!proof.holds());
    }
}
