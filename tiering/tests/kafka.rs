//! Reads what a real Kafka 4.3 wrote (`fixtures/kafka-4.3`: how it was made stands in its README) and holds it against
//! what an independent reader saw there. It starts no Kafka. Invariant: the same records at the same offsets, whether
//! Kafka's own indexes and snapshots are used or everything is rebuilt from the batches alone.
#![allow(clippy::disallowed_methods, reason = "a test copies its fixtures itself")]

mod support;

use firnline_tiering::batch::compress::decompress;
use firnline_tiering::batch::header::{BatchHeader, HEADER_BYTES, TimestampType, batches};
use firnline_tiering::batch::record::RecordReader;
use firnline_tiering::config::{LogConfig, LogId};
use firnline_tiering::entropy::OsEntropy;
use firnline_tiering::hot::dir::{Kind, LogName, file_name, parse_file_name};
use firnline_tiering::hot::file::OsFiles;
use firnline_tiering::inspect::dump::{Item, dump};
use firnline_tiering::log::LogDirectory;
use firnline_tiering::log::directory::{CheckpointKind, DirectoryOwner};
use firnline_tiering::log::open::{OpenLog, Recovered};
use firnline_tiering::log::read::Read;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;
use firnline_tiering::producer::snapshot::decode_snapshot;
use firnline_tiering::producer::state::ProducerState;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use support::{TestClock, bytes_of};

const TOPICS: [&str; 10] =
    ["none", "gzip", "snappy", "lz4", "zstd", "stamped", "transactions", "segments", "compacted", "deleted"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-4.3")
}

/// A minute after Kafka stopped: producers expire by the clock.
fn clock() -> Arc<TestClock> {
    Arc::new(TestClock(AtomicI64::new(1_795_274_700_000)))
}

/// A copy of what Kafka left, to work in.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    copy_into(&fixtures().join("log"), dir.path());
    dir
}

fn copy_into(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_into(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("copies");
        }
    }
}

fn directory(root: &Path) -> LogDirectory {
    let found = LogDirectory::identity_of(&OsFiles, root).expect("reads").expect("Kafka's meta.properties");
    let owner = DirectoryOwner { cluster_id: found.cluster_id, node_id: found.node_id };
    LogDirectory::open(Arc::new(OsFiles), clock(), &OsEntropy, root, &owner).expect("opens")
}

fn log(topic: &str) -> LogName {
    LogName { name: topic.to_owned(), number: 0 }
}

/// Opens a partition as a broker would, with what the directory's checkpoints say.
fn open(directory: &LogDirectory, topic: &str, trusted: bool) -> (Arc<Log>, Recovered) {
    let saved = |kind| directory.load(kind).expect("reads").get(&log(topic)).copied().unwrap_or(Offset::ZERO);
    let config =
        LogConfig { index_interval_bytes: 200, compact: topic == "compacted", ..LogConfig::default() };
    Log::open(OpenLog {
        id: LogId::new(topic),
        dir: directory.log_path(&log(topic)),
        config,
        files: Arc::new(OsFiles),
        health: Arc::default(),
        clock: clock(),
        boot: None,
        clean_shutdown: trusted,
        recovery_point: if trusted { saved(CheckpointKind::RecoveryPoint) } else { Offset::ZERO },
        log_start: saved(CheckpointKind::LogStart),
        committed_remote_end: None,
    })
    .expect("opens")
}

/// Every record, as the independent reader lists it: control records are not shown.
fn records(log: &Log) -> Vec<Value> {
    let (mut at, end) = (log.offsets().log_start, log.offsets().end);
    let start = at;
    let mut found = Vec::new();
    while at < end {
        let Read::Hot(slice) = log.read(at, 1, end, true).expect("reads") else { break };
        for batch in batches(&bytes_of(&slice)) {
            let (header, batch) = batch.expect("whole batches");
            header.check_crc(batch).expect("a whole batch");
            if !header.is_control() {
                list(&header, batch, start, &mut found);
            }
            at = header.next_offset();
        }
    }
    found
}

fn list(header: &BatchHeader, batch: &[u8], start: Offset, out: &mut Vec<Value>) {
    let codec = header.codec().expect("a codec");
    let opened = decompress(codec, &batch[HEADER_BYTES..], 1 << 20).expect("opens");
    let mut reader = RecordReader::new(&opened);
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    while let Some(record) = reader.next_record().expect("a record") {
        let offset = header.base_offset + i64::from(record.offset_delta);
        let timestamp = match header.timestamp_type() {
            TimestampType::LogAppendTime => header.max_timestamp,
            TimestampType::CreateTime => header.base_timestamp + record.timestamp_delta,
        };
        let headers: Vec<Value> =
            record.headers.map(|(key, value)| json!([text(key), value.map(text)])).collect();
        if offset >= start {
            out.push(json!({
                "offset": offset.0, "timestamp": timestamp, "key": record.key.map(text),
                "value": record.value.map(text), "headers": headers,
            }));
        }
    }
}

