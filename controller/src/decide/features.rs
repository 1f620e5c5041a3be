//! The cluster's feature level, raised (UpdateFeatures, KIP-584). Not what a level means (`record/kinds.rs`).
//! Invariant: it never falls, and never rises above what the binary of a registered broker or of a voter can read.

use crate::decide::decision::Decision;
use crate::error::FeatureLevelError;
use crate::id::BrokerId;
use crate::image::metadata::MetadataImage;
use crate::record::kinds::{Broker, FEATURE_LEVEL, FEATURE_RANGE, Record};

/// Raises the level; the same one again is nothing to do. `voters`: the other voters of the quorum and the newest level
/// that each said it reads, `None` where it did not say.
pub fn update(
    image: &MetadataImage,
    voters: &[(BrokerId, Option<u16>)],
    asked: u16,
) -> Result<Decision<()>, FeatureLevelError> {
    let current = image.feature_level;
    if asked == 0 || asked > FEATURE_LEVEL {
        return Err(FeatureLevelError::Unknown { asked, newest: FEATURE_LEVEL });
    }
    if asked < current {
        return Err(FeatureLevelError::Downgrade { current, asked });
    }
    if asked == current {
        return Ok(Decision::nothing_to_do(()));
    }
    for (id, newest) in voters {
        match newest {
            Some(newest) if asked <= *newest => {}
            Some(newest) => {
                return Err(FeatureLevelError::UnsupportedByVoter { id: *id, newest: *newest, asked });
            }
            // A voter that comes back with an older binary would stop at the first record of the new level.
            None => return Err(FeatureLevelError::UnheardVoter { id: *id, asked }),
        }
    }
    let mut records = vec![Record::FeatureLevel { level: asked }];
    if current == 1 {
        // Level 1 has one broker, in the process that decides this, and no place for what it can run at.
        let brokers = image.brokers.iter().cloned();
        records.extend(brokers.map(|broker| Record::Broker(Broker { features: FEATURE_RANGE, ..broker })));
        return Ok(Decision::new(Vec::new(), records, ()));
    }
    match image.brokers.iter().find(|broker| !broker.features.holds(asked)) {
        Some(Broker { id, features, .. }) => Err(FeatureLevelError::UnsupportedByBroker {
            id: *id,
            min: features.min,
            max: features.max,
            asked,
        }),
        None => Ok(Decision::new(Vec::new(), records, ())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voter_that_cannot_read_the_level_or_did_not_say_keeps_it_down() {
        let image = MetadataImage { feature_level: FEATURE_LEVEL - 1, ..MetadataImage::default() };
        let voters = |newest| [(BrokerId(2), Some(FEATURE_LEVEL)), (BrokerId(3), newest)];
        let asked = FEATURE_LEVEL;
        let update =
            |newest| update(&image, &voters(newest), asked).map(|decision| decision.group.records.len());
        assert!(update(Some(asked)).is_ok_and(|records| records > 0));
        let old = FeatureLevelError::UnsupportedByVoter { id: BrokerId(3), newest: asked - 1, asked };
        assert_eq!(update(Some(asked - 1)), Err(old));
        assert_eq!(update(None), Err(FeatureLevelError::UnheardVoter { id: BrokerId(3), asked }));
    }
}
