//! How one topic key gets its value: the topic's own text, else the first broker key that gives a default, else the
//! table's. It converts hours and minutes; it knows no rule between keys.

use std::collections::BTreeMap;

use crate::config::key::{Key, Scope};
use crate::config::settings::{Settings, Source, integer};
use crate::config::table::lookup;

/// Where a topic's value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The topic's own.
    Topic,
    /// A broker key, set at this place.
    Broker(&'static str, Source),
    /// The topic key's own default: no broker key says anything.
    Default,
}

/// One place that says something about a topic key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Where.
    pub origin: Origin,
    /// As written there.
    pub written: String,
    /// In the topic key's unit.
    pub value: String,
}

/// Every place that says something about `key`, strongest first, ending with the table's default. Never empty.
pub fn said(settings: &Settings, overrides: &BTreeMap<String, String>, key: &'static Key) -> Vec<Said> {
    assert_eq!(key.scope, Scope::Topic, "{} is not a topic key", key.name);
    let mut said = Vec::new();
    if let Some(own) = overrides.get(key.name) {
        said.push(Said { origin: Origin::Topic, written: own.clone(), value: own.trim().to_owned() });
    }
    for name in key.synonyms {
        let default = lookup::row(Scope::Broker, name).default.map(|default| (Source::Default, default));
        for (source, written) in settings.places(name).chain(default) {
            let value = convert(key.name, name, written);
            said.push(Said { origin: Origin::Broker(name, source), written: written.to_owned(), value });
        }
    }
    // A key set by hand under a weaker name still beats the default of a stronger one.
    said.sort_by_key(|place| matches!(place.origin, Origin::Broker(_, Source::Default)));
    if said.last().is_none_or(|last| !matches!(last.origin, Origin::Broker(_, Source::Default))) {
        let default = key.default.unwrap_or_default().to_owned();
        said.push(Said { origin: Origin::Default, written: default.clone(), value: default });
    }
    said
}

/// The value in force.
pub fn value(settings: &Settings, overrides: &BTreeMap<String, String>, name: &str) -> Said {
    // cannot fail: `said` ends with a default.
    said(settings, overrides, lookup::row(Scope::Topic, name)).swap_remove(0)
}

/// A broker key's text in the unit of a topic key; a negative number means "no limit" in every unit.
fn convert(topic_key: &str, broker_key: &str, written: &str) -> String {
    if !topic_key.ends_with(".ms") {
        return written.to_owned();
    }
    let unit_ms: i64 = match broker_key.rsplit('.').next() {
        Some("hours") => 3_600_000,
        Some("minutes") => 60_000,
        _ => return written.to_owned(),
    };
    match integer(broker_key, written) {
        number if number < 0 => number.to_string(),
        number => number.saturating_mul(unit_ms).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retention(settings: &Settings, own: Option<&str>) -> (String, Origin) {
        let overrides = own.map(|value| ("retention.ms".to_owned(), value.to_owned())).into_iter().collect();
        let said = value(settings, &overrides, "retention.ms");
        (said.value, said.origin)
    }

    #[test]
    fn the_topic_then_ms_then_minutes_then_hours() {
        let mut settings = Settings::default();
        let hours = Origin::Broker("log.retention.hours", Source::Default);
        assert_eq!(retention(&settings, None), ("604800000".into(), hours));
        settings.put(Source::Set, "log.retention.hours", "2").unwrap();
        let hours = Origin::Broker("log.retention.hours", Source::Set);
        assert_eq!(retention(&settings, None), ("7200000".into(), hours));
        settings.put(Source::File, "log.retention.minutes", "3").unwrap();
        let minutes = Origin::Broker("log.retention.minutes", Source::File);
        assert_eq!(retention(&settings, None), ("180000".into(), minutes));
        settings.put(Source::File, "log.retention.ms", "-1").unwrap();
        let ms = Origin::Broker("log.retention.ms", Source::File);
        assert_eq!(retention(&settings, None), ("-1".into(), ms));
        assert_eq!(retention(&settings, Some("5")), ("5".into(), Origin::Topic));
    }

    #[test]
    fn the_two_defaults_of_a_topic_key_agree() {
        for key in lookup::keys(Scope::Topic) {
            let all = said(&Settings::default(), &BTreeMap::new(), key);
            for place in &all {
                assert_eq!(Some(place.value.as_str()), key.default, "{} from {:?}", key.name, place.origin);
            }
        }
    }
}
