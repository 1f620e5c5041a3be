//! IncrementalAlterConfigs as a pure function: current overrides + operations → the changes to store.
//! It writes nothing; the whole resulting set is validated, so a topic never ends in a state CreateTopics would refuse.

use std::collections::BTreeMap;

use crate::config::error::ConfigError;
use crate::config::key::{Key, Kind, Scope, list_items};
use crate::config::resolve;
use crate::config::settings::{self, Settings};
use crate::config::topic::{self as topic_config, Overrides, TopicConfig};

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

/// Changes to store: `None` removes the override. Each name stands at most once.
pub type Changes = Vec<(String, Option<String>)>;

/// The changes that `ops` mean for a topic with `current` overrides.
pub fn topic(
    settings: &Settings,
    topic: &str,
    current: &Overrides,
    ops: &[Alteration],
) -> Result<Changes, ConfigError> {
    let (mut after, mut changes) = (current.clone(), Changes::new());
    for op in ops {
        let key = settings::known(Scope::Topic, &op.name)?;
        let in_force = resolve::value(settings, current, key.name).value;
        let value = apply(key, op, &in_force, &changes)?;
        store(&mut after, &mut changes, op, value);
    }
    let was_remote =
        TopicConfig::resolve(settings, topic, current).is_ok_and(|before| before.log.remote_enabled);
    topic_config::validate(settings, topic, &after, was_remote)?;
    Ok(changes)
}

/// The same for broker keys; only dynamic ones may change. `current`: the dynamic values of the same resource.
pub fn broker(
    settings: &Settings,
    current: &BTreeMap<String, String>,
    ops: &[Alteration],
) -> Result<Changes, ConfigError> {
    let (mut after, mut changes) = (current.clone(), Changes::new());
    for op in ops {
        let key = settings::known(Scope::Broker, &op.name)?;
        if !key.dynamic {
            return Err(ConfigError::ReadOnly { key: op.name.clone() });
        }
        let in_force = settings.get(key.name).map(|(_, value)| value.to_owned()).unwrap_or_default();
        let in_force = current.get(key.name).cloned().unwrap_or(in_force);
        let value = apply(key, op, &in_force, &changes)?;
        if let Some(value) = &value {
            settings::check(key, &op.name, value)?;
        }
        store(&mut after, &mut changes, op, value);
    }
    Ok(changes)
}

fn store(
    after: &mut BTreeMap<String, String>,
    changes: &mut Changes,
    op: &Alteration,
    value: Option<String>,
) {
    match &value {
        Some(value) => after.insert(op.name.clone(), value.clone()),
        None => after.remove(&op.name),
    };
    changes.push((op.name.clone(), value));
}

/// The text that one operation leaves; `None` = back to the default.
fn apply(
    key: &Key,
    op: &Alteration,
    in_force: &str,
    changes: &Changes,
) -> Result<Option<String>, ConfigError> {
    let conflict = |text: String| Err(ConfigError::Conflict(text));
    if changes.iter().any(|(name, _)| *name == op.name) {
        return conflict(format!("{} stands twice in one request", op.name));
    }
    if op.op == Op::Delete {
        return Ok(None);
    }
    let Some(value) = &op.value else {
        return conflict(format!("{} needs a value; to go back to the default, delete it", op.name));
    };
    let items: Vec<&str> = list_items(value).collect();
    let current: Vec<&str> = list_items(in_force).collect();
    let joined = match op.op {
        Op::Set | Op::Delete => return Ok(Some(value.trim().to_owned())),
        Op::Append | Op::Subtract if !matches!(key.kind, Kind::List(_)) => {
            return conflict(format!(
                "{} is not a list: a value can be set or deleted, not appended",
                op.name
            ));
        }
        Op::Append => {
            let new = items.into_iter().filter(|item| !current.contains(item));
            current.iter().copied().chain(new).collect::<Vec<_>>()
        }
        Op::Subtract => current.into_iter().filter(|item| !items.contains(item)).collect(),
    };
    Ok(Some(joined.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(name: &str, op: Op, value: &str) -> Alteration {
        let value = (op != Op::Delete).then(|| value.to_owned());
        Alteration { name: name.to_owned(), op, value }
    }

    fn alter(current: &[(&str, &str)], ops: &[Alteration]) -> Result<Changes, String> {
        let current = current.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        topic(&Settings::default(), "t", &current, ops).map_err(|error| error.to_string())
    }

    fn change(name: &str, value: Option<&str>) -> (String, Option<String>) {
        (name.to_owned(), value.map(str::to_owned))
    }

    #[test]
    fn set_delete_append_subtract() {
        let current = [("retention.ms", "5"), ("cleanup.policy", "compact")];
        assert_eq!(
            alter(
                &current,
                &[op("retention.ms", Op::Delete, ""), op("cleanup.policy", Op::Append, "delete,compact")]
            ),
            Ok(vec![change("retention.ms", None), change("cleanup.policy", Some("compact,delete"))])
        );
        assert_eq!(
            alter(&current, &[op("cleanup.policy", Op::Subtract, "compact")]),
            Ok(vec![change("cleanup.policy", Some(""))])
        );
        // Appending to a key that only has its default starts from the default, as in Kafka.
        assert_eq!(
            alter(&[], &[op("cleanup.policy", Op::Append, "compact")]),
            Ok(vec![change("cleanup.policy", Some("delete,compact"))])
        );
        assert_eq!((Op::from_wire(3), Op::from_wire(4), Op::from_wire(-1)), (Some(Op::Subtract), None, None));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let twice = [op("retention.ms", Op::Set, "1"), op("retention.ms", Op::Delete, "")];
        assert_eq!(alter(&[], &twice), Err("retention.ms stands twice in one request".into()));
        assert_eq!(
            alter(&[], &[op("retention.ms", Op::Append, "1")]),
            Err("retention.ms is not a list: a value can be set or deleted, not appended".into())
        );
        // The rule between two keys holds for the state after the change.
        assert!(alter(&[("local.retention.ms", "50")], &[op("retention.ms", Op::Set, "10")]).is_err());
        let both = [op("retention.ms", Op::Set, "10"), op("local.retention.ms", Op::Set, "10")];
        assert!(alter(&[("local.retention.ms", "50")], &both).is_ok());
    }

    #[test]
    fn a_broker_takes_dynamic_keys_only() {
        let alter = |name: &str, value: &str| {
            broker(&Settings::default(), &BTreeMap::new(), &[op(name, Op::Set, value)])
                .map_err(|error| error.to_string())
        };
        assert_eq!(alter("log.retention.ms", "7"), Ok(vec![change("log.retention.ms", Some("7"))]));
        assert_eq!(
            alter("log.dirs", "/x"),
            Err("Cannot update log.dirs while the broker runs: it is read at start only".into())
        );
        assert!(alter("log.retention.ms", "x").unwrap_err().contains("Not a number"));
    }
}
