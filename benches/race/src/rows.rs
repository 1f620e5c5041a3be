//! The rows of the matrix as data: what is loaded how, which figures are told, which targets they are held to.
//! Nothing here runs. A new row is a new entry.

use crate::cluster::Fall;
use crate::figures::{Bound, Figure as F, Target};
use crate::load::{CONSUME, Load, PRODUCE, Rate, Side, Until};

/// A row.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its number in the matrix.
    pub number: u32,
    /// What is raced.
    pub title: &'static str,
    /// What an acknowledgement means for both.
    pub durability: &'static str,
    /// Its parts; one broker of each side serves them all.
    pub cases: &'static [Case],
    /// Figures in the table.
    pub figures: &'static [F],
    /// Targets.
    pub targets: &'static [Target],
}

/// One part of a row.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Name.
    pub name: &'static str,
    /// How it is run.
    pub scene: Scene,
    /// Partitions of its topic.
    pub partitions: u32,
    /// Settings of its topic here and there.
    pub configs: Configs,
    /// What is measured; more than one run together, and the last one's bytes and latencies are told.
    pub loads: &'static [Load],
    /// The floor beneath it.
    pub floor: Option<Floor>,
}

/// Topic settings that say the same to both.
#[derive(Debug, Clone, Copy)]
pub struct Configs {
    /// firn's words.
    pub ours: &'static [&'static str],
    /// Kafka's words.
    pub kafka: &'static [&'static str],
}

/// How a case is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// An empty topic for each run.
    Fresh,
    /// A topic filled once with so many 10^6 bytes, in the page cache.
    Filled(u64),
    /// The same, but put out of the page cache before each run.
    Cold(u64),
    /// An empty topic for each run; the CPU that the named case takes for the same time is taken off.
    Beyond(&'static str),
    /// Ours only, on a broker of its own that shares one core with the load.
    OneCore,
    /// A broker of its own, started for each run; the loads are not used.
    Start {
        /// Partitions exist and the last stop was a kill.
        killed: bool,
    },
    /// Three nodes, every record on all of them.
    Three,
    /// Three nodes, one of which falls under load; the loads are not used.
    Falls(Fall),
    /// A broker of its own with so many partitions, each written to once; first idle, then loaded.
    Many,
}

/// A floor program and its words.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    /// Words behind `firn-floor`.
    pub words: &'static str,
}

const SAME: Configs = Configs { ours: &[], kafka: &[] };
const CACHE: &str = "page cache (Kafka's default)";
const CASE: Case =
    Case { name: "", scene: Scene::Fresh, partitions: 1, configs: SAME, loads: &[PRODUCE], floor: None };
/// Kafka makes at most 10,000 records for one request, and the topic is one of them.
const MANY: u32 = 9990;
const SMALL: Load = Load { batch: 64, in_flight: 1, ..PRODUCE };

