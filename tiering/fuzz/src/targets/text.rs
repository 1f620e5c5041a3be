//! The small text files of a data directory.
//! Invariant: what is understood is written back to a text that means the same.

use firnline_tiering::epoch::Lineage;
use firnline_tiering::hot::checkpoint::{
    read_clean_shutdown, read_identity, read_offsets, write_clean_shutdown, write_identity, write_offsets,
};
use firnline_tiering::hot::dir::{LogName, is_deleted_dir, parse_file_name};

/// Every text format over the same text.
pub fn checkpoints(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(offsets) = read_offsets(&text) {
        assert_eq!(read_offsets(&write_offsets(&offsets)), Ok(offsets));
    }
    if let Ok(lineage) = Lineage::from_checkpoint(&text) {
        assert_eq!(Lineage::from_checkpoint(&lineage.to_checkpoint()), Ok(lineage));
    }
    if let Ok(identity) = read_identity(&text) {
        assert_eq!(read_identity(&write_identity(&identity)), Ok(identity));
    }
    if let Some(epoch) = read_clean_shutdown(&text) {
        assert_eq!(read_clean_shutdown(&write_clean_shutdown(epoch)), Some(epoch));
    }
    let _ = (parse_file_name(&text), is_deleted_dir(&text));
    if let Some(name) = LogName::parse(&text) {
        assert_eq!(name.to_string(), text);
    }
}
