//! `firn config explain KEY`.
//! It prints what the table of keys says; it asks no broker and reads no file.

use crate::cli::arguments::Config;
use crate::cli::failure::{Exit, Failure};
use crate::config::explain::explain;

/// Runs `firn config`.
pub fn run(command: &Config) -> Result<String, Failure> {
    let Config::Explain { key } = command;
    explain(key).map_err(|why| {
        Failure::new(format!("{key} cannot be explained"), why)
            .next("docs/configuration.md lists all keys")
            .exit(Exit::Configuration)
    })
}
