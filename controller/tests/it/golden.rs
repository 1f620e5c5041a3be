//! Golden files: bytes that were once written must be read, and written again, for ever.
//! `FIRN_WRITE_FIXTURES=1` writes the missing ones; one that exists is never overwritten.
#![allow(clippy::disallowed_methods, reason = "fixtures are the test's own files")]

use std::path::Path;

/// The bytes of `tests/fixtures/<name>`, after comparing them with what is written today.
pub fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    if !path.exists() && std::env::var_os("FIRN_WRITE_FIXTURES").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        std::fs::write(&path, written).expect("a writable fixture");
    }
    let stored = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(
        stored == written,
        "{name}: the format changed: {} bytes stored, {} written",
        stored.len(),
        written.len()
    );
    stored
}
