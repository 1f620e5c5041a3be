//! Appending one batch: checked, given its offsets in place, written with one write, then published to readers.
//! It waits for nobody: a taken lock is [`AppendError::Busy`]. Invariant: readers see a batch whole or not at all,
//! and after an error the log is as it was before, or offline.

use crate::batch::control::{Control, ControlError, Outcome, read_control};
use crate::batch::header::{BatchHeader, set_base_offset, set_leader_epoch};
pub use crate::batch::validate::Origin;
use crate::batch::validate::{Invalid, Rules, Stamp, validate};
use crate::config::LogConfig;
use crate::epoch::LeaderEpoch;
use crate::hot::health::is_full;
use crate::hot::segment::{SEGMENT_BYTES_MAX, Segment};
use crate::log::producers::Snapshot;
use crate::log::recode::recoded;
use crate::log::roll::must_roll;
use crate::log::unified::{Log, Writer};
use crate::offsets::Offset;
use crate::producer::state::{SequenceError, Verdict};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How to append.
#[derive(Debug, Clone, Copy)]
pub struct AppendAs {
    /// The leader's epoch, stamped on the batch (not for followers).
    pub leader_epoch: LeaderEpoch,
    /// The wall clock, milliseconds.
    pub now_ms: i64,
    /// Who appends.
    pub origin: Origin,
    /// Version of the Produce request; zstd needs 7.
    pub produce_version: i16,
}

/// A batch that stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The broker's timestamp, −1 unless the topic uses LogAppendTime.
    pub log_append_time_ms: i64,
    /// It stood there already (idempotent retry): nothing was written.
    pub duplicate: bool,
}

/// Why a batch was not appended. The log is as it was before.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Another core is appending: yield and try again.
    #[error("another core is appending")]
    Busy,
    /// The batch breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A control batch that says nothing we know.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The producer's epoch or sequence does not fit.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// Larger than `segment.bytes` (Kafka: RECORD_LIST_TOO_LARGE).
    #[error("batch of {bytes} bytes does not fit a segment of {segment_bytes}")]
    LargerThanSegment {
        /// The batch, header included.
        bytes: u64,
        /// `segment.bytes`.
        segment_bytes: u64,
    },
    /// A newer leader has written here (Kafka: NOT_LEADER_OR_FOLLOWER).
    #[error("leader epoch {given} is behind the log's {known}")]
    StaleEpoch {
        /// The appender's.
        given: LeaderEpoch,
        /// The newest in the log.
        known: LeaderEpoch,
    },
    /// A follower's batch does not continue the log.
    #[error("batch at offset {given} does not continue the log, which ends at {end}")]
    OutOfOrder {
        /// The batch's base offset.
        given: Offset,
        /// Where the log ends.
        end: Offset,
    },
    /// The log was closed: it was moved, deleted, or the broker stops.
    #[error("the log is closed")]
    Closed,
    /// The disk is full. Nothing was written; later appends may succeed.
    #[error("the disk is full: {what}")]
    DiskFull {
        /// The failed write.
        what: Arc<str>,
    },
    /// The disk failed and the log is offline until it is opened again.
    #[error("storage failed: {what}")]
    Storage {
        /// The failed call, with the path.
        what: Arc<str>,
    },
}

/// What a batch that ends a transaction says.
#[derive(Clone, Copy)]
struct Marker {
    outcome: Outcome,
    coordinator_epoch: i32,
}

/// What is known of a batch before the lock is taken.
struct Ready {
    header: BatchHeader,
    marker: Option<Marker>,
    log_append_time_ms: i64,
}

