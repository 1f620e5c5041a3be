//! `firn log verify` and `firn log dump`: they read files and write to the terminal, nothing else.
//! Invariant: exit code 0 says whole.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use firnline_tiering::hot::file::{Files, OsFiles};
use firnline_tiering::inspect::directory::is_live;
use firnline_tiering::inspect::dump;
use firnline_tiering::inspect::error::InspectError;
use firnline_tiering::inspect::path::{Report, verify};

use crate::cli::arguments::Log;
use crate::cli::failure::Failure;
use crate::cli::log::{json, lines, summary};

/// Runs `firn log`.
pub fn run(command: &Log) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = match command {
        Log::Verify { path, json } => verified(&OsFiles, path, *json, &mut out),
        Log::Dump { path, records, json } => dumped(&OsFiles, path, *records, *json, &mut out),
    };
    match out.flush() {
        // A reader that went away (`| head`) is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new("the answer could not be printed", error))
        }
        _ => outcome,
    }
}

/// Prints what was found; damage is a failure, so that scripts see it in the exit code.
fn verified(files: &dyn Files, path: &Path, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let shown = path.display();
    if let Some(root) = live_root(files, path) {
        return Err(Failure::new(format!("{shown} was not verified"), format!("a broker works in {root}"))
            .next("stop it first, or verify a copy: what it writes meanwhile would look torn"));
    }
    let report = verify(files, path).map_err(|error| unread(path, &error))?;
    let text = if json { json::report(path, &report) } else { summary::report(&report) };
    print(out, &text)?;
    let count = report.findings().len();
    if count == 0 {
        return Ok(());
    }
    let things = if count == 1 { "thing is" } else { "things are" };
    Err(Failure::new(format!("{shown} is damaged"), format!("{count} {things} wrong"))
        .next(next_step(&report)))
}

/// The directory of a running broker that `path` is or lies in.
fn live_root(files: &dyn Files, path: &Path) -> Option<String> {
    let near = path.ancestors().take(3).filter(|root| !root.as_os_str().is_empty());
    near.into_iter().find(|root| is_live(files, root)).map(|root| root.display().to_string())
}

fn next_step(report: &Report) -> &'static str {
    if report.findings().iter().all(|finding| finding.damage.is_rebuilt()) {
        "nothing is lost: a broker rebuilds these files when it starts"
    } else {
        "keep a copy of these files before anything opens them"
    }
}

fn dumped(
    files: &dyn Files,
    path: &Path,
    records: bool,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let shown = dump::dump(files, path, records, &mut |item| {
        let line = if json { json::item(&item) } else { lines::item(&item) };
        out.write_all(line.as_bytes())
    });
    match shown {
        Err(InspectError::Shown(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| unread(path, &error)),
    }
}

fn unread(path: &Path, error: &InspectError) -> Failure {
    let failure = Failure::new(format!("{} was not read", path.display()), error);
    match error {
        InspectError::Unknown { .. } => failure.next(
            "name a segment's file, a partition's directory, an entry of log.dirs, a checkpoint, or a .firn object",
        ),
        _ => failure,
    }
}

fn print(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    match out.write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new("the answer could not be printed", error))
        }
        _ => Ok(()),
    }
}
