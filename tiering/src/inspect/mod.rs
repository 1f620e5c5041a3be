//! Looking into files without opening a log: what is whole, what is damaged, what can be saved, what they hold.
//! It writes nothing, ever: what it reads may be the last copy.

pub mod directory;
pub mod dump;
pub mod error;
pub mod finding;
mod indexes;
pub mod object;
pub mod partition;
pub mod path;
pub mod records;
pub mod segment;
pub mod transactions;
mod walk;
