//! What every task of the cold tier works with: bucket, manifests, quorum, clock, intents; one turn per log at a
//! time; and the one way an object comes to count: written down, put, committed, or withdrawn.
//! Invariant: an object exists only while an intent, a row, a manifest or a graveyard names it (I14).

use crate::clock::Clock;
use crate::cold::commit::{CommitError, TierCommit};
use crate::cold::layout::ObjectName;
use crate::cold::manifest_store::ManifestStore;
use crate::cold::marker::{Bucket, ClaimError};
use crate::cold::store::backoff;
use crate::cold::store_error::StoreError;
use crate::cold::tier::{TierChange, TierChangeKind, TierRow};
use crate::config::LogId;
use crate::entropy::Entropy;
use crate::epoch::LeaderEpoch;
use crate::log::truncate::CutError;
use crate::offload::intent::{Intent, Intents};
use crate::offload::upload::UploadError;
use crate::offsets::Offset;
use firnline_cache::error::LoadError;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The cold tier's hands; one per broker, shared by all tasks.
pub struct Tier {
    /// The bucket and its names.
    pub bucket: Arc<Bucket>,
    /// Manifests, remembered.
    pub manifests: Arc<ManifestStore>,
    /// The quorum.
    pub commit: Arc<dyn TierCommit>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Draws object names.
    pub entropy: Arc<dyn Entropy>,
    /// What is under way.
    pub intents: Intents,
    /// How long an object outlives its last mention, milliseconds (`firn.remote.delete.grace.ms`).
    pub delete_grace_ms: i64,
    /// Notes per log, only for time and for sparing work: a restart may forget them.
    pub notes: Notes,
}

/// See [`Tier::notes`].
#[derive(Debug, Default)]
pub struct Notes {
    busy: Mutex<BTreeSet<LogId>>,
    logs: Mutex<BTreeMap<LogId, Note>>,
}

#[derive(Debug, Default)]
struct Note {
    /// Since when the row holds unfolded entries.
    unfolded_since_ms: Option<i64>,
    /// Objects in the graveyard whose deletion was confirmed.
    confirmed: BTreeSet<Uuid>,
}

/// The leadership under which a task runs.
#[derive(Debug, Clone)]
pub struct Led {
    /// The leader's own epoch, as the partition knows it; never read back from the row.
    pub leader_epoch: LeaderEpoch,
    /// Opaque names and values that every object of the log carries.
    pub labels: Vec<(String, String)>,
}

