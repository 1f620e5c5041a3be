//! The promises of the read-through cache: one load for all, lies are misses, failures are not remembered.
//! No test here waits for a clock.
#![cfg(test)]
#![allow(clippy::disallowed_methods, reason = "tests damage the disk tier's files behind foyer's back")]

use super::*;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

const MIB: u64 = 1 << 20;

fn key(chunk: u32) -> ChunkKey {
    ChunkKey { object: 7, chunk }
}

fn bytes_of(chunk: u32) -> Bytes {
    Bytes::from(vec![chunk as u8 ^ 0x5a; 5000 + chunk as usize])
}

fn memory_only(memory_bytes: u64) -> Arc<ReadThrough> {
    ReadThrough::new(CacheConfig { memory_bytes, disk_bytes: 0, disk_dir: None }, Handle::current())
}

/// Memory for one chunk only: another chunk's get pushes it out.
fn on_disk(dir: &Path) -> Arc<ReadThrough> {
    let disk_dir = Some(dir.to_owned());
    ReadThrough::new(CacheConfig { memory_bytes: 1, disk_bytes: 64 * MIB, disk_dir }, Handle::current())
}

async fn get(cache: &Arc<ReadThrough>, chunk: u32) -> Result<Bytes, LoadError> {
    let bytes = bytes_of(chunk);
    cache.get(key(chunk), Check::of(&bytes), move || async move { Ok(bytes) }).await
}

#[tokio::test]
async fn a_hundred_gets_of_one_chunk_are_one_load() {
    let cache = memory_only(64 * MIB);
    let (calls, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let mut gets = Vec::new();
    for _ in 0..100 {
        let (cache, calls, gate) = (cache.clone(), calls.clone(), gate.clone());
        gets.push(tokio::spawn(async move {
            let load = move || async move {
                calls.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                Ok(bytes_of(1))
            };
            cache.get(key(1), Check::of(&bytes_of(1)), load).await
        }));
    }
    while cache.metrics().joins < 99 {
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    for get in gets {
        assert_eq!(get.await.unwrap(), Ok(bytes_of(1)));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let metrics = cache.metrics();
    assert_eq!((metrics.loads, metrics.misses, metrics.joins), (1, 1, 99));
    assert_eq!(get(&cache, 1).await, Ok(bytes_of(1)));
    assert_eq!(cache.metrics().hits_memory, 1);
}

#[tokio::test]
async fn a_failed_load_reaches_every_waiter_and_is_not_remembered() {
    let cache = memory_only(64 * MIB);
    let gate = Arc::new(Notify::new());
    let error = LoadError::Unavailable { what: "bucket down".into() };
    let mut gets = Vec::new();
    for _ in 0..10 {
        let (cache, gate, error) = (cache.clone(), gate.clone(), error.clone());
        gets.push(tokio::spawn(async move {
            let load = move || async move {
                gate.notified().await;
                Err(error)
            };
            cache.get(key(1), Check::of(&bytes_of(1)), load).await
        }));
    }
    while cache.metrics().joins < 9 {
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    for get in gets {
        assert_eq!(get.await.unwrap(), Err(error.clone()));
    }
    assert_eq!(get(&cache, 1).await, Ok(bytes_of(1)), "the next get loads again");
    let metrics = cache.metrics();
    assert_eq!((metrics.loads, metrics.load_errors), (2, 1));
}

#[tokio::test]
async fn a_load_that_panics_fails_its_waiters_and_frees_the_key() {
    let cache = memory_only(64 * MIB);
    let load = || async { panic!("a loader's bug") };
    let result = cache.get(key(1), Check::of(b""), load).await;
    assert!(matches!(result, Err(LoadError::Unavailable { .. })), "{result:?}");
    assert_eq!(get(&cache, 1).await, Ok(bytes_of(1)));
}

#[tokio::test]
async fn a_load_outlives_the_get_that_started_it() {
    let cache = memory_only(64 * MIB);
    let gate = Arc::new(Notify::new());
    let open = gate.clone();
    let load = move || async move {
        open.notified().await;
        Ok(bytes_of(1))
    };
    let check = Check::of(&bytes_of(1));
    {
        let get = cache.get(key(1), check, load);
        tokio::pin!(get);
        assert!(futures_poll_once(get.as_mut()).await.is_none(), "the load waits at its gate");
    }
    gate.notify_one();
    let never = || async { panic!("the first load's bytes must be used") };
    assert_eq!(cache.get(key(1), check, never).await, Ok(bytes_of(1)));
}

async fn futures_poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut future = Some(future);
    std::future::poll_fn(|context| {
        let polled = future.take().map(|future| future.poll(context));
        std::task::Poll::Ready(match polled {
            Some(std::task::Poll::Ready(output)) => Some(output),
            _ => None,
        })
    })
    .await
}

#[tokio::test]
async fn loaded_bytes_that_fail_their_check_are_an_error_not_an_answer() {
    let cache = memory_only(64 * MIB);
    let load = || async { Ok(bytes_of(2)) };
    let result = cache.get(key(1), Check::of(&bytes_of(1)), load).await;
    assert!(matches!(result, Err(LoadError::Corrupt { .. })), "{result:?}");
    assert_eq!(get(&cache, 1).await, Ok(bytes_of(1)));
}

#[tokio::test]
async fn a_prefetched_chunk_is_there_when_asked_for() {
    let cache = memory_only(64 * MIB);
    cache.prefetch(key(1), Check::of(&bytes_of(1)), || async { Ok(bytes_of(1)) });
    let never = || async { panic!("the prefetch must answer") };
    assert_eq!(cache.get(key(1), Check::of(&bytes_of(1)), never).await, Ok(bytes_of(1)));
    cache.prefetch(key(1), Check::of(&bytes_of(1)), || async { panic!("it is in memory") });
    assert_eq!(cache.metrics().loads, 1);
}

#[tokio::test]
async fn too_much_read_ahead_is_dropped_and_counted() {
    let cache = memory_only(64 * MIB);
    let half_of_it = Check { crc32c: 0, len: 4 << 20 };
    for chunk in 0..4 {
        cache.prefetch(key(chunk), half_of_it, std::future::pending);
    }
    assert_eq!(cache.metrics().dropped_prefetches, 2);
}

#[tokio::test]
async fn a_forgotten_object_is_loaded_again() {
    let cache = memory_only(64 * MIB);
    for chunk in 0..3 {
        get(&cache, chunk).await.unwrap();
    }
    assert_eq!(cache.residency(7, 10), Residency { memory_chunks: 3, disk_chunks: 0 });
    cache.forget_object(7, 3);
    assert_eq!(cache.residency(7, 10), Residency::default());
    get(&cache, 0).await.unwrap();
    assert_eq!(cache.metrics().loads, 4);
}

#[tokio::test]
async fn memory_stays_within_its_budget() {
    let cache = memory_only(MIB);
    for chunk in 0..1000 {
        get(&cache, chunk).await.unwrap();
    }
    let metrics = cache.metrics();
    assert!(metrics.memory_bytes <= MIB, "{metrics:?}");
    assert!(metrics.memory_bytes > MIB / 2, "{metrics:?}");
}

#[tokio::test]
async fn a_cache_without_any_budget_still_answers() {
    let cache = memory_only(0);
    for chunk in [1, 2, 1, 2] {
        assert_eq!(get(&cache, chunk).await, Ok(bytes_of(chunk)));
    }
    assert!(cache.metrics().loads >= 2);
}

#[test]
fn loads_run_on_the_cold_runtime_not_on_the_one_that_asks() {
    let cold =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("cold").build().unwrap();
    let serving = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let config = CacheConfig { memory_bytes: 64 * MIB, disk_bytes: 0, disk_dir: None };
    let cache = ReadThrough::new(config, cold.handle().clone());
    let load = || async { Ok(Bytes::from(std::thread::current().name().unwrap_or("?").to_owned())) };
    let answer = serving.block_on(cache.get(key(1), Check::of(b"cold"), load));
    assert_eq!(answer, Ok(Bytes::from("cold")));
}

#[tokio::test]
async fn the_second_load_enters_the_disk_tier_and_the_third_get_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = on_disk(dir.path());
    for chunk in [1, 2, 1, 2, 1] {
        assert_eq!(get(&cache, chunk).await, Ok(bytes_of(chunk)));
    }
    let metrics = cache.metrics();
    assert_eq!((metrics.loads, metrics.hits_disk, metrics.not_admitted), (4, 1, 2), "{metrics:?}");
    assert_eq!(cache.residency(7, 3).disk_chunks, 2);
    cache.close().await;
}

#[tokio::test]
async fn nothing_is_opened_before_the_first_get() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("cache");
    let cache = on_disk(&inside);
    assert_eq!((cache.metrics(), cache.residency(7, 3)), Default::default());
    cache.forget_object(7, 3);
    cache.close().await;
    assert!(!inside.exists());
    get(&cache, 1).await.unwrap();
    assert!(inside.exists());
    cache.close().await;
}

/// Fills the disk tier with chunks 0..n and closes it.
async fn filled(dir: &Path, n: u32) {
    let cache = on_disk(dir);
    for chunk in (0..n).chain(0..n) {
        get(&cache, chunk).await.unwrap();
    }
    cache.close().await;
}

#[tokio::test]
async fn the_disk_tier_survives_a_restart_or_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 20).await;
    let cache = on_disk(dir.path());
    for chunk in 0..20 {
        assert_eq!(get(&cache, chunk).await, Ok(bytes_of(chunk)));
    }
    let metrics = cache.metrics();
    assert_eq!(metrics.hits_disk + metrics.loads, 20, "{metrics:?}");
    assert!(metrics.hits_disk > 0, "{metrics:?}");
    assert_eq!(metrics.disk_lies, 0, "{metrics:?}");
    cache.close().await;
}

