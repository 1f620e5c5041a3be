//! Cold reads: every byte as it was sent, every request accounted for, damage found and confined.

use crate::harness::segment::{Made, made};
use crate::harness::world::World;
use bytes::Bytes;
use firnline_cache::key::CHUNK_BYTES;
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::header::{Codec, batches};
use firnline_tiering::cold::marker::marker;
use firnline_tiering::cold::reader::ColdReadError;
use firnline_tiering::cold::tier::TierRow;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::offsets::Offset;
use std::collections::BTreeSet;

async fn read_all(world: &World, from: i64, max_bytes: u64) -> Vec<u8> {
    let (row, mut at, mut out) = (world.row(), Offset(from), Vec::new());
    while at < row.end {
        let read = world.reader.read(&world.log, &row, at, max_bytes, Offset::MAX).await.unwrap();
        assert!(read.next > at, "stuck at {at}");
        assert!(!read.bytes.is_empty());
        out.extend_from_slice(&read.bytes);
        at = read.next;
    }
    out
}

async fn three_segments(world: &World) -> Vec<Made> {
    let mut all = Vec::new();
    for (base, codec) in [(0, Codec::None), (400, Codec::Zstd), (800, Codec::None)] {
        let segment = made(base, 40, 9000, codec, 0);
        world.append(&segment).await;
        all.push(segment);
    }
    all
}

#[tokio::test]
async fn what_comes_back_is_what_went_in_whatever_the_read_size() {
    let world = World::new();
    let all = three_segments(&world).await;
    let sent: Vec<u8> = all.iter().flat_map(|one| one.bytes.clone()).collect();
    for max_bytes in [1, 70_000, 1 << 20, 5 << 20] {
        assert!(read_all(&world, 0, max_bytes).await == sent, "read size {max_bytes}");
    }
}

#[tokio::test]
async fn a_read_begins_with_the_batch_that_holds_the_offset_and_stops_at_the_bound() {
    let world = World::new();
    three_segments(&world).await;
    for from in [0, 1, 9, 10, 399, 400, 777, 1199] {
        let read = world.reader.read(&world.log, &world.row(), Offset(from), 1, Offset::MAX).await.unwrap();
        let headers: Vec<_> = batches(&read.bytes).map(|batch| batch.unwrap().0).collect();
        assert_eq!(headers.len(), 1, "one batch at least and at most");
        assert_eq!(headers[0].base_offset, Offset(from / 10 * 10));
        assert_eq!(read.next, headers[0].next_offset());
    }
    let bounded = world.reader.read(&world.log, &world.row(), Offset(0), 1 << 20, Offset(30)).await.unwrap();
    assert_eq!(bounded.next, Offset(30));
    let none = world.reader.read(&world.log, &world.row(), Offset(30), 1 << 20, Offset(30)).await.unwrap();
    assert_eq!((none.bytes, none.next), (Bytes::new(), Offset(30)));
}

#[tokio::test]
async fn offsets_outside_the_tier_are_refused() {
    let world = World::new();
    three_segments(&world).await;
    let read = world.reader.read(&world.log, &world.row(), Offset(1200), 1, Offset::MAX).await;
    let expected = ColdReadError::OutOfRange { asked: Offset(1200), log_start: Offset(0), end: Offset(1200) };
    assert_eq!(read, Err(expected));
}

#[tokio::test]
async fn two_readers_of_one_range_cost_one_get_per_chunk() {
    let world = World::new();
    three_segments(&world).await;
    world.faulty.clear_ledger();
    let (a, b) = tokio::join!(read_all(&world, 0, 1 << 20), read_all(&world, 0, 1 << 20));
    assert!(a == b);
    let mut seen = BTreeSet::new();
    for line in world.faulty.ledger().iter().filter(|line| line.verb == "get" && line.key.ends_with(".firn"))
    {
        assert!(seen.insert((line.key.clone(), line.range)), "asked twice: {line:?}");
    }
    let row = world.row();
    let chunks: usize = row.entries.iter().map(|entry| entry.chunks() as usize).sum();
    assert!(chunks >= 9, "{chunks} chunks make a test");
    assert_eq!(seen.len(), chunks + row.entries.len(), "each chunk once, and each segment opened once");
}

