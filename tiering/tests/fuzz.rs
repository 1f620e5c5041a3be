//! Replays what the fuzzers found and started from: every file of `fuzz/corpus/<target>/` through its target.
//! And inputs near them, the same in every run; `FIRN_MUTANTS` asks for more. `.ci/fuzz` searches.
//! Invariant: no input makes a target panic.
#![allow(clippy::disallowed_methods, reason = "a test reads its corpus itself")]

#[path = "../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../fuzz/src/replay.rs"]
mod replay;
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use std::path::{Path, PathBuf};

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn run(name: &str, input: &[u8]) {
    targets::named(name)(input);
}