#[tokio::test]
async fn a_disk_entry_with_other_bytes_is_a_miss_and_leaves() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 2).await;
    let cache = on_disk(dir.path());
    let load = || async { Ok(bytes_of(9)) };
    // The disk tier holds what chunk 0 was; its check says it must be something else.
    let result = cache.get(key(0), Check::of(&bytes_of(9)), load).await;
    assert_eq!(result, Ok(bytes_of(9)));
    let metrics = cache.metrics();
    assert_eq!((metrics.disk_lies, metrics.hits_disk, metrics.loads), (1, 0, 1), "{metrics:?}");
    assert_eq!(cache.residency(7, 1).disk_chunks, 0, "the lie is gone");
    cache.close().await;
}

#[tokio::test]
async fn flipped_bits_on_disk_never_come_back() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 20).await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(700) {
            bytes[at] ^= 0x10;
        }
        std::fs::write(&path, bytes).unwrap();
    }
    let cache = on_disk(dir.path());
    for chunk in 0..20 {
        assert_eq!(get(&cache, chunk).await, Ok(bytes_of(chunk)));
    }
    let metrics = cache.metrics();
    assert_eq!((metrics.hits_disk, metrics.loads), (0, 20), "{metrics:?}");
    cache.close().await;
}

#[tokio::test]
async fn a_disk_tier_that_does_not_open_costs_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("in-the-way");
    std::fs::write(&file, b"not a directory").unwrap();
    let cache = on_disk(&file);
    assert_eq!(get(&cache, 1).await, Ok(bytes_of(1)));
    cache.close().await;
}
