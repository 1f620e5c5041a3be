//! The broker as a whole: built floor by floor, kept in step with the metadata, stopped in reverse.
//! Whoever starts one (the command line, a test, a simulation) comes in by `startup`.

mod arrival;
pub mod assignment;
pub mod cleaner;
pub mod disk;
pub mod doors;
pub mod durability;
mod hands;
pub mod housekeeping;
pub mod life;
pub mod lifecycle;
pub mod limits;
pub mod log_dir;
pub mod log_mover;
mod offline;
pub mod policy;
mod reach;
mod relocation;
mod replicating;
mod sockets;
pub mod start_error;
pub mod startup;
pub mod storage;
pub mod storage_error;
pub mod tier_commit;
pub mod tier_counts;
pub mod tiering_duty;
pub mod tiers;
mod turn;
