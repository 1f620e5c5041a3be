//! Counts what a request costs and compares it with `baseline.txt` beside this file: allocations, system calls, wakes
//! of other cores, instructions. It measures no time, so it is as true on a busy machine as on a quiet one.
//! A count more than 5 % above its baseline fails; `FIRN_BLESS=1 cargo test --test gates` writes the baseline anew.
//! What cannot be counted here (no ptrace, no valgrind) is left out and said, never failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "a test")]

mod allocations;
mod baseline;
mod client;
mod instructions;
mod load;
mod process;
mod syscalls;
mod trace;
mod wakes;

use std::process::ExitCode;

use baseline::{Baseline, Counts};

/// One way to count; an error says why it is not possible here.
type Count = fn(&mut Counts) -> Result<(), String>;

const COUNTS: [(&str, Count); 4] = [
    ("allocations", allocations::count),
    ("wakes", wakes::count),
    ("system calls", syscalls::count),
    ("instructions", instructions::count),
];

fn main() -> ExitCode {
    baseline::check_the_check();
    let (mut counts, mut skipped) = (Counts::default(), Vec::new());
    for (what, count) in COUNTS {
        if let Err(why) = count(&mut counts) {
            skipped.push(format!("SKIPPED: {what} were not counted: {why}"));
        }
    }
    if std::env::var_os("FIRN_BLESS").is_some() {
        Baseline::bless(&counts);
    }
    let verdict = Baseline::read().compare(&counts);
    println!("{}", verdict.table);
    for line in skipped.iter().chain(&verdict.notes) {
        println!("{line}");
    }
    for line in &verdict.failures {
        println!("FAILED: {line}");
    }
    println!("{} counted, {} failed", counts.len(), verdict.failures.len());
    if verdict.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