impl Log {
    /// Appends ONE batch in place: base offset and leader epoch are written into `batch`, outside its CRC.
    ///
    /// Never parks. `batch` is exactly one record batch; after any error but [`AppendError::Busy`] its content is
    /// unspecified, after that one it may be given again as it is.
    pub fn append(&self, batch: &mut [u8], how: &AppendAs) -> Result<Appended, AppendError> {
        // Asked first, so that a busy log costs its callers no validation.
        if self.writer.is_locked() {
            return Err(AppendError::Busy);
        }
        let config = self.config.load();
        let rules = Rules::of(&config, how.origin, how.now_ms, how.produce_version);
        let validated = validate(batch, &rules)?;
        validated.stamp(batch);
        let log_append_time_ms = match validated.stamp {
            Stamp::LogAppendTime(now_ms) => now_ms,
            _ => -1,
        };
        let recoded = match how.origin {
            Origin::Follower => None,
            _ => recoded(batch, &validated, &rules, &config)?,
        };
        let mut other;
        let batch = match recoded {
            Some(recoded) => {
                other = recoded;
                &mut other[..]
            }
            None => batch,
        };
        let ready = ready(batch, log_append_time_ms)?;
        let mut writer = self.writer.try_lock().ok_or(AppendError::Busy)?;
        self.append_ready(&mut writer, batch, ready, how, &config)
    }

    /// A leader begins to write under `epoch`, which others see from now on, also before its first record (KIP-101).
    /// Waits for the append lock: not on a serving core.
    pub fn begin_epoch(&self, epoch: LeaderEpoch) {
        let _writer = self.writer.lock();
        if self.stale(epoch).is_none() {
            self.assign_epoch(epoch, self.segments.load().end());
        }
        self.stir();
    }

    fn append_ready(
        &self,
        writer: &mut Writer,
        batch: &mut [u8],
        mut ready: Ready,
        how: &AppendAs,
        config: &LogConfig,
    ) -> Result<Appended, AppendError> {
        self.check_open()?;
        let limit = config.segment_bytes.min(SEGMENT_BYTES_MAX);
        if batch.len() as u64 > limit {
            let bytes = batch.len() as u64;
            return Err(AppendError::LargerThanSegment { bytes, segment_bytes: limit });
        }
        let active = self.segments.load().active().clone();
        place(&mut ready.header, how, active.next())?;
        if let Some(epoch) = self.stale(ready.header.leader_epoch) {
            return Err(AppendError::StaleEpoch { given: ready.header.leader_epoch, known: epoch });
        }
        match ready.marker {
            Some(marker) if how.origin != Origin::Follower => {
                writer.producers.check_marker(&ready.header, marker.coordinator_epoch)?;
            }
            Some(_) => {}
            None => {
                if let Some(appended) = duplicate(writer, &ready, how)? {
                    return Ok(appended);
                }
            }
        }
        set_base_offset(batch, ready.header.base_offset);
        set_leader_epoch(batch, ready.header.leader_epoch);
        self.write(writer, active, batch, &ready, how, config)?;
        Ok(Appended {
            base_offset: ready.header.base_offset,
            last_offset: ready.header.last_offset(),
            log_append_time_ms: ready.log_append_time_ms,
            duplicate: false,
        })
    }

    /// Writes and publishes; nothing is refused any more but by the disk.
    fn write(
        &self,
        writer: &mut Writer,
        mut active: Arc<Segment>,
        batch: &[u8],
        ready: &Ready,
        how: &AppendAs,
        config: &LogConfig,
    ) -> Result<(), AppendError> {
        let header = &ready.header;
        if must_roll(&self.id, &active, header, how.now_ms, config) {
            // A gap in what a follower copies lies inside the new segment, unless no index entry reaches across.
            let end = active.next();
            let near = header.last_offset() - end <= i64::from(i32::MAX);
            active = self
                .roll_writer(writer, if near { end } else { header.base_offset })
                .map_err(|error| self.refuse("create a segment", error))?;
        }
        if let Err(error) = active.write(batch) {
            if let Err(undo) = active.unwrite() {
                let what = self.fail("truncate after a failed write", &undo);
                return Err(AppendError::Storage { what });
            }
            return Err(self.refuse("write", error));
        }
        self.assign_epoch(header.leader_epoch, header.base_offset);
        match ready.marker {
            Some(Marker { outcome, coordinator_epoch }) => {
                let ended = writer.producers.apply_marker(header, coordinator_epoch, how.now_ms);
                if let Some(ended) = ended {
                    self.note_ended(&active, &writer.producers, ended, outcome);
                }
            }
            None if !header.is_control() => writer.producers.apply(header, how.now_ms),
            None => {}
        }
        if header.is_transactional() || header.is_control() {
            self.note_undecided(&writer.producers);
        }
        active.publish(header, config.index_interval_bytes, how.now_ms);
        self.stir();
        Ok(())
    }

