//! Every kept input of every fuzz target through its target, and inputs near them. It searches nothing (`.ci/fuzz`
//! does) and stands in two test binaries, which say where a target's home is and how one is run.
//! Invariant: every target has a binary and a corpus.

use std::path::Path;

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

/// Every input kept for a target, by name.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let dir = crate::home().join("corpus").join(name);
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
    for (name, _) in crate::targets::ALL {
        for (input, bytes) in corpus(name) {
            // The name of the input that fails stands in the output before the panic.
            println!("{name}/{input}");
            crate::run(name, &bytes);
        }
    }
}

#[test]
fn inputs_near_those_kept_are_survived() {
    let more: usize = std::env::var("FIRN_MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(20);
    for (name, _) in crate::targets::ALL {
        let corpus = corpus(name);
        let mut mutants = crate::mutate::Mutants::new(7);
        for round in 0..more {
            for (at, (input, bytes)) in corpus.iter().enumerate() {
                let other = &corpus[(at + round + 1) % corpus.len()].1;
                let near = mutants.near(bytes, other);
                let survived = std::panic::catch_unwind(|| crate::run(name, &near));
                assert!(survived.is_ok(), "{name}/{input}, round {round}: {}", near.escape_ascii());
            }
        }
    }
}

#[test]
fn every_target_has_a_binary_and_nothing_else_does() {
    let known: Vec<&str> = crate::targets::ALL.iter().map(|(name, _)| *name).collect();
    assert!(known.is_sorted());
    let binaries: Vec<String> = known.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&crate::home().join("fuzz_targets")), binaries);
    assert_eq!(names(&crate::home().join("corpus")), known);
    let manifest = std::fs::read_to_string(crate::home().join("Cargo.toml")).expect("a manifest");
    for name in known {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is no binary of the manifest");
    }
}
