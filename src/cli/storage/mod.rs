//! `firn storage`: gives data directories their cluster id, says who a new cluster's first controllers are, and shows
//! whose directories these are.

pub mod disks;
pub mod first;
pub mod run;
