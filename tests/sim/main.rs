//! A whole broker in a seeded, single-threaded simulation: simulated clock, dice, disk, network and bucket.
//! It is a binary of its own because it replaces the process's clock and randomness (`world/shadow.rs`).
//! `cargo test --test sim` runs one seed twice and demands equal journals; `-- SEED` runs another seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "a test")]

mod scenario;
mod world;

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};

/// The seed that every change runs.
const SEED: u64 = 11;
/// A shorter journal would not show the doors at work.
const LINES_MIN: usize = 10_000;
/// Each of these must have been injected at least once.
const FAULTS: &[&str] =
    &["torn_write", "read_eio", "write_eio", "bucket_refused", "bucket_answer_lost", "bucket_bit_flip"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["run", seed, planted] => run_here(seed.parse().expect("a seed"), planted == "planted"),
        _ => judge(words.iter().find_map(|word| word.parse().ok()).unwrap_or(SEED)),
    }
}

/// One run in this process, whose journal goes to standard output.
fn run_here(seed: u64, planted: bool) -> ExitCode {
    let run = scenario::run(seed, planted);
    for line in run.journal.lines() {
        println!("{line}");
    }
    for (kind, count) in run.journal.faults() {
        println!("faults {kind} {count}");
    }
    ExitCode::SUCCESS
}

/// Runs the seed twice, each time in a process of its own, and once more with a planted use of the real clock.
fn judge(seed: u64) -> ExitCode {
    let journals = [run_apart(seed, "honest"), run_apart(seed, "honest"), run_apart(seed, "planted")];
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
    let power = (seed % 2 == 1).then_some(&"lost_power");
    for kind in FAULTS.iter().chain(power).filter(|kind| !faults.contains_key(**kind)) {
        failed.push(format!("no {kind} was injected"));
    }
    println!("seed {seed}: {} door calls, faults {faults:?}", first.len());
    for failure in &failed {
        println!("FAILED: {failure}");
    }
    println!("{} passed, {} failed", usize::from(failed.is_empty()), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fault(line: &str) -> Option<(&str, u64)> {
    let mut words = line.strip_prefix("faults ")?.split(' ');
    Some((words.next()?, words.next()?.parse().ok()?))
}

fn run_apart(seed: u64, mode: &str) -> Vec<String> {
    let program = std::env::current_exe().expect("this program's path");
    let run =
        Command::new(program).args(["run", &seed.to_string(), mode]).output().expect("a second process");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "seed {seed} ({mode}) broke an invariant:\n{said}");
    String::from_utf8_lossy(&run.stdout).lines().map(str::to_owned).collect()
}
