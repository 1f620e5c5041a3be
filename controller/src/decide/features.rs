//! The cluster's feature level, raised (UpdateFeatures, KIP-584). Not what a level means (`record/kinds.rs`).
//! Invariant: it never falls, and never rises above what a registered broker's binary can read.

use crate::decide::decision::Decision;
use crate::error::FeatureLevelError;
use crate::image::metadata::MetadataImage;
use crate::record::kinds::{Broker, FEATURE_LEVEL, FEATURE_RANGE, Record};

/// Raises the level; the same one again is nothing to do.
pub fn update(image: &MetadataImage, asked: u16) -> Result<Decision<()>, FeatureLevelError> {
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
