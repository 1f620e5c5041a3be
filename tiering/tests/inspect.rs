//! Files looked into without opening a log: what Kafka wrote and what we write is found whole, and damage is found at
//! the byte where it was done, for every byte a checksum covers. Invariant under test: nothing is written.
#![allow(clippy::disallowed_methods, reason = "a test damages its files itself")]

mod support;

use firnline_tiering::batch::header::{CRC_FROM, Codec, batches};
use firnline_tiering::hot::checkpoint::write_offsets;
use firnline_tiering::hot::dir::{Kind, LogName, file_name};
use firnline_tiering::hot::file::OsFiles;
use firnline_tiering::inspect::dump::{Item, dump};
use firnline_tiering::inspect::finding::{Damage, Finding};
use firnline_tiering::inspect::path::{Report, What, verify, what};
use firnline_tiering::offsets::Offset;
use std::path::{Path, PathBuf};
use support::{Home, batch};

fn kafkas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-4.3/log")
}

/// A log of three segments in every codec, closed; its directory and the bases of its segments.
fn written() -> (Home, Vec<Offset>) {
    let home = Home::new();
    let (log, _) = home.open(false, Offset::ZERO, Offset::ZERO);
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for at in 0..50 {
        let codec = codecs[at % codecs.len()];
        let mut batch = batch(3, 20, home.tick(), codec, Some((7, at as i32 * 3)));
        home.append(&log, &mut batch, (at / 20) as i32).expect("appends");
    }
    log.flush().expect("flushes");
    log.maintain().expect("maintains");
    log.close().expect("closes");
    let dir = home.path();
    let mut bases: Vec<Offset> = std::fs::read_dir(&dir)
        .expect("lists")
        .filter_map(|entry| entry.expect("an entry").file_name().to_str()?.strip_suffix(".log")?.parse().ok())
        .map(Offset)
        .collect();
    bases.sort_unstable();
    assert!(bases.len() > 2, "{bases:?}");
    (home, bases)
}

fn findings(path: &Path) -> Vec<Finding> {
    let report = verify(&OsFiles, path).expect("reads");
    report.findings().into_iter().cloned().collect()
}

/// What verify says of `dir` while `file` holds `bytes`.
fn with(dir: &Path, file: &Path, bytes: &[u8]) -> (Report, Vec<Finding>) {
    let whole = std::fs::read(file).expect("reads");
    std::fs::write(file, bytes).expect("damages");
    let report = verify(&OsFiles, dir).expect("reads");
    let found = report.findings().into_iter().cloned().collect();
    std::fs::write(file, whole).expect("mends");
    (report, found)
}

#[test]
fn what_kafka_wrote_is_whole() {
    let report = verify(&OsFiles, &kafkas()).expect("reads");
    assert_eq!(report.findings(), Vec::<&Finding>::new());
    let topics: Vec<_> = report.partitions().iter().map(|partition| partition.dir.file_name()).collect();
    assert_eq!(topics.len(), 10, "{topics:?}");
    let records: u64 = report.segments().iter().map(|segment| segment.records).sum();
    assert!(records > 300, "{records}");
}

#[test]
fn what_we_write_is_whole_and_stays_as_it_is() {
    let (home, bases) = written();
    let before: Vec<_> = contents(&home.path());
    let report = verify(&OsFiles, &home.path()).expect("reads");
    assert_eq!(report.findings(), Vec::<&Finding>::new());
    let [partition] = report.partitions() else { panic!("{report:?}") };
    assert_eq!(partition.segments.iter().map(|segment| segment.base).collect::<Vec<_>>(), bases);
    assert_eq!((partition.start, partition.good_next, partition.next), (Offset(0), Offset(150), Offset(150)));
    assert_eq!(report.segments().iter().map(|segment| segment.records).sum::<u64>(), 150);
    assert_eq!(contents(&home.path()), before, "looking changes nothing");
}

fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = std::fs::read_dir(dir).expect("lists").map(|entry| entry.expect("an entry").path());
    let mut all: Vec<_> = paths.map(|path| (path.clone(), std::fs::read(path).expect("reads"))).collect();
    all.sort();
    all
}

