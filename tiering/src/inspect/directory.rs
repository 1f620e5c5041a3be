//! One entry of `log.dirs`: its text files, and every partition in it.
//! It keeps no lock and knows no cluster. Invariant: it opens nothing for writing.

use crate::hot::checkpoint::{Offsets, TEXT_MAX, read_identity, read_offsets};
use crate::hot::dir::{LogName, META_PROPERTIES};
use crate::hot::file::{Files, LOCK_FILE};
use crate::inspect::error::InspectError;
use crate::inspect::finding::{Damage, Finding};
use crate::inspect::partition::{self, Expected, PartitionReport};
use crate::log::directory::CheckpointKind;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Kafka's, and ours once a cleaner has run.
const CLEANER_CHECKPOINT: &str = "cleaner-offset-checkpoint";
/// The quorum's log has Kafka's name for a partition, and another format.
const QUORUM: &str = "__cluster_metadata";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryReport {
    /// The directory.
    pub root: PathBuf,
    /// Its partitions, sorted.
    pub partitions: Vec<PartitionReport>,
    /// What is wrong beside the partitions.
    pub findings: Vec<Finding>,
}

/// Whether a process works in the directory. Asks only where a lock file is: it makes none.
pub fn is_live(files: &dyn Files, root: &Path) -> bool {
    let there = files.exists(&root.join(LOCK_FILE));
    there && files.lock_dir(root).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Verifies a whole directory.
pub fn verify(files: &dyn Files, root: &Path) -> Result<DirectoryReport, InspectError> {
    let names = files.list(root).map_err(InspectError::storage(root))?;
    let mut report = DirectoryReport { root: root.to_owned(), partitions: Vec::new(), findings: Vec::new() };
    if let Some(text) = report.text(files, META_PROPERTIES)?
        && let Err(error) = read_identity(&text)
    {
        report.note(META_PROPERTIES, error);
    }
    let starts = report.checkpoint(files, CheckpointKind::LogStart.file_name())?;
    let points = report.checkpoint(files, CheckpointKind::RecoveryPoint.file_name())?;
    let watermarks = report.checkpoint(files, CheckpointKind::HighWatermark.file_name())?;
    report.checkpoint(files, CLEANER_CHECKPOINT)?;
    let mut logs: Vec<LogName> = names.iter().filter_map(|name| LogName::parse(name)).collect();
    logs.sort_unstable();
    for log in logs.into_iter().filter(|log| log.name != QUORUM) {
        let expected = Expected {
            log_start: starts.get(&log).copied(),
            recovery_point: points.get(&log).copied(),
            high_watermark: watermarks.get(&log).copied(),
        };
        report.partitions.push(partition::verify(files, &root.join(log.to_string()), expected)?);
    }
    Ok(report)
}

impl DirectoryReport {
    fn note(&mut self, name: &str, why: impl std::fmt::Display) {
        let file = self.root.join(name);
        self.findings.push(Finding { file, at: None, damage: Damage::Text, why: why.to_string() });
    }

    fn text(&self, files: &dyn Files, name: &str) -> Result<Option<String>, InspectError> {
        let path = self.root.join(name);
        match files.read_all(&path, TEXT_MAX) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(InspectError::storage(path)(error)),
        }
    }

    fn checkpoint(&mut self, files: &dyn Files, name: &str) -> Result<Offsets, InspectError> {
        let Some(text) = self.text(files, name)? else { return Ok(Offsets::new()) };
        Ok(read_offsets(&text).unwrap_or_else(|error| {
            self.note(name, error);
            Offsets::new()
        }))
    }
}
