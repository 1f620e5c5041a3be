//! One single-threaded runtime per core, and the hand-over of a connection to one of them.
//! It knows nothing of what runs there: a job builds its own futures on the core it lands on, so they need not be Send.
//! Invariant: what a core runs never moves to another core, and with `Inline` everything runs on the caller's.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::context::ServingCore;
use crate::partition::cold_desk::{ColdAccess, ColdDesk};
use crate::partition::cold_lane::ColdLane;
use crate::partition::local_desk::LocalDesk;
use crate::purgatory::delayed::{Purgatory, WakeBoard};
use crate::server::pulse::Pulses;

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

/// What every core is made with.
#[derive(Clone)]
pub struct CoreSetup {
    /// Letter boxes, one per core.
    pub board: Arc<WakeBoard>,
    /// A connection silent for longer is closed; `None` for never.
    pub idle: Option<Duration>,
    /// The lane to the local disk.
    pub lane: Arc<ColdLane>,
    /// The lane to the bucket, if there is one.
    pub cold: Option<Arc<ColdAccess>>,
}

/// What a core offers to the jobs that run on it.
#[derive(Clone)]
pub struct CoreDesk {
    /// What handlers see of the core.
    pub serving: Rc<ServingCore>,
    /// Finds connections that went quiet.
    pub pulses: Rc<Pulses>,
    load: Arc<Load>,
}

impl CoreDesk {
    /// Says that a job carries records, until what is answered is dropped.
    pub fn carries(&self) -> Carries {
        self.load.carrying.fetch_add(1, Ordering::Relaxed);
        Carries(self.load.clone())
    }
}

/// What a core has to do.
#[derive(Debug, Default)]
struct Load {
    jobs: AtomicUsize,
    /// Jobs that carry records. The others weigh next to nothing: most clients open a connection to ask where things
    /// are, leave it open, and work on a second one; counted alike, those second ones would all meet on one core.
    carrying: AtomicUsize,
}

impl Load {
    fn weight(&self) -> (usize, usize) {
        (self.carrying.load(Ordering::Relaxed), self.jobs.load(Ordering::Relaxed))
    }
}

/// A job that carries records.
#[derive(Debug)]
pub struct Carries(Arc<Load>);

