//! Whole brokers in a seeded, single-threaded simulation: simulated clock, dice, disks, network and bucket.
//! It is a binary of its own because it replaces the process's clock and randomness (`world/shadow.rs`).
//! `cargo test --test sim` runs one seed of each scenario twice and demands equal journals, then the cluster under some
//! seeds more (`FIRN_SIM_SEEDS`); `-- three 77` runs one seed of one scenario so, `-- three 1..10001` many once.
//! `tests/sim/plant` plants bugs and shows which seed sees them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "a test")]

mod clients;
mod cluster;
mod invariants;
mod planted;
mod scenario;
mod three_nodes;
mod trouble;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// How many of the cluster's seeds are run once, unless `FIRN_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 10;
/// How many a planted bug is given.
const CATCH: u64 = 100;
/// The tree this was built from.
const TREE: &str = env!("CARGO_MANIFEST_DIR");
/// A shorter journal would not show the doors at work.
const LINES_MIN: usize = 10_000;

/// One broker alone; three as a cluster. With each the seed that every change runs twice, and faults it must inject: what
/// a cluster meets is asked of many seeds together.
const SCENARIOS: [(&str, u64, &[&str]); 2] = [
    (
        "one",
        13,
        &["torn_write", "read_eio", "write_eio", "bucket_refused", "bucket_answer_lost", "bucket_bit_flip"],
    ),
    ("three", 11, &[]),
];
/// Over many seeds each of these must have been injected.
const CLUSTER_FAULTS: &[&str] = &[
    "process_killed",
    "node_cut_off",
    "link_cut",
    "link_cut_one_way",
    "node_held",
    "node_paused",
    "node_far",
    "node_stopped",
    "node_lost_power",
    "all_lost_power",
    "all_killed",
    "disk_wiped",
    "slow_disk",
    "stale_asker",
    "records_deleted",
    "lost_as_allowed",
    "clock_jump",
    "torn_write",
    "bucket_refused",
    "bucket_answer_lost",
    "lost_power",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = match words[..] {
        ["run", scenario, seed, planted] => {
            run_here(scenario, seed.parse().expect("a seed"), planted == "planted");
            true
        }
        ["plant", tree] => {
            planted::plant_all(Path::new(tree));
            true
        }
        ["catch", ref numbers @ ..] => catch(numbers),
        [scenario, which] if SCENARIOS.iter().any(|(name, ..)| *name == scenario) => match which
            .split_once("..")
        {
            Some((from, to)) => many(scenario, from.parse().expect("a seed")..to.parse().expect("a seed")),
            None => judge(scenario, which.parse().expect("a seed")),
        },
        _ => {
            let seeds =
                std::env::var("FIRN_SIM_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("a number"));
            report(&planted::misfits(Path::new(TREE)))
                && SCENARIOS.iter().all(|(scenario, seed, _)| judge(scenario, *seed))
                && many("three", 1..seeds + 1)
        }
    };
    if ran { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One run in this process, whose journal goes to standard output.
fn run_here(scenario: &str, seed: u64, planted: bool) {
    if std::env::var_os("SIM_WATCH").is_some() {
        // Beside the journal, what the nodes say in their logs.
        tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_ansi(false).init();
    }
    let run = match scenario {
        "one" => scenario::run(seed, planted),
        _ => three_nodes::run(seed, planted),
    };
    for line in run.journal.lines() {
        println!("{line}");
    }
    for (kind, count) in run.journal.faults() {
        println!("faults {kind} {count}");
    }
}

/// Runs the seed twice, each time in a process of its own, and once more with a planted use of the real clock.
fn judge(scenario: &str, seed: u64) -> bool {
    let journals = [
        run_apart(scenario, seed, "honest"),
        run_apart(scenario, seed, "honest"),
        run_apart(scenario, seed, "planted"),
    ];
    let [first, second, planted] = &journals;
    let mut failed = Vec::new();
    if let Some(at) = first.iter().zip(second).position(|(a, b)| a != b) {
        failed.push(format!("the runs differ at line {at}:\n  {}\n  {}", first[at], second[at]));
    } else if first.len() != second.len() {
        failed.push(format!("one run has {} lines, the other {}", first.len(), second.len()));
    }
    if first == planted {
        failed.push("a planted use of the real clock went unseen".to_owned());
    }
    if first.len() < LINES_MIN {
        failed.push(format!("only {} lines name door calls; {LINES_MIN} are wanted", first.len()));
    }
    let faults: BTreeMap<&str, u64> = first.iter().filter_map(|line| fault(line)).collect();
    let expected =
        SCENARIOS.iter().find(|(name, ..)| *name == scenario).map_or(&[][..], |(.., faults)| faults);
    for kind in expected.iter().filter(|kind| !faults.contains_key(**kind)) {
        failed.push(format!("no {kind} was injected"));
    }
    println!("{scenario}, seed {seed}: {} door calls, faults {faults:?}", first.len());
    report(&failed)
}

/// Runs the seeds in processes of their own, as many at a time as there are processors. `take` gets what each printed,
/// or said when it failed, and answers whether to go on.
fn run_many(
    scenario: &str,
    seeds: Range<u64>,
    plant: Option<&str>,
    take: impl FnMut(u64, Result<Vec<String>, String>) -> bool + Send,
) {
    let width = std::thread::available_parallelism().map_or(2, usize::from);
    let next = std::sync::Mutex::new(seeds);
    let take = std::sync::Mutex::new(take);
    std::thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                while let Some(seed) = { next.lock().expect("nobody panics here").next() } {
                    let run = process(scenario, seed, "honest", plant);
                    if !(take.lock().expect("nobody panics here"))(seed, run) {
                        *next.lock().expect("nobody panics here") = 0..0;
                    }
                }
            });
        }
    });
}

