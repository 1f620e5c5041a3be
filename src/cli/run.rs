//! From the process's arguments to an exit code: picks the command, prints its answer or its failure.
//! The one place that writes to the terminal for the commands that only ask.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::arguments::{Arguments, Command};
use crate::cli::failure::Failure;
use crate::cli::{bench, cluster, config, demo, log, server, storage, tier, topic};

/// Runs `firn` with the process's arguments.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Server(command) => wait_for(async move { server::run(&command).await }),
        Command::Demo(command) => wait_for(async move { demo::tour::run(&command).await }),
        Command::Bench(command) => wait_for(async move { bench::run::run(&command).await }).and_then(print),
        Command::Log(command) => log::run::run(&command),
        Command::Config(command) => config::run(&command).and_then(print),
        Command::Storage(command) => {
            wait_for(async move { storage::run::run(&command).await }).and_then(print)
        }
        Command::Topic(command) => wait_for(async move { topic::run(&command).await }).and_then(print),
        Command::Cluster(command) => {
            wait_for(async move { cluster::run::run(&command).await }).and_then(print)
        }
        Command::Tier(command) => wait_for(async move { tier::run(&command).await }).and_then(print),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing more can be said when even standard error is closed.
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.code()
        }
    }
}

/// Runs one command on a runtime of its own.
fn wait_for<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new("no runtime could be started", error))?.block_on(command)
}

/// A reader that went away (`| head`) is no failure.
fn print(text: String) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new("the answer could not be printed", error))
        }
        _ => Ok(()),
    }
}
