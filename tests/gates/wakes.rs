//! Wakes of other cores: none for a request that nobody waits for, and one per waiting core and turn, however much is
//! appended in it (the broker's own counter, two serving cores).

use std::time::Duration;

use firnline::client::records::PRODUCE_VERSION;
use firnline::wire::message::ProduceRequest;
use tokio::runtime::Runtime;

use super::allocations::start;
use super::baseline::Counts;
use super::client::Client;
use super::load::{Fetching, Load, produce, run, set_up};

/// Requests that nobody waits for.
const ALONE: usize = 200;
/// Turns of [`AHEAD`] appends each while another core waits.
const TURNS: usize = 100;
const AHEAD: usize = 10;
/// Longer than a core takes to look at what it was told.
const PAUSE: Duration = Duration::from_millis(5);
/// Longer than the turns take.
const WAIT_MS: i32 = 60_000;

pub fn count(counts: &mut Counts) -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = Runtime::new().expect("a runtime");
    let broker = runtime.block_on(start(dir.path(), 2, false));
    let wakes = || broker.shared().board.cross_core_wakes();
    // The first connection is the first core's, the second one the other's.
    let mut producer = Client::connect(broker.addr());
    set_up(&mut producer);
    let before = wakes();
    run(&mut producer, Load::Produce, ALONE);
    counts.put(Load::Produce.name(), "wakes", (wakes() - before) as f64 / ALONE as f64);

    let mut waiter = Client::connect(broker.addr());
    // It never gets what it waits for, so it waits through all turns.
    let ask = Fetching {
        from: 0,
        bytes_max: 1 << 20,
        min_bytes: i32::MAX,
        wait_ms: WAIT_MS,
        session: (0, -1),
        named: true,
    };
    waiter.send(&ask.frame());
    let before = wakes();
    while wakes() == before {
        // Until the fetch waits, nobody is woken.
        run(&mut producer, Load::Produce, 1);
        std::thread::sleep(PAUSE);
    }
    let ahead: Vec<u8> = (0..AHEAD).flat_map(|_| produce(1, 100).to_vec()).collect();
    let before = wakes();
    for _ in 0..TURNS {
        producer.send(&ahead);
        for _ in 0..AHEAD {
            let answer = producer.receive::<ProduceRequest>(PRODUCE_VERSION);
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        }
        // The waiter looks before the next turn: a wake that it has not followed yet would spare another one.
        std::thread::sleep(PAUSE);
    }
    let woken = (wakes() - before) as f64;
    assert!(woken > 0.0, "the waiter was never told");
    counts.put("turn-of-10-appends", "wakes", woken / TURNS as f64);
    drop(waiter);
    runtime.block_on(broker.abandon());
    Ok(())
}
