//! Cutting a log at either end: after failover, at its start, or what the bucket holds already.
//! Never on a serving core. Invariant: lineage, indexes and producers are cut together with the bytes, and a file
//! that lost its end is never written again (a reader may still hold its pages): a new segment goes on.

use crate::epoch::Lineage;
use crate::hot::dir::Kind;
use crate::hot::headers::SegmentError;
use crate::hot::health::is_full;
use crate::hot::recovery::{Depth, Scanned, scan};
use crate::hot::segment::Segment;
use crate::hot::segments::Segments;
use crate::log::producers::{Snapshot, rebuild, remove_snapshot, snapshots};
use crate::log::unified::{Chores, Log, Writer};
use crate::offsets::Offset;
use crate::producer::snapshot::decode_producers;
use crate::producer::state::ProducerTable;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Why a log was not cut.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CutError {
    /// Past the end of the log.
    #[error("offset {asked} is above the log's end {end}")]
    AboveEnd {
        /// What was asked for.
        asked: Offset,
        /// The log's end.
        end: Offset,
    },
    /// Below what must stay: the log start, the local start, or the bucket's committed end (D4).
    #[error("offset {asked} is below {floor}, which must stay")]
    BelowFloor {
        /// What was asked for.
        asked: Offset,
        /// The lowest offset the log may be cut to.
        floor: Offset,
    },
    /// The disk failed and the log is offline.
    #[error("storage failed: {what}")]
    Storage {
        /// The failed call, with the path.
        what: Arc<str>,
    },
}

impl Log {
    /// Removes everything at and above `to`, which may lie inside a batch: that batch goes whole. At or above the
    /// end it is a no-op. Save the directory's recovery points before the next append.
    pub fn truncate(&self, to: Offset) -> Result<(), CutError> {
        let mut chores = self.chores.lock();
        let mut writer = self.writer.lock();
        let segments = self.segments.load_full();
        if to >= segments.end() {
            return Ok(());
        }
        self.check_floor(to, self.log_start().max(segments.start()))?;
        self.truncate_locked(&mut chores, &mut writer, &segments, to).map_err(|error| self.broken(&error))
    }

    /// Drops everything local and starts empty at `at`: for a log that lost touch with the bucket (D4).
    pub fn restart_at(&self, at: Offset) -> Result<(), CutError> {
        let mut chores = self.chores.lock();
        let mut writer = self.writer.lock();
        self.check_floor(at, self.log_start())?;
        let result = snapshots(&*self.files, &self.dir).and_then(|known| {
            known.into_iter().try_for_each(|known| remove_snapshot(&*self.files, &self.dir, known))?;
            self.start_over(&mut chores, &mut writer, at)
        });
        result.map_err(|error| self.broken(&error.into()))
    }

    /// Starts an empty log once more at `base`, below its log start, which stays: the leader's log begins inside the batch
    /// there, and the batch comes whole. Refused where the log holds anything.
    pub fn restart_inside(&self, base: Offset) -> Result<(), CutError> {
        let mut chores = self.chores.lock();
        let mut writer = self.writer.lock();
        let segments = self.segments.load_full();
        if segments.bytes() > 0 || base > segments.end() {
            return Err(CutError::BelowFloor { asked: base, floor: segments.end() });
        }
        self.check_floor(base, Offset::ZERO)?;
        self.start_over(&mut chores, &mut writer, base).map_err(|error| self.broken(&error.into()))
    }