/// Runs the seeds once each; every seed that fails is named as soon as it does.
fn many(scenario: &str, seeds: Range<u64>) -> bool {
    let (mut faults, mut failed) = (BTreeMap::<String, u64>::new(), Vec::new());
    run_many(scenario, seeds.clone(), None, |seed, run| {
        match run {
            Ok(lines) => {
                for (kind, count) in lines.iter().filter_map(|line| fault(line)) {
                    *faults.entry(kind.to_owned()).or_default() += count;
                }
            }
            Err(said) => {
                println!("seed {seed}: {}", why(&said));
                failed.push(format!("seed {seed} broke an invariant:\n{said}"));
            }
        }
        true
    });
    if seeds.end - seeds.start >= 100 {
        let missing = CLUSTER_FAULTS.iter().filter(|kind| !faults.contains_key(**kind));
        failed.extend(missing.map(|kind| format!("no {kind} was injected")));
    }
    println!("{scenario}, seeds {seeds:?}: faults {faults:?}");
    report(&failed)
}

/// In a build that holds the plants: which seed catches each, in at most `CATCH` of them.
fn catch(numbers: &[&str]) -> bool {
    assert!(!planted::misfits(Path::new(TREE)).is_empty(), "nothing is planted here: use tests/sim/plant");
    let mut missed = Vec::new();
    for plant in planted::plants(Path::new(TREE)) {
        if !numbers.is_empty() && !numbers.contains(&&*plant.number) {
            continue;
        }
        let mut caught: Option<(u64, String)> = None;
        run_many("three", 1..CATCH + 1, Some(&plant.number), |seed, run| {
            if let Err(said) = run
                && caught.as_ref().is_none_or(|(earlier, _)| seed < *earlier)
            {
                caught = Some((seed, why(&said)));
            }
            caught.is_none()
        });
        let found = match &caught {
            Some((seed, why)) => format!("caught by seed {seed}: {why}"),
            None => format!("NOT CAUGHT by {CATCH} seeds"),
        };
        println!("{} {} | {found}", plant.number, plant.what);
        missed.extend(caught.is_none().then(|| format!("plant {} was not caught", plant.number)));
    }
    report(&missed)
}

/// The line of a failure that says what was wrong.
fn why(said: &str) -> String {
    let told = said.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
    told.or(said.lines().next()).unwrap_or("it ended without a word").chars().take(200).collect()
}

fn report(failed: &[String]) -> bool {
    for failure in failed {
        println!("FAILED: {failure}");
    }
    println!("{} passed, {} failed", usize::from(failed.is_empty()), failed.len());
    failed.is_empty()
}

fn fault(line: &str) -> Option<(&str, u64)> {
    let mut words = line.strip_prefix("faults ")?.split(' ');
    Some((words.next()?, words.next()?.parse().ok()?))
}

fn run_apart(scenario: &str, seed: u64, mode: &str) -> Vec<String> {
    process(scenario, seed, mode, None)
        .unwrap_or_else(|said| panic!("{scenario}, seed {seed} ({mode}) broke an invariant:\n{said}"))
}

/// The journal of a run in a process of its own, or what it said when it failed.
fn process(scenario: &str, seed: u64, mode: &str, plant: Option<&str>) -> Result<Vec<String>, String> {
    let program = std::env::current_exe().expect("this program's path");
    let run = Command::new(program)
        .args(["run", scenario, &seed.to_string(), mode])
        .envs(plant.map(|number| (planted::SWITCH, number)))
        .stdin(Stdio::null())
        .output()
        .expect("a second process");
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&run.stdout).lines().map(str::to_owned).collect())
}
