//! The checked values of every broker key that somebody set, each with the place it came from.
//! It holds text that its key's kind has already accepted, so typed reads cannot fail. Invariant: the order of places is
//! defaults < `--dev` < file < environment < `--set` < dynamic (all brokers, then this one).

use std::collections::BTreeMap;
use std::fmt;

use crate::config::error::ConfigError;
use crate::config::key::{Key, Scope, Stance, list_items};
use crate::config::table::lookup;

/// Where a value came from, weakest first; the order decides which one is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The table's own default.
    Default,
    /// `--dev`'s choices: a file nobody wrote.
    Dev,
    /// The properties file.
    File,
    /// A `KAFKA_*` or `FIRN_*` variable.
    Environment,
    /// `--set key=value`.
    Set,
    /// Altered for all brokers (IncrementalAlterConfigs on broker "").
    DynamicDefault,
    /// Altered for this broker.
    DynamicBroker,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Default => "default",
            Source::Dev => "--dev",
            Source::File => "file",
            Source::Environment => "environment",
            Source::Set => "--set",
            Source::DynamicDefault => "altered for all brokers",
            Source::DynamicBroker => "altered for this broker",
        })
    }
}

/// Checked values of broker keys, by place.
#[derive(Clone, Default)]
pub struct Settings {
    values: BTreeMap<String, BTreeMap<Source, String>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: some values are secrets.
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// What happened to a value that was put in: the caller names ignored ones once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The broker acts on it.
    Acted,
    /// Accepted, not acted on, for this reason.
    Ignored(&'static str),
}

/// Checks one value against its key's kind and stance, whoever sets it.
pub fn check(key: &Key, name: &str, value: &str) -> Result<Put, ConfigError> {
    let refused = |missing: &str| ConfigError::Refused { key: name.to_owned(), missing: missing.to_owned() };
    if let Stance::Refused(missing) = key.stance {
        return Err(refused(missing));
    }
    let trimmed = key.kind.check(value).map_err(|expected| ConfigError::Invalid {
        key: name.to_owned(),
        value: if key.is_sensitive() { "[hidden]".to_owned() } else { value.to_owned() },
        expected,
    })?;
    match key.stance {
        Stance::DefaultOnly(missing) if !same(key, trimmed) => Err(refused(missing)),
        Stance::Accepted(why) => Ok(Put::Ignored(why)),
        _ => Ok(Put::Acted),
    }
}

/// True when a checked value means the key's default.
fn same(key: &Key, value: &str) -> bool {
    let default = key.default.unwrap_or_default();
    value.eq_ignore_ascii_case(default)
        || value.parse::<i64>().is_ok_and(|number| default.parse::<i64>() == Ok(number))
}

impl Settings {
    /// Checks and stores one value. Unknown names come back as `ConfigError::Unknown` with a hint.
    pub fn put(&mut self, source: Source, name: &str, value: &str) -> Result<Put, ConfigError> {
        let key = known(Scope::Broker, name)?;
        let put = check(key, name, value)?;
        self.values.entry(name.to_owned()).or_default().insert(source, value.trim().to_owned());
        Ok(put)
    }

    /// The same settings with the image's dynamic values laid over them. A stored value that this binary no longer
    /// accepts is left out: it was refused to nobody, so the broker must start without it.
    pub fn with_dynamic(
        &self,
        cluster: &BTreeMap<String, String>,
        this_broker: &BTreeMap<String, String>,
    ) -> Settings {
        let mut settings = self.clone();
        settings
            .values
            .values_mut()
            .for_each(|by_source| by_source.retain(|source, _| *source <= Source::Set));
        for (source, values) in [(Source::DynamicDefault, cluster), (Source::DynamicBroker, this_broker)] {
            for (name, value) in values {
                if let Err(error) = settings.put(source, name, value) {
                    tracing::warn!(key = %name, %error, "stored dynamic value is not accepted, using the next one");
                }
            }
        }
        settings
    }

    /// Every place that gives `name` a value, strongest first, without the table's default.
    pub fn places(&self, name: &str) -> impl Iterator<Item = (Source, &str)> {
        let by_source = self.values.get(name).into_iter().flatten();
        by_source.rev().map(|(source, value)| (*source, value.as_str()))
    }

    /// The value in force and its place; `None` when nobody set it and it has no default.
    pub fn get(&self, name: &str) -> Option<(Source, &str)> {
        let key = lookup::row(Scope::Broker, name);
        self.places(name).next().or(key.default.map(|default| (Source::Default, default)))
    }

    /// True when somebody set the key.
    pub fn is_set(&self, name: &str) -> bool {
        self.places(name).next().is_some()
    }

