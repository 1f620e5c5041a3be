//! What the demo writes: records that can be made again from their partition and offset alone.
//! Nothing is stored to compare with. Invariant: no two records of a demo are alike, and none compresses.

use bytes::Bytes;
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::header::{BatchHeader, HEADER_BYTES};
use firnline_tiering::batch::record::RecordReader;

/// Bytes of a record's value: its serial number, then filler drawn from it.
pub const VALUE_BYTES: usize = 1024;
/// Records of one batch.
pub const BATCH_RECORDS: i64 = 64;

/// The serial number of a record: partition in the upper 16 bits, offset in the lower 48.
fn serial(partition: i32, offset: i64) -> u64 {
    (partition as u64) << 48 | offset as u64
}

/// Writes the value of a record to `value`.
fn fill(value: &mut [u8; VALUE_BYTES], serial: u64) {
    // xorshift64*: cheap, incompressible, never zero for an odd start.
    let mut state = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let (head, filler) = value.split_at_mut(8);
    head.copy_from_slice(&serial.to_be_bytes());
    for eight in filler.chunks_exact_mut(8) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        eight.copy_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
}

/// The batch of records `first..first + count` of a partition.
pub fn batch(partition: i32, first: i64, count: i64, now_ms: i64) -> Bytes {
    let (mut builder, mut value) = (BatchBuilder::new(), [0; VALUE_BYTES]);
    for offset in first..first + count {
        let serial = serial(partition, offset);
        fill(&mut value, serial);
        builder.push(now_ms, Some(&serial.to_be_bytes()), Some(&value), &[]);
    }
    builder.build()
}

/// Checks every record of the whole batches in `records`, which must continue at offset `next`; answers the offset
/// after them. A torn last batch is left out, as clients do. The error says which record is wrong and how.
pub fn check(partition: i32, next: i64, records: &[u8]) -> Result<i64, String> {
    let (mut next, mut at) = (next, 0);
    let mut expected = [0; VALUE_BYTES];
    while records.len() - at >= HEADER_BYTES {
        let header = BatchHeader::parse(&records[at..]).map_err(|error| wrong(partition, next, error))?;
        let Some(batch) = records.get(at..at + header.size()) else { break };
        header.check_crc(batch).map_err(|error| wrong(partition, next, error))?;
        if header.base_offset.0 != next {
            return Err(wrong(
                partition,
                next,
                format!("the answer goes on at offset {}", header.base_offset),
            ));
        }
        let mut reader = RecordReader::new(&batch[HEADER_BYTES..]);
        while let Some(record) = reader.next_record().map_err(|error| wrong(partition, next, error))? {
            let serial = serial(partition, next);
            fill(&mut expected, serial);
            if record.key != Some(&serial.to_be_bytes()[..]) || record.value != Some(&expected[..]) {
                return Err(wrong(partition, next, "it is not the record that was written"));
            }
            next += 1;
        }
        if next != header.next_offset().0 {
            let end = header.next_offset();
            return Err(wrong(partition, next, format!("the batch ends here and says {end}")));
        }
        at += header.size();
    }
    Ok(next)
}

fn wrong(partition: i32, offset: i64, why: impl std::fmt::Display) -> String {
    format!("partition {partition}, offset {offset}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use firnline_tiering::batch::header::set_base_offset;
    use firnline_tiering::offsets::Offset;

    fn stored(first: i64) -> Vec<u8> {
        let mut bytes = batch(3, first, 10, 1).to_vec();
        set_base_offset(&mut bytes, Offset(first));
        bytes
    }

    #[test]
    fn what_was_written_is_right_and_a_torn_tail_is_left_out() {
        let mut bytes = stored(20);
        bytes.extend(stored(30));
        assert_eq!(check(3, 20, &bytes), Ok(40));
        assert_eq!(check(3, 20, &bytes[..bytes.len() - 1]), Ok(30));
        assert_eq!(check(3, 20, &[]), Ok(20));
    }

    #[test]
    fn what_was_not_written_is_named() {
        let mut bytes = stored(20);
        assert!(check(3, 21, &bytes).unwrap_err().starts_with("partition 3, offset 21: the answer goes on"));
        // Another partition's records, with right checksums.
        assert!(check(2, 20, &bytes).unwrap_err().contains("not the record that was written"));
        // A batch served in another's place.
        let mut moved = batch(3, 50, 10, 1).to_vec();
        set_base_offset(&mut moved, Offset(20));
        assert!(check(3, 20, &moved).unwrap_err().contains("not the record that was written"));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(check(3, 20, &bytes).is_err());
    }
}
