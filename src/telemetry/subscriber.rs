//! Where log lines go: standard error, for people on a terminal, as JSON otherwise or by choice.
//! It is set up once per process. Packages below us speak from `warn` on unless a filter of its own says more.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// What a plain level leaves out: packages whose `info` says nothing to an operator.
const QUIETER: &str = "openraft=error,openraft::replication=off,foyer=warn,object_store=warn,aws_config=warn,aws_smithy_runtime=warn,hyper=warn,h2=warn";

/// Sets the process's subscriber up. `format`: `auto`, `human` or `json`; `level`: a level or a filter.
///
/// # Errors
/// What is wrong with `level`; a process that has a subscriber already keeps it.
pub fn install(format: &str, level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match format {
        "json" => builder.json().flatten_event(true).try_init(),
        "auto" if !terminal => builder.json().flatten_event(true).try_init(),
        _ => builder.with_ansi(terminal).with_target(false).compact().try_init(),
    };
    if installed.is_err() {
        tracing::debug!("this process has a log subscriber already");
    }
    Ok(())
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let whole = if level.contains([',', '=']) { level.to_owned() } else { format!("{QUIETER},{level}") };
    let filter = EnvFilter::builder().parse(whole);
    filter.map_err(|error| format!("firn.log.level={level} is not a level or a filter: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters() {
        assert!(filter("info").is_ok() && filter("debug").is_ok());
        assert!(filter("warn,firnline::server=debug").is_ok());
        assert!(filter("firnline=loud").unwrap_err().starts_with("firn.log.level=firnline=loud is not"));
    }
}
