//! One segment held against itself: every batch and record, its indexes, its transactions, its epochs.
//! It does not know what lies before or after; `partition` does. Invariant: the good prefix is whole batches with
//! their checksums, from the first byte to the first bad one.

use crate::batch::header::BatchHeader;
use crate::epoch::Lineage;
use crate::hot::dir::{Kind, file_name};
use crate::hot::file::{File, Files};
use crate::inspect::finding::{Damage, Finding};
use crate::inspect::indexes::Indexes;
use crate::inspect::records;
use crate::inspect::transactions::{self, Met, Open};
use crate::inspect::walk::{Step, damage, walk};
use crate::offsets::Offset;
use std::io;
use std::path::{Path, PathBuf};

/// Findings kept of one segment.
const FINDINGS_MAX: usize = 100;

/// Whole batches behind damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Island {
    /// Its first byte.
    pub at: u64,
    /// Its bytes.
    pub bytes: u64,
    /// First offset.
    pub first: Offset,
    /// The offset after its last.
    pub next: Offset,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// The `.log` file, or the object.
    pub file: PathBuf,
    /// First offset it may hold.
    pub base: Offset,
    /// Bytes of log.
    pub bytes: u64,
    /// Whole batches.
    pub batches: u64,
    /// Records in them that could be opened.
    pub records: u64,
    /// Length of the good prefix.
    pub good_bytes: u64,
    /// The offset after the good prefix.
    pub next: Offset,
    /// What is whole behind the first damage.
    pub islands: Vec<Island>,
    /// What is wrong, in the order of the file, then its indexes; at most 100.
    pub findings: Vec<Finding>,
}

impl SegmentReport {
    /// The good prefix is all there is.
    pub fn is_whole(&self) -> bool {
        self.good_bytes == self.bytes
    }
}

/// What a segment is held against, passed on from one to the next.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// `leader-epoch-checkpoint`, if it could be read.
    pub lineage: Option<Lineage>,
    /// Transactions that are open.
    pub open: Open,
}

/// Verifies the segment that begins at `base` in `dir`, with the files beside it.
pub(super) fn verify(
    files: &dyn Files,
    dir: &Path,
    base: Offset,
    beside: &mut Beside,
) -> io::Result<SegmentReport> {
    let path = |kind| dir.join(file_name(base, kind));
    let file = files.open(&path(Kind::Log), crate::hot::file::OpenMode::Read)?;
    let indexes = Indexes::read(files, base, &path(Kind::OffsetIndex), &path(Kind::TimeIndex))?;
    let bytes = file.len()?;
    let (mut report, met) = batches(&*file, path(Kind::Log), base, bytes, Some(indexes), beside)?;
    let whole = report.is_whole();
    match transactions::read(files, &path(Kind::TxnIndex), base)? {
        Ok(index) => report.note(met.compare(&path(Kind::TxnIndex), &index, whole)),
        Err(finding) => report.note(Some(finding)),
    }
    Ok(report)
}

/// Verifies the batches of a file's first `bytes`, with its indexes if there are any.
pub(super) fn batches(
    file: &dyn File,
    path: PathBuf,
    base: Offset,
    bytes: u64,
    mut indexes: Option<Indexes>,
    beside: &mut Beside,
) -> io::Result<(SegmentReport, Met)> {
    let mut met = Met::default();
    let mut report = SegmentReport {
        file: path,
        base,
        bytes,
        batches: 0,
        records: 0,
        good_bytes: 0,
        next: base,
        islands: Vec::new(),
        findings: Vec::new(),
    };
    let mut broken = false;
    walk(file, base, bytes, |step| {
        match step {
            Step::Batch { position, header, batch } => {
                report.batch(position, header, batch, broken, beside.lineage.as_ref());
                met.meet(header, batch, &mut beside.open);
                if let Some(indexes) = &mut indexes {
                    indexes.meet(position, header.last_offset(), header.max_timestamp);
                }
            }
            Step::Break { position, until, fault } => {
                broken = true;
                report.add(position, damage(fault, until), fault.to_string());
                if let Some(at) = until {
                    let island = Island { at, bytes: 0, first: report.next, next: report.next };
                    report.islands.push(island);
                }
            }
        }
        Ok(())
    })?;
    let whole = report.is_whole();
    for finding in indexes.into_iter().flat_map(|indexes| indexes.end(bytes, whole)) {
        report.note(Some(finding));
    }
    Ok((report, met))
}

impl SegmentReport {
    fn batch(
        &mut self,
        position: u64,
        header: &BatchHeader,
        batch: &[u8],
        broken: bool,
        lineage: Option<&Lineage>,
    ) {
        self.batches += 1;
        let end = position + batch.len() as u64;
        match self.islands.last_mut() {
            Some(island) => {
                if island.bytes == 0 {
                    island.first = header.base_offset;
                }
                (island.bytes, island.next) = (end - island.at, header.next_offset());
            }
            None if !broken => (self.good_bytes, self.next) = (end, header.next_offset()),
            None => {}
        }
        match records::each(header, batch, |_| {}) {
            Ok(count) => self.records += count,
            Err(fault) => self.add(position, Damage::Records, fault.to_string()),
        }
        let written = lineage.and_then(|lineage| lineage.epoch_at(header.base_offset));
        if let Some(epoch) = written.filter(|epoch| *epoch != header.leader_epoch) {
            let (base, says) = (header.base_offset, header.leader_epoch);
            let why =
                format!("offset {base} was written in epoch {says}, leader-epoch-checkpoint says {epoch}");
            self.add(position, Damage::Epochs, why);
        }
    }

    fn add(&mut self, at: u64, damage: Damage, why: String) {
        self.note(Some(Finding { file: self.file.clone(), at: Some(at), damage, why }));
    }

    /// Keeps a finding, while there is room.
    pub(super) fn note(&mut self, finding: Option<Finding>) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.extend(finding);
        }
    }
}
