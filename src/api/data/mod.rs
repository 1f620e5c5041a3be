//! The data plane: produce, fetch, and the questions about offsets.

pub mod fetch;
pub mod fetch_session;
pub mod init_producer_id;
pub mod leader_epoch;
pub mod leader_hint;
pub mod produce;
