//! Segments of a real Kafka moved under our broker, as docs/log.md tells a user to: every batch comes back over the wire
//! byte for byte, and the log goes on where Kafka stopped. What tiering makes of them is tested there.

use std::path::{Path, PathBuf};

use firnline_tiering::batch::header::batches;

use crate::harness::asks::bytes;
use crate::harness::broker::TestBroker;
use crate::harness::records::{batch, whole};

const TOPICS: [&str; 10] =
    ["none", "gzip", "snappy", "lz4", "zstd", "stamped", "transactions", "segments", "compacted", "deleted"];

fn kafkas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tiering/tests/fixtures/kafka-4.3/log")
}

/// A partition's files but the one that names its topic.
fn move_in(topic: &str, data_dir: &Path) {
    let (from, to) = (kafkas().join(format!("{topic}-0")), data_dir.join(format!("{topic}-0")));
    for entry in std::fs::read_dir(&to).expect("the new topic's directory") {
        let path = entry.expect("an entry").path();
        if !path.ends_with("partition.metadata") {
            std::fs::remove_file(path).expect("removes");
        }
    }
    for entry in std::fs::read_dir(from).expect("Kafka's partition") {
        let path = entry.expect("an entry").path();
        if !path.ends_with("partition.metadata") {
            std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copies");
        }
    }
}

/// Every batch of a partition as Kafka left it: base offset, the offset after it, bytes.
fn stored(topic: &str) -> Vec<(i64, i64, Vec<u8>)> {
    let dir = kafkas().join(format!("{topic}-0"));
    let paths = std::fs::read_dir(dir).expect("a partition").map(|entry| entry.expect("an entry").path());
    let mut logs: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "log")).collect();
    logs.sort();
    let bytes: Vec<u8> = logs.iter().flat_map(|path| std::fs::read(path).expect("reads")).collect();
    let whole = batches(&bytes).map(|batch| batch.expect("whole batches"));
    whole.map(|(header, bytes)| (header.base_offset.0, header.next_offset().0, bytes.to_vec())).collect()
}

#[tokio::test]
async fn kafkas_segments_come_back_byte_for_byte_and_the_log_goes_on() {
    let mut broker = TestBroker::start().await;
    let mut client = broker.client().await;
    for topic in TOPICS {
        client.create(topic, 1, &[("retention.ms", "-1")]).await;
    }
    broker.stop().await;
    for topic in TOPICS {
        move_in(topic, &broker.data_dir());
    }
    let starts = "log-start-offset-checkpoint";
    std::fs::copy(kafkas().join(starts), broker.data_dir().join(starts)).expect("copies");
    broker.revive().await;
    let mut client = broker.client().await;
    for topic in TOPICS {
        let start = client.offset(topic, 0, -2).await;
        assert_eq!(start, if topic == "deleted" { 38 } else { 0 }, "{topic}");
        let expected: Vec<_> = stored(topic).into_iter().filter(|(_, next, _)| *next > start).collect();
        let end = expected.last().expect("batches").1;
        assert_eq!(client.offset(topic, 0, -1).await, end, "{topic}");
        let mut read: Vec<(i64, i64, Vec<u8>)> = Vec::new();
        while read.last().is_none_or(|(_, next, _)| *next < end) {
            let next = read.last().map_or(start, |(_, next, _)| *next);
            let answer = client.fetch(topic, 0, next, 4 << 20, 1_000).await.expect("Fetch");
            let found = whole(&bytes(&answer));
            assert!(!found.is_empty(), "{topic} serves offset {next}");
            read.extend(
                found
                    .into_iter()
                    .map(|(header, batch)| (header.base_offset.0, header.next_offset().0, batch.to_vec())),
            );
        }
        assert_eq!(read, expected, "{topic}");
        assert_eq!(client.append(topic, 0, batch(&["ours"])).await, end, "{topic} goes on");
    }
}
