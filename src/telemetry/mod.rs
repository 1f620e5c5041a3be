//! What is seen of a broker from outside: log lines, `/metrics`, health, tier status.
//! It reads what other rooms count and changes nothing.

pub mod backlog;
pub mod cleaner_metrics;
pub mod exposition;
pub mod gather;
pub mod group_metrics;
pub mod http;
mod labels;
pub mod metrics;
mod process;
mod replication_metrics;
pub mod subscriber;
pub mod tier_metrics;
pub mod tier_status;
