//! A running broker: what it is made of, and how it stops.
//! It builds nothing (`startup.rs` does). Invariant: it stops in reverse order of the start, and the clean-shutdown
//! marker is the last thing written.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::context::Shared;
use crate::broker::doors::Runtimes;
use crate::broker::life::Joined;
use crate::broker::storage::Storage;
use crate::broker::storage_error::StorageError;
use crate::broker::tiers::Tiers;
use crate::replication::fetchers::Fetchers;
use crate::server::cores::Cores;

/// How long connections may take to finish what they began.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a running broker is made of.
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    pub(super) storage: Arc<Storage>,
    pub(super) tiers: Option<Arc<Tiers>>,
    pub(super) cores: Arc<Cores>,
    pub(super) stop: CancellationToken,
    pub(super) accepting: Vec<JoinHandle<()>>,
    pub(super) chores: Vec<JoinHandle<()>>,
    pub(super) following: Vec<JoinHandle<()>>,
    pub(super) fetchers: Arc<Fetchers>,
    pub(super) joined: Joined,
    pub(super) lost: watch::Receiver<Option<String>>,
}

/// A broker that runs. Dropping it without `shutdown` is a crash: nothing is flushed and no marker is left.
pub struct Broker {
    running: Option<Running>,
    runtimes: Option<Runtimes>,
    shared: Arc<Shared>,
    tiers: Option<Arc<Tiers>>,
}

impl Broker {
    pub(super) fn new(running: Running, runtimes: Runtimes) -> Self {
        let (shared, tiers) = (running.shared.clone(), running.tiers.clone());
        Self { running: Some(running), runtimes: Some(runtimes), shared, tiers }
    }

    /// Where the first listener is bound; the controller's where there are no clients.
    pub fn addr(&self) -> SocketAddr {
        self.shared.listeners[0].bound
    }

    /// What every core shares: for telemetry and for tests.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The bucket and what moves to it; `None` without one.
    pub fn tiers(&self) -> Option<&Arc<Tiers>> {
        self.tiers.as_ref()
    }

    /// Waits until the disks leave this broker nothing to go on with, and answers why: then it should stop.
    pub async fn lost(&self) -> String {
        let Some(running) = &self.running else { return std::future::pending().await };
        let mut lost = running.lost.clone();
        match lost.wait_for(Option::is_some).await.map(|why| why.clone()) {
            Ok(Some(why)) => why,
            // Housekeeping ended: the broker stops anyway.
            _ => std::future::pending().await,
        }
    }

    /// Where tasks of telemetry and admin run: they may wait, and never on a serving core.
    pub fn background(&self) -> tokio::runtime::Handle {
        match &self.runtimes {
            Some(runtimes) => runtimes.quorum.clone(),
            None => tokio::runtime::Handle::current(),
        }
    }

    /// Stops: no new connections, open ones finish, housekeeping ends, logs are flushed and closed, checkpoints and
    /// the clean-shutdown markers are written, the quorum closes.
    pub async fn shutdown(self) -> Result<(), StorageError> {
        self.end(true).await
    }

    /// Ends as a crash would: every task stops, nothing is flushed, no checkpoint and no marker is written. Its
    /// directories may be opened again afterwards.
    pub async fn abandon(self) {
        // Nothing is written, so nothing can fail.
        let _ = self.end(false).await;
    }

    async fn end(mut self, cleanly: bool) -> Result<(), StorageError> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let outcome = running.stop(cleanly).await;
        if let Some(runtimes) = self.runtimes.take() {
            runtimes.stop();
        }
        outcome
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.cancel();
            running.joined.end();
            running.fetchers.stop();
            let tasks = running.following.iter().chain(&running.chores).chain(&running.accepting);
            tasks.for_each(JoinHandle::abort);
        }
        if let Some(runtimes) = self.runtimes.take() {
            runtimes.stop();
        }
    }
}

impl Running {
    async fn stop(self, cleanly: bool) -> Result<(), StorageError> {
        tracing::info!("stopping");
        if cleanly && self.shared.config.cluster.controlled_shutdown {
            self.joined.leave().await;
        }
        self.stop.cancel();
        for accepting in self.accepting {
            // A panic in an accept loop was reported when it happened.
            let _ = accepting.await;
        }
        if let Some(cores) = Arc::into_inner(self.cores)
            && !cores.stop(PATIENCE).await
        {
            tracing::warn!("connections were still busy and are cut off");
        }
        self.shared.groups.close();
        for following in self.following {
            following.abort();
            let _ = following.await;
        }
        for chore in self.chores {
            if tokio::time::timeout(PATIENCE, chore).await.is_err() {
                tracing::warn!("housekeeping was still busy and is left behind");
            }
        }
        self.fetchers.stop();
        let hosted = self.shared.hosted.all();
        let (storage, epoch) = (self.storage.clone(), self.joined.epoch());
        let closed = if cleanly { storage.close(&hosted, epoch) } else { Ok(()) };
        if let Some(tiers) = &self.tiers {
            tiers.close().await;
        }
        self.joined.end();
        self.shared.controller.shutdown().await;
        tracing::info!(logs = hosted.len(), "stopped");
        closed
    }
}
