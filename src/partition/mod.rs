//! Partitions as this broker holds them: who leads, what may be appended, what may be seen.
//! They speak batches and offsets, never requests: nothing of wire or api is known here.

pub mod ahead;
mod answers;
pub mod cleaning;
pub mod cold_desk;
pub mod cold_lane;
pub mod cold_limits;
pub mod directory;
pub mod dirty;
pub mod follower;
pub mod hosted;
pub mod isr;
pub mod leader;
pub mod local_desk;
pub mod moving;
pub mod read;
pub mod replica;
pub mod role;
pub mod term;
pub mod times;
pub mod traffic;
pub mod trim;
