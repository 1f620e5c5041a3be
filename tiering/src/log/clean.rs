//! What a log offers its cleaner: which segments may be read, where it has been, and the exchange of segments for
//! cleaned ones. What stays of them is decided elsewhere (`compact/`). Invariant: a reader sees the segments before
//! or after the exchange, never a mixture, and finishes on the files it began with.

use crate::hot::dir::{CLEANED, Kind};
use crate::hot::file::{File, OpenMode};
use crate::hot::index::TimeEntry;
use crate::hot::recovery::{Depth, scan};
use crate::hot::segment::{Opened, Segment};
use crate::hot::segments::Segments;
use crate::hot::transactions::{AbortedTransaction, encode};
use crate::log::swap::{aside, decide, forget_undecided, prepare, take_names};
use crate::log::unified::Log;
use crate::offsets::Offset;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A segment as the cleaner reads it.
#[derive(Debug, Clone)]
pub struct Source {
    segment: Arc<Segment>,
    /// The base of the segment after it, or the log's end.
    pub next: Offset,
    /// Sealed and durable: it may be exchanged.
    pub settled: bool,
}

impl Source {
    /// First offset.
    pub fn base(&self) -> Offset {
        self.segment.base()
    }

    /// Bytes of whole batches now.
    pub fn bytes(&self) -> u64 {
        self.segment.bytes()
    }

    /// The log data.
    pub fn file(&self) -> &Arc<dyn File> {
        self.segment.file()
    }

    /// Largest record timestamp, milliseconds; −1 if there is none.
    pub fn max_timestamp_ms(&self) -> i64 {
        self.segment.largest_timestamp().0
    }

    /// Max timestamp of its first batch, milliseconds; −1 if there is none. Reads the file if nobody has yet.
    pub fn first_timestamp_ms(&self) -> i64 {
        match self.segment.first_timestamp() {
            -1 if !self.segment.is_empty() => {
                let first = self.segment.header_at(0, self.segment.bytes());
                first.map_or(-1, |header| header.max_timestamp)
            }
            known => known,
        }
    }

    /// Byte of the first batch that ends above `offset`; the end of the segment if there is none.
    pub fn position_of(&self, offset: Offset) -> io::Result<u64> {
        let found = self.segment.locate(offset.max(self.base())).map_err(io::Error::other)?;
        Ok(found.map_or(self.bytes(), |batch| batch.position))
    }

    /// The aborted transactions whose marker lies in it.
    pub fn aborted(&self) -> io::Result<Vec<AbortedTransaction>> {
        let mut found = Vec::new();
        self.segment.aborted(Offset::ZERO, Offset::MAX, &mut found)?;
        Ok(found)
    }

    /// Path of its log, to be named to people.
    pub fn shown(&self) -> String {
        self.segment.path(Kind::Log).display().to_string()
    }
}

/// What a producer that still counts wrote last: the batch that has to outlive compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastWrite {
    /// Last offset of its last data batch.
    Data(Offset),
    /// Only a marker in this epoch is known of it.
    Marker {
        /// The producer's epoch.
        epoch: i16,
    },
}

/// A cleaned segment: its files are written, durable and named `.cleaned`.
#[derive(Debug)]
pub struct Cleaned {
    base: Offset,
    file: Arc<dyn File>,
    opened: Opened,
    /// Entries in its transaction index.
    aborted: usize,
}

/// Holds a log for one cleaner; another one is refused until this is dropped.
#[derive(Debug)]
pub struct CleanerHold {
    log: Arc<Log>,
    /// Cuts of the log's end before it began.
    cuts: u64,
}

impl Drop for CleanerHold {
    fn drop(&mut self) {
        self.log.in_cleaning.store(false, Ordering::Release);
    }
}

