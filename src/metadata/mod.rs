//! The cluster's metadata as handlers ask for it.

pub mod view;
