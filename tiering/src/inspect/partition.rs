//! One partition's directory: its segments in order, and the small files beside them.
//! Invariant: what can be saved is an unbroken run of offsets from the log's start.

use crate::epoch::Lineage;
use crate::hot::dir::{Kind, LEADER_EPOCH_CHECKPOINT, PARTITION_METADATA, file_name, parse_file_name};
use crate::hot::file::Files;
use crate::inspect::error::InspectError;
use crate::inspect::finding::{Damage, Finding};
use crate::inspect::segment::{self, Beside, SegmentReport};
use crate::offsets::Offset;
use crate::producer::snapshot::{decode_producers, decode_snapshot};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Largest small file that is read.
const SMALL_MAX: u64 = 64 << 20;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionReport {
    /// Its directory.
    pub dir: PathBuf,
    /// Its segments, by rising base.
    pub segments: Vec<SegmentReport>,
    /// What is wrong beside the segments.
    pub findings: Vec<Finding>,
    /// First offset on disk.
    pub start: Offset,
    /// The offset after the last that can be reached from the start without a break.
    pub good_next: Offset,
    /// The offset after the last whole batch anywhere.
    pub next: Offset,
    /// Files on their way in or out (`.deleted`, `.cleaned`, `.swap`, `.tmp`): not looked into.
    pub left_over: Vec<String>,
}

impl PartitionReport {
    /// Everything that is wrong, segment by segment, then beside them.
    pub fn all_findings(&self) -> impl Iterator<Item = &Finding> {
        self.segments.iter().flat_map(|segment| &segment.findings).chain(&self.findings)
    }
}

/// What the directory's checkpoints say of a partition; `None` where they say nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expected {
    /// `log-start-offset-checkpoint`.
    pub log_start: Option<Offset>,
    /// `recovery-point-offset-checkpoint`: everything below it was durable.
    pub recovery_point: Option<Offset>,
    /// `replication-offset-checkpoint`.
    pub high_watermark: Option<Offset>,
}

/// Verifies a partition's directory.
pub fn verify(files: &dyn Files, dir: &Path, expected: Expected) -> Result<PartitionReport, InspectError> {
    let names = files.list(dir).map_err(InspectError::storage(dir))?;
    let mut report = PartitionReport {
        dir: dir.to_owned(),
        segments: Vec::new(),
        findings: Vec::new(),
        start: Offset::ZERO,
        good_next: Offset::ZERO,
        next: Offset::ZERO,
        left_over: Vec::new(),
    };
    let ends = [".deleted", ".cleaned", ".swap", ".tmp"];
    report.left_over =
        names.iter().filter(|name| ends.iter().any(|end| name.ends_with(end))).cloned().collect();
    let lineage = report.lineage(files)?;
    let mut beside = Beside { lineage, ..Beside::default() };
    let bases = names.iter().filter_map(|name| parse_file_name(name)).filter(|(_, kind)| *kind == Kind::Log);
    for (base, _) in bases {
        let log = dir.join(file_name(base, Kind::Log));
        let found = segment::verify(files, dir, base, &mut beside).map_err(InspectError::storage(log))?;
        report.segments.push(found);
    }
    report.line_up();
    for name in &names {
        report.producers(files, name)?;
    }
    report.compare(expected);
    Ok(report)
}

impl PartitionReport {
    fn note(&mut self, name: &str, damage: Damage, why: impl std::fmt::Display) {
        let finding = Finding { file: self.dir.join(name), at: None, damage, why: why.to_string() };
        self.findings.push(finding);
    }

    /// A small file; `None` if it is not there.
    fn small(&self, files: &dyn Files, name: &str) -> Result<Option<Vec<u8>>, InspectError> {
        let path = self.dir.join(name);
        match files.read_all(&path, SMALL_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(InspectError::storage(path)(error)),
        }
    }

    fn lineage(&mut self, files: &dyn Files) -> Result<Option<Lineage>, InspectError> {
        if let Some(bytes) = self.small(files, PARTITION_METADATA)? {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if !text.starts_with("version: 0\ntopic_id: ") {
                self.note(
                    PARTITION_METADATA,
                    Damage::Text,
                    format!("{text:?} is no version 0 with a topic id"),
                );
            }
        }
        let Some(bytes) = self.small(files, LEADER_EPOCH_CHECKPOINT)? else { return Ok(None) };
        match Lineage::from_checkpoint(&String::from_utf8_lossy(&bytes)) {
            Ok(lineage) => Ok(Some(lineage)),
            Err(error) => {
                self.note(LEADER_EPOCH_CHECKPOINT, Damage::Epochs, error);
                Ok(None)
            }
        }
    }

    /// Neighbours must not overlap; what can be saved ends at the first break.
    fn line_up(&mut self) {
        let last =
            |segment: &SegmentReport| segment.islands.last().map_or(segment.next, |island| island.next);
        let overlaps: Vec<(PathBuf, Offset, Offset)> = self
            .segments
            .windows(2)
            .filter(|pair| last(&pair[0]) > pair[1].base)
            .map(|pair| (pair[0].file.clone(), last(&pair[0]), pair[1].base))
            .collect();
        for (file, end, base) in overlaps {
            let why = format!("reaches to offset {end}, the next segment begins at {base}");
            self.findings.push(Finding { file, at: None, damage: Damage::Offsets, why });
        }
        self.start = self.segments.first().map_or(Offset::ZERO, |segment| segment.base);
        self.next = self.segments.last().map_or(Offset::ZERO, last);
        let broken = self.segments.iter().find(|segment| !segment.is_whole());
        self.good_next = broken.map_or(self.next, |segment| segment.next);
    }

    fn producers(&mut self, files: &dyn Files, name: &str) -> Result<(), InspectError> {
        let Some((at, kind)) = parse_file_name(name) else { return Ok(()) };
        let decode = match kind {
            Kind::Snapshot => |bytes: &[u8]| decode_snapshot(bytes).map(|_| None),
            Kind::Producers => |bytes: &[u8]| decode_producers(bytes).map(|(as_of, _)| Some(as_of)),
            _ => return Ok(()),
        };
        let Some(bytes) = self.small(files, name)? else { return Ok(()) };
        match decode(&bytes) {
            Ok(Some(as_of)) if as_of != at => {
                self.note(name, Damage::Producers, format!("is as of offset {as_of}, its name says {at}"));
            }
            Ok(_) => {}
            Err(error) => self.note(name, Damage::Producers, error),
        }
        Ok(())
    }

    fn compare(&mut self, expected: Expected) {
        let next = self.next;
        for (file, at) in [
            ("recovery-point-offset-checkpoint", expected.recovery_point),
            ("replication-offset-checkpoint", expected.high_watermark),
            ("log-start-offset-checkpoint", expected.log_start),
        ] {
            if let Some(at) = at.filter(|at| *at > next) {
                self.note("", Damage::Lost, format!("the log ends at offset {next}, {file} says {at}"));
            }
        }
        if let Some(log_start) =
            expected.log_start.filter(|start| *start < self.start && *start > Offset::ZERO)
        {
            let start = self.start;
            let why =
                format!("the log begins at offset {start}, log-start-offset-checkpoint says {log_start}");
            self.note("", Damage::Lost, why);
        }
    }
}
