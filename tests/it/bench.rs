//! `firn bench` against a broker in this process: both sides, paced and not, and what it says when it cannot.
//! Counts are compared, times never.

use std::process::{Command, Output};

use super::harness::broker::TestBroker;

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
