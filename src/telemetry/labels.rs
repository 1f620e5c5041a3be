//! The labels that name a topic or a partition, spelled once: dashboards join series by them.
//! No other label is made here.

use crate::telemetry::exposition::Labels;

/// The label of a topic.
pub fn topic(name: &str) -> Labels {
    vec![("topic", name.to_owned())]
}

/// The labels of a partition.
pub fn partition(name: &str, index: i32) -> Labels {
    vec![("topic", name.to_owned()), ("partition", index.to_string())]
}
