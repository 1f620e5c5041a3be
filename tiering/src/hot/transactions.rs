//! The transaction index of a segment: the aborted transactions whose marker lies in it, so that a reader who may see
//! only committed records is told which to leave out. In memory while the segment grows, in Kafka's file once sealed.
//! Not the open transactions (the producers' state holds those). Invariant: entries rise by the marker's offset.
//!
//! ```text
//! .txnindex   version i16 = 0 | producer i64 | first i64 | last i64 | last stable i64       34 bytes, big-endian
//!             first record and marker of the transaction; the last stable offset once the marker stood.
//! ```
//!
//! A segment without an aborted transaction has no such file.

use crate::hot::file::File;
use crate::offsets::Offset;
use parking_lot::Mutex;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of an entry.
pub const TXN_ENTRY: usize = 34;
/// The version that is written, and the newest read.
pub const TXN_VERSION: i16 = 0;
/// Entries read at once.
const BLOCK: usize = 120;

/// An aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Who wrote it.
    pub producer_id: i64,
    /// Its first offset.
    pub first: Offset,
    /// Offset of its marker.
    pub last: Offset,
    /// The last stable offset when it was aborted.
    pub last_stable: Offset,
}

/// Why a transaction index cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TxnFault {
    /// Not a whole number of entries.
    #[error("{0} bytes are no whole number of entries")]
    Length(u64),
    /// A version this binary does not know.
    #[error("entry {at} has version {version}, at most {TXN_VERSION} is known")]
    Version {
        /// Counted from 0.
        at: usize,
        /// What it says.
        version: i16,
    },
    /// A marker that lies outside the segment, before its transaction, or not above the one before it.
    #[error("entry {at} covers {first} to {last}, after a marker at {before}")]
    Order {
        /// Counted from 0.
        at: usize,
        /// First offset.
        first: Offset,
        /// The marker.
        last: Offset,
        /// The marker of the entry before, or the offset before the segment.
        before: Offset,
    },
}

impl AbortedTransaction {
    /// Whether a reader of `[from, to)` has to know of it.
    pub fn overlaps(&self, from: Offset, to: Offset) -> bool {
        self.last >= from && self.first < to
    }

    /// Appends its bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&TXN_VERSION.to_be_bytes());
        for number in [self.producer_id, self.first.0, self.last.0, self.last_stable.0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }

    fn read(bytes: &[u8; TXN_ENTRY]) -> (i16, AbortedTransaction) {
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            i64::from_be_bytes(word)
        };
        let entry = AbortedTransaction {
            producer_id: number(2),
            first: Offset(number(10)),
            last: Offset(number(18)),
            last_stable: Offset(number(26)),
        };
        (i16::from_be_bytes([bytes[0], bytes[1]]), entry)
    }
}

/// Reads a whole index of the segment that begins at `base`. The result is as large as the bytes are.
pub fn decode(bytes: &[u8], base: Offset) -> Result<Vec<AbortedTransaction>, TxnFault> {
    let (entries, rest) = bytes.as_chunks::<TXN_ENTRY>();
    if !rest.is_empty() {
        return Err(TxnFault::Length(bytes.len() as u64));
    }
    let mut before = base - 1;
    let mut out = Vec::with_capacity(entries.len());
    for (at, bytes) in entries.iter().enumerate() {
        let (version, entry) = AbortedTransaction::read(bytes);
        if version != TXN_VERSION {
            return Err(TxnFault::Version { at, version });
        }
        let AbortedTransaction { first, last, .. } = entry;
        if last <= before || first > last || first.0 < 0 {
            return Err(TxnFault::Order { at, first, last, before });
        }
        before = last;
        out.push(entry);
    }
    Ok(out)
}

/// The bytes of a whole index.
pub fn encode(entries: &[AbortedTransaction]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * TXN_ENTRY);
    entries.iter().for_each(|entry| entry.write(&mut out));
    out
}

/// The index of one segment: in memory, or known to lie in its file.
#[derive(Debug)]
pub struct TransactionIndex {
    /// Read before the lock is taken: most segments have none.
    count: AtomicUsize,
    memory: Mutex<Option<Vec<AbortedTransaction>>>,
}

impl Default for TransactionIndex {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), memory: Mutex::new(Some(Vec::new())) }
    }
}

impl TransactionIndex {
    /// Entries.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Nothing was aborted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the transaction whose marker is about to be published. Panics if the index was given to its file.
    pub fn push(&self, entry: AbortedTransaction) {
        let mut memory = self.memory.lock();
        match memory.as_mut() {
            Some(entries) => entries.push(entry),
            None => panic!("a sealed segment takes no marker at {}", entry.last),
        }
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Takes these entries for its own.
    pub fn replace(&self, entries: Vec<AbortedTransaction>) {
        let mut memory = self.memory.lock();
        self.count.store(entries.len(), Ordering::Release);
        *memory = Some(entries);
    }

    /// The entries are in the file: `count` of them.
    pub fn lies_in_file(&self, count: usize) {
        let mut memory = self.memory.lock();
        self.count.store(count, Ordering::Release);
        *memory = None;
    }

    /// From now on the file answers.
    pub fn forget(&self) {
        *self.memory.lock() = None;
    }

    /// The bytes of its file, while it is in memory; `None` once the file has them.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        self.memory.lock().as_deref().map(encode)
    }

