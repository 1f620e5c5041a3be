//! One cleaning of one log, a step at a time, so that its caller can throttle it and give it up between any two:
//! transactions are told apart, the keys of the dirty part mapped, then all segments below are written anew, group by
//! group, and exchanged. Invariant: older segments are exchanged first, so that after a crash between two groups no
//! tombstone or marker has gone before what it speaks of.

use crate::batch::compress::decompress_limit;
use crate::batch::control::read_control;
use crate::batch::header::BatchHeader;
use crate::compact::batches::BatchReader;
use crate::compact::groups::{Limits, Size, groups};
use crate::compact::offset_map::OffsetMap;
use crate::compact::output::Output;
use crate::compact::plan::{Dirt, Piece, View};
use crate::compact::retain::{Knowledge, Stays, Tally, keys};
use crate::compact::transactions::{Aborted, Outcomes, Walked};
use crate::config::LogConfig;
use crate::hot::recovery::{Depth, Walk};
use crate::hot::segment::SEGMENT_BYTES_MAX;
use crate::log::clean::{CleanerHold, LastWrite, Source};
use crate::log::unified::Log;
use crate::offsets::Offset;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Memory of one cleaning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CleanerMemory {
    /// For the key map, bytes.
    pub dedupe_bytes: u64,
    /// How full the key map may get, 0..1.
    pub load_factor: f64,
    /// Read, and written, at once, bytes; also the size of a step.
    pub io_bytes: usize,
}

/// Why a log could not be cleaned. It is served as before.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// No batch where one must begin: what follows cannot be told.
    #[error("{what} is damaged at byte {position}: {why}")]
    Damaged {
        /// The file.
        what: String,
        /// Where.
        position: u64,
        /// What is wrong.
        why: String,
    },
    /// The keys of one batch do not fit the map.
    #[error("the batch at offset {at} has more keys than log.cleaner.dedupe.buffer.size holds")]
    MapTooSmall {
        /// Where the dirty part begins.
        at: Offset,
    },
    /// The disk failed, or is full.
    #[error(transparent)]
    Storage(#[from] io::Error),
}

impl CleanError {
    /// It may well work later, without anybody's help but that the disk gets room.
    pub fn is_full_disk(&self) -> bool {
        let full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, CleanError::Storage(error) if full(error.kind()))
    }
}

/// What a cleaning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Where the dirty part began.
    pub from: Offset,
    /// Where it ends now.
    pub upto: Offset,
    /// Bytes of sources read to be written anew.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// What was met.
    pub tally: Tally,
    /// How full the key map was, percent.
    pub map_percent: u64,
    /// False if the log was cut or closed meanwhile, so that a part was not exchanged.
    pub whole: bool,
}

/// After a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to do; so many bytes were moved.
    More(u64),
    /// The end.
    Done(Report),
}

/// What there is to clean in a log below `stable`, its last stable offset.
pub fn dirt(log: &Log, stable: Offset, now_ms: i64) -> Dirt {
    dirt_of(log, &log.sources(), stable, now_ms)
}

fn dirt_of(log: &Log, sources: &[Source], stable: Offset, now_ms: i64) -> Dirt {
    let (config, offsets) = (log.config(), log.offsets());
    let overdue_counts = config.max_compaction_lag_ms < i64::MAX;
    let settled = sources.iter().take_while(|source| source.settled);
    let pieces: Vec<Piece> = settled
        .map(|source| Piece {
            base: source.base(),
            next: source.next,
            bytes: source.bytes(),
            max_timestamp_ms: source.max_timestamp_ms(),
            // It may cost a read.
            first_timestamp_ms: if overdue_counts { source.first_timestamp_ms() } else { -1 },
        })
        .collect();
    let (log_start, end, clean_point) = (offsets.log_start, offsets.end, log.clean_point());
    Dirt::of(&View { pieces: &pieces, log_start, end, clean_point, stable }, &config, now_ms)
}

