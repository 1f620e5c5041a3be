//! Rounds that make appended bytes durable, off the serving cores: one loop per log directory takes every partition
//! noted since its last round, fsyncs each once, moves their high watermarks, and tells each waiting core once.
//! It decides about no append. Invariant: a high watermark passes an offset here only after the fsync that covers it,
//! and a failed fsync is never tried again (the directory is offline then).
//!
//! Group commit follows from the loop itself: whatever is appended while a round runs is one next round, over all
//! partitions and requests. The loop has a thread that may wait for the disk, so that a round of one partition costs one
//! wake to begin and one for each core that waits for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use firnline_controller::id::TopicId;
use firnline_tiering::hot::file::Files;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all, ready};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::api::context::Shared;
use crate::broker::doors::Runtimes;
use crate::broker::storage::Storage;
use crate::config::topic::is_internal;
use crate::partition::cold_lane::wait_as_simulated;
use crate::partition::dirty::DirtyList;
use crate::partition::replica::{PartitionHandle, PartitionId};
use crate::purgatory::delayed::WaitKey;

/// Fsyncs under way at once in one directory. The file system commits together what waits together, so that threads
/// help far beyond the number of cores (figures in tiering/README.md). They are the blocking threads of a runtime,
/// which come and go.
const LANES: usize = 64;

/// Pause before partitions are tried again that found the disk full.
const FULL_PAUSE: Duration = Duration::from_millis(200);

/// Starts the rounds of every log directory. They end when they are aborted: requests may wait for them to the last.
pub fn start(shared: &Arc<Shared>, storage: &Storage, runtimes: &Runtimes) -> Vec<JoinHandle<()>> {
    let simulated = runtimes.simulated.clone();
    let threads = simulated.is_none().then(|| runtimes.cold.clone());
    let begin = |list: Arc<DirtyList>| {
        let simulated = simulated.clone();
        let rounds = Rounds { list, shared: shared.clone(), threads: threads.clone(), simulated };
        match &threads {
            Some(threads) => runtimes.chores.spawn(on_a_thread(rounds, threads.clone())),
            None => runtimes.chores.spawn(rounds.run()),
        }
    };
    storage.dirs().iter().map(|dir| begin(dir.dirty.clone())).collect()
}

/// The rounds of one log directory.
struct Rounds {
    list: Arc<DirtyList>,
    shared: Arc<Shared>,
    /// Whose blocking threads wait for the disk; `None` in a simulation.
    threads: Option<Handle>,
    /// The disks of a simulation, which say how long to wait for them.
    simulated: Option<Arc<dyn Files>>,
}

/// Runs them on a thread of their own until this is aborted.
#[expect(
    clippy::disallowed_methods,
    reason = "the thread waits for fsyncs, which is what this file is about"
)]
async fn on_a_thread(rounds: Rounds, threads: Handle) {
    let stop = CancellationToken::new();
    let _aborted = stop.clone().drop_guard();
    let timers = Handle::current();
    let work = threads.spawn_blocking(move || timers.block_on(stop.run_until_cancelled(rounds.run())));
    if let Err(error) = work.await {
        tracing::error!(%error, "the rounds of fsyncs ended; please report this");
    }
}

impl Rounds {
    async fn run(self) {
        loop {
            let noted = self.list.take().await;
            let dirty: Vec<PartitionHandle> =
                noted.into_iter().filter_map(|key| self.shared.hosted.get(partition(key))).collect();
            self.round(dirty).await;
        }
    }

    async fn round(&self, dirty: Vec<PartitionHandle>) {
        let counters = &self.shared.counters;
        counters.durability_rounds.add(1);
        counters.durability_syncs.add(dirty.len() as u64);
        let lanes = LANES.min(dirty.len().max(1));
        let mut shares: Vec<Vec<PartitionHandle>> = vec![Vec::new(); lanes];
        for (at, partition) in dirty.iter().enumerate() {
            shares[at % lanes].push(partition.clone());
        }
        wait_as_simulated(self.simulated.as_deref()).await;
        // One share is this thread's; the others are begun first.
        let own = shares.pop().unwrap_or_default();
        let others: Vec<_> = shares.into_iter().map(|share| self.sync(share)).collect();
        let mut again = sync_all(own);
        again.extend(join_all(others).await.into_iter().flatten());
        // Also those that failed: who waits for them has to learn it.
        self.shared.board.announce_all(dirty.iter().map(|it| (it.wait_key(), &**it.interest())));
        for partition in dirty.iter().filter(|it| is_internal(it.topic_name())) {
            self.shared.groups.committed(partition.id().index);
        }
        if !again.is_empty() {
            tokio::time::sleep(FULL_PAUSE).await;
            again.iter().for_each(|partition| partition.note_dirty());
        }
    }

    /// Begins to make one share durable; answers those to try again.
    #[expect(
        clippy::disallowed_methods,
        reason = "threads that wait for an fsync are what this file is about"
    )]
    fn sync(&self, share: Vec<PartitionHandle>) -> BoxFuture<'static, Vec<PartitionHandle>> {
        let Some(threads) = &self.threads else { return ready(sync_all(share)).boxed() };
        let work = threads.spawn_blocking(move || sync_all(share));
        async move { work.await.unwrap_or_default() }.boxed()
    }
}

/// One fsync each. What found the disk full comes back: nothing was lost, and room may return.
fn sync_all(share: Vec<PartitionHandle>) -> Vec<PartitionHandle> {
    let mut again = Vec::new();
    for partition in share {
        let synced: io::Result<()> = partition.make_durable();
        if let Err(error) = synced {
            let (log, offline) = (partition.log(), partition.log().offline().is_some());
            tracing::error!(log = %log.id(), dir = %log.dir().display(), %error, offline, "not made durable");
            if !offline && partition.is_leader() {
                again.push(partition);
            }
        }
    }
    again
}

fn partition(key: WaitKey) -> PartitionId {
    PartitionId { topic: TopicId(Uuid::from_u128(key.topic)), index: key.partition }
}
