//! Why a broker did not start, in words for who reads the log: what, why, what next.
//! It decides nothing. Invariant: whatever it says, nothing of that broker runs any more.

use std::io;

use crate::broker::storage_error::StorageError;
use crate::broker::tiers::TiersError;
use crate::server::cores::CoreError;

/// Why a broker did not start. Nothing of it runs any more.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Log directories.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The bucket's settings.
    #[error(transparent)]
    Tiers(#[from] TiersError),
    /// The metadata quorum.
    #[error("the metadata quorum did not start: {0}")]
    Quorum(#[from] firnline_controller::error::StartError),
    /// The quorum did not take this broker.
    #[error("the broker could not register: {0}")]
    Register(#[from] firnline_controller::error::RegisterError),
    /// The quorum does not take this node.
    #[error("the quorum does not take this node: {0}")]
    NotAMember(String),
    /// A port.
    #[error("listener {listener} cannot listen on {address}: {source}{}", hint(.source))]
    Listen {
        /// Its name.
        listener: String,
        /// As configured.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A serving core.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// A runtime, or a task on one.
    #[error("a runtime did not start: {0}")]
    Runtime(#[from] io::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another process uses this port: stop it, or change `listeners`)",
        _ => "",
    }
}
