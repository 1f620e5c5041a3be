//! The real binary killed at random for as long as one likes, with produce, consumption, retention, DeleteRecords and
//! compaction going on: `FIRN_KILL_MINUTES=30 cargo test --test it -- --ignored killed_at_random --nocapture`.
//! After each kill: what was acknowledged is there byte for byte (I1, I20), once (I2: nobody retries), at the offset it
//! had (I5), and the log start never falls (I7).

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use bytes::Bytes;
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::clock::{Clock, SystemClock};
use kafka_protocol::messages::ProduceRequest;

use crate::harness::asks::{EARLIEST, LATEST, production};
use crate::harness::broker::Client;
use crate::harness::process::{Home, Process};
use crate::harness::records::whole;
use crate::harness::twin::dice::Dice;
use crate::harness::wait::until;

/// Topics and what each is about: everything stays, segments expire by size, old values of keys go, the start is moved.
const TOPICS: &[(&str, &[(&str, &str)])] = &[
    ("kept", &[("segment.bytes", "1048576"), ("retention.ms", "-1")]),
    ("expiring", &[("segment.bytes", "1048576"), ("retention.bytes", "2097152")]),
    (
        "keyed",
        &[
            ("segment.bytes", "1048576"),
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("segment.ms", "2000"),
        ],
    ),
    ("trimmed", &[("segment.bytes", "1048576"), ("firn.durability", "disk")]),
];
const KEYS: u64 = 64;
const PRODUCE: i16 = 9;
const IN_FLIGHT: usize = 6;
const OUT_OF_RANGE: i16 = 1;
/// Rounds between two readings of everything.
const WHOLE_EVERY: u64 = 40;

/// What one partition was told.
#[derive(Default)]
struct Book {
    /// Identity of each acknowledged batch, by offset.
    acked: BTreeMap<i64, u64>,
    /// Identities of everything sent, acknowledged or not, with its key.
    sent: BTreeMap<u64, u64>,
    log_start: i64,
    reads: u64,
}

impl Book {
    fn end(&self) -> i64 {
        self.acked.last_key_value().map_or(0, |(offset, _)| offset + 1)
    }

    /// The newest acknowledged offset of each key.
    fn newest(&self) -> BTreeMap<u64, i64> {
        self.acked.iter().map(|(offset, id)| (self.sent[id], *offset)).collect()
    }
}

/// What tells a batch from all others: a hash of its bytes but for offset and epoch, which the broker stamps. The CRC in
/// it has 32 bits, which is too few for as many batches as a long run sends.
fn identity(batch: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&batch[8..12]);
    hasher.write(&batch[16..]);
    hasher.finish()
}

fn record(serial: u64, key: u64) -> Bytes {
    let mut dice = Dice::new(serial);
    let value: Vec<u8> = (0..2_000 + dice.below(6_000) / 8 * 8).map(|_| dice.next() as u8).collect();
    let mut builder = BatchBuilder::new();
    builder.push(SystemClock.now_ms(), Some(&key.to_be_bytes()), Some(&value), &[]);
    builder.build()
}

/// Produces to every topic in turn until the time is up; then the process is killed with requests under way.
async fn produce_until_killed(process: &mut Process, books: &mut [Book], serial: &mut u64, until: Instant) {
    let mut client = process.client().await;
    let (mut waiting, mut killed) = (VecDeque::new(), false);
    loop {
        while waiting.len() < IN_FLIGHT && !killed {
            *serial += 1;
            let (at, key) = ((*serial % TOPICS.len() as u64) as usize, *serial / 4 % KEYS);
            let batch = record(*serial, key);
            let id = identity(&batch);
            assert_eq!(
                books[at].sent.insert(id, key),
                None,
                "two batches of one identity: draw other values"
            );
            let Ok(request) = client.send(PRODUCE, &production(TOPICS[at].0, -1, vec![(0, batch)])).await
            else {
                return;
            };
            waiting.push_back((request, at, id));
        }
        let Some((request, at, id)) = waiting.pop_front() else { return };
        // What was answered before the kill still arrives after it, and counts.
        let Ok(answer) = client.receive::<ProduceRequest>(PRODUCE, request).await else {
            assert!(killed, "the broker closed a connection by itself:\n{}", process.log().join("\n"));
            return;
        };
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        let twice = books[at].acked.insert(answer.base_offset, id);
        assert!(twice.is_none(), "offset {} was acknowledged twice", answer.base_offset);
        if !killed && Instant::now() >= until {
            process.kill();
            killed = true;
        }
    }
}

