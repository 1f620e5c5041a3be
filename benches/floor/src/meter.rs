//! What a floor cost: bytes, time, CPU of this thread, and latencies where it has any.
//! Floors serve on one thread. Invariant: CPU is what the kernel's scheduler counted, in nanoseconds.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A measurement that runs.
#[derive(Debug)]
pub struct Meter {
    began: Instant,
    cpu_began: Duration,
}

impl Meter {
    /// Starts now.
    pub fn start() -> io::Result<Meter> {
        Ok(Meter { began: Instant::now(), cpu_began: cpu()? })
    }

    /// Ends now.
    pub fn end(self, operations: u64, bytes: u64) -> io::Result<Figures> {
        let (seconds, cpu_seconds) =
            (self.began.elapsed().as_secs_f64(), (cpu()? - self.cpu_began).as_secs_f64());
        Ok(Figures { seconds, cpu_seconds, operations, bytes, latencies: Vec::new() })
    }
}

/// Time this thread was on a core.
fn cpu() -> io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.map(Duration::from_nanos).ok_or_else(|| io::Error::other(format!("schedstat says {text:?}")))
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Figures {
    seconds: f64,
    cpu_seconds: f64,
    operations: u64,
    bytes: u64,
    latencies: Vec<Duration>,
}

impl Figures {
    /// With the time of each operation.
    pub fn with(mut self, latencies: Vec<Duration>) -> Figures {
        self.latencies = latencies;
        self
    }

    /// As one line.
    pub fn json(mut self) -> Value {
        self.latencies.sort_unstable();
        let at = |quantile: f64| {
            let place = (self.latencies.len() as f64 * quantile) as usize;
            self.latencies.get(place.min(self.latencies.len().saturating_sub(1)))
        };
        let ms = |quantile| at(quantile).map_or(Value::Null, |time| json!(time.as_secs_f64() * 1e3));
        json!({
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "operations": self.operations,
            "bytes": self.bytes,
            "latency_ms": { "p50": ms(0.5), "p99": ms(0.99), "p999": ms(0.999) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let times = (1..=100).rev().map(Duration::from_millis).collect();
        let json = Figures::default().with(times).json();
        assert_eq!(json["latency_ms"]["p50"], 51.0);
        assert_eq!(json["latency_ms"]["p99"], 100.0);
        assert_eq!(Figures::default().json()["latency_ms"]["p99"], Value::Null);
    }
}