/// A cleaning under way. Dropped before its end, it leaves what it has exchanged and nothing else.
#[derive(Debug)]
pub struct Cleaning {
    hold: CleanerHold,
    config: Arc<LogConfig>,
    memory: CleanerMemory,
    high_watermark: Offset,
    now_ms: i64,
    from: Offset,
    /// All segments when it began, with their bytes then; the first `cleanable` may be cleaned.
    sources: Vec<(Source, u64)>,
    cleanable: usize,
    producers: BTreeMap<i64, LastWrite>,
    aborted: Vec<Aborted>,
    map: OffsetMap,
    reader: BatchReader,
    phase: Phase,
    report: Report,
}

/// Where a pass over segments stands.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    source: usize,
    position: u64,
}

#[derive(Debug)]
enum Phase {
    Outcomes { place: Place, outcomes: Outcomes },
    Keys { place: Place, walked: Walked },
    Copy(Box<Copying>),
    Done,
}

#[derive(Debug)]
struct Copying {
    groups: Vec<Range<usize>>,
    group: usize,
    place: Place,
    walked: Walked,
    next: Offset,
    output: Option<Output>,
}

impl Cleaning {
    /// Begins to clean `log` below `stable`, its last stable offset. `None` if there is nothing to clean, or another
    /// cleaner is at it. Not on a serving core.
    pub fn begin(
        log: &Arc<Log>,
        stable: Offset,
        high_watermark: Offset,
        now_ms: i64,
        memory: CleanerMemory,
    ) -> Result<Option<Cleaning>, CleanError> {
        let Some(hold) = CleanerHold::take(log)? else { return Ok(None) };
        let sources = log.sources();
        let dirt = dirt_of(log, &sources, stable, now_ms);
        if dirt.dirty_bytes == 0 {
            return Ok(None);
        }
        let cleanable =
            sources.iter().take_while(|source| source.settled && source.next <= dirt.upto).count();
        let records = u64::try_from(dirt.upto - dirt.from).unwrap_or(0);
        let sources: Vec<(Source, u64)> = sources
            .into_iter()
            .map(|source| {
                let bytes = source.bytes();
                (source, bytes)
            })
            .collect();
        Ok(Some(Cleaning {
            config: log.config(),
            memory,
            high_watermark,
            now_ms,
            from: dirt.from,
            sources,
            cleanable,
            producers: log.last_writes(),
            aborted: Vec::new(),
            map: OffsetMap::new(memory.dedupe_bytes, memory.load_factor, records),
            reader: BatchReader::new(memory.io_bytes),
            phase: Phase::Outcomes { place: Place::default(), outcomes: Outcomes::default() },
            report: Report { from: dirt.from, upto: dirt.from, ..Report::default() },
            hold,
        }))
    }

    /// Works on about `io_bytes` more. After an error it is over.
    pub fn step(&mut self) -> Result<Step, CleanError> {
        let phase = std::mem::replace(&mut self.phase, Phase::Done);
        let (phase, bytes) = match phase {
            Phase::Outcomes { place, outcomes } => self.tell_transactions(place, outcomes)?,
            Phase::Keys { place, walked } => self.map_keys(place, walked)?,
            Phase::Copy(copying) => self.copy(copying)?,
            Phase::Done => (Phase::Done, 0),
        };
        self.phase = phase;
        Ok(match self.phase {
            Phase::Done => Step::Done(self.report),
            _ => Step::More(bytes),
        })
    }

    /// All steps without a pause.
    pub fn run(mut self) -> Result<Report, CleanError> {
        loop {
            if let Step::Done(report) = self.step()? {
                return Ok(report);
            }
        }
    }

    // ---- which transactions were aborted: headers of the whole log, since a marker may lie anywhere ----

    fn tell_transactions(
        &mut self,
        mut place: Place,
        mut outcomes: Outcomes,
    ) -> Result<(Phase, u64), CleanError> {
        let Some((source, end)) = self.sources.get(place.source) else {
            return Ok((self.after_transactions(outcomes)?, 0));
        };
        let (base, before) = (source.base(), place.position);
        let mut walk = Walk::new(&**source.file(), base, Depth::Headers, before, *end, base);
        while walk.position() - before < self.memory.io_bytes as u64 {
            let Some(met) = walk.step()? else { break };
            let control = walk.control(&met)?;
            outcomes.see(&met.header, control);
        }
        if let Some(fault) = walk.fault() {
            return Err(damaged(source, walk.position(), fault));
        }
        let bytes = walk.position() - before;
        place.position = walk.position();
        if place.position >= *end {
            place = Place { source: place.source + 1, position: 0 };
        }
        Ok((Phase::Outcomes { place, outcomes }, bytes))
    }