    /// Adds to `found` what overlaps `[from, to)`. Answers whether later segments can hold no more of it. `file` is
    /// asked for only if the entries are no longer in memory.
    pub fn collect(
        &self,
        from: Offset,
        to: Offset,
        file: impl FnOnce() -> io::Result<std::sync::Arc<dyn File>>,
        found: &mut Vec<AbortedTransaction>,
    ) -> io::Result<bool> {
        let count = self.len();
        if count == 0 {
            return Ok(false);
        }
        if let Some(entries) = self.memory.lock().as_deref() {
            let first = entries.partition_point(|entry| entry.last < from);
            return Ok(take(&entries[first..], from, to, found));
        }
        collect_from(&*file()?, count, from, to, found)
    }
}

/// Adds what overlaps. True once an entry says that everything below `to` was decided when it was written.
fn take(
    entries: &[AbortedTransaction],
    from: Offset,
    to: Offset,
    found: &mut Vec<AbortedTransaction>,
) -> bool {
    for entry in entries {
        if entry.overlaps(from, to) {
            found.push(*entry);
        }
        if entry.last_stable >= to {
            return true;
        }
    }
    false
}

fn collect_from(
    file: &dyn File,
    count: usize,
    from: Offset,
    to: Offset,
    found: &mut Vec<AbortedTransaction>,
) -> io::Result<bool> {
    let mut block = [0; BLOCK * TXN_ENTRY];
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        let one = read_block(file, middle, 1, &mut block)?;
        if one.first().is_some_and(|entry| entry.last < from) { low = middle + 1 } else { high = middle }
    }
    while low < count {
        let entries = read_block(file, low, (count - low).min(BLOCK), &mut block)?;
        if take(&entries, from, to, found) {
            return Ok(true);
        }
        low += entries.len();
    }
    Ok(false)
}

fn read_block(
    file: &dyn File,
    at: usize,
    count: usize,
    block: &mut [u8; BLOCK * TXN_ENTRY],
) -> io::Result<Vec<AbortedTransaction>> {
    let bytes = &mut block[..count * TXN_ENTRY];
    file.read_exact_at(bytes, (at * TXN_ENTRY) as u64)?;
    let (entries, _) = bytes.as_chunks::<TXN_ENTRY>();
    Ok(entries.iter().map(|entry| AbortedTransaction::read(entry).1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hot::file::{Files, OpenMode, OsFiles};
    use proptest::prelude::*;

    fn aborted(producer_id: i64, first: i64, last: i64, last_stable: i64) -> AbortedTransaction {
        AbortedTransaction {
            producer_id,
            first: Offset(first),
            last: Offset(last),
            last_stable: Offset(last_stable),
        }
    }

    const GOLDEN: &[u8] = include_bytes!("../../tests/fixtures/txn-index/v0/two.txnindex");

    #[test]
    fn golden_bytes() {
        let entries = [aborted(7, 100, 109, 110), aborted(0x0102_0304_0506_0708, 103, 5_000_000_000, 111)];
        assert_eq!(encode(&entries), GOLDEN);
        assert_eq!(decode(GOLDEN, Offset(100)), Ok(entries.to_vec()));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(decode(&GOLDEN[..35], Offset(0)), Err(TxnFault::Length(35)));
        let mut newer = GOLDEN.to_vec();
        newer[35] = 1;
        assert_eq!(decode(&newer, Offset(0)), Err(TxnFault::Version { at: 1, version: 1 }));
        let falling = encode(&[aborted(1, 5, 9, 10), aborted(2, 3, 9, 10)]);
        assert!(matches!(decode(&falling, Offset(0)), Err(TxnFault::Order { at: 1, .. })));
        assert!(
            matches!(decode(GOLDEN, Offset(110)), Err(TxnFault::Order { at: 0, .. })),
            "below its segment"
        );
        let backwards = encode(&[aborted(1, 9, 5, 10)]);
        assert!(matches!(decode(&backwards, Offset(0)), Err(TxnFault::Order { at: 0, .. })));
    }

    proptest! {
        #[test]
        fn memory_and_file_find_what_a_scan_of_everything_finds(
            steps in prop::collection::vec((1..9_i64, 0..40_i64), 0..300), from in 0..900_i64, len in 1..300_i64,
        ) {
            let mut last = 0;
            let all: Vec<AbortedTransaction> = steps.into_iter().map(|(on, length)| {
                last += on;
                // Nothing else is open: everything up to the marker is decided.
                aborted(1, (last - length).max(0), last, last + 1)
            }).collect();
            let (from, to) = (Offset(from), Offset(from + len));
            let expected: Vec<_> = all.iter().filter(|one| one.overlaps(from, to)).copied().collect();
            // What a marker at or above the end ended had begun below it: nothing after that marker overlaps.
            let expected: Vec<_> = match all.iter().position(|one| one.last_stable >= to) {
                Some(stop) => expected.into_iter().filter(|one| one.last <= all[stop].last).collect(),
                None => expected,
            };
            let index = TransactionIndex::default();
            all.iter().for_each(|one| index.push(*one));
            let dir = tempfile::tempdir().expect("a directory");
            let file = OsFiles.open(&dir.path().join("t"), OpenMode::CreateNew).expect("opens");
            file.write_at(&index.bytes().expect("in memory"), 0).expect("writes");
            for in_file in [false, true] {
                if in_file {
                    index.forget();
                }
                let mut found = Vec::new();
                let done = index.collect(from, to, || Ok(file.clone()), &mut found).expect("reads");
                prop_assert_eq!(&found, &expected);
                prop_assert_eq!(done, all.iter().any(|one| one.last >= from && one.last_stable >= to));
            }
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(entries) = decode(&bytes, Offset(0)) {
                prop_assert_eq!(encode(&entries), bytes);
            }
        }
    }
}
