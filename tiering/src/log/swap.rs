//! Putting cleaned segment files in the place of those they were made from, so that a crash at any step leaves one
//! or the other, as Kafka does it: `.cleaned` (being written) → `.swap` (complete) → the plain name.
//! It knows no readers and no segments (`clean.rs` does). Invariant: the rename of the last `.log.cleaned` decides,
//! and until it is durable no original is touched.
//!
//! ```text
//! X.log.cleaned X.index.cleaned ..   being written: forgotten at open, with every .swap beside it
//! X.log.swap    X.index.swap    ..   decided: at open originals in [first, end of the last) go, these take their names
//! ```

use crate::hot::dir::{CLEANED, Kind, SEGMENT_FILES, SWAP, file_name, parse_file_name};
use crate::hot::file::{Files, OpenMode};
use crate::hot::recovery::{Depth, scan};
use crate::offsets::Offset;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Where a file of a segment lies while it is `.cleaned` or `.swap`.
pub(super) fn aside(dir: &Path, base: Offset, kind: Kind, suffix: &str) -> PathBuf {
    dir.join(file_name(base, kind) + suffix)
}

/// Prepares the decision for the cleaned segments at `bases`, which rise: all their files are durable and named
/// `.cleaned`. After an error [`forget_undecided`] takes it back.
pub(super) fn prepare(files: &dyn Files, dir: &Path, bases: &[Offset]) -> io::Result<()> {
    forget_strangers(files, dir, bases)?;
    files.sync_dir(dir)?;
    // Oldest last: its log is the decision.
    for (at, base) in bases.iter().enumerate().rev() {
        for kind in SEGMENT_FILES {
            if at > 0 || kind != Kind::Log {
                rename(files, dir, *base, kind, CLEANED, SWAP)?;
            }
        }
    }
    files.sync_dir(dir)
}

/// Decides. After an error nobody can tell whether it is: opening the directory again can.
pub(super) fn decide(files: &dyn Files, dir: &Path, first: Offset) -> io::Result<()> {
    rename(files, dir, first, Kind::Log, CLEANED, SWAP)?;
    files.sync_dir(dir)
}

/// Gives the decided segments their names. The originals' are free, durably. The log comes first: as long as it is
/// `.swap`, whatever has its name already is taken for an original's at the next open.
pub(super) fn take_names(files: &dyn Files, dir: &Path, bases: &[Offset]) -> io::Result<()> {
    for base in bases {
        for kind in SEGMENT_FILES.into_iter().rev() {
            rename(files, dir, *base, kind, SWAP, "")?;
        }
    }
    files.sync_dir(dir)
}

/// Removes what a cleaning left that was not decided: `.swap` files first, since without a `.cleaned` beside them
/// they would count as decided.
pub(super) fn forget_undecided(files: &dyn Files, dir: &Path) -> io::Result<()> {
    for suffix in [SWAP, CLEANED] {
        let mut removed = false;
        for name in files.list(dir)?.iter().filter(|name| name.ends_with(suffix)) {
            remove(files, &dir.join(name))?;
            removed = true;
        }
        if removed {
            files.sync_dir(dir)?;
        }
    }
    Ok(())
}

/// Ends or forgets what a crash left half done. Run before anything else looks at the directory; once more does no
/// harm.
pub(super) fn settle_swap(files: &dyn Files, dir: &Path) -> io::Result<()> {
    forget_empty(files, dir)?;
    let (cleaned, swap) = (found(files, dir, CLEANED)?, found(files, dir, SWAP)?);
    if cleaned.is_empty() && swap.is_empty() {
        return Ok(());
    }
    if cleaned.iter().any(|(_, kind)| *kind == Kind::Log) {
        tracing::info!(dir = %dir.display(), "a cleaning was cut short, its files are removed");
        return forget_undecided(files, dir);
    }
    // Index files of a cleaning that came to nothing else.
    for (base, kind) in cleaned {
        remove(files, &aside(dir, base, kind, CLEANED))?;
    }
    let logs: Vec<Offset> =
        swap.iter().filter(|(_, kind)| *kind == Kind::Log).map(|(base, _)| *base).collect();
    if let (Some(first), Some(last)) = (logs.first(), logs.last()) {
        let end = end_of(files, dir, *last)?;
        tracing::info!(dir = %dir.display(), from = %first, to = %end, "a cleaning was cut short and is ended");
        for name in files.list(dir)? {
            let Some((base, kind)) = parse_file_name(&name) else { continue };
            let replaced = (*first..end).contains(&base) || logs.contains(&base);
            if replaced && SEGMENT_FILES.contains(&kind) {
                remove(files, &dir.join(name))?;
            }
        }
        files.sync_dir(dir)?;
    }
    let mut bases: Vec<Offset> = swap.iter().map(|(base, _)| *base).collect();
    bases.dedup();
    take_names(files, dir, &bases)
}

/// Removes a `.log.swap` without a byte and its indexes: no cleaning of ours ends with one, and in the place of an
/// original it would take every record with it. What was to be cleaned is cleaned again.
fn forget_empty(files: &dyn Files, dir: &Path) -> io::Result<()> {
    for (base, kind) in found(files, dir, SWAP)? {
        if kind != Kind::Log || files.len(&aside(dir, base, kind, SWAP))? > 0 {
            continue;
        }
        tracing::warn!(dir = %dir.display(), %base, "an empty swap file replaces nothing and is removed");
        // Its indexes go first: without their log they would be taken for a decided segment's.
        for kind in SEGMENT_FILES {
            remove(files, &aside(dir, base, kind, SWAP))?;
        }
        files.sync_dir(dir)?;
    }
    Ok(())
}