impl CleanerHold {
    /// Takes the log for one cleaner and removes what an abandoned one left; `None` if another cleaner has it.
    pub fn take(log: &Arc<Log>) -> io::Result<Option<CleanerHold>> {
        if log.in_cleaning.swap(true, Ordering::AcqRel) {
            return Ok(None);
        }
        let hold = CleanerHold { log: log.clone(), cuts: log.cuts.load(Ordering::Acquire) };
        let _chores = log.chores.lock();
        log.check_online()?;
        forget_undecided(&*log.files, &log.dir)?;
        Ok(Some(hold))
    }

    /// The log's end was cut since it was taken.
    pub fn was_cut(&self) -> bool {
        self.log.cuts.load(Ordering::Acquire) != self.cuts
    }

    /// The log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// A new file for the cleaned segment at `base`.
    pub fn create(&self, base: Offset) -> io::Result<Arc<dyn File>> {
        self.log.files.open(&aside(&self.log.dir, base, Kind::Log, CLEANED), OpenMode::CreateNew)
    }

    /// Makes a cleaned segment whole: reads its headers back, writes its indexes, fsyncs. `file` is what
    /// [`CleanerHold::create`] gave.
    pub fn finish(&self, base: Offset, file: Arc<dyn File>) -> io::Result<Cleaned> {
        file.sync()?;
        let interval = self.log.config.load().index_interval_bytes;
        let scanned = scan(&*file, base, Depth::Headers, interval, |_| {})?;
        let mut opened = scanned.opened;
        if scanned.fault.is_some() || opened.bytes != file.len()? {
            let what = format!("the cleaned segment at {base} is not whole: {:?}", scanned.fault);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        if let Some(memory) = opened.memory.take() {
            let (timestamp, last) = opened.largest;
            memory.push_time(TimeEntry { timestamp, relative: (last - base) as u32 });
            self.write(base, Kind::OffsetIndex, &memory.offset_bytes())?;
            self.write(base, Kind::TimeIndex, &memory.time_bytes())?;
        }
        Ok(Cleaned { base, file, opened, aborted: 0 })
    }

    /// Writes the transaction indexes of the segments made of one group: `aborted`, by rising marker, each where its
    /// marker lies.
    pub fn tell(&self, cleaned: &mut [Cleaned], aborted: &[AbortedTransaction]) -> io::Result<()> {
        let mut rest = aborted;
        for at in 0..cleaned.len() {
            let next = cleaned.get(at + 1).map_or(Offset::MAX, |next| next.base);
            let (own, after) = rest.split_at(rest.partition_point(|one| one.last < next));
            if !own.is_empty() {
                self.write(cleaned[at].base, Kind::TxnIndex, &encode(own))?;
            }
            (cleaned[at].aborted, rest) = (own.len(), after);
        }
        Ok(())
    }

    fn write(&self, base: Offset, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        let file = self.log.files.open(&aside(&self.log.dir, base, kind, CLEANED), OpenMode::CreateNew)?;
        file.write_at(bytes, 0)?;
        file.sync()
    }

    /// Removes the `.cleaned` files that were written and are not wanted.
    pub fn forget(&self) -> io::Result<()> {
        let _chores = self.log.chores.lock();
        // What is decided and not at its end yet belongs to the next open.
        self.log.check_online()?;
        forget_undecided(&*self.log.files, &self.log.dir)
    }

    /// Exchanges `gone`, neighbours in the log, for `cleaned`, which rise. False if the log has changed meanwhile (cut,
    /// closed, expired): nothing was exchanged then, and the cleaned files are gone. An error before the decision
    /// leaves the log as it was; after it the log is offline, and opening it ends the exchange.
    pub fn exchange(&self, gone: &[Source], cleaned: Vec<Cleaned>) -> io::Result<bool> {
        let log = &*self.log;
        let mut chores = log.chores.lock();
        log.check_online()?;
        let segments = log.segments.load_full();
        if log.closed.load(Ordering::Acquire) || place(&segments, gone).is_none() {
            forget_undecided(&*log.files, &log.dir)?;
            return Ok(false);
        }
        let bases: Vec<Offset> = cleaned.iter().map(|each| each.base).collect();
        let held = gone.iter().try_for_each(|source| source.segment.hold_indexes());
        if let Err(error) = held.and_then(|()| prepare(&*log.files, &log.dir, &bases)) {
            forget_undecided(&*log.files, &log.dir)?;
            return Err(error);
        }
        let old: Vec<Arc<Segment>> = gone.iter().map(|source| source.segment.clone()).collect();
        let named = decide(&*log.files, &log.dir, bases[0])
            .and_then(|()| log.discard(&mut chores, &old))
            .and_then(|()| log.files.sync_dir(&log.dir))
            .and_then(|()| take_names(&*log.files, &log.dir, &bases));
        named.inspect_err(|error| {
            log.fail("exchange cleaned segments", error);
        })?;
        let fresh: Vec<Arc<Segment>> = cleaned
            .into_iter()
            .map(|each| {
                let segment = Segment::opened(&log.files, &log.dir, each.base, each.file, each.opened);
                segment.transactions().lies_in_file(each.aborted);
                Arc::new(segment)
            })
            .collect();
        // A core may seal a segment meanwhile, so the list is taken as it is then.
        log.segments.rcu(|now| Arc::new(exchanged(now, gone, &fresh)));
        Ok(true)
    }

    /// Everything below `upto` has been cleaned. Passed over if the log was cut since: what came in the place of what
    /// was cut off has not been cleaned.
    pub fn done(&self, upto: Offset) {
        let _chores = self.log.chores.lock();
        if self.log.cuts.load(Ordering::Acquire) == self.cuts {
            self.log.clean_point.store(upto.0, Ordering::Release);
        }
    }
}

/// Place of the first of `gone`, if all of them still stand there side by side.
fn place(segments: &Segments, gone: &[Source]) -> Option<usize> {
    let first = gone.first()?;
    let at = segments.all().iter().position(|segment| Arc::ptr_eq(segment, &first.segment))?;
    let there = segments.sealed().get(at..at + gone.len())?;
    there.iter().zip(gone).all(|(segment, source)| Arc::ptr_eq(segment, &source.segment)).then_some(at)
}

fn exchanged(now: &Segments, gone: &[Source], fresh: &[Arc<Segment>]) -> Segments {
    // Only the holder of the chores takes segments away, and that is who asks.
    let Some(at) = place(now, gone) else { return now.clone() };
    let mut list = now.all()[..at].to_vec();
    list.extend_from_slice(fresh);
    list.extend_from_slice(&now.all()[at + gone.len()..]);
    Segments::new(list)
}

impl Log {
    /// All segments, oldest first; those the cleaner may exchange are marked.
    pub fn sources(&self) -> Vec<Source> {
        let segments = self.segments.load_full();
        let durable = self.recovery_point();
        let sealed = segments.sealed().len();
        let source = |(at, segment): (usize, &Arc<Segment>)| {
            let next = segments.next_of(at);
            let settled = at < sealed && next <= durable && !segment.index_is_in_memory();
            Source { segment: segment.clone(), next, settled }
        };
        segments.all().iter().enumerate().map(source).collect()
    }

    /// Below it the cleaner has been; `None` while nobody knows.
    pub fn clean_point(&self) -> Option<Offset> {
        let point = self.clean_point.load(Ordering::Acquire);
        (point >= 0).then_some(Offset(point))
    }

    /// What `cleaner-offset-checkpoint` said, right after the log was opened.
    pub fn set_clean_point(&self, point: Offset) {
        self.clean_point.store(point.0, Ordering::Release);
    }

    /// What every producer that still counts wrote last. Waits for the append lock: not on a serving core.
    pub fn last_writes(&self) -> BTreeMap<i64, LastWrite> {
        let writer = self.writer.lock();
        let last = |state: &crate::producer::state::ProducerState| match state.last_batch() {
            Some(batch) => LastWrite::Data(batch.last_offset),
            None => LastWrite::Marker { epoch: state.epoch },
        };
        writer.producers.iter().map(|state| (state.producer_id, last(state))).collect()
    }
}
