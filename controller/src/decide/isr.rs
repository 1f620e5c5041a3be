//! AlterPartition (KIP-497, KIP-841, KIP-903): a leader asks for another ISR. Not when it asks (that is the
//! broker's). Invariant: only the partition's leader, under its current epochs, changes an ISR, and nobody joins it
//! who is fenced, on its way down or of another incarnation.

use std::collections::BTreeSet;

use firnline_tiering::epoch::LeaderEpoch;
use serde::{Deserialize, Serialize};

use crate::decide::decision::Decision;
use crate::decide::policy::Policy;
use crate::decide::row::{Ground, Next};
use crate::decide::sweep::Swept;
use crate::error::AlterPartitionError;
use crate::id::{BrokerEpoch, BrokerId, PartitionEpoch, TopicId};
use crate::image::metadata::MetadataImage;
use crate::record::entry::Precondition;
use crate::record::kinds::Partition;

/// One partition's ISR as its leader wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsrChange {
    /// A live topic.
    pub topic: TopicId,
    /// Its partition.
    pub index: i32,
    /// Under which the asker leads.
    pub leader_epoch: LeaderEpoch,
    /// Of the row it wants to change.
    pub partition_epoch: PartitionEpoch,
    /// The members, itself among them, each with the epoch it fetches under; −1 for "not known".
    pub isr: Vec<(BrokerId, BrokerEpoch)>,
}

/// The row from now on; the refusal comes with the change when the change took the lead from its asker.
pub type Altered = Result<Partition, AlterPartitionError>;

/// Changes one ISR, asked by `from` under broker epoch `epoch`.
pub fn alter(
    image: &MetadataImage,
    policy: &Policy,
    (from, epoch): (BrokerId, BrokerEpoch),
    asked: &IsrChange,
) -> Result<Decision<Altered>, AlterPartitionError> {
    let row = check(image, (from, epoch), asked)?;
    let mut next = Next::of(row);
    next.isr = asked.isr.iter().map(|(id, _)| *id).collect();
    let ground = Ground::of(image, policy, (asked.topic, asked.index));
    let Some(after) = next.settle(&ground, ground.wanted()) else {
        return Ok(Decision::nothing_to_do(Ok(row.clone())));
    };
    let answer = match after.leader {
        Some(leader) if leader == from => Ok(after.clone()),
        _ => Err(AlterPartitionError::NewLeaderElected),
    };
    let mut swept = Swept::default();
    swept.add(image, asked.topic, asked.index, (row, after));
    let mut facts = swept.facts(image, None);
    facts.push(Precondition::BrokerEpoch(from, epoch));
    Ok(Decision::new(facts, swept.records, answer))
}

/// The row, if it is what the change would have made of the one before: the asker missed the answer.
pub fn already(
    image: &MetadataImage,
    from: BrokerId,
    asked: &IsrChange,
) -> Result<Decision<Altered>, AlterPartitionError> {
    let unknown = || AlterPartitionError::UnknownPartition(asked.topic, asked.index);
    let row = image.topics.partition(asked.topic, asked.index).ok_or_else(unknown)?;
    let wanted: BTreeSet<BrokerId> = asked.isr.iter().map(|(id, _)| *id).collect();
    let same = row.epoch.0 == asked.partition_epoch.0.wrapping_add(1)
        && row.leader == Some(from)
        && row.isr.iter().copied().collect::<BTreeSet<_>>() == wanted;
    match same {
        true => Ok(Decision::nothing_to_do(Ok(row.clone()))),
        false => Err(AlterPartitionError::StalePartitionEpoch { current: row.epoch }),
    }
}

/// Kafka's refusals, in Kafka's order.
fn check<'i>(
    image: &'i MetadataImage,
    (from, epoch): (BrokerId, BrokerEpoch),
    asked: &IsrChange,
) -> Result<&'i Partition, AlterPartitionError> {
    if image.brokers.get(from).is_none_or(|known| known.epoch != epoch) {
        return Err(AlterPartitionError::StaleBrokerEpoch { id: from, epoch });
    }
    let topic = image.topics.get(asked.topic).ok_or(AlterPartitionError::UnknownTopic(asked.topic))?;
    let unknown = || AlterPartitionError::UnknownPartition(asked.topic, asked.index);
    let row = topic.partition(asked.index).ok_or_else(unknown)?;
    if asked.leader_epoch > row.leader_epoch || asked.partition_epoch > row.epoch {
        return Err(AlterPartitionError::NewerThanController);
    }
    if asked.leader_epoch < row.leader_epoch {
        return Err(AlterPartitionError::FencedLeaderEpoch { current: row.leader_epoch });
    }
    if row.leader != Some(from) {
        return Err(AlterPartitionError::InvalidRequest(format!(
            "broker {from} does not lead the partition"
        )));
    }
    if asked.partition_epoch < row.epoch {
        return Err(AlterPartitionError::StalePartitionEpoch { current: row.epoch });
    }
    check_members(image, row, from, asked)?;
    Ok(row)
}

fn check_members(
    image: &MetadataImage,
    row: &Partition,
    leader: BrokerId,
    asked: &IsrChange,
) -> Result<(), AlterPartitionError> {
    let isr = &asked.isr;
    let ids: BTreeSet<BrokerId> = isr.iter().map(|(id, _)| *id).collect();
    let refuse = |why: String| Err(AlterPartitionError::InvalidRequest(why));
    if ids.len() < isr.len() {
        return refuse(format!("the ISR names a broker twice: {isr:?}"));
    }
    if let Some(stranger) = ids.iter().find(|id| !row.replicas.contains(id)) {
        return refuse(format!("broker {stranger} holds no replica"));
    }
    if !ids.contains(&leader) {
        return refuse("the ISR lacks the leader".to_owned());
    }
    for (id, epoch) in isr {
        let why = match image.brokers.get(*id) {
            None => "is not registered",
            Some(known) if known.fenced => "is fenced",
            Some(known) if known.is_offline(asked.topic, asked.index) => "has lost the disk of its replica",
            // One that is in already may stay: somebody has to lead until a follower is in sync.
            Some(known) if known.stopping && !row.isr.contains(id) => "is shutting down",
            Some(known) if epoch.0 != -1 && known.epoch != *epoch => "has another epoch",
            Some(_) => continue,
        };
        return Err(AlterPartitionError::IneligibleReplica { id: *id, why: why.to_owned() });
    }
    Ok(())
}
