//! docs/protocol.md, generated from the version table: which APIs we speak, and who has proven it.
//! It is prose for people; nothing reads it back. Invariant, tested: the page in the repository is this one.
use std::fmt::Write;

use crate::wire::api_key::{Api, TABLE};

const HEAD: &str = "\
# Protocol

Which of Kafka's APIs Firnline speaks, in which versions. This page is generated from the version table
(`src/wire/api_key.rs`), which also answers ApiVersions: `FIRN_BLESS=1 cargo test --lib wire::page` writes it.

A request with an unknown key, or with a version outside its row, closes the connection with one log line, as in
Kafka; ApiVersions is answered in any version. Produce is advertised from 0 because librdkafka before 2.11.1 stops
compressing otherwise (KAFKA-18659); 0 to 2 are refused with UNSUPPORTED_VERSION when sent. *Flexible* is the first
version with compact encodings and tagged fields (KIP-482). *Test* is the test that sends every version of the row to
a running broker. *Outside clients* are those that have spoken it with Firnline, with the versions they used: librdkafka
in kcat 1.7.1 and confluent-kafka 2.16.1, Java in the command-line tools of Kafka 4.3.1.

| key | name | versions | flexible | what for | test | outside clients |
|----:|------|----------|---------:|----------|------|-----------------|
";

/// The page.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for api in TABLE {
        let Api { key, name, min, max, flexible_from, doc, test, outside } = *api;
        let outside = if outside.is_empty() { "none yet" } else { outside };
        // cannot fail: writing to a string.
        let _ = writeln!(
            page,
            "| {} | {name} | {min}-{max} | {flexible_from} | {doc} | `{test}` | {outside} |",
            key.code()
        );
    }
    page
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test reads the repository it was built from")]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn repository() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn the_page_in_the_repository_is_this_one() {
        let path = repository().join("docs/protocol.md");
        if std::env::var_os("FIRN_BLESS").is_some() {
            std::fs::write(&path, markdown()).expect("docs/protocol.md is writable");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == markdown(), "out of date: FIRN_BLESS=1 cargo test --lib wire::page");
    }

    #[test]
    fn every_row_names_a_test_that_exists() {
        for api in TABLE {
            let (module, function) = api.test.rsplit_once("::").unwrap_or(("", ""));
            let path = repository().join("tests/it").join(module.replace("::", "/")).with_extension("rs");
            let source = std::fs::read_to_string(&path).unwrap_or_default();
            let needle = format!("fn {function}()");
            assert!(source.contains(&needle), "{}: no test {} in {}", api.name, api.test, path.display());
        }
    }

    #[test]
    fn rows_are_sorted_and_say_what_they_are_for() {
        assert!(TABLE.is_sorted_by_key(|api| api.key.code()), "lookups search the table");
        for api in TABLE {
            assert!(api.min <= api.max && api.flexible_from >= 0 && api.doc.ends_with('.'), "{api:?}");
            assert_eq!(format!("{:?}", api.key), api.name);
        }
    }
}
