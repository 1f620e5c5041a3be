//! Names on their way between the wire's strings and the coordinator's.
//! It decides nothing about them. Invariant: a name comes back as it came in.

use crate::coordinator::group::id::{GroupId, InstanceId, MemberId};
use crate::coordinator::group::sync::Claim;
use crate::wire::message::{self, StrBytes};

/// A group's name, for the coordinator.
pub fn group(id: &message::GroupId) -> GroupId {
    GroupId::from(id.as_str())
}

/// A group's name, for the wire.
pub fn group_out(id: &GroupId) -> message::GroupId {
    message::GroupId(text(id.as_str()))
}

/// A member's id, for the coordinator.
pub fn member(id: &StrBytes) -> MemberId {
    MemberId::from(id.as_str())
}

/// A static member's lasting name, for the coordinator.
pub fn instance(id: Option<&StrBytes>) -> Option<InstanceId> {
    id.map(|id| InstanceId::from(id.as_str()))
}

/// A static member's lasting name, for the wire.
pub fn instance_out(id: Option<&InstanceId>) -> Option<StrBytes> {
    id.map(|id| text(id.as_str()))
}

/// What a member says it is.
pub fn claim(id: &StrBytes, instance_id: Option<&StrBytes>, generation: i32) -> Claim {
    Claim { member: member(id), instance: instance(instance_id), generation }
}

/// Any text, for the wire.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
