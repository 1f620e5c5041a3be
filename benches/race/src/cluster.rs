//! The rows of three nodes: what replication costs, and how long nothing is acknowledged when a node goes.
//! The clusters are `trio.rs`. Invariant: each trial begins with every copy in sync, and its log is read back and
//! compared with what was acknowledged.

use std::io::{self, BufRead, BufReader};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::contest::{Arena, ended_well};
use crate::figures::Run;
use crate::load::{Contestant, Load, PRODUCE, Rate, Scene as LoadScene, Until};
use crate::measure;
use crate::process;
use crate::race::{Outcome, Plan};
use crate::rows::{Case, Scene};
use crate::trio::{NODES, State, Trio};

/// The load runs before the node goes.
const BEFORE: Duration = Duration::from_secs(3);
/// Records per second of a failover, over all partitions.
const RATE: u32 = 1000;

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fall {
    /// `KILL` or `STOP`.
    pub signal: &'static str,
    /// It is the active controller, too.
    pub controls: bool,
    /// Kafka has our timeouts.
    pub hasty: bool,
}

/// CPU of three nodes for what they acknowledge.
pub fn replicated(
    arena: &Arena,
    case: &Case,
    contestants: &[Contestant],
    plan: &Plan,
) -> io::Result<Outcome> {
    let mut outcome = Outcome { name: case.name, ..Outcome::default() };
    let mut clusters = Vec::new();
    for who in contestants {
        let trio = Trio::start(arena, *who, false)?;
        trio.create(WARM, case.partitions)?;
        let seconds = match who {
            Contestant::Ours => Until::Seconds(1, 5),
            Contestant::Kafka => Until::Seconds(10, 60),
        };
        let warm = Load { until: seconds, rate: Rate::Closed, in_flight: PRODUCE.in_flight, ..case.loads[0] };
        load(arena, &trio, &warm, WARM, plan)?;
        trio.firn(&["topic", "delete", WARM])?;
        clusters.push(trio);
    }
    for pair in 0..plan.pairs {
        for turn in 0..clusters.len() {
            let trio = &clusters[(turn + pair) % clusters.len()];
            let topic = format!("race-{pair}");
            trio.create(&topic, case.partitions)?;
            let run = load(arena, trio, &case.loads[0], &topic, plan)?;
            trio.firn(&["topic", "delete", &topic])?;
            outcome.runs.entry(trio.who).or_default().push(run);
        }
    }
    Ok(outcome)
}

const WARM: &str = "race-warm";

fn load(arena: &Arena, trio: &Trio, load: &Load, topic: &str, plan: &Plan) -> io::Result<Run> {
    let bootstrap = trio.bootstrap();
    let scene =
        LoadScene { who: trio.who, bootstrap: &bootstrap, topic, quick: plan.quick, kafka_operations: 0.0 };
    measure::prime(arena, load.megabytes(trio.who, plan.quick).max(100))?;
    let (before, machine, load_cpu) =
        (trio.moment()?, process::cpu_of_machine()?, process::cpu_of_children()?);
    let began = Instant::now();
    let words = load.words(&scene);
    let output = std::process::Command::new(arena.firn()).args(words).output();
    let told = serde_json::from_str(&ended_well("the load", output)?).map_err(io::Error::other)?;
    let (wall, after) = (began.elapsed().as_secs_f64(), trio.moment()?);
    let busy = process::cpu_of_machine()? - machine - (process::cpu_of_children()? - load_cpu);
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let mut run = measure::spent(measure::told(&[told]), &before, &after);
    run.others = Some(((busy - (after.cpu() - before.cpu())) / wall / cores).max(0.0));
    Ok(run)
}

/// Nodes that fall while partitions are written to.
pub fn failover(
    arena: &Arena,
    case: &Case,
    contestants: &[Contestant],
    fall: Fall,
    plan: &Plan,
) -> io::Result<Outcome> {
    let mut outcome = Outcome { name: case.name, ..Outcome::default() };
    for who in contestants {
        let mut trio = Trio::start(arena, *who, fall.hasty)?;
        for pair in 0..plan.pairs {
            let topic = format!("race-fall-{pair}");
            trio.create(&topic, case.partitions)?;
            let run = trial(&mut trio, &topic, fall)?;
            outcome.runs.entry(*who).or_default().push(run);
            trio.until_whole()?;
            trio.firn(&["topic", "delete", &topic])?;
        }
    }
    Ok(outcome)
}

fn trial(trio: &mut Trio, topic: &str, fall: Fall) -> io::Result<Run> {
    let state = trio.until_whole()?;
    let falls = chosen(&state, fall.controls).ok_or_else(|| io::Error::other("nobody is to fall"))?;
    let (rate, seconds) = (RATE.to_string(), seconds(trio.who, fall).to_string());
    let words = ["bench", "through", "-t", topic, "--rate", &rate, "--seconds", &seconds, "-o", "json"];
    let mut load = trio.beside(&words)?;
    // Kept open to the end: what else it says has somewhere to go.
    let mut says = load.stderr.take().map(BufReader::new);
    if let Some(says) = &mut says {
        until_begun(says)?;
    }
    std::thread::sleep(BEFORE);
    trio.signal(falls, fall.signal)?;
    // It stays away until the load is over, and its log is read without it.
    let text = ended_well("the load", load.wait_with_output());
    match fall.signal {
        "STOP" => trio.signal(falls, "CONT")?,
        _ => trio.revive(falls)?,
    }
    let told: Value = serde_json::from_str(&text?).map_err(io::Error::other)?;
    let lost = ["lost", "twice", "disordered", "strange"].map(|name| told["proof"][name].as_f64());
    let run = Run {
        seconds: told["seconds"].as_f64().unwrap_or_default(),
        operations: told["acked"].as_f64().unwrap_or_default(),
        gap_ms: told["gap_ms"].as_f64(),
        lost: lost.into_iter().sum::<Option<f64>>(),
        ..Run::default()
    };
    Ok(run)
}

/// Every partition has acknowledged a record by then.
fn until_begun(says: &mut impl BufRead) -> io::Result<()> {
    let mut said = String::new();
    while says.read_line(&mut said)? > 0 {
        if said.ends_with("begun\n") {
            return Ok(());
        }
    }
    Err(io::Error::other(format!("the load: {}", said.trim())))
}

/// The node that leads most partitions; with `controls` the active controller, else another than that.
fn chosen(state: &State, controls: bool) -> Option<usize> {
    if controls {
        return state.controller;
    }
    (0..NODES).filter(|node| Some(*node) != state.controller).max_by_key(|node| state.leads[*node])
}

/// Long enough that the load sees the end of it.
fn seconds(who: Contestant, fall: Fall) -> u64 {
    match (who, fall.hasty) {
        (Contestant::Kafka, false) => 20,
        _ => 8,
    }
}

/// The scene of a case of three nodes, if it is one.
pub fn case(
    arena: &Arena,
    case: &Case,
    contestants: &[Contestant],
    plan: &Plan,
) -> Option<io::Result<Outcome>> {
    match case.scene {
        Scene::Three => Some(replicated(arena, case, contestants, plan)),
        Scene::Falls(fall) => Some(failover(arena, case, contestants, fall, plan)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_falls_leads_most_or_controls() {
        let state = State { controller: Some(1), leads: [3, 9, 4], whole: true };
        assert_eq!((chosen(&state, true), chosen(&state, false)), (Some(1), Some(2)));
        assert_eq!(chosen(&State::default(), true), None);
    }
}
