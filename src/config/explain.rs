//! The table as prose: what `firn config explain KEY` prints, and docs/configuration.md.
//! Both are pure text made from the table alone; a test compares the page with the file in the repository.

use std::fmt::Write as _;

use crate::config::key::{Key, Scope, Stance};
use crate::config::table::lookup::{self, SECTIONS};

/// What the table says about `name`, as topic and as broker key; the error suggests a name.
pub fn explain(name: &str) -> Result<String, String> {
    let mut text = String::new();
    for scope in [Scope::Topic, Scope::Broker] {
        if let Some(key) = lookup::find(scope, name) {
            if !text.is_empty() {
                text.push('\n');
            }
            paragraph(&mut text, name, key);
        }
    }
    if !text.is_empty() {
        return Ok(text);
    }
    let hints = [Scope::Broker, Scope::Topic].map(|scope| lookup::hint(scope, name));
    let hint = hints.into_iter().find(|hint| !hint.is_empty()).unwrap_or_default();
    Err(format!("there is no configuration key named {name}{hint}"))
}

fn paragraph(text: &mut String, name: &str, key: &Key) {
    let mut line = |label: &str, value: &str| _ = writeln!(text, "  {label:<9}{value}");
    let family = if key.is_family() { format!(" (one of {})", key.name) } else { String::new() };
    line("key", &format!("{name}, a {} config{family}", key.scope.word()));
    line("does", key.doc);
    line("type", &key.kind.to_string());
    if !key.kind.range().is_empty() {
        line("values", &key.kind.range());
    }
    line("default", default(key));
    if !key.synonyms.is_empty() {
        line("falls to", &key.synonyms.join(", then "));
    }
    let topics: Vec<&str> = topic_keys_of(key).collect();
    if !topics.is_empty() {
        line("sets", &format!("the default of topics' {}", topics.join(", ")));
    }
    line("changes", if key.dynamic { "while running" } else { "at start only" });
    line("we", &stance(key));
}

/// The topic keys that a broker key gives a default to.
fn topic_keys_of(key: &Key) -> impl Iterator<Item = &'static str> {
    let name = if key.scope == Scope::Broker { key.name } else { "" };
    lookup::keys(Scope::Topic).filter(move |topic| topic.synonyms.contains(&name)).map(|topic| topic.name)
}

fn default(key: &Key) -> &'static str {
    match key.default {
        None => "none",
        Some("") => "empty",
        Some(text) => text,
    }
}

fn stance(key: &Key) -> String {
    match key.stance {
        Stance::Acted => "act on it".to_owned(),
        Stance::Accepted(why) => format!("accept it and do not act on it: {why}"),
        Stance::DefaultOnly(missing) => format!("accept its default only: {missing}"),
        Stance::Refused(missing) => format!("refuse it: {missing}"),
    }
}

const HEAD: &str = "\
# Configuration

<!-- Written by a test from src/config/table/: change a row there, then run
     FIRN_BLESS=1 cargo test --lib config::explain -->

A value comes from, weakest first: the default, the properties file (`firn server --config FILE`), `KAFKA_*` and
`FIRN_*` variables, `--set key=value`, and what an administrator altered while running. A variable spells a key in
capitals with `_` for a dot, `__` for an underscore and `___` for a dash: `KAFKA_LOG_RETENTION_MS`, `FIRN_REMOTE_URL`
(for `firn.remote.url`).

An unknown key in a file or in `--set` is refused with a suggestion; an unknown variable is warned about. In the tables
below, **no** means accepted so that an existing file loads, named once at start, and not acted on; **default only** and
**refused** mark keys that would promise what is not built yet. Keys with `yes` under *live* can be altered while the
broker runs.
";

/// docs/configuration.md.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for section in SECTIONS {
        let _ = write!(page, "\n## {}\n\n", section.title);
        page.push_str("| Key | Type | Default | Values | Live | Acted on | What it does |\n|---|---|---|---|---|---|---|\n");
        for key in section.keys {
            page.push_str(&row(key));
        }
    }
    page
}

fn row(key: &Key) -> String {
    let default =
        key.default.map(|text| if text.is_empty() { "empty".to_owned() } else { format!("`{text}`") });
    let mut doc = key.doc.to_owned();
    if !key.synonyms.is_empty() {
        let names: Vec<String> = key.synonyms.iter().map(|name| format!("`{name}`")).collect();
        let _ = write!(doc, " Default from {}.", names.join(", "));
    }
    let acted = match key.stance {
        Stance::Acted => "yes".to_owned(),
        Stance::Accepted(why) => format!("**no**: {why}"),
        Stance::DefaultOnly(missing) => format!("**default only**: {missing}"),
        Stance::Refused(missing) => format!("**refused**: {missing}"),
    };
    let live = if key.dynamic { "yes" } else { "" };
    let (name, kind, range) = (key.name, key.kind.name().to_lowercase(), key.kind.range());
    format!("| `{name}` | {kind} | {} | {range} | {live} | {acted} | {doc} |\n", default.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_explained_in_every_role() {
        let expected = "\
  key      retention.ms, a topic config
  does     Age at which records go, from disk and bucket; -1 keeps them for ever.
  type     LONG
  values   at least -1
  default  604800000
  falls to log.retention.ms, then log.retention.minutes, then log.retention.hours
  changes  while running
  we       act on it
";
        assert_eq!(explain("retention.ms").unwrap(), format!("  {expected}"));
        let both = explain("min.insync.replicas").unwrap();
        assert!(both.contains("a topic config") && both.contains("a broker config"), "{both}");
        let refused = explain("ssl.keystore.location").unwrap();
        assert!(refused.contains("(one of ssl.*)") && refused.contains("refuse it: TLS, SASL"), "{refused}");
        assert_eq!(
            explain("firn.remote.uri").unwrap_err(),
            "there is no configuration key named firn.remote.uri (did you mean firn.remote.url?)"
        );
    }

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "a test reads and, when asked, writes a page of the repository"
    )]
    fn the_reference_page_is_true() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let page = reference();
        if std::env::var_os("FIRN_BLESS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == page,
            "docs/configuration.md is out of date: FIRN_BLESS=1 cargo test --lib config::explain"
        );
    }
}
