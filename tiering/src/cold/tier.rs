//! The quorum's row about one log's cold tier, and the only changes it knows. Pure: a row and a change give the
//! next row or a refusal. Not the manifest (an object in the bucket, `cold/manifest.rs`): the row points at it.
//! Invariants: a change decided on another version or under another leader epoch changes nothing; the committed
//! end and the log start never fall; what lies in `[log start, end)` is covered without a hole on one lineage.
//!
//! ```text
//! row     | ver=1 u8 | version u64 | leader epoch i32 | log start i64 | end i64 | end epoch i32
//!         | has manifest u8 | manifest pointer, if so | count u32 | entries ... |
//! change  | ver=1 u8 | on version u64 | leader epoch i32 | kind u8 | body |
//!           kind 1 append: entry   2 swap: manifest pointer, count u32, uuids   3 move log start: i64
//! ```
//!
//! Big-endian; entries as in `cold/entry.rs`, the pointer as in `cold/manifest.rs`.

use crate::cold::entry::{ENTRY_BYTES, Entry, entries_contradiction};
use crate::cold::format::{Decoder, Encoder, FormatError};
use crate::cold::manifest::ManifestPointer;
use crate::epoch::LeaderEpoch;
use crate::offsets::Offset;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// The version of row and change that is written, and the newest read.
pub const TIER_VERSION: u8 = 1;
/// Entries a row may hold outside its manifest. Folding starts at 16; an append beyond this is refused, so that a
/// bucket that takes segments but no manifests cannot grow the quorum's image.
pub const MAX_INLINE_ENTRIES: usize = 64;
/// Stands for "no epoch": nothing was committed yet.
pub const NO_EPOCH: LeaderEpoch = LeaderEpoch(-1);

/// Counts the changes of a row. Every change names the version it was decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct TierVersion(pub u64);

impl fmt::Display for TierVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the quorum knows about the cold tier of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierRow {
    /// How many changes were applied.
    pub version: TierVersion,
    /// The epoch of the log's present leader; only its changes are taken.
    pub leader_epoch: LeaderEpoch,
    /// First offset a reader may ask for, in any tier.
    pub log_start: Offset,
    /// The committed remote end: the first offset that is not in the bucket. 0 when nothing was ever committed.
    pub end: Offset,
    /// Epoch of the record just below `end`; [`NO_EPOCH`] when nothing was ever committed.
    pub end_epoch: LeaderEpoch,
    /// The manifest that holds the folded entries.
    pub manifest: Option<ManifestPointer>,
    /// Entries that are not folded yet, ascending, all at or above the manifest's end.
    pub entries: Vec<Entry>,
}

/// A change to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierChange {
    /// The row's version when the change was decided.
    pub on_version: TierVersion,
    /// The epoch of the leader that decided it: the leader's own, never read back from the row.
    pub leader_epoch: LeaderEpoch,
    /// What changes.
    pub kind: TierChangeKind,
}

/// What a [`TierChange`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TierChangeKind {
    /// A verified remote segment joins at the committed end.
    Append(Entry),
    /// A new manifest takes the place of the old one and of exactly the entries it folded.
    Swap {
        /// The new manifest.
        manifest: ManifestPointer,
        /// Uuids of the oldest inline entries, in order; may be empty.
        folded: Vec<Uuid>,
    },
    /// The log start moves up; the same value again only raises the version (a fence against changes in flight).
    MoveLogStart(Offset),
}

