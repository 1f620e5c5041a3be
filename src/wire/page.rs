//! docs/protocol.md, generated from the version table and from the evidence that `tests/outside/run` wrote: which
//! APIs we speak, and who has proven it. It is prose for people; nothing reads it back.
//! Invariants, tested: the page in the repository is this one; what is advertised is what the evidence holds.
use std::fmt::Write;

use crate::wire::api_key::{Api, TABLE};

/// One line of the evidence: an outside client spoke these versions of a key, and the answers were right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// The key's code.
    pub key: i16,
    /// Lowest version spoken.
    pub min: i16,
    /// Highest version spoken; all between were spoken too.
    pub max: i16,
    /// The client and its version.
    pub client: String,
}

/// The evidence's lines: `KEY NAME MIN-MAX CLIENT`, with `#` before remarks. The first line that is none is the error.
pub fn spoken(evidence: &str) -> Result<Vec<Spoken>, String> {
    let lines = evidence.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| spoken_in(line).ok_or_else(|| format!("not a line of evidence: {line:?}"))).collect()
}

fn spoken_in(line: &str) -> Option<Spoken> {
    let mut words = line.split_whitespace();
    let key = words.next()?.parse().ok()?;
    let _name = words.next()?;
    let (min, max) = words.next()?.split_once('-')?;
    let client = words.collect::<Vec<_>>().join(" ");
    let spoken = Spoken { key, min: min.parse().ok()?, max: max.parse().ok()?, client };
    (spoken.min <= spoken.max && !spoken.client.is_empty()).then_some(spoken)
}

const HEAD: &str = "\
# Protocol

Which of Kafka's APIs Firnline speaks, in which versions. This page is generated from the version table
(`src/wire/api_key.rs`), which also answers ApiVersions: `FIRN_BLESS=1 cargo test --lib wire::page` writes it.

A request with an unknown key, or with a version outside its row, closes the connection with one log line, as in
Kafka; ApiVersions is answered in any version. Produce is advertised from 0 because librdkafka before 2.11.1 stops
compressing otherwise (KAFKA-18659); 0 to 2 are refused with UNSUPPORTED_VERSION when sent. *Flexible* is the first
version with compact encodings and tagged fields (KIP-482). *Test* is the test that sends every version of the row to
a running broker. *Outside clients* are those that have spoken it with Firnline, with the versions they used: librdkafka
in kcat 1.7.1 and confluent-kafka 2.16.1, Java in the command-line tools of Kafka 4.3.1, and franz-go in
[tests/outside](../tests/outside/README.md), which speaks every version there is and checks the answers. A version that
is not in its evidence (`tests/outside/versions/spoken.txt`) must not be advertised: a test says so.

| key | name | versions | flexible | what for | test | outside clients |
|----:|------|----------|---------:|----------|------|-----------------|
";

/// The page, with what was spoken beside what is advertised.
pub fn markdown(evidence: &[Spoken]) -> String {
    let mut page = HEAD.to_owned();
    for api in TABLE {
        let Api { key, name, min, max, flexible_from, doc, test, outside } = *api;
        let outside = clients(key.code(), outside, evidence);
        let flexible = if flexible_from > max { "-".to_owned() } else { flexible_from.to_string() };
        // cannot fail: writing to a string.
        let _ = writeln!(
            page,
            "| {} | {name} | {min}-{max} | {flexible} | {doc} | `{test}` | {outside} |",
            key.code()
        );
    }
    page
}

/// Every client that spoke this key, with the versions it spoke.
fn clients(key: i16, others: &str, evidence: &[Spoken]) -> String {
    let others = (!others.is_empty()).then(|| others.to_owned());
    let ours = evidence.iter().filter(|spoken| spoken.key == key);
    let ours = ours.map(|spoken| format!("{} {}-{}", spoken.client, spoken.min, spoken.max));
    let all: Vec<_> = others.into_iter().chain(ours).collect();
    if all.is_empty() { "none yet".to_owned() } else { all.join("; ") }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test reads the repository it was built from")]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn repository() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
    }

    fn evidence() -> Vec<Spoken> {
        let path = repository().join("tests/outside/versions/spoken.txt");
        let text = std::fs::read_to_string(path).expect("tests/outside/run writes it");
        spoken(&text).expect("evidence")
    }

    #[test]
    fn the_page_in_the_repository_is_this_one() {
        let path = repository().join("docs/protocol.md");
        let page = markdown(&evidence());
        if std::env::var_os("FIRN_BLESS").is_some() {
            std::fs::write(&path, &page).expect("docs/protocol.md is writable");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == page, "out of date: FIRN_BLESS=1 cargo test --lib wire::page");
    }

    /// Rows of the version table whose versions are not what one client spoke.
    fn unproven(table: &[Api], evidence: &[Spoken]) -> Vec<String> {
        let proven = |api: &&Api| {
            let mut of_key = evidence.iter().filter(|spoken| spoken.key == api.key.code());
            of_key.any(|spoken| (spoken.min, spoken.max) == (api.min, api.max))
        };
        let rows = table.iter().filter(|api| !proven(api));
        rows.map(|api| format!("{} {}-{}", api.name, api.min, api.max)).collect()
    }

    #[test]
    fn everything_advertised_was_spoken_by_an_outside_client() {
        let evidence = evidence();
        let unproven = unproven(TABLE, &evidence);
        assert!(unproven.is_empty(), "speak it first (tests/outside/run): {unproven:?}");
        let known = |spoken: &Spoken| TABLE.iter().any(|api| api.key.code() == spoken.key);
        assert!(evidence.iter().all(known), "evidence for a key that is not advertised: run it again");
    }

    #[test]
    fn a_version_that_nobody_spoke_is_found() {
        let evidence = evidence();
        let fetch = *TABLE.iter().find(|api| api.name == "Fetch").expect("a row");
        let raised = Api { max: fetch.max + 1, ..fetch };
        assert_eq!(unproven(&[fetch, raised], &evidence), [format!("Fetch {}-{}", fetch.min, fetch.max + 1)]);
        assert_eq!(unproven(TABLE, &[]).len(), TABLE.len());
    }

    #[test]
    fn lines_that_are_no_evidence_are_refused() {
        let one = Spoken { key: 3, min: 0, max: 13, client: "franz-go v1".to_owned() };
        assert_eq!(spoken("# remark\n3   Metadata  0-13  franz-go v1\n"), Ok(vec![one]));
        for line in ["x Metadata 0-13 c", "3 Metadata 13-0 c", "3 Metadata 13 c", "3 Metadata 0-13", "3", ""]
        {
            assert!(spoken(&format!("{line}\n")).is_err(), "{line:?}");
        }
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
