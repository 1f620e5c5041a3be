//! The tour: write, read hot, wait until the bucket has it, let the local disk go, read cold, compare.
//! It stops at the first thing that is not as it must be. Invariant: it succeeds only if every record came back.

use std::io::Write as _;
use std::time::Duration;

use firnline_cache::key::CHUNK_BYTES;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::cli::arguments::Demo;
use crate::cli::columns::bytes;
use crate::cli::demo::content::VALUE_BYTES;
use crate::cli::demo::progress::Bar;
use crate::cli::demo::reading::read;
use crate::cli::demo::stage::{SEGMENT_BYTES, Stage};
use crate::cli::demo::writing::write;
use crate::cli::failure::Failure;
use crate::cli::tier::topic_text;
use crate::telemetry::tier_status::{PartitionStatus, TierStatus};

/// Partitions of the demo's topic.
const PARTITIONS: i32 = 4;
/// Share of the bytes that must lie in the bucket only before the cold pass.
const COLD_PERCENT_MIN: u64 = 80;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long nothing may move to the bucket, or leave the disk, before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `firn demo`.
pub async fn run(arguments: &Demo) -> Result<(), Failure> {
    let stage = Stage::set_up().await?;
    let outcome = tokio::select! {
        outcome = walk(&stage, arguments) => outcome,
        failure = interrupted() => Err(failure),
    };
    let cleared = stage.clear().await;
    outcome.and(cleared)
}

async fn interrupted() -> Failure {
    let failed = |error: std::io::Error| Failure::new("signals cannot be received", error);
    let (mut interrupt, mut terminate) =
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
            (Err(error), _) | (_, Err(error)) => return failed(error),
        };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Failure::new("the demo was stopped", "a signal came before it ended")
}

async fn walk(stage: &Stage, arguments: &Demo) -> Result<(), Failure> {
    let records = records_each(arguments.megabytes);
    let total = records * i64::from(PARTITIONS);
    let volume = total as u64 * VALUE_BYTES as u64;
    say(format_args!(
        "Firnline demo: a broker on {}, its disk and its bucket in {}\n",
        stage.address(),
        stage.folder().display()
    ))?;
    stage.create_topic(PARTITIONS).await?;

    let started = Instant::now();
    let written = write(stage, PARTITIONS, records, &Bar::new("write", volume)).await?;
    report("write", written, started, &format!("{total} records of 1 KiB, acknowledged"))?;

    let started = Instant::now();
    let hot = read(stage, PARTITIONS, records, &Bar::new("hot", written)).await?;
    report("hot", hot, started, &format!("{total} records from the local disk, each checked"))?;

    let started = Instant::now();
    await_tier(stage, "offload", written, "segments are not offloaded", in_bucket, offloaded).await?;
    stage.let_go().await?;
    await_tier(stage, "release", written, "segments do not leave the local disk", only_bucket, released)
        .await?;
    let before = stage.status().await?;
    let only = only_bucket(&before);
    report("offload", only, started, "in the bucket and no longer on the local disk")?;
    say(format_args!("\n{}\n", before.topics.iter().map(topic_text).collect::<String>()))?;
    check_cold(&before, only, written)?;

    let started = Instant::now();
    let cold = read(stage, PARTITIONS, records, &Bar::new("cold", written)).await?;
    let requests = check_requests(&before, &stage.status().await?, only)?;
    report("cold", cold, started, &format!("{total} records from offset 0, {requests}, each checked"))?;
    if (hot, cold) != (written, written) {
        let why = format!("{written} bytes were written, {hot} read hot, {cold} read cold");
        return Err(Failure::new("the passes do not agree", why));
    }
    say(format_args!(
        "\nAll {total} records came back from offset 0 as they were written; {} of {} lay in the bucket only.\n",
        bytes(only),
        bytes(written)
    ))
}

/// Records per partition for so many megabytes (10^6) of values.
fn records_each(megabytes: u32) -> i64 {
    (u64::from(megabytes) * 1_000_000).div_ceil(VALUE_BYTES as u64 * PARTITIONS as u64) as i64
}

