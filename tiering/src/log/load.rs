//! Finding the segments of a log at open, and deciding how far each can be trusted: after a clean stop or below the
//! recovery point the files are taken as they are, above it every batch is read. Not the log's other state.
//! Invariant: what is cut is a torn or damaged end above the recovery point; damage below it is an error.

use crate::epoch::LeaderEpoch;
use crate::hot::dir::{Kind, file_name};
use crate::hot::file::{File, OpenMode};
use crate::hot::index::{Entry, MemoryIndex, TIME_ENTRY, TimeEntry, absolute, check_offsets, check_times};
use crate::hot::recovery::{Begin, Depth, Fault, Scanned, Walk, scan, scan_from, valid_batch_after};
use crate::hot::segment::{Opened, SEGMENT_BYTES_MAX, Segment};
use crate::hot::transactions::{AbortedTransaction, decode};
use crate::log::names::Names;
use crate::log::noted::{Tip, believed};
use crate::log::open::{OpenError, OpenLog, Recovered, remove_if_there};
use crate::offsets::Offset;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

/// Largest index file that is read whole.
const INDEX_MAX: u64 = 256 << 20;

/// The segments of a log.
pub(super) struct Loaded {
    /// Oldest first; empty for a new log.
    pub segments: Vec<Segment>,
    pub recovered: Recovered,
    /// Epochs met in the batches that were read, with the offset of the first batch of each.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Bases of the segments whose aborted transactions only a replay can tell.
    pub untold: Vec<Offset>,
    /// The note of the active segment, if it was believed.
    pub tip: Option<Tip>,
}

/// A segment that was taken as its files say.
struct Trusted {
    opened: Opened,
    /// What its transaction index says; `None` if it was taken by its batches' headers.
    aborted: Option<Vec<AbortedTransaction>>,
}

/// Offset index and time index.
type IndexFiles = (Arc<dyn File>, Arc<dyn File>);

/// Loads one log's segments.
pub(super) struct Loader<'a> {
    open: &'a OpenLog,
    names: &'a Names,
    now_ms: i64,
}

impl<'a> Loader<'a> {
    pub fn new(open: &'a OpenLog, names: &'a Names) -> Self {
        Self { open, names, now_ms: open.clock.now_ms() }
    }

    /// Opens the segments at `bases`, which rise.
    pub fn load(&self, bases: &[Offset]) -> Result<Loaded, OpenError> {
        let mut loaded = Loaded {
            segments: Vec::new(),
            recovered: Recovered::default(),
            epochs: Vec::new(),
            untold: Vec::new(),
            tip: None,
        };
        for (at, base) in bases.iter().enumerate() {
            let next = bases.get(at + 1).copied();
            let file = self.open_file(*base)?;
            let trusted = self.trusted(*base, &file, next, &mut loaded.recovered)?;
            let (opened, damaged, aborted) = match trusted {
                Some(Trusted { opened, aborted }) => (opened, false, aborted),
                None => {
                    let (opened, damaged) = self.scanned(*base, &file, next, &mut loaded)?;
                    (opened, damaged, None)
                }
            };
            if next.is_none() || damaged {
                self.remove_index_files(*base)?;
            }
            let segment = self.segment(*base, file, opened);
            match aborted {
                Some(aborted) if next.is_some() => segment.transactions().lies_in_file(aborted.len()),
                Some(aborted) => segment.transactions().replace(aborted),
                None => loaded.untold.push(*base),
            }
            loaded.segments.push(segment);
            if damaged {
                self.drop_from(&bases[at + 1..], &mut loaded.recovered)?;
                break;
            }
        }
        Ok(loaded)
    }

    fn segment(&self, base: Offset, file: Arc<dyn File>, mut opened: Opened) -> Segment {
        // When the first batch came is not on disk; its youngest record is the best guess in the past.
        opened.first_append_ms =
            if opened.largest.0 >= 0 { opened.largest.0.min(self.now_ms) } else { self.now_ms };
        Segment::opened(&self.open.files, &self.open.dir, base, file, opened)
    }

