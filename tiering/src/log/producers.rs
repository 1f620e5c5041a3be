//! Producer state from disk: the newest snapshot at or below an offset, then the batches after it, with every
//! transaction that ended on the way. It keeps nothing in step by itself. Invariant: the answer equals a replay of the
//! whole log.

use crate::batch::control::{Control, Outcome};
use crate::hot::dir::{Kind, file_name, parse_file_name};
use crate::hot::file::Files;
use crate::hot::headers::SegmentError;
use crate::hot::recovery::{Depth, Walk};
use crate::hot::segment::Segment;
use crate::hot::segments::Segments;
use crate::offsets::Offset;
use crate::producer::snapshot::{decode_producers, decode_snapshot, encode_producers, encode_snapshot};
use crate::producer::state::{EndedTransaction, ProducerState, ProducerTable};
use std::io;
use std::path::Path;

/// Largest snapshot that is read: a full table's.
pub const SNAPSHOT_MAX: u64 = 64 << 20;

/// The bytes of both snapshot files of a table that has seen every record below `at`.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The offset it is as of; its files' name.
    pub at: Offset,
    producers: Vec<u8>,
    kafka: Vec<u8>,
}

impl Snapshot {
    /// Encodes the table; no file is touched.
    pub fn of(table: &ProducerTable, at: Offset) -> Snapshot {
        Snapshot { at, producers: encode_producers(table, at), kafka: encode_snapshot(table) }
    }

    /// Writes both files durably, ours first: whoever finds Kafka's finds ours.
    pub fn write(&self, files: &dyn Files, dir: &Path) -> io::Result<()> {
        files.write_atomic(&dir.join(file_name(self.at, Kind::Producers)), &self.producers)?;
        files.write_atomic(&dir.join(file_name(self.at, Kind::Snapshot)), &self.kafka)
    }
}

/// Offsets of the snapshots in a log's directory, rising.
pub fn snapshots(files: &dyn Files, dir: &Path) -> io::Result<Vec<Offset>> {
    let names = files.list(dir)?;
    let mut found: Vec<Offset> = names
        .iter()
        .filter_map(|name| parse_file_name(name))
        .filter(|(_, kind)| matches!(kind, Kind::Snapshot | Kind::Producers))
        .map(|(at, _)| at)
        .collect();
    found.dedup();
    Ok(found)
}

/// Removes both files of the snapshot at `at`, if they are there.
pub fn remove_snapshot(files: &dyn Files, dir: &Path, at: Offset) -> io::Result<()> {
    for kind in [Kind::Producers, Kind::Snapshot] {
        match files.remove(&dir.join(file_name(at, kind))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// What every producer had written below `upto`, a batch border.
pub fn rebuild(
    files: &dyn Files,
    dir: &Path,
    segments: &Segments,
    upto: Offset,
    now_ms: i64,
) -> Result<ProducerTable, SegmentError> {
    let known = snapshots(files, dir)?;
    let (mut table, from) = newest(files, dir, &known, segments.start(), upto, now_ms)?;
    replay_onto(&mut table, segments, from, upto, now_ms, |_| {})?;
    Ok(table)
}

/// A transaction that a marker ended.
pub struct Ended<'a> {
    /// Where the marker lies.
    pub segment: &'a Segment,
    /// Which one.
    pub transaction: EndedTransaction,
    /// How.
    pub outcome: Outcome,
    /// The producers once the marker stood.
    pub producers: &'a ProducerTable,
}

/// Adds to `table`, which knows everything below `from`, what the batches up to `upto` tell; shows every transaction
/// that ends on the way.
pub fn replay_onto(
    table: &mut ProducerTable,
    segments: &Segments,
    from: Offset,
    upto: Offset,
    now_ms: i64,
    mut ended: impl FnMut(Ended<'_>),
) -> Result<(), SegmentError> {
    for segment in &segments.all()[segments.find(from)..] {
        if segment.base() >= upto {
            break;
        }
        replay(segment, from, upto, now_ms, table, &mut ended)?;
    }
    Ok(())
}

/// A table of these producers.
pub fn table_of(states: Vec<ProducerState>, now_ms: i64) -> ProducerTable {
    let mut table = ProducerTable::new();
    states.into_iter().for_each(|state| table.load(state, now_ms));
    table
}

/// The newest readable one of the snapshots at `known` in `[start, upto]`; an empty table at `start` if there is none.
pub fn newest(
    files: &dyn Files,
    dir: &Path,
    known: &[Offset],
    start: Offset,
    upto: Offset,
    now_ms: i64,
) -> io::Result<(ProducerTable, Offset)> {
    for at in known.iter().rev().copied().filter(|at| (start..=upto).contains(at)) {
        if let Some(states) = read(files, dir, at)? {
            return Ok((table_of(states, now_ms), at));
        }
    }
    Ok((ProducerTable::new(), start))
}

/// Ours if it is there and whole, else Kafka's, else nothing: the log itself can still tell.
fn read(files: &dyn Files, dir: &Path, at: Offset) -> io::Result<Option<Vec<ProducerState>>> {
    for kind in [Kind::Producers, Kind::Snapshot] {
        let path = dir.join(file_name(at, kind));
        let bytes = match files.read_all(&path, SNAPSHOT_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let states = match kind {
            Kind::Producers => decode_producers(&bytes).map(|(_, states)| states),
            _ => decode_snapshot(&bytes),
        };
        match states {
            Ok(states) => return Ok(Some(states)),
            Err(fault) => tracing::warn!(path = %path.display(), %fault, "producer snapshot is damaged"),
        }
    }
    Ok(None)
}

fn replay(
    segment: &Segment,
    from: Offset,
    upto: Offset,
    now_ms: i64,
    table: &mut ProducerTable,
    ended: &mut impl FnMut(Ended<'_>),
) -> Result<(), SegmentError> {
    let Some(first) = segment.locate(from)? else { return Ok(()) };
    let len = segment.bytes();
    let mut walk =
        Walk::new(&**segment.file(), segment.base(), Depth::Headers, first.position, len, first.base);
    while let Some(met) = walk.step()? {
        if met.header.next_offset() > upto {
            break;
        }
        if !met.header.has_producer() || met.header.base_offset < from {
            continue;
        }
        let written_ms = met.header.max_timestamp.clamp(0, now_ms.max(0));
        if !met.header.is_control() {
            table.apply(&met.header, written_ms);
        } else if let Some(Control::EndTransaction { coordinator_epoch, outcome }) = walk.control(&met)?
            && let Some(transaction) = table.apply_marker(&met.header, coordinator_epoch, written_ms)
        {
            ended(Ended { segment, transaction, outcome, producers: table });
        }
    }
    Ok(())
}
