//! Clients of the simulated cluster: who writes, who reads, who administers. They retry as a client library does, never
//! give up, and say what they learned to `workload.rs`. Each of them asserts what an answer alone can show to be wrong.

pub mod meddler;
pub mod producer;
pub mod reader;
