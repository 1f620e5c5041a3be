//! Work that may wait for the local disk: a few threads do it, so that no serving core ever does, and what it reads
//! leaves the page cache to the tail. It is not the way to the bucket (tiering's cold reader is).
//! Invariant: at most `PLACES` pieces of work at once and at most `memory` bytes read and not yet given back; what
//! comes later waits without holding a thread. In a simulation the work runs inline.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use firnline_tiering::hot::buffers::release_idle;
use firnline_tiering::hot::file::{File, Files};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::partition::ahead::{Ahead, Found, Stretch, Want};

/// Pieces of work at once. A disk serves a handful of 1 MiB reads in parallel; more only adds memory.
const PLACES: usize = 8;

/// Bytes that one permit of the memory budget stands for.
const GRAIN: usize = 4 << 10;

/// Least memory a lane works with: a few reads and what is ahead of them.
const MEMORY_MIN: usize = 4 << 20;

/// Most bytes of one read that somebody waits for.
const READ_MAX: usize = 1 << 20;

/// The lane for local disk work.
pub struct ColdLane {
    /// Whose blocking threads do the work; `None` does it inline.
    threads: Option<Handle>,
    /// The disks of a simulation, which say how long to wait for them.
    simulated: Option<Arc<dyn Files>>,
    places: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    memory_max: usize,
    ahead: Mutex<Ahead<OpenFile, AheadRead>>,
    counts: LaneCounts,
}

/// What the lane counts; all but the gauges only grow.
#[derive(Debug, Default)]
pub struct LaneCounts {
    /// Pieces of work that wait for a place, or reads that wait for memory, now.
    pub waiting: AtomicU64,
    /// Reads that found the memory budget spent and had to wait.
    pub budget_waits: AtomicU64,
    /// Bytes read from disk because somebody waited for them.
    pub read_bytes: AtomicU64,
    /// Bytes read from disk ahead of a reader in sequence.
    pub ahead_bytes: AtomicU64,
    /// Bytes of those that a reader took.
    pub ahead_used_bytes: AtomicU64,
}

type AheadRead = Shared<BoxFuture<'static, Option<Bytes>>>;

/// An open file, told apart from others by where it lies in memory; holding it keeps that place taken.
#[derive(Clone, Debug)]
struct OpenFile(Arc<dyn File>);

impl PartialEq for OpenFile {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Bytes with their part of the memory budget, which ends with them.
struct Budgeted {
    bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Budgeted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// One more that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ColdLane {
    /// A lane on the blocking threads of a runtime, or inline. `memory` bounds the bytes it holds.
    pub fn new(threads: Option<Handle>, memory: usize) -> Arc<Self> {
        Self::made(threads, None, memory)
    }

    /// A lane for a simulation: inline, after as long as these files would keep a thread.
    pub fn simulated(files: Arc<dyn Files>, memory: usize) -> Arc<Self> {
        Self::made(None, Some(files), memory)
    }

    fn made(threads: Option<Handle>, simulated: Option<Arc<dyn Files>>, memory: usize) -> Arc<Self> {
        let memory_max = memory.max(MEMORY_MIN);
        Arc::new(Self {
            threads,
            simulated,
            places: Arc::new(Semaphore::new(PLACES)),
            memory: Arc::new(Semaphore::new(memory_max / GRAIN)),
            memory_max,
            ahead: Mutex::default(),
            counts: LaneCounts::default(),
        })
    }

    /// What it counts.
    pub fn counts(&self) -> &LaneCounts {
        &self.counts
    }

    /// Bytes it holds now, and the most it may.
    pub fn memory(&self) -> (usize, usize) {
        let free = self.memory.available_permits() * GRAIN;
        (self.memory_max.saturating_sub(free), self.memory_max)
    }

    /// Whose threads do the work; `None` when it is done inline.
    pub fn threads(&self) -> Option<&Handle> {
        self.threads.as_ref()
    }

