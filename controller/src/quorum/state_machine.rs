//! Applies committed entries to the image and shows it. Not what a record means (`image/fold.rs`).
//! Invariant: an image is published before anyone is told that its entries were applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta};

use crate::image::current::Current;
use crate::image::metadata::MetadataImage;
use crate::quorum::snapshot::{Snapshots, Summary};
use crate::quorum::snapshot_file::SnapshotFile;
use crate::quorum::type_config::{
    LogEntry, LogId, Outcomes, StorageError, StorageIoError, StoredMembership, TypeConfig, VoterId,
};

/// The state: an image and how far it goes.
#[derive(Debug)]
pub struct StateMachine {
    image: Arc<MetadataImage>,
    applied: Summary,
    /// The snapshot on disk, if there is one.
    saved: Arc<std::sync::Mutex<Option<Summary>>>,
    snapshots: Snapshots,
    current: Arc<Current>,
    unsaved: Arc<AtomicU64>,
}

/// Writes one image.
#[derive(Debug)]
pub struct Builder {
    image: Arc<MetadataImage>,
    applied: Summary,
    saved: Arc<std::sync::Mutex<Option<Summary>>>,
    snapshots: Snapshots,
}

impl StateMachine {
    /// Starts from a snapshot, or from nothing, and shows images in `current`. `unsaved` counts the records applied
    /// since the last snapshot was begun.
    pub fn new(
        loaded: Option<(Summary, MetadataImage)>,
        snapshots: Snapshots,
        current: Arc<Current>,
        unsaved: Arc<AtomicU64>,
    ) -> StateMachine {
        let saved = loaded.as_ref().map(|(summary, _)| summary.clone());
        let (applied, image) = loaded.unwrap_or_default();
        let image = Arc::new(image);
        current.publish(image.clone());
        let saved = Arc::new(std::sync::Mutex::new(saved));
        StateMachine { image, applied, saved, snapshots, current, unsaved }
    }

    fn apply_one(&mut self, image: &mut MetadataImage, entry: LogEntry) -> Outcomes {
        let id = entry.log_id;
        let outcomes = match entry.payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Membership(membership) => {
                self.applied.membership = StoredMembership::new(Some(id), membership);
                Vec::new()
            }
            EntryPayload::Normal(entry) => {
                let (next, outcomes) = image.apply(&entry);
                *image = next;
                let records: usize = entry.groups.iter().map(|group| group.records.len()).sum();
                self.unsaved.fetch_add(records as u64, Ordering::Relaxed);
                outcomes
            }
        };
        self.applied.last = Some(id);
        (image.offset, image.term) = (id.index, id.leader_id.term);
        for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            tracing::warn!(index = id.index, %refused, "a group of records was a no-op");
        }
        Outcomes(outcomes)
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.applied.last, self.applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcomes>, StorageError>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut image = MetadataImage::clone(&self.image);
        let outcomes = entries.into_iter().map(|entry| self.apply_one(&mut image, entry)).collect();
        self.image = Arc::new(image);
        self.current.publish(self.image.clone());
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.unsaved.store(0, Ordering::Relaxed);
        let (image, applied) = (self.image.clone(), self.applied.clone());
        Builder { image, applied, saved: self.saved.clone(), snapshots: self.snapshots.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFile>, StorageError> {
        let file = self.snapshots.receive().map_err(|error| write_error(&self.applied, &error))?;
        Ok(Box::new(SnapshotFile::new(file)))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<VoterId, openraft::BasicNode>,
        snapshot: Box<SnapshotFile>,
    ) -> Result<(), StorageError> {
        let installed = self.snapshots.install(snapshot.file().as_ref()).await;
        let (summary, image) = installed
            .map_err(|error| StorageIoError::read_snapshot(Some(meta.signature()), AnyError::new(&error)))?;
        if summary.last != meta.last_log_id || summary.membership != meta.last_membership {
            let why =
                AnyError::error(format!("a snapshot of {:?} came as {:?}", summary.last, meta.last_log_id));
            return Err(StorageIoError::read_snapshot(Some(meta.signature()), why).into());
        }
        set(&self.saved, summary.clone());
        (self.applied, self.image) = (summary, Arc::new(image));
        self.unsaved.store(0, Ordering::Relaxed);
        self.current.publish(self.image.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let saved = self.saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let Some(summary) = saved else { return Ok(None) };
        let opened = self.snapshots.open(&summary);
        let file = opened.map_err(|error| {
            StorageIoError::read_snapshot(Some(meta(&summary).signature()), AnyError::new(&error))
        })?;
        Ok(Some(Snapshot { meta: meta(&summary), snapshot: Box::new(SnapshotFile::new(file)) }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let saved = self.snapshots.save(&self.applied, &self.image).await;
        let file = saved.map_err(|error| write_error(&self.applied, &error))?;
        tracing::info!(id = self.applied.id(), bytes = file.len().unwrap_or(0), "saved a metadata snapshot");
        set(&self.saved, self.applied.clone());
        Ok(Snapshot { meta: meta(&self.applied), snapshot: Box::new(SnapshotFile::new(file)) })
    }
}

fn set(saved: &std::sync::Mutex<Option<Summary>>, summary: Summary) {
    *saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(summary);
}

fn meta(summary: &Summary) -> SnapshotMeta<VoterId, openraft::BasicNode> {
    SnapshotMeta {
        last_log_id: summary.last,
        last_membership: summary.membership.clone(),
        snapshot_id: summary.id(),
    }
}

fn write_error(summary: &Summary, error: &std::io::Error) -> StorageError {
    StorageIoError::write_snapshot(Some(meta(summary).signature()), AnyError::new(error)).into()
}