/// Why a task of the cold tier stopped. Nothing is lost: the next turn goes on from what is committed.
#[derive(Debug, thiserror::Error)]
pub enum OffloadError {
    /// Another task is at this log.
    #[error("another task works on the cold tier of {0}")]
    Busy(LogId),
    /// The quorum has no row for the log.
    #[error("{0} is not tiered")]
    NotTiered(LogId),
    /// The row follows another leader.
    #[error("led under epoch {ours}, the row follows epoch {row}")]
    NotLeader {
        /// The task's.
        ours: LeaderEpoch,
        /// The row's.
        row: LeaderEpoch,
    },
    /// The local log begins above what the bucket holds: neither has the offsets between.
    #[error("offsets [{from}, {local}) are neither in the bucket nor on local disk")]
    Hole {
        /// The first that is missing.
        from: Offset,
        /// Where the local log begins.
        local: Offset,
    },
    /// The bucket may not be used.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The segment did not get there.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The bucket failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A manifest cannot be read.
    #[error("cannot read the manifest: {0}")]
    Manifest(#[from] LoadError),
    /// A manifest that was just put reads back differently.
    #[error("manifest {key} reads back differently from what was sent")]
    ManifestDiffers {
        /// Its key.
        key: String,
    },
    /// The quorum did not take the change.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The local log failed.
    #[error("local log: {0}")]
    Local(#[from] CutError),
    /// A local file cannot be read or written.
    #[error("{what}: {source}")]
    File {
        /// Which.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// One task's turn at a log; over when dropped.
pub(crate) struct Turn<'a> {
    notes: &'a Notes,
    log: LogId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.notes.busy.lock().remove(&self.log);
    }
}

impl Tier {
    /// The only turn at this log. Two tasks at once would settle each other's intents.
    pub(crate) fn turn(&self, log: &LogId) -> Result<Turn<'_>, OffloadError> {
        if !self.notes.busy.lock().insert(log.clone()) {
            return Err(OffloadError::Busy(log.clone()));
        }
        Ok(Turn { notes: &self.notes, log: log.clone() })
    }

    /// The row, if it follows this leader.
    pub(crate) fn row(&self, log: &LogId, led: &Led) -> Result<Arc<TierRow>, OffloadError> {
        let row = self.commit.row(log).ok_or_else(|| OffloadError::NotTiered(log.clone()))?;
        if row.leader_epoch != led.leader_epoch {
            return Err(OffloadError::NotLeader { ours: led.leader_epoch, row: row.leader_epoch });
        }
        Ok(row)
    }

    /// Writes down that `name` is about to exist.
    pub(crate) fn announce(
        &self,
        log: &LogId,
        led: &Led,
        row: &TierRow,
        name: ObjectName,
    ) -> Result<(), OffloadError> {
        let intent = Intent {
            log: log.clone(),
            name,
            on_version: row.version,
            leader_epoch: led.leader_epoch,
            since_ms: self.clock.now_ms(),
        };
        let failed = |source| OffloadError::File { what: "cannot write an offload intent", source };
        self.intents.write(&intent).map_err(failed)
    }

    /// Commits the change that makes an announced object count. If it surely does not, the object goes; if nobody
    /// knows, the intent stays.
    pub(crate) async fn commit_announced(
        &self,
        log: &LogId,
        led: &Led,
        row: &TierRow,
        name: ObjectName,
        kind: TierChangeKind,
    ) -> Result<Arc<TierRow>, OffloadError> {
        let change = TierChange { on_version: row.version, leader_epoch: led.leader_epoch, kind };
        match self.commit.commit(log, change).await {
            Ok(row) => {
                self.forget_intent(name.uuid());
                Ok(row)
            }
            Err(error) => {
                if !matches!(error, CommitError::Unknown(_)) {
                    self.withdraw(log, name).await;
                }
                Err(error.into())
            }
        }
    }

    /// Removes an announced object that does not count. If the bucket does not answer, the intent stays, and the
    /// next turn tries again.
    pub(crate) async fn withdraw(&self, log: &LogId, name: ObjectName) {
        let key = self.bucket.layout.key(log, &name);
        match self.bucket.store.delete(&key).await {
            Ok(()) => self.forget_intent(name.uuid()),
            Err(error) => {
                tracing::warn!(key, %error, "an object that does not count could not be removed yet")
            }
        }
    }

    /// An intent that cannot be removed is settled again later, to the same end.
    pub(crate) fn forget_intent(&self, uuid: Uuid) {
        if let Err(error) = self.intents.forget(uuid) {
            tracing::warn!(%uuid, %error, "could not remove a settled offload intent");
        }
    }

    /// Notes whether the row holds unfolded entries now; answers since when it does, milliseconds.
    pub(crate) fn unfolded_since(&self, log: &LogId, row: &TierRow) -> Option<i64> {
        let mut logs = self.notes.logs.lock();
        let note = logs.entry(log.clone()).or_default();
        if row.entries.is_empty() {
            note.unfolded_since_ms = None;
        } else if note.unfolded_since_ms.is_none() {
            note.unfolded_since_ms = Some(self.clock.now_ms());
        }
        note.unfolded_since_ms
    }

    /// Objects of the log in whose graveyard deletion was confirmed.
    pub(crate) fn confirmed(&self, log: &LogId) -> BTreeSet<Uuid> {
        self.notes.logs.lock().get(log).map(|note| note.confirmed.clone()).unwrap_or_default()
    }

    pub(crate) fn confirm(&self, log: &LogId, uuid: Uuid) {
        self.notes.logs.lock().entry(log.clone()).or_default().confirmed.insert(uuid);
    }

    /// Forgets confirmations that a committed manifest no longer lists.
    pub(crate) fn unconfirm(&self, log: &LogId, gone: &BTreeSet<Uuid>) {
        if let Some(note) = self.notes.logs.lock().get_mut(log) {
            note.confirmed.retain(|uuid| !gone.contains(uuid));
        }
    }

    /// Forgets all notes on a log that moved away or was deleted.
    pub fn forget_log(&self, log: &LogId) {
        self.notes.logs.lock().remove(log);
    }
}

/// How long to wait after this many failures in a row: 1 s doubled up to 60 s, less a random half.
pub fn retry_after(failures: u32, entropy: &dyn Entropy) -> Duration {
    backoff(Duration::from_secs(1), Duration::from_secs(60), failures, entropy)
}
