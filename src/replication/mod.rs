//! Replication between brokers: followers fetch, leaders keep the ISR. Partitions know nothing of it: it brings them
//! what other brokers sent and asks them what to ask for.

pub mod fetcher;
pub mod fetchers;
pub mod follow;
mod intake;
pub mod isr_keeper;
pub mod isr_news;
mod line;
mod model;
pub mod quorum_isr;
pub mod quota;
mod receiver;
mod session;
pub mod tier_start;
pub mod world;
