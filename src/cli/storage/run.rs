//! The commands of `firn storage`. What they do to directories is in `disks.rs`.
//! Invariant: what cannot be formatted as asked is not formatted at all.

use firnline_controller::id::TopicId;
use firnline_tiering::entropy::OsEntropy;
use firnline_tiering::hot::file::OsFiles;

use crate::cli::arguments::Storage;
use crate::cli::configuration::{self, process_environment};
use crate::cli::failure::Failure;
use crate::cli::storage::disks::Disks;
use crate::cli::storage::first::first_voters;

/// Runs `firn storage`.
pub async fn run(command: &Storage) -> Result<String, Failure> {
    match command {
        // A formatted directory is left as it is, asked for or not.
        Storage::Format { source, cluster_id, first, ignore_formatted: _ } => {
            let configuration = configuration::read(&OsFiles, source, None, process_environment())?;
            let (disks, config) = (Disks::real(), &configuration.start.config);
            let drawn = disks.directory(config)?.unwrap_or_else(|| disks.draw());
            let first = first_voters(first, config, drawn)?;
            let wanted = cluster_id.clone().or(configuration.image_cluster_id);
            let formatted = disks.format_with(config, wanted.as_deref(), &first).await?;
            Ok(formatted.text())
        }
        Storage::RandomUuid => Ok(format!("{}\n", TopicId::draw(&OsEntropy))),
        Storage::Info { source } => {
            let configuration = configuration::read(&OsFiles, source, None, process_environment())?;
            Disks::real().info(&configuration.start.config)
        }
    }
}