    /// A segment's transaction index; no file means that nothing was aborted. `None` if it is damaged.
    fn transactions(&self, base: Offset) -> Result<Option<Vec<AbortedTransaction>>, OpenError> {
        if !self.names.has(base, Kind::TxnIndex) {
            return Ok(Some(Vec::new()));
        }
        let path = self.path(base, Kind::TxnIndex);
        let bytes = match self.open.files.read_all(&path, INDEX_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(OpenError::storage(format!("read {}", path.display()))(error)),
        };
        match decode(&bytes, base) {
            Ok(aborted) => Ok(Some(aborted)),
            Err(fault) => {
                tracing::warn!(log = %self.open.id, file = %path.display(), %fault, "transaction index is rebuilt");
                Ok(None)
            }
        }
    }

    fn open_file(&self, base: Offset) -> Result<Arc<dyn File>, OpenError> {
        let path = self.path(base, Kind::Log);
        let failed = OpenError::storage(format!("open {}", path.display()));
        self.open.files.open(&path, OpenMode::ReadWrite).map_err(failed)
    }

    fn path(&self, base: Offset, kind: Kind) -> PathBuf {
        self.open.dir.join(file_name(base, kind))
    }

    /// Takes a segment as its files say, if they may be believed; `None` asks for a scan of every batch.
    fn trusted(
        &self,
        base: Offset,
        file: &Arc<dyn File>,
        next: Option<Offset>,
        recovered: &mut Recovered,
    ) -> Result<Option<Trusted>, OpenError> {
        let below = next.is_some_and(|next| next <= self.open.recovery_point);
        if !self.open.clean_shutdown && !below {
            return Ok(None);
        }
        let failed = || OpenError::storage(format!("read {}", self.path(base, Kind::Log).display()));
        let opened = match next {
            Some(next) => self.by_index_files(base, file, next).map_err(failed())?,
            None => self.by_tail(base, file).map_err(failed())?,
        };
        if let (Some(opened), Some(aborted)) = (opened, self.transactions(base)?) {
            return Ok(Some(Trusted { opened, aborted: Some(aborted) }));
        }
        let interval = self.open.config.index_interval_bytes;
        let scanned = scan(&**file, base, Depth::Headers, interval, |_| {}).map_err(failed())?;
        let ends_right = next.is_none_or(|next| scanned.opened.next <= next);
        if scanned.fault.is_some() || !ends_right {
            return Ok(None);
        }
        recovered.indexes_rebuilt += usize::from(scanned.opened.bytes > 0);
        Ok(Some(Trusted { opened: scanned.opened, aborted: None }))
    }

    /// A sealed segment whose index files are whole.
    fn by_index_files(&self, base: Offset, file: &Arc<dyn File>, next: Offset) -> io::Result<Option<Opened>> {
        let bytes = file.len()?;
        if bytes > SEGMENT_BYTES_MAX || bytes == 0 {
            return Ok(None);
        }
        let Some((offsets, times)) = self.index_files(base)? else { return Ok(None) };
        let end = (next - base).clamp(0, i64::from(i32::MAX) + 1) as u64;
        let whole = check_offsets(&*offsets, end, bytes)?.is_ok();
        let Ok(entries) = check_times(&*times, end)? else { return Ok(None) };
        if !whole || entries == 0 {
            return Ok(None);
        }
        let mut last = [0; TIME_ENTRY];
        times.read_exact_at(&mut last, ((entries - 1) * TIME_ENTRY) as u64)?;
        let last = TimeEntry::read(&last);
        Ok(Some(Opened {
            bytes,
            next: base + end as i64,
            largest: (last.timestamp, absolute(base, last.relative)),
            first_timestamp: -1,
            first_append_ms: 0,
            memory: None,
        }))
    }

