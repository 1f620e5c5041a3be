//! The row that starts brokers: from execution to acknowledgements, and the memory of a broker that does nothing.
//! Somebody knocks before the broker runs, so that no poll interval is counted but the knocker's millisecond.
//! Invariant: each start finds the same directory, left by a clean stop or by a kill.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::contest::{Arena, Broker, ended_well};
use crate::figures::Run;
use crate::load::Contestant;
use crate::measure;
use crate::process::Moment;
use crate::race::{Outcome, Plan};
use crate::rows::Case;

const TOPIC: &str = "race-start";
/// Starts of a broker with many partitions: Kafka takes its time.
const KILLED_STARTS_MAX: usize = 3;
/// The knocker is at the door by then.
const KNOCKING: Duration = Duration::from_millis(100);

/// Starts each contestant again and again.
pub fn case(
    arena: &Arena,
    case: &Case,
    contestants: &[Contestant],
    killed: bool,
    plan: &Plan,
) -> io::Result<Outcome> {
    let mut outcome = Outcome { name: case.name, ..Outcome::default() };
    for who in contestants {
        let broker = arena.start(*who, false)?;
        broker.create(TOPIC, case.partitions, &[])?;
        end(broker, killed)?;
    }
    let starts = if killed { plan.pairs.min(KILLED_STARTS_MAX) } else { plan.pairs };
    for pair in 0..starts {
        for turn in 0..contestants.len() {
            let who = contestants[(turn + pair) % contestants.len()];
            let (broker, mut run) = start(arena, who, case.partitions)?;
            // What it allocated to start may still be given back.
            let idle = measure::idle(&broker, 2)?;
            run.resident_mb = idle.resident_mb;
            run.anonymous_mb = idle.anonymous_mb;
            outcome.runs.entry(who).or_default().push(run);
            end(broker, killed)?;
        }
    }
    for who in contestants {
        let _ = std::fs::remove_dir_all(arena.dir.join(who.name()));
    }
    Ok(outcome)
}

fn end(broker: Broker, killed: bool) -> io::Result<()> {
    match killed {
        true => {
            broker.kill();
            Ok(())
        }
        false => broker.stop(),
    }
}

fn start(arena: &Arena, who: Contestant, partitions: u32) -> io::Result<(Broker, Run)> {
    let knocker = Command::new(arena.firn())
        .args([
            "bench",
            "first",
            "--topic",
            TOPIC,
            "--partitions",
            &partitions.to_string(),
            "--seconds",
            "300",
        ])
        .args(["--bootstrap-server", &arena.address_of(who)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    std::thread::sleep(KNOCKING);
    let began_us = now_us();
    let broker = arena.execute(who, false)?;
    let text = ended_well("the knocker", knocker.wait_with_output())?;
    let told: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
    let since = |name: &str| told[name].as_f64().map(|at_us| (at_us - began_us) / 1000.0);
    let moment = Moment::of(broker.pid())?;
    let run = Run {
        start_ms: since("first_us"),
        all_ms: since("all_us"),
        user: moment.user,
        system: moment.system,
        ..Run::default()
    };
    Ok((broker, run))
}

fn now_us() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1e6)
}
