//! A remote segment as it lies in a bucket of plain files: its table of sections, its checksums, its batches.
//! Not the way a broker reads one (`cold`): here every byte is looked at.

use crate::batch::header::crc32c;
use crate::cold::footer::{Footer, MAX_FOOTER_BYTES, SectionKind, TAIL_BYTES, Tail};
use crate::cold::object::{Opened, decode_aborted, decode_epochs, decode_labels, section_of};
use crate::epoch::Lineage;
use crate::hot::file::{File, Files, OpenMode};
use crate::inspect::error::InspectError;
use crate::inspect::finding::{Damage, Finding};
use crate::inspect::segment::{self, Beside, SegmentReport};
use crate::offsets::Offset;
use firnline_cache::key::CHUNK_BYTES;
use std::io;
use std::path::Path;

/// Largest run of sections that is read.
const SECTIONS_MAX: u64 = 256 << 20;

/// Verifies a `.firn` object. Without a footer that can be read, the batches are walked from offset 0 and up.
pub fn verify(files: &dyn Files, path: &Path) -> Result<SegmentReport, InspectError> {
    let failed = || InspectError::storage(path);
    let file = files.open(path, OpenMode::Read).map_err(failed())?;
    let len = file.len().map_err(failed())?;
    let mut findings = Vec::new();
    let mut note = |at: Option<u64>, why: String| {
        findings.push(Finding { file: path.to_owned(), at, damage: Damage::Object, why });
    };
    let (base, bytes, mut beside) = match footer(&*file, len).map_err(failed())? {
        Ok((footer, at)) => {
            let lineage = sections(&*file, &footer, at, &mut note).map_err(failed())?;
            (footer.base, footer.log_bytes, Beside { lineage, ..Beside::default() })
        }
        Err((at, why)) => {
            note(Some(at), why);
            (Offset::ZERO, len, Beside::default())
        }
    };
    let walked = segment::batches(&*file, path.to_owned(), base, bytes, None, &mut beside);
    let (mut report, _) = walked.map_err(failed())?;
    findings.into_iter().for_each(|finding| report.note(Some(finding)));
    Ok(report)
}

/// Where the log of an object begins and how long it is; or why that cannot be told.
pub(super) fn log_of(files: &dyn Files, path: &Path) -> Result<Result<(Offset, u64), Finding>, InspectError> {
    let failed = || InspectError::storage(path);
    let file = files.open(path, OpenMode::Read).map_err(failed())?;
    let found = footer(&*file, file.len().map_err(failed())?).map_err(failed())?;
    let broken = |(at, why)| Finding { file: path.to_owned(), at: Some(at), damage: Damage::Object, why };
    Ok(found.map(|(footer, _)| (footer.base, footer.log_bytes)).map_err(broken))
}

/// The footer and where it stands; or the first bad byte and why.
fn footer(file: &dyn File, len: u64) -> io::Result<Result<(Footer, u64), (u64, String)>> {
    let Some(tail_at) = len.checked_sub(TAIL_BYTES as u64) else {
        return Ok(Err((0, format!("{len} bytes have no room for a tail"))));
    };
    let mut bytes = [0; TAIL_BYTES];
    file.read_exact_at(&mut bytes, tail_at)?;
    let tail = match Tail::decode(&bytes, len) {
        Ok(tail) => tail,
        Err(error) => return Ok(Err((tail_at, error.to_string()))),
    };
    // Checked to lie in the object, and to be at most this long.
    let mut bytes = vec![0; tail.footer_len.min(MAX_FOOTER_BYTES) as usize];
    file.read_exact_at(&mut bytes, tail.footer_at)?;
    let footer = Footer::decode(&bytes, tail.footer_at, tail.footer_crc);
    Ok(footer.map(|footer| (footer, tail.footer_at)).map_err(|error| (tail.footer_at, error.to_string())))
}

/// Checks every section and chunk. Answers the epochs.
fn sections(
    file: &dyn File,
    footer: &Footer,
    footer_at: u64,
    note: &mut impl FnMut(Option<u64>, String),
) -> io::Result<Option<Lineage>> {
    let (at, len) = (footer.log_bytes, footer_at.saturating_sub(footer.log_bytes));
    if len > SECTIONS_MAX {
        note(Some(at), format!("{len} bytes of sections"));
        return Ok(None);
    }
    // Bounded, and there: the footer lies behind them.
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, at)?;
    for kind in SectionKind::ALL {
        if let Err(error) = section_of(footer, kind, &bytes, at) {
            note(footer.section(kind).map(|section| section.at), format!("{kind:?}: {error}"));
        }
    }
    let of = |kind| section_of(footer, kind, &bytes, at);
    for (kind, error) in [
        (SectionKind::Transactions, of(SectionKind::Transactions).and_then(decode_aborted).err()),
        (SectionKind::Labels, of(SectionKind::Labels).and_then(decode_labels).err()),
    ] {
        if let Some(error) = error {
            note(footer.section(kind).map(|section| section.at), format!("{kind:?}: {error}"));
        }
    }
    match Opened::decode(footer.clone(), &bytes, at) {
        Ok(opened) => chunks(file, &opened, note)?,
        Err(error) => note(None, error.to_string()),
    }
    Ok(of(SectionKind::Epochs).and_then(decode_epochs).ok().and_then(|spans| Lineage::from_spans(spans).ok()))
}

fn chunks(file: &dyn File, opened: &Opened, note: &mut impl FnMut(Option<u64>, String)) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES as usize];
    let mut chunk = 0;
    while let Some(check) = opened.check(chunk) {
        let at = u64::from(chunk) * CHUNK_BYTES;
        let bytes = &mut buffer[..check.len as usize];
        file.read_exact_at(bytes, at)?;
        let computed = crc32c(bytes);
        if computed != check.crc32c {
            note(
                Some(at),
                format!("chunk {chunk} has crc {computed:#010x}, the object says {:#010x}", check.crc32c),
            );
        }
        chunk += 1;
    }
    Ok(())
}
