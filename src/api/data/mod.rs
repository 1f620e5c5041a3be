//! The data plane: produce, fetch, and the questions about offsets.
//! Each file is one API, or what an API needs and no other does.

pub mod delete_records;
pub mod describe_producers;
pub mod fetch;
mod fetch_replica;
pub mod fetch_session;
pub mod init_producer_id;
pub mod leader_epoch;
pub mod leader_hint;
pub mod list_offsets;
pub mod produce;
