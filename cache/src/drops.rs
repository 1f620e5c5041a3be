//! Listens to the disk tier's own counters for one thing: chunks it dropped because its write queue was full.
//! Everything else it reports is ignored here.

use crate::metrics::Counter;
use mixtrics::metrics::{
    BoxedCounter, BoxedCounterVec, BoxedGauge, BoxedGaugeVec, BoxedHistogram, BoxedHistogramVec, CounterOps,
    CounterVecOps, GaugeVecOps, HistogramVecOps, RegistryOps,
};
use mixtrics::registry::noop::NoopMetricsRegistry;
use std::borrow::Cow;
use std::sync::Arc;

/// The labels under which dropped writes are counted: the flush buffer or the submit queue was full.
const DROPS: [&str; 2] = ["buffer_overflow", "channel_overflow"];

/// Counts dropped writes into a counter of ours.
#[derive(Debug, Clone)]
pub(crate) struct DropCounter(pub(crate) Arc<Counter>);

impl CounterOps for DropCounter {
    fn increase(&self, val: u64) {
        self.0.add(val);
    }
}

impl CounterVecOps for DropCounter {
    fn counter(&self, labels: &[Cow<'static, str>]) -> BoxedCounter {
        if labels.iter().any(|label| DROPS.contains(&label.as_ref())) {
            Box::new(self.clone())
        } else {
            Box::new(NoopMetricsRegistry)
        }
    }
}

impl GaugeVecOps for DropCounter {
    fn gauge(&self, _: &[Cow<'static, str>]) -> BoxedGauge {
        Box::new(NoopMetricsRegistry)
    }
}

impl HistogramVecOps for DropCounter {
    fn histogram(&self, _: &[Cow<'static, str>]) -> BoxedHistogram {
        Box::new(NoopMetricsRegistry)
    }
}

impl RegistryOps for DropCounter {
    fn register_counter_vec(
        &self,
        _: Cow<'static, str>,
        _: Cow<'static, str>,
        _: &'static [&'static str],
    ) -> BoxedCounterVec {
        Box::new(self.clone())
    }

    fn register_gauge_vec(
        &self,
        _: Cow<'static, str>,
        _: Cow<'static, str>,
        _: &'static [&'static str],
    ) -> BoxedGaugeVec {
        Box::new(self.clone())
    }

    fn register_histogram_vec(
        &self,
        _: Cow<'static, str>,
        _: Cow<'static, str>,
        _: &'static [&'static str],
    ) -> BoxedHistogramVec {
        Box::new(self.clone())
    }

    fn register_histogram_vec_with_buckets(
        &self,
        _: Cow<'static, str>,
        _: Cow<'static, str>,
        _: &'static [&'static str],
        _: Vec<f64>,
    ) -> BoxedHistogramVec {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_overflows_are_counted() {
        let drops = DropCounter(Arc::default());
        let counters = drops.register_counter_vec("ops".into(), "".into(), &["name", "op"]);
        counters.counter(&["cache".into(), "buffer_overflow".into()]).increase(2);
        counters.counter(&["cache".into(), "channel_overflow".into()]).increase(3);
        counters.counter(&["cache".into(), "queue_rotate".into()]).increase(100);
        assert_eq!(drops.0.get(), 5);
    }
}
