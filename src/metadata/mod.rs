//! The cluster's metadata as handlers ask for it.
//! Read only: what changes it is the controller.

pub mod features;
pub mod producer_ids;
#[cfg(test)]
pub(crate) mod sample;
pub mod settings;
pub mod view;
