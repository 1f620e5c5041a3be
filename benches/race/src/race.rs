//! Runs a row: per case the brokers, a warm-up, then pairs of runs, ours first in every other one.
//! Invariant: within a pair nothing but the two runs and the floor's lies between them.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::cluster;
use crate::contest::{Arena, Broker};
use crate::figures::{Figure, Run};
use crate::load::{Contestant, Load, PRODUCE, Rate, Scene as LoadScene, Side, Until};
use crate::measure::{self, How};
use crate::rows::{Case, Row, Scene};
use crate::start;
use crate::statistics::median;

/// How a race is run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Shorter.
    pub quick: bool,
    /// Pairs of each case.
    pub pairs: usize,
    /// Leave Kafka out.
    pub alone: bool,
}

/// The runs of a case, in the order they were made.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Case.
    pub name: &'static str,
    /// Per contestant.
    pub runs: BTreeMap<Contestant, Vec<Run>>,
    /// The floor's.
    pub floors: Vec<Run>,
    /// Why there are no runs of a contestant.
    pub missing: BTreeMap<Contestant, String>,
}

impl Outcome {
    /// A figure of a contestant's runs.
    pub fn values(&self, who: Contestant, figure: Figure) -> Vec<f64> {
        self.runs.get(&who).into_iter().flatten().filter_map(|run| figure.of(run)).collect()
    }

    /// Of the floor's runs.
    pub fn floor_values(&self, figure: Figure) -> Vec<f64> {
        self.floors.iter().filter_map(|run| figure.of(run)).collect()
    }
}

/// Brokers that several rows share: Kafka's compiler stays warm.
#[derive(Debug)]
pub struct Stage {
    arena: Arena,
    plan: Plan,
    brokers: BTreeMap<Contestant, Broker>,
}

impl Stage {
    /// No broker yet.
    pub fn new(arena: Arena, plan: Plan) -> Stage {
        Stage { arena, plan, brokers: BTreeMap::new() }
    }

    fn contestants(&self, scene: Scene) -> Vec<Contestant> {
        match self.plan.alone || scene == Scene::OneCore {
            true => vec![Contestant::Ours],
            false => vec![Contestant::Ours, Contestant::Kafka],
        }
    }

