//! A cluster of three under trouble: producers and readers go on while nodes die, links break and clocks jump; then
//! everything heals, and every invariant is checked. What a run promises is its seed's to say: see `Promise`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::clients::meddler::Meddler;
use crate::clients::producer::Producer;
use crate::clients::reader::Reader;
use crate::cluster::{Cluster, Promise};
use crate::invariants::commits_by_leader::CommitsByLeader;
use crate::invariants::isr_holds::IsrHolds;
use crate::invariants::log_start_monotonic::LogStartMonotonic;
use crate::invariants::metadata_agrees::MetadataAgrees;
use crate::invariants::one_leader_per_epoch::OneLeaderPerEpoch;
use crate::invariants::writable_again::WritableAgain;
use crate::invariants::{
    acked_survives, producers_agree, read_survives, replicas_identical, values_in_order,
};
use crate::scenario::{Run, values};
use crate::trouble::{CLIENTS, Trouble};
use crate::workload::{Known, PARTITIONS, Stage, TOPIC, Workload};
use crate::world::journal::Journal;
use crate::world::shadow;

/// Simulated time with trouble.
const TROUBLE: Duration = Duration::from_secs(40);
/// A run that needs longer is stuck.
const DURATION: Duration = Duration::from_secs(600);
/// How often invariants look at the nodes.
const LOOK_EVERY: Duration = Duration::from_millis(25);

const OFFSET_OUT_OF_RANGE: i16 = 1;

/// Attempts to read a partition whole, half a second apart where they fail.
const TRIES: usize = 60;

/// Runs the scenario; panics when an invariant is broken.
pub fn run(seed: u64, planted: bool) -> Run {
    let mut dice = StdRng::seed_from_u64(seed);
    shadow::begin(StdRng::seed_from_u64(dice.random()));
    let journal = Journal::default();
    let promise = Promise::of(seed);
    let cluster = Cluster::new(&mut dice, &journal, planted, promise);
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
    let clients_seed = dice.random();
    sim.client(CLIENTS, async move { be_clients(clients, clients_seed).await });
    drive(&mut sim, &cluster, &workload, Trouble::new(dice.random(), Duration::ZERO, promise));
    Run { journal }
}

/// Steps until the clients are done; trouble begins once the topic is there.
fn drive(sim: &mut turmoil::Sim<'_>, cluster: &Cluster, workload: &Workload, mut trouble: Trouble) {
    let mut leaders = OneLeaderPerEpoch::default();
    let mut metadata = MetadataAgrees::default();
    let mut starts = LogStartMonotonic::default();
    let mut commits = CommitsByLeader::default();
    let mut isr = IsrHolds::default();
    let (mut troubled, mut healed) = (None, None);
    let mut look_at = Duration::ZERO;
    while !sim.step().expect("the simulation goes on") {
        let now = sim.elapsed();
        isr.remember(cluster);
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
        commits.look(cluster);
        isr.look(cluster);
        producers_agree::look(cluster);
        if let Some(again) = &mut healed {
            again.look(now, cluster, workload);
            if again.holds() && workload.stage() == Stage::Written {
                *workload.stage.borrow_mut() = Stage::Whole;
            }
        }
    }
}

/// Founds, then produces and reads side by side, then reads everything once more and compares.
async fn be_clients(workload: Workload, seed: u64) -> turmoil::Result {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            workload.found().await;
            *workload.stage.borrow_mut() = Stage::Trouble;
            let mut dice = StdRng::seed_from_u64(seed);
            let mut readers = Vec::new();
            let mut whoever_ends = Vec::new();
            for partition in 0..PARTITIONS {
                let reader = Reader::run(workload.clone(), partition, dice.random());
                readers.push(tokio::task::spawn_local(reader));
                let producer = Producer::run(workload.clone(), partition, dice.random());
                whoever_ends.push(tokio::task::spawn_local(producer));
            }
            whoever_ends.push(tokio::task::spawn_local(Meddler::run(workload.clone(), dice.random())));
            for one in whoever_ends {
                one.await?;
            }
            *workload.stage.borrow_mut() = Stage::Written;
            // `WritableAgain` watches that this takes no longer than promised.
            while workload.stage() < Stage::Whole {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            *workload.stage.borrow_mut() = Stage::Done;
            // What a reader found wrong is found out here, and nowhere else.
            for reader in readers {
                reader.await?;
            }
            for partition in 0..PARTITIONS {
                check(&workload, partition).await;
            }
            replicas_identical::check(&workload.cluster);
            producers_agree::check(&workload.cluster);
            Ok(())
        })
        .await
}

async fn check(workload: &Workload, partition: i32) {
    workload.losses();
    let known: Known = workload.known.borrow()[partition as usize].clone();
    let (log, watermark, start) = read_everything(workload, partition).await;
    read_survives::check(partition, &known, &log, watermark, start);
    values_in_order::check(partition, &known, &log, start, workload.losses());
    let lost = acked_survives::check(partition, &known, &log);
    let journal = &workload.cluster.journal;
    if lost > 0 {
        journal.fault("lost_as_allowed", format_args!("{partition}: {lost}"));
    }
    let (acked, read) = (known.acked.len(), known.read.len());
    journal.note("check", format_args!("{partition}: {acked} acked, {read} read, {} there", log.len()));
}

/// All there is of a partition by offset, its high watermark and its start.
async fn read_everything(workload: &Workload, partition: i32) -> (BTreeMap<i64, Bytes>, i64, i64) {
    let (mut log, mut next, mut watermark, mut start, mut turn) = (BTreeMap::new(), 0, 0, 0, 0);
    let (mut client, mut failures) = (None, 0);
    while next < watermark || watermark == 0 {
        turn += 1;
        if client.is_none() {
            client = workload.connect_to_leader(partition, turn).await;
        }
        let Some(open) = client.as_mut() else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(answer) = open.fetch(TOPIC, partition, next, 4 << 20, 500).await else {
            client = None;
            continue;
        };
        if answer.error_code == OFFSET_OUT_OF_RANGE && answer.log_start_offset > next && log.is_empty() {
            (next, start) = (answer.log_start_offset, answer.log_start_offset);
            continue;
        }
        if answer.error_code != 0 {
            // What the bucket refused a moment ago is not asked for again at once.
            failures += 1;
            let code = answer.error_code;
            assert!(failures < TRIES, "I5: partition {partition}, offset {next}: error {code} stays");
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
    (log, watermark, start)
}
