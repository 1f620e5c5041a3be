//! The sections of the table in the order of the reference page, and the search by name.
//! The one place that lists every file of the table; a name is looked up exactly first, then by family.

use std::fmt::Write as _;

use crate::config::key::{Key, Scope};
use crate::config::table::{groups, later, log, node, ours, remote, replication, topic};

/// A titled part of the table.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Heading on the reference page.
    pub title: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// The whole table.
pub const SECTIONS: &[Section] = &[
    Section { title: "Topic", keys: topic::TOPIC },
    Section { title: "Broker: identity", keys: node::IDENTITY },
    Section { title: "Broker: network", keys: node::NETWORK },
    Section { title: "Broker: quorum", keys: node::QUORUM },
    Section { title: "Broker: topics", keys: log::TOPICS },
    Section { title: "Broker: log", keys: log::LOG },
    Section { title: "Broker: compaction", keys: log::CLEANER },
    Section { title: "Broker: replication", keys: replication::REPLICATION },
    Section { title: "Broker: remote tier, by Kafka's names", keys: remote::REMOTE },
    Section { title: "Broker: our own", keys: ours::OURS },
    Section { title: "Broker: groups", keys: groups::GROUPS },
    Section { title: "Broker: transactions", keys: groups::TRANSACTIONS },
    Section { title: "Broker: security", keys: later::SECURITY },
    Section { title: "Broker: everything else", keys: later::ACCEPTED },
];

/// Every row, in table order.
pub fn keys(scope: Scope) -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys).filter(move |key| key.scope == scope)
}

/// The row of `name`: its own, else the longest family that covers it.
pub fn find(scope: Scope, name: &str) -> Option<&'static Key> {
    let covering = keys(scope).filter(|key| key.covers(name));
    covering.max_by_key(|key| (!key.is_family(), key.name.len()))
}

/// The row of a key the program itself names.
///
/// # Panics
/// When the table has no such row: a misspelt name in our own source, found by the first test that reads it.
pub fn row(scope: Scope, name: &str) -> &'static Key {
    match find(scope, name) {
        Some(key) => key,
        None => panic!("the table of keys has no {} key {name:?}", scope.word()),
    }
}

/// ` (did you mean ...?)` for a name the table does not know, or nothing when nothing is near.
pub fn hint(scope: Scope, name: &str) -> String {
    let mut hint = String::new();
    let elsewhere = match scope {
        Scope::Broker => Scope::Topic,
        Scope::Topic => Scope::Broker,
    };
    if let Some(other) = keys(elsewhere).find(|key| key.name == name) {
        let _ = match (scope, other.synonyms.first()) {
            (Scope::Broker, Some(default)) => {
                write!(hint, " (that is a topic config; its default for all topics is {default})")
            }
            _ => write!(hint, " (that is a {} config)", elsewhere.word()),
        };
        return hint;
    }
    if let Some(near) = nearest(scope, name) {
        let _ = write!(hint, " (did you mean {near}?)");
    }
    hint
}

/// The known name nearest to `name`, when at most a quarter of its letters differ.
fn nearest(scope: Scope, name: &str) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let candidates = keys(scope).filter(|key| !key.is_family());
    let scored = candidates.map(|key| (strsim::damerau_levenshtein(name, key.name), key.name));
    scored.min().filter(|(distance, near)| *distance <= (near.len() / 4).max(2)).map(|(_, near)| near)
}

/// Longer names are not compared: the cost grows with the square of the length.
const NAME_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::key::Stance;

    #[test]
    fn every_key_stands_once_and_passes_its_own_check() {
        let mut seen = BTreeSet::new();
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            assert!(seen.insert((key.scope, key.name)), "{} stands twice", key.name);
            assert!(key.doc.ends_with('.'), "{} needs a sentence", key.name);
            if let Some(default) = key.default {
                assert_eq!(key.kind.check(default), Ok(default), "default of {}", key.name);
            }
            if matches!(key.stance, Stance::DefaultOnly(_)) {
                assert!(key.default.is_some(), "{} has no default to be accepted at", key.name);
            }
            for synonym in key.synonyms {
                let row = find(Scope::Broker, synonym).expect(synonym);
                assert!(!row.is_family(), "{synonym}");
            }
        }
        assert!(seen.len() > 250, "{}", seen.len());
    }

    #[test]
    fn a_family_gives_way_to_a_key_of_its_own() {
        assert_eq!(find(Scope::Broker, "group.consumer.max.size").unwrap().name, "group.consumer.max.size");
        assert_eq!(find(Scope::Broker, "group.consumer.migration.policy").unwrap().name, "group.consumer.*");
        assert_eq!(
            find(Scope::Broker, "rsm.config.encryption.enabled").unwrap().name,
            "rsm.config.encryption.*"
        );
        assert_eq!(find(Scope::Broker, "rsm.config.chunk.size").unwrap().name, "rsm.config.*");
        assert!(find(Scope::Topic, "log.retention.ms").is_none());
    }

    #[test]
    fn unknown_names_get_a_hint() {
        assert_eq!(hint(Scope::Broker, "log.retention.mss"), " (did you mean log.retention.ms?)");
        assert_eq!(hint(Scope::Broker, "advertized.listener"), " (did you mean advertised.listeners?)");
        assert_eq!(hint(Scope::Topic, "retenton.ms"), " (did you mean retention.ms?)");
        assert_eq!(
            hint(Scope::Broker, "retention.ms"),
            " (that is a topic config; its default for all topics is log.retention.ms)"
        );
        assert_eq!(hint(Scope::Topic, "log.dirs"), " (that is a broker config)");
        assert_eq!(hint(Scope::Broker, "colour"), "");
    }
}
