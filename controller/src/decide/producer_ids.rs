//! Blocks of producer ids (KIP-730). Not the ids inside a block: the broker that asked deals them out.
//! Invariant: no id is in two blocks, whoever asks and whenever.

use std::ops::Range;

use crate::decide::decision::Decision;
use crate::image::metadata::MetadataImage;
use crate::record::entry::Precondition;
use crate::record::kinds::Record;

/// Ids in a block, as in Kafka.
pub const BLOCK: i64 = 1000;

/// The next block; `None` when ids are used up.
pub fn allocate(image: &MetadataImage) -> Option<Decision<Range<i64>>> {
    let first = image.producer_ids.next();
    let next = first.checked_add(BLOCK)?;
    let record = Record::ProducerIds { next };
    Some(Decision::new(vec![Precondition::NextProducerId(first)], vec![record], first..next))
}