impl Drop for Carries {
    fn drop(&mut self) {
        self.0.carrying.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Something to run on a core until it is done.
pub type Job = Box<dyn FnOnce(CoreDesk) -> LocalBoxFuture<'static, ()> + Send>;

/// The serving cores, and a small one for the quorum's connections where this node has peers.
pub struct Cores {
    cores: Vec<Core>,
    peers: Option<Core>,
}

struct Core {
    jobs: mpsc::UnboundedSender<Job>,
    load: Arc<Load>,
    /// Answers when the core has ended.
    ended: oneshot::Receiver<()>,
    /// Ends every connection at once when this goes: what is let go of without a stop serves nobody any more.
    _cut: DropGuard,
}

/// A core's thread or runtime could not be made.
#[derive(Debug, thiserror::Error)]
#[error("core {core} cannot start: {source}")]
pub struct CoreError {
    core: usize,
    source: std::io::Error,
}

impl Cores {
    /// Starts the cores. With one letter box more than `mode` has cores there is one more core, for the connections
    /// of other nodes: no produce or fetch runs on it, so that nothing a client does delays a vote or a heartbeat.
    pub fn start(mode: CoreMode, setup: &CoreSetup) -> Result<Self, CoreError> {
        let serving = mode.count();
        assert!((serving..=serving + 1).contains(&setup.board.cores()), "one letter box per core");
        let cores: Result<Vec<Core>, CoreError> =
            (0..serving).map(|index| Core::start(mode, setup, index, format!("firn-core-{index}"))).collect();
        let peers = (setup.board.cores() > serving)
            .then(|| Core::start(mode, setup, serving, "firn-peers".to_owned()))
            .transpose()?;
        Ok(Self { cores: cores?, peers })
    }

    /// Hands `job` to the core for other nodes, or to a serving one where there is none. False when it has stopped.
    pub fn run_for_peers(&self, job: Job) -> bool {
        match &self.peers {
            Some(core) => core.take(job),
            None => self.run_on_least_loaded(job),
        }
    }

    /// Hands `job` to the core with the fewest jobs that carry records, and among equals to that with the fewest jobs;
    /// the lower number wins a tie. False when the cores have stopped.
    pub fn run_on_least_loaded(&self, job: Job) -> bool {
        let least = self.cores.iter().min_by_key(|core| core.load.weight());
        least.is_some_and(|core| core.take(job))
    }

    /// How many jobs each core runs.
    pub fn loads(&self) -> Vec<usize> {
        self.cores.iter().map(|core| core.load.weight().1).collect()
    }

    /// Tells every connection to finish, takes no more jobs, and waits for the cores to end; false when some are
    /// still busy after `patience`.
    pub async fn stop(self, patience: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + patience;
        let mut all = true;
        let cores: Vec<Core> = self.cores.into_iter().chain(self.peers).collect();
        for core in &cores {
            core.take(Box::new(|desk| Box::pin(async move { desk.pulses.stop() })));
        }
        for core in cores {
            drop(core.jobs);
            all &= tokio::time::timeout_at(deadline, core.ended).await.is_ok();
        }
        all
    }
}

impl Core {
    fn start(mode: CoreMode, setup: &CoreSetup, index: usize, name: String) -> Result<Core, CoreError> {
        // Bounded by the listener: it counts connections before it hands one over.
        let (jobs, inbox) = mpsc::unbounded_channel();
        let (done, ended) = oneshot::channel();
        let load = Arc::new(Load::default());
        let cut = CancellationToken::new();
        let run = Run { index, setup: setup.clone(), inbox, load: load.clone(), done, cut: cut.clone() };
        match mode {
            CoreMode::Inline => drop(tokio::task::spawn_local(run.on_this_core())),
            CoreMode::Threads(_) => run.on_a_thread(name)?,
        }
        Ok(Core { jobs, load, ended, _cut: cut.drop_guard() })
    }

    fn take(&self, job: Job) -> bool {
        self.load.jobs.fetch_add(1, Ordering::Relaxed);
        let taken = self.jobs.send(job).is_ok();
        if !taken {
            self.load.jobs.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }
}

/// A core that is about to run.
struct Run {
    index: usize,
    setup: CoreSetup,
    inbox: mpsc::UnboundedReceiver<Job>,
    load: Arc<Load>,
    done: oneshot::Sender<()>,
    cut: CancellationToken,
}

impl Run {
    fn on_a_thread(self, name: String) -> Result<(), CoreError> {
        let core = self.index;
        let failed = |source| CoreError { core, source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let thread = std::thread::Builder::new().name(name);
        thread.spawn(move || LocalSet::new().block_on(&runtime, self.on_this_core())).map_err(failed)?;
        Ok(())
    }

    async fn on_this_core(mut self) {
        let purgatory = Purgatory::new(self.index, self.setup.board.clone());
        let local = LocalDesk::new(self.setup.lane, self.setup.board.clone());
        let cold = self.setup.cold.map(|access| ColdDesk::new(access, self.setup.board));
        let serving = Rc::new(ServingCore { index: self.index, purgatory: purgatory.clone(), local, cold });
        let desk = CoreDesk { serving, pulses: Rc::default(), load: self.load.clone() };
        let mut duties = JoinSet::new();
        duties.spawn_local(purgatory.drive());
        duties.spawn_local(desk.pulses.clone().sweep(self.setup.idle));
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                job = self.inbox.recv() => match job {
                    Some(job) => drop(running.spawn_local(counted(job(desk.clone()), self.load.clone()))),
                    None => break,
                },
                Some(ended) = running.join_next() => report(ended),
                () = self.cut.cancelled() => break,
            }
        }
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    Some(ended) => report(ended),
                    None => break,
                },
                () = self.cut.cancelled() => break,
            }
        }
        running.shutdown().await;
        duties.shutdown().await;
        // Nobody may be waiting for it any more.
        let _ = self.done.send(());
    }
}

