//! Consumer groups: one API per file, each a translation between the wire and the group coordinator.
//! No rule of groups lives here, and no offset is kept here.

pub mod delete_groups;
pub mod describe_groups;
pub mod find_coordinator;
pub mod heartbeat;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod names;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offsets_topic;
pub mod sync_group;
