//! What DescribeConfigs answers: every key of a topic or of the broker, with value, source, synonyms, type and doc.
//! It knows Kafka's numbers for sources and types, and no wire format. A sensitive value never leaves this file.

use std::collections::BTreeMap;

use crate::config::key::{Key, Kind, Scope, Stance};
use crate::config::resolve::{self, Origin};
use crate::config::settings::{Settings, Source};
use crate::config::table::lookup;

/// One line of a DescribeConfigs answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Key name.
    pub name: String,
    /// The value in force; `None` when it has none or is sensitive.
    pub value: Option<String>,
    /// True when it can only be set at start.
    pub read_only: bool,
    /// Kafka's ConfigSource number.
    pub source: i8,
    /// True for secrets.
    pub sensitive: bool,
    /// Every place that says something, strongest first.
    pub synonyms: Vec<Synonym>,
    /// Kafka's ConfigType number.
    pub kind: i8,
    /// What it does, and whether we act on it.
    pub doc: String,
}

impl Described {
    /// True for a value that nobody set (versions that have no source number).
    pub fn is_default(&self) -> bool {
        self.source == DEFAULT
    }
}

/// One place that gives a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    /// The key there, e.g. `log.retention.hours` for a topic's `retention.ms`.
    pub name: String,
    /// Its value as written there; `None` when sensitive.
    pub value: Option<String>,
    /// Kafka's ConfigSource number.
    pub source: i8,
}

const TOPIC: i8 = 1;
const DYNAMIC_BROKER: i8 = 2;
const DYNAMIC_DEFAULT_BROKER: i8 = 3;
const STATIC_BROKER: i8 = 4;
const DEFAULT: i8 = 5;

fn source_number(source: Source) -> i8 {
    match source {
        Source::DynamicBroker => DYNAMIC_BROKER,
        Source::DynamicDefault => DYNAMIC_DEFAULT_BROKER,
        Source::Set | Source::Environment | Source::File | Source::Dev => STATIC_BROKER,
        Source::Default => DEFAULT,
    }
}

fn type_number(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::Text | Kind::Choice(_) => 2,
        Kind::Int(..) => 3,
        Kind::Short(..) => 4,
        Kind::Long(..) => 5,
        Kind::Double(..) => 6,
        Kind::List(_) => 7,
        Kind::Class => 8,
        Kind::Secret => 9,
    }
}

/// The documentation line, with what we do not do said first.
fn doc(key: &Key) -> String {
    match key.stance {
        Stance::Acted => key.doc.to_owned(),
        Stance::Accepted(why) => format!("Not acted on: {why}. {}", key.doc),
        Stance::DefaultOnly(missing) | Stance::Refused(missing) => {
            format!("Only its default: {missing}. {}", key.doc)
        }
    }
}

/// All keys of a topic with these overrides, in name order.
pub fn topic(settings: &Settings, overrides: &BTreeMap<String, String>) -> Vec<Described> {
    let describe = |key: &'static Key| {
        let said = resolve::said(settings, overrides, key);
        let synonyms: Vec<Synonym> = said
            .iter()
            .map(|place| {
                let (name, source) = match place.origin {
                    Origin::Topic => (key.name, TOPIC),
                    Origin::Broker(name, source) => (name, source_number(source)),
                    Origin::Default => (key.name, DEFAULT),
                };
                Synonym { name: name.to_owned(), value: Some(place.written.clone()), source }
            })
            .collect();
        let value = said.into_iter().next().map(|place| place.value);
        described(key, key.name, value, synonyms)
    };
    let mut lines: Vec<Described> = lookup::keys(Scope::Topic).map(describe).collect();
    lines.sort_by(|a, b| a.name.cmp(&b.name));
    lines
}

/// All keys of this broker, in name order, and those of a family that somebody set.
pub fn broker(settings: &Settings) -> Vec<Described> {
    let mut names: Vec<&str> =
        lookup::keys(Scope::Broker).filter(|key| !key.is_family()).map(|key| key.name).collect();
    names.extend(settings.names());
    names.sort_unstable();
    names.dedup();
    let describe = |name: &str| {
        let key = lookup::row(Scope::Broker, name);
        let default = key.default.map(|default| (Source::Default, default));
        let places: Vec<(Source, &str)> = settings.places(name).chain(default).collect();
        let synonyms = places.iter().map(|(source, value)| Synonym {
            name: name.to_owned(),
            value: Some((*value).to_owned()),
            source: source_number(*source),
        });
        described(key, name, places.first().map(|(_, value)| (*value).to_owned()), synonyms.collect())
    };
    names.into_iter().map(describe).collect()
}

fn described(key: &Key, name: &str, value: Option<String>, mut synonyms: Vec<Synonym>) -> Described {
    let sensitive = key.is_sensitive();
    let source = synonyms.first().map_or(DEFAULT, |strongest| strongest.source);
    if sensitive {
        synonyms.iter_mut().for_each(|synonym| synonym.value = None);
    }
    Described {
        name: name.to_owned(),
        value: value.filter(|_| !sensitive),
        read_only: !key.dynamic,
        source,
        sensitive,
        synonyms,
        kind: type_number(key.kind),
        doc: doc(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(lines: &'a [Described], name: &str) -> &'a Described {
        lines.iter().find(|line| line.name == name).unwrap()
    }

    #[test]
    fn a_topic_line_names_every_place() {
        let mut settings = Settings::default();
        settings.put(Source::File, "log.retention.minutes", "5").unwrap();
        let overrides = BTreeMap::from([("retention.ms".to_owned(), "7".to_owned())]);
        let lines = topic(&settings, &overrides);
        assert!(lines.is_sorted_by(|a, b| a.name < b.name));
        let retention = line(&lines, "retention.ms");
        assert_eq!((retention.value.as_deref(), retention.source, retention.kind), (Some("7"), TOPIC, 5));
        let places: Vec<(&str, &str, i8)> = retention
            .synonyms
            .iter()
            .map(|place| (place.name.as_str(), place.value.as_deref().unwrap(), place.source))
            .collect();
        assert_eq!(
            places,
            vec![
                ("retention.ms", "7", TOPIC),
                ("log.retention.minutes", "5", STATIC_BROKER),
                ("log.retention.hours", "168", DEFAULT)
            ]
        );
        let segment = line(&lines, "segment.bytes");
        assert!(segment.is_default() && !segment.read_only);
        assert!(
            line(&lines, "compression.lz4.level")
                .doc
                .starts_with("Not acted on: the lz4 writer here has one level")
        );
    }

    #[test]
    fn a_secret_is_named_but_never_shown() {
        let mut settings = Settings::default();
        settings.put(Source::File, "firn.s3.secret.access.key", "hunter2").unwrap();
        settings.put(Source::File, "rsm.config.storage.aws.secret.access.key", "hunter3").unwrap();
        let lines = broker(&settings);
        for name in ["firn.s3.secret.access.key", "rsm.config.storage.aws.secret.access.key"] {
            let secret = line(&lines, name);
            assert!(secret.sensitive && secret.value.is_none() && secret.source == STATIC_BROKER, "{name}");
        }
        assert!(!format!("{lines:?}").contains("hunter"));
        let node = line(&lines, "node.id");
        assert!(node.read_only && node.is_default());
        assert!(!line(&lines, "log.retention.ms").read_only);
    }
}
