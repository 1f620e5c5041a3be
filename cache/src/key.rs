//! What is cached: one chunk of one immutable object.
//! Invariant: an object's bytes never change under its id, so a cached chunk never goes stale.

/// Bytes of every chunk but an object's last.
pub const CHUNK_BYTES: u64 = 1 << 20;

/// One chunk of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey {
    /// The object's never-reused id (a uuid).
    pub object: u128,
    /// Which chunk, counted from 0.
    pub chunk: u32,
}

/// What a chunk's bytes must be: checked whenever they come back from a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// CRC-32C over the chunk.
    pub crc32c: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Check {
    /// The check that `bytes` pass.
    pub fn of(bytes: &[u8]) -> Self {
        Self { crc32c: crc32c(bytes), len: u32::try_from(bytes.len()).unwrap_or(u32::MAX) }
    }

    /// Whether `bytes` are the chunk.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == u64::from(self.len) && crc32c(bytes) == self.crc32c
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    // cannot truncate: a 32-bit checksum in the crate's common 64-bit return type.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_holds_for_its_bytes_only() {
        let check = Check::of(b"123456789");
        assert_eq!(check, Check { crc32c: 0xe306_9283, len: 9 }, "CRC-32C's published check value");
        assert!(check.holds(b"123456789"));
        assert!(!check.holds(b"123456788"));
        assert!(!check.holds(b"12345678"));
    }
}
