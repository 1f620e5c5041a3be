//! One single-threaded runtime per core, and the hand-over of a connection to one of them.
//! It knows nothing of what runs there: a job builds its own futures on the core it lands on, so they need not be Send.
//! Invariant: what a core runs never moves to another core, and with `Inline` everything runs on the caller's.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use futures::future::LocalBoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::purgatory::delayed::{Purgatory, WakeBoard};

/// Where requests are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreMode {
    /// So many threads of our own.
    Threads(usize),
    /// The current runtime, which must be inside a `LocalSet`: for simulation.
    Inline,
}

impl CoreMode {
    /// `configured` threads, or one per CPU this process may use when that is 0.
    pub fn threads(configured: usize) -> Self {
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        CoreMode::Threads(if configured == 0 { available() } else { configured })
    }

    /// How many cores that makes.
    pub fn count(self) -> usize {
        match self {
            CoreMode::Threads(threads) => threads.max(1),
            CoreMode::Inline => 1,
        }
    }
}

/// What a core offers to the jobs that run on it.
#[derive(Clone)]
pub struct CoreDesk {
    /// The core's number, from 0.
    pub core: usize,
    /// The core's waiters.
    pub purgatory: Rc<Purgatory>,
}

/// Something to run on a core until it is done.
pub type Job = Box<dyn FnOnce(CoreDesk) -> LocalBoxFuture<'static, ()> + Send>;

/// The serving cores.
pub struct Cores {
    cores: Vec<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Core {
    jobs: mpsc::UnboundedSender<Job>,
    load: Arc<AtomicUsize>,
}

/// A core's thread or runtime could not be made.
#[derive(Debug, thiserror::Error)]
#[error("core {core} cannot start: {source}")]
pub struct CoreError {
    core: usize,
    source: std::io::Error,
}

impl Cores {
    /// Starts the cores, each with a letter box on `board`.
    pub fn start(mode: CoreMode, board: &Arc<WakeBoard>) -> Result<Self, CoreError> {
        assert_eq!(mode.count(), board.cores(), "one letter box per core");
        let mut cores = Vec::with_capacity(mode.count());
        let mut threads = Vec::new();
        for core in 0..mode.count() {
            // Bounded by the listener: it counts connections before it hands one over.
            let (jobs, inbox) = mpsc::unbounded_channel();
            let load = Arc::new(AtomicUsize::new(0));
            let run = run(core, board.clone(), inbox, load.clone());
            match mode {
                CoreMode::Inline => drop(tokio::task::spawn_local(run.on_this_core())),
                CoreMode::Threads(_) => threads.push(run.on_a_thread()?),
            }
            cores.push(Core { jobs, load });
        }
        Ok(Self { cores, threads: Mutex::new(threads) })
    }

    /// Hands `job` to the core with the fewest jobs; the lower number wins a tie. False when the cores have stopped.
    pub fn run_on_least_loaded(&self, job: Job) -> bool {
        let least = self.cores.iter().min_by_key(|core| core.load.load(Ordering::Relaxed));
        let Some(core) = least else { return false };
        core.load.fetch_add(1, Ordering::Relaxed);
        core.jobs.send(job).is_ok()
    }

    /// Hands a job to every core.
    pub fn run_on_each(&self, mut job: impl FnMut() -> Job) {
        for core in &self.cores {
            core.load.fetch_add(1, Ordering::Relaxed);
            // A core that has stopped takes no jobs any more: nothing is left to do there.
            let _ = core.jobs.send(job());
        }
    }

    /// How many cores there are.
    pub fn count(&self) -> usize {
        self.cores.len()
    }

    /// How many jobs each core runs.
    pub fn loads(&self) -> Vec<usize> {
        self.cores.iter().map(|core| core.load.load(Ordering::Relaxed)).collect()
    }

    /// Takes no more jobs, drops nothing that runs: each core ends when its jobs have.
    pub fn close(self) -> Vec<JoinHandle<()>> {
        self.threads.into_inner()
    }
}

/// A core that is about to run.
struct Run {
    core: usize,
    board: Arc<WakeBoard>,
    inbox: mpsc::UnboundedReceiver<Job>,
    load: Arc<AtomicUsize>,
}

fn run(
    core: usize,
    board: Arc<WakeBoard>,
    inbox: mpsc::UnboundedReceiver<Job>,
    load: Arc<AtomicUsize>,
) -> Run {
    Run { core, board, inbox, load }
}

impl Run {
    fn on_a_thread(self) -> Result<JoinHandle<()>, CoreError> {
        let core = self.core;
        let failed = |source| CoreError { core, source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        std::thread::Builder::new()
            .name(format!("firn-core-{core}"))
            .spawn(move || LocalSet::new().block_on(&runtime, self.on_this_core()))
            .map_err(failed)
    }

    async fn on_this_core(mut self) {
        let purgatory = Purgatory::new(self.core, self.board);
        let desk = CoreDesk { core: self.core, purgatory: purgatory.clone() };
        let driver = tokio::task::spawn_local(purgatory.drive());
        let mut running = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                job = self.inbox.recv() => {
                    let Some(job) = job else { break };
                    let load = self.load.clone();
                    let future = job(desk.clone());
                    running.spawn_local(async move {
                        let _leaves = Leaves(load);
                        future.await;
                    });
                }
                Some(_) = running.join_next() => {}
            }
        }
        while running.join_next().await.is_some() {}
        driver.abort();
    }
}

/// Counts a job off when it ends, however it ends.
struct Leaves(Arc<AtomicUsize>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_spread_over_the_cores_and_end_before_close_returns() {
        let board = WakeBoard::new(2);
        let cores = Cores::start(CoreMode::Threads(2), &board).unwrap();
        let (seen, names) = std::sync::mpsc::channel();
        let barrier = Arc::new(tokio::sync::Barrier::new(2));
        for _ in 0..2 {
            let (seen, barrier) = (seen.clone(), barrier.clone());
            let job: Job = Box::new(move |desk| {
                Box::pin(async move {
                    barrier.wait().await;
                    seen.send((desk.core, std::thread::current().name().map(str::to_owned))).unwrap();
                })
            });
            assert!(cores.run_on_least_loaded(job));
        }
        for thread in cores.close() {
            thread.join().unwrap();
        }
        let mut names: Vec<_> = names.try_iter().collect();
        names.sort();
        assert_eq!(names, [(0, Some("firn-core-0".to_owned())), (1, Some("firn-core-1".to_owned()))]);
    }
}
