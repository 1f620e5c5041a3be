//! Allocations per request: the whole broker on this one thread, the client on another, so that the thread's counter
//! sees all of the serving path and nothing of the client.

use std::net::SocketAddr;
use std::path::Path;

use firnline::broker::doors::Doors;
use firnline::broker::lifecycle::Broker;
use firnline::config::load::{Places, load};
use firnline::config::start::build;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::baseline::Counts;
use super::client::Client;
use super::load::{Load, run, set_up};

/// Requests before the count, in which buffers reach their size.
const WARM: usize = 100;
/// Requests counted.
const COUNTED: usize = 1000;

pub fn count(counts: &mut Counts) -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = LocalSet::new();
    let broker = local.block_on(&runtime, start(dir.path(), 1, true));
    let address = broker.addr();
    aside(&runtime, &local, address, set_up);
    for load in Load::ALL {
        aside(&runtime, &local, address, move |client| run(client, load, WARM));
        let info = allocation_counter::measure(|| {
            aside(&runtime, &local, address, move |client| run(client, load, COUNTED));
        });
        counts.put(load.name(), "allocations", info.count_total as f64 / COUNTED as f64);
    }
    local.block_on(&runtime, broker.abandon());
    Ok(())
}

/// Drives the broker until a client on a thread of its own is done.
fn aside(
    runtime: &Runtime,
    local: &LocalSet,
    address: SocketAddr,
    work: impl FnOnce(&mut Client) + Send + 'static,
) {
    let (done, is_done) = oneshot::channel();
    let client = std::thread::spawn(move || {
        work(&mut Client::connect(address));
        done.send(()).expect("the broker waits for this");
    });
    let outcome = local.block_on(runtime, is_done);
    if outcome.is_err() {
        client.join().expect("a client that got its answers");
    }
}

/// A broker on `dir` whose housekeeping stays out of the count; on the caller's thread or on `cores` of its own.
pub async fn start(dir: &Path, cores: usize, single_threaded: bool) -> Broker {
    let set = vec![
        "node.id=1".to_owned(),
        format!("log.dirs={}", dir.join("log").display()),
        "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
        format!("firn.cores={cores}"),
    ];
    let loaded = load(&Places { set, ..Places::default() }).expect("settings");
    let config = build(loaded.settings, true).expect("a configuration").config;
    Broker::start(config, Doors { single_threaded, ..Doors::real() }).await.expect("the broker starts")
}
