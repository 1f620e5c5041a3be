//! A cluster of three under trouble: producers and readers go on while nodes die, links break and clocks jump; then
//! everything heals, and every invariant is checked. With an odd seed it acknowledges under `firn.durability=disk`, and
//! the power goes where else a process is killed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::cluster::Cluster;
use crate::invariants::log_start_monotonic::LogStartMonotonic;
use crate::invariants::metadata_agrees::MetadataAgrees;
use crate::invariants::one_leader_per_epoch::OneLeaderPerEpoch;
use crate::invariants::writable_again::WritableAgain;
use crate::invariants::{acked_survives, replicas_identical, values_in_order, watermark_kept};
use crate::scenario::{Run, values};
use crate::trouble::Trouble;
use crate::workload::{Known, PARTITIONS, Stage, TOPIC, Workload};
use crate::world::journal::Journal;
use crate::world::shadow;

/// Simulated time with trouble.
const TROUBLE: Duration = Duration::from_secs(40);
/// A run that needs longer is stuck.
const DURATION: Duration = Duration::from_secs(600);
/// How often invariants look at the nodes.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Attempts to read a partition whole, half a second apart where they fail.
const TRIES: usize = 60;

/// Runs the scenario; panics when an invariant is broken.
pub fn run(seed: u64, planted: bool) -> Run {
    let mut dice = StdRng::seed_from_u64(seed);
    shadow::begin(StdRng::seed_from_u64(dice.random()));
    let journal = Journal::default();
    let cluster = Cluster::new(&mut dice, &journal, planted, seed % 2 == 1);
    let mut sim = turmoil::Builder::new()
        .rng_seed(dice.random())
        .simulation_duration(DURATION)
        .tick_duration(Duration::from_millis(1))
        .tcp_capacity(4096)
        .build();
    for node in cluster.nodes.iter() {
        let (cluster, node) = (cluster.clone(), node.clone());
        sim.host(node.name, move || cluster.clone().serve(node.clone()));
    }
    let workload = Workload::new(cluster.clone());
    let clients = workload.clone();
    sim.client("client", async move { be_clients(clients).await });
    drive(&mut sim, &cluster, &workload, Trouble::new(dice.random(), Duration::ZERO));
    Run { journal }
}

/// Steps until the clients are done; trouble begins once the topic is there.
fn drive(sim: &mut turmoil::Sim<'_>, cluster: &Cluster, workload: &Workload, mut trouble: Trouble) {
    let mut leaders = OneLeaderPerEpoch::default();
    let mut metadata = MetadataAgrees::default();
    let mut starts = LogStartMonotonic::default();
    let (mut troubled, mut healed) = (None, None);
    let mut look_at = Duration::ZERO;
    while !sim.step().expect("the simulation goes on") {
        let now = sim.elapsed();
        trouble.restart_the_dead(sim, cluster);
        if workload.stage() == Stage::Trouble {
            let since = *troubled.get_or_insert(now);
            trouble.tick(sim, cluster);
            if now > since + TROUBLE {
                trouble.heal(sim, cluster);
                *workload.stage.borrow_mut() = Stage::Healed;
                healed = Some(WritableAgain::new(now));
            }
        }
        if now < look_at {
            continue;
        }
        look_at = now + LOOK_EVERY;
        leaders.look(cluster);
        metadata.look(cluster);
        starts.look(cluster);
        if let Some(again) = &mut healed {
            again.look(now, cluster, workload);
            if again.holds() && workload.stage() == Stage::Healed {
                *workload.stage.borrow_mut() = Stage::Whole;
            }
        }
    }
}

/// Founds, then produces and reads side by side, then reads everything once more and compares.
async fn be_clients(workload: Workload) -> turmoil::Result {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            workload.found().await;
            *workload.stage.borrow_mut() = Stage::Trouble;
            let spawn = |partition| {
                tokio::task::spawn_local(workload.clone().read(partition));
                tokio::task::spawn_local(workload.clone().produce(partition))
            };
            let producers: Vec<_> = (0..PARTITIONS).map(spawn).collect();
            for producer in producers {
                producer.await?;
            }
            // `WritableAgain` watches that this takes no longer than promised.
            while workload.stage() < Stage::Whole {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            *workload.stage.borrow_mut() = Stage::Done;
            for partition in 0..PARTITIONS {
                check(&workload, partition).await;
            }
            replicas_identical::check(&workload.cluster);
            Ok(())
        })
        .await
}

async fn check(workload: &Workload, partition: i32) {
    let known: Known = workload.known.borrow()[partition as usize].clone();
    let (mut log, mut next, mut watermark, mut turn) = (std::collections::BTreeMap::new(), 0, 0, 0);
    let mut client = None;
    while next < watermark || log.is_empty() {
        turn += 1;
        if client.is_none() {
            client = workload.leader_of(partition, turn).await;
        }
        let Some(open) = client.as_mut() else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(answer) = open.fetch(TOPIC, partition, next, 4 << 20, 500).await else {
            client = None;
            continue;
        };
        if answer.error_code != 0 {
            // What the bucket refused a moment ago is not asked for again at once.
            assert!(turn < TRIES, "partition {partition}, offset {next}: error {} stays", answer.error_code);
            client = None;
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        }
        watermark = answer.high_watermark;
        for (offset, value) in values(&answer.records.unwrap_or_default()) {
            if offset >= next {
                next = offset + 1;
                log.insert(offset, value);
            }
        }
    }
    watermark_kept::check(partition, &known, watermark);
    acked_survives::check(partition, &known, &log);
    values_in_order::check(partition, &known, &log);
    let acked = known.acked.len();
    workload.cluster.journal.note("check", format_args!("{partition}: {acked} acked, {} there", log.len()));
}
