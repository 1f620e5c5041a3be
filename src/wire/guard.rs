//! Walks a control-plane body by its schema before kafka-protocol decodes it.

/// Most array elements and tags in one request, over all its arrays.
pub const MAX_ELEMENTS: usize = 1 << 18;
