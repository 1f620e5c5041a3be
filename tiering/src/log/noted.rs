//! Writing down how far the active segment is whole, and believing it after a process died: a start after a kill then
//! reads what came since, not every byte. Invariant: a note is gone before a byte it speaks of changes, and it is believed
//! only in the boot it was written in, where the page cache holds what the process wrote, and only if the batches at its
//! end are where and what it says.
//!
//! Nothing here is fsynced, and nothing here is needed: without a note, or with one that is not believed, every batch
//! above the recovery point is read, as after a power loss.

use crate::hot::dir::TIP_NOTE;
use crate::hot::file::{File, Files, OpenMode};
use crate::hot::index::MemoryIndex;
use crate::hot::recovery::{Begin, Depth, Walk};
use crate::hot::tip_note::TipNote;
use crate::log::open::{OpenLog, remove_if_there};
use crate::log::unified::{Chores, Log, Noted};
use crate::offsets::Offset;
use crate::producer::snapshot::{decode_producers, encode_producers};
use crate::producer::state::ProducerState;
use std::io;
use std::path::Path;

/// Times a note's own size that is appended before the next.
const PER_NOTE: u64 = 8;

/// Largest note that is read: full indexes, and the producers of a full table.
const NOTE_MAX: u64 = 96 << 20;

impl Noted {
    /// Whether so much was appended since that the next one pays.
    fn is_old(noted: Option<&Noted>, base: Offset, bytes: u64, every: u64) -> bool {
        match noted {
            Some(noted) if noted.base == base => {
                bytes.saturating_sub(noted.bytes) >= every.max(noted.size * PER_NOTE)
            }
            _ => bytes >= every,
        }
    }
}

/// What a believed note says.
pub(super) struct Tip {
    /// Where reading begins.
    pub begin: Begin,
    /// The offset up to which the producers are known.
    pub next: Offset,
    /// They.
    pub producers: Vec<ProducerState>,
    /// The note itself.
    pub noted: Noted,
}

impl Log {
    /// Writes a note if the last one is old. A log with undecided or aborted transactions gets none: what a note does not
    /// tell of them is only in the batches.
    pub(super) fn note_tip(&self, chores: &mut Chores) -> io::Result<()> {
        let Some(boot) = self.boot else { return Ok(()) };
        let active = self.segments.load().active().clone();
        let every = self.config.load().tip_note_bytes;
        if !Noted::is_old(chores.noted.as_ref(), active.base(), active.bytes(), every) {
            return Ok(());
        }
        let note = {
            // Whoever holds it appends: the next look comes.
            let Some(writer) = self.writer.try_lock() else { return Ok(()) };
            let active = self.segments.load().active().clone();
            let plain = active.transactions().is_empty() && !self.unstable.holds_any();
            let Some(mut note) = active.tip_note(boot).filter(|_| plain) else { return Ok(()) };
            note.producers = encode_producers(&writer.producers, note.next);
            note
        };
        // Epochs are read from batches otherwise.
        self.save_lineage(chores)?;
        let bytes = note.encode();
        let noted = Noted { base: note.base, bytes: u64::from(note.bytes), size: bytes.len() as u64 };
        // In place: one that was written in part is not believed.
        let file = self.files.open(&self.dir.join(TIP_NOTE), OpenMode::ReadWrite)?;
        chores.noted = Some(noted);
        file.write_at(&bytes, 0)?;
        file.truncate(noted.size)
    }

    /// Takes the note back, before any byte below the log's end changes.
    pub(super) fn forget_tip(&self, chores: &mut Chores) -> io::Result<()> {
        if chores.noted.take().is_some() {
            forget_note(&*self.files, &self.dir)?;
        }
        Ok(())
    }
}

/// Removes the note of a log.
pub(super) fn forget_note(files: &dyn Files, dir: &Path) -> io::Result<()> {
    remove_if_there(files, &dir.join(TIP_NOTE))
}

/// What the note says of the active segment at `base`; `None` if it is not to be believed.
pub(super) fn believed(open: &OpenLog, base: Offset, file: &dyn File) -> io::Result<Option<Tip>> {
    let Some(boot) = open.boot else { return Ok(None) };
    // Damaged, written in part, or of another kind: it costs a longer read.
    let Ok(bytes) = open.files.read_all(&open.dir.join(TIP_NOTE), NOTE_MAX) else { return Ok(None) };
    let Ok(note) = TipNote::decode(&bytes) else { return Ok(None) };
    let Ok((as_of, producers)) = decode_producers(&note.producers) else { return Ok(None) };
    let bytes_known = u64::from(note.bytes);
    if note.boot != boot || note.base != base || as_of != note.next || file.len()? < bytes_known {
        return Ok(None);
    }
    let from = note.last_indexed();
    let mut walk = Walk::new(file, base, Depth::Checked, from, bytes_known, base);
    while walk.step()?.is_some() {}
    if walk.fault().is_some() || walk.next() != note.next {
        tracing::warn!(log = %open.id, offset = %note.next, "the note of the log's end does not fit it: all is read");
        return Ok(None);
    }
    let begin = Begin {
        position: bytes_known,
        next: note.next,
        largest: note.largest,
        first_timestamp: note.first_timestamp,
        since_indexed: bytes_known - from,
        memory: MemoryIndex::from_bytes(&note.offsets, &note.times),
    };
    let noted = Noted { base, bytes: bytes_known, size: bytes.len() as u64 };
    Ok(Some(Tip { begin, next: note.next, producers, noted }))
}