/// Reads from `from` to the end, which may have gaps where keys were compacted away.
async fn look(client: &mut Client, topic: &str, book: &mut Book, mut from: i64) {
    let end = client.offset(topic, 0, LATEST).await;
    let compacted = topic == "keyed";
    let (mut next, mut seen) = (from, BTreeMap::new());
    while next < end {
        let answer = client.fetch(topic, 0, next, 4 << 20, 1_000).await.expect("Fetch");
        if answer.error_code == OUT_OF_RANGE && topic == "expiring" {
            // Retention passed while we read: begin at the new start.
            from = client.offset(topic, 0, EARLIEST).await;
            assert!(from > next, "{topic}: offset {next} is out of range, the log begins at {from}");
            (next, seen) = (from, BTreeMap::new());
            continue;
        }
        assert_eq!(answer.error_code, 0, "{topic} at {next}");
        let found = whole(&answer.records.clone().unwrap_or_default());
        if found.is_empty() && compacted {
            // The rest was compacted away, up to the end.
            break;
        }
        assert!(!found.is_empty(), "{topic}: nothing at {next} of {end}");
        for (header, batch) in found {
            assert!(compacted || header.base_offset.0 == next, "{topic}: a hole at {next}");
            header.check_crc(&batch).expect("an undamaged batch");
            let (offset, id) = (header.base_offset.0, identity(&batch));
            if header.next_offset().0 <= from {
                continue;
            }
            if compacted && header.record_count == 0 {
                // The last batch of what was cleaned into a segment keeps its place when its record went.
                next = header.next_offset().0;
                continue;
            }
            let key = book
                .sent
                .get(&id)
                .unwrap_or_else(|| panic!("{topic}: nobody sent what lies at {offset}: {header:?}"));
            if let Some(acked) = book.acked.get(&offset) {
                assert_eq!(*acked, id, "{topic}: other bytes at {offset}");
            }
            assert!(seen.insert(id, (offset, *key)).is_none(), "{topic}: one batch twice, at {offset}");
            next = header.next_offset().0;
            book.reads += 1;
        }
    }
    let there: BTreeMap<i64, u64> = seen.into_values().collect();
    if compacted {
        let last: BTreeMap<u64, i64> = there.iter().map(|(offset, key)| (*key, *offset)).collect();
        for (key, offset) in book.newest().into_iter().filter(|(_, offset)| *offset >= from) {
            let newest = last.get(&key).copied().unwrap_or(-1);
            assert!(
                newest >= offset,
                "{topic}: key {key} was acknowledged at {offset}, its newest is at {newest}"
            );
        }
    } else {
        for offset in book.acked.range(from..).map(|(offset, _)| offset) {
            assert!(there.contains_key(offset), "{topic}: acknowledged at {offset} and gone");
        }
    }
}

/// After a start: ends, log starts, and the newest part or everything, byte for byte.
async fn check(process: &Process, books: &mut [Book], everything: bool) {
    let mut client = process.client().await;
    for ((topic, _), book) in TOPICS.iter().zip(books) {
        until("the partition is led again", async || client.try_offset(topic, 0, LATEST).await.0 == 0).await;
        let (start, end) = (client.offset(topic, 0, EARLIEST).await, client.offset(topic, 0, LATEST).await);
        assert!(start >= book.log_start, "{topic}: the log start fell from {} to {start}", book.log_start);
        assert!(end >= book.end(), "{topic}: the log ends at {end}, acknowledged up to {}", book.end());
        book.log_start = start;
        let from = if everything { start } else { start.max(end - 150) };
        look(&mut client, topic, book, from).await;
        // Retention may have passed where reading began; then that part proves nothing any more.
        book.acked = book.acked.split_off(&start);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as long as FIRN_KILL_MINUTES says"]
async fn nothing_acknowledged_is_lost_when_killed_at_random() {
    let minutes: f64 =
        std::env::var("FIRN_KILL_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(30.0);
    let seed = SystemClock.now_ms() as u64;
    println!("seed {seed}, {minutes} minutes");
    let mut dice = Dice::new(seed);
    let home = Home::new(&["log.cleaner.backoff.ms=200", "log.retention.check.interval.ms=200"]);
    let mut process = home.start(&[]).await;
    for (topic, configs) in TOPICS {
        process.client().await.create(topic, 1, configs).await;
    }
    let mut books: Vec<Book> = TOPICS.iter().map(|_| Book::default()).collect();
    let (mut serial, mut kills, began) = (0, 0, Instant::now());
    while began.elapsed().as_secs_f64() < minutes * 60.0 {
        let lives = Duration::from_millis(20 + dice.below(2_500) as u64);
        produce_until_killed(&mut process, &mut books, &mut serial, Instant::now() + lives).await;
        kills += 1;
        if kills % 20 == 0 {
            println!("{kills} kills, {serial} batches sent");
        }
        process = home.start(&[]).await;
        check(&process, &mut books, kills % WHOLE_EVERY == 0).await;
        let trimmed = &mut books[3];
        let to = trimmed.log_start + (trimmed.end() - trimmed.log_start) / 2;
        let moved = process.client().await.delete_records("trimmed", 0, to).await;
        assert_eq!((moved.error_code, moved.low_watermark), (0, to));
        trimmed.log_start = to;
        trimmed.acked = trimmed.acked.split_off(&to);
    }
    check(&process, &mut books, true).await;
    let reads: u64 = books.iter().map(|book| book.reads).sum();
    let starts: Vec<i64> = books.iter().map(|book| book.log_start).collect();
    println!("{kills} kills, {serial} batches sent, {reads} read back and compared, log starts {starts:?}");
    assert!(books[1].log_start > 0 || serial < 2_000, "retention took part");
}
