//! `firn bench` against a broker in this process: both sides, paced and not, and what it says when it cannot.
//! Counts are compared, times never.

use std::process::{Command, Output};

use super::harness::broker::TestBroker;
use super::harness::nodes::Nodes;
use super::harness::wait::until;

/// Runs `firn bench` beside the broker.
async fn bench(broker: &TestBroker, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.arg("bench").args(arguments.split(' ')).args(["-b", &broker.bootstrap()]);
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("the thread ends").expect("firn runs")
}

fn result(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a result in JSON")
}

#[tokio::test]
async fn what_bench_counts_is_in_the_log() {
    let broker = TestBroker::start().await;
    broker.client().await.create("load", 2, &[]).await;
    let produced = bench(
        &broker,
        "produce --topic load --seconds 1 --connections 2 --rate 2 --record-bytes 100 --batch-bytes 10000 -o json",
    )
    .await;
    let produced = result(&produced);
    let in_log = [0, 1].map(|index| broker.partition("load", index).log().offsets().end.0);
    assert!(in_log.iter().all(|records| *records > 0), "each connection has its partition: {in_log:?}");
    assert_eq!(produced["records"], in_log.iter().sum::<i64>());
    // 200 operations a second were meant; a slow machine does fewer, none does more.
    assert!(produced["operations"].as_u64().is_some_and(|count| (1..=203).contains(&count)), "{produced}");

    let consumed = result(&bench(&broker, "consume --topic load --seconds 1 -o json").await);
    let per_batch =
        produced["records"].as_u64().expect("a count") / produced["operations"].as_u64().expect("a count");
    assert_eq!(consumed["records"].as_u64().map(|records| records % per_batch), Some(0), "{consumed}");
    assert!(consumed["bytes"].as_u64() > Some(0));
}

#[tokio::test]
async fn bench_says_what_is_missing() {
    let broker = TestBroker::start().await;
    let output = bench(&broker, "produce --topic nowhere --seconds 1").await;
    assert_eq!(output.status.code(), Some(1));
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(
        failed.contains("UNKNOWN_TOPIC_OR_PARTITION") && failed.contains("firn topic create nowhere"),
        "{failed}"
    );
}

#[tokio::test]
async fn a_bench_sends_what_it_was_asked_for() {
    let broker = TestBroker::start().await;
    broker.client().await.create("load", 3, &[]).await;
    let produced = bench(
        &broker,
        "produce --topic load --seconds 60 --megabytes 1 --codec lz4 --random-percent 50 --acks 1 -o json",
    )
    .await;
    let produced = result(&produced);
    let (bytes, records) = (produced["bytes"].as_u64().unwrap(), produced["records"].as_u64().unwrap());
    assert!((1_000_000..1_100_000).contains(&bytes), "it ends after 1 MB: {produced}");
    assert!(records * 1024 > bytes * 3 / 2, "half of each value compresses: {produced}");
    let ends = [0, 1, 2].map(|index| broker.partition("load", index).log().offsets().end.0);
    assert!(ends.iter().all(|end| *end > 0), "one connection goes round all partitions: {ends:?}");
    assert_eq!(ends.iter().sum::<i64>(), records as i64);
}

#[tokio::test]
async fn a_reader_at_the_end_tells_how_long_batches_were_on_their_way() {
    let broker = TestBroker::start().await;
    broker.client().await.create("load", 1, &[]).await;
    let mut reader = Command::new(env!("CARGO_BIN_EXE_firn"))
        .args([
            "bench",
            "consume",
            "--tail",
            "--topic",
            "load",
            "--seconds",
            "120",
            "--megabytes",
            "1",
            "-o",
            "json",
        ])
        .args(["-b", &broker.bootstrap()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("firn runs");
    // It waits at the end whenever it comes, and ends after a megabyte: write until then.
    while reader.try_wait().expect("a child").is_none() {
        let produced = bench(
            &broker,
            "produce --topic load --seconds 1 --rate 4 --stamp --record-bytes 1000 --batch-bytes 10000 -o json",
        );
        assert!(result(&produced.await)["records"].as_u64() > Some(0));
    }
    let told = result(&reader.wait_with_output().expect("an ended child"));
    assert!(told["end_to_end_ms"]["p50"].as_f64() > Some(0.0), "{told}");
    assert!(told["polls"].as_u64() >= told["operations"].as_u64(), "{told}");
}

#[tokio::test]
async fn every_partition_is_knocked_at() {
    let broker = TestBroker::start().await;
    broker.client().await.create("door", 60, &[]).await;
    let output = bench(&broker, "first --topic door --partitions 60").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(
        told["first_us"].as_u64() > Some(0) && told["first_us"].as_u64() <= told["all_us"].as_u64(),
        "{told}"
    );
    for index in 0..60 {
        assert_eq!(broker.partition("door", index).log().offsets().end.0, 1, "partition {index}");
    }
}

#[tokio::test]
async fn a_load_goes_on_through_the_death_of_a_leader_and_the_log_holds_it() {
    let set = ["default.replication.factor=3", "min.insync.replicas=2", "auto.create.topics.enable=true"];
    let mut nodes = Nodes::start(3, &set).await;
    let everywhere = (1..=3).map(|id| nodes.address(id)).collect::<Vec<_>>().join(",");
    let firn = |arguments: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
        command.args(arguments.split(' ')).args(["-b", &everywhere]);
        command
    };
    until("the topic is made", async || {
        let mut create = firn("topic create load -p 6 -r 3");
        let made = tokio::task::spawn_blocking(move || create.output()).await;
        made.expect("the thread ends").expect("firn runs").status.success()
    })
    .await;
    let mut through = firn("bench through -t load --seconds 8 --rate 60 -o json");
    let load = tokio::task::spawn_blocking(move || through.output());
    let led = |id: usize| {
        let image = nodes.broker(id).shared().controller.image();
        let leads = |index| Some(image.topics.by_name("load")?.partition(index)?.leader?.0 as usize);
        (0..6).filter_map(leads).collect::<Vec<_>>()
    };
    until("records are acknowledged", async || {
        let hosted = nodes.broker(1).shared().hosted.all();
        hosted.iter().filter(|partition| partition.log().offsets().end.0 > 2).count() >= 6
    })
    .await;
    let falls = led(1)[0];
    nodes.kill(falls);
    let told = result(&load.await.expect("the thread ends").expect("firn runs"));
    assert!(told["acked"].as_u64() > Some(100), "{told}");
    assert!(told["retries"].as_u64() > Some(0), "its leader died: {told}");
    assert!(told["gap_ms"].as_f64() > Some(0.0) && told["open"] == 0, "{told}");
    let (found, acked) = (told["proof"]["found"].as_u64(), told["acked"].as_u64());
    assert_eq!(found, acked, "each of them once: {told}");
    for wrong in ["lost", "twice", "disordered", "strange"] {
        assert_eq!(told["proof"][wrong], 0, "{told}");
    }
}