    /// The last segment after a clean stop: its indexes, then the headers after their last entry.
    fn by_tail(&self, base: Offset, file: &Arc<dyn File>) -> io::Result<Option<Opened>> {
        let bytes = file.len()?;
        if bytes > SEGMENT_BYTES_MAX || bytes == 0 {
            return Ok(None);
        }
        let Some((offsets, times)) = self.index_files(base)? else { return Ok(None) };
        let most = i64::from(i32::MAX) as u64 + 1;
        if check_offsets(&*offsets, most, bytes)?.is_err() || check_times(&*times, most)?.is_err() {
            return Ok(None);
        }
        let (offsets, times) = (read_index(&*offsets)?, read_index(&*times)?);
        let memory = MemoryIndex::from_bytes(&offsets[..], &times[..]);
        let mut largest =
            memory.last_time().map_or((-1, base), |last| (last.timestamp, absolute(base, last.relative)));
        let from = memory.last_offset().map_or(0, |last| u64::from(last.position));
        let mut walk = Walk::new(&**file, base, Depth::Headers, from, bytes, base);
        while let Some(met) = walk.step()? {
            if met.header.max_timestamp > largest.0 {
                largest = (met.header.max_timestamp, met.header.last_offset());
            }
        }
        let first = Walk::new(&**file, base, Depth::Headers, 0, bytes, base).step()?;
        let (Some(first), None) = (first, walk.fault()) else { return Ok(None) };
        let first_timestamp = first.header.max_timestamp;
        let next = walk.next();
        Ok(Some(Opened { bytes, next, largest, first_timestamp, first_append_ms: 0, memory: Some(memory) }))
    }

    /// The active segment's indexes live in memory; files beside it would be taken for those of a sealed one.
    fn remove_index_files(&self, base: Offset) -> Result<(), OpenError> {
        let there = |kind: &Kind| self.names.has(base, *kind);
        for kind in [Kind::OffsetIndex, Kind::TimeIndex].into_iter().filter(there) {
            let path = self.path(base, kind);
            let failed = OpenError::storage(format!("remove {}", path.display()));
            remove_if_there(&*self.open.files, &path).map_err(failed)?;
        }
        Ok(())
    }

    fn index_files(&self, base: Offset) -> io::Result<Option<IndexFiles>> {
        if !self.names.has(base, Kind::OffsetIndex) || !self.names.has(base, Kind::TimeIndex) {
            return Ok(None);
        }
        let open = |kind| match self.open.files.open(&self.path(base, kind), OpenMode::Read) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        Ok(open(Kind::OffsetIndex)?.zip(open(Kind::TimeIndex)?))
    }

    /// Reads every batch of a segment and cuts a bad end. Answers whether something was cut.
    fn scanned(
        &self,
        base: Offset,
        file: &Arc<dyn File>,
        next: Option<Offset>,
        loaded: &mut Loaded,
    ) -> Result<(Opened, bool), OpenError> {
        let shown = self.path(base, Kind::Log).display().to_string();
        let failed = || OpenError::storage(format!("recover {shown}"));
        let interval = self.open.config.index_interval_bytes;
        // What a note does not tell of sealed segments asks for a replay of everything after them.
        let may_believe = next.is_none() && loaded.untold.is_empty() && self.names.has_note();
        loaded.tip = match may_believe {
            true => believed(self.open, base, &**file).map_err(failed())?,
            false => None,
        };
        let begin = loaded.tip.as_mut().map(|tip| std::mem::replace(&mut tip.begin, Begin::at_start(base)));
        loaded.recovered.tip_believed = begin.is_some();
        loaded.recovered.segments_scanned += usize::from(begin.is_none());
        let begin = begin.unwrap_or_else(|| Begin::at_start(base));
        let epochs = &mut loaded.epochs;
        let Scanned { opened, fault } = scan_from(&**file, base, Depth::Checked, interval, begin, |header| {
            note_epoch(epochs, header.leader_epoch, header.base_offset);
        })
        .map_err(failed())?;
        if let Some(next) = next.filter(|next| opened.next > *next) {
            let what =
                format!("{shown} reaches to offset {}, the next segment begins at {next}", opened.next);
            return Err(OpenError::Inconsistent { what });
        }
        let Some(fault) = fault else {
            // A jump no index entry reaches across is a follower's, copying a compacted log.
            let missing = next.map_or(0, |next| next - opened.next);
            let hole = (1..=i64::from(i32::MAX)).contains(&missing) && self.was_never_sealed(base);
            return if hole { self.lost_end(&shown, opened) } else { Ok((opened, false)) };
        };
        self.judge(file, &shown, &opened, &fault)?;
        let len = file.len().map_err(failed())?;
        loaded.recovered.bytes_cut += len - opened.bytes;
        tracing::warn!(
            log = %self.open.id, file = %shown, position = opened.bytes, offset = %opened.next,
            bytes = len - opened.bytes, why = %fault, "cut the damaged end of the log"
        );
        file.truncate(opened.bytes).and_then(|()| file.sync()).map_err(failed())?;
        Ok((opened, true))
    }

