//! IncrementalAlterConfigs as a pure function: current overrides + operations → the changes to store.
//! It writes nothing; the whole resulting set is validated, so a topic never ends in a state CreateTopics would refuse.

use std::collections::BTreeMap;

use crate::config::error::ConfigError;
use crate::config::settings::Settings;

/// Kafka's four operations (AlterConfigOp: 0..=3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Replace the value.
    Set,
    /// Back to the default.
    Delete,
    /// Add to a list.
    Append,
    /// Take from a list.
    Subtract,
}

impl Op {
    /// From the wire's number; `None` for a number Kafka does not define.
    pub fn from_wire(code: i8) -> Option<Op> {
        [Op::Set, Op::Delete, Op::Append, Op::Subtract].get(usize::try_from(code).ok()?).copied()
    }
}

/// One requested change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alteration {
    /// Key name.
    pub name: String,
    /// What to do.
    pub op: Op,
    /// The value, absent for `Delete`.
    pub value: Option<String>,
}

/// The changes (`None` = remove the override) that `ops` mean for a topic with `current` overrides.
pub fn topic(
    _settings: &Settings,
    _topic: &str,
    _current: &BTreeMap<String, String>,
    _ops: &[Alteration],
) -> Result<Vec<(String, Option<String>)>, ConfigError> {
    todo!("first landing: signatures")
}

/// The same for broker keys; only dynamic ones may change.
pub fn broker(
    _settings: &Settings,
    _current: &BTreeMap<String, String>,
    _ops: &[Alteration],
) -> Result<Vec<(String, Option<String>)>, ConfigError> {
    todo!("first landing: signatures")
}