/// Why a change was refused. The row stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refused {
    /// The row changed since.
    #[error("decided on tier version {decided_on}, the row is at {current}")]
    StaleVersion {
        /// The change's.
        decided_on: TierVersion,
        /// The row's.
        current: TierVersion,
    },
    /// Decided by someone who is not the present leader.
    #[error("decided under leader epoch {decided_under}, the row is at {current}")]
    StaleLeader {
        /// The change's.
        decided_under: LeaderEpoch,
        /// The row's.
        current: LeaderEpoch,
    },
    /// The entry does not begin where the tier ends.
    #[error("entry covers [{base}, {next}), the committed end is {end} and the log starts at {log_start}")]
    NotAtEnd {
        /// The entry's first offset.
        base: Offset,
        /// The offset after its last.
        next: Offset,
        /// The row's end.
        end: Offset,
        /// The row's log start.
        log_start: Offset,
    },
    /// The entry's epochs do not continue the tier's.
    #[error("entry follows epoch {previous_epoch}, the committed end was written under {end_epoch}")]
    OffLineage {
        /// The entry's.
        previous_epoch: LeaderEpoch,
        /// The row's.
        end_epoch: LeaderEpoch,
    },
    /// The entry contradicts itself.
    #[error("entry is invalid: {0}")]
    BadEntry(String),
    /// The row holds as many unfolded entries as it may.
    #[error("the row holds {0} unfolded entries; fold them into a manifest first")]
    Full(usize),
    /// The folded entries are not the row's oldest, or the manifest does not cover what it must.
    #[error("swap refused: {0}")]
    BadSwap(String),
    /// The log start would fall.
    #[error("log start would fall from {from} to {to}")]
    LogStartFalls {
        /// The row's.
        from: Offset,
        /// The change's.
        to: Offset,
    },
}

impl TierRow {
    /// The row of a log that has nothing in the bucket.
    pub fn new(leader_epoch: LeaderEpoch, log_start: Offset) -> Self {
        Self {
            version: TierVersion(0),
            leader_epoch,
            log_start,
            end: Offset::ZERO,
            end_epoch: NO_EPOCH,
            manifest: None,
            entries: Vec::new(),
        }
    }

    /// The row under a new leader; panics if the epoch falls. The version stays: a change of the old leader is
    /// refused by its epoch.
    pub fn with_leader_epoch(&self, leader_epoch: LeaderEpoch) -> Self {
        assert!(
            leader_epoch >= self.leader_epoch,
            "leader epoch falls from {} to {leader_epoch}",
            self.leader_epoch
        );
        Self { leader_epoch, ..self.clone() }
    }

    /// Whether anything was ever committed.
    pub fn has_committed(&self) -> bool {
        self.end_epoch != NO_EPOCH
    }

    /// The last offset in the bucket (ListOffsets −5, LATEST_TIERED); `None` when nothing was ever committed.
    pub fn last_tiered(&self) -> Option<Offset> {
        self.has_committed().then(|| self.end - 1)
    }

    /// Bytes of log in the bucket, retired entries not yet swapped out included.
    pub fn log_bytes(&self) -> u64 {
        let inline: u64 = self.entries.iter().map(|entry| entry.log_bytes).sum();
        inline + self.manifest.as_ref().map_or(0, |manifest| manifest.log_bytes)
    }

    /// Remote segments, retired ones not yet swapped out included.
    pub fn segments(&self) -> usize {
        self.entries.len() + self.manifest.as_ref().map_or(0, |manifest| manifest.segments as usize)
    }

    /// The unfolded entry that covers `offset`.
    pub fn inline_entry(&self, offset: Offset) -> Option<&Entry> {
        let at = self.entries.partition_point(|entry| entry.next <= offset);
        self.entries.get(at).filter(|entry| entry.covers(offset))
    }

    /// The next row, or why not. Pure: the same row and change give the same answer on every replica.
    pub fn apply(&self, change: &TierChange) -> Result<TierRow, Refused> {
        if change.leader_epoch != self.leader_epoch {
            let (decided_under, current) = (change.leader_epoch, self.leader_epoch);
            return Err(Refused::StaleLeader { decided_under, current });
        }
        if change.on_version != self.version {
            return Err(Refused::StaleVersion { decided_on: change.on_version, current: self.version });
        }
        let mut next = match &change.kind {
            TierChangeKind::Append(entry) => self.append(entry)?,
            TierChangeKind::Swap { manifest, folded } => self.swap(manifest, folded)?,
            TierChangeKind::MoveLogStart(to) => self.move_log_start(*to)?,
        };
        next.version = TierVersion(self.version.0 + 1);
        debug_assert!(next.end >= self.end, "committed end falls from {} to {}", self.end, next.end);
        debug_assert_eq!(next.contradiction(), None);
        Ok(next)
    }

