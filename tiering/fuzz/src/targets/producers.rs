//! Producer state in Kafka's `.snapshot` and our `.producers`.
//! Invariant: what decodes is written back to bytes that decode to the same.

use firnline_tiering::producer::snapshot::{
    decode_producers, decode_snapshot, encode_producers, encode_snapshot,
};
use firnline_tiering::producer::state::{ProducerState, ProducerTable};

use super::seal;

/// Byte 0: which format, and whether its CRC is made right; then the file.
pub fn snapshots(data: &[u8]) {
    let Some((&choice, file)) = data.split_first() else { return };
    let mut file = file.to_vec();
    if choice & 1 == 0 { kafkas(&mut file, choice) } else { ours(&mut file, choice) }
}

fn kafkas(file: &mut [u8], choice: u8) {
    if choice & 2 != 0 {
        seal::at(file, 2, 6);
    }
    let Ok(states) = decode_snapshot(file) else { return };
    let kept = table(&states);
    let again = decode_snapshot(&encode_snapshot(&kept)).expect("what we write can be read");
    assert_eq!(again.len(), kept.len());
    let _ = encode_producers(&kept, firnline_tiering::offsets::Offset(7));
}

fn ours(file: &mut [u8], choice: u8) {
    if choice & 2 != 0 {
        seal::at(file, 6, 10);
    }
    let Ok((as_of, states)) = decode_producers(file) else { return };
    let kept = table(&states);
    let written = encode_producers(&kept, as_of);
    let again = decode_producers(&written).expect("what we write can be read");
    assert_eq!(again, (as_of, kept.iter().copied().collect()));
    let _ = encode_snapshot(&kept);
}

fn table(states: &[ProducerState]) -> ProducerTable {
    let mut table = ProducerTable::new();
    states.iter().for_each(|state| table.load(*state, i64::MAX));
    table
}
