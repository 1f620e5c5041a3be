//! What is told of a run, and what is asked of it: figures with their units, targets with their bounds. Pure.
//! Invariant: a figure that a run cannot give is absent, never zero.

use serde::Serialize;

use crate::statistics::median;

/// One measured run of one contestant, or of a floor.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Run {
    /// How long the load ran.
    pub seconds: f64,
    /// The broker's CPU-seconds in user mode while it did.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
    /// Bytes of batches acknowledged or delivered.
    pub bytes: f64,
    /// Records.
    pub records: f64,
    /// Requests answered.
    pub operations: f64,
    /// Quantiles from the intended time, milliseconds.
    pub latency_ms: Option<Latency>,
    /// Quantiles from a producer's intended time to the arrival at a consumer, milliseconds.
    pub end_to_end_ms: Option<Latency>,
    /// The broker's bytes resident at the end, in 10^6.
    pub resident_mb: Option<f64>,
    /// Of these without files, in 10^6.
    pub anonymous_mb: Option<f64>,
    /// Times one of its threads went to sleep.
    pub sleeps: Option<f64>,
    /// Bytes it had read from a device.
    pub from_disk: Option<f64>,
    /// CPU-seconds of processes that are neither broker nor load, by seconds and cores: how quiet the machine was.
    pub others: Option<f64>,
    /// Milliseconds from start to the first acknowledgement.
    pub start_ms: Option<f64>,
    /// Milliseconds from start until every partition acknowledged.
    pub all_ms: Option<f64>,
    /// Bytes resident per partition.
    pub partition_bytes: Option<f64>,
    /// CPU that it takes while nobody asks for anything, percent of one core.
    pub idle_percent: Option<f64>,
    /// System calls of the broker.
    pub calls: Option<f64>,
    /// The longest that a partition owed an acknowledgement, milliseconds.
    pub gap_ms: Option<f64>,
    /// Records acknowledged and not in the log, or there twice, out of order or never sent.
    pub lost: Option<f64>,
}

/// Quantiles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
}

/// A figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Broker CPU-seconds per 10^9 bytes.
    CpuPerGb,
    /// Part of it in user mode.
    UserPerGb,
    /// 10^6 bytes by seconds.
    MbPerSecond,
    /// Requests by broker CPU-seconds.
    OperationsPerCpuSecond,
    /// Broker CPU per request, microseconds.
    CpuPerOperation,
    /// 10^6 records by broker CPU-seconds.
    RecordsPerCpuSecond,
    /// Requests by seconds.
    OperationsPerSecond,
    /// Median latency, milliseconds.
    P50,
    /// 99 of 100.
    P99,
    /// 999 of 1000.
    P999,
    /// End to end, 99 of 100.
    EndToEndP99,
    /// End to end median.
    EndToEndP50,
    /// Resident, 10^6 bytes.
    Resident,
    /// Resident without files, 10^6 bytes.
    Anonymous,
    /// Sleeps per request: cross-thread wakes and waits for the next request.
    SleepsPerOperation,
    /// System calls per request.
    CallsPerOperation,
    /// CPU, percent of one core.
    CpuPercent,
    /// The same while nobody asks for anything.
    IdlePercent,
    /// Bytes from a device by bytes delivered.
    FromDisk,
    /// Start to first acknowledgement.
    Start,
    /// Start until all partitions acknowledged.
    AllWritable,
    /// Resident bytes per partition, in 1024.
    PerPartition,
    /// The longest debt of an acknowledgement.
    Gap,
    /// The same, in the worst of all runs.
    WorstGap,
    /// Acknowledged records that are wrong in the log, in the worst of all runs.
    Lost,
}

use Figure as F;