    /// Names of all keys somebody set, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter(|(_, by_source)| !by_source.is_empty()).map(|(name, _)| name.as_str())
    }

    /// A text in force, `None` when it has none or is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(|(_, value)| value).filter(|value| !value.is_empty())
    }

    /// A number in force, `None` when the key has no default and nobody set it.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name).map(|(_, value)| integer(name, value))
    }

    /// A flag in force; `None` as for numbers.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|(_, value)| value.eq_ignore_ascii_case("true"))
    }

    /// The items of a list in force.
    pub fn items(&self, name: &str) -> Vec<&str> {
        self.get(name).map(|(_, value)| list_items(value).collect()).unwrap_or_default()
    }
}

/// The row of a name somebody wrote, or the error that says what was meant.
pub fn known(scope: Scope, name: &str) -> Result<&'static Key, ConfigError> {
    lookup::find(scope, name).ok_or_else(|| ConfigError::Unknown {
        scope: scope.word(),
        key: name.to_owned(),
        hint: lookup::hint(scope, name),
    })
}

/// A checked number as an integer.
pub fn integer(name: &str, value: &str) -> i64 {
    // cannot fail: `check` has accepted the value as a number of this key's kind.
    value.parse().unwrap_or_else(|_| panic!("{name}={value} was stored without being checked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(settings: &mut Settings, source: Source, name: &str, value: &str) -> Result<Put, String> {
        settings.put(source, name, value).map_err(|error| error.to_string())
    }

    #[test]
    fn the_stronger_place_wins_in_any_order() {
        let mut settings = Settings::default();
        assert_eq!(settings.get("num.partitions"), Some((Source::Default, "1")));
        for (source, value) in
            [(Source::Set, "5"), (Source::File, "3"), (Source::Dev, "2"), (Source::Environment, "4")]
        {
            settings.put(source, "num.partitions", value).unwrap();
        }
        assert_eq!(settings.number("num.partitions"), Some(5));
        let sources: Vec<Source> = settings.places("num.partitions").map(|(source, _)| source).collect();
        assert_eq!(sources, vec![Source::Set, Source::Environment, Source::File, Source::Dev]);

        let cluster = BTreeMap::from([
            ("message.max.bytes".to_owned(), "100".to_owned()),
            ("log.retention.ms".to_owned(), "not a number".to_owned()),
        ]);
        let broker = BTreeMap::from([("message.max.bytes".to_owned(), "200".to_owned())]);
        let live = settings.with_dynamic(&cluster, &broker);
        assert_eq!(live.get("message.max.bytes"), Some((Source::DynamicBroker, "200")));
        assert_eq!(live.number("log.retention.ms"), None);
        let back = live.with_dynamic(&BTreeMap::new(), &BTreeMap::new());
        assert_eq!(back.get("message.max.bytes"), Some((Source::Default, "1048588")));
    }

    #[test]
    fn promises_we_cannot_keep_are_refused_with_what_is_missing() {
        let mut settings = Settings::default();
        let mut refused =
            |name: &str, value: &str| put(&mut settings, Source::File, name, value).unwrap_err();
        let no_auth = "TLS, SASL and ACLs are not built yet; keep the port inside a trusted network";
        for name in
            ["authorizer.class.name", "super.users", "sasl.enabled.mechanisms", "ssl.keystore.location"]
        {
            assert_eq!(refused(name, "x"), format!("{name} is refused: {no_auth}"));
        }
        assert!(refused("security.inter.broker.protocol", "SSL").contains("TLS"));
        assert_eq!(
            put(&mut settings, Source::File, "security.inter.broker.protocol", "PLAINTEXT"),
            Ok(Put::Acted)
        );
    }

    #[test]
    fn a_secret_never_shows_in_an_error_or_in_debug() {
        let mut settings = Settings::default();
        settings.put(Source::File, "firn.s3.secret.access.key", "hunter2").unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert_eq!(settings.text("firn.s3.secret.access.key"), Some("hunter2"));
    }

    #[test]
    fn ignored_and_unknown_keys_are_told_apart() {
        let mut settings = Settings::default();
        assert!(matches!(put(&mut settings, Source::File, "num.io.threads", "8"), Ok(Put::Ignored(_))));
        assert!(matches!(put(&mut settings, Source::File, "rlmm.config.anything", "8"), Ok(Put::Ignored(_))));
        assert_eq!(
            put(&mut settings, Source::File, "log.retention.hour", "8").unwrap_err(),
            "Unknown broker config name: log.retention.hour (did you mean log.retention.hours?)"
        );
        assert_eq!(
            put(&mut settings, Source::File, "num.partitions", "many").unwrap_err(),
            "Invalid value many for configuration num.partitions: Not a number of type INT"
        );
    }
}
