//! The checked values of every broker key that somebody set, each with the place it came from.
//! It holds text that its key's kind has already accepted, so typed reads cannot fail. Invariant: the order of places is
//! defaults < file < environment < `--set` < dynamic (cluster default, then this broker).

use std::collections::BTreeMap;

/// Where a value came from, weakest first; the order decides which one is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The table's own default.
    Default,
    /// `--dev`'s choices: a file nobody wrote.
    Dev,
    /// The properties file.
    File,
    /// A `KAFKA_*` or `FIRN_*` variable.
    Environment,
    /// `--set key=value`.
    Set,
    /// Altered for all brokers (IncrementalAlterConfigs on broker "").
    DynamicDefault,
    /// Altered for this broker.
    DynamicBroker,
}

/// Checked values of broker keys, by place.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, BTreeMap<Source, String>>,
}

impl Settings {
    /// The same settings with the dynamic values of the metadata image laid over them (names and values as stored).
    pub fn with_dynamic(
        &self,
        _cluster: &BTreeMap<String, String>,
        _this_broker: &BTreeMap<String, String>,
    ) -> Settings {
        let _ = &self.values;
        todo!("first landing: signatures")
    }
}