impl Figure {
    /// What stands in a table.
    pub fn label(self) -> &'static str {
        match self {
            F::CpuPerGb => "broker CPU-s/GB",
            F::UserPerGb => "  of it in user mode",
            F::MbPerSecond => "MB/s",
            F::OperationsPerCpuSecond => "requests per CPU-s",
            F::CpuPerOperation => "broker CPU us/request",
            F::RecordsPerCpuSecond => "M records per CPU-s",
            F::OperationsPerSecond => "requests/s",
            F::P50 => "p50 ms",
            F::P99 => "p99 ms",
            F::P999 => "p99.9 ms",
            F::EndToEndP50 => "end to end p50 ms",
            F::EndToEndP99 => "end to end p99 ms",
            F::Resident => "RSS MB",
            F::Anonymous => "RSS without files MB",
            F::SleepsPerOperation => "sleeps per request",
            F::CallsPerOperation => "syscalls per request",
            F::CpuPercent => "CPU % of a core",
            F::IdlePercent => "idle CPU % of a core",
            F::FromDisk => "bytes from disk per byte",
            F::Start => "start to first ack ms",
            F::AllWritable => "all partitions writable ms",
            F::PerPartition => "RSS per partition KiB",
            F::Gap => "gap in acks ms",
            F::WorstGap => "  worst trial ms",
            F::Lost => "  acked and wrong",
        }
    }

    /// More is better.
    pub fn higher_is_better(self) -> bool {
        matches!(
            self,
            F::MbPerSecond | F::OperationsPerCpuSecond | F::RecordsPerCpuSecond | F::OperationsPerSecond
        )
    }

    /// What is told of all runs: the median, or the worst where only that counts.
    pub fn told(self, values: &[f64]) -> Option<f64> {
        match self.is_worst() {
            true => values.iter().copied().reduce(f64::max),
            false => median(values),
        }
    }

    /// Only the worst run counts.
    pub fn is_worst(self) -> bool {
        matches!(self, F::WorstGap | F::Lost)
    }

    /// Of one run.
    pub fn of(self, run: &Run) -> Option<f64> {
        let cpu = run.user + run.system;
        let per = |value: f64, base: f64| (base > 0.0 && value > 0.0).then(|| value / base);
        match self {
            F::CpuPerGb => per(cpu, run.bytes / 1e9),
            F::UserPerGb => per(run.user, run.bytes / 1e9),
            F::MbPerSecond => per(run.bytes / 1e6, run.seconds),
            F::OperationsPerCpuSecond => per(run.operations, cpu),
            F::CpuPerOperation => per(cpu * 1e6, run.operations),
            F::RecordsPerCpuSecond => per(run.records / 1e6, cpu),
            F::OperationsPerSecond => per(run.operations, run.seconds),
            F::P50 => run.latency_ms.map(|latency| latency.p50),
            F::P99 => run.latency_ms.map(|latency| latency.p99),
            F::P999 => run.latency_ms.map(|latency| latency.p999),
            F::EndToEndP50 => run.end_to_end_ms.map(|latency| latency.p50),
            F::EndToEndP99 => run.end_to_end_ms.map(|latency| latency.p99),
            F::Resident => run.resident_mb,
            F::Anonymous => run.anonymous_mb,
            F::SleepsPerOperation => per(run.sleeps?, run.operations),
            F::CallsPerOperation => per(run.calls?, run.operations),
            F::CpuPercent => (run.seconds > 0.0).then(|| cpu * 100.0 / run.seconds),
            F::IdlePercent => run.idle_percent,
            F::FromDisk => per(run.from_disk?, run.bytes),
            F::Start => run.start_ms,
            F::AllWritable => run.all_ms,
            F::PerPartition => run.partition_bytes.map(|bytes| bytes / 1024.0),
            F::Gap | F::WorstGap => run.gap_ms,
            F::Lost => run.lost,
        }
    }
}

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// So many times Kafka's, pair by pair: at most, or at least where more is better.
    Kafka(f64),
    /// So many times the floor's.
    Floor(f64),
    /// So many times our own in another case.
    Own(&'static str, f64),
    /// So many times another figure of our own in the same case.
    OwnFigure(Figure, f64),
    /// An absolute value.
    Value(f64),
}

/// A target of the matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// The case it is about.
    pub case: &'static str,
    /// The figure.
    pub figure: Figure,
    /// The bound.
    pub bound: Bound,
}

impl Target {
    /// In words.
    pub fn text(&self) -> String {
        let sign = if self.figure.higher_is_better() { "≥" } else { "≤" };
        let bound = match self.bound {
            Bound::Kafka(times) => format!("{times} × Kafka"),
            Bound::Floor(times) => format!("{times} × floor"),
            Bound::Own(case, times) => format!("{times} × own {case}"),
            Bound::OwnFigure(figure, times) => format!("{times} × own {}", figure.label().trim()),
            Bound::Value(value) => value.to_string(),
        };
        format!("{}: {} {sign} {bound}", self.case, self.figure.label().trim())
    }

    /// Whether `value` keeps it.
    pub fn met_by(&self, value: f64) -> bool {
        let (Bound::Kafka(limit)
        | Bound::Floor(limit)
        | Bound::Own(_, limit)
        | Bound::OwnFigure(_, limit)
        | Bound::Value(limit)) = self.bound;
        if self.figure.higher_is_better() { value >= limit } else { value <= limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        Run {
            seconds: 2.0,
            user: 0.3,
            system: 0.7,
            bytes: 4e9,
            records: 4e6,
            operations: 1000.0,
            ..Run::default()
        }
    }

    #[test]
    fn figures_of_a_run() {
        assert_eq!(Figure::CpuPerGb.of(&run()), Some(0.25));
        assert_eq!(Figure::MbPerSecond.of(&run()), Some(2000.0));
        assert_eq!(Figure::OperationsPerCpuSecond.of(&run()), Some(1000.0));
        assert_eq!(Figure::CpuPerOperation.of(&run()), Some(1000.0));
        assert_eq!(Figure::RecordsPerCpuSecond.of(&run()), Some(4.0));
        assert_eq!(Figure::CpuPercent.of(&run()), Some(50.0));
    }

    #[test]
    fn what_a_run_cannot_give_is_absent() {
        assert_eq!(Figure::CpuPerGb.of(&Run { bytes: 0.0, ..run() }), None);
        assert_eq!(Figure::P99.of(&run()), None);
        assert_eq!(Figure::CallsPerOperation.of(&run()), None);
    }

    #[test]
    fn of_what_is_lost_the_worst_run_counts() {
        assert_eq!(Figure::Gap.told(&[1.0, 9.0, 2.0]), Some(2.0));
        assert_eq!(Figure::WorstGap.told(&[1.0, 9.0, 2.0]), Some(9.0));
        assert_eq!(Figure::Lost.told(&[0.0, 0.0, 1.0]), Some(1.0));
        assert_eq!(Figure::Lost.told(&[]), None);
    }

    #[test]
    fn a_target_knows_its_direction() {
        let cost = Target { case: "1 KiB", figure: Figure::CpuPerGb, bound: Bound::Kafka(0.08) };
        assert!(cost.met_by(0.08) && !cost.met_by(0.09));
        assert_eq!(cost.text(), "1 KiB: broker CPU-s/GB ≤ 0.08 × Kafka");
        let speed = Target { figure: Figure::MbPerSecond, bound: Bound::Floor(0.9), ..cost };
        assert!(speed.met_by(0.95) && !speed.met_by(0.8));
        assert_eq!(speed.text(), "1 KiB: MB/s ≥ 0.9 × floor");
    }
}