    fn append(&self, entry: &Entry) -> Result<TierRow, Refused> {
        if let Some(why) = entry.contradiction() {
            return Err(Refused::BadEntry(why));
        }
        if entry.leader_epoch != self.leader_epoch {
            let (decided_under, current) = (entry.leader_epoch, self.leader_epoch);
            return Err(Refused::StaleLeader { decided_under, current });
        }
        // Where everything committed has expired, the tier goes on at the segment that holds the log start.
        let continues = entry.base == self.end;
        let restarts = self.log_start > self.end
            && entry.base >= self.end
            && entry.base <= self.log_start
            && entry.next > self.log_start;
        if !continues && !restarts {
            let (end, log_start) = (self.end, self.log_start);
            return Err(Refused::NotAtEnd { base: entry.base, next: entry.next, end, log_start });
        }
        let off_lineage = if continues && self.has_committed() {
            entry.previous_epoch != self.end_epoch
        } else {
            entry.first_epoch < self.end_epoch
        };
        if off_lineage {
            let (previous_epoch, end_epoch) = (entry.previous_epoch, self.end_epoch);
            return Err(Refused::OffLineage { previous_epoch, end_epoch });
        }
        if self.entries.len() >= MAX_INLINE_ENTRIES {
            return Err(Refused::Full(self.entries.len()));
        }
        let mut next = self.clone();
        next.entries.push(*entry);
        next.end = entry.next;
        next.end_epoch = entry.last_epoch;
        Ok(next)
    }

    fn swap(&self, manifest: &ManifestPointer, folded: &[Uuid]) -> Result<TierRow, Refused> {
        let bad = |why: String| Err(Refused::BadSwap(why));
        let prefix = self.entries.get(..folded.len());
        if !prefix.is_some_and(|oldest| oldest.iter().map(|entry| entry.uuid).eq(folded.iter().copied())) {
            return bad(format!(
                "the {} folded entries are not the row's oldest {}",
                folded.len(),
                self.entries.len()
            ));
        }
        if self.manifest.as_ref().is_some_and(|old| old.uuid == manifest.uuid) {
            return bad(format!("manifest {} is the present one", manifest.uuid));
        }
        let old_end = self.manifest.as_ref().map_or(Offset::ZERO, |old| old.end);
        let folded_end = folded.len().checked_sub(1).map_or(old_end, |last| self.entries[last].next);
        if manifest.end != folded_end {
            return bad(format!("manifest ends at {}, what it folded at {folded_end}", manifest.end));
        }
        let covers = if manifest.segments == 0 { manifest.end } else { manifest.base };
        let lost = covers > self.log_start && folded_end > self.log_start;
        let hole = manifest.segments == 0 && folded_end > self.log_start;
        if lost || hole {
            return bad(format!(
                "manifest holds {} segments of [{}, {}), the log starts at {}",
                manifest.segments, manifest.base, manifest.end, self.log_start
            ));
        }
        let mut next = self.clone();
        next.entries.drain(..folded.len());
        next.manifest = Some(*manifest);
        Ok(next)
    }

    fn move_log_start(&self, to: Offset) -> Result<TierRow, Refused> {
        if to < self.log_start {
            return Err(Refused::LogStartFalls { from: self.log_start, to });
        }
        Ok(Self { log_start: to, ..self.clone() })
    }

