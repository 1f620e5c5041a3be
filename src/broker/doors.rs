//! What a broker needs of the world, and the runtimes it lives on. Real ones for a process, simulated ones for tests.
//! It decides nothing. Invariant: with simulated doors everything runs on the caller's one runtime.

use std::io;
use std::path::Path;
use std::sync::Arc;

use firnline_tiering::clock::{Clock, SystemClock};
use firnline_tiering::cold::store::Store;
use firnline_tiering::entropy::{Entropy, OsEntropy};
use firnline_tiering::hot::file::{Files, OpenMode, OsFiles};
use tokio::runtime::{Builder, Handle, Runtime};
use uuid::Uuid;

use crate::server::cores::CoreMode;
use crate::transport::net::{Net, OsNet};

/// The world's doors.
#[derive(Clone)]
pub struct Doors {
    /// Disk.
    pub files: Arc<dyn Files>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Network.
    pub net: Arc<dyn Net>,
    /// Names the boot of this machine: what its page cache holds outlives processes, but no boot. `None` where nobody
    /// knows, which counts as a new boot each time.
    pub boot: Option<Uuid>,
    /// A bucket that stands in for the configured one; `None` opens that.
    pub bucket: Option<Arc<Store>>,
    /// True: every task runs on the caller's runtime, inside its `LocalSet`, and nothing starts a thread.
    pub single_threaded: bool,
}

impl Doors {
    /// The real ones.
    pub fn real() -> Self {
        Self {
            files: Arc::new(OsFiles),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            net: Arc::new(OsNet),
            boot: boot_id(&OsFiles),
            bucket: None,
            single_threaded: false,
        }
    }

    /// Where requests are served; `configured` is `firn.cores`.
    pub fn core_mode(&self, configured: usize) -> CoreMode {
        if self.single_threaded { CoreMode::Inline } else { CoreMode::threads(configured) }
    }
}

/// What Linux draws at every boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn boot_id(files: &dyn Files) -> Option<Uuid> {
    let mut text = [0; 36];
    // Not by its length, which the kernel gives as 0.
    files.open(Path::new(BOOT_ID), OpenMode::Read).ok()?.read_exact_at(&mut text, 0).ok()?;
    Uuid::try_parse_ascii(&text).ok()
}

/// The runtimes beside the serving cores.
pub struct Runtimes {
    own: Vec<Runtime>,
    /// The quorum, whose thread waits for its fsyncs, and what must answer soon: timers of groups, accepting.
    pub quorum: Handle,
    /// Calls to other nodes and life signs: never waits for a disk. The quorum's own where there are no other nodes.
    pub peers: Handle,
    /// Housekeeping and assignment: may wait for local disks.
    pub chores: Handle,
    /// Followers' fetches: nothing here waits for a disk of housekeeping. The quorum's own where there are no other nodes.
    pub replication: Handle,
    /// Everything that waits for the bucket, and blocking reads of local files.
    pub cold: Handle,
    /// Blocking work goes to threads of `cold`; in a simulation it runs inline, as slow as these files say.
    pub simulated: Option<Arc<dyn Files>>,
}

/// Workers for chores: one may wait for an fsync while the other opens a new topic's log.
const CHORE_WORKERS: usize = 2;

/// Workers of the cold runtime: it waits more than it works, but checksums of chunks are computed here.
const COLD_WORKERS: usize = 2;

impl Runtimes {
    /// Starts them, or takes the caller's for all where everything is simulated. `peers`: there may be other nodes.
    pub fn start(simulated: Option<Arc<dyn Files>>, peers: bool) -> io::Result<Self> {
        if simulated.is_some() {
            let here = Handle::current();
            let (quorum, peers, replication) = (here.clone(), here.clone(), here.clone());
            let (chores, cold) = (here.clone(), here);
            return Ok(Self { own: Vec::new(), quorum, peers, chores, replication, cold, simulated });
        }
        let build = |name: &str, workers: usize| {
            Builder::new_multi_thread().worker_threads(workers).thread_name(name).enable_all().build()
        };
        let mut own = vec![
            build("firn-quorum", 1)?,
            build("firn-chores", CHORE_WORKERS)?,
            build("firn-cold", COLD_WORKERS)?,
        ];
        let [quorum, chores, cold] = [0, 1, 2].map(|place: usize| own[place].handle().clone());
        let (peers, replication) = match peers {
            true => {
                own.push(build("firn-pulse", 1)?);
                own.push(build("firn-replica", 1)?);
                (own[3].handle().clone(), own[4].handle().clone())
            }
            false => (quorum.clone(), quorum.clone()),
        };
        Ok(Self { own, quorum, peers, chores, replication, cold, simulated })
    }

    /// Runs `work` on a runtime and waits for it; a panic there comes out here as an error.
    pub async fn on<T: Send + 'static>(
        handle: &Handle,
        work: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        handle.spawn(work).await.map_err(io::Error::other)
    }

    /// Ends them without waiting for what still runs.
    pub fn stop(self) {
        self.own.into_iter().rev().for_each(Runtime::shutdown_background);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_of_linux_has_a_name_that_stays() {
        let boot = boot_id(&OsFiles);
        assert_eq!(boot.is_some(), Path::new(BOOT_ID).exists());
        assert_eq!(boot, boot_id(&OsFiles));
    }
}
