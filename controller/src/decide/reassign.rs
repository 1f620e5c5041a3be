//! Moves of replicas (KIP-455, KIP-860): begun, replaced, cancelled, listed. They complete with the ISR change that
//! makes them complete (`decide/row.rs`). Invariant: while one is under way `replicas` is the target with those that
//! leave behind it, so what held acked records goes on holding them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::decide::decision::Decision;
use crate::decide::policy::Policy;
use crate::decide::row::{Ground, Next};
use crate::decide::sweep::Swept;
use crate::error::ReassignError;
use crate::id::{BrokerId, TopicId};
use crate::image::metadata::MetadataImage;
use crate::record::kinds::Partition;

/// One partition's new replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reassignment {
    /// A live topic.
    pub topic: TopicId,
    /// Its partition.
    pub index: i32,
    /// Preferred leader first; `None` takes back the move under way.
    pub replicas: Option<Vec<BrokerId>>,
    /// More or fewer replicas than now are allowed (KIP-860).
    pub may_resize: bool,
}

/// A move under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    /// The topic.
    pub topic: TopicId,
    /// Its partition.
    pub index: i32,
    /// All that hold it meanwhile.
    pub replicas: Vec<BrokerId>,
    /// Those that come.
    pub adding: Vec<BrokerId>,
    /// Those that go when it is done.
    pub removing: Vec<BrokerId>,
}

/// Begins, replaces or cancels one partition's move.
pub fn reassign(
    image: &MetadataImage,
    policy: &Policy,
    asked: &Reassignment,
) -> Result<Decision<()>, ReassignError> {
    let unknown = || ReassignError::UnknownPartition(asked.topic, asked.index);
    let row = image.topics.partition(asked.topic, asked.index).ok_or_else(unknown)?;
    if image.feature_level < 2 {
        return Err(ReassignError::LevelTooLow { level: image.feature_level });
    }
    let ground = Ground::of(image, policy, (asked.topic, asked.index));
    let next = match &asked.replicas {
        Some(target) => begin(image, row, target, asked.may_resize)?,
        None => cancel(row, &ground)?,
    };
    let Some(after) = next.settle(&ground, ground.wanted()) else {
        return Ok(Decision::nothing_to_do(()));
    };
    let mut swept = Swept::default();
    swept.add(image, asked.topic, asked.index, (row, after));
    Ok(Decision::new(swept.facts(image, None), swept.records, ()))
}

/// The moves under way, topics in the order of their names.
pub fn under_way(image: &MetadataImage) -> impl Iterator<Item = Moving> + '_ {
    image.topics.iter().flat_map(|topic| {
        let rows = topic.partitions.iter().zip(0..).filter(|(row, _)| row.is_moving());
        rows.map(|(row, index)| Moving {
            topic: topic.id,
            index,
            replicas: row.replicas.to_vec(),
            adding: row.adding.to_vec(),
            removing: row.removing.to_vec(),
        })
    })
}

fn begin<'r>(
    image: &MetadataImage,
    row: &'r Partition,
    target: &[BrokerId],
    may_resize: bool,
) -> Result<Next<'r>, ReassignError> {
    let refuse = |why: String| Err(ReassignError::InvalidAssignment(why));
    if target.is_empty() {
        return refuse("the assignment names no replica".to_owned());
    }
    if target.iter().collect::<BTreeSet<_>>().len() < target.len() {
        return refuse(format!("the assignment names a broker twice: {target:?}"));
    }
    if let Some(unknown) = target.iter().find(|id| image.brokers.get(**id).is_none()) {
        return refuse(format!("the assignment names broker {unknown}, which is not registered"));
    }
    // As in Kafka: the size before the move under way, not with those it brings.
    let (now, asked) = (row.replicas.len() - row.adding.len(), target.len());
    if !may_resize && asked != now {
        return Err(ReassignError::InvalidReplicationFactor { now, asked });
    }
    let removing: BTreeSet<BrokerId> =
        row.replicas.iter().copied().filter(|id| !target.contains(id)).collect();
    let adding: BTreeSet<BrokerId> = target.iter().copied().filter(|id| !row.replicas.contains(id)).collect();
    // One that an earlier move was bringing and this one keeps is still on its way.
    let still = row.adding.iter().copied().filter(|id| target.contains(id) && !row.isr.contains(id));
    let mut next = Next::of(row);
    next.replicas = target.iter().chain(&removing).copied().collect();
    next.adding = adding.into_iter().chain(still).collect::<BTreeSet<_>>().into_iter().collect();
    next.removing = removing.into_iter().collect();
    Ok(next)
}

/// The replicas before the move, in sync as far as they are.
fn cancel<'r>(row: &'r Partition, ground: &Ground<'_>) -> Result<Next<'r>, ReassignError> {
    if !row.is_moving() {
        return Err(ReassignError::NotMoving);
    }
    let mut next = Next::of(row);
    next.replicas.retain(|id| !row.adding.contains(id));
    next.isr.retain(|id| !row.adding.contains(id));
    next.elr.retain(|id| !row.adding.contains(id));
    next.adding.clear();
    next.removing.clear();
    if next.replicas.is_empty() {
        return Err(ReassignError::InvalidAssignment("the move has no replicas to go back to".to_owned()));
    }
    if next.isr.is_empty() && !row.isr.is_empty() && !ground.unclean {
        let why =
            "none of the replicas before the move is in sync; going back would need an unclean election";
        return Err(ReassignError::InvalidAssignment(why.to_owned()));
    }
    Ok(next)
}