    /// Which invariant the row breaks, if one: entries ascend, above the log start without a gap and on one
    /// lineage; the last ends at the committed end; what the row and its manifest hold reaches down to the start.
    pub fn contradiction(&self) -> Option<String> {
        if let Some(why) = entries_contradiction(&self.entries, self.log_start) {
            return Some(why);
        }
        let last_end =
            self.entries.last().map(|entry| entry.next).or(self.manifest.map(|manifest| manifest.end));
        if last_end.is_some_and(|end| end != self.end) {
            return Some(format!("entries end at {last_end:?}, the committed end is {}", self.end));
        }
        let (first, manifest) = (self.entries.first()?, self.manifest.as_ref());
        let below = manifest.map_or(Offset::ZERO, |manifest| manifest.end);
        if first.base < below || (first.base > below && first.base > self.log_start) {
            return Some(format!("entries begin at {}, above {below} where the manifest ends", first.base));
        }
        None
    }

    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(TIER_VERSION).u64(self.version.0).i32(self.leader_epoch.0);
        out.i64(self.log_start.0).i64(self.end.0).i32(self.end_epoch.0);
        match &self.manifest {
            Some(manifest) => manifest.write(out.u8(1)),
            None => _ = out.u8(0),
        }
        out.count(self.entries.len());
        for entry in &self.entries {
            out.raw(&entry.encode());
        }
        out.finish()
    }

    /// Reads [`TierRow::encode`]'s bytes back; a row that breaks its invariants is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        const WHAT: &str = "tier row";
        let mut from = Decoder::new(bytes, WHAT);
        known_version(&mut from, WHAT)?;
        let mut row = Self {
            version: TierVersion(from.u64()?),
            leader_epoch: LeaderEpoch(from.i32()?),
            log_start: Offset(from.i64()?),
            end: Offset(from.i64()?),
            end_epoch: LeaderEpoch(from.i32()?),
            manifest: None,
            entries: Vec::new(),
        };
        row.manifest = match from.u8()? {
            0 => None,
            1 => Some(ManifestPointer::read(&mut from)?),
            other => return Err(from.invalid(format!("has-manifest is {other}"))),
        };
        for _ in 0..from.count(ENTRY_BYTES)? {
            row.entries.push(Entry::read(&mut from)?);
        }
        if let Some(why) = row.contradiction() {
            return Err(from.invalid(why));
        }
        from.finish()?;
        Ok(row)
    }
}

impl TierChange {
    /// The change's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(TIER_VERSION).u64(self.on_version.0).i32(self.leader_epoch.0);
        match &self.kind {
            TierChangeKind::Append(entry) => _ = out.u8(1).raw(&entry.encode()),
            TierChangeKind::Swap { manifest, folded } => {
                manifest.write(out.u8(2));
                out.count(folded.len());
                folded.iter().for_each(|uuid| _ = out.uuid(*uuid));
            }
            TierChangeKind::MoveLogStart(to) => _ = out.u8(3).i64(to.0),
        }
        out.finish()
    }

    /// Reads [`TierChange::encode`]'s bytes back.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        const WHAT: &str = "tier change";
        let mut from = Decoder::new(bytes, WHAT);
        known_version(&mut from, WHAT)?;
        let on_version = TierVersion(from.u64()?);
        let leader_epoch = LeaderEpoch(from.i32()?);
        let kind = match from.u8()? {
            1 => TierChangeKind::Append(Entry::read(&mut from)?),
            2 => {
                let manifest = ManifestPointer::read(&mut from)?;
                let count = from.count(16)?;
                let folded = (0..count).map(|_| from.uuid()).collect::<Result<_, _>>()?;
                TierChangeKind::Swap { manifest, folded }
            }
            3 => TierChangeKind::MoveLogStart(Offset(from.i64()?)),
            other => return Err(from.invalid(format!("kind {other} is unknown"))),
        };
        from.finish()?;
        Ok(Self { on_version, leader_epoch, kind })
    }
}

fn known_version(from: &mut Decoder<'_>, what: &'static str) -> Result<(), FormatError> {
    match from.u8()? {
        TIER_VERSION => Ok(()),
        0 => Err(from.invalid("version 0 was never written")),
        found => Err(FormatError::NewerVersion { what, found: found.into(), known: TIER_VERSION.into() }),
    }
}