#[test]
fn a_flipped_bit_is_found_in_its_batch_and_the_rest_is_still_counted() {
    let (home, bases) = written();
    let file = home.path().join(file_name(bases[1], Kind::Log));
    let whole = std::fs::read(&file).expect("reads");
    let borders: Vec<(usize, usize, Offset)> = batches(&whole)
        .scan(0, |at, batch| {
            let (header, bytes) = batch.expect("whole");
            let start = *at;
            *at += bytes.len();
            Some((start, *at, header.base_offset))
        })
        .collect();
    for &(start, end, base) in [&borders[0], &borders[1], borders.last().expect("batches")] {
        for at in (start + CRC_FROM..end).step_by(7).chain([start + 8, start + 11, start + 16, start + 17]) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            let (report, found) = with(&home.path(), &file, &damaged);
            let first = found.first().unwrap_or_else(|| panic!("byte {at} of {start}..{end} went unseen"));
            assert_eq!((first.at, &first.file), (Some(start as u64), &file), "byte {at}: {found:?}");
            assert!(matches!(first.damage, Damage::Crc | Damage::Batch | Damage::Torn), "{first:?}");
            let [partition] = report.partitions() else { panic!("{report:?}") };
            let segment = &partition.segments[1];
            assert_eq!((segment.good_bytes, segment.next), (start as u64, base), "byte {at}");
            assert_eq!((partition.good_next, partition.next), (base, Offset(150)), "byte {at}");
            let rest = whole.len() - end;
            let islands: u64 = segment.islands.iter().map(|island| island.bytes).sum();
            assert_eq!(islands, rest as u64, "byte {at}: what follows is whole");
        }
    }
}

#[test]
fn every_cut_is_torn_at_the_batch_it_cuts() {
    let (home, bases) = written();
    let file = home.path().join(file_name(*bases.last().expect("segments"), Kind::Log));
    let whole = std::fs::read(&file).expect("reads");
    let first = batches(&whole).next().expect("a batch").expect("whole").1.len();
    for len in [1, 20, 61, first - 1, first + 1, first + 40, whole.len() - 1] {
        let (_, found) = with(&home.path(), &file, &whole[..len]);
        let border = if len < first { 0 } else { first };
        let torn = found.iter().find(|finding| finding.damage == Damage::Torn).expect("torn");
        assert!(torn.at >= Some(border as u64) && torn.at <= Some(len as u64), "{len}: {torn:?}");
    }
}

#[test]
fn indexes_and_producers_that_lie_are_found() {
    let (home, bases) = written();
    let path = |kind| home.path().join(file_name(bases[1], kind));
    for (kind, damage) in [
        (Kind::OffsetIndex, Damage::OffsetIndex),
        (Kind::TimeIndex, Damage::TimeIndex),
        (Kind::Snapshot, Damage::Producers),
        (Kind::Producers, Damage::Producers),
    ] {
        let whole = std::fs::read(path(kind)).expect("reads");
        let entry = match kind {
            Kind::OffsetIndex => 8,
            Kind::TimeIndex => 12,
            _ => 1,
        };
        assert!(whole.len() >= 2 * entry, "{kind:?} has {} bytes", whole.len());
        // An entry that points back or falls, a part of an entry, bytes that are nothing.
        let mut lower = whole.clone();
        let last = whole.len() - entry;
        lower.copy_within(..entry, last);
        let noise = vec![0xee; whole.len()];
        for damaged in [&lower[..], &whole[..whole.len() - 1], &noise[..]] {
            let (report, found) = with(&home.path(), &path(kind), damaged);
            let first = found.first().unwrap_or_else(|| panic!("{kind:?} went unseen: {damaged:02x?}"));
            assert_eq!((first.damage, &first.file), (damage, &path(kind)));
            assert!(first.damage.is_rebuilt());
            assert_eq!(report.partitions()[0].good_next, Offset(150), "no record is lost");
        }
    }
    let epochs = home.path().join("leader-epoch-checkpoint");
    let (_, found) = with(&home.path(), &epochs, b"0\n1\n5 0\n");
    assert!(found.iter().any(|finding| finding.damage == Damage::Epochs && finding.why.contains("epoch 0")));
    let (_, found) = with(&home.path(), &epochs, b"0\n9\n");
    assert_eq!(found[0].damage, Damage::Epochs);
}

/// A copy of one partition of Kafka's.
fn kafkas_copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (path, bytes) in contents(&kafkas().join(name)) {
        std::fs::write(dir.path().join(path.file_name().expect("a name")), bytes).expect("copies");
    }
    dir
}

#[test]
fn an_aborted_transaction_that_the_index_forgot_is_found() {
    let dir = kafkas_copy("transactions-0");
    assert_eq!(findings(dir.path()), []);
    let file = dir.path().join("00000000000000000000.txnindex");
    let whole = std::fs::read(&file).expect("reads");
    assert_eq!(whole.len(), 3 * 34);
    let mut other_marker = whole.clone();
    other_marker[25] ^= 1;
    let mut other_producer = whole.clone();
    other_producer[9] ^= 1;
    for damaged in
        [&whole[34..], &whole[..68], &whole[..0], &other_marker[..], &other_producer[..], &whole[..50]]
    {
        let (_, found) = with(dir.path(), &file, damaged);
        assert_eq!(
            found.first().map(|finding| finding.damage),
            Some(Damage::TransactionIndex),
            "{damaged:02x?}"
        );
        assert!(!found[0].damage.is_rebuilt(), "aborted records would be shown");
    }
}

