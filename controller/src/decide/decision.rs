//! What a decision is: one group of records with the facts it rests on, and the answer once it is committed.
//! Invariant: the group applies to the image it was decided on.

use crate::record::entry::{Group, Precondition};
use crate::record::kinds::Record;

/// Records to propose and what to answer when they are applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<T> {
    /// Proposed as a whole; empty when there is nothing to change.
    pub group: Group,
    /// Given to the asker after the group was applied.
    pub answer: T,
}

impl<T> Decision<T> {
    /// A decision to write.
    pub fn new(preconditions: Vec<Precondition>, records: Vec<Record>, answer: T) -> Self {
        Self { group: Group { preconditions, records }, answer }
    }

    /// Everything is already as asked.
    pub fn nothing_to_do(answer: T) -> Self {
        Self { group: Group::default(), answer }
    }
}
