//! Replays what the fuzzers found and started from: every file of `fuzz/corpus/<target>/` through its target.
//! Not a search for more: `.ci/fuzz` does that. Invariant: every target has a binary and a corpus.
#![allow(clippy::disallowed_methods, reason = "a test reads its corpus itself")]

#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use std::path::{Path, PathBuf};

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

#[test]
fn every_input_kept_is_survived() {
    for (name, _) in targets::ALL {
        let corpus = home().join("corpus").join(name);
        let inputs = names(&corpus);
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            let bytes = std::fs::read(corpus.join(&input)).expect("a readable input");
            // The name of the input that fails stands in the output before the panic.
            println!("{name}/{input}");
            targets::named(name)(&bytes);
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
