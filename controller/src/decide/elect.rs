//! Elections that somebody asks for, or that are due: ElectLeaders, preferred leaders back to even, unclean ones
//! where a topic came to allow them. Not those a broker's coming or going causes (`decide/sweep.rs`).
//! Invariant: an unclean election happens where an operator asks for that partition, or the topic allows it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::decide::decision::Decision;
use crate::decide::election::Wanted;
use crate::decide::policy::Policy;
use crate::decide::row::{Ground, Next};
use crate::decide::sweep::Swept;
use crate::error::ElectError;
use crate::id::{BrokerId, TopicId};
use crate::image::metadata::MetadataImage;

/// What ElectLeaders asks for (KIP-183, KIP-460).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Election {
    /// Lead by the first replica, if it is in sync.
    Preferred,
    /// Lead by anybody, even one that may lack acked records; only where nobody leads.
    Unclean,
}

/// Elections in one entry; what is left is done in the next.
pub const ELECTIONS_PER_ROUND: usize = 1_000;

/// Elects the leader of one partition.
pub fn elect(
    image: &MetadataImage,
    policy: &Policy,
    election: Election,
    topic: TopicId,
    index: i32,
) -> Result<Decision<()>, ElectError> {
    let row = image.topics.partition(topic, index).ok_or(ElectError::UnknownPartition(topic, index))?;
    let (needed, wanted) = match election {
        Election::Preferred => (row.leader != row.replicas.first().copied(), Wanted::Preferred),
        Election::Unclean => (row.leader.is_none(), Wanted::Unclean),
    };
    if !needed {
        return Err(ElectError::NotNeeded);
    }
    let elected = Next::of(row).settle(&Ground::of(image, policy, (topic, index)), wanted);
    let preferred = |leader: Option<BrokerId>| leader == row.replicas.first().copied();
    match elected {
        Some(after)
            if after.leader.is_some() && (election == Election::Unclean || preferred(after.leader)) =>
        {
            let mut swept = Swept::default();
            swept.add(image, topic, index, (row, after));
            Ok(Decision::new(swept.facts(image, None), swept.records, ()))
        }
        _ => Err(match election {
            Election::Preferred => ElectError::PreferredNotAvailable,
            Election::Unclean => ElectError::EligibleNotAvailable,
        }),
    }
}

/// Gives leaders back to preferred replicas, of each broker that leads too few of those it should (at most
/// [`ELECTIONS_PER_ROUND`]); nothing if all is even.
pub fn rebalance(image: &MetadataImage, policy: &Policy) -> Decision<()> {
    let robbed = robbed(image, policy.imbalance_percentage);
    let swept = Swept::over(image, policy, ELECTIONS_PER_ROUND, |row, ground| {
        let preferred = row.replicas.first()?;
        if row.leader == Some(*preferred) || row.leader.is_none() || !robbed.contains(preferred) {
            return None;
        }
        let after = Next::of(row).settle(&ground, Wanted::Preferred)?;
        (after.leader == Some(*preferred)).then_some(after)
    });
    Decision::new(swept.facts(image, None), swept.records, ())
}

/// Brokers that do not lead more than `percentage` of what they are preferred for.
fn robbed(image: &MetadataImage, percentage: u32) -> BTreeSet<BrokerId> {
    let mut counts: BTreeMap<BrokerId, (u64, u64)> = BTreeMap::new();
    for row in image.topics.iter().flat_map(|topic| topic.partitions.iter()) {
        let Some(preferred) = row.replicas.first() else { continue };
        let (should, does_not) = counts.entry(*preferred).or_default();
        *should += 1;
        *does_not += u64::from(row.leader != Some(*preferred));
    }
    let too_few = |(should, does_not): &(u64, u64)| does_not * 100 > should * u64::from(percentage);
    counts.into_iter().filter(|(_, counts)| too_few(counts)).map(|(id, _)| id).collect()
}

/// Elects where nobody leads and the topic allows whom there is (at most [`ELECTIONS_PER_ROUND`]).
pub fn unclean(image: &MetadataImage, policy: &Policy) -> Decision<()> {
    let swept = Swept::over(image, policy, ELECTIONS_PER_ROUND, |row, ground| {
        if row.leader.is_some() || !ground.unclean {
            return None;
        }
        Next::of(row).settle(&ground, Wanted::Unclean).filter(|after| after.leader.is_some())
    });
    Decision::new(swept.facts(image, None), swept.records, ())
}