    fn after_transactions(&mut self, outcomes: Outcomes) -> Result<Phase, CleanError> {
        // The last stable offset says the same; whoever gave it to us may have been wrong.
        if let Some(open) = outcomes.first_open() {
            let decided = self.sources.iter().take_while(|(source, _)| source.next <= open).count();
            self.cleanable = self.cleanable.min(decided);
        }
        self.aborted = outcomes.aborted();
        // Those that ended before the dirty part begins would be taken for the producer's next transaction.
        let ahead: Vec<Aborted> =
            self.aborted.iter().filter(|aborted| aborted.last >= self.from).copied().collect();
        let first = self.sources[..self.cleanable].iter().position(|(source, _)| source.next > self.from);
        let Some(source) = first else { return Ok(Phase::Done) };
        let position = self.sources[source].0.position_of(self.from)?;
        Ok(Phase::Keys { place: Place { source, position }, walked: Walked::new(&ahead) })
    }

    // ---- the last offset of each key of the dirty part ----

    fn map_keys(&mut self, mut place: Place, mut walked: Walked) -> Result<(Phase, u64), CleanError> {
        if place.source == self.cleanable {
            return Ok((self.after_keys()?, 0));
        }
        let (source, end) = &self.sources[place.source];
        let (limit, before) = (decompress_limit(self.config.max_message_bytes), place.position);
        while place.position < *end && place.position - before < self.memory.io_bytes as u64 {
            let (header, batch) = match self.reader.batch(&**source.file(), place.position, *end)? {
                Ok(found) => found,
                Err(fault) => return Err(damaged(source, place.position, &fault)),
            };
            if !add_keys(&mut self.map, &mut walked, &header, batch, self.from, limit) {
                return Ok((self.after_keys()?, place.position - before));
            }
            if header.last_offset() >= self.from {
                self.map.reached(header.last_offset());
            }
            place.position += header.size() as u64;
        }
        let bytes = place.position - before;
        if place.position >= *end {
            // What is missing at its end was compacted away before.
            self.map.reached(source.next - 1);
            self.reader.forget();
            place = Place { source: place.source + 1, position: 0 };
        }
        Ok((Phase::Keys { place, walked }, bytes))
    }

    fn after_keys(&mut self) -> Result<Phase, CleanError> {
        self.reader.forget();
        self.report.map_percent = self.map.percent();
        let Some(latest) = self.map.latest().filter(|latest| *latest >= self.from) else {
            return Err(CleanError::MapTooSmall { at: self.from });
        };
        self.report.upto = latest.next();
        let touched = self.sources[..self.cleanable].iter().filter(|(source, _)| source.base() <= latest);
        let sizes: Vec<Size> = touched
            .map(|(source, bytes)| Size { base: source.base(), next: source.next, bytes: *bytes })
            .collect();
        let limits = Limits {
            bytes: self.config.segment_bytes.min(SEGMENT_BYTES_MAX),
            index_bytes: u64::from(self.config.segment_index_bytes),
            index_interval_bytes: u64::from(self.config.index_interval_bytes),
        };
        Ok(Phase::Copy(Box::new(Copying {
            groups: groups(&sizes, &limits),
            group: 0,
            place: Place::default(),
            walked: Walked::new(&self.aborted),
            next: Offset::ZERO,
            output: None,
        })))
    }

    // ---- what stays, written anew ----

    fn copy(&mut self, mut at: Box<Copying>) -> Result<(Phase, u64), CleanError> {
        let Some(group) = at.groups.get(at.group).cloned() else {
            self.report.whole = true;
            self.hold.done(self.report.upto);
            return Ok((Phase::Done, 0));
        };
        let mut output = match at.output.take() {
            Some(output) => output,
            None => Output::create(&self.hold, self.sources[group.start].0.base(), self.memory.io_bytes)?,
        };
        if at.place.source == group.end {
            let told = at.walked.take_told();
            let exchanged = self.end_group(group, output, &told)?;
            at.group += 1;
            return Ok((if exchanged { Phase::Copy(at) } else { Phase::Done }, 0));
        }
        let (before, written) = (at.place.position, output.bytes);
        let is_last_source = at.place.source + 1 == group.end;
        self.copy_some(&mut at, &mut output, is_last_source)?;
        let bytes = at.place.position - before;
        self.report.bytes_read += bytes;
        let moved = bytes + (output.bytes - written);
        if at.place.position >= self.sources[at.place.source].1 {
            self.reader.forget();
            at.place = Place { source: at.place.source + 1, position: 0 };
        }
        at.output = Some(output);
        Ok((Phase::Copy(at), moved))
    }

