//! Moves replicas between log directories of this broker (KIP-113): copies beside the log while it is written, one after
//! the other, then asks the assignment to exchange the two. It gives no roles and renames nothing itself.
//! Invariant: a copy that is not exchanged is removed, and what a crash leaves of one is removed at the next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use firnline_controller::id::BrokerId;
use firnline_tiering::log::directory::LogName;
use firnline_tiering::log::relocate::{Progress, RelocateError, Relocation};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::api::context::Shared;
use crate::broker::storage::Storage;
use crate::broker::storage_error::StorageError;
use crate::partition::moving::Move;
use crate::partition::replica::{PartitionHandle, PartitionId};

/// Bytes copied between two looks at the limit.
const STEP: u64 = 1 << 20;
/// With so little left the log is closed for the rest.
const LITTLE: u64 = 1 << 20;
/// Pause while the limit is used up, the cleaner has the log, or the target is full.
const PAUSE: Duration = Duration::from_millis(100);
/// Rounds after which a log that is written faster than it is copied is closed all the same.
const ROUNDS_MAX: u32 = 100;

/// A copy that is ready to take its log's place.
pub struct Exchange {
    /// The replica as it was copied; another one by now is left alone.
    pub partition: PartitionHandle,
    /// The copy.
    pub relocation: Relocation,
    /// The directory it lies in.
    pub to: PathBuf,
    /// Its name there.
    pub copy: String,
    /// Told what became of it.
    pub done: oneshot::Sender<Result<(), StorageError>>,
}

/// Why a move ends without an exchange.
#[derive(Debug, thiserror::Error)]
enum MoveError {
    #[error("it is not wanted any more")]
    TakenBack,
    #[error("the log was cut meanwhile")]
    Cut,
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{0}")]
    Copy(String),
}

/// The task.
pub struct LogMover {
    shared: Arc<Shared>,
    storage: Arc<Storage>,
    exchanges: mpsc::Sender<Exchange>,
}

impl LogMover {
    /// Moves what `shared.moves` is asked for.
    pub fn new(shared: Arc<Shared>, storage: Arc<Storage>, exchanges: mpsc::Sender<Exchange>) -> LogMover {
        LogMover { shared, storage, exchanges }
    }

