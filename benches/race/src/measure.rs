//! One measured run: the broker at two moments, its loads between them. And a floor's run, measured by itself.
//! Invariant: CPU is the broker's alone; loads are other processes.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::contest::{Arena, Broker, ended_well, on_one_core, signal};
use crate::figures::{Latency, Run};
use crate::load::{Load, Scene};
use crate::process::{self, Moment};

/// Between the starts of loads that run together: the readers first wait, then the producer writes.
const HEAD_START: Duration = Duration::from_millis(300);

/// What a run needs besides its loads.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// Topic, address, length.
    pub scene: Scene<'a>,
    /// The loads share the broker's one core.
    pub one_core: bool,
    /// Count system calls too.
    pub calls: bool,
}

/// Loads the broker and tells what it cost. Bytes and records are the last load's, latencies the first one's.
pub fn run(arena: &Arena, broker: &Broker, loads: &[Load], how: &How<'_>) -> io::Result<Run> {
    let counting = how.calls.then(|| count_calls(broker.pid())).flatten();
    let (before, machine, load_cpu) =
        (Moment::of(broker.pid())?, process::cpu_of_machine()?, process::cpu_of_children()?);
    let began = Instant::now();
    let mut running = Vec::new();
    // Readers stand behind their producer in the list and are started before it.
    for load in loads.iter().rev() {
        if !running.is_empty() {
            std::thread::sleep(HEAD_START);
        }
        running.push(start(arena, load, how)?);
    }
    running.reverse();
    let mut results = Vec::new();
    for child in running {
        let text = ended_well("the load", child.wait_with_output())?;
        results.push(serde_json::from_str::<Value>(&text).map_err(io::Error::other)?);
    }
    let wall = began.elapsed().as_secs_f64();
    let after = Moment::of(broker.pid())?;
    let calls = counting.and_then(|perf| counted(perf).ok().flatten());
    let load_cpu = process::cpu_of_children()? - load_cpu;
    let busy = process::cpu_of_machine()? - machine;
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let others = (busy - load_cpu - (after.cpu() - before.cpu())) / wall / cores;
    let mut run = told(&results);
    run.calls = calls;
    run.others = Some(others.max(0.0));
    Ok(spent(run, &before, &after))
}

/// Watches a broker that nobody loads.
pub fn idle(broker: &Broker, seconds: u64) -> io::Result<Run> {
    let (before, began) = (Moment::of(broker.pid())?, Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let run = Run { seconds: began.elapsed().as_secs_f64(), ..Run::default() };
    Ok(spent(run, &before, &Moment::of(broker.pid())?))
}

/// A floor's run.
pub fn floor(arena: &Arena, words: &str) -> io::Result<Run> {
    let output = Command::new(arena.binaries.join("firn-floor"))
        .args(words.split(' '))
        .arg("--dir")
        .arg(&arena.dir)
        .output();
    let text = ended_well("firn-floor", output)?;
    let told: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
    let number = |name: &str| told[name].as_f64().unwrap_or_default();
    Ok(Run {
        seconds: number("seconds"),
        system: number("cpu_seconds"),
        bytes: number("bytes"),
        operations: number("operations"),
        latency_ms: latency(&told["latency_ms"]),
        ..Run::default()
    })
}

/// Gives the machine pages of its own for so many 10^6 bytes; see `firn-floor`'s `prime`.
pub fn prime(arena: &Arena, megabytes: u64) -> io::Result<()> {
    let output = Command::new(arena.binaries.join("firn-floor"))
        .args(["prime", "--megabytes", &megabytes.to_string(), "--dir"])
        .arg(&arena.dir)
        .output();
    ended_well("firn-floor prime", output).map(drop)
}

fn start(arena: &Arena, load: &Load, how: &How<'_>) -> io::Result<Child> {
    let mut command = Command::new(arena.firn());
    command.args(load.words(&how.scene));
    if how.one_core {
        command = on_one_core(&command);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// What the loads tell.
pub fn told(results: &[Value]) -> Run {
    let (Some(first), Some(last)) = (results.first(), results.last()) else { return Run::default() };
    let number = |name: &str| last[name].as_f64().unwrap_or_default();
    Run {
        seconds: number("seconds"),
        bytes: number("bytes"),
        records: number("records"),
        // Polls are operations and fetches that brought nothing.
        operations: number("polls"),
        latency_ms: latency(&first["latency_ms"]).filter(|_| first["operations"] != 0),
        end_to_end_ms: latency(&last["end_to_end_ms"]),
        ..Run::default()
    }
}

pub fn spent(run: Run, before: &Moment, after: &Moment) -> Run {
    Run {
        user: after.user - before.user,
        system: after.system - before.system,
        resident_mb: Some(after.resident as f64 / 1e6),
        anonymous_mb: Some(after.anonymous as f64 / 1e6),
        sleeps: Some(after.sleeps.saturating_sub(before.sleeps) as f64),
        from_disk: Some((after.from_disk - before.from_disk) as f64),
        ..run
    }
}

fn latency(told: &Value) -> Option<Latency> {
    let at = |name: &str| told[name].as_f64();
    Some(Latency { p50: at("p50")?, p99: at("p99")?, p999: at("p999")? })
}

/// Starts `perf` on the broker's system calls; where there is none, they are not told.
fn count_calls(pid: u32) -> Option<Child> {
    Command::new("perf")
        .args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &pid.to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .ok()
}

fn counted(perf: Child) -> io::Result<Option<f64>> {
    signal(perf.id(), "INT")?;
    let output = perf.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(text
        .lines()
        .find(|line| line.contains("sys_enter"))
        .and_then(|line| line.split(',').next()?.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_readers_and_latency_the_writers() {
        let written = serde_json::json!({ "seconds": 4.0, "bytes": 100, "operations": 5, "polls": 5,
            "latency_ms": { "p50": 1.0, "p99": 2.0, "p999": 3.0 } });
        let read = serde_json::json!({ "seconds": 4.5, "bytes": 1000, "records": 10, "operations": 7, "polls": 8,
            "latency_ms": { "p50": 9.0, "p99": 9.0, "p999": 9.0 },
            "end_to_end_ms": { "p50": 4.0, "p99": 5.0, "p999": 6.0 } });
        let run = told(&[written, read]);
        assert_eq!((run.seconds, run.bytes, run.operations), (4.5, 1000.0, 8.0));
        assert_eq!(run.latency_ms.unwrap().p99, 2.0);
        assert_eq!(run.end_to_end_ms.unwrap().p99, 5.0);
        assert_eq!(told(&[]), Run::default());
    }

    #[test]
    fn a_run_costs_what_lies_between_two_moments() {
        let before = Moment { user: 1.0, system: 2.0, sleeps: 5, from_disk: 10, ..Moment::default() };
        let after =
            Moment { user: 1.5, system: 2.25, sleeps: 7, from_disk: 30, resident: 5_000_000, anonymous: 0 };
        let run = spent(Run::default(), &before, &after);
        assert_eq!((run.user, run.system, run.sleeps, run.from_disk), (0.5, 0.25, Some(2.0), Some(20.0)));
        assert_eq!(run.resident_mb, Some(5.0));
    }
}
