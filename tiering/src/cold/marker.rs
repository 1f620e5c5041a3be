//! Whose bucket this is: the marker object `PREFIX/firn-cluster.json`, and [`Bucket`], the store together with the
//! names of one cluster in it. Not asked at start: the first upload reads or writes it, the first cold read reads.
//! Invariant: once a foreign marker was seen twice, nothing is written or read through this [`Bucket`] again.
//!
//! ```text
//! {"cluster.id":"<id>","version":1}
//! ```

use crate::cold::layout::{Layout, MARKER};
use crate::cold::store::Store;
use crate::cold::store_error::StoreError;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// The version of the marker that is written, and the newest read.
pub const MARKER_VERSION: u64 = 1;
const MAX_MARKER_BYTES: u64 = 4096;

/// Who the bucket belongs to, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// Not asked yet, or not answered.
    Unknown,
    /// No marker yet: this cluster may use it, and claims it with its first upload.
    Unclaimed,
    /// Ours.
    Ours,
    /// Another cluster's, or something that is no marker of ours: offload and cold reads are off.
    Foreign {
        /// The other cluster, or what stands there.
        whose: String,
    },
}

/// Why the bucket may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Another cluster's.
    #[error(
        "{url} belongs to {whose}, this cluster is {ours}: offload and cold reads are off; use another prefix"
    )]
    Foreign {
        /// The bucket.
        url: String,
        /// The other cluster, or what stands there.
        whose: String,
        /// This cluster's id.
        ours: String,
    },
    /// The bucket did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store, and the names of one cluster in it.
#[derive(Debug)]
pub struct Bucket {
    /// The door.
    pub store: Arc<Store>,
    /// The names.
    pub layout: Layout,
    ownership: Mutex<Ownership>,
}

impl Bucket {
    /// Sends nothing.
    pub fn new(store: Arc<Store>, layout: Layout) -> Arc<Self> {
        Arc::new(Self { store, layout, ownership: Mutex::new(Ownership::Unknown) })
    }

    /// What is known about its owner.
    pub fn ownership(&self) -> Ownership {
        self.ownership.lock().clone()
    }

    /// Makes sure the bucket is this cluster's before something is written to it; writes the marker if none is
    /// there. Asks the store only until it knows.
    pub async fn claim(&self) -> Result<(), ClaimError> {
        match self.look().await? {
            Ownership::Ours => Ok(()),
            _ => {
                let text = marker(self.layout.cluster_id());
                self.store.put(MARKER, vec![Bytes::from(text)]).await?;
                // Read back: two clusters may have written at once, and the last one has it.
                match self.ask().await? {
                    Ownership::Ours => Ok(()),
                    other => Err(self.foreign(format!("nobody after the marker was written ({other:?})"))),
                }
            }
        }
    }

    /// Makes sure the bucket is not another cluster's before something is read from it; writes nothing.
    pub async fn recognise(&self) -> Result<(), ClaimError> {
        self.look().await.map(drop)
    }

    async fn look(&self) -> Result<Ownership, ClaimError> {
        match self.ownership() {
            Ownership::Ours => Ok(Ownership::Ours),
            Ownership::Foreign { whose } => Err(self.foreign(whose)),
            Ownership::Unknown | Ownership::Unclaimed => self.ask().await,
        }
    }

    /// Asks the store; a foreign marker that reads the same twice is remembered for good.
    async fn ask(&self) -> Result<Ownership, ClaimError> {
        let mut found = self.read().await?;
        if let Ownership::Foreign { whose } = &found {
            // One damaged read must not turn the bucket off until the next restart.
            let again = self.read().await?;
            match again {
                Ownership::Foreign { whose: other } if other != *whose => return Err(self.foreign(other)),
                again => found = again,
            }
        }
        *self.ownership.lock() = found.clone();
        match found {
            Ownership::Foreign { whose } => Err(self.foreign(whose)),
            other => Ok(other),
        }
    }

    async fn read(&self) -> Result<Ownership, ClaimError> {
        match self.store.get(MARKER, MAX_MARKER_BYTES).await {
            Ok(bytes) => Ok(judge(&bytes, self.layout.cluster_id())),
            Err(StoreError::NotFound { .. }) => Ok(Ownership::Unclaimed),
            Err(StoreError::TooLong { len, .. }) => {
                Ok(Ownership::Foreign { whose: format!("someone whose marker has {len} bytes") })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn foreign(&self, whose: String) -> ClaimError {
        let (url, ours) = (self.store.url().to_owned(), self.layout.cluster_id().to_owned());
        ClaimError::Foreign { url, whose, ours }
    }
}

/// The marker's text for a cluster.
pub fn marker(cluster_id: &str) -> String {
    serde_json::json!({ "version": MARKER_VERSION, "cluster.id": cluster_id }).to_string()
}

fn judge(bytes: &[u8], ours: &str) -> Ownership {
    let foreign = |whose: String| Ownership::Foreign { whose };
    let Ok(marker) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return foreign("someone whose marker is not JSON".to_owned());
    };
    match (marker["version"].as_u64(), marker["cluster.id"].as_str()) {
        (Some(version), _) if version > MARKER_VERSION => foreign(format!(
            "a newer Firnline (marker version {version}, this binary reads {MARKER_VERSION})"
        )),
        (Some(_), Some(id)) if id == ours => Ownership::Ours,
        (Some(_), Some(id)) => foreign(format!("cluster {id}")),
        _ => foreign("someone whose marker names no cluster".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_marker_is_ours() {
        assert_eq!(judge(marker("a").as_bytes(), "a"), Ownership::Ours);
        for other in [marker("b"), "{}".into(), "x".into(), r#"{"version":2,"cluster.id":"a"}"#.into()] {
            assert!(matches!(judge(other.as_bytes(), "a"), Ownership::Foreign { .. }), "{other}");
        }
    }

    #[test]
    fn the_marker_is_spelled_as_documented() {
        assert_eq!(marker("abc"), r#"{"cluster.id":"abc","version":1}"#);
    }
}
