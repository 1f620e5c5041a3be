//! What a decision is: one group of records with the facts it rests on, and the answer once it is committed.
//! Invariant: the group applies to the image it was decided on.

use crate::id::{BrokerId, TopicId};
use crate::image::metadata::MetadataImage;
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

    /// The same records with another answer.
    pub fn answering<U>(self, answer: U) -> Decision<U> {
        Decision { group: self.group, answer }
    }
}

/// An entry in the making: groups decided one after the other, each on the image the ones before it leave.
#[derive(Debug, Default)]
pub struct Draft {
    /// What the image will be once everything proposed is applied.
    pub image: MetadataImage,
    /// Decided and not yet proposed.
    pub groups: Vec<Group>,
    /// Leaders in them that were neither in sync nor eligible.
    pub unclean: Vec<(TopicId, i32, BrokerId)>,
}

impl Draft {
    /// Adds a decision; returns how many groups that made (none if there was nothing to do) and its answer.
    pub fn take<T>(&mut self, decision: Decision<T>) -> (usize, T) {
        if decision.group.records.is_empty() {
            return (0, decision.answer);
        }
        self.note_unclean(&decision.group);
        let applied = self.image.apply_group(&decision.group);
        assert!(applied.is_ok(), "a decision does not apply to the image it was decided on: {applied:?}");
        self.groups.push(decision.group);
        (1, decision.answer)
    }

    /// A draft on the same image whose groups go nowhere.
    pub fn rehearsal(&self) -> Draft {
        Draft { image: self.image.clone(), ..Draft::default() }
    }

    fn note_unclean(&mut self, group: &Group) {
        for record in &group.records {
            let Record::Partition { topic, index, row } = record else { continue };
            let (Some(before), Some(leader)) = (self.image.topics.partition(*topic, *index), row.leader)
            else {
                continue;
            };
            let held = before.isr.contains(&leader) || before.elr.contains(&leader);
            if !held && before.leader != Some(leader) {
                self.unclean.push((*topic, *index, leader));
            }
        }
    }
}
