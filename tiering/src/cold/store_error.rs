//! Why the bucket did not do what was asked, in words that say what to do about it. Knows no package: the store
//! (`cold/store.rs`) judges. Invariant: only [`StoreError::Unreachable`] is worth another try.

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Writing an object, or a part of one.
    Put,
    /// Reading bytes.
    Get,
    /// Asking for an object's length.
    Head,
    /// Removing an object.
    Delete,
    /// Listing keys.
    List,
}

impl Operation {
    /// As it appears in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }
}

/// Why the bucket did not do what was asked, after all tries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The object is not there.
    #[error("{key} is not in the bucket")]
    NotFound {
        /// Its key.
        key: String,
    },
    /// The bucket is not there.
    #[error("{url} does not exist: create the bucket or correct firn.remote.url ({why})")]
    NoBucket {
        /// The bucket.
        url: String,
        /// What the store said.
        why: String,
    },
    /// The credentials are missing, wrong, or may not do this.
    #[error("{url} refuses to {op} {key}: check the credentials and what they may do ({why})", op = .op.name())]
    Denied {
        /// The bucket.
        url: String,
        /// The request.
        op: Operation,
        /// Its key.
        key: String,
        /// What the store said.
        why: String,
    },
    /// No answer, an answer that breaks off, or "slow down": later may work.
    #[error("{url} did not {op} {key} in {attempts} tries: check firn.s3.endpoint and the network ({why})", op = .op.name())]
    Unreachable {
        /// The bucket.
        url: String,
        /// The request.
        op: Operation,
        /// Its key.
        key: String,
        /// Tries made.
        attempts: u32,
        /// The last failure.
        why: String,
    },
    /// The store understood and will not do it, however often it is asked.
    #[error("{url} will not {op} {key}: {why}", op = .op.name())]
    Rejected {
        /// The bucket.
        url: String,
        /// The request.
        op: Operation,
        /// Its key.
        key: String,
        /// What the store said.
        why: String,
    },
    /// The object ends before the bytes that were asked for.
    #[error("{key} ends before the bytes that were asked for: {why}")]
    Short {
        /// Its key.
        key: String,
        /// What came instead.
        why: String,
    },
    /// The object is longer than its reader allows.
    #[error("{key} has {len} bytes, at most {limit} are read")]
    TooLong {
        /// Its key.
        key: String,
        /// Its length.
        len: u64,
        /// The limit.
        limit: u64,
    },
}
