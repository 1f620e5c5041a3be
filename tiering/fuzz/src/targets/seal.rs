//! Makes checksums right, so that bytes behind them are reached: a fuzzer does not guess a CRC.
//! It changes lengths and checksums only.

use firnline_tiering::batch::header::{CRC_FROM, HEADER_BYTES, LOG_OVERHEAD, MAGIC, crc32c};

/// Gives `bytes` the length, magic and CRC of one whole batch; left alone if it has no room for a header.
pub fn batch(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let length = (bytes.len() - LOG_OVERHEAD) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = MAGIC as u8;
    let crc = crc32c(&bytes[CRC_FROM..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Takes `bytes` for batches, one after the other, each as long as it says as far as there are bytes, and makes
/// magic and CRC of each right. Each third byte of `spared` that is 0 leaves one batch as it is.
pub fn batches(bytes: &mut [u8], spared: u8) {
    let mut rest = bytes;
    let mut count = 0_u8;
    while rest.len() >= HEADER_BYTES {
        let said = i32::from_be_bytes([rest[8], rest[9], rest[10], rest[11]]).unsigned_abs() as usize;
        let size = LOG_OVERHEAD.saturating_add(said).clamp(HEADER_BYTES, rest.len());
        let (one, after) = rest.split_at_mut(size);
        if count != spared {
            batch(one);
        }
        count = count.wrapping_add(1);
        rest = after;
    }
}

/// Puts the CRC-32C of everything before the last four bytes there.
pub fn at_the_end(bytes: &mut [u8]) {
    if let Some((body, crc)) = bytes.split_last_chunk_mut::<4>() {
        *crc = crc32c(body).to_be_bytes();
    }
}

/// Puts the CRC-32C of everything from `from` on at byte `at`.
pub fn at(bytes: &mut [u8], at: usize, from: usize) {
    if bytes.len() >= from {
        let crc = crc32c(&bytes[from..]);
        bytes[at..at + 4].copy_from_slice(&crc.to_be_bytes());
    }
}