    fn copy_some(
        &mut self,
        at: &mut Copying,
        output: &mut Output,
        is_last_source: bool,
    ) -> Result<(), CleanError> {
        let (source, end) = &self.sources[at.place.source];
        let knowledge = Knowledge {
            map: &self.map,
            producers: &self.producers,
            high_watermark: self.high_watermark,
            now_ms: self.now_ms,
            delete_retention_ms: self.config.delete_retention_ms,
            limit: decompress_limit(self.config.max_message_bytes),
        };
        let (before, tally) = (at.place.position, &mut self.report.tally);
        while at.place.position < *end && at.place.position - before < self.memory.io_bytes as u64 {
            let position = at.place.position;
            let (header, batch) = match self.reader.batch(&**source.file(), position, *end)? {
                Ok(found) => found,
                Err(fault) => return Err(damaged(source, position, &fault)),
            };
            if header.base_offset < at.next {
                let why = format!("offset {} where {} or more was expected", header.base_offset, at.next);
                return Err(damaged(source, position, &why));
            }
            at.next = header.next_offset();
            at.place.position += header.size() as u64;
            let is_last = is_last_source && at.place.position >= *end;
            match knowledge.stays(batch, &header, is_last, &mut at.walked, tally) {
                Stays::Whole => output.push(&self.hold, &header, batch)?,
                Stays::Instead(batch) => {
                    output.changed = true;
                    output.push(&self.hold, &header, &batch)?;
                }
                Stays::Nothing => output.changed = true,
            }
        }
        Ok(())
    }

    /// Exchanges a group's sources for what was written. False if the log has changed under us.
    fn end_group(
        &mut self,
        group: Range<usize>,
        output: Output,
        told: &BTreeSet<Offset>,
    ) -> Result<bool, CleanError> {
        if !output.changed && group.len() == 1 {
            drop(output);
            self.hold.forget()?;
            return Ok(true);
        }
        let bytes = output.bytes;
        let mut cleaned = output.finish(&self.hold)?;
        let gone: Vec<Source> = self.sources[group].iter().map(|(source, _)| source.clone()).collect();
        let mut aborted = Vec::new();
        for source in &gone {
            aborted.extend(source.aborted()?.into_iter().filter(|one| told.contains(&one.last)));
        }
        self.hold.tell(&mut cleaned, &aborted)?;
        let exchanged = self.hold.exchange(&gone, cleaned)?;
        self.report.bytes_written += if exchanged { bytes } else { 0 };
        Ok(exchanged)
    }
}

impl Drop for Cleaning {
    fn drop(&mut self) {
        if let Err(error) = self.hold.forget() {
            // The next cleaning, or the next open, removes them.
            tracing::debug!(log = %self.hold.log().id(), %error, "files of a cleaning stay for now");
        }
    }
}

/// Puts the keys of a batch into the map; false if they do not fit.
fn add_keys(
    map: &mut OffsetMap,
    walked: &mut Walked,
    header: &BatchHeader,
    batch: &[u8],
    from: Offset,
    limit: usize,
) -> bool {
    if header.is_control() {
        walked.control(header, read_control(header, batch).ok());
        return true;
    }
    if walked.data(header) || header.last_offset() < from {
        return true;
    }
    let put = keys(batch, header, limit, |key, offset| offset < from || map.put(key, offset));
    // One that contradicts itself is reported when it is copied; it outdates nothing.
    put.unwrap_or(true)
}

fn damaged(source: &Source, position: u64, why: &dyn std::fmt::Display) -> CleanError {
    CleanError::Damaged { what: source.shown(), position, why: why.to_string() }
}
