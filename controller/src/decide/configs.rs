//! Dynamic configuration: one record per key, and what it changes for partitions at once. What keys exist and what
//! values they take is the broker's table. Invariant: a request changes a key once; no partition keeps a replica as
//! eligible that a lower `min.insync.replicas` lets fall behind.

use std::collections::BTreeSet;

use crate::decide::decision::Decision;
use crate::decide::policy::{MIN_INSYNC_REPLICAS, Policy, UNCLEAN_LEADER_ELECTION};
use crate::decide::sweep::{self, Swept};
use crate::error::AlterConfigsError;
use crate::image::metadata::MetadataImage;
use crate::record::entry::Precondition;
use crate::record::kinds::{Record, Resource};

/// Longest key, in bytes.
pub const KEY_LEN_MAX: usize = 249;
/// Longest value, in bytes (Kafka's limit for a metadata string is 32,767).
pub const VALUE_LEN_MAX: usize = 32_767;

/// Sets (`Some`) or removes (`None`) values of one resource; what is already so is not written again.
pub fn alter(
    image: &MetadataImage,
    policy: &Policy,
    resource: Resource,
    changes: &[(String, Option<String>)],
) -> Result<Decision<()>, AlterConfigsError> {
    let mut preconditions = Vec::new();
    if let Resource::Topic(id) = resource {
        let topic = image.topics.get(id).ok_or(AlterConfigsError::UnknownTopic(id))?;
        preconditions.push(Precondition::PartitionCount(id, topic.partition_count()));
    }
    if let Some(why) = illegal(changes.iter().map(|(key, value)| (key.as_str(), value.as_deref()))) {
        return Err(AlterConfigsError::InvalidRequest(why));
    }
    let differs = |(key, value): &&(String, Option<String>)| {
        image.configs.get(resource, key).map(|known| &**known) != value.as_deref()
    };
    let records: Vec<Record> = changes
        .iter()
        .filter(differs)
        .map(|(key, value)| Record::Config { resource, key: key.clone(), value: value.clone() })
        .collect();
    if records.is_empty() {
        return Ok(Decision::nothing_to_do(()));
    }
    let swept = partitions_after(image, policy, resource, &records);
    preconditions.extend(swept.facts(image, None));
    Ok(Decision::new(preconditions, records.into_iter().chain(swept.records).collect(), ()))
}

/// The rows that the new values change: fewer members make an ISR complete, or a topic allows unclean elections now.
fn partitions_after(image: &MetadataImage, policy: &Policy, resource: Resource, records: &[Record]) -> Swept {
    let decides = |record: &Record| match record {
        Record::Config { key, .. } => key == MIN_INSYNC_REPLICAS || key == UNCLEAN_LEADER_ELECTION,
        _ => false,
    };
    if matches!(resource, Resource::Broker(_)) || !records.iter().any(decides) {
        return Swept::default();
    }
    let mut then = image.clone();
    for record in records {
        if let Record::Config { resource, key, value } = record {
            then.configs.set(*resource, key, value.as_deref());
        }
    }
    match resource {
        Resource::Topic(topic) => sweep::reconfigured(&then, policy, Some(topic)),
        _ => sweep::reconfigured(&then, policy, None),
    }
}

/// Why a set of changes cannot be stored, if it cannot.
pub(crate) fn illegal<'a>(changes: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> Option<String> {
    let mut seen = BTreeSet::new();
    for (key, value) in changes {
        if key.is_empty() || key.len() > KEY_LEN_MAX {
            return Some(format!("a configuration key has 1 to {KEY_LEN_MAX} bytes, not {}", key.len()));
        }
        let len = value.map_or(0, str::len);
        if len > VALUE_LEN_MAX {
            return Some(format!("the value of '{key}' has {len} bytes, more than {VALUE_LEN_MAX}"));
        }
        if !seen.insert(key) {
            return Some(format!("'{key}' is named twice"));
        }
    }
    None
}
