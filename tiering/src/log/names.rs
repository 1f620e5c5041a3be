//! The names in a log's directory when it is opened: listed once, freed of what a crash left half done, and asked by
//! everything that opening does, so that a start with thousands of logs asks the file system once for each.
//! It reads no file. Invariant: a file that is said to be there was there after the tidying, and opening alone removes it.

use crate::hot::dir::{
    CLEANED, DELETED, Kind, LEADER_EPOCH_CHECKPOINT, SWAP, TIP_NOTE, file_name, parse_file_name,
};
use crate::hot::file::Files;
use crate::log::open::OpenError;
use crate::log::swap::settle_swap;
use crate::offsets::Offset;
use std::io::{self, ErrorKind};
use std::path::Path;

/// What lies in a log's directory.
pub(super) struct Names {
    /// Sorted.
    names: Vec<String>,
}

impl Names {
    /// Removes what a crash left half done, and files that belong to no segment. Makes the directory if it is missing.
    pub fn tidied(files: &dyn Files, dir: &Path) -> Result<Names, OpenError> {
        let shown = dir.display();
        let mut names =
            Names { names: listed(files, dir).map_err(OpenError::storage(format!("list {shown}")))? };
        if names.names.iter().any(|name| name.ends_with(SWAP) || name.ends_with(CLEANED)) {
            settle_swap(files, dir).map_err(OpenError::storage(format!("end a cleaning of {shown}")))?;
            names.names = files.list(dir).map_err(OpenError::storage(format!("list {shown}")))?;
        }
        let bases = names.bases();
        for name in names.names.extract_if(.., |name| is_stray(name, &bases)) {
            files.remove(&dir.join(&name)).map_err(OpenError::storage(format!("remove {shown}/{name}")))?;
        }
        Ok(names)
    }

    /// Where the segments begin, rising.
    pub fn bases(&self) -> Vec<Offset> {
        self.of(|kind| kind == Kind::Log)
    }

    /// Offsets of the producer snapshots, rising.
    pub fn snapshots(&self) -> Vec<Offset> {
        self.of(|kind| matches!(kind, Kind::Snapshot | Kind::Producers))
    }

    /// Whether a file of a segment, or a snapshot, is there.
    pub fn has(&self, base: Offset, kind: Kind) -> bool {
        self.contains(&file_name(base, kind))
    }

    /// Whether `leader-epoch-checkpoint` is there.
    pub fn has_lineage(&self) -> bool {
        self.contains(LEADER_EPOCH_CHECKPOINT)
    }

    /// Whether a note of the log's end is there.
    pub fn has_note(&self) -> bool {
        self.contains(TIP_NOTE)
    }

    fn contains(&self, name: &str) -> bool {
        self.names.binary_search_by(|known| known.as_str().cmp(name)).is_ok()
    }

    fn of(&self, wanted: impl Fn(Kind) -> bool) -> Vec<Offset> {
        let parsed = self.names.iter().filter_map(|name| parse_file_name(name));
        let mut found: Vec<Offset> = parsed.filter(|(_, kind)| wanted(*kind)).map(|(base, _)| base).collect();
        found.dedup();
        found
    }
}

fn listed(files: &dyn Files, dir: &Path) -> io::Result<Vec<String>> {
    match files.list(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            files.create_dir_all(dir)?;
            files.list(dir)
        }
        listed => listed,
    }
}

/// Whether a file is half done, or the index of a segment that is not there.
fn is_stray(name: &str, bases: &[Offset]) -> bool {
    if name.ends_with(DELETED) || name.ends_with(".tmp") {
        return true;
    }
    let Some((base, kind)) = parse_file_name(name) else { return false };
    let index = matches!(kind, Kind::OffsetIndex | Kind::TimeIndex | Kind::TxnIndex);
    index && bases.binary_search(&base).is_err()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test lays out its files itself")]
mod tests {
    use super::*;
    use crate::hot::file::{OpenMode, OsFiles};

    #[test]
    fn a_directory_is_made_tidied_and_listed() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("t-0");
        let names = Names::tidied(&OsFiles, &dir).expect("makes it");
        assert!(names.bases().is_empty() && names.snapshots().is_empty() && !names.has_lineage());
        let put = |name: &str| drop(OsFiles.open(&dir.join(name), OpenMode::CreateNew).expect("makes"));
        for stem in ["00000000000000000000", "00000000000000000009"] {
            [".log", ".index", ".txnindex"].into_iter().for_each(|end| put(&format!("{stem}{end}")));
        }
        let strays = ["00000000000000000005.index", "00000000000000000005.log.deleted", "x.tmp"];
        strays.into_iter().for_each(put);
        let others = [
            LEADER_EPOCH_CHECKPOINT,
            "00000000000000000005.snapshot",
            "00000000000000000005.producers",
            "notes",
        ];
        others.into_iter().for_each(put);
        let names = Names::tidied(&OsFiles, &dir).expect("lists");
        assert_eq!(names.bases(), [Offset(0), Offset(9)]);
        assert_eq!(names.snapshots(), [Offset(5)]);
        assert!(names.has(Offset(9), Kind::TxnIndex) && !names.has(Offset(9), Kind::TimeIndex));
        assert!(names.has_lineage());
        let left = OsFiles.list(&dir).expect("lists");
        assert!(strays.iter().all(|stray| !left.iter().any(|name| name == stray)), "{left:?}");
        assert!(others.iter().all(|other| left.iter().any(|name| name == other)), "{left:?}");
    }
}
