//! Replays what the fuzzers found and started from: every file of `corpus/<target>/` through its target.
//! And inputs near them, the same in every run; `FIRN_MUTANTS` asks for more. `.ci/fuzz` searches.
//! Invariant: no input makes a target hold more memory than its bound.
#![allow(clippy::disallowed_methods, reason = "a test reads its corpus itself")]

#[path = "../../tiering/fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../tiering/fuzz/src/replay.rs"]
mod replay;
#[path = "src/targets/mod.rs"]
mod targets;

use std::path::{Path, PathBuf};

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// Memory a target may hold at once: no length in an input earns more.
const HELD_MAX: u64 = 64 << 20;

fn run(name: &str, input: &[u8]) {
    let used = allocation_counter::measure(|| targets::named(name)(input));
    let (held, len) = (used.bytes_max, input.len());
    assert!(held < HELD_MAX, "{name} held {held} bytes for {len} bytes of input");
}
