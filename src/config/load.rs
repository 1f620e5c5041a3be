//! Reads the four places in order and gathers everything that is wrong, so that one start shows every mistake.
//! It opens no file and reads no environment: both are handed in. Invariant: settings come out only if nothing is wrong.

use std::fmt;

use crate::config::environment;
use crate::config::error::ConfigError;
use crate::config::properties;
use crate::config::settings::{Put, Settings, Source};

/// What the four places say.
#[derive(Debug, Default, Clone)]
pub struct Places {
    /// `--dev`'s choices.
    pub dev: Vec<(&'static str, String)>,
    /// The properties file: its name for messages, and its text.
    pub file: Option<(String, String)>,
    /// Environment variables; those without our prefixes are left alone.
    pub environment: Vec<(String, String)>,
    /// `--set` arguments, `key=value`.
    pub set: Vec<String>,
}

/// Settings, and what should be said about them once.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The checked values.
    pub settings: Settings,
    /// Keys accepted and not acted on, with the reason, in name order.
    pub ignored: Vec<(String, &'static str)>,
    /// Lines worth a warning: unknown variables, keys given twice.
    pub warnings: Vec<String>,
}

/// Everything that is wrong, each with its place. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Reads all places.
pub fn load(places: &Places) -> Result<Loaded, Problems> {
    let mut reader = Reader::default();
    for (key, value) in &places.dev {
        reader.put(Source::Dev, "--dev", key, value);
    }
    if let Some((name, text)) = &places.file {
        reader.file(name, text);
    }
    for (variable, value) in &places.environment {
        reader.variable(variable, value);
    }
    for argument in &places.set {
        match argument.split_once('=') {
            Some((key, value)) => reader.put(Source::Set, "--set", key.trim(), value),
            None => reader.problems.push(format!("--set {argument}: expected KEY=VALUE")),
        }
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    settings: Settings,
    ignored: Vec<(String, &'static str)>,
    unknown_variables: Vec<String>,
    warnings: Vec<String>,
    problems: Vec<String>,
}

impl Reader {
    fn put(&mut self, source: Source, place: &str, key: &str, value: &str) {
        match self.settings.put(source, key, value) {
            Ok(Put::Acted) => {}
            Ok(Put::Ignored(why)) => self.ignored.push((key.to_owned(), why)),
            Err(error) => self.problems.push(format!("{place}: {error}")),
        }
    }

    fn file(&mut self, name: &str, text: &str) {
        let entries = match properties::parse(text) {
            Ok(entries) => entries,
            Err(error) => return self.problems.push(format!("{name}: {error}")),
        };
        for entry in entries {
            let place = format!("{name}:{}", entry.line);
            if self.settings.places(&entry.key).any(|(source, _)| source == Source::File) {
                self.warnings.push(format!("{place}: {} is given twice, the last one counts", entry.key));
            }
            self.put(Source::File, &place, &entry.key, &entry.value);
        }
    }

    /// An unknown variable is only warned about: Kubernetes and start scripts set some by themselves.
    fn variable(&mut self, variable: &str, value: &str) {
        let Some(key) = environment::key_of(variable) else { return };
        if environment::is_launcher(variable) {
            return;
        }
        match self.settings.put(Source::Environment, &key, value) {
            Err(ConfigError::Unknown { .. }) => self.unknown_variables.push(variable.to_owned()),
            Ok(Put::Acted) => {}
            Ok(Put::Ignored(why)) => self.ignored.push((key, why)),
            Err(error) => self.problems.push(format!("{variable}: {error}")),
        }
    }

    fn finish(mut self) -> Result<Loaded, Problems> {
        if !self.problems.is_empty() {
            return Err(Problems(self.problems));
        }
        self.ignored.sort();
        self.ignored.dedup();
        if !self.unknown_variables.is_empty() {
            self.unknown_variables.sort();
            let names = self.unknown_variables.join(", ");
            self.warnings.push(format!("environment variables that mean no configuration key: {names}"));
        }
        Ok(Loaded { settings: self.settings, ignored: self.ignored, warnings: self.warnings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(file: &str, environment: &[(&str, &str)], set: &[&str]) -> Places {
        Places {
            dev: vec![("num.partitions", "2".to_owned())],
            file: Some(("server.properties".to_owned(), file.to_owned())),
            environment: environment
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            set: set.iter().map(|argument| argument.to_string()).collect(),
        }
    }

    fn partitions(file: &str, environment: &[(&str, &str)], set: &[&str]) -> (Source, String) {
        let loaded = load(&places(file, environment, set)).unwrap();
        let (source, value) = loaded.settings.get("num.partitions").unwrap();
        (source, value.to_owned())
    }

    #[test]
    fn the_order_of_places() {
        let environment = [("KAFKA_NUM_PARTITIONS", "4")];
        assert_eq!(partitions("", &[], &[]), (Source::Dev, "2".into()));
        assert_eq!(partitions("num.partitions=3", &[], &[]), (Source::File, "3".into()));
        assert_eq!(partitions("num.partitions=3", &environment, &[]), (Source::Environment, "4".into()));
        assert_eq!(
            partitions("num.partitions=3", &environment, &["num.partitions=5"]),
            (Source::Set, "5".into())
        );
    }

    #[test]
    fn one_start_shows_every_mistake() {
        let file = "node.id=1\nlog.dir.s=/x\nsuper.users=User:a\nnum.partitions=none\n";
        let environment = [("KAFKA_AUTHORIZER_CLASS_NAME", "X"), ("KAFKA_SERVICE_PORT", "9092")];
        let problems = load(&places(file, &environment, &["a", "log.retension.ms=1"])).unwrap_err();
        let no_auth = "TLS, SASL and ACLs are not built yet; keep the port inside a trusted network";
        assert_eq!(
            problems.to_string(),
            format!(
                "server.properties:2: Unknown broker config name: log.dir.s (did you mean log.dirs?)\n\
                 server.properties:3: super.users is refused: {no_auth}\n\
                 server.properties:4: Invalid value none for configuration num.partitions: Not a number of type INT\n\
                 KAFKA_AUTHORIZER_CLASS_NAME: authorizer.class.name is refused: {no_auth}\n\
                 --set a: expected KEY=VALUE\n\
                 --set: Unknown broker config name: log.retension.ms (did you mean log.retention.ms?)"
            )
        );
    }

    #[test]
    fn what_is_ignored_is_named_once() {
        let environment = [
            ("KAFKA_NUM_IO_THREADS", "9"),
            ("KAFKA_SERVICE_PORT", "9092"),
            ("FIRN_PORT", "tcp://10.0.0.1:9092"),
            ("KAFKA_HEAP_OPTS", "-Xmx1g"),
            ("PATH", "/bin"),
        ];
        let loaded = load(&places("num.io.threads=8\nnode.id=1\nnode.id=2\n", &environment, &[])).unwrap();
        assert_eq!(loaded.ignored.len(), 1, "{:?}", loaded.ignored);
        assert_eq!(loaded.ignored[0].0, "num.io.threads");
        assert_eq!(
            loaded.warnings,
            vec![
                "server.properties:3: node.id is given twice, the last one counts".to_owned(),
                "environment variables that mean no configuration key: FIRN_PORT, KAFKA_SERVICE_PORT"
                    .to_owned(),
            ]
        );
        assert_eq!(loaded.settings.number("node.id"), Some(2));
    }
}
