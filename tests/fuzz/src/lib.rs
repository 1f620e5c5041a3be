//! What the fuzz binaries call: the targets by name. The targets themselves are ordinary code in `targets/`, shared
//! with the corpus replay in `tests/fuzz/main.rs`. Invariant: every target has a binary of its name.

pub mod targets;

/// Runs the target of this name.
pub fn run(name: &str, data: &[u8]) {
    targets::named(name)(data);
}
