//! The store over what it is really opened on: a directory always, an S3 server where one is named
//! (`FIRN_TEST_S3_ENDPOINT`, with bucket `firn`, keys `firn` / `firn-secret`).

use crate::harness::world::quick;
use bytes::Bytes;
use firnline_tiering::cold::probe::{Finding, probe};
use firnline_tiering::cold::store::{Store, StoreLimits};
use firnline_tiering::cold::store_error::StoreError;
use firnline_tiering::cold::url::{AccessKey, BucketUrl, S3Options};
use firnline_tiering::entropy::{Entropy, OsEntropy};
use std::sync::Arc;

fn open(url: &str, options: &S3Options, limits: StoreLimits) -> Arc<Store> {
    Store::open(&url.parse().unwrap(), options, limits, Arc::new(OsEntropy)).unwrap()
}

/// What every store must do.
async fn behaves(store: &Store) {
    let body = Bytes::from((0..100_000_u32).flat_map(u32::to_be_bytes).collect::<Vec<u8>>());
    store.put("a/b/one", vec![body.slice(..1000), body.slice(1000..)]).await.unwrap();
    store.put("a/b/one", vec![body.clone()]).await.unwrap();
    assert_eq!(store.head("a/b/one").await.unwrap().len, 400_000);
    assert_eq!(store.get_range("a/b/one", 7..4711).await.unwrap(), body.slice(7..4711));
    assert_eq!(store.get("a/b/one", 400_000).await.unwrap(), body);
    assert!(matches!(store.get("a/b/one", 399_999).await, Err(StoreError::TooLong { .. })));
    for range in [399_999..400_001, 400_000..400_001, 500_000..500_001] {
        let short = store.get_range("a/b/one", range.clone()).await;
        assert!(matches!(short, Err(StoreError::Short { .. })), "{range:?}: {short:?}");
    }
    for missing in [store.get("a/b/none", 10).await.map(drop), store.head("a/b/none").await.map(drop)] {
        assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    }
    let mut parts = store.begin("a/b/parts").await.unwrap();
    let big = Bytes::from(vec![5; 5 << 20]);
    parts.part(vec![big.clone()]).await.unwrap();
    parts.part(vec![body.clone()]).await.unwrap();
    assert!(
        matches!(store.head("a/b/parts").await, Err(StoreError::NotFound { .. })),
        "not before it is complete"
    );
    parts.complete().await.unwrap();
    assert_eq!(store.head("a/b/parts").await.unwrap().len, (5 << 20) + 400_000);
    let aborted = store.begin("a/b/aborted").await.unwrap();
    aborted.abort().await;
    let keys: Vec<String> = store.list("a", 10).await.unwrap().into_iter().map(|one| one.key).collect();
    assert_eq!(keys, ["a/b/one", "a/b/parts"]);
    for key in ["a/b/one", "a/b/parts", "a/b/parts", "a/b/none"] {
        store.delete(key).await.unwrap();
    }
    assert_eq!(store.list("a", 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_directory_is_a_bucket() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/made/on/the/way", dir.path().display());
    let store = open(&url, &S3Options::default(), StoreLimits::default());
    behaves(&store).await;
    assert_eq!(store.requests().retries, 0, "nothing final was asked twice");
    let report = probe(&url.parse().unwrap(), &S3Options::default(), &store, &OsEntropy).await;
    assert_eq!((report.reachable, report.range_get), (Finding::Yes, Finding::Yes));
    assert_eq!(store.list("", 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_bucket_nobody_serves_is_unreachable_and_probed_without_an_error() {
    // Port 9 (discard) is closed wherever tests run.
    let key = AccessKey { id: "x".into(), secret: "y".into() };
    let options = S3Options {
        endpoint: Some("http://127.0.0.1:9".into()),
        path_style: true,
        access_key: Some(key),
        ..S3Options::default()
    };
    let store = open("s3://bucket/prefix", &options, quick());
    let error = store.put("key", vec![Bytes::from_static(b"x")]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { attempts: 2, .. }), "{error:?}");
    let url: BucketUrl = "s3://bucket/prefix".parse().unwrap();
    let report = probe(&url, &options, &store, &OsEntropy).await;
    assert!(matches!(report.reachable, Finding::No(_)), "{report:?}");
    assert!(matches!(report.versioning, Finding::Unknown(_)), "{report:?}");
}

fn live() -> S3Options {
    let endpoint = std::env::var("FIRN_TEST_S3_ENDPOINT").unwrap();
    let key = AccessKey { id: "firn".into(), secret: "firn-secret".into() };
    S3Options { endpoint: Some(endpoint), path_style: true, access_key: Some(key), ..S3Options::default() }
}

#[tokio::test]
#[ignore = "needs an S3 server: FIRN_TEST_S3_ENDPOINT"]
async fn an_s3_server_is_a_bucket() {
    let prefix = OsEntropy.uuid();
    let url = format!("s3://firn/{prefix}/deep");
    let store = open(&url, &live(), StoreLimits::default());
    behaves(&store).await;
    assert_eq!(store.requests().retries, 0, "nothing final was asked twice");
    let report = probe(&url.parse().unwrap(), &live(), &store, &OsEntropy).await;
    assert_eq!(
        (&report.reachable, &report.range_get, &report.checksum),
        (&Finding::Yes, &Finding::Yes, &Finding::Yes)
    );
    assert!(matches!(report.versioning, Finding::No(_)), "{report:?}");
    assert_eq!(store.list("", 10).await.unwrap(), []);
}

#[tokio::test]
#[ignore = "needs an S3 server: FIRN_TEST_S3_ENDPOINT"]
async fn wrong_keys_and_missing_buckets_say_so_at_once() {
    let wrong = AccessKey { id: "firn".into(), secret: "wrong".into() };
    let store = open("s3://firn", &S3Options { access_key: Some(wrong), ..live() }, StoreLimits::default());
    let denied = store.put("key", vec![Bytes::from_static(b"x")]).await.unwrap_err();
    assert!(matches!(denied, StoreError::Denied { .. }), "{denied:?}");
    let store = open("s3://no-such-bucket-here", &live(), StoreLimits::default());
    for error in [
        store.put("key", vec![Bytes::from_static(b"x")]).await.unwrap_err(),
        store.get_range("key", 0..1).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::NoBucket { .. }), "{error:?}");
    }
    assert_eq!(store.requests().retries, 0);
    // From the environment, as AWS's own tools take it.
    let chain = S3Options { access_key: None, ..live() };
    let store = open("s3://firn", &chain, StoreLimits::default());
    let asked = store.head("no-such-key").await;
    assert!(matches!(asked, Err(StoreError::NotFound { .. } | StoreError::Denied { .. })), "{asked:?}");
}
