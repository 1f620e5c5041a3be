//! What must hold in a cluster, one file each; numbers as in the design (I1 to I20).

pub mod acked_survives;
pub mod commits_by_leader;
pub mod isr_holds;
pub mod log_start_monotonic;
pub mod metadata_agrees;
pub mod one_leader_per_epoch;
pub mod producers_agree;
pub mod read_survives;
pub mod replicas_identical;
pub mod values_in_order;
pub mod writable_again;
