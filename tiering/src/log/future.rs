//! Copies of logs on their way from another log directory: their names, their place once they are whole, and the mark that
//! tells which of two directories of one log counts after a crash. It copies nothing (`relocate.rs` does).
//! Invariant: between the rename of a copy and the removal of what it was copied from, the copy carries the mark.

use crate::entropy::Entropy;
use crate::hot::dir::{LogName, MOVED, PARTITION_METADATA};
use crate::hot::file::OpenMode;
use crate::log::directory::{DirectoryError, LogDirectory, storage};
use crate::log::relocate::discard;
use std::io::{self, ErrorKind};

impl LogDirectory {
    /// Makes the directory of a copy of `log`; its name.
    pub fn create_future(
        &self,
        log: &LogName,
        metadata: &str,
        entropy: &dyn Entropy,
    ) -> Result<String, DirectoryError> {
        let failed = || storage(format!("make a copy of {log} in {}", self.root().display()));
        let long =
            || io::Error::new(ErrorKind::InvalidFilename, "the name of its directory would be too long");
        let name = log.future(entropy.uuid()).ok_or_else(long).map_err(failed())?;
        let path = self.root().join(&name);
        self.files.create_dir_all(&path).map_err(failed())?;
        self.files.write_atomic(&path.join(PARTITION_METADATA), metadata.as_bytes()).map_err(failed())?;
        Ok(name)
    }

    /// Copies that lie here, each with its log.
    pub fn futures(&self) -> Result<Vec<(LogName, String)>, DirectoryError> {
        let names = self.names()?;
        Ok(names.into_iter().filter_map(|name| Some((LogName::parse_future(&name)?, name))).collect())
    }

    /// Removes a copy; fine if it is gone.
    pub fn discard_future(&self, name: &str) -> Result<(), DirectoryError> {
        discard(&*self.files, &self.root().join(name)).map_err(storage(format!("remove {name}")))
    }

    /// Gives a copy that is whole and durable its log's name, marked, durably.
    pub fn install_future(&self, name: &str, log: &LogName) -> Result<(), DirectoryError> {
        let failed = || storage(format!("rename {name} to {log}"));
        let copy = self.root().join(name);
        self.files.open(&copy.join(MOVED), OpenMode::ReadWrite).map_err(failed())?;
        self.files.sync_dir(&copy).map_err(failed())?;
        self.files.rename(&copy, &self.log_path(log)).map_err(failed())?;
        self.files.sync_dir(self.root()).map_err(failed())
    }

    /// Whether a log came from another directory that may still hold it.
    pub fn is_moved(&self, log: &LogName) -> bool {
        self.files.exists(&self.log_path(log).join(MOVED))
    }

    /// Nobody else holds the log any more, or it is about to go itself.
    pub fn settle_moved(&self, log: &LogName) -> Result<(), DirectoryError> {
        let (path, failed) = (self.log_path(log), || storage(format!("remove the mark of {log}")));
        match self.files.remove(&path.join(MOVED)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.files.sync_dir(&path)).map_err(failed()),
        }
    }
}