#[test]
fn a_log_that_ends_below_what_was_durable_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let partition = dir.path().join("none-0");
    std::fs::create_dir(&partition).expect("a directory");
    for (path, bytes) in contents(&kafkas().join("none-0")) {
        std::fs::write(partition.join(path.file_name().expect("a name")), bytes).expect("copies");
    }
    std::fs::copy(kafkas().join("meta.properties"), dir.path().join("meta.properties")).expect("copies");
    let point = |at| write_offsets(&[(LogName { name: "none".into(), number: 0 }, Offset(at))].into());
    let file = dir.path().join("recovery-point-offset-checkpoint");
    std::fs::write(&file, point(24)).expect("writes");
    assert_eq!(findings(dir.path()), []);
    std::fs::write(&file, point(25)).expect("writes");
    let found = findings(dir.path());
    assert_eq!(found.iter().map(|finding| finding.damage).collect::<Vec<_>>(), [Damage::Lost]);
    std::fs::write(&file, "0\n2\nnone 0 24\n").expect("writes");
    assert_eq!(findings(dir.path())[0].damage, Damage::Text);
}

#[test]
fn a_remote_segment_is_verified_to_its_last_byte() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/remote-segment/v1/segment.firn");
    let whole = std::fs::read(&golden).expect("reads");
    assert_eq!(findings(&golden), []);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("segment.firn");
    for at in (0..whole.len()).step_by(5) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        std::fs::write(&file, &damaged).expect("writes");
        assert!(!findings(&file).is_empty(), "byte {at} of {} went unseen", whole.len());
    }
    for len in [0, 1, 31, 32, 1000, whole.len() - 1] {
        std::fs::write(&file, &whole[..len]).expect("writes");
        assert!(!findings(&file).is_empty(), "a cut to {len} went unseen");
    }
}

#[test]
fn a_dump_shows_every_batch_record_and_entry_and_goes_on_behind_damage() {
    let (home, bases) = written();
    let count = |path: &Path| {
        let (mut batches, mut records, mut others, mut damage) = (0, 0, 0, 0);
        dump(&OsFiles, path, true, &mut |item| {
            match item {
                Item::Batch { .. } => batches += 1,
                Item::Record { .. } => records += 1,
                Item::Damage(_) => damage += 1,
                Item::File(_) => {}
                _ => others += 1,
            }
            Ok(())
        })
        .expect("reads");
        (batches, records, others, damage)
    };
    assert_eq!(count(&home.path()), (50, 150, 0, 0));
    let file = home.path().join(file_name(bases[0], Kind::Log));
    let mut bytes = std::fs::read(&file).expect("reads");
    bytes[70] ^= 1;
    std::fs::write(&file, bytes).expect("damages");
    assert_eq!(count(&home.path()), (49, 147, 0, 1));
    let index =
        std::fs::metadata(home.path().join(file_name(bases[0], Kind::OffsetIndex))).expect("an index");
    assert_eq!(count(&home.path().join(file_name(bases[0], Kind::OffsetIndex))).2, index.len() / 8);
    let transactions = kafkas().join("transactions-0");
    for (name, entries) in [
        ("00000000000000000000.txnindex", 3),
        ("00000000000000000035.snapshot", 3),
        ("leader-epoch-checkpoint", 3),
        ("partition.metadata", 2),
    ] {
        assert_eq!(count(&transactions.join(name)), (0, 0, entries, 0), "{name}");
    }
}

#[test]
fn a_path_is_known_by_its_name_and_what_lies_there() {
    let known = |path: &Path| what(&OsFiles, path);
    assert_eq!(known(&kafkas()).expect("known"), What::Directory);
    let none = kafkas().join("none-0");
    assert_eq!(known(&none).expect("known"), What::Partition);
    let log = known(&none.join("00000000000000000000.log")).expect("known");
    assert_eq!(log, What::Segment(Offset(0), Kind::Log));
    assert_eq!(known(&kafkas().join("cleaner-offset-checkpoint")).expect("known"), What::Text);
    assert!(known(Path::new(env!("CARGO_MANIFEST_DIR"))).is_err());
    assert!(known(&kafkas().join("nowhere")).is_err());
}