    /// Runs every case of a row.
    pub fn row(&mut self, row: &Row) -> io::Result<Vec<Outcome>> {
        let mut outcomes: Vec<Outcome> = Vec::new();
        for case in row.cases {
            eprintln!("  {} ...", case.name);
            let contestants = self.contestants(case.scene);
            let outcome = match case.scene {
                Scene::Three | Scene::Falls(_) => {
                    self.brokers.clear();
                    cluster::case(&self.arena, case, &contestants, &self.plan)
                        .unwrap_or_else(|| Err(io::Error::other("no scene of three nodes")))?
                }
                Scene::Start { killed } => {
                    self.brokers.clear();
                    start::case(&self.arena, case, &contestants, killed, &self.plan)?
                }
                Scene::Many => self.many(row, case)?,
                Scene::OneCore => self.one_core(row, case)?,
                _ => self.case(row, case, &outcomes)?,
            };
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// A case on the shared brokers.
    fn case(&mut self, row: &Row, case: &Case, before: &[Outcome]) -> io::Result<Outcome> {
        let mut outcome = Outcome { name: case.name, ..Outcome::default() };
        let mut contestants = Vec::new();
        for who in self.contestants(case.scene) {
            if !self.brokers.contains_key(&who) {
                let broker = self.arena.start(who, false)?;
                self.brokers.insert(who, broker);
            }
            match self.prepare(row, case, who) {
                Ok(()) => contestants.push(who),
                // A broker that refuses the topic's settings has no runs; the table says why.
                Err(error) => _ = outcome.missing.insert(who, error.to_string()),
            }
        }
        let kafka_operations = self.kafka_operations(row, case)?;
        for pair in 0..self.plan.pairs {
            if let Some(floor) = case.floor {
                if floor.words.starts_with("sink") {
                    measure::prime(&self.arena, PRIMED_MEGABYTES)?;
                }
                outcome.floors.push(measure::floor(&self.arena, floor.words)?);
            }
            let mut order = contestants.clone();
            if pair % 2 == 1 {
                order.reverse();
            }
            for who in order {
                let mut run = self.run(row, case, who, pair, kafka_operations)?;
                if let Scene::Beyond(other) = case.scene {
                    take_off(&mut run, before, other, who);
                }
                outcome.runs.entry(who).or_default().push(run);
            }
        }
        for who in contestants {
            if let Scene::Filled(_) | Scene::Cold(_) = case.scene {
                self.brokers[&who].delete(&topic(row, case, None))?;
            }
        }
        Ok(outcome)
    }

    /// Fills the topic of a reading case; warms the broker up.
    fn prepare(&self, row: &Row, case: &Case, who: Contestant) -> io::Result<()> {
        let broker = &self.brokers[&who];
        let warm = topic(row, case, None);
        broker.create(&warm, case.partitions, configs(case, who))?;
        let scene = self.scene(broker, &warm, 0.0);
        let how = How { scene, one_core: false, calls: false };
        if let Scene::Filled(megabytes) | Scene::Cold(megabytes) = case.scene {
            let fill = Load { batch: 65_536, until: Until::Megabytes(megabytes, megabytes), ..PRODUCE };
            let how = How { scene: LoadScene { quick: true, ..scene }, ..how };
            measure::run(&self.arena, broker, &[fill], &how)?;
        }
        let seconds = match (who, self.plan.quick) {
            (Contestant::Ours, _) => Until::Seconds(1, 5),
            (Contestant::Kafka, _) => Until::Seconds(8, 60),
        };
        let closed = |load: &Load| Load {
            until: seconds,
            rate: if load.side == Side::Tail { load.rate } else { Rate::Closed },
            in_flight: load.in_flight.min(5),
            ..*load
        };
        let loads: Vec<Load> = case.loads.iter().map(closed).collect();
        measure::run(&self.arena, broker, &loads, &how)?;
        if !matches!(case.scene, Scene::Filled(_) | Scene::Cold(_)) {
            broker.delete(&warm)?;
        }
        Ok(())
    }

    /// Requests per second that Kafka answers in a closed loop, where a load is a share of them.
    fn kafka_operations(&self, row: &Row, case: &Case) -> io::Result<f64> {
        let wanted = case.loads.iter().find(|load| matches!(load.rate, Rate::ShareOfKafka(_)));
        let (Some(load), Some(broker)) = (wanted, self.brokers.get(&Contestant::Kafka)) else {
            return Ok(OWN_RATE);
        };
        let name = topic(row, case, Some(999));
        broker.create(&name, case.partitions, configs(case, broker.who))?;
        let closed = Load { rate: Rate::Closed, in_flight: 5, until: Until::Seconds(4, 20), ..*load };
        let how = How { scene: self.scene(broker, &name, 0.0), one_core: false, calls: false };
        let run = measure::run(&self.arena, broker, &[closed], &how)?;
        broker.delete(&name)?;
        Ok(run.operations / run.seconds)
    }

    fn run(
        &self,
        row: &Row,
        case: &Case,
        who: Contestant,
        pair: usize,
        kafka_operations: f64,
    ) -> io::Result<Run> {
        let broker = &self.brokers[&who];
        let filled = matches!(case.scene, Scene::Filled(_) | Scene::Cold(_));
        let name = topic(row, case, (!filled).then_some(pair));
        if !filled {
            broker.create(&name, case.partitions, configs(case, who))?;
            let megabytes = case.loads.iter().map(|load| load.megabytes(who, self.plan.quick)).max();
            match megabytes {
                Some(megabytes) if megabytes > 0 => measure::prime(&self.arena, megabytes)?,
                _ => {}
            }
        }
        if let Scene::Cold(_) = case.scene {
            broker.cool()?;
        }
        let calls = row.figures.contains(&Figure::CallsPerOperation);
        let how = How { scene: self.scene(broker, &name, kafka_operations), one_core: false, calls };
        let run = measure::run(&self.arena, broker, case.loads, &how)?;
        if !filled {
            broker.delete(&name)?;
        }
        Ok(run)
    }

    /// Ours and its load on one core.
    fn one_core(&mut self, row: &Row, case: &Case) -> io::Result<Outcome> {
        self.brokers.remove(&Contestant::Ours);
        let broker = self.arena.start(Contestant::Ours, true)?;
        let mut outcome = Outcome { name: case.name, ..Outcome::default() };
        for pair in 0..self.plan.pairs {
            let name = topic(row, case, Some(pair));
            broker.create(&name, case.partitions, &[])?;
            let how = How { scene: self.scene(&broker, &name, 0.0), one_core: true, calls: false };
            let run = measure::run(&self.arena, &broker, case.loads, &how)?;
            outcome.runs.entry(Contestant::Ours).or_default().push(run);
            broker.delete(&name)?;
        }
        Ok(outcome)
    }

    /// Brokers of their own with many partitions.
    fn many(&mut self, row: &Row, case: &Case) -> io::Result<Outcome> {
        self.brokers.clear();
        let mut outcome = Outcome { name: case.name, ..Outcome::default() };
        let name = topic(row, case, None);
        let contestants = self.contestants(case.scene);
        let mut alone = BTreeMap::new();
        for who in &contestants {
            let broker = self.arena.start(*who, false)?;
            alone.insert(*who, self.partitions_alone(&broker, &name, case.partitions)?);
            if *who == Contestant::Kafka {
                let how = How { scene: self.scene(&broker, &name, 0.0), one_core: false, calls: false };
                let warm = |load: &Load| Load { until: Until::Seconds(8, 60), ..*load };
                let warm: Vec<Load> = case.loads.iter().map(warm).collect();
                measure::run(&self.arena, &broker, &warm, &how)?;
            }
            self.brokers.insert(*who, broker);
        }
        for pair in 0..self.plan.pairs {
            for turn in 0..contestants.len() {
                let who = contestants[(turn + pair) % contestants.len()];
                let broker = &self.brokers[&who];
                let how = How { scene: self.scene(broker, &name, 0.0), one_core: false, calls: false };
                let run = measure::run(&self.arena, broker, case.loads, &how)?;
                let (partition_bytes, idle_percent) = alone[&who];
                let run = Run { partition_bytes: Some(partition_bytes), idle_percent, ..run };
                outcome.runs.entry(who).or_default().push(run);
            }
        }
        self.brokers.clear();
        Ok(outcome)
    }

    /// Makes the partitions; what each takes of memory, and what they take of a core while nobody asks.
    fn partitions_alone(
        &self,
        broker: &Broker,
        topic: &str,
        partitions: u32,
    ) -> io::Result<(f64, Option<f64>)> {
        let before = measure::idle(broker, 1)?.resident_mb.unwrap_or_default();
        broker.create(topic, partitions, &[])?;
        std::thread::sleep(SETTLING);
        let idle = measure::idle(broker, if self.plan.quick { 5 } else { 30 })?;
        let each = (idle.resident_mb.unwrap_or_default() - before) * 1e6 / f64::from(partitions);
        Ok((each, Figure::CpuPercent.of(&idle)))
    }

    fn scene<'a>(&self, broker: &'a Broker, topic: &'a str, kafka_operations: f64) -> LoadScene<'a> {
        LoadScene {
            who: broker.who,
            bootstrap: &broker.bootstrap,
            topic,
            quick: self.plan.quick,
            kafka_operations,
        }
    }
}

/// 10^6 bytes primed for a floor that writes.
const PRIMED_MEGABYTES: u64 = 1000;
/// Operations per second that stand for Kafka's where it does not run.
const OWN_RATE: f64 = 10_000.0;
/// After many partitions were made.
const SETTLING: Duration = Duration::from_secs(2);

fn topic(row: &Row, case: &Case, pair: Option<usize>) -> String {
    let case: String = case.name.chars().filter(char::is_ascii_alphanumeric).collect();
    match pair {
        Some(pair) => format!("race-{}-{case}-{pair}", row.number),
        None => format!("race-{}-{case}", row.number),
    }
}

fn configs(case: &Case, who: Contestant) -> &'static [&'static str] {
    match who {
        Contestant::Ours => case.configs.ours,
        Contestant::Kafka => case.configs.kafka,
    }
}

/// Takes off what the broker spends on the same time in case `other`.
fn take_off(run: &mut Run, before: &[Outcome], other: &str, who: Contestant) {
    let others = before.iter().filter(|outcome| outcome.name == other);
    let others: Vec<&Run> = others.filter_map(|outcome| outcome.runs.get(&who)).flatten().collect();
    let rate =
        |of: fn(&Run) -> f64| median(&others.iter().map(|run| of(run) / run.seconds).collect::<Vec<_>>());
    run.user = (run.user - rate(|run| run.user).unwrap_or_default() * run.seconds).max(0.0);
    run.system = (run.system - rate(|run| run.system).unwrap_or_default() * run.seconds).max(0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_producer_costs_is_taken_off_the_readers() {
        let alone = Run { seconds: 4.0, user: 0.4, system: 0.8, ..Run::default() };
        let runs = BTreeMap::from([(Contestant::Ours, vec![alone.clone(), alone])]);
        let before = [Outcome { name: "alone", runs, ..Outcome::default() }];
        let mut run = Run { seconds: 8.0, user: 1.0, system: 1.0, ..Run::default() };
        take_off(&mut run, &before, "alone", Contestant::Ours);
        assert!((run.user - 0.2).abs() < 1e-9 && run.system == 0.0, "{run:?}");
    }
}
