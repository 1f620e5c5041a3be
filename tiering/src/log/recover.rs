//! Opening a log: segments found and checked, the torn tail of a crash cut, indexes, epochs and producers rebuilt.
//! Invariant: no whole, valid batch is lost, and a lie below the recovery point is an error, not a cut (I20).

use crate::batch::control::Outcome;
use crate::epoch::{LeaderEpoch, Lineage};
use crate::hot::dir::{Kind, LEADER_EPOCH_CHECKPOINT, file_name};
use crate::hot::headers::SegmentError;
use crate::hot::segment::{SEGMENT_BYTES_MAX, Segment};
use crate::hot::segments::Segments;
use crate::log::load::{Loaded, Loader, epochs_of};
use crate::log::names::Names;
use crate::log::noted::{Tip, forget_note};
use crate::log::open::{OpenError, OpenLog, Recovered, RemoteEnd, remove_if_there};
use crate::log::producers::{Ended, Snapshot, newest, remove_snapshot, replay_onto, table_of};
use crate::log::unified::{Chores, Log, Writer};
use crate::log::unstable::{Unstable, aborted};
use crate::offsets::Offset;
use crate::producer::state::ProducerTable;
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, OnceLock};

/// Largest `leader-epoch-checkpoint` that is read.
const LINEAGE_MAX: u64 = 16 << 20;

impl Log {
    /// Opens the log in `open.dir`, recovering what a crash left. [`Log::settle_names`] before the first append.
    pub fn open(open: OpenLog) -> Result<(Arc<Log>, Recovered), OpenError> {
        let names = Names::tidied(&*open.files, &open.dir)?;
        let loader = Loader::new(&open, &names);
        let Loaded { segments, mut recovered, epochs, mut untold, mut tip } = loader.load(&names.bases())?;
        let mut known = names.snapshots();
        let found = (!segments.is_empty())
            .then(|| Local::of(&open, segments, epochs, names.has_lineage()))
            .transpose()?;
        let mut names_changed = true;
        let local = match found {
            Some(local) if local.goes_on(&open) => local,
            stale => {
                // It ends with a sync, and nothing below changes a name of an empty log.
                names_changed = false;
                recovered.restarted_at_remote_end =
                    open.committed_remote_end.is_some_and(|remote| remote.at > Offset::ZERO);
                untold.clear();
                tip = None;
                start_empty(&open, stale, &mut known)?
            }
        };
        let Local { segments, lineage, saved: saved_lineage, log_start } = local;
        if tip.is_none() && names.has_note() {
            // Nothing is written to the log before it is gone.
            let failed = OpenError::storage(format!("remove a note in {}", open.dir.display()));
            forget_note(&*open.files, &open.dir).map_err(failed)?;
        }
        recovered.tip_believed = tip.is_some();
        let noted = tip.as_ref().map(|tip| tip.noted);
        let end = segments.end();
        let now_ms = open.clock.now_ms();
        let unstable = Unstable::default();
        let producers = producers(&open, &segments, &known, tip, &untold, &unstable, now_ms)?;
        let recovery_point = if open.clean_shutdown { end } else { open.recovery_point.min(end) };
        let log = Arc::new(Log {
            id: open.id,
            dir: open.dir,
            files: open.files,
            health: open.health,
            clock: open.clock,
            boot: open.boot,
            config: ArcSwap::from_pointee(open.config),
            segments: ArcSwap::from_pointee(segments),
            log_start: AtomicI64::new(log_start.0),
            lineage: ArcSwap::from_pointee(lineage),
            tier: ArcSwapOption::empty(),
            recovery_point: AtomicI64::new(recovery_point.0),
            clean_point: AtomicI64::new(-1),
            cuts: AtomicU64::new(0),
            in_cleaning: AtomicBool::new(false),
            flushed_ms: AtomicI64::new(now_ms),
            unstable,
            stirred: AtomicBool::new(false),
            bell: OnceLock::new(),
            offline: OnceLock::new(),
            closed: AtomicBool::new(false),
            // Opening may have made, changed and removed names; the first flush or housekeeping makes that durable.
            names_changed: AtomicBool::new(names_changed),
            writer: Mutex::new(Writer { producers, snapshots: Vec::new() }),
            chores: Mutex::new(Chores {
                trash: Vec::new(),
                producers_checked_ms: now_ms,
                saved_lineage: saved_lineage.map(Arc::new),
                noted,
            }),
        });
        log.note_undecided(&log.writer.lock().producers);
        Ok((log, recovered))
    }
}

