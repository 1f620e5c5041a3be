//! Transactions as the batches tell them, held against `.txnindex`: an aborted one that is missing there is shown to
//! readers who asked for committed records only. It keeps the open transactions from one segment to the next.

use crate::batch::control::{Control, Outcome, read_control};
use crate::batch::header::BatchHeader;
use crate::hot::file::Files;
use crate::inspect::finding::{Damage, Finding};
use crate::offsets::Offset;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Bytes of an entry.
const TXN_ENTRY: usize = 34;
/// Largest index file that is read.
const INDEX_MAX: u64 = 256 << 20;

/// An entry of a transaction index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    /// Who wrote it.
    pub producer_id: i64,
    /// Its first offset.
    pub first: Offset,
    /// Its marker.
    pub last: Offset,
    /// The last stable offset once the marker stood.
    pub last_stable: Offset,
}

/// Open transactions by producer id: where each began.
pub(super) type Open = BTreeMap<i64, Offset>;

/// Reads a segment's transaction index; no file is no entry.
pub(super) fn read(
    files: &dyn Files,
    path: &Path,
    base: Offset,
) -> io::Result<Result<Vec<Aborted>, Finding>> {
    let bytes = match files.read_all(path, INDEX_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Ok(Vec::new())),
        Err(error) => return Err(error),
    };
    Ok(decode(&bytes, base).map_err(|(entry, why)| finding(path, Some((entry * TXN_ENTRY) as u64), why)))
}

/// Entries of a transaction index: `version i16 = 0 | producer | first | marker | last stable`, each i64. Or the first
/// that cannot be, and why. Markers rise, from the segment's base on.
pub(super) fn decode(bytes: &[u8], base: Offset) -> Result<Vec<Aborted>, (usize, String)> {
    let (entries, rest) = bytes.as_chunks::<TXN_ENTRY>();
    let mut decoded: Vec<Aborted> = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        let (version, numbers) = entry.split_at(2);
        if version != [0, 0] {
            return Err((at, format!("entry has version {version:02x?}, only 0 is known")));
        }
        let mut fields = numbers.as_chunks::<8>().0.iter().map(|field| i64::from_be_bytes(*field));
        let mut number = || fields.next().unwrap_or(-1);
        let (producer_id, first, last) = (number(), Offset(number()), Offset(number()));
        let floor = decoded.last().map_or(base, |before| before.last.next());
        if last < floor || first > last || first < Offset::ZERO {
            return Err((
                at,
                format!("a transaction from {first} to {last} where a marker at {floor} or above must be"),
            ));
        }
        decoded.push(Aborted { producer_id, first, last, last_stable: Offset(number()) });
    }
    if !rest.is_empty() {
        return Err((entries.len(), format!("{} bytes are no whole number of entries", bytes.len())));
    }
    Ok(decoded)
}

fn finding(path: &Path, at: Option<u64>, why: String) -> Finding {
    Finding { file: path.to_owned(), at, damage: Damage::TransactionIndex, why }
}

/// One segment's transactions.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// Abort markers: producer, marker, and the first offset if the beginning was seen.
    markers: Vec<(i64, Offset, Option<Offset>)>,
}

impl Met {
    /// The next whole batch.
    pub fn meet(&mut self, header: &BatchHeader, batch: &[u8], open: &mut Open) {
        if !header.is_transactional() {
            return;
        }
        if !header.is_control() {
            open.entry(header.producer_id).or_insert(header.base_offset);
            return;
        }
        let Ok(Control::EndTransaction { outcome, .. }) = read_control(header, batch) else { return };
        let first = open.remove(&header.producer_id);
        if outcome == Outcome::Abort {
            self.markers.push((header.producer_id, header.base_offset, first));
        }
    }

    /// What the index says otherwise. `whole`: every batch of the segment was met.
    pub fn compare(&self, path: &Path, index: &[Aborted], whole: bool) -> Option<Finding> {
        for (producer, marker, first) in &self.markers {
            let Some(first) = first else { continue };
            let named = index.iter().any(|entry| {
                (entry.producer_id, entry.last) == (*producer, *marker) && entry.first <= *first
            });
            if !named {
                let why = format!(
                    "the transaction of producer {producer} from offset {first}, aborted at {marker}, is not named"
                );
                return Some(finding(path, None, why));
            }
        }
        let marked = |entry: &Aborted| {
            self.markers
                .iter()
                .any(|(producer, marker, _)| (*producer, *marker) == (entry.producer_id, entry.last))
        };
        let odd = index.iter().position(|entry| whole && !marked(entry))?;
        let Aborted { producer_id, last, .. } = index[odd];
        let why =
            format!("producer {producer_id} is said to have aborted at {last}, where no such marker lies");
        Some(finding(path, Some((odd * TXN_ENTRY) as u64), why))
    }
}
