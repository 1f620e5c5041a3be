//! The first records of a cluster's log. Not the first membership (`quorum/node.rs`).
//! Invariant: the feature level comes before everything else.

use crate::decide::decision::Decision;
use crate::image::metadata::MetadataImage;
use crate::record::entry::Precondition;
use crate::record::kinds::{FEATURE_LEVEL, Record};

/// The log belongs to another cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the metadata log is of cluster {found}, not {wanted}")]
pub struct OtherCluster {
    /// In the image.
    pub found: String,
    /// Asked for.
    pub wanted: String,
}

/// Gives an empty log its feature level and cluster; refuses a log of another cluster.
pub fn format(image: &MetadataImage, cluster_id: &str) -> Result<Decision<()>, OtherCluster> {
    if image.feature_level == 0 {
        let level = Record::FeatureLevel { level: FEATURE_LEVEL };
        let cluster = Record::Cluster { id: cluster_id.to_owned() };
        return Ok(Decision::new(vec![Precondition::Unformatted], vec![level, cluster], ()));
    }
    if image.cluster_id != cluster_id {
        return Err(OtherCluster { found: image.cluster_id.clone(), wanted: cluster_id.to_owned() });
    }
    Ok(Decision::nothing_to_do(()))
}