/// Every row there is.
pub const ROWS: &[Row] = &[
    Row {
        number: 1,
        title: "produce 1 KiB records in 16 KiB batches, one producer, one partition, acks=all",
        durability: CACHE,
        cases: &[Case {
            name: "1 KiB",
            floor: Some(Floor { words: "sink --chunk 16384 --window 5 --megabytes 1000" }),
            ..CASE
        }],
        figures: &[
            F::CpuPerGb,
            F::UserPerGb,
            F::MbPerSecond,
            F::P50,
            F::P99,
            F::SleepsPerOperation,
            F::Resident,
        ],
        targets: &[
            Target { case: "1 KiB", figure: F::CpuPerGb, bound: Bound::Kafka(0.08) },
            Target { case: "1 KiB", figure: F::CpuPerGb, bound: Bound::Floor(1.6) },
        ],
    },
    Row {
        number: 2,
        title: "row 1 with records of 100 B and 10 KiB",
        durability: CACHE,
        cases: &[
            Case { name: "100 B", loads: &[Load { record: 100, ..PRODUCE }], ..CASE },
            Case { name: "1 KiB", ..CASE },
            Case { name: "10 KiB", loads: &[Load { record: 10_240, ..PRODUCE }], ..CASE },
        ],
        figures: &[F::CpuPerGb, F::UserPerGb, F::RecordsPerCpuSecond, F::MbPerSecond],
        targets: &[
            Target { case: "100 B", figure: F::CpuPerGb, bound: Bound::Own("1 KiB", 1.15) },
            Target { case: "10 KiB", figure: F::CpuPerGb, bound: Bound::Own("1 KiB", 1.15) },
            Target { case: "100 B", figure: F::RecordsPerCpuSecond, bound: Bound::Value(5.0) },
            Target { case: "100 B", figure: F::CpuPerGb, bound: Bound::Kafka(0.1) },
            Target { case: "10 KiB", figure: F::CpuPerGb, bound: Bound::Kafka(0.1) },
        ],
    },
    Row {
        number: 3,
        title: "200 connections, linger 0: one 1 KiB record per request, 100 partitions",
        durability: CACHE,
        cases: &[Case {
            name: "200 connections",
            partitions: 100,
            loads: &[Load { connections: 200, until: Until::Seconds(3, 20), ..SMALL }],
            floor: Some(Floor { words: "echo --chunk 1120 --connections 200 --operations 200000" }),
            ..CASE
        }],
        figures: &[
            F::OperationsPerCpuSecond,
            F::CpuPerOperation,
            F::OperationsPerSecond,
            F::P50,
            F::P99,
            F::SleepsPerOperation,
            F::Resident,
        ],
        targets: &[
            Target { case: "200 connections", figure: F::OperationsPerCpuSecond, bound: Bound::Kafka(8.0) },
            Target { case: "200 connections", figure: F::CpuPerOperation, bound: Bound::Value(8.0) },
        ],
    },
    Row {
        number: 4,
        title: "compressed by the client: 64 KiB of half-random 1 KiB records per batch; GB as on the wire",
        durability: CACHE,
        cases: &[
            Case {
                name: "none",
                loads: &[Load { batch: 34_000, until: Until::Megabytes(1000, 150), ..PRODUCE }],
                ..CASE
            },
            Case { name: "lz4", loads: &[Load { codec: "lz4", ..HALF_RANDOM }], ..CASE },
            Case { name: "zstd", loads: &[Load { codec: "zstd", ..HALF_RANDOM }], ..CASE },
        ],
        figures: &[F::CpuPerGb, F::UserPerGb, F::MbPerSecond],
        targets: &[
            Target { case: "lz4", figure: F::CpuPerGb, bound: Bound::Own("none", 1.05) },
            Target { case: "zstd", figure: F::CpuPerGb, bound: Bound::Own("none", 1.05) },
            Target { case: "zstd", figure: F::CpuPerGb, bound: Bound::Kafka(0.12) },
        ],
    },
    Row {
        number: 5,
        title: "open loop at 30 % of Kafka's most, linger 0, 8 connections; latency from the intended time",
        durability: CACHE,
        cases: &[
            Case {
                name: "two cores",
                loads: &[Load {
                    connections: 8,
                    in_flight: 1000,
                    rate: Rate::ShareOfKafka(0.3),
                    until: Until::Seconds(5, 60),
                    ..SMALL
                }],
                ..CASE
            },
            Case {
                name: "one core",
                scene: Scene::OneCore,
                loads: &[Load {
                    connections: 8,
                    in_flight: 1000,
                    rate: Rate::Operations(20_000.0),
                    until: Until::Seconds(5, 60),
                    ..SMALL
                }],
                ..CASE
            },
        ],
        figures: &[F::OperationsPerSecond, F::P50, F::P99, F::P999, F::CpuPercent],
        targets: &[
            Target { case: "two cores", figure: F::P50, bound: Bound::Kafka(0.35) },
            Target { case: "two cores", figure: F::P99, bound: Bound::Kafka(0.2) },
            Target { case: "one core", figure: F::P99, bound: Bound::Value(0.15) },
        ],
    },
    Row {
        number: 6,
        title: "fsync before the acknowledgement, 64 producers of 1 KiB, one partition",
        durability: "disk: firn.durability=disk here, flush.messages=1 there",
        cases: &[Case {
            name: "64 producers",
            configs: Configs { ours: &["firn.durability=disk"], kafka: &["flush.messages=1"] },
            loads: &[Load { connections: 64, until: Until::Seconds(4, 30), ..SMALL }],
            floor: Some(Floor { words: "fsync --chunk 1120 --operations 2000" }),
            ..CASE
        }],
        figures: &[F::MbPerSecond, F::OperationsPerSecond, F::P50, F::P99, F::P999, F::CpuPerOperation],
        targets: &[
            Target { case: "64 producers", figure: F::P99, bound: Bound::Floor(2.0) },
            Target { case: "64 producers", figure: F::MbPerSecond, bound: Bound::Kafka(10.0) },
        ],
    },
    Row {
        number: 7,
        title: "tail reads behind one producer at 50 MB/s in 64 KiB batches; CPU beyond the producer's, per GB delivered",
        durability: CACHE,
        cases: &[
            Case { name: "nobody reads", loads: &[TAIL_PRODUCER], ..CASE },
            Case {
                name: "1 reader",
                scene: Scene::Beyond("nobody reads"),
                loads: &[TAIL_PRODUCER, TAIL_READER],
                floor: Some(Floor { words: "source --chunk 65536 --megabytes 1000" }),
                ..CASE
            },
            Case {
                name: "10 readers",
                scene: Scene::Beyond("nobody reads"),
                loads: &[TAIL_PRODUCER, Load { connections: 10, ..TAIL_READER }],
                floor: Some(Floor { words: "source --chunk 65536 --megabytes 1000" }),
                ..CASE
            },
        ],
        figures: &[F::CpuPerGb, F::MbPerSecond, F::P99, F::EndToEndP50, F::EndToEndP99, F::CpuPercent],
        targets: &[
            Target { case: "1 reader", figure: F::CpuPerGb, bound: Bound::Floor(1.25) },
            Target { case: "10 readers", figure: F::CpuPerGb, bound: Bound::Floor(1.25) },
            Target { case: "10 readers", figure: F::CpuPerGb, bound: Bound::Kafka(0.5) },
            Target { case: "1 reader", figure: F::EndToEndP99, bound: Bound::OwnFigure(F::P99, 2.0) },
        ],
    },
    Row {
        number: 8,
        title: "catch-up from the page cache, one consumer, 1 MiB of a partition per fetch",
        durability: CACHE,
        cases: &[
            Case {
                name: "1 partition",
                scene: Scene::Filled(500),
                loads: &[CONSUME],
                floor: Some(Floor { words: "source --chunk 1048576 --megabytes 2000" }),
                ..CASE
            },
            Case {
                name: "100 partitions",
                scene: Scene::Filled(500),
                partitions: 100,
                loads: &[CONSUME],
                floor: Some(Floor { words: "source --chunk 1048576 --megabytes 2000" }),
                ..CASE
            },
        ],
        figures: &[F::MbPerSecond, F::CpuPerGb, F::UserPerGb, F::P50, F::P99, F::Resident],
        targets: &[
            Target { case: "1 partition", figure: F::MbPerSecond, bound: Bound::Floor(0.9) },
            Target { case: "1 partition", figure: F::MbPerSecond, bound: Bound::Kafka(1.3) },
            Target { case: "100 partitions", figure: F::MbPerSecond, bound: Bound::Floor(0.9) },
            Target { case: "100 partitions", figure: F::MbPerSecond, bound: Bound::Kafka(1.3) },
        ],
    },
    Row {
        number: 9,
        title: "catch-up from cold local disk, one consumer, 1 MiB per fetch",
        durability: CACHE,
        cases: &[Case {
            name: "cold",
            scene: Scene::Cold(1000),
            loads: &[Load { until: Until::Megabytes(1000, 1000), ..CONSUME }],
            floor: Some(Floor { words: "direct --chunk 1048576 --megabytes 1000" }),
            ..CASE
        }],
        figures: &[F::MbPerSecond, F::CpuPerGb, F::UserPerGb, F::P99, F::FromDisk],
        targets: &[
            Target { case: "cold", figure: F::MbPerSecond, bound: Bound::Floor(0.8) },
            Target { case: "cold", figure: F::CpuPerGb, bound: Bound::Value(0.35) },
            Target { case: "cold", figure: F::MbPerSecond, bound: Bound::Kafka(2.0) },
        ],
    },
    Row {
        number: 12,
        title: "the same 20 MB/s in 16 KiB batches over 1, 1,000 and 9,990 partitions; what partitions cost alone",
        durability: CACHE,
        cases: &[
            Case { name: "1", scene: Scene::Many, loads: &[STEADY], ..CASE },
            Case { name: "1000", scene: Scene::Many, partitions: 1000, loads: &[STEADY], ..CASE },
            Case { name: "9990", scene: Scene::Many, partitions: MANY, loads: &[STEADY], ..CASE },
        ],
        figures: &[F::CpuPerGb, F::P99, F::PerPartition, F::IdlePercent, F::Resident],
        targets: &[
            Target { case: "1000", figure: F::CpuPerGb, bound: Bound::Own("1", 1.3) },
            Target { case: "9990", figure: F::CpuPerGb, bound: Bound::Own("1", 2.0) },
            Target { case: "9990", figure: F::PerPartition, bound: Bound::Value(16.0) },
            Target { case: "9990", figure: F::IdlePercent, bound: Bound::Value(0.5) },
        ],
    },
    Row {
        number: 13,
        title: "1,000 consumers that wait at the end of one partition, fetch.max.wait.ms=500",
        durability: CACHE,
        cases: &[Case {
            name: "1000 waiting",
            loads: &[Load { side: Side::Tail, connections: 1000, until: Until::Seconds(6, 30), ..CONSUME }],
            ..CASE
        }],
        figures: &[
            F::CpuPercent,
            F::OperationsPerSecond,
            F::CpuPerOperation,
            F::CallsPerOperation,
            F::Resident,
        ],
        targets: &[
            Target { case: "1000 waiting", figure: F::CpuPercent, bound: Bound::Value(0.3) },
            Target { case: "1000 waiting", figure: F::CallsPerOperation, bound: Bound::Value(2.5) },
        ],
    },
    Row {
        number: 14,
        title: "start and footprint: execution to first acknowledgement, memory idle and at 100 MB/s, after kill -9",
        durability: CACHE,
        cases: &[
            Case { name: "start", scene: Scene::Start { killed: false }, loads: &[], ..CASE },
            Case {
                name: "100 MB/s",
                loads: &[Load {
                    rate: Rate::Megabytes(100.0),
                    until: Until::Seconds(5, 30),
                    batch: 65_536,
                    ..PRODUCE
                }],
                ..CASE
            },
            Case {
                name: "9990 after kill",
                scene: Scene::Start { killed: true },
                partitions: MANY,
                loads: &[],
                ..CASE
            },
        ],
        figures: &[F::Start, F::AllWritable, F::Resident, F::Anonymous],
        targets: &[
            Target { case: "start", figure: F::Start, bound: Bound::Value(25.0) },
            Target { case: "start", figure: F::Resident, bound: Bound::Value(20.0) },
            Target { case: "100 MB/s", figure: F::Anonymous, bound: Bound::Value(96.0) },
            Target { case: "9990 after kill", figure: F::AllWritable, bound: Bound::Value(2000.0) },
        ],
    },
    Row {
        number: 15,
        title: "three nodes, replication factor 3, acks=all, min.insync.replicas=2; 1 KiB records in 16 KiB batches, 12 partitions",
        durability: CACHE_OF_TWO,
        cases: &[
            Case {
                name: "closed loop",
                scene: Scene::Three,
                partitions: 12,
                loads: &[Load { connections: 3, until: Until::Megabytes(400, 100), ..PRODUCE }],
                ..CASE
            },
            Case {
                name: "10 MB/s",
                scene: Scene::Three,
                partitions: 12,
                loads: &[Load {
                    connections: 3,
                    in_flight: 1000,
                    rate: Rate::Megabytes(10.0),
                    until: Until::Seconds(8, 60),
                    ..PRODUCE
                }],
                ..CASE
            },
        ],
        figures: &[F::CpuPerGb, F::UserPerGb, F::MbPerSecond, F::P50, F::P99, F::Resident],
        targets: &[
            Target { case: "closed loop", figure: F::CpuPerGb, bound: Bound::Kafka(0.3) },
            Target { case: "10 MB/s", figure: F::P99, bound: Bound::Kafka(0.3) },
        ],
    },
    Row {
        number: 16,
        title: "a node of three falls under 1,000 records/s: how long an acknowledgement is owed, and what is lost",
        durability: CACHE_OF_TWO,
        cases: &[
            Case { name: "kill, 100", scene: Scene::Falls(KILL), partitions: 100, ..FALL },
            Case { name: "kill controller, 100", scene: Scene::Falls(CONTROLLER), partitions: 100, ..FALL },
            Case { name: "stop, 100", scene: Scene::Falls(STOP), partitions: 100, ..FALL },
            Case {
                name: "stop controller, 100",
                scene: Scene::Falls(Fall { controls: true, ..STOP }),
                partitions: 100,
                ..FALL
            },
            Case { name: "kill, 5000", scene: Scene::Falls(KILL), partitions: 5000, ..FALL },
            Case { name: "kill controller, 5000", scene: Scene::Falls(CONTROLLER), partitions: 5000, ..FALL },
            Case { name: "stop, 5000", scene: Scene::Falls(STOP), partitions: 5000, ..FALL },
            Case {
                name: "stop controller, 5000",
                scene: Scene::Falls(Fall { controls: true, ..STOP }),
                partitions: 5000,
                ..FALL
            },
            Case {
                name: "kill, 100, Kafka hasty",
                scene: Scene::Falls(Fall { hasty: true, ..KILL }),
                partitions: 100,
                ..FALL
            },
            Case {
                name: "stop, 100, Kafka hasty",
                scene: Scene::Falls(Fall { hasty: true, ..STOP }),
                partitions: 100,
                ..FALL
            },
        ],
        figures: &[F::Gap, F::WorstGap, F::Lost],
        targets: &[
            Target { case: "kill, 100", figure: F::WorstGap, bound: Bound::Value(400.0) },
            Target { case: "kill controller, 100", figure: F::WorstGap, bound: Bound::Value(400.0) },
            Target { case: "stop, 100", figure: F::WorstGap, bound: Bound::Value(1500.0) },
            Target { case: "stop controller, 100", figure: F::WorstGap, bound: Bound::Value(1500.0) },
            Target { case: "kill, 5000", figure: F::Gap, bound: Bound::Own("kill, 100", 2.0) },
            Target { case: "stop, 5000", figure: F::Gap, bound: Bound::Own("stop, 100", 2.0) },
            Target { case: "kill, 100", figure: F::Lost, bound: Bound::Value(0.0) },
            Target { case: "kill controller, 100", figure: F::Lost, bound: Bound::Value(0.0) },
            Target { case: "stop, 100", figure: F::Lost, bound: Bound::Value(0.0) },
            Target { case: "stop controller, 100", figure: F::Lost, bound: Bound::Value(0.0) },
            Target { case: "kill, 5000", figure: F::Lost, bound: Bound::Value(0.0) },
            Target { case: "stop, 5000", figure: F::Lost, bound: Bound::Value(0.0) },
        ],
    },
];