    /// Does `work` where it may wait for the disk. It runs to its end even when nobody waits for it any more.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Some(threads) = &self.threads else {
            wait_as_simulated(self.simulated.as_deref()).await;
            return work();
        };
        let place = {
            let _waiting = Waiting::new(&self.counts.waiting);
            self.places.clone().acquire_owned().await
        };
        // The lane is never closed while the broker runs.
        let place = place.map_err(|_| io::Error::from(io::ErrorKind::Interrupted))?;
        blocking(threads, move || {
            let done = work();
            drop(place);
            done
        })
        .await
    }

    /// Reads what it can of `[at, at + len)`, at least one byte and at most 1 MiB; `steady` bytes of the file never
    /// change. A file that ends at `at` is an error. The bytes count against the lane's memory until they are
    /// dropped: do not hold them while a client stalls.
    pub async fn read(&self, file: &Arc<dyn File>, at: u64, len: usize, steady: u64) -> io::Result<Bytes> {
        let want = Want { at, len: len.min(READ_MAX) as u64, steady };
        if let Some(found) = self.look_ahead(file, want) {
            if let Some(bytes) = found.read.await {
                self.counts.ahead_used_bytes.fetch_add(found.len, Ordering::Relaxed);
                return Ok(bytes.slice(found.from as usize..(found.from + found.len) as usize));
            }
            self.ahead.lock().forget(&OpenFile(file.clone()), at + found.len);
        }
        self.read_now(file, at, want.len as usize).await
    }

    /// Drops what was read ahead for readers that left; called by housekeeping.
    pub fn sweep(&self) {
        self.ahead.lock().sweep();
        release_idle();
    }

    fn look_ahead(&self, file: &Arc<dyn File>, want: Want) -> Option<Found<AheadRead>> {
        let threads = self.threads.as_ref()?;
        let begin = |stretch: Stretch| self.begin_ahead(threads, file, stretch);
        self.ahead.lock().ask(&OpenFile(file.clone()), want, begin)
    }

    /// Starts a read that nobody waits for yet, if there is a place and memory for it right now.
    fn begin_ahead(&self, threads: &Handle, file: &Arc<dyn File>, stretch: Stretch) -> Option<AheadRead> {
        let len = usize::try_from(stretch.len).ok()?;
        let place = self.places.clone().try_acquire_owned().ok()?;
        let memory = self.memory.clone().try_acquire_many_owned(permits(len)).ok()?;
        self.counts.ahead_bytes.fetch_add(stretch.len, Ordering::Relaxed);
        let file = file.clone();
        let read = blocking(threads, move || {
            let bytes = read_exactly(&*file, stretch.at, len)?;
            drop(place);
            Ok(Bytes::from_owner(Budgeted { bytes, _memory: memory }))
        });
        // Whoever comes for it reads again if it failed, and tells that error.
        Some(read.map(Result::ok).boxed().shared())
    }

    async fn read_now(&self, file: &Arc<dyn File>, at: u64, len: usize) -> io::Result<Bytes> {
        let memory = self.take_memory(len).await?;
        self.counts.read_bytes.fetch_add(len as u64, Ordering::Relaxed);
        let file = file.clone();
        let bytes = self.run(move || read_exactly(&*file, at, len)).await?;
        Ok(Bytes::from_owner(Budgeted { bytes, _memory: memory }))
    }

    /// Takes from the memory budget. When it is spent, what was read ahead goes first.
    async fn take_memory(&self, len: usize) -> io::Result<OwnedSemaphorePermit> {
        loop {
            if let Ok(memory) = self.memory.clone().try_acquire_many_owned(permits(len)) {
                return Ok(memory);
            }
            if !self.ahead.lock().give_way() {
                break;
            }
        }
        self.counts.budget_waits.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting::new(&self.counts.waiting);
        let memory = self.memory.clone().acquire_many_owned(permits(len)).await;
        // The lane is never closed while the broker runs.
        memory.map_err(|_| io::Error::from(io::ErrorKind::Interrupted))
    }
}

