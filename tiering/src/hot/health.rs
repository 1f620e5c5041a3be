//! Whether a log directory's disk still works, shared by everything that lives in it.
//! It looks at no disk: whoever met a failure says so. Invariant: what failed once stays failed until the next start,
//! because a disk that lost a write may answer the next one as if nothing were missing.

use std::io;
use std::sync::{Arc, OnceLock};

/// One directory's health.
#[derive(Debug, Default)]
pub struct DirHealth {
    failed: OnceLock<Arc<str>>,
}

impl DirHealth {
    /// The directory is offline from now on. Answers whether that is news.
    pub fn fail(&self, why: Arc<str>) -> bool {
        self.failed.set(why).is_ok()
    }

    /// Why it is offline; `None` while it works.
    pub fn failed(&self) -> Option<Arc<str>> {
        self.failed.get().cloned()
    }
}

/// A full disk is no failed one: what it holds is whole, and room may return.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
