//! Measures a path and, in the same run, a named baseline that does the least anybody could; prints their ratio.
//! Ratios travel between machines, times do not. Invariant: both sides move the same bytes.

use std::cell::Cell;
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{BenchmarkGroup, Criterion, Throughput};

/// A path beside its baseline.
pub struct Pair<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    name: &'static str,
    ours: Cell<Option<f64>>,
    baseline: Cell<Option<(&'static str, f64)>>,
}

impl<'a> Pair<'a> {
    /// `bytes` are moved by each turn of either side.
    pub fn new(criterion: &'a mut Criterion, name: &'static str, bytes: usize) -> Self {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes as u64));
        group
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2))
            .sample_size(20);
        Self { group, name, ours: Cell::new(None), baseline: Cell::new(None) }
    }

    /// Our path; `run` answers the time that so many turns took.
    pub fn ours(&mut self, run: impl FnMut(u64) -> Duration) {
        let best = best_ns(&mut self.group, "firnline", run);
        self.ours.set(best);
    }

    /// What it is compared with.
    pub fn baseline(&mut self, what: &'static str, run: impl FnMut(u64) -> Duration) {
        let best = best_ns(&mut self.group, what, run);
        self.baseline.set(best.map(|best| (what, best)));
    }

    /// Prints the ratio of the best samples, when both sides ran.
    pub fn finish(self) {
        self.group.finish();
        if let (Some(ours), Some((what, baseline))) = (self.ours.get(), self.baseline.get()) {
            let ratio = ours / baseline;
            println!("{}: {ours:.0} ns, {what}: {baseline:.0} ns, ratio {ratio:.2}\n", self.name);
        }
    }
}

/// Nanoseconds of a turn in the best sample; `None` when a filter left it out.
fn best_ns(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut run: impl FnMut(u64) -> Duration,
) -> Option<f64> {
    let mut best: Option<f64> = None;
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|turns| {
            let took = run(turns);
            let each = took.as_secs_f64() * 1e9 / turns as f64;
            best = Some(best.map_or(each, |best| best.min(each)));
            took
        });
    });
    best
}

/// The time `work` takes; what it answers is dropped afterwards.
pub fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = WallTime.start();
    let done = std::hint::black_box(work());
    let took = WallTime.end(start);
    drop(done);
    took
}
