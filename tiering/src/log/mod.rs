//! One log over its tiers: open, append, read, cut, and the directory that holds many of them.
//! It offloads nothing and decides no retention: `offload/`, `retention.rs` and `gc.rs` do, over this.

pub mod agenda;
pub mod append;
pub mod clean;
pub mod directory;
pub mod flush;
mod future;
pub mod housekeeping;
mod load;
mod names;
mod noted;
pub mod open;
pub mod producers;
pub mod read;
pub mod recode;
mod recover;
pub mod relocate;
mod roll;
pub mod sealed;
pub mod stable;
mod swap;
pub mod time;
pub mod truncate;
pub mod unified;
mod unstable;

pub use append::{AppendAs, AppendError, Appended, Origin};
pub use directory::LogDirectory;
pub use open::{OpenError, OpenLog, Recovered};
pub use read::{Read, ReadError, Slice};
pub use unified::Log;