    /// Index files are written once a sealed segment is durable, and removed when an active one is opened. Without
    /// them a gap before the next segment is not compaction's, but an end that never reached the disk.
    fn was_never_sealed(&self, base: Offset) -> bool {
        !self.names.has(base, Kind::OffsetIndex)
    }

    fn lost_end(&self, shown: &str, opened: Opened) -> Result<(Opened, bool), OpenError> {
        if opened.next < self.open.recovery_point {
            return Err(self.corrupt(shown, &opened, "the file ends before the next segment begins"));
        }
        tracing::warn!(log = %self.open.id, file = %shown, offset = %opened.next, "the end of a segment is lost");
        Ok((opened, true))
    }

    /// Whether the damage may be cut: above the recovery point always, below it only if the file simply ends there.
    fn judge(
        &self,
        file: &Arc<dyn File>,
        shown: &str,
        opened: &Opened,
        fault: &Fault,
    ) -> Result<(), OpenError> {
        if opened.next >= self.open.recovery_point {
            return Ok(());
        }
        let after = valid_batch_after(&**file, opened.bytes, opened.next)
            .map_err(OpenError::storage(format!("search {shown}")))?;
        match after {
            None if fault.is_torn() => Ok(()),
            None => Err(self.corrupt(shown, opened, &fault.to_string())),
            Some(at) => {
                Err(self.corrupt(shown, opened, &format!("{fault}; a valid batch follows at byte {at}")))
            }
        }
    }

    fn corrupt(&self, shown: &str, opened: &Opened, why: &str) -> OpenError {
        OpenError::Corrupt {
            what: shown.to_owned(),
            position: opened.bytes,
            offset: opened.next,
            recovery_point: self.open.recovery_point,
            why: why.to_owned(),
        }
    }

    /// Removes the segments after the one that was cut, newest first. Their bytes count as cut.
    fn drop_from(&self, bases: &[Offset], recovered: &mut Recovered) -> Result<(), OpenError> {
        for base in bases.iter().rev() {
            let path = self.path(*base, Kind::Log);
            let failed = || OpenError::storage(format!("remove {}", path.display()));
            recovered.bytes_cut += self.open.files.len(&path).map_err(failed())?;
            tracing::warn!(log = %self.open.id, file = %path.display(), "dropped a segment after a damaged one");
            for kind in [Kind::Log, Kind::OffsetIndex, Kind::TimeIndex, Kind::TxnIndex] {
                remove_if_there(&*self.open.files, &self.path(*base, kind)).map_err(failed())?;
            }
            // What was dropped must not come back beside what is appended from here on, nor leave a hole.
            self.open.files.sync_dir(&self.open.dir).map_err(failed())?;
        }
        Ok(())
    }
}

/// Notes where each epoch begins, from the headers of one segment.
pub(super) fn epochs_of(segment: &Segment, epochs: &mut Vec<(LeaderEpoch, Offset)>) -> io::Result<()> {
    let (base, bytes) = (segment.base(), segment.bytes());
    let mut walk = Walk::new(&**segment.file(), base, Depth::Headers, 0, bytes, base);
    while let Some(met) = walk.step()? {
        note_epoch(epochs, met.header.leader_epoch, met.header.base_offset);
    }
    Ok(())
}

fn note_epoch(epochs: &mut Vec<(LeaderEpoch, Offset)>, epoch: LeaderEpoch, start: Offset) {
    if epoch.0 >= 0 && epochs.last().is_none_or(|(known, _)| *known < epoch) {
        epochs.push((epoch, start));
    }
}

fn read_index(file: &dyn File) -> io::Result<Vec<u8>> {
    let len = file.len()?.min(INDEX_MAX);
    // Bounded by what lies on disk and by the largest index there is.
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