/// The offset after the last batch of a decided segment.
fn end_of(files: &dyn Files, dir: &Path, base: Offset) -> io::Result<Offset> {
    let path = aside(dir, base, Kind::Log, SWAP);
    let file = files.open(&path, OpenMode::Read)?;
    let scanned = scan(&*file, base, Depth::Headers, u32::MAX, |_| {})?;
    match scanned.fault {
        None => Ok(scanned.opened.next),
        Some(fault) => {
            Err(io::Error::new(ErrorKind::InvalidData, format!("{} is damaged: {fault}", path.display())))
        }
    }
}

/// Files with this suffix, by rising base.
fn found(files: &dyn Files, dir: &Path, suffix: &str) -> io::Result<Vec<(Offset, Kind)>> {
    let names = files.list(dir)?;
    Ok(names.iter().filter_map(|name| parse_file_name(name.strip_suffix(suffix)?)).collect())
}

/// A `.cleaned` log of an older, abandoned cleaning would make this one look undecided after a crash.
fn forget_strangers(files: &dyn Files, dir: &Path, ours: &[Offset]) -> io::Result<()> {
    for (base, kind) in found(files, dir, CLEANED)? {
        if !ours.contains(&base) {
            remove(files, &aside(dir, base, kind, CLEANED))?;
        }
    }
    Ok(())
}

fn rename(files: &dyn Files, dir: &Path, base: Offset, kind: Kind, from: &str, to: &str) -> io::Result<()> {
    match files.rename(&aside(dir, base, kind, from), &aside(dir, base, kind, to)) {
        // Not every segment has a transaction index, and recovery may have renamed some before a second crash.
        Err(error) if error.kind() == ErrorKind::NotFound && (kind != Kind::Log || to.is_empty()) => Ok(()),
        result => result,
    }
}

fn remove(files: &dyn Files, path: &Path) -> io::Result<()> {
    match files.remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test lays out its files itself")]
mod tests {
    use super::*;
    use crate::batch::builder::BatchBuilder;
    use crate::hot::file::OsFiles;

    /// A log file with one batch of `records` records at `base`.
    fn put(dir: &Path, name: &str, base: i64, records: i64) {
        let mut builder = BatchBuilder::new().base_offset(Offset(base));
        (0..records).for_each(|_| {
            builder.push(5, Some(b"k"), Some(name.as_bytes()), &[]);
        });
        let file = OsFiles.open(&dir.join(name), OpenMode::ReadWrite).expect("opens");
        file.write_at(&builder.build(), 0).expect("writes");
    }

    fn index(dir: &Path, name: &str) {
        OsFiles.open(&dir.join(name), OpenMode::ReadWrite).expect("opens");
    }

    fn names(dir: &Path) -> Vec<String> {
        OsFiles.list(dir).expect("lists")
    }

    fn name(base: i64, rest: &str) -> String {
        format!("{base:020}{rest}")
    }

    #[test]
    fn with_a_cleaned_log_nothing_was_decided() {
        let dir = tempfile::tempdir().expect("a directory");
        put(dir.path(), &name(0, ".log"), 0, 10);
        put(dir.path(), &name(10, ".log"), 10, 10);
        put(dir.path(), &name(0, ".log.cleaned"), 0, 10);
        put(dir.path(), &name(10, ".log.swap"), 10, 10);
        index(dir.path(), &name(10, ".index.swap"));
        settle_swap(&OsFiles, dir.path()).expect("settles");
        assert_eq!(names(dir.path()), [name(0, ".log"), name(10, ".log")]);
    }

    #[test]
    fn a_decided_swap_is_ended_and_only_what_it_replaces_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        for base in [0, 10, 20, 30] {
            put(dir.path(), &name(base, ".log"), base, 10);
            index(dir.path(), &name(base, ".index"));
        }
        index(dir.path(), &name(10, ".snapshot"));
        put(dir.path(), &name(10, ".log.swap"), 10, 20);
        index(dir.path(), &name(10, ".timeindex.swap"));
        settle_swap(&OsFiles, dir.path()).expect("settles");
        let kept: Vec<String> = [
            (0, ".index"),
            (0, ".log"),
            (10, ".log"),
            (10, ".snapshot"),
            (10, ".timeindex"),
            (30, ".index"),
            (30, ".log"),
        ]
        .map(|(base, rest)| name(base, rest))
        .to_vec();
        assert_eq!(names(dir.path()), kept);
        settle_swap(&OsFiles, dir.path()).expect("once more");
        assert_eq!(names(dir.path()), kept);
    }

    #[test]
    fn an_empty_swap_takes_the_place_of_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        put(dir.path(), &name(0, ".log"), 0, 10);
        index(dir.path(), &name(0, ".log.swap"));
        index(dir.path(), &name(0, ".index.swap"));
        settle_swap(&OsFiles, dir.path()).expect("settles");
        assert_eq!(names(dir.path()), [name(0, ".log")]);
        assert!(OsFiles.len(&dir.path().join(name(0, ".log"))).expect("a length") > 0);
    }

    #[test]
    fn an_index_that_lags_behind_its_log_still_takes_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        put(dir.path(), &name(0, ".log"), 0, 10);
        index(dir.path(), &name(0, ".index.swap"));
        settle_swap(&OsFiles, dir.path()).expect("settles");
        assert_eq!(names(dir.path()), [name(0, ".index"), name(0, ".log")]);
    }
}
