//! Instructions per request in a connection's task of the real binary, counted by callgrind where valgrind is installed:
//! decoding, handling, appending, answering. What the runtime does around it is not in the count, nor is the kernel.

use std::path::Path;
use std::process::{Command, Stdio};

use super::baseline::Counts;
use super::client::Client;
use super::load::{Load, run, set_up};
use super::process::Process;

const COUNTED: usize = 200;
/// The future of a connection; callgrind collects from its entry to its return, with all it calls.
const TASK: &str = "*server::connection::Connection*run::{{closure}}";

pub fn count(counts: &mut Counts) -> Result<(), String> {
    if !cfg!(debug_assertions) {
        return Err("the baseline holds counts of an unoptimised build".to_owned());
    }
    let found =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        return Err("valgrind is not installed".to_owned());
    }
    let set_up_alone = collected(None)?;
    for load in Load::ALL {
        let more = collected(Some(load))? - set_up_alone;
        counts.put(load.name(), "instructions", more / COUNTED as f64);
    }
    Ok(())
}

/// Instructions of a run that sets up and then puts `load` on the broker.
fn collected(load: Option<Load>) -> Result<f64, String> {
    let mut process = Process::start(|dir| {
        let tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"].map(str::to_owned);
        let log = format!("--log-file={}", dir.join("valgrind.log").display());
        [&tool[..], &[log, format!("--toggle-collect={TASK}")]].concat()
    })?;
    {
        let mut client = Client::connect(process.address);
        set_up(&mut client);
        if let Some(load) = load {
            run(&mut client, load, COUNTED);
        }
    }
    process.end();
    total(&process.dir().join("valgrind.log"))
}

fn total(log: &Path) -> Result<f64, String> {
    let said = std::fs::read_to_string(log).map_err(|error| format!("valgrind left no log: {error}"))?;
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match collected {
        Some(count) if count > 0.0 => Ok(count),
        _ => Err(format!("valgrind collected nothing:\n{said}")),
    }
}
