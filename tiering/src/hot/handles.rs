//! Bounds the descriptors of segment files: one that nobody used for a while is closed and opened again when needed.
//! It closes nothing that holds bytes which are not durable without an fsync first, and it is not for files whose name
//! may go while somebody reads them: those are pinned. Invariant: at most the limit is open, unless all are in use.
//!
//! ```text
//! opened → back of the line;  line too long → its front: used since? to the back : clean? closed : to the back
//! ```

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Descriptors that are left alone however long nobody used them.
const IDLE_FREE: usize = 512;

/// Looks it takes [`Handles::close_idle`] to go round all open files once.
const LOOKS_PER_ROUND: usize = 120;

/// Files asked at most when one more was opened.
const ASKED_MAX: usize = 32;

/// Something that can be closed while nobody uses it.
pub trait Parkable: Send + Sync + Debug {
    /// Whether it was used since this was asked last.
    fn was_used(&self) -> bool;
    /// Makes what was written durable; false if that failed.
    fn settle(&self) -> bool;
    /// Closes it and says so to [`Handles::closed`]; false if it holds what is not durable.
    fn close(&self) -> bool;
}

/// The open segment files of a process.
#[derive(Debug)]
pub struct Handles {
    limit: AtomicUsize,
    open: AtomicUsize,
    /// Everyone in it is open or gone.
    line: Mutex<VecDeque<Weak<dyn Parkable>>>,
}

impl Handles {
    /// Without a limit yet.
    pub const fn new() -> Self {
        let (limit, open) = (AtomicUsize::new(usize::MAX), AtomicUsize::new(0));
        Self { limit, open, line: Mutex::new(VecDeque::new()) }
    }

    /// How many may be open; at least 1.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit.max(1), Ordering::Relaxed);
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// One more is open: it goes to the back of the line, and somebody else may have to go.
    pub fn opened(&self, file: Weak<dyn Parkable>) {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let mut line = self.line.lock();
        line.push_back(file);
        if line.len() > 2 * open + IDLE_FREE {
            // Mostly those that are gone: a log that rolls and deletes for months never fills the line to its limit.
            line.retain(|file| file.strong_count() > 0);
        }
        drop(line);
        self.make_room();
    }

    /// One less is open.
    pub fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Closes what was not used since the last round, a part of the line at a time. May wait for fsyncs: not on a
    /// serving core.
    pub fn close_idle(&self) {
        let looks = self.line.lock().len() / LOOKS_PER_ROUND + 1;
        for _ in 0..looks {
            if self.open() <= IDLE_FREE {
                return;
            }
            let Some(front) = self.next() else { return };
            if front.was_used() || !front.settle() || !front.close() {
                self.line.lock().push_back(Arc::downgrade(&front));
            }
        }
    }

    /// Makes room after one more was opened.
    fn make_room(&self) {
        for _ in 0..ASKED_MAX {
            if self.open() <= self.limit.load(Ordering::Relaxed) {
                return;
            }
            let Some(front) = self.next() else { return };
            if front.was_used() || !front.close() {
                self.line.lock().push_back(Arc::downgrade(&front));
            }
        }
    }

    /// Takes the front of the line that still lives.
    fn next(&self) -> Option<Arc<dyn Parkable>> {
        let mut line = self.line.lock();
        loop {
            if let Some(front) = line.pop_front()?.upgrade() {
                return Some(front);
            }
        }
    }
}

impl Default for Handles {
    fn default() -> Self {
        Self::new()
    }
}