#[tokio::test]
async fn a_sequential_reader_finds_the_next_chunk_already_asked_for_also_over_a_border() {
    let world = World::new();
    three_segments(&world).await;
    let row = world.row();
    let mut at = Offset(0);
    while at < row.end {
        // From the second read on nobody answers while it runs: what it needs was asked for before.
        world.faulty.set(|faults| faults.down = at > Offset(0));
        let read = world.reader.read(&world.log, &row, at, 200_000, Offset::MAX).await.unwrap();
        world.faulty.heal();
        // What was asked for ahead arrives.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        at = read.next;
    }
    let metrics = world.cache.metrics();
    let chunks: u64 = row.entries.iter().map(|entry| u64::from(entry.chunks())).sum();
    assert_eq!(metrics.loads, chunks, "every chunk loaded once: {metrics:?}");
}

#[tokio::test]
async fn a_flipped_bit_costs_two_gets_and_fails_that_read_alone() {
    let world = World::new();
    three_segments(&world).await;
    let row = world.row();
    let victim = row.entries[1];
    // A read of another segment first, so that only the damaged chunk is left to ask for.
    world.reader.read(&world.log, &row, Offset(400), 1, Offset::MAX).await.unwrap();
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    let world = world.restarted();
    world.faulty.set(|faults| faults.flip = Some((victim.uuid.to_string(), 5)));
    world.faulty.clear_ledger();
    let damaged = world.reader.read(&world.log, &row, Offset(400), 1, Offset::MAX).await;
    assert!(matches!(damaged, Err(ColdReadError::Corrupt { .. })), "{damaged:?}");
    let asked = |range: (u64, u64)| {
        let of_victim = |line: &&crate::harness::bucket::Line| line.key.contains(&victim.uuid.to_string());
        world.faulty.ledger().iter().filter(of_victim).filter(|line| line.range == Some(range)).count()
    };
    assert_eq!(asked((0, CHUNK_BYTES)), 2);
    for healthy in [0, 800] {
        world.reader.read(&world.log, &row, Offset(healthy), 1, Offset::MAX).await.unwrap();
    }
    world.faulty.heal();
    world.reader.read(&world.log, &row, Offset(400), 1, Offset::MAX).await.unwrap();
}

#[tokio::test]
async fn truncation_outage_and_loss_are_told_apart() {
    let world = World::new();
    three_segments(&world).await;
    let row = world.row();
    world.faulty.set(|faults| faults.truncate = Some((".firn".into(), 100)));
    let read = world.reader.read(&world.log, &row, Offset(0), 1, Offset::MAX).await;
    assert!(matches!(read, Err(ColdReadError::Corrupt { .. })), "{read:?}");
    world.faulty.heal();
    world.faulty.set(|faults| faults.down = true);
    let read = world.reader.read(&world.log, &row, Offset(0), 1, Offset::MAX).await;
    assert!(matches!(read, Err(ColdReadError::Unavailable { .. })), "{read:?}");
    world.faulty.heal();
    let key = world.segments().await[0].clone();
    world.bucket.store.delete(&key).await.unwrap();
    let read = world.reader.read(&world.log, &row, Offset(0), 1, Offset::MAX).await;
    assert!(matches!(read, Err(ColdReadError::NotFound { .. })), "{read:?}");
}

#[tokio::test]
async fn a_foreign_bucket_serves_nothing() {
    let world = World::new();
    three_segments(&world).await;
    world.bucket.store.put("firn-cluster.json", vec![Bytes::from(marker("another"))]).await.unwrap();
    let read = world.reader.read(&world.log, &world.row(), Offset(0), 1, Offset::MAX).await;
    assert!(
        matches!(&read, Err(ColdReadError::Unavailable { what }) if what.contains("another")),
        "{read:?}"
    );
}