    /// Takes over lineage and producer window (`.producers` bytes) from the bucket, after the log started empty at
    /// the remote end. Errors if the window is damaged or the log is not empty; nothing changed then.
    pub fn restore(&self, lineage: Lineage, producers: Option<&[u8]>) -> io::Result<()> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut table = ProducerTable::new();
        if let Some(bytes) = producers {
            let (_, states) = decode_producers(bytes).map_err(|fault| invalid(fault.to_string()))?;
            let now_ms = self.clock.now_ms();
            states.into_iter().for_each(|state| table.load(state, now_ms));
        }
        let mut chores = self.chores.lock();
        let mut writer = self.writer.lock();
        let segments = self.segments.load_full();
        if segments.all().len() > 1 || !segments.active().is_empty() {
            return Err(invalid(format!("{}: only an empty log takes over state", self.id)));
        }
        let snapshot = Snapshot::of(&table, segments.end());
        self.note_undecided(&table);
        writer.producers = table;
        self.lineage.store(Arc::new(lineage));
        self.save_lineage(&mut chores)?;
        snapshot.write(&*self.files, &self.dir)
    }

    /// Moves the log start up to `to` (it may lie inside a batch); segments wholly below go. Lower is a no-op (I7).
    pub fn advance_log_start(&self, to: Offset) -> Result<(), CutError> {
        let mut chores = self.chores.lock();
        let end = self.segments.load().end();
        if to > end {
            return Err(CutError::AboveEnd { asked: to, end });
        }
        let before = self.log_start.fetch_max(to.0, Ordering::AcqRel);
        if before >= to.0 {
            return Ok(());
        }
        self.change_lineage(|lineage| lineage.truncate_before(to));
        self.drop_front(&mut chores, to)
    }

    /// Removes local segments that end at or below `below`; the bucket answers for them from now on. The active
    /// one stays. Panics if `below` is above the tier's committed end (I15).
    pub fn release_local(&self, below: Offset) -> Result<(), CutError> {
        let covered = self.tier.load().as_ref().map_or(Offset::ZERO, |row| row.end);
        assert!(below <= covered, "{}: local bytes below {below} go, the bucket ends at {covered}", self.id);
        let mut chores = self.chores.lock();
        self.drop_front(&mut chores, below)
    }

    /// Readers lose sight of the segments first; those that hold one go on reading it.
    fn drop_front(&self, chores: &mut Chores, below: Offset) -> Result<(), CutError> {
        let segments = self.segments.load_full();
        let (gone, kept) = segments.split_front(below);
        if gone.is_empty() {
            return Ok(());
        }
        self.keep_producers(&segments, kept.start()).map_err(|error| self.broken(&error))?;
        // A core may seal a segment meanwhile, so the list is taken as it is then.
        self.segments.rcu(|now| Arc::new(now.split_front(below).1));
        self.discard(chores, &gone).map_err(|error| self.broken(&error.into()))
    }

    /// What the segments below `start` told about producers has to outlive them.
    fn keep_producers(&self, segments: &Segments, start: Offset) -> Result<(), SegmentError> {
        self.write_snapshots()?;
        if snapshots(&*self.files, &self.dir)?.contains(&start) {
            return Ok(());
        }
        // The snapshot of that border was still in memory when a crash came.
        let producers = rebuild(&*self.files, &self.dir, segments, start, self.clock.now_ms())?;
        Ok(Snapshot::of(&producers, start).write(&*self.files, &self.dir)?)
    }

    fn truncate_locked(
        &self,
        chores: &mut Chores,
        writer: &mut Writer,
        segments: &Segments,
        to: Offset,
    ) -> Result<(), SegmentError> {
        let (at, cut) = find_cut(segments, to)?;
        self.forget_tip(chores)?;
        let cut_at = cut.map_or(segments.all()[at].base(), |(_, base)| base).min(to);
        // The log start may lie inside the batch that goes; it never falls (I7).
        let end = cut_at.max(self.log_start());
        self.forget_above(writer, end)?;
        let mut kept = segments.all()[..at].to_vec();
        // Newest first, so that a crash in between leaves a log without a hole.
        let keep = at + usize::from(cut.is_some());
        let mut dropped = segments.all()[keep..].to_vec();
        dropped.reverse();
        if keep == 0 {
            // What stood below the local start is in the snapshot there.
            let producers = rebuild(&*self.files, &self.dir, segments, end, self.clock.now_ms())?;
            Snapshot::of(&producers, end).write(&*self.files, &self.dir)?;
            self.start_over(chores, writer, end)?;
            self.note_undecided(&producers);
            writer.producers = producers;
            return Ok(());
        }
        // Each step is durable before the next: what was cut must never come back beside what is written after it.
        self.discard(chores, &dropped)?;
        if let Some((position, _)) = cut {
            kept.push(Arc::new(self.shortened(&segments.all()[at], position)?));
        }
        // Its base closes up to what is kept, so that a crash does not take the difference for a loss.
        kept.push(Arc::new(Segment::create(&self.files, &self.dir, cut_at, end)?));
        self.segments.store(Arc::new(Segments::new(kept)));
        self.names_changed();
        self.sync_names()?;
        self.change_lineage(|lineage| lineage.truncate_from(end));
        self.save_lineage(chores)?;
        self.unstable.cut(end);
        let now = self.segments.load_full();
        let producers = rebuild(&*self.files, &self.dir, &now, end, self.clock.now_ms())?;
        self.note_undecided(&producers);
        writer.snapshots.push(Snapshot::of(&producers, end));
        writer.producers = producers;
        self.recovery_point.fetch_min(end.0, Ordering::AcqRel);
        self.uncleaned_from(end);
        Ok(())
    }

    /// The segment without the bytes from `position` on; sealed from now on, its indexes made anew.
    fn shortened(&self, segment: &Segment, position: u64) -> io::Result<Segment> {
        segment.file().truncate(position)?;
        segment.file().sync()?;
        let interval = self.config.load().index_interval_bytes;
        let Scanned { opened, .. } =
            scan(&**segment.file(), segment.base(), Depth::Headers, interval, |_| {})?;
        for kind in [Kind::OffsetIndex, Kind::TimeIndex] {
            match self.files.remove(&segment.path(kind)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let mut aborted = Vec::new();
        segment.aborted(segment.base(), Offset(i64::MAX), &mut aborted)?;
        aborted.retain(|one| one.last < opened.next);
        let file = segment.file().clone();
        let shortened = Segment::opened(&self.files, &self.dir, segment.base(), file, opened);
        shortened.transactions().replace(aborted);
        Ok(shortened)
    }

    /// Snapshots of what is cut off would bring it back.
    fn forget_above(&self, writer: &mut Writer, end: Offset) -> io::Result<()> {
        writer.snapshots.retain(|snapshot| snapshot.at <= end);
        for at in snapshots(&*self.files, &self.dir)?.into_iter().filter(|at| *at > end) {
            remove_snapshot(&*self.files, &self.dir, at)?;
        }
        Ok(())
    }

    /// Every segment goes, newest first; a fresh one begins at `at`. Snapshots are the caller's to settle.
    fn start_over(&self, chores: &mut Chores, writer: &mut Writer, at: Offset) -> io::Result<()> {
        self.forget_tip(chores)?;
        let mut dropped = self.segments.load().all().to_vec();
        dropped.reverse();
        self.discard(chores, &dropped)?;
        let fresh = Arc::new(Segment::create(&self.files, &self.dir, at, at)?);
        self.segments.store(Arc::new(Segments::new(vec![fresh])));
        self.names_changed();
        self.sync_names()?;
        *writer = Writer::default();
        self.unstable.cut(at);
        self.note_undecided(&writer.producers);
        self.change_lineage(|lineage| lineage.truncate_from(at));
        self.save_lineage(chores)?;
        self.recovery_point.store(at.0, Ordering::Release);
        self.uncleaned_from(at);
        Ok(())
    }

    /// What will come at and above `end` has never been cleaned.
    fn uncleaned_from(&self, end: Offset) {
        self.clean_point.fetch_min(end.0, Ordering::AcqRel);
        self.cuts.fetch_add(1, Ordering::AcqRel);
    }

    fn check_floor(&self, asked: Offset, start: Offset) -> Result<(), CutError> {
        let covered = self.tier.load().as_ref().map_or(Offset::ZERO, |row| row.end);
        let floor = start.max(covered);
        if asked < floor { Err(CutError::BelowFloor { asked, floor }) } else { Ok(()) }
    }

    fn broken(&self, error: &SegmentError) -> CutError {
        let what = match error {
            SegmentError::Io(error) if is_full(error) => {
                format!("the disk is full: {error} in {}", self.dir.display()).into()
            }
            SegmentError::Io(error) => self.fail("cut", error),
            // A cut waits for the disk, so that what it needs is never "not in memory".
            SegmentError::Batch { .. } | SegmentError::Cold => self.fail_alone("cut", error),
        };
        CutError::Storage { what }
    }
}

/// The segment the cut goes through, and the byte and offset of the first batch that goes; without these the
/// whole segment goes.
fn find_cut(segments: &Segments, to: Offset) -> Result<(usize, Option<(u64, Offset)>), SegmentError> {
    let at = segments.find(to);
    let segment = &segments.all()[at];
    match segment.locate(to)? {
        Some(first) if first.position == 0 => Ok((at, None)),
        Some(first) => Ok((at, Some((first.position, first.base.min(to))))),
        // Everything in it is below: it stays whole, and what follows goes.
        None => Ok((at, Some((segment.bytes(), to)))),
    }
}
