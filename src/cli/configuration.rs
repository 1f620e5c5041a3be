//! Reads a broker's configuration for a command: file, environment, `--set`, and `--dev`'s choices.
//! The one place that opens the file and looks at the process's environment.

use std::path::{Path, PathBuf};

use firnline_tiering::hot::file::Files;

use crate::cli::arguments::Source;
use crate::cli::failure::{Exit, Failure};
use crate::config::load::{Loaded, Places, load};
use crate::config::properties::FILE_BYTES_MAX;
use crate::config::start::{Start, build};
use crate::config::{dev, environment};

/// Where `--dev` keeps its data, below the working directory.
pub const DEV_DATA: &str = "firn-data";

/// A configuration that can start, and what to say about it.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The broker's.
    pub start: Start,
    /// Keys accepted and not acted on, with the reason.
    pub ignored: Vec<(String, &'static str)>,
    /// Lines worth a warning, from all stages.
    pub warnings: Vec<String>,
    /// `CLUSTER_ID` of a container image: formats an empty directory by itself.
    pub image_cluster_id: Option<String>,
}

/// The process's environment, as text; a variable that is not is left out.
pub fn process_environment() -> Vec<(String, String)> {
    let text = |value: std::ffi::OsString| value.into_string().ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

/// Reads the configuration of `source`; `dev` is the data directory of a throw-away broker.
pub fn read(
    files: &dyn Files,
    source: &Source,
    dev: Option<&Path>,
    environment: Vec<(String, String)>,
) -> Result<Configuration, Failure> {
    let image_cluster_id = image_cluster_id(&environment);
    let file = source.config.as_deref().map(|path| read_file(files, path)).transpose()?;
    if file.is_none() && dev.is_none() && source.set.is_empty() && !speaks_of_keys(&environment) {
        return Err(Failure::new(
            "there is no configuration",
            "neither --config FILE nor --set nor --dev was given",
        )
        .next("try `firn server --dev`, or write a server.properties and pass it with --config")
        .exit(Exit::Configuration));
    }
    let dev_places = dev.map(dev::places).unwrap_or_default();
    let places = Places { dev: dev_places, file, environment, set: source.set.clone() };
    let refused = |problems: crate::config::load::Problems| {
        Failure::new("the configuration cannot be used", problems)
            .next("`firn config explain KEY` says what a key takes; docs/configuration.md lists all")
            .exit(Exit::Configuration)
    };
    let Loaded { settings, ignored, mut warnings } = load(&places).map_err(refused)?;
    let start = build(settings, dev.is_some()).map_err(refused)?;
    warnings.extend(start.warnings.iter().cloned());
    Ok(Configuration { start, ignored, warnings, image_cluster_id })
}

fn image_cluster_id(environment: &[(String, String)]) -> Option<String> {
    let named = |wanted: &str| environment.iter().find(|(name, value)| name == wanted && !value.is_empty());
    named("CLUSTER_ID").map(|(_, value)| value.clone())
}

fn speaks_of_keys(environment: &[(String, String)]) -> bool {
    environment.iter().any(|(name, _)| environment::key_of(name).is_some() && !environment::is_launcher(name))
}

fn read_file(files: &dyn Files, path: &Path) -> Result<(String, String), Failure> {
    let name = path.display().to_string();
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(format!("{name} cannot be read"), why).exit(Exit::Configuration)
    };
    let bytes = files.read_all(path, FILE_BYTES_MAX as u64).map_err(|error| failed(&error))?;
    // Java reads these files as ISO 8859-1; nearly all are ASCII, the rest nowadays UTF-8.
    let text = String::from_utf8(bytes).map_err(|_| failed(&"it is not UTF-8 text"))?;
    Ok((name, text))
}

/// `./firn-data` as an absolute path.
pub fn dev_data() -> Result<PathBuf, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::new("the working directory cannot be found", error))?;
    Ok(here.join(DEV_DATA))
}

#[cfg(test)]
mod tests {
    use firnline_tiering::hot::file::OsFiles;

    use super::*;

    fn source(config: Option<&Path>, set: &[&str]) -> Source {
        Source { config: config.map(Path::to_owned), set: set.iter().map(|text| text.to_string()).collect() }
    }

    #[test]
    fn a_missing_or_wrong_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none.properties");
        let failure = read(&OsFiles, &source(Some(&missing), &[]), None, Vec::new()).unwrap_err();
        assert!(failure.what.ends_with("none.properties cannot be read"), "{failure}");
        assert_eq!(failure.exit, Exit::Configuration);

        let file = dir.path().join("server.properties");
        OsFiles.write_atomic(&file, b"node.id=1\nlog.dirs=/x\nnum.partition=3\n").unwrap();
        let failure = read(&OsFiles, &source(Some(&file), &[]), None, Vec::new()).unwrap_err();
        let place = format!("{}:3", file.display());
        assert_eq!(
            failure.to_string(),
            format!(
                "error: the configuration cannot be used\n  \
                 {place}: Unknown broker config name: num.partition (did you mean num.partitions?)\n  \
                 next: `firn config explain KEY` says what a key takes; docs/configuration.md lists all"
            )
        );
    }

    #[test]
    fn nothing_at_all_says_where_to_begin() {
        let failure =
            read(&OsFiles, &source(None, &[]), None, vec![("PATH".into(), "/bin".into())]).unwrap_err();
        assert!(failure.next.starts_with("try `firn server --dev`"), "{failure}");
        let variables = [("KAFKA_NODE_ID", "7"), ("KAFKA_LOG_DIRS", "/x"), ("CLUSTER_ID", "abc")];
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let read = read(&OsFiles, &source(None, &[]), None, variables).unwrap();
        assert_eq!((read.start.config.node_id, read.image_cluster_id.as_deref()), (7, Some("abc")));
    }
}