#[tokio::test]
async fn the_offset_of_a_time_is_exact_to_the_record_in_every_codec() {
    let world = World::new();
    three_segments(&world).await;
    let row = world.row();
    for (time, expected) in
        [(0, Some(0)), (1000, Some(0)), (1405, Some(405)), (1999, Some(999)), (2200, None)]
    {
        let found = world.reader.offset_for_time(&world.log, &row, time, Offset::MAX, 1 << 20).await.unwrap();
        assert_eq!(found.map(|found| found.offset.0), expected, "time {time}");
        assert_eq!(found.map(|found| found.timestamp_ms), expected.map(|offset| 1000 + offset));
    }
    let bounded = world.reader.offset_for_time(&world.log, &row, 1405, Offset(405), 1 << 20).await.unwrap();
    assert_eq!(bounded, None);
}

#[tokio::test]
async fn a_batch_that_opens_to_too_much_is_passed_over_whole() {
    let world = World::new();
    world.append(&made(0, 2, 9000, Codec::Zstd, 0)).await;
    let found = world.reader.offset_for_time(&world.log, &world.row(), 1005, Offset::MAX, 100).await.unwrap();
    assert_eq!(found, None);
}

#[tokio::test]
async fn a_log_restarts_from_the_lineage_and_producers_of_the_bucket() {
    let world = World::new();
    let mut segment = made(0, 4, 100, Codec::None, 0);
    let later = made(40, 4, 100, Codec::None, 0);
    segment.bytes.extend_from_slice(&later.bytes);
    segment.next = later.next;
    world.append(&segment).await;
    let state = world.reader.state_at_end(&world.log, &world.row()).await.unwrap().unwrap();
    assert_eq!(state.producers, Bytes::from_static(b"producers"));
    let spans: Vec<_> = state.lineage.spans().iter().map(|(epoch, start)| (epoch.0, start.0)).collect();
    assert_eq!(spans, [(0, 0)]);
}

#[tokio::test]
async fn residency_says_what_lies_where() {
    let world = World::new();
    let all = three_segments(&world).await;
    let bytes: u64 = all.iter().map(|one| one.bytes.len() as u64).sum();
    let cold = world.reader.residency(&world.log, &world.row()).await;
    assert_eq!((cold.memory, cold.disk, cold.bucket, cold.segments), (0, 0, bytes, 3));
    read_all(&world, 0, 1 << 20).await;
    let warm = world.reader.residency(&world.log, &world.row()).await;
    assert_eq!((warm.memory, warm.disk, warm.bucket), (bytes, 0, bytes));
}

#[tokio::test]
async fn the_largest_timestamp_is_found_where_start_or_bound_cut_the_segment_that_has_it() {
    let world = World::new();
    // The oldest segment is the one with the largest timestamp, at offset 3.
    let mut builder = BatchBuilder::new().base_offset(Offset(0)).leader_epoch(LeaderEpoch(0));
    for timestamp in [10, 20, 30, 9000, 25, 40] {
        builder.push(timestamp, Some(b"k"), Some(b"v"), &[]);
    }
    let odd = Made { base: Offset(0), next: Offset(6), bytes: builder.build().to_vec() };
    world.append(&odd).await;
    world.append(&made(6, 4, 100, Codec::Zstd, 0)).await;
    let largest = async |start: i64, bound: i64| {
        let row = TierRow { log_start: Offset(start), ..(*world.row()).clone() };
        let found = world.reader.max_timestamp(&world.log, &row, Offset(bound), 1 << 20).await.unwrap();
        found.map(|found| (found.offset.0, found.timestamp_ms))
    };
    assert_eq!(largest(0, 46).await, Some((3, 9000)));
    assert_eq!(largest(4, 46).await, Some((45, 1045)), "the start cuts the batch that had it");
    assert_eq!(largest(4, 36).await, Some((35, 1035)), "so does the bound");
    assert_eq!(largest(4, 6).await, Some((5, 40)));
    assert_eq!(largest(6, 6).await, None);
}
