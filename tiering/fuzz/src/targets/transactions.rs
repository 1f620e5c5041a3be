//! Kafka's `.txnindex`, and how a reader finds the aborted transactions of a range in it.
//! Invariants: what decodes is written back byte for byte, and memory and file tell the same.

use std::path::Path;

use firnline_tiering::hot::file::{Files, OpenMode};
use firnline_tiering::hot::transactions::{AbortedTransaction, TXN_ENTRY, TransactionIndex, decode, encode};
use firnline_tiering::offsets::Offset;

use super::memory::MemoryFiles;

/// Byte 0: the segment's base, and (bit 7) whether the entries are made to rise; bytes 1 and 2: the range asked for.
pub fn transaction_index(data: &[u8]) {
    let Some((&[choice, from, len], bytes)) = data.split_first_chunk::<3>() else { return };
    let mut bytes = bytes.to_vec();
    if choice & 0x80 != 0 {
        bytes.truncate(bytes.len() / TXN_ENTRY * TXN_ENTRY);
        rise(&mut bytes, i64::from(choice & 0x7f));
    }
    let base = Offset(i64::from(choice & 0x7f));
    let Ok(entries) = decode(&bytes, base) else { return };
    assert_eq!(encode(&entries), bytes, "what was read is what is written");
    let (from, to) = (base + i64::from(from), base + i64::from(from) + i64::from(len));
    let (in_memory, in_file) = (TransactionIndex::default(), TransactionIndex::default());
    in_memory.replace(entries.clone());
    in_file.lies_in_file(entries.len());
    let files = MemoryFiles::default();
    files.put(Path::new("/txn"), &bytes);
    let told = collected(&in_memory, &files, from, to);
    assert_eq!(told, collected(&in_file, &files, from, to), "memory and file tell the same");
    let (told, more_may_follow) = (told.0, !told.1);
    let all: Vec<_> = entries.iter().filter(|one| one.overlaps(from, to)).copied().collect();
    assert!(all.starts_with(&told), "only what overlaps, in order");
    assert!(!more_may_follow || told.len() == all.len(), "all of it, unless an entry said that was all");
}

fn collected(
    index: &TransactionIndex,
    files: &MemoryFiles,
    from: Offset,
    to: Offset,
) -> (Vec<AbortedTransaction>, bool) {
    let mut found = Vec::new();
    let open = || files.open(Path::new("/txn"), OpenMode::Read);
    let done = index.collect(from, to, open, &mut found).expect("memory does not fail");
    (found, done)
}

/// Makes entries that a segment could hold out of any: version 0, markers that rise, transactions that begin before.
fn rise(bytes: &mut [u8], base: i64) {
    let mut last = base - 1;
    for entry in bytes.as_chunks_mut::<TXN_ENTRY>().0 {
        entry[..2].copy_from_slice(&[0, 0]);
        last += 1 + i64::from(entry[25] & 7);
        let first = (last - i64::from(entry[17])).max(0);
        entry[10..18].copy_from_slice(&first.to_be_bytes());
        entry[18..26].copy_from_slice(&last.to_be_bytes());
        let stable = last + 1 + i64::from(entry[33] as i8);
        entry[26..34].copy_from_slice(&stable.to_be_bytes());
    }
}