/// A job that is counted off when it ends, however it ends.
async fn counted(job: LocalBoxFuture<'static, ()>, load: Arc<Load>) {
    struct Leaves(Arc<Load>);
    impl Drop for Leaves {
        fn drop(&mut self) {
            self.0.jobs.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let _leaves = Leaves(load);
    job.await;
}

/// A panic ends one connection, never the core; it is a defect all the same.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked; please report this");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn other_nodes_have_a_core_of_their_own() {
        let setup =
            CoreSetup { board: WakeBoard::new(2), idle: None, lane: ColdLane::new(None, 0), cold: None };
        let cores = Cores::start(CoreMode::Threads(1), &setup).unwrap();
        let (seen, names) = std::sync::mpsc::channel();
        let job = || -> Job {
            let seen = seen.clone();
            Box::new(move |_| {
                let name = std::thread::current().name().map(str::to_owned);
                Box::pin(async move { seen.send(name).unwrap() })
            })
        };
        assert!(cores.run_for_peers(job()) && cores.run_on_least_loaded(job()));
        assert!(cores.stop(Duration::from_secs(30)).await);
        let mut names: Vec<_> = names.try_iter().flatten().collect();
        names.sort();
        assert_eq!(names, ["firn-core-0", "firn-peers"]);
    }

    #[tokio::test]
    async fn jobs_spread_over_the_cores_and_stop_waits_for_them() {
        let setup =
            CoreSetup { board: WakeBoard::new(2), idle: None, lane: ColdLane::new(None, 0), cold: None };
        let cores = Cores::start(CoreMode::Threads(2), &setup).unwrap();
        let (seen, names) = std::sync::mpsc::channel();
        let barrier = Arc::new(tokio::sync::Barrier::new(2));
        for _ in 0..2 {
            let (seen, barrier) = (seen.clone(), barrier.clone());
            let job: Job = Box::new(move |desk| {
                Box::pin(async move {
                    barrier.wait().await;
                    let name = std::thread::current().name().map(str::to_owned);
                    seen.send((desk.serving.index, name)).unwrap();
                })
            });
            assert!(cores.run_on_least_loaded(job));
        }
        assert!(cores.stop(Duration::from_secs(30)).await);
        let mut names: Vec<_> = names.try_iter().collect();
        names.sort();
        assert_eq!(names, [(0, Some("firn-core-0".to_owned())), (1, Some("firn-core-1".to_owned()))]);
    }

    /// Runs a connection on the least loaded core, which carries records or not, until told; answers the core.
    async fn settle(cores: &Cores, carries: bool) -> (usize, oneshot::Sender<()>) {
        let (seen, core) = oneshot::channel();
        let (go, gone) = oneshot::channel::<()>();
        let job: Job = Box::new(move |desk| {
            Box::pin(async move {
                let _carries = carries.then(|| desk.carries());
                seen.send(desk.serving.index).unwrap();
                let _ = gone.await;
            })
        });
        assert!(cores.run_on_least_loaded(job));
        (core.await.unwrap(), go)
    }

    #[tokio::test]
    async fn connections_that_only_ask_where_things_are_do_not_send_the_others_to_one_core() {
        let setup =
            CoreSetup { board: WakeBoard::new(2), idle: None, lane: ColdLane::new(None, 0), cold: None };
        let cores = Cores::start(CoreMode::Threads(2), &setup).unwrap();
        let (mut carrying, mut open) = ([0, 0], Vec::new());
        for _ in 0..4 {
            open.push(settle(&cores, false).await.1);
            let (core, stays) = settle(&cores, true).await;
            carrying[core] += 1;
            open.push(stays);
        }
        assert_eq!(carrying, [2, 2]);
        assert_eq!(cores.loads().iter().sum::<usize>(), 8);
        drop(open);
        assert!(cores.stop(Duration::from_secs(30)).await);
    }

    #[test]
    fn what_runs_on_cores_that_are_let_go_of_ends() {
        let setup =
            CoreSetup { board: WakeBoard::new(1), idle: None, lane: ColdLane::new(None, 0), cold: None };
        let cores = Cores::start(CoreMode::Threads(1), &setup).expect("a core starts");
        let (held, goes) = std::sync::mpsc::channel::<()>();
        let stuck: Job = Box::new(move |_| {
            Box::pin(async move {
                let _held = held;
                std::future::pending().await
            })
        });
        assert!(cores.run_on_least_loaded(stuck));
        drop(cores);
        let ended = goes.recv_timeout(Duration::from_secs(90));
        assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "it went with the cores");
    }
}
