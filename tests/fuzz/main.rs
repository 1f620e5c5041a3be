//! Replays what the fuzzers found and started from: every file of `corpus/<target>/` through its target.
//! And inputs near them, the same in every run; `FIRN_MUTANTS` asks for more. `.ci/fuzz` searches.
//! Invariant: every target has a binary and a corpus.
#![allow(clippy::disallowed_methods, reason = "a test reads its corpus itself")]

#[path = "../../tiering/fuzz/src/mutate.rs"]
mod mutate;
#[path = "src/targets/mod.rs"]
mod targets;

use std::path::{Path, PathBuf};

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

/// Memory a target may hold at once: no length in an input earns more.
const HELD_MAX: u64 = 64 << 20;

fn run(name: &str, input: &[u8]) {
    let used = allocation_counter::measure(|| targets::named(name)(input));
    let (held, len) = (used.bytes_max, input.len());
    assert!(held < HELD_MAX, "{name} held {held} bytes for {len} bytes of input");
}

/// Every input kept for a target, by name.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let dir = home().join("corpus").join(name);
    let inputs = names(&dir);
    assert!(!inputs.is_empty(), "{name} has no corpus");
    let read = |input: String| {
        let bytes = std::fs::read(dir.join(&input)).expect("a readable input");
        (input, bytes)
    };
    inputs.into_iter().map(read).collect()
}

#[test]
fn every_input_kept_is_survived() {
    for (name, _) in targets::ALL {
        for (input, bytes) in corpus(name) {
            // The name of the input that fails stands in the output before the panic.
            println!("{name}/{input}");
            run(name, &bytes);
        }
    }
}

#[test]
fn inputs_near_those_kept_are_survived() {
    let more: usize = std::env::var("FIRN_MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(20);
    for (name, _) in targets::ALL {
        let corpus = corpus(name);
        let mut mutants = mutate::Mutants::new(7);
        for round in 0..more {
            for (at, (input, bytes)) in corpus.iter().enumerate() {
                let other = &corpus[(at + round + 1) % corpus.len()].1;
                let near = mutants.near(bytes, other);
                let survived = std::panic::catch_unwind(|| run(name, &near));
                assert!(survived.is_ok(), "{name}/{input}, round {round}: {}", near.escape_ascii());
            }
        }
    }
}

#[test]
fn every_target_has_a_binary_and_nothing_else_does() {
    let known: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
    assert!(known.is_sorted());
    let binaries: Vec<String> = known.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&home().join("fuzz_targets")), binaries);
    assert_eq!(names(&home().join("corpus")), known);
    let manifest = std::fs::read_to_string(home().join("Cargo.toml")).expect("a manifest");
    for name in known {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is no binary of the manifest");
    }
}
