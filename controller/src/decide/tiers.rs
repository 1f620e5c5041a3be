//! Steps of tier rows. The row itself says whether it takes one; here only the partition is looked up.
//! Invariant: a change is decided on the version and leader epoch it names, and checked again when applied.

use firnline_tiering::cold::tier::TierChange;

use crate::decide::decision::Decision;
use crate::error::TierRefused;
use crate::id::TopicId;
use crate::image::metadata::MetadataImage;
use crate::record::kinds::Record;

/// Takes one step of one log. The record carries version and leader epoch itself, so it needs no precondition.
pub fn change(
    image: &MetadataImage,
    topic: TopicId,
    index: i32,
    change: &TierChange,
) -> Result<Decision<()>, TierRefused> {
    let row = image.tier_row(topic, index).ok_or(TierRefused::UnknownPartition(topic, index))?;
    row.apply(change)?;
    Ok(Decision::new(Vec::new(), vec![Record::TierChanged { topic, index, change: change.clone() }], ()))
}
