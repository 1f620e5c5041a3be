//! What a log does off the serving cores: rolls idle segments, makes sealed ones durable, writes snapshots, removes
//! deleted files, closes. Invariant: the append lock is never held across a wait for a disk, and the recovery point
//! moves only over bytes whose log, indexes, snapshots and epochs are all durable.

use crate::epoch::Lineage;
use crate::hot::dir::{DELETED, Kind, LEADER_EPOCH_CHECKPOINT};
use crate::hot::segment::Segment;
use crate::log::producers::{Snapshot, remove_snapshot, snapshots};
use crate::log::unified::{Chores, Log, Trash};
use crate::offsets::Offset;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Log {
    /// Seals the active segment if its time passed since its first append, also when nothing comes any more.
    /// Returns whether it did.
    pub fn roll_if_due(&self) -> io::Result<bool> {
        let active = self.segments.load().active().clone();
        let roll_ms = self.config.load().roll_ms();
        let due =
            active.first_append_ms().is_some_and(|first| self.clock.now_ms().saturating_sub(first) > roll_ms);
        if due { self.roll() } else { Ok(false) }
    }

    /// Seals the active segment unless it is empty. Returns whether it did.
    pub fn roll(&self) -> io::Result<bool> {
        self.check_online()?;
        let mut writer = self.writer.lock();
        let active = self.segments.load().active().clone();
        if active.is_empty() || self.closed.load(Ordering::Acquire) {
            return Ok(false);
        }
        self.roll_writer(&mut writer, active.next())?;
        Ok(true)
    }

    /// One turn of housekeeping: fsyncs sealed segments, writes their indexes, producer snapshots and the lineage,
    /// advances the recovery point over them, removes files whose delay passed, forgets expired producers.
    /// After an error the log is offline.
    pub fn maintain(&self) -> io::Result<()> {
        self.check_online()?;
        let mut chores = self.chores.lock();
        if self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.forget_idle_producers();
        let result = self.settle(&mut chores).and_then(|()| self.empty_trash(&mut chores));
        result.inspect_err(|error| {
            self.fail("housekeeping", error);
        })
    }

    /// Makes everything appended so far durable and returns the offset up to which it is. After an error the log
    /// is offline: a failed fsync is never retried.
    pub fn flush(&self) -> io::Result<Offset> {
        self.check_online()?;
        let mut chores = self.chores.lock();
        if self.closed.load(Ordering::Acquire) {
            return Ok(self.recovery_point());
        }
        self.flush_with(&mut chores).inspect_err(|error| {
            self.fail("flush", error);
        })
    }

    /// Refuses further appends, flushes, and writes what makes the next open a matter of reading names: indexes,
    /// producer snapshot, epochs. Closing twice is fine.
    pub fn close(&self) -> io::Result<()> {
        let mut chores = self.chores.lock();
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.check_online()?;
        // An append that began before the flag was set has ended once the lock was free.
        let (end, snapshot) = {
            let writer = self.writer.lock();
            let end = self.segments.load().end();
            (end, Snapshot::of(&writer.producers, end))
        };
        let closed = self.flush_with(&mut chores).and_then(|_| {
            self.segments.load().active().write_indexes()?;
            snapshot.write(&*self.files, &self.dir)?;
            self.forget_snapshots(end)?;
            self.files.sync_dir(&self.dir)
        });
        closed.inspect_err(|error| {
            self.fail("close", error);
        })
    }

    /// Refuses further appends and makes nothing durable: the end of a log whose directory is about to be deleted. A
    /// chore or an append that began before has ended when this returns, and none begins later.
    pub fn abandon(&self) {
        let _chores = self.chores.lock();
        self.closed.store(true, Ordering::Release);
        drop(self.writer.lock());
    }

    fn flush_with(&self, chores: &mut Chores) -> io::Result<Offset> {
        // What is sealed while we wait belongs to the next flush: its bytes are still synced here.
        let segments = self.segments.load_full();
        let end = segments.end();
        self.settle(chores)?;
        if end > self.recovery_point() {
            segments.active().file().sync()?;
            self.save_lineage(chores)?;
            self.files.sync_dir(&self.dir)?;
            self.recovery_point.fetch_max(end.0, Ordering::AcqRel);
        }
        // It may have changed without an append: by recovery, or by a new log start.
        self.save_lineage(chores)?;
        Ok(end)
    }

    /// Makes the sealed segments durable, oldest first.
    fn settle(&self, chores: &mut Chores) -> io::Result<()> {
        let segments = self.segments.load_full();
        let due =
            |segment: &Segment, next: Offset| next > self.recovery_point() || segment.index_is_in_memory();
        let mut settled = Vec::new();
        for (at, segment) in segments.sealed().iter().enumerate() {
            if due(segment, segments.next_of(at)) {
                segment.file().sync()?;
                segment.write_indexes()?;
                settled.push(segment);
            }
        }
        self.write_snapshots()?;
        if settled.is_empty() {
            return Ok(());
        }
        self.save_lineage(chores)?;
        self.files.sync_dir(&self.dir)?;
        self.recovery_point.fetch_max(segments.active().base().0, Ordering::AcqRel);
        settled.into_iter().for_each(|segment| segment.forget_memory_index());
        self.forget_snapshots(segments.end())
    }

    /// Writes the snapshots that were encoded when segments were sealed.
    pub(super) fn write_snapshots(&self) -> io::Result<()> {
        let snapshots = std::mem::take(&mut self.writer.lock().snapshots);
        snapshots.iter().try_for_each(|snapshot| snapshot.write(&*self.files, &self.dir))
    }

    /// Removes snapshots nobody will ask for: below the first segment, and those of no segment's border but the
    /// newest.
    fn forget_snapshots(&self, end: Offset) -> io::Result<()> {
        let segments = self.segments.load_full();
        let known = snapshots(&*self.files, &self.dir)?;
        let newest = known.iter().rev().find(|at| **at <= end).copied();
        for at in known {
            let border = segments.all().binary_search_by_key(&at, |segment| segment.base());
            if border.is_err() && Some(at) != newest {
                remove_snapshot(&*self.files, &self.dir, at)?;
            }
        }
        Ok(())
    }

    /// Writes `leader-epoch-checkpoint` durably if it changed.
    pub(super) fn save_lineage(&self, chores: &mut Chores) -> io::Result<()> {
        let lineage = self.lineage.load_full();
        let same = |saved: &Arc<Lineage>| Arc::ptr_eq(saved, &lineage) || **saved == *lineage;
        if chores.saved_lineage.as_ref().is_some_and(same) {
            return Ok(());
        }
        let path = self.dir.join(LEADER_EPOCH_CHECKPOINT);
        self.files.write_atomic(&path, lineage.to_checkpoint().as_bytes())?;
        chores.saved_lineage = Some(lineage);
        Ok(())
    }

    fn forget_idle_producers(&self) {
        if let Some(mut writer) = self.writer.try_lock() {
            let expiration_ms = self.config.load().producer_expiration_ms;
            writer.producers.expire(self.clock.now_ms(), expiration_ms);
        }
    }

    /// Renames a segment's files to `.deleted`; they are removed after `file.delete.delay.ms`.
    pub(super) fn discard(&self, chores: &mut Chores, segments: &[Arc<Segment>]) -> io::Result<()> {
        let due_ms = self.clock.now_ms().saturating_add(self.config.load().file_delete_delay_ms);
        for segment in segments {
            let mut paths = Vec::new();
            for kind in [Kind::Log, Kind::OffsetIndex, Kind::TimeIndex, Kind::TxnIndex] {
                let path = segment.path(kind);
                let gone = deleted(&path);
                match self.files.rename(&path, &gone) {
                    Ok(()) => paths.push(gone),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            chores.trash.push(Trash { due_ms, paths });
        }
        Ok(())
    }

    fn empty_trash(&self, chores: &mut Chores) -> io::Result<()> {
        let now_ms = self.clock.now_ms();
        for trash in chores.trash.extract_if(.., |trash| trash.due_ms <= now_ms) {
            for path in &trash.paths {
                match self.files.remove(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    pub(super) fn check_online(&self) -> io::Result<()> {
        self.offline().map_or(Ok(()), |why| Err(io::Error::other(why.to_string())))
    }
}

fn deleted(path: &std::path::Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(DELETED);
    PathBuf::from(name)
}
