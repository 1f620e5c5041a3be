//! A scrape as text: families of counters and gauges, written one after the other in OpenMetrics' form.
//! It is the door to prometheus-client and knows no metric of ours. Invariant: a family is written once, whole.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// What a scrape answers with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Labels of one series.
pub type Labels = Vec<(&'static str, String)>;

/// One family of series with the same name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Without `_total`, which a counter gets by itself.
    pub name: &'static str,
    /// One sentence without its dot.
    pub help: &'static str,
    /// True for what only grows.
    pub counter: bool,
    /// Labels and value of each series.
    pub series: Vec<(Labels, f64)>,
}

impl Family {
    /// A counter; values are counts.
    pub fn counter(name: &'static str, help: &'static str) -> Family {
        Family { name, help, counter: true, series: Vec::new() }
    }

    /// A gauge.
    pub fn gauge(name: &'static str, help: &'static str) -> Family {
        Family { name, help, counter: false, series: Vec::new() }
    }

    /// With one more series. Counts above 2^53 lose their last bits, as in every Prometheus.
    pub fn with(mut self, labels: Labels, value: impl Into<Value>) -> Family {
        self.series.push((labels, value.into().0));
        self
    }

    /// With one series that has no labels.
    pub fn of(self, value: impl Into<Value>) -> Family {
        self.with(Labels::new(), value)
    }

    /// With many series.
    pub fn all<V: Into<Value>>(mut self, series: impl IntoIterator<Item = (Labels, V)>) -> Family {
        self.series.extend(series.into_iter().map(|(labels, value)| (labels, value.into().0)));
        self
    }
}

/// A number of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value(f64);

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value(value as f64)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value(value as f64)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Value(value as f64)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Value {
        Value(f64::from(value))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value(f64::from(u8::from(value)))
    }
}

/// The text of one scrape.
pub fn page(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Told(families)));
    let mut page = String::with_capacity(16 * 1024);
    match text::encode(&mut page, &registry) {
        Ok(()) => page,
        // cannot fail: writing into a String does not.
        Err(fmt::Error) => unreachable!("a String takes every text"),
    }
}

#[derive(Debug)]
struct Told(Vec<Family>);

impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in self.0.iter().filter(|family| !family.series.is_empty()) {
            let kind = if family.counter { MetricType::Counter } else { MetricType::Gauge };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.series {
                let labels: Vec<_> = labels.iter().map(|(name, text)| (*name, escaped(text))).collect();
                // A family without labels would be written with empty braces.
                if labels.is_empty() {
                    write_value(&mut metric, family.counter, *value)?;
                } else {
                    write_value(&mut metric.encode_family(&labels)?, family.counter, *value)?;
                }
            }
        }
        Ok(())
    }
}

/// A label's value as the format wants it; the package writes it as it stands.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

fn write_value(metric: &mut MetricEncoder<'_>, counter: bool, value: f64) -> Result<(), fmt::Error> {
    match counter {
        true => metric.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        false => metric.encode_gauge(&value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_in_openmetrics() {
        let topic = |name: &str| vec![("topic", name.to_owned())];
        let families = vec![
            Family::counter("kafka_server_brokertopicmetrics_bytesin", "Bytes produced")
                .all([(topic("a"), 7u64), (topic("b\"\\\n"), 1 << 40)]),
            Family::gauge("kafka_server_replicamanager_leadercount", "Partitions led").of(3usize),
            Family::gauge("firn_nothing", "A family without series stays away"),
        ];
        let expected = "\
# HELP kafka_server_brokertopicmetrics_bytesin Bytes produced
# TYPE kafka_server_brokertopicmetrics_bytesin counter
kafka_server_brokertopicmetrics_bytesin_total{topic=\"a\"} 7.0
kafka_server_brokertopicmetrics_bytesin_total{topic=\"b\\\"\\\\\\n\"} 1099511627776.0
# HELP kafka_server_replicamanager_leadercount Partitions led
# TYPE kafka_server_replicamanager_leadercount gauge
kafka_server_replicamanager_leadercount 3.0
# EOF
";
        assert_eq!(page(families), expected);
    }
}
