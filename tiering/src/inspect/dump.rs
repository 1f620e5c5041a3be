//! What files hold, item by item, as it is read: batches, records, index entries, producers, lines of text.
//! It judges nothing but what stops it. Invariant: an item is shown before the next is read, so memory stays small.

use crate::batch::header::{BatchHeader, TimestampType};
use crate::batch::record::Record;
use crate::hot::dir::{Kind, parse_file_name};
use crate::hot::file::{Files, OpenMode};
use crate::hot::index::{Entry as _, OFFSET_ENTRY, OffsetEntry, TIME_ENTRY, TimeEntry, absolute};
use crate::inspect::error::InspectError;
use crate::inspect::finding::{Damage, Finding};
use crate::inspect::path::{What, what};
use crate::inspect::records;
use crate::inspect::transactions::{self, Aborted};
use crate::inspect::walk::{Step, damage, walk};
use crate::offsets::Offset;
use crate::producer::snapshot::{decode_producers, decode_snapshot};
use crate::producer::state::ProducerState;
use std::io;
use std::path::Path;

/// Largest file that is read whole.
const WHOLE_MAX: u64 = 256 << 20;

/// One thing in a file.
#[derive(Debug)]
pub enum Item<'a> {
    /// What follows comes from this file.
    File(&'a Path),
    /// A whole batch.
    Batch {
        /// Its first byte.
        position: u64,
        /// Its header.
        header: &'a BatchHeader,
    },
    /// A record of the batch shown last.
    Record {
        /// Its offset.
        offset: Offset,
        /// Milliseconds: its own, or the broker's where the batch says so.
        timestamp: i64,
        /// Key, value, headers.
        record: &'a Record<'a>,
    },
    /// An entry of an offset index.
    Offset {
        /// A batch's last offset.
        offset: Offset,
        /// Its first byte.
        position: u32,
    },
    /// An entry of a time index.
    Time {
        /// Milliseconds.
        timestamp: i64,
        /// No record up to here is younger.
        offset: Offset,
    },
    /// An entry of a transaction index.
    Aborted(&'a Aborted),
    /// A producer of a `.snapshot` or `.producers`.
    Producer(&'a ProducerState),
    /// A line of a text file.
    Line(&'a str),
    /// Where and why nothing could be shown.
    Damage(&'a Finding),
}

/// Takes items; an error ends the dump.
pub type Show<'s> = dyn FnMut(Item<'_>) -> io::Result<()> + 's;

/// Shows what `path` holds: one file, or every `.log` of a partition or directory. Records only where asked.
pub fn dump(files: &dyn Files, path: &Path, records: bool, show: &mut Show<'_>) -> Result<(), InspectError> {
    match what(files, path)? {
        What::Directory | What::Partition => {
            for name in files.list(path).map_err(InspectError::storage(path))? {
                let inside = path.join(&name);
                let partition = matches!(what(files, &inside), Ok(What::Partition));
                if partition || parse_file_name(&name).is_some_and(|(_, kind)| kind == Kind::Log) {
                    dump(files, &inside, records, show)?;
                }
            }
            Ok(())
        }
        What::Segment(base, kind) => {
            show(Item::File(path)).map_err(InspectError::Shown)?;
            match kind {
                Kind::Log => batches(files, path, base, None, records, show),
                _ => small(files, path, base, kind, show),
            }
        }
        What::Object => {
            show(Item::File(path)).map_err(InspectError::Shown)?;
            object(files, path, records, show)
        }
        What::Text => {
            show(Item::File(path)).map_err(InspectError::Shown)?;
            let bytes = files.read_all(path, WHOLE_MAX).map_err(InspectError::storage(path))?;
            let text = String::from_utf8_lossy(&bytes);
            text.lines().try_for_each(|line| show(Item::Line(line))).map_err(InspectError::Shown)
        }
    }
}

/// The batches of a file, of its first `len` bytes where given.
fn batches(
    files: &dyn Files,
    path: &Path,
    base: Offset,
    len: Option<u64>,
    records: bool,
    show: &mut Show<'_>,
) -> Result<(), InspectError> {
    let file = files.open(path, OpenMode::Read).map_err(InspectError::storage(path))?;
    let len = len.map_or_else(|| file.len(), Ok).map_err(InspectError::storage(path))?;
    // The walk's own errors are the disk's; those of `show` are kept apart.
    let mut unshown = None;
    let walked = walk(&*file, base, len, |step| {
        one(path, step, records, show).map_err(|error| {
            let stop = io::Error::other("not shown");
            unshown = Some(error);
            stop
        })
    });
    match unshown {
        Some(error) => Err(InspectError::Shown(error)),
        None => walked.map_err(InspectError::storage(path)),
    }
}

fn one(path: &Path, step: Step<'_>, records: bool, show: &mut Show<'_>) -> io::Result<()> {
    let finding = |at, damage, why| Finding { file: path.to_owned(), at: Some(at), damage, why };
    match step {
        Step::Batch { position, header, batch } => {
            show(Item::Batch { position, header })?;
            if !records {
                return Ok(());
            }
            let mut shown = Ok(());
            let each = records::each(header, batch, |record| {
                let offset = header.base_offset + i64::from(record.offset_delta);
                let timestamp = match header.timestamp_type() {
                    TimestampType::LogAppendTime => header.max_timestamp,
                    TimestampType::CreateTime => header.base_timestamp.wrapping_add(record.timestamp_delta),
                };
                if shown.is_ok() {
                    shown = show(Item::Record { offset, timestamp, record });
                }
            });
            shown?;
            match each {
                Ok(_) => Ok(()),
                Err(fault) => show(Item::Damage(&finding(position, Damage::Records, fault.to_string()))),
            }
        }
        Step::Break { position, until, fault } => {
            show(Item::Damage(&finding(position, damage(fault, until), fault.to_string())))
        }
    }
}

/// An index or a producer file.
fn small(
    files: &dyn Files,
    path: &Path,
    base: Offset,
    kind: Kind,
    show: &mut Show<'_>,
) -> Result<(), InspectError> {
    let bytes = files.read_all(path, WHOLE_MAX).map_err(InspectError::storage(path))?;
    let broken = |damage, why: String| Finding { file: path.to_owned(), at: None, damage, why };
    let shown = match kind {
        Kind::OffsetIndex => bytes.chunks_exact(OFFSET_ENTRY).map(OffsetEntry::read).try_for_each(|entry| {
            show(Item::Offset { offset: absolute(base, entry.relative), position: entry.position })
        }),
        Kind::TimeIndex => bytes.chunks_exact(TIME_ENTRY).map(TimeEntry::read).try_for_each(|entry| {
            show(Item::Time { timestamp: entry.timestamp, offset: absolute(base, entry.relative) })
        }),
        Kind::TxnIndex => match transactions::decode(&bytes, base) {
            Ok(entries) => entries.iter().try_for_each(|entry| show(Item::Aborted(entry))),
            Err((_, why)) => show(Item::Damage(&broken(Damage::TransactionIndex, why))),
        },
        Kind::Snapshot | Kind::Producers => {
            let decoded = match kind {
                Kind::Snapshot => decode_snapshot(&bytes),
                _ => decode_producers(&bytes).map(|(_, states)| states),
            };
            match decoded {
                Ok(states) => states.iter().try_for_each(|state| show(Item::Producer(state))),
                Err(error) => show(Item::Damage(&broken(Damage::Producers, error.to_string()))),
            }
        }
        Kind::Log => Ok(()),
    };
    shown.map_err(InspectError::Shown)
}

/// The batches of a remote segment: what lies before its sections.
fn object(files: &dyn Files, path: &Path, records: bool, show: &mut Show<'_>) -> Result<(), InspectError> {
    let (base, len) = match crate::inspect::object::log_of(files, path)? {
        Ok((base, len)) => (base, Some(len)),
        Err(finding) => {
            show(Item::Damage(&finding)).map_err(InspectError::Shown)?;
            (Offset::ZERO, None)
        }
    };
    batches(files, path, base, len, records, show)
}
