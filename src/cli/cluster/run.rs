//! `firn cluster`: picks the command.
//! It asks nobody itself.

use crate::cli::arguments::Cluster;
use crate::cli::cluster::moves::{self, Goal};
use crate::cli::cluster::status;
use crate::cli::failure::Failure;

/// Runs `firn cluster`.
pub async fn run(command: &Cluster) -> Result<String, Failure> {
    match command {
        Cluster::Status { wait_for, output, broker } => {
            status::run(&broker.bootstrap_server, *output, *wait_for).await
        }
        Cluster::Drain { id, plan, broker } => {
            moves::run(&broker.bootstrap_server, Goal::Drain(*id), !plan).await
        }
        Cluster::Rebalance { apply, broker, .. } => {
            moves::run(&broker.bootstrap_server, Goal::Balance, *apply).await
        }
    }
}
