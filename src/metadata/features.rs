//! The features of the cluster as clients are told of them (KIP-584): Kafka's names for the behaviour we follow, and
//! the level of our own metadata log. Not how a level is raised. Invariant: what is finalised is what the image says.

use firnline_controller::image::metadata::MetadataImage;
use firnline_controller::record::kinds::FEATURE_RANGE;

use crate::wire::api_versions::Feature;

/// The level of the metadata log, which UpdateFeatures raises.
pub const LEVEL: &str = "firn.level";

/// Features that never change: name, lowest level, and the level that is in force and the highest.
///
/// `metadata.version` by Kafka's numbers is 3.3-IV3 to 4.3-IV0, the release whose behaviour we follow; `kraft.version`
/// 1 means that voters can be added and removed (KIP-853). The features behind groups of KIP-848 and transactions are
/// listed when they exist, not before.
const FIXED: &[(&str, i16, i16)] = &[("metadata.version", 7, 30), ("kraft.version", 0, 1)];

/// The level of a feature that never changes.
pub fn fixed(name: &str) -> Option<i16> {
    FIXED.iter().find(|(fixed, ..)| *fixed == name).map(|(.., level)| *level)
}

/// All features, with what `image` finalised.
pub fn of(image: &MetadataImage) -> Vec<Feature> {
    let level = |level: u16| i16::try_from(level).unwrap_or(i16::MAX);
    let fixed = FIXED.iter().map(|(name, min, max)| Feature { name, min: *min, max: *max, finalized: *max });
    let ours = Feature {
        name: LEVEL,
        min: level(FEATURE_RANGE.min),
        max: level(FEATURE_RANGE.max),
        finalized: level(image.feature_level),
    };
    fixed.chain([ours]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::sample;

    #[test]
    fn our_level_is_the_images() {
        let view = sample::view();
        let features = of(view.image());
        let ours = features.iter().find(|feature| feature.name == LEVEL).expect("listed");
        assert_eq!(ours.finalized, i16::try_from(view.image().feature_level).unwrap());
        assert_eq!((fixed("metadata.version"), fixed(LEVEL)), (Some(30), None));
    }
}
