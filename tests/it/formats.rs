//! Every name we write has its line in docs/formats.md, and every format there its golden file. The names come from
//! a broker that has done everything: topics, groups, offload, manifests, cold reads, deletion, a crash.
//! The page is the list; nothing here knows a name of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use firnline_tiering::batch::builder::BatchBuilder;

use crate::harness::asks::{LATEST_TIERED, production};
use crate::harness::broker::TestBroker;
use crate::harness::bucket::{Fault, Rule, Verb};
use crate::harness::records::batch;
use crate::harness::tier::Scene;
use crate::harness::wait::until;

/// A line of the page.
#[derive(Debug, Clone)]
struct Line {
    name: String,
    drawn: String,
    golden: String,
}

/// The page: its section's title → lines.
fn page() -> Vec<(String, Vec<Line>)> {
    let text = std::fs::read_to_string(root().join("docs/formats.md")).expect("docs/formats.md");
    let mut sections: Vec<(String, Vec<Line>)> = Vec::new();
    for row in text.lines() {
        if let Some(title) = row.strip_prefix("##") {
            sections.push((title.trim_start_matches('#').trim().to_owned(), Vec::new()));
        }
        let cells: Vec<&str> =
            row.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
        if let ([name, _, _, drawn, golden], Some((_, lines))) = (&cells[..], sections.last_mut())
            && row.starts_with("| ")
            && !["name", "inside", "---"].contains(name)
        {
            let [name, drawn, golden] = [name, drawn, golden].map(|cell| (*cell).to_owned());
            lines.push(Line { name, drawn, golden });
        }
    }
    sections
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn lines(titles: &[&str]) -> Vec<Line> {
    let sections = page();
    for title in titles {
        assert!(sections.iter().any(|(found, _)| found == title), "docs/formats.md has no section {title:?}");
    }
    sections
        .into_iter()
        .filter(|(title, _)| titles.contains(&title.as_str()))
        .flat_map(|(_, lines)| lines)
        .collect()
}

fn of_directory() -> Vec<Line> {
    lines(&["A data directory (one entry of `log.dirs`)", "The quorum, in the first of `log.dirs`"])
}

fn of_bucket() -> Vec<Line> {
    lines(&["A bucket (below the prefix of `firn.remote.url`)"])
}

/// How many bytes of `text` a placeholder may take: every length that fits.
fn lengths(placeholder: &str, text: &str, known: &[Line]) -> Vec<usize> {
    let run = |fits: fn(u8) -> bool| text.bytes().take_while(|byte| fits(*byte)).count();
    let exactly = |count: usize, fits: fn(u8) -> bool| if run(fits) >= count { vec![count] } else { vec![] };
    let digit = |byte: u8| byte.is_ascii_digit();
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match placeholder {
        "offset" => exactly(20, digit),
        "term" => exactly(10, digit),
        "number" => (1..=run(digit)).collect(),
        "uuid" => exactly(36, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')),
        "hex" => exactly(32, hex),
        "topic-id" => exactly(22, base64url),
        "topic" | "cluster-id" => (1..=run(legal)).collect(),
        // Another file's name: the last step of some line's, whichever directory that is in.
        "name" => (1..=text.find('/').unwrap_or(text.len()))
            .filter(|len| {
                let plain = known.iter().map(|line| line.name.rsplit('/').next().unwrap_or_default());
                plain.filter(|name| !name.contains("<name>")).any(|name| matches(name, &text[..*len], known))
            })
            .collect(),
        other => panic!("docs/formats.md uses <{other}>, which it does not explain"),
    }
}

/// Whether a line's name stands for `text`.
fn matches(name: &str, text: &str, known: &[Line]) -> bool {
    let Some((literal, rest)) = name.split_once('<') else { return name == text };
    let Some(text) = text.strip_prefix(literal) else { return false };
    let (placeholder, rest) = rest.split_once('>').expect("a closed placeholder");
    lengths(placeholder, text, known).into_iter().any(|len| matches(rest, &text[len..], known))
}

/// Names without a line.
fn strangers(found: &BTreeSet<String>, known: &[Line]) -> Vec<String> {
    found.iter().filter(|text| !known.iter().any(|line| matches(&line.name, text, known))).cloned().collect()
}

/// All files below `dir`, as relative paths.
fn files(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        // A file or directory may go while it is looked at.
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() {
                open.push(path);
            } else {
                let relative = path.strip_prefix(dir).expect("below the directory");
                found.insert(relative.to_str().expect("our names are ASCII").to_owned());
            }
        }
    }
    found
}

/// What the whole flow left behind at any of its stages.
#[derive(Default)]
struct Seen {
    disk: BTreeSet<String>,
    bucket: BTreeSet<String>,
}

impl Seen {
    async fn look(&mut self, broker: &TestBroker) {
        self.disk.extend(files(&broker.data_dir()));
        self.bucket.extend(broker.bucket.keys().await);
    }
}

