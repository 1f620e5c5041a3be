//! Counts and latencies of one side of a bench, and the form they are printed in.
//! It owns no clock. Invariant: latency runs from the intended time, so that a stall counts against all it delayed.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency told apart, microseconds; longer ones count as this.
const LATENCY_US_MAX: u64 = 600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// What one connection did.
#[derive(Debug, Clone)]
pub struct Meter {
    records: u64,
    bytes: u64,
    operations: u64,
    polls: u64,
    latency_us: Histogram<u64>,
    /// From the time a batch was due at its producer to its arrival; most loads have no stamps.
    end_to_end_us: Option<Histogram<u64>>,
}

impl Default for Meter {
    fn default() -> Self {
        Self { records: 0, bytes: 0, operations: 0, polls: 0, latency_us: histogram(), end_to_end_us: None }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS)
        // cannot fail: 1 ≤ max / 2 and three digits are within what the histogram takes.
        .unwrap_or_else(|error| panic!("1 to {LATENCY_US_MAX} with {SIGNIFICANT_DIGITS} digits: {error}"))
}

fn record(into: &mut Histogram<u64>, latency: Duration) {
    let latency_us = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_US_MAX);
    into.saturating_record(latency_us.max(1));
}

impl Meter {
    /// One operation ended, `latency` after it was meant to begin.
    pub fn count(&mut self, records: u64, bytes: u64, latency: Duration) {
        self.records += records;
        self.bytes += bytes;
        self.operations += 1;
        self.polls += 1;
        record(&mut self.latency_us, latency);
    }

    /// One fetch ended that brought nothing.
    pub fn poll(&mut self) {
        self.polls += 1;
    }

    /// A stamped batch arrived, `after` it was due at its producer.
    pub fn arrived(&mut self, after: Duration) {
        record(self.end_to_end_us.get_or_insert_with(histogram), after);
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds another connection's.
    pub fn add(mut self, other: &Meter) -> Meter {
        self.records += other.records;
        self.bytes += other.bytes;
        self.operations += other.operations;
        self.polls += other.polls;
        // All have the same bounds, so nothing can be out of range.
        let _ = self.latency_us.add(&other.latency_us);
        if let Some(theirs) = &other.end_to_end_us {
            let _ = self.end_to_end_us.get_or_insert_with(histogram).add(theirs);
        }
        self
    }

    /// What is told of it after `seconds`.
    pub fn result(&self, side: &'static str, seconds: f64) -> BenchResult {
        BenchResult {
            side,
            seconds,
            operations: self.operations,
            polls: self.polls,
            records: self.records,
            bytes: self.bytes,
            records_per_second: self.records as f64 / seconds,
            megabytes_per_second: self.bytes as f64 / 1e6 / seconds,
            latency_ms: Latency::of(&self.latency_us),
            end_to_end_ms: self.end_to_end_us.as_ref().map(Latency::of),
        }
    }
}

/// A bench's result. Field names are an interface: add, never rename.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchResult {
    /// `produce` or `consume`.
    pub side: &'static str,
    /// From the first intended time to the last answer.
    pub seconds: f64,
    /// Produce requests acknowledged, or fetches that brought records.
    pub operations: u64,
    /// Operations, and fetches that brought nothing.
    pub polls: u64,
    /// Records.
    pub records: u64,
    /// Bytes of batches, headers included.
    pub bytes: u64,
    /// Records by seconds.
    pub records_per_second: f64,
    /// 10^6 bytes by seconds.
    pub megabytes_per_second: f64,
    /// From the intended time of each operation.
    pub latency_ms: Latency,
    /// From the intended time of each stamped batch to its arrival at a consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_to_end_ms: Option<Latency>,
}

/// Quantiles, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// Worst.
    pub max: f64,
}

impl Latency {
    fn of(us: &Histogram<u64>) -> Latency {
        let ms = |us: u64| us as f64 / 1000.0;
        let at = |quantile| ms(us.value_at_quantile(quantile));
        Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: ms(us.max()) }
    }
}

impl BenchResult {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |label: &str, value: String| _ = writeln!(text, "{label:<12}{value}");
        line(
            self.side,
            format!("{} records, {} operations in {:.2} s", self.records, self.operations, self.seconds),
        );
        line(
            "throughput",
            format!("{:.0} records/s, {:.1} MB/s", self.records_per_second, self.megabytes_per_second),
        );
        let quantiles = |Latency { p50, p99, p999, max }| {
            format!("p50 {p50:.3} ms, p99 {p99:.3} ms, p99.9 {p999:.3} ms, max {max:.3} ms")
        };
        line("latency", quantiles(self.latency_ms));
        if let Some(end_to_end) = self.end_to_end_ms {
            line("end to end", quantiles(end_to_end));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_add_up() {
        let (mut one, mut two) = (Meter::default(), Meter::default());
        for _ in 0..99 {
            one.count(10, 1_000_000, Duration::from_millis(1));
        }
        two.count(10, 1_000_000, Duration::from_secs(3600));
        two.poll();
        two.arrived(Duration::from_millis(7));
        let result = one.add(&two).result("produce", 10.0);
        assert_eq!((result.operations, result.records, result.bytes), (100, 1000, 100_000_000));
        assert_eq!(result.polls, 101);
        assert!(result.end_to_end_ms.is_some_and(|latency| (latency.max - 7.0).abs() < 0.01), "{result:?}");
        assert_eq!((result.records_per_second, result.megabytes_per_second), (100.0, 10.0));
        assert!((result.latency_ms.p50 - 1.0).abs() < 0.01, "{result:?}");
        assert!(result.latency_ms.max >= 599_000.0, "the hour counts as the longest: {result:?}");
        assert!(result.text().contains("throughput  100 records/s, 10.0 MB/s"));
    }
}