/// What lies on the local disk, or takes its place.
struct Local {
    segments: Segments,
    lineage: Lineage,
    /// The lineage as it lies on disk, if that is the same.
    saved: Option<Lineage>,
    log_start: Offset,
}

impl Local {
    fn of(
        open: &OpenLog,
        segments: Vec<Segment>,
        epochs: Vec<(LeaderEpoch, Offset)>,
        has_lineage: bool,
    ) -> Result<Local, OpenError> {
        let segments = Segments::new(segments.into_iter().map(Arc::new).collect());
        let (start, end) = (segments.start(), segments.end());
        let tiered = open.committed_remote_end.is_some();
        let log_start = if tiered { open.log_start.min(end) } else { open.log_start.max(start).min(end) };
        let (lineage, saved) = lineage(open, &segments, epochs, log_start, has_lineage)?;
        Ok(Local { segments, lineage, saved, log_start })
    }

    /// Whether it may go on: D4 for a tiered log, Kafka's rule (start beyond the end) for any other.
    fn goes_on(&self, open: &OpenLog) -> bool {
        let (start, end) = (self.segments.start(), self.segments.end());
        let Some(remote) = open.committed_remote_end else { return open.log_start <= end };
        // Between the bucket's end and a log start above it nobody reads any more.
        let needed = remote.at.max(open.log_start);
        if start > needed || end < remote.at || !self.is_on_lineage(remote) {
            return false;
        }
        // An empty log at the bucket's end without a snapshot is one whose start was cut short before it took over
        // the bucket's state.
        let snapshot = open.dir.join(file_name(end, Kind::Snapshot));
        start < end || remote.at == Offset::ZERO || open.files.exists(&snapshot)
    }

    /// Whether what the bucket holds is this log's past. Two logs that have a record of one epoch at one offset agree
    /// on everything below it, so the epoch at the seam decides. Where the log no longer knows who wrote below the
    /// seam, what it wrote above must at least not be older.
    fn is_on_lineage(&self, remote: RemoteEnd) -> bool {
        match self.lineage.epoch_at(remote.at - 1) {
            Some(epoch) => epoch == remote.epoch,
            None => self.lineage.spans().first().is_none_or(|(epoch, _)| *epoch >= remote.epoch),
        }
    }
}

/// An empty log where this one goes on; what lies there is removed, newest first.
/// `known` are the snapshots that lie there, before and after.
fn start_empty(open: &OpenLog, stale: Option<Local>, known: &mut Vec<Offset>) -> Result<Local, OpenError> {
    let at = open.committed_remote_end.map_or(Offset::ZERO, |remote| remote.at).max(open.log_start);
    let failed = || OpenError::storage(format!("start {} at {at}", open.dir.display()));
    let mut keep = None;
    if let Some(Local { segments: stale, lineage, .. }) = stale {
        let (from, to) = (stale.start(), stale.end());
        tracing::warn!(log = %open.id, %from, %to, epochs = ?lineage.spans(), %at, "local log is dropped");
        if open.committed_remote_end.is_none() {
            // Its records expired; who wrote them is still known. The bucket would tell us better.
            let (now_ms, unstable) = (open.clock.now_ms(), Unstable::default());
            let table = producers(open, &stale, known, None, &[], &unstable, now_ms)?;
            Snapshot::of(&table, at).write(&*open.files, &open.dir).map_err(failed())?;
            keep = Some(at);
        }
        for segment in stale.all().iter().rev() {
            for kind in [Kind::Log, Kind::OffsetIndex, Kind::TimeIndex, Kind::TxnIndex] {
                remove_if_there(&*open.files, &segment.path(kind)).map_err(failed())?;
            }
            // A power loss undoes no removal but the last: what it leaves has no hole.
            open.files.sync_dir(&open.dir).map_err(failed())?;
        }
    }
    for snapshot in known.drain(..).filter(|at| keep != Some(*at)) {
        remove_snapshot(&*open.files, &open.dir, snapshot).map_err(failed())?;
    }
    known.extend(keep);
    let keeps_lineage = open.committed_remote_end.is_none();
    if !keeps_lineage {
        // Its epochs may be the very ones that do not fit; the bucket's take their place.
        remove_if_there(&*open.files, &open.dir.join(LEADER_EPOCH_CHECKPOINT)).map_err(failed())?;
    }
    let segment = Segment::create(&open.files, &open.dir, at, at).map_err(failed())?;
    if open.config.preallocate {
        segment.file().reserve(open.config.segment_bytes.min(SEGMENT_BYTES_MAX)).map_err(failed())?;
    }
    open.files.sync_dir(&open.dir).map_err(failed())?;
    Local::of(open, vec![segment], Vec::new(), keeps_lineage)
}

