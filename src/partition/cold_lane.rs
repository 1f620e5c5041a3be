//! Work that may wait for the local disk: a few threads do it, so that no serving core ever does.
//! It is not the way to the bucket (tiering's cold reader is). Invariant: at most `LANES` pieces of work at once; what
//! comes later waits without holding a thread. In a simulation the work runs inline, where disks do not wait.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use firnline_tiering::hot::file::File;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Pieces of work at once. A disk serves a handful of 1 MiB reads in parallel; more only adds memory.
const LANES: usize = 8;

/// The lane for local disk work.
pub struct ColdLane {
    /// Whose blocking threads do the work; `None` does it inline.
    threads: Option<Handle>,
    places: Semaphore,
}

impl ColdLane {
    /// A lane on the blocking threads of a runtime, or inline.
    pub fn new(threads: Option<Handle>) -> Arc<Self> {
        Arc::new(Self { threads, places: Semaphore::new(LANES) })
    }

    /// Does `work` where it may wait for the disk. It runs to its end even when nobody waits for it any more.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the cold lane: the one place where a thread waits for a disk"
    )]
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Some(threads) = &self.threads else { return work() };
        // The lane is never closed while the broker runs.
        let _place = self.places.acquire().await.map_err(|_| io::Error::from(io::ErrorKind::Interrupted))?;
        threads.spawn_blocking(work).await.map_err(io::Error::other)?
    }

    /// Reads exactly `len` bytes at `at`; an earlier end of the file is an error.
    pub async fn read(&self, file: Arc<dyn File>, at: u64, len: usize) -> io::Result<Bytes> {
        self.run(move || {
            let mut bytes = BytesMut::zeroed(len);
            read_exact(&*file, &mut bytes, at)?;
            Ok(bytes.freeze())
        })
        .await
    }
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
