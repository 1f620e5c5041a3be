//! What a topic's name says about it: whether it may exist, and whether it is ours.
//! Whether it does exist is the image's to say. Invariant: clients neither make nor fill an internal topic.
use firnline_controller::decide::names;

use crate::config::topic::is_internal;

/// A name that clients may create.
pub fn may_be_created(name: &str) -> bool {
    names::illegal(name).is_none() && !is_internal(name)
}

/// Whether the broker alone writes to it.
pub fn internal(name: &str) -> bool {
    is_internal(name)
}
