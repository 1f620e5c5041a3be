//! The bodies of the fuzz targets: plain functions over bytes nobody vouches for. Each returns if the bytes were
//! accepted or refused as they should be, and panics otherwise.
//! Invariant: a target depends on its input alone, so that a find is found again.

mod batch;
mod cold;
mod log;
mod memory;
mod producers;
mod seal;
mod text;
mod transactions;

/// One target.
pub type Target = fn(&[u8]);

/// Every target by the name of its binary and its corpus, sorted.
pub const ALL: &[(&str, Target)] = &[
    ("batch_validate", batch::validated),
    ("checkpoints", text::checkpoints),
    ("decompress_gzip", batch::gzip),
    ("decompress_lz4", batch::lz4),
    ("decompress_snappy", batch::snappy),
    ("decompress_zstd", batch::zstd),
    ("entry", cold::entry),
    ("footer", cold::footer),
    ("index_files", log::index_files),
    ("manifest", cold::manifest),
    ("producer_files", log::producer_files),
    ("producer_snapshot", producers::snapshots),
    ("records", batch::records),
    ("scan", cold::scan),
    ("segment_recovery", log::segment_recovery),
    ("tier", cold::tier),
    ("transaction_index", transactions::transaction_index),
];

/// The target of this name.
///
/// # Panics
/// If there is none.
pub fn named(name: &str) -> Target {
    let found = ALL.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no target is named {name}")).1
}