/// Waits until `done`, as long as `measure` grows.
async fn await_tier(
    stage: &Stage,
    step: &'static str,
    total: u64,
    what: &str,
    measure: impl Fn(&TierStatus) -> u64,
    done: impl Fn(&PartitionStatus) -> bool,
) -> Result<(), Failure> {
    let bar = Bar::new(step, total);
    let (mut most, mut moved) = (0, Instant::now());
    loop {
        let status = stage.status().await?;
        let now = measure(&status);
        bar.at(now);
        if partitions(&status).all(&done) {
            return Ok(());
        }
        if now > most {
            (most, moved) = (now, Instant::now());
        } else if moved.elapsed() > PATIENCE {
            let last = status.offload.and_then(|offload| offload.last_error);
            let why = last.unwrap_or_else(|| "the broker names no error".to_owned());
            let stuck = format!("{} of {} after {} s: {why}", bytes(now), bytes(total), PATIENCE.as_secs());
            return Err(Failure::new(what, stuck));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn partitions(status: &TierStatus) -> impl Iterator<Item = &PartitionStatus> {
    status.topics.iter().flat_map(|topic| &topic.partitions)
}

fn in_bucket(status: &TierStatus) -> u64 {
    partitions(status).map(|partition| partition.bucket_bytes).sum()
}

fn only_bucket(status: &TierStatus) -> u64 {
    partitions(status).map(|partition| partition.bucket_only_bytes).sum()
}

/// Nothing waits but the active segment.
fn offloaded(partition: &PartitionStatus) -> bool {
    partition.waiting_bytes < SEGMENT_BYTES
}

/// Nothing is on the local disk but the active segment.
fn released(partition: &PartitionStatus) -> bool {
    partition.local_bytes < SEGMENT_BYTES
}

/// The cold pass must find most bytes in the bucket only, and nothing of them in the cache.
fn check_cold(status: &TierStatus, only: u64, written: u64) -> Result<(), Failure> {
    let what = "the cold pass would not be cold";
    if only * 100 < written * COLD_PERCENT_MIN {
        let share = only * 100 / written.max(1);
        let why = format!("{share} % of the bytes lie in the bucket only, {COLD_PERCENT_MIN} % are needed");
        return Err(Failure::new(what, why));
    }
    let (_, _, memory, disk) = status.totals();
    let held = status.cache.map_or(0, |cache| cache.memory_bytes);
    match memory + disk + held {
        0 => Ok(()),
        cached => Err(Failure::new(what, format!("the cache already holds {cached} bytes"))),
    }
}

/// The bucket must have been asked for at least what lay nowhere else; answers the requests in words.
fn check_requests(before: &TierStatus, after: &TierStatus, only: u64) -> Result<String, Failure> {
    let requests =
        |status: &TierStatus| status.bucket.as_ref().map(|bucket| bucket.requests).unwrap_or_default();
    let (before, after) = (requests(before), requests(after));
    let (gets, got) = (after.gets - before.gets, after.bytes_got - before.bytes_got);
    if gets < only.div_ceil(CHUNK_BYTES) || got < only {
        let why = format!("{gets} GET requests brought {got} bytes, {only} lay in the bucket only");
        return Err(Failure::new("the cold pass was not served by the bucket", why));
    }
    Ok(format!("{gets} GET"))
}

fn report(step: &str, volume: u64, started: Instant, note: &str) -> Result<(), Failure> {
    let seconds = started.elapsed().as_secs_f64();
    let megabytes = volume as f64 / 1e6;
    let rate = megabytes / seconds.max(1e-6);
    say(format_args!("  {step:<8}{megabytes:8.1} MB in {seconds:6.2} s {rate:8.1} MB/s   {note}\n"))
}

/// A reader that went away (`| head`) is no failure.
fn say(text: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new("the demo's results could not be printed", error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tier_status::{BucketStatus, CacheStatus, Requests, TopicStatus};

    fn status(only: u64, cached: u64, gets: u64) -> TierStatus {
        let partition = PartitionStatus { bucket_only_bytes: only, ..PartitionStatus::default() };
        let topic = TopicStatus { topic: "demo".into(), tiered: true, partitions: vec![partition] };
        let requests = Requests { gets, bytes_got: gets * CHUNK_BYTES, ..Requests::default() };
        TierStatus {
            bucket: Some(BucketStatus { requests, ..BucketStatus::default() }),
            cache: Some(CacheStatus { memory_bytes: cached, ..CacheStatus::default() }),
            topics: vec![topic],
            ..TierStatus::default()
        }
    }

    #[test]
    fn a_pass_is_cold_only_with_the_bytes_in_the_bucket_and_an_empty_cache() {
        assert!(check_cold(&status(80, 0, 0), 80, 100).is_ok());
        assert!(check_cold(&status(79, 0, 0), 79, 100).unwrap_err().why.contains("79 %"));
        assert!(check_cold(&status(80, 1, 0), 80, 100).unwrap_err().why.contains("holds 1 bytes"));
    }

    #[test]
    fn the_bucket_must_have_served_the_cold_bytes() {
        let only = 3 * CHUNK_BYTES;
        assert_eq!(check_requests(&status(only, 0, 2), &status(only, 0, 5), only).unwrap(), "3 GET");
        assert!(check_requests(&status(only, 0, 2), &status(only, 0, 4), only).is_err());
    }

    #[test]
    fn megabytes_are_of_values() {
        assert_eq!(records_each(200) * i64::from(PARTITIONS) * 1024, 200_003_584);
    }
}