/// The producers as of the log's end, and on the way the aborted transactions of the segments at `untold`. `known` are
/// the snapshots that lie there; a `tip` spares the batches below it.
fn producers(
    open: &OpenLog,
    segments: &Segments,
    known: &[Offset],
    tip: Option<Tip>,
    untold: &[Offset],
    unstable: &Unstable,
    now_ms: i64,
) -> Result<ProducerTable, OpenError> {
    let shown = open.dir.display();
    let failed = |error: SegmentError| OpenError::Storage {
        what: format!("rebuild producers of {shown}"),
        source: io::Error::other(error),
    };
    let end = segments.end();
    for above in known.iter().filter(|at| **at > end) {
        remove_snapshot(&*open.files, &open.dir, *above).map_err(|error| failed(error.into()))?;
    }
    let (mut table, from) = match tip {
        Some(tip) => (table_of(tip.producers, now_ms), tip.next),
        None => {
            let from = untold.first().map_or(end, |base| (*base).min(end));
            newest(&*open.files, &open.dir, known, segments.start(), from, now_ms)
                .map_err(|error| failed(error.into()))?
        }
    };
    let note = |ended: Ended<'_>| {
        let base = ended.segment.base();
        if ended.outcome == Outcome::Abort && untold.binary_search(&base).is_ok() {
            ended.segment.transactions().push(aborted(&ended.transaction, ended.producers));
        }
        unstable.wait_for(ended.transaction);
    };
    replay_onto(&mut table, segments, from, end, now_ms, note).map_err(failed)?;
    unstable.count_aborted(segments.all().iter().map(|segment| segment.transactions().len()).sum());
    table.expire(now_ms, open.config.producer_expiration_ms);
    Ok(table)
}

/// The lineage, and the one that lies on disk if it is the same. `epochs` are those of the batches that were read.
fn lineage(
    open: &OpenLog,
    segments: &Segments,
    epochs: Vec<(LeaderEpoch, Offset)>,
    log_start: Offset,
    is_there: bool,
) -> Result<(Lineage, Option<Lineage>), OpenError> {
    let path = open.dir.join(LEADER_EPOCH_CHECKPOINT);
    let shown = path.display();
    let mut missing = !is_there;
    let saved = match is_there.then(|| open.files.read_all(&path, LINEAGE_MAX)) {
        None => None,
        Some(Ok(bytes)) => {
            String::from_utf8(bytes).ok().and_then(|text| Lineage::from_checkpoint(&text).ok())
        }
        Some(Err(error)) if error.kind() == ErrorKind::NotFound => {
            missing = true;
            None
        }
        Some(Err(error)) => return Err(OpenError::storage(format!("read {shown}"))(error)),
    };
    let (mut lineage, epochs) = match &saved {
        Some(saved) => (saved.clone(), epochs),
        None => (
            Lineage::default(),
            all_epochs(segments).map_err(OpenError::storage(format!("scan for {shown}")))?,
        ),
    };
    lineage.truncate_from(segments.end());
    for (epoch, start) in epochs {
        if lineage.latest().is_none_or(|(known, _)| known < epoch) {
            lineage.assign(epoch, start);
        }
    }
    lineage.truncate_before(log_start);
    // No file says as much as an empty one.
    let saved = saved.or_else(|| missing.then(Lineage::default)).filter(|saved| *saved == lineage);
    Ok((lineage, saved))
}

/// Where each epoch begins, from every header of the log: when the checkpoint is missing or damaged.
fn all_epochs(segments: &Segments) -> io::Result<Vec<(LeaderEpoch, Offset)>> {
    let mut epochs = Vec::new();
    for segment in segments.all() {
        epochs_of(segment, &mut epochs)?;
    }
    Ok(epochs)
}
