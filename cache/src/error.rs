//! Why a chunk could not be had. Cloned to every waiter of the one load that failed, never cached.
//! Not whose fault it is, nor whether to try again: the floors above decide that.

/// The outcome of a failed load, as its loader put it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The object is not there.
    #[error("not found: {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The store did not answer, or refused; a later try may work.
    #[error("unavailable: {what}")]
    Unavailable {
        /// What failed.
        what: String,
    },
    /// The bytes are not what they must be.
    #[error("corrupt: {what}")]
    Corrupt {
        /// Which bytes, and how we know.
        what: String,
    },
}