#[tokio::test]
async fn every_name_on_disk_and_in_the_bucket_has_its_line() {
    // A disk cache, and files that linger long enough to be seen.
    let set = ["firn.cache.disk.bytes=33554432", "log.segment.delete.delay.ms=600000"];
    let mut broker = TestBroker::with(&set).await;
    let mut seen = Seen::default();
    let mut client = broker.client().await;
    let scene = Scene::write(&mut client, "all-of.it_0", 1, 17 * 16).await;
    // An upload that is announced and refused leaves its intent.
    broker.bucket.plant(Rule::new(Verb::Put, ".firn", Fault::Refuse));
    client.create("second", 1, crate::harness::asks::COLD).await;
    let mut builder = BatchBuilder::new().producer(7, 0, 0);
    builder.push(0, Some(b"k"), Some(b"v"), &[]);
    client.append("second", 0, builder.build()).await;
    for batch in &scene.sent[..20] {
        client.append("second", 0, batch.clone()).await;
    }
    until("an intent is open", async || {
        seen.look(&broker).await;
        seen.disk.iter().any(|name| name.starts_with("firn-intents/") && name.ends_with(".intent"))
    })
    .await;
    broker.bucket.heal();
    scene.settle(&mut client, 0).await;
    until("a manifest is there", async || {
        seen.look(&broker).await;
        seen.bucket.iter().any(|key| key.contains("/manifest-"))
    })
    .await;
    // Cold reads open the disk cache; a group makes its topic; a deleted topic lingers.
    scene.check(&mut client, 0, 0, scene.end()).await;
    let find = kafka_protocol::messages::FindCoordinatorRequest::default()
        .with_key(crate::harness::asks::text("readers"))
        .with_key_type(0);
    until("groups have their topic", async || client.call(2, &find).await.unwrap().error_code == 0).await;
    // An active segment that grows is noted.
    client.create("growing", 1, &[]).await;
    let long = "x".repeat(300_000);
    client.call(9, &production("growing", 1, vec![(0, batch(&[&long]))])).await.unwrap();
    until("its end is noted", async || {
        seen.look(&broker).await;
        seen.disk.iter().any(|name| name.ends_with("/tip-note"))
    })
    .await;
    client.create("short-lived", 1, &[]).await;
    client.call(9, &production("short-lived", 1, vec![(0, batch(&["x"]))])).await.unwrap();
    assert_eq!(client.delete("short-lived").await, 0);
    until("its directory is on its way out", async || {
        seen.look(&broker).await;
        seen.disk.iter().any(|name| name.contains("-delete/"))
    })
    .await;
    assert!(client.offset("all-of.it_0", 0, LATEST_TIERED).await > 0);
    broker.stop().await;
    seen.look(&broker).await;
    broker.revive().await;
    seen.look(&broker).await;
    broker.kill();
    seen.look(&broker).await;

    assert_eq!(strangers(&seen.disk, &of_directory()), [""; 0], "files without a line in docs/formats.md");
    assert_eq!(strangers(&seen.bucket, &of_bucket()), [""; 0], "objects without a line in docs/formats.md");
    assert_met(&seen);
}

/// The flow met what it was made to meet: a list of nothing would have no strangers.
fn assert_met(seen: &Seen) {
    let rare = [
        "snapshot.building",
        "snapshot.receiving",
        "-<term>.snapshot",
        "purged",
        ".tmp",
        ".cleaned",
        ".swap",
        "cleaner-offset-checkpoint",
        // Clients' transactions are refused so far.
        ".txnindex",
        "leaf-",
        "probe",
        // Several voters make it, or an operator who names them (`roles.rs`).
        "founding",
        // `log_moves.rs` makes them.
        "/.moved",
        "-future/",
    ];
    let met = |known: &[Line], found: &BTreeSet<String>| {
        for line in known.iter().filter(|line| !rare.iter().any(|rare| line.name.contains(rare))) {
            assert!(
                found.iter().any(|text| matches(&line.name, text, known)),
                "the flow never met {}",
                line.name
            );
        }
    };
    met(&of_directory(), &seen.disk);
    met(&of_bucket(), &seen.bucket);
}

/// The folders of golden files, relative to the repository, two steps below each `tests/fixtures`.
fn golden_folders() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for home in
        ["tests/fixtures", "tiering/tests/fixtures", "controller/tests/fixtures", "cache/tests/fixtures"]
    {
        // What a real Kafka wrote is no format of ours.
        for file in files(&root().join(home)).into_iter().filter(|file| !file.starts_with("kafka-")) {
            let folder = PathBuf::from(home).join(&file);
            found.insert(folder.parent().and_then(Path::to_str).expect("a folder").to_owned());
        }
    }
    found
}

#[test]
fn every_format_has_its_golden_file_and_its_byte_box() {
    let golden = golden_folders();
    let all: Vec<Line> = page().into_iter().flat_map(|(_, lines)| lines).collect();
    assert!(all.len() > 30, "{} lines were read", all.len());
    let without = ["as `<name>", "as `<name>`", "empty", "not ours", "random bytes"];
    for line in &all {
        assert!(
            root().join(&line.drawn).is_file(),
            "{}: drawn in {}, which is not there",
            line.name,
            line.drawn
        );
        let known = golden.contains(&line.golden) || without.contains(&line.golden.as_str());
        assert!(known, "{}: no golden file in {}", line.name, line.golden);
    }
    let named: BTreeSet<String> = all.into_iter().map(|line| line.golden).collect();
    let orphans: Vec<_> = golden.difference(&named).collect();
    assert!(orphans.is_empty(), "golden files without a line in docs/formats.md: {orphans:?}");
}

#[test]
fn a_name_without_a_line_is_found() {
    let known = of_directory();
    let planted = [
        "00000000000000000000.log",
        "a-0/00000000000000000000.logs",
        "a-0/0.log",
        "a-0/00000000000000000000.log.bak",
        "a/00000000000000000000.log",
        "a-0/core",
        "vote",
        "__cluster_metadata-0/notes",
        "a-0.0123456789abcdef0123456789abcdef-delete/core",
    ];
    let found: BTreeSet<String> = planted.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(strangers(&found, &known), found.into_iter().collect::<Vec<_>>());
    let ours = [
        "a-0/00000000000000000000.log",
        "a.b_c-d-12/00000000000000000042.timeindex.deleted",
        "a-0.0123456789abcdef0123456789abcdef-delete/leader-epoch-checkpoint",
        "meta.properties.tmp",
        "__cluster_metadata-0/vote.tmp",
    ];
    let ours = ours.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(strangers(&ours, &known), [""; 0]);
}
