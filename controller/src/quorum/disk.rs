//! Waiting for the disk without holding up the others on the same runtime: heartbeats go on while a sync is slow.
//! Not the disk (the `Files` door). Invariant: the work is done when the call returns, on whatever runtime.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs work that waits for the disk. On a runtime of several threads another one takes over what else there is to do.
pub fn wait<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