const CACHE_OF_TWO: &str =
    "in the page cache of every replica in sync, two of three at least (both defaults)";
const KILL: Fall = Fall { signal: "KILL", controls: false, hasty: false };
const CONTROLLER: Fall = Fall { controls: true, ..KILL };
const STOP: Fall = Fall { signal: "STOP", ..KILL };
const FALL: Case = Case { loads: &[], ..CASE };
const HALF_RANDOM: Load =
    Load { batch: 65_536, random_percent: 50, until: Until::Megabytes(1000, 300), ..PRODUCE };
const TAIL_PRODUCER: Load = Load {
    batch: 65_536,
    in_flight: 1000,
    rate: Rate::Megabytes(50.0),
    until: Until::Seconds(4, 60),
    stamp: true,
    ..PRODUCE
};
const TAIL_READER: Load = Load { side: Side::Tail, until: Until::Seconds(4, 60), ..CONSUME };
const STEADY: Load = Load { rate: Rate::Megabytes(20.0), until: Until::Seconds(5, 30), ..PRODUCE };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_and_every_comparison_names_a_case_of_its_row() {
        for row in ROWS {
            let known = |name: &str| row.cases.iter().any(|case| case.name == name);
            for target in row.targets {
                assert!(known(target.case), "row {}: {target:?}", row.number);
                if let Bound::Own(other, _) = target.bound {
                    assert!(known(other), "row {}: {target:?}", row.number);
                }
                if let Bound::Floor(_) = target.bound {
                    let case = row.cases.iter().find(|case| case.name == target.case).unwrap();
                    assert!(case.floor.is_some(), "row {}: {target:?} has no floor", row.number);
                }
            }
            for case in row.cases {
                if let Scene::Beyond(other) = case.scene {
                    assert!(known(other), "row {}: {}", row.number, case.name);
                }
            }
        }
    }

    #[test]
    fn rows_have_numbers_of_their_own() {
        let numbers: Vec<u32> = ROWS.iter().map(|row| row.number).collect();
        assert!(numbers.is_sorted_by(|one, two| one < two), "{numbers:?}");
    }
}