    /// Seals the active segment and starts a new one at `base`, its end or above it. No fsync, no snapshot file:
    /// housekeeping writes what is due.
    pub(super) fn roll_writer(&self, writer: &mut Writer, base: Offset) -> io::Result<Arc<Segment>> {
        let segment = Arc::new(Segment::create(&self.files, &self.dir, base, base)?);
        let config = self.config.load();
        if config.preallocate {
            segment.file().reserve(config.segment_bytes.min(SEGMENT_BYTES_MAX))?;
        }
        self.names_changed();
        writer.snapshots.push(Snapshot::of(&writer.producers, base));
        self.segments.rcu(|now| Arc::new(now.with(segment.clone())));
        self.stir();
        Ok(segment)
    }

    fn check_open(&self) -> Result<(), AppendError> {
        if let Some(what) = self.offline() {
            return Err(AppendError::Storage { what });
        }
        if self.closed.load(Ordering::Acquire) { Err(AppendError::Closed) } else { Ok(()) }
    }

    /// The newest epoch in the log, if `epoch` is behind it (I12, I13).
    fn stale(&self, epoch: LeaderEpoch) -> Option<LeaderEpoch> {
        let known = self.lineage.load().latest()?.0;
        (epoch < known).then_some(known)
    }

    fn assign_epoch(&self, epoch: LeaderEpoch, start: Offset) {
        if epoch.0 < 0 || self.lineage.load().latest().is_some_and(|(known, _)| known == epoch) {
            return;
        }
        self.change_lineage(|lineage| lineage.assign(epoch, start));
    }

    /// A full disk refuses this append; any other failure ends the log.
    fn refuse(&self, what: &str, error: io::Error) -> AppendError {
        if is_full(&error) {
            let what: Arc<str> = format!("{what} in {}: {error}", self.dir.display()).into();
            return AppendError::DiskFull { what };
        }
        AppendError::Storage { what: self.fail(what, &error) }
    }
}

/// The header as the batch now stands, and the marker in it.
fn ready(batch: &[u8], log_append_time_ms: i64) -> Result<Ready, AppendError> {
    let header = BatchHeader::parse(batch).map_err(Invalid::Framing)?;
    let marker = match header.is_control().then(|| read_control(&header, batch)).transpose()? {
        Some(Control::EndTransaction { coordinator_epoch, outcome }) if header.has_producer() => {
            Some(Marker { outcome, coordinator_epoch })
        }
        _ => None,
    };
    Ok(Ready { header, marker, log_append_time_ms })
}

/// Gives the batch its offset and epoch; a follower's keeps what the leader gave it.
fn place(header: &mut BatchHeader, how: &AppendAs, end: Offset) -> Result<(), AppendError> {
    if how.origin == Origin::Follower {
        let given = header.base_offset;
        return if given >= end { Ok(()) } else { Err(AppendError::OutOfOrder { given, end }) };
    }
    header.base_offset = end;
    header.leader_epoch = how.leader_epoch;
    Ok(())
}

fn duplicate(writer: &Writer, ready: &Ready, how: &AppendAs) -> Result<Option<Appended>, AppendError> {
    match writer.producers.check(&ready.header, how.origin)? {
        Verdict::Append => Ok(None),
        Verdict::Duplicate { base_offset, last_offset, timestamp } => {
            // A retry is told the time of the first attempt.
            let log_append_time_ms = if ready.log_append_time_ms < 0 { -1 } else { timestamp };
            Ok(Some(Appended { base_offset, last_offset, log_append_time_ms, duplicate: true }))
        }
    }
}