/// Waits as long as a simulated disk would keep a thread now.
pub async fn wait_as_simulated(files: Option<&dyn Files>) {
    let lag = files.map_or(Duration::ZERO, Files::lag);
    if !lag.is_zero() {
        tokio::time::sleep(lag).await;
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(GRAIN)).unwrap_or(u32::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the cold lane: the one place where a thread waits for a disk"
)]
fn blocking<T: Send + 'static>(
    threads: &Handle,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> impl Future<Output = io::Result<T>> + Send + 'static {
    let work = threads.spawn_blocking(work);
    async move { work.await.map_err(io::Error::other)? }
}

fn read_exactly(file: &dyn File, at: u64, len: usize) -> io::Result<Bytes> {
    let bytes = file.read_uncached(at, len)?;
    if bytes.len() == len { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Fills `out` from `at`; an earlier end of the file is an error.
pub fn read_exact(file: &dyn File, out: &mut [u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < out.len() {
        match file.read_at(&mut out[done..], at + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => done += read,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use firnline_tiering::hot::file::{OpenMode, OsFiles};

    const LEN: usize = 9 << 20;

    fn file(dir: &std::path::Path) -> Arc<dyn File> {
        let file = OsFiles.open(&dir.join("log"), OpenMode::CreateNew).unwrap();
        let content: Vec<u8> = (0..LEN).map(|at| (at / 1000) as u8).collect();
        file.write_at(&content, 0).unwrap();
        file
    }

    fn lane() -> Arc<ColdLane> {
        ColdLane::new(Some(Handle::current()), MEMORY_MIN)
    }

    async fn all(lane: &ColdLane, file: &Arc<dyn File>) -> usize {
        let mut at = 0;
        while at < LEN {
            let bytes = lane.read(file, at as u64, 1_000_000.min(LEN - at), LEN as u64).await.unwrap();
            assert!(!bytes.is_empty());
            assert!(bytes.iter().enumerate().all(|(i, byte)| *byte == ((at + i) / 1000) as u8), "at {at}");
            at += bytes.len();
        }
        at
    }

    #[tokio::test]
    async fn a_reader_in_sequence_gets_every_byte_and_finds_most_of_them_there() {
        let dir = tempfile::tempdir().unwrap();
        let (lane, file) = (lane(), file(dir.path()));
        assert_eq!(all(&lane, &file).await, LEN);
        let counts = lane.counts();
        let (read, used) =
            (counts.read_bytes.load(Ordering::Relaxed), counts.ahead_used_bytes.load(Ordering::Relaxed));
        assert_eq!(read + used, LEN as u64);
        assert!(used > read, "{used} read ahead, {read} waited for");
    }

    #[tokio::test]
    async fn memory_is_bounded_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (lane, file) = (lane(), file(dir.path()));
        let mut held = Vec::new();
        for at in 0..MEMORY_MIN / READ_MAX {
            held.push(lane.read(&file, (2 * at * READ_MAX) as u64, READ_MAX, LEN as u64).await.unwrap());
        }
        assert_eq!(lane.memory(), (MEMORY_MIN, MEMORY_MIN));
        let mut more = Box::pin(lane.read(&file, 5, 10, LEN as u64));
        assert!(futures::poll!(&mut more).is_pending(), "the budget is spent");
        assert_eq!(lane.counts().budget_waits.load(Ordering::Relaxed), 1);
        held.pop();
        assert_eq!(more.await.unwrap().len(), 10);
        drop(held);
        assert_eq!(lane.memory().0, 0);
    }

    #[tokio::test]
    async fn what_was_read_ahead_gives_way_to_who_waits() {
        let dir = tempfile::tempdir().unwrap();
        let (lane, file) = (lane(), file(dir.path()));
        for at in [0, READ_MAX, 2 * READ_MAX] {
            lane.read(&file, at as u64, READ_MAX, LEN as u64).await.unwrap();
        }
        assert!(lane.memory().0 > 0, "something lies ahead");
        let mut held = Vec::new();
        for at in [1, 2, 3] {
            held.push(lane.read(&file, at, READ_MAX, LEN as u64).await.unwrap());
        }
        assert_eq!(held.len(), 3);
    }

    #[tokio::test]
    async fn the_end_of_a_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (lane, file) = (lane(), file(dir.path()));
        let error = lane.read(&file, LEN as u64 - 1, 2, LEN as u64 + 1).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