    /// Runs until the broker stops.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.work()).await;
    }

    async fn work(&self) {
        loop {
            let Some((id, partition, asked)) = self.next() else {
                self.wait().await;
                continue;
            };
            let (log, to) = (partition.log().id().to_string(), asked.to.display().to_string());
            match self.move_one(&partition, &asked).await {
                Ok(()) => tracing::info!(log, to, "the replica lies in another directory now"),
                Err(MoveError::Cut) => {
                    tracing::info!(log, to, "the log was cut while it was copied: copied anew");
                    continue;
                }
                Err(MoveError::TakenBack) => {
                    tracing::info!(log, to, "a move between directories is given up")
                }
                Err(error) => tracing::error!(log, to, %error, "a move between directories has failed"),
            }
            self.shared.moves.end(id, asked.serial);
        }
    }

    /// The oldest request for a replica that is open. What this broker holds no more is not moved.
    fn next(&self) -> Option<(PartitionId, PartitionHandle, Move)> {
        let mut moves = self.shared.moves.all();
        moves.sort_by_key(|(_, asked)| asked.serial);
        let image = self.shared.controller.image();
        let me = BrokerId(self.shared.config.node_id);
        for (id, asked) in moves {
            if let Some(partition) = self.shared.hosted.get(id) {
                return Some((id, partition, asked));
            }
            let row = image.topics.partition(id.topic, id.index);
            if row.is_none_or(|row| !row.replicas.contains(&me)) {
                self.shared.moves.end(id, asked.serial);
            }
        }
        None
    }

    /// Until something is asked; one that is asked for and not open yet is looked at again.
    async fn wait(&self) {
        match self.shared.moves.all().is_empty() {
            true => self.shared.moves.changed().await,
            false => sleep(PAUSE).await,
        }
    }

    async fn move_one(&self, partition: &PartitionHandle, asked: &Move) -> Result<(), MoveError> {
        let name = name_of(partition);
        if partition.log().dir().parent() == Some(&*asked.to) {
            return Ok(());
        }
        let (storage, topic, to) = (self.storage.clone(), partition.id().topic, asked.to.clone());
        let (made, copied_name) = (to.clone(), name.clone());
        let copy = self.on_lane(move || storage.make_copy(&copied_name, topic, &made)).await??;
        let path = asked.to.join(&copy);
        let moved = match self.copy(partition, asked, &path).await {
            Ok(relocation) => self.exchange(partition, relocation, &to, &copy).await,
            Err(error) => Err(error),
        };
        if moved.is_err() {
            let storage = self.storage.clone();
            // What cannot be removed now is removed at the next start.
            if let Err(error) = self.on_lane(move || storage.discard_copy(&to, &copy)).await? {
                tracing::warn!(log = %partition.log().id(), %error, "a copy stays until the next start");
            }
        }
        moved
    }

    /// Copies until little is left.
    async fn copy(
        &self,
        partition: &PartitionHandle,
        asked: &Move,
        path: &Path,
    ) -> Result<Relocation, MoveError> {
        let mut relocation = self.begin(partition, asked, path).await?;
        let (mut rounds, mut before) = (0, u64::MAX);
        loop {
            self.wait_for_room(partition.id(), asked).await?;
            let (stepped, progress) = self
                .on_lane(move || {
                    let progress = relocation.step(STEP);
                    (relocation, progress)
                })
                .await?;
            relocation = stepped;
            let Progress { bytes, left, copied, upto } = progress.map_err(of_copy)?;
            self.shared.quotas.directories.note(bytes);
            self.wanted(partition, asked)?;
            if !self.shared.moves.note(partition.id(), asked.serial, copied, upto) {
                return Err(MoveError::TakenBack);
            }
            rounds += u32::from(left >= before);
            before = left;
            if left <= LITTLE || rounds > ROUNDS_MAX {
                return Ok(relocation);
            }
        }
    }

    async fn begin(
        &self,
        partition: &PartitionHandle,
        asked: &Move,
        path: &Path,
    ) -> Result<Relocation, MoveError> {
        loop {
            let (log, to) = (partition.log().clone(), path.to_owned());
            let begun = self.on_lane(move || Relocation::begin(&log, &to)).await?;
            match begun.map_err(|error| MoveError::Copy(error.to_string()))? {
                Some(relocation) => return Ok(relocation),
                None => sleep(PAUSE).await,
            }
            self.wanted(partition, asked)?;
        }
    }

    /// Waits while the limit of moves is used up, or the target has no room to spare.
    async fn wait_for_room(&self, id: PartitionId, asked: &Move) -> Result<(), MoveError> {
        let quota = &self.shared.quotas.directories;
        while quota.is_exceeded() || self.storage.is_full(&asked.to) {
            quota.count_held_back();
            if self.shared.moves.of(id).is_none_or(|now| now.serial != asked.serial) {
                return Err(MoveError::TakenBack);
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The move is still wanted, and the replica still the same.
    fn wanted(&self, partition: &PartitionHandle, asked: &Move) -> Result<(), MoveError> {
        let id = partition.id();
        let same = self.shared.hosted.get(id).is_some_and(|now| Arc::ptr_eq(&now, partition));
        let wanted = self.shared.moves.of(id).is_some_and(|now| now.serial == asked.serial);
        if same && wanted { Ok(()) } else { Err(MoveError::TakenBack) }
    }

    async fn exchange(
        &self,
        partition: &PartitionHandle,
        relocation: Relocation,
        to: &Path,
        copy: &str,
    ) -> Result<(), MoveError> {
        let (done, told) = oneshot::channel();
        let exchange = Exchange {
            partition: partition.clone(),
            relocation,
            to: to.to_owned(),
            copy: copy.to_owned(),
            done,
        };
        let sent = self.exchanges.send(exchange).await;
        sent.map_err(|_| MoveError::TakenBack)?;
        told.await.map_err(|_| MoveError::TakenBack)?.map_err(|error| match error {
            StorageError::CutMeanwhile { .. } => MoveError::Cut,
            error => error.into(),
        })
    }

    async fn on_lane<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, MoveError> {
        let done = self.shared.lane.run(move || Ok(work())).await;
        done.map_err(|error| MoveError::Copy(error.to_string()))
    }
}

fn of_copy(error: RelocateError) -> MoveError {
    match error {
        RelocateError::Cut => MoveError::Cut,
        RelocateError::Io(error) => MoveError::Copy(error.to_string()),
    }
}

/// The name of a replica's directory.
pub fn name_of(partition: &PartitionHandle) -> LogName {
    LogName { name: partition.topic_name().to_string(), number: partition.id().index }
}