fn expected(topic: &str) -> Vec<Value> {
    let path = fixtures().join("expected").join(format!("{topic}.jsonl"));
    let text = std::fs::read_to_string(&path).expect("a listing");
    text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

/// Names of a partition's files of one kind, with their bases.
fn files(dir: &Path, kind: Kind) -> Vec<(Offset, PathBuf)> {
    let names = std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<(Offset, PathBuf)> = names
        .filter_map(|path| {
            let (base, of) = parse_file_name(path.file_name()?.to_str()?)?;
            (of == kind).then_some((base, path))
        })
        .collect();
    found.sort();
    found
}

#[test]
fn kafkas_small_files_are_read() {
    let dir = copy();
    let directory = directory(dir.path());
    let marker = directory.clean_shutdown().expect("Kafka stopped cleanly");
    assert!(marker.broker_epoch.is_some_and(|epoch| epoch >= 0), "{marker:?}");
    let names: Vec<String> = directory.logs().expect("lists").into_iter().map(|log| log.name).collect();
    let mut topics = TOPICS.to_vec();
    topics.sort_unstable();
    assert_eq!(names, topics);
    let load = |kind| directory.load(kind).expect("reads");
    assert_eq!(load(CheckpointKind::LogStart), [(log("deleted"), Offset(38))].into());
    for topic in TOPICS {
        let (opened, _) = open(&directory, topic, true);
        let end = opened.offsets().end;
        assert_eq!(load(CheckpointKind::HighWatermark).get(&log(topic)), Some(&end), "{topic}");
        assert_eq!(load(CheckpointKind::RecoveryPoint).get(&log(topic)), Some(&end), "{topic}");
        let metadata = directory.log_metadata(&log(topic)).expect("reads").expect("partition.metadata");
        assert!(metadata.starts_with("version: 0\ntopic_id: "), "{metadata:?}");
    }
}

#[test]
fn our_small_files_are_kafkas_to_the_byte() {
    let dir = copy();
    let directory = directory(dir.path());
    // Kafka writes its entries in the order of a hash map, ours are sorted: the lines are the same.
    for kind in [CheckpointKind::RecoveryPoint, CheckpointKind::LogStart, CheckpointKind::HighWatermark] {
        let path = dir.path().join(kind.file_name());
        let sorted = || {
            let text = std::fs::read_to_string(&path).expect("reads");
            assert!(text.ends_with('\n'));
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines[2..].sort_unstable();
            lines
        };
        let kafkas = sorted();
        directory.save(kind, &directory.load(kind).expect("reads")).expect("writes");
        assert_eq!(sorted(), kafkas);
    }
    let marker = dir.path().join(".kafka_cleanshutdown");
    let kafkas = std::fs::read(fixtures().join("log/.kafka_cleanshutdown")).expect("reads");
    let epoch = directory.clean_shutdown().and_then(|marker| marker.broker_epoch).expect("an epoch");
    directory.mark_clean(epoch).expect("marks");
    assert_eq!(std::fs::read(marker).expect("reads"), kafkas);
    for topic in TOPICS {
        let (opened, _) = open(&directory, topic, true);
        let kafkas = std::fs::read_to_string(opened.dir().join("leader-epoch-checkpoint")).expect("reads");
        assert_eq!(opened.lineage().to_checkpoint(), kafkas, "{topic}");
    }
}

#[test]
fn kafkas_log_is_read_through_its_own_indexes() {
    let dir = copy();
    let directory = directory(dir.path());
    for topic in TOPICS {
        let (log, recovered) = open(&directory, topic, true);
        assert_eq!(recovered, Recovered::default(), "{topic}: nothing to mend");
        assert_eq!(records(&log), expected(topic), "{topic}");
    }
}

#[test]
fn a_recovery_from_the_batches_alone_gives_kafkas_records_indexes_and_producers() {
    let dir = copy();
    let directory = directory(dir.path());
    for topic in TOPICS {
        let path = directory.log_path(&log(topic));
        let kept = |kind| -> Vec<(Offset, Vec<u8>)> {
            let read = |(base, path): (Offset, PathBuf)| (base, std::fs::read(path).expect("reads"));
            files(&path, kind).into_iter().map(read).collect()
        };
        let (offsets, times) = (kept(Kind::OffsetIndex), kept(Kind::TimeIndex));
        let snapshots = kept(Kind::Snapshot);
        for kind in [Kind::TimeIndex, Kind::Snapshot] {
            files(&path, kind).iter().for_each(|(_, path)| std::fs::remove_file(path).expect("removes"));
        }
        let (log, recovered) = open(&directory, topic, false);
        assert_eq!((recovered.bytes_cut, recovered.segments_scanned), (0, offsets.len()), "{topic}");
        assert_eq!(records(&log), expected(topic), "{topic}");
        check_producers(&log, &snapshots);
        // Sealed, so that the last segment has its indexes too.
        log.roll().expect("rolls");
        log.flush().expect("flushes");
        log.maintain().expect("maintains");
        for (base, bytes) in offsets {
            let rebuilt = std::fs::read(path.join(file_name(base, Kind::OffsetIndex))).expect("an index");
            assert_eq!(rebuilt, bytes, "{topic} at {base}");
        }
        for (base, bytes) in times {
            let rebuilt = std::fs::read(path.join(file_name(base, Kind::TimeIndex))).expect("an index");
            assert_eq!(rebuilt, bytes, "{topic} at {base}");
        }
    }
}

/// The last snapshot is of the log's end: the same producers must have been found in the batches.
fn check_producers(log: &Log, snapshots: &[(Offset, Vec<u8>)]) {
    let (at, bytes) = snapshots.last().expect("a snapshot");
    assert_eq!(*at, log.offsets().end, "{}: Kafka wrote it as it stopped", log.id());
    let mut kafkas = decode_snapshot(bytes).expect("Kafka's snapshot");
    // Who wrote only what retention took is known to the snapshot alone.
    let start = files(log.dir(), Kind::Log)[0].0;
    kafkas.retain(|state| state.last_batch().is_some_and(|batch| batch.last_offset >= start));
    kafkas.sort_by_key(|state| state.producer_id);
    let table = log.producers();
    let ours: Vec<_> = table.iter().collect();
    assert_eq!(ours.len(), kafkas.len(), "{}", log.id());
    for (ours, kafkas) in ours.into_iter().zip(&kafkas) {
        assert_eq!((ours.producer_id, ours.epoch), (kafkas.producer_id, kafkas.epoch), "{}", log.id());
        // Kafka's snapshot has one timestamp per producer, which a marker moves on: not the batch's own.
        let last = |state: &ProducerState| {
            state.last_batch().map(|batch| (batch.last_sequence, batch.last_offset, batch.offset_delta))
        };
        assert_eq!(last(ours), last(kafkas), "{}: producer {}", log.id(), ours.producer_id);
        assert_eq!(
            (ours.last_timestamp, ours.coordinator_epoch, ours.transaction_start),
            (kafkas.last_timestamp, kafkas.coordinator_epoch, kafkas.transaction_start),
            "{}: producer {}",
            log.id(),
            ours.producer_id
        );
    }
}

/// Our reading of a file, in the words of Kafka's dump-log.
fn in_kafkas_words(file: &Path, name: &str) -> String {
    let mut text = format!("Dumping {name}\nLog starting offset: 0\n");
    let mut sequence = -1;
    dump(&OsFiles, file, true, &mut |item| {
        match item {
            Item::Batch { position, header: h } => {
                sequence = h.base_sequence;
                text.push_str(&format!(
                    "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} \
                     producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: \
                     OptionalLong.empty position: {position} CreateTime: {} size: {} magic: {} compresscodec: {} \
                     crc: {} isvalid: true\n",
                    h.base_offset,
                    h.last_offset(),
                    h.record_count,
                    h.base_sequence,
                    h.last_sequence(),
                    h.producer_id,
                    h.producer_epoch,
                    h.leader_epoch,
                    h.is_transactional(),
                    h.is_control(),
                    h.max_timestamp,
                    h.size(),
                    h.magic,
                    h.codec().expect("a codec").name(),
                    h.crc,
                ));
            }
            Item::Record { offset, timestamp, record } => {
                let plain = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.expect("not null")).into_owned();
                let (key, value) = (plain(record.key), plain(record.value));
                let headers: Vec<String> = record.headers.map(|(key, _)| plain(Some(key))).collect();
                text.push_str(&format!(
                    "| offset: {offset} CreateTime: {timestamp} keySize: {} valueSize: {} sequence: {sequence} \
                     headerKeys: [{}] key: {key} payload: {value}\n",
                    key.len(),
                    value.len(),
                    headers.join(","),
                ));
                sequence += i32::from(sequence >= 0);
            }
            Item::File(_) => {}
            other => panic!("{other:?} in a segment"),
        }
        Ok(())
    })
    .expect("reads");
    text
}

#[test]
fn kafkas_dump_log_reads_our_segments_as_we_do() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-dump-log-4.3");
    let kafkas = std::fs::read_to_string(home.join("dump.txt")).expect("Kafka's output");
    let ours: String = ["gzip", "lz4", "none", "snappy", "zstd"]
        .iter()
        .map(|codec| format!("{codec}-0/00000000000000000000.log"))
        .map(|name| in_kafkas_words(&home.join("log").join(&name), &name))
        .collect();
    assert_eq!(ours, kafkas);
}
