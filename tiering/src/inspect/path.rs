//! What a path is, by its name and what lies there, and its verification as that.
//! It follows no path further than its parent directory.

use crate::hot::dir::{Kind, LogName, META_PROPERTIES, parse_file_name};
use crate::hot::file::Files;
use crate::inspect::directory::{self, DirectoryReport};
use crate::inspect::error::InspectError;
use crate::inspect::finding::Finding;
use crate::inspect::object;
use crate::inspect::partition::{self, Expected, PartitionReport};
use crate::inspect::segment::{self, Beside, SegmentReport};
use crate::offsets::Offset;
use std::path::{Path, PathBuf};

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// One entry of `log.dirs`.
    Directory,
    /// A partition's directory.
    Partition,
    /// A segment, named by any of its files.
    Segment(Offset, Kind),
    /// A remote segment.
    Object,
    /// A text file of a directory or partition.
    Text,
}

/// Names of text files that `dump` shows as they are.
const TEXTS: [&str; 4] =
    ["leader-epoch-checkpoint", "partition.metadata", META_PROPERTIES, ".kafka_cleanshutdown"];

/// Says what `path` is.
///
/// # Errors
/// It is not there, or nothing of a log.
pub fn what(files: &dyn Files, path: &Path) -> Result<What, InspectError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // Opening a directory for reading works, listing a file does not.
    if let Ok(names) = files.list(path) {
        let has = |kind| names.iter().any(|name| parse_file_name(name).is_some_and(|(_, of)| of == kind));
        return match () {
            () if has(Kind::Log) => Ok(What::Partition),
            () if names.iter().any(|name| name == META_PROPERTIES || LogName::parse(name).is_some()) => {
                Ok(What::Directory)
            }
            () => Err(InspectError::Unknown { path: path.to_owned() }),
        };
    }
    files.len(path).map_err(InspectError::storage(path))?;
    match parse_file_name(name) {
        Some((base, kind)) => Ok(What::Segment(base, kind)),
        None if name.ends_with(".firn") => Ok(What::Object),
        None if TEXTS.contains(&name) || name.ends_with("-offset-checkpoint") => Ok(What::Text),
        None => Err(InspectError::Unknown { path: path.to_owned() }),
    }
}

/// A verification's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Of a log directory.
    Directory(DirectoryReport),
    /// Of a partition.
    Partition(PartitionReport),
    /// Of one segment or object.
    Segment(SegmentReport),
}

impl Report {
    /// Partitions, in order; none for a segment.
    pub fn partitions(&self) -> &[PartitionReport] {
        match self {
            Report::Directory(directory) => &directory.partitions,
            Report::Partition(partition) => std::slice::from_ref(partition),
            Report::Segment(_) => &[],
        }
    }

    /// Segments, in order.
    pub fn segments(&self) -> Vec<&SegmentReport> {
        match self {
            Report::Segment(segment) => vec![segment],
            other => other.partitions().iter().flat_map(|partition| &partition.segments).collect(),
        }
    }

    /// Everything that is wrong.
    pub fn findings(&self) -> Vec<&Finding> {
        match self {
            Report::Segment(segment) => segment.findings.iter().collect(),
            Report::Partition(partition) => partition.all_findings().collect(),
            Report::Directory(directory) => {
                let inside = directory.partitions.iter().flat_map(PartitionReport::all_findings);
                inside.chain(&directory.findings).collect()
            }
        }
    }
}

/// Verifies whatever `path` is. A file beside a segment is verified with its segment, a text file with its directory.
pub fn verify(files: &dyn Files, path: &Path) -> Result<Report, InspectError> {
    let parent = || match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    match what(files, path)? {
        What::Directory => directory::verify(files, path).map(Report::Directory),
        What::Partition => partition::verify(files, path, Expected::default()).map(Report::Partition),
        What::Segment(base, Kind::Log | Kind::OffsetIndex | Kind::TimeIndex | Kind::TxnIndex) => {
            let found = segment::verify(files, &parent(), base, &mut Beside::default());
            found.map(Report::Segment).map_err(InspectError::storage(path))
        }
        What::Object => object::verify(files, path).map(Report::Segment),
        What::Segment(..) | What::Text => verify(files, &parent()),
    }
}
