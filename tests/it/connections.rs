//! Connections and cores: who is woken, who is closed, who is let in.
//! Nothing here is timed: a wait that should end and does not shows as a test that does not end.

use kafka_protocol::messages::FetchRequest;

use crate::harness::asks::{bytes, fetching, of};
use crate::harness::broker::TestBroker;
use crate::harness::records::{batch, values};

/// A day: only what a test does can end such a wait.
const A_DAY_MS: i32 = 86_400_000;

#[tokio::test]
async fn an_append_wakes_a_waiting_fetch_of_its_own_core_without_waking_another() {
    let mut broker = TestBroker::with(&["firn.cores=1"]).await;
    let (mut reader, mut writer) = (broker.client().await, broker.client().await);
    writer.create("t", 1, &[]).await;
    let waiting = reader.send(11, &fetching("t", &[(0, 0)], A_DAY_MS)).await.unwrap();
    writer.append("t", 0, batch(&["news"])).await;
    let answer = reader.receive::<FetchRequest>(11, waiting).await.unwrap();
    assert_eq!(values(&bytes(of(&answer, 0))), [(0, "news".to_owned())]);
    assert_eq!(broker.broker().shared().board.cross_core_wakes(), 0);
    broker.stop().await;
}

#[tokio::test]
async fn an_append_wakes_a_waiting_fetch_of_another_core() {
    let mut broker = TestBroker::with(&["firn.cores=2"]).await;
    let (mut reader, mut writer) = (broker.client().await, broker.client().await);
    writer.create("t", 1, &[]).await;
    for round in 0..50 {
        let waiting = reader.send(11, &fetching("t", &[(0, round)], A_DAY_MS)).await.unwrap();
        writer.append("t", 0, batch(&["news"])).await;
        let answer = reader.receive::<FetchRequest>(11, waiting).await.unwrap();
        assert_eq!(values(&bytes(of(&answer, 0))), [(round, "news".to_owned())]);
    }
    // An append that came before its reader waited woke nobody.
    let wakes = broker.broker().shared().board.cross_core_wakes();
    assert!(wakes <= 50, "{wakes} wakes for 50 appends");
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_waiting_fetch_along() {
    let mut broker = TestBroker::start().await;
    let (mut reader, mut writer) = (broker.client().await, broker.client().await);
    writer.create("t", 1, &[]).await;
    reader.send(11, &fetching("t", &[(0, 0)], A_DAY_MS)).await.unwrap();
    drop(reader);
    // The stop waits for connections: one that still waited a day would hold it up.
    broker.stop().await;
}

#[tokio::test]
async fn a_silent_connection_is_closed_and_one_that_waits_for_us_is_not() {
    let mut broker = TestBroker::with(&["connections.max.idle.ms=1"]).await;
    let (mut waits, mut silent) = (broker.client().await, broker.client().await);
    waits.create("t", 1, &[]).await;
    let waiting = waits.send(11, &fetching("t", &[(0, 0)], 12_000)).await.unwrap();
    assert!(silent.read_frame().await.is_err());
    let answer = waits.receive::<FetchRequest>(11, waiting).await.unwrap();
    assert_eq!(of(&answer, 0).error_code, 0);
    broker.stop().await;
}

#[tokio::test]
async fn one_connection_too_many_is_refused_and_its_place_is_given_again() {
    let mut broker = TestBroker::with(&["max.connections=1"]).await;
    let mut inside = broker.client().await;
    inside.create("t", 1, &[]).await;
    assert!(broker.client().await.read_frame().await.is_err());
    inside.create("u", 1, &[]).await;
    drop(inside);
    let counters = broker.broker().shared().counters.clone();
    crate::harness::wait::until("the place is free", async || counters.connections.get() == 0).await;
    broker.client().await.create("v", 1, &[]).await;
    assert!(counters.connections_refused.get() >= 1);
    broker.stop().await;
}
