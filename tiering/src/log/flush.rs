//! Making a log durable: everything at once when asked, or when `flush.messages` or `flush.ms` say so. Never on a serving
//! core. Who has to wait for it is told, and waits elsewhere. Invariant: the recovery point moves only over bytes whose log,
//! indexes, snapshots and epochs are all durable, and a failed fsync takes the log offline: it is never retried.

use crate::log::unified::{Chores, Log};
use crate::offsets::Offset;
use std::io;
use std::sync::atomic::Ordering;

impl Log {
    /// Makes everything appended so far durable and returns the offset up to which it is. After an error the
    /// directory is offline: a failed fsync is never retried. Only a disk that is full may be asked again.
    pub fn flush(&self) -> io::Result<Offset> {
        self.check_online()?;
        let mut chores = self.chores.lock();
        if self.closed.load(Ordering::Acquire) {
            return Ok(self.recovery_point());
        }
        self.flush_with(&mut chores).inspect_err(|error| {
            self.fail_unless_full("flush", error);
        })
    }

    /// Flushes if something waits for it and `flush.messages` is reached or the last flush is `flush.ms` ago. Returns
    /// whether it did.
    pub fn flush_if_due(&self) -> io::Result<bool> {
        let flush_ms = self.config.load().flush_ms;
        let since = self.clock.now_ms().saturating_sub(self.flushed_ms.load(Ordering::Relaxed));
        let late = flush_ms != i64::MAX && since >= flush_ms && self.unflushed() > 0;
        if !late && self.flush_wanted().is_none() {
            return Ok(false);
        }
        self.flush().map(|_| true)
    }

    /// Up to where the log has to be flushed before what was appended last is answered, if `flush.messages` says so.
    pub fn flush_wanted(&self) -> Option<Offset> {
        let most = self.config.load().flush_messages;
        if most == i64::MAX {
            return None;
        }
        let end = self.segments.load().end();
        (end - self.recovery_point() >= most).then_some(end)
    }

    /// Waits until everything below `upto` is durable. Of many that wait at once the first flushes for all.
    pub fn flush_to(&self, upto: Offset) -> io::Result<()> {
        self.check_online()?;
        let mut chores = self.chores.lock();
        if self.recovery_point() >= upto || self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let flushed = self.flush_with(&mut chores).inspect_err(|error| {
            self.fail_unless_full("flush", error);
        });
        flushed.map(|_| ())
    }

    /// Offsets that a power cut could still take.
    pub fn unflushed(&self) -> i64 {
        self.segments.load().end() - self.recovery_point()
    }

    pub(super) fn flush_with(&self, chores: &mut Chores) -> io::Result<Offset> {
        let began_ms = self.clock.now_ms();
        // What is sealed while we wait belongs to the next flush: its bytes are still synced here.
        let segments = self.segments.load_full();
        let end = segments.end();
        self.settle(chores)?;
        if end > self.recovery_point() {
            segments.active().file().sync()?;
            self.save_lineage(chores)?;
            self.sync_names()?;
            self.recovery_point.fetch_max(end.0, Ordering::AcqRel);
        }
        // It may have changed without an append: by recovery, or by a new log start.
        self.save_lineage(chores)?;
        self.flushed_ms.fetch_max(began_ms, Ordering::Relaxed);
        Ok(end)
    }
}
