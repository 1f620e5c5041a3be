//! A damaged offset index beside whole batches, after a clean stop that lets files be trusted: readers by offset and by
//! time get what the batches hold. Damage that opening finds by itself is `log_behaviour`'s.

mod support;

use firnline_tiering::batch::header::Codec;
use firnline_tiering::hot::dir::{Kind, file_name};
use firnline_tiering::hot::file::{Files, OpenMode, OsFiles};
use firnline_tiering::log::read::Read;
use firnline_tiering::log::time::TimeAnswer;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;
use support::{Home, batch, bytes_of};

/// A log of several segments, closed cleanly; the path of its first offset index and the index.
fn closed() -> (Home, std::path::PathBuf, Vec<u8>) {
    let home = Home::new();
    let (log, _) = home.open(false, Offset::ZERO, Offset::ZERO);
    for _ in 0..30 {
        home.append(&log, &mut batch(2, 100, home.tick(), Codec::None, None), 0).expect("appends");
    }
    log.maintain().expect("maintains");
    log.close().expect("closes");
    let path = home.path().join(file_name(Offset::ZERO, Kind::OffsetIndex));
    let index = OsFiles.read_all(&path, 1 << 20).expect("an index");
    assert!(index.len() >= 32, "{} bytes of index", index.len());
    (home, path, index)
}

/// Everything a reader can ask: the batch that holds each offset, the first record at or after each time.
fn answers(log: &Log) -> (Vec<Vec<u8>>, Vec<TimeAnswer>) {
    let end = log.offsets().end;
    let reads = (0..end.0).flat_map(|offset| [1, 700].map(|bytes| (offset, bytes)));
    let reads = reads.map(|(offset, bytes)| match log.read(Offset(offset), bytes, end, true) {
        Ok(Read::Hot(slice)) => bytes_of(&slice),
        other => panic!("{other:?} at {offset}"),
    });
    let times = (1_700_000_000_000..1_700_000_000_310).step_by(3);
    let times = times.map(|time| log.offset_for_time(time, end).expect("the batches answer"));
    (reads.collect(), times.collect())
}

#[test]
fn an_index_that_lies_misleads_nobody() {
    let (home, path, index) = closed();
    let (log, _) = home.open(true, Offset::ZERO, Offset::ZERO);
    let truth = answers(&log);
    assert!(truth.1.iter().any(|answer| matches!(answer, TimeAnswer::Found { .. })));
    log.close().expect("closes");
    drop(log);
    let entry = |at: usize| index[at * 8..at * 8 + 8].to_vec();
    let [first, second, third] = [entry(0), entry(1), entry(2)];
    for (lie, entry) in [
        ("a place inside a batch", [&second[..4], &[0, 0, 1, 0x47]].concat()),
        ("a batch further on", [&second[..4], &third[4..]].concat()),
        ("a place past the end", [&second[..4], &[0, 1, 0, 0]].concat()),
    ] {
        // First and last entry stay, which is what opening looks at.
        let lying = [&first[..], &entry[..], &index[16..]].concat();
        OsFiles
            .open(&path, OpenMode::ReadWrite)
            .and_then(|file| file.write_at(&lying, 0))
            .expect("damages the index");
        let (log, recovered) = home.open(true, Offset::ZERO, Offset::ZERO);
        assert_eq!(recovered.indexes_rebuilt, 0, "{lie}: the lie is not seen at open");
        assert!(answers(&log) == truth, "{lie} misled a reader");
        log.close().expect("closes");
    }
}
