//! The bodies of the fuzz targets: plain functions over bytes nobody vouches for. Each returns if the bytes were
//! accepted or refused as they should be, and panics otherwise.
//! Invariant: a target depends on its input alone, so that a find is found again.

mod records;
mod wire;

/// One target.
pub type Target = fn(&[u8]);

/// Every target by the name of its binary and its corpus, sorted.
pub const ALL: &[(&str, Target)] = &[
    ("frames", wire::frames),
    ("group_records", records::groups),
    ("metadata_entry", records::metadata),
    ("properties", records::properties),
    ("request", wire::request),
];

/// The target of this name.
///
/// # Panics
/// If there is none.
pub fn named(name: &str) -> Target {
    let found = ALL.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no target is named {name}")).1
}
