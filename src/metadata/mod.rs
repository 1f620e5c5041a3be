//! The cluster's metadata as handlers ask for it.

pub mod producer_ids;
pub mod settings;
pub mod view;
