//! What a log does off the serving cores: rolls idle segments, makes sealed ones durable, writes snapshots, removes
//! deleted files, closes. Invariant: the append lock is never held across a wait for a disk, and the recovery point
//! moves only over bytes whose log, indexes, snapshots and epochs are all durable.

use crate::epoch::Lineage;
use crate::hot::dir::{DELETED, Kind, LEADER_EPOCH_CHECKPOINT};
use crate::hot::health::is_full;
use crate::hot::segment::Segment;
use crate::log::producers::{Snapshot, remove_snapshot, snapshots};
use crate::log::roll::longest_age;
use crate::log::unified::{Chores, Log, Trash};
use crate::offsets::Offset;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Log {
    /// Seals the active segment if `segment.ms` (less its jitter) passed since its first append, also when nothing comes any more.
    /// Returns whether it did.
    pub fn roll_if_due(&self) -> io::Result<bool> {
        let active = self.segments.load().active().clone();
        let longest = longest_age(&self.id, active.base(), &self.config.load());
        let due =
            active.first_append_ms().is_some_and(|first| self.clock.now_ms().saturating_sub(first) > longest);
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
    /// After an error the directory is offline, unless its disk is merely full: the next turn tries again.
    pub fn maintain(&self) -> io::Result<()> {
        self.check_online()?;
        let mut chores = self.chores.lock();
        if self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.forget_idle_producers(&mut chores);
        // Trash first: it makes the room that settling may need.
        let result = self.empty_trash(&mut chores).and_then(|()| self.settle(&mut chores));
        result.inspect_err(|error| {
            self.fail_unless_full("housekeeping", error);
        })?;
        match self.note_tip(&mut chores) {
            // Nothing needs a note.
            Err(error) if is_full(&error) => Ok(()),
            noted => noted.inspect_err(|error| {
                self.fail("note the end", error);
            }),
        }
    }

    /// When housekeeping has something to do here although nothing happens to the log, milliseconds; `None`: never.
    pub fn due_ms(&self) -> Option<i64> {
        if self.offline().is_some() || self.closed.load(Ordering::Acquire) {
            return None;
        }
        let config = self.config.load();
        let chores = self.chores.lock();
        let active = self.segments.load().active().clone();
        let roll = active.first_append_ms().map(|first| {
            // Due once more than that has passed.
            first.saturating_add(longest_age(&self.id, active.base(), &config)).saturating_add(1)
        });
        let flush = (config.flush_ms != i64::MAX && self.unflushed() > 0)
            .then(|| self.flushed_ms.load(Ordering::Relaxed).saturating_add(config.flush_ms));
        let trash = chores.trash.iter().map(|trash| trash.due_ms).min();
        // Whoever holds the lock appends, and will say so.
        let producers = self.writer.try_lock().is_none_or(|writer| !writer.producers.is_empty());
        let expiry = producers.then(|| chores.producers_checked_ms.saturating_add(config.producer_check_ms));
        [roll, flush, trash, expiry].into_iter().flatten().min()
    }

    /// Makes the names that opening changed durable: before the first append, so that no stale index of the active
    /// segment comes back beside what is appended. Cheapest for many logs once all are open. After an error the log is
    /// offline.
    pub fn settle_names(&self) -> io::Result<()> {
        self.check_online()?;
        self.sync_names().inspect_err(|error| {
            self.fail("settle names", error);
        })
    }

    /// Refuses further appends, flushes, and writes what makes the next open a matter of reading names: indexes,
    /// producer snapshot, epochs. Closing twice is fine.
    pub fn close(&self) -> io::Result<()> {
        let mut chores = self.chores.lock();
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Nothing is planned for it any more.
        self.stir();
        self.check_online()?;
        // An append that began before the flag was set has ended once the lock was free.
        let (end, snapshot, untouched) = {
            let writer = self.writer.lock();
            let segments = self.segments.load();
            let untouched = segments.active().is_empty() && writer.producers.is_empty();
            (segments.end(), Snapshot::of(&writer.producers, segments.end()), untouched)
        };
        let closed = self.flush_with(&mut chores).and_then(|_| {
            if untouched {
                // No byte to index and no producer to remember: a broker with thousands of idle logs stops at once.
                return Ok(());
            }
            self.segments.load().active().write_indexes()?;
            snapshot.write(&*self.files, &self.dir)?;
            self.forget_snapshots(end)?;
            self.files.sync_dir(&self.dir)
        });
        closed.inspect_err(|error| {
            self.fail_unless_full("close", error);
        })
    }

    /// Refuses further appends and makes nothing durable: the end of a log whose directory is about to be deleted. A
    /// chore or an append that began before has ended when this returns, and none begins later.
    pub fn abandon(&self) {
        let _chores = self.chores.lock();
        self.closed.store(true, Ordering::Release);
        self.stir();
        drop(self.writer.lock());
        // The directory may come back under the same name, with another log in it.
        self.segments.load().all().iter().for_each(|segment| segment.retire());
    }

    /// Makes the sealed segments durable, oldest first. Index files are made once all names are durable: beside an
    /// index, a gap before the next segment is compaction's, never a segment whose name was lost.
    pub(super) fn settle(&self, chores: &mut Chores) -> io::Result<()> {
        let segments = self.segments.load_full();
        self.sync_names()?;
        let due =
            |segment: &Segment, next: Offset| next > self.recovery_point() || segment.index_is_in_memory();
        let mut settled = Vec::new();
        for (at, segment) in segments.sealed().iter().enumerate() {
            if due(segment, segments.next_of(at)) {
                if self.config.load().preallocate {
                    // What was taken beyond the end goes back.
                    segment.file().truncate(segment.bytes())?;
                }
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
        self.names_changed();
        self.sync_names()?;
        self.recovery_point.fetch_max(segments.active().base().0, Ordering::AcqRel);
        settled.into_iter().for_each(|segment| segment.forget_memory_index());
        self.forget_snapshots(segments.end())
    }

    /// Writes the snapshots that were encoded when segments were sealed.
    pub(super) fn write_snapshots(&self) -> io::Result<()> {
        let mut snapshots = std::mem::take(&mut self.writer.lock().snapshots);
        while let Some(snapshot) = snapshots.first() {
            if let Err(error) = snapshot.write(&*self.files, &self.dir) {
                // What is not written yet waits for the next turn; newer ones may have come meanwhile.
                let mut writer = self.writer.lock();
                snapshots.append(&mut writer.snapshots);
                writer.snapshots = snapshots;
                return Err(error);
            }
            snapshots.remove(0);
        }
        Ok(())
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

    fn forget_idle_producers(&self, chores: &mut Chores) {
        let (now_ms, config) = (self.clock.now_ms(), self.config.load());
        if now_ms.saturating_sub(chores.producers_checked_ms) < config.producer_check_ms {
            return;
        }
        if let Some(mut writer) = self.writer.try_lock() {
            writer.producers.expire(now_ms, config.producer_expiration_ms);
            chores.producers_checked_ms = now_ms;
        }
    }

    /// Renames segments' files to `.deleted`; they are removed after `file.delete.delay.ms`. Each segment's going is
    /// durable before the next one's: whatever a power loss undoes, what is left has no hole.
    pub(super) fn discard(&self, chores: &mut Chores, segments: &[Arc<Segment>]) -> io::Result<()> {
        let due_ms = self.clock.now_ms().saturating_add(self.config.load().file_delete_delay_ms);
        for segment in segments {
            segment.retire();
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
            self.names_changed();
            self.sync_names()?;
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
