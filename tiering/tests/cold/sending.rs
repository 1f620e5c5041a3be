//! Uploads: what stands in the bucket is what was sent, and whatever is not, is found before anything is committed.

use crate::harness::segment::{InMemoryFile, made};
use crate::harness::world::World;
use bytes::Bytes;
use firnline_tiering::batch::header::Codec;
use firnline_tiering::cold::marker::{ClaimError, Ownership, marker};
use firnline_tiering::cold::store_error::StoreError;
use firnline_tiering::offload::upload::{SINGLE_PUT_BYTES, Upload, UploadError};
use firnline_tiering::offsets::Offset;

#[tokio::test]
async fn an_upload_is_one_put_and_its_first_bytes_are_the_log() {
    let world = World::new();
    let segment = made(0, 40, 100, Codec::None, 0);
    let entry = world.upload(&segment).await.unwrap();
    assert_eq!((entry.base, entry.next), (Offset(0), Offset(400)));
    assert_eq!((entry.min_timestamp, entry.max_timestamp), (1000, 1399));
    assert_eq!(world.faulty.count("put", ".firn"), 1);
    let key = &world.segments().await[0];
    let object = world.faulty.object(key).await;
    assert_eq!(object.len() as u64, entry.object_bytes());
    assert_eq!(object[..segment.bytes.len()], segment.bytes[..]);
}

#[tokio::test]
async fn a_long_segment_goes_in_parts_and_is_the_same_object() {
    let world = World::new();
    let batches = (SINGLE_PUT_BYTES / (1 << 20) + 3) as i64;
    let segment = made(0, batches, 110_000, Codec::None, 0);
    assert!(segment.bytes.len() as u64 > SINGLE_PUT_BYTES);
    let entry = world.append(&segment).await;
    assert_eq!(world.faulty.count("put", ".firn"), 0);
    assert!(world.faulty.count("part", ".firn") >= 3);
    let object = world.faulty.object(&world.segments().await[0]).await;
    assert_eq!(object.len() as u64, entry.object_bytes());
    assert!(object[..segment.bytes.len()] == segment.bytes[..], "log bytes differ");
}

#[tokio::test]
async fn a_damaged_local_segment_is_found_and_nothing_is_sent() {
    let world = World::new();
    let mut segment = made(0, 40, 100, Codec::None, 0);
    let middle = segment.bytes.len() / 2;
    segment.bytes[middle] ^= 1;
    let error = world.upload(&segment).await.unwrap_err();
    assert!(matches!(error, UploadError::Damaged(_)), "{error}");
    assert_eq!(world.faulty.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_store_that_keeps_less_or_other_bytes_is_found_out() {
    let world = World::new();
    let segment = made(0, 4, 100, Codec::None, 0);
    let at = segment.bytes.len() as u64;
    world.faulty.set(|faults| faults.truncate = Some((".firn".into(), at)));
    assert!(matches!(world.upload(&segment).await, Err(UploadError::Verify { .. })));
    world.faulty.heal();
    world.faulty.set(|faults| faults.flip = Some((".firn".into(), at + 2)));
    assert!(matches!(world.upload(&segment).await, Err(UploadError::Verify { .. })));
    world.faulty.heal();
    world.faulty.set(|faults| faults.flip = Some((".firn".into(), 70)));
    assert!(matches!(world.upload(&segment).await, Err(UploadError::Verify { .. })));
    world.faulty.heal();
    world.faulty.set(|faults| faults.drop_puts = Some(".firn".into()));
    let lost = world.upload(&segment).await;
    assert!(matches!(lost, Err(UploadError::Store(StoreError::NotFound { .. }))), "{lost:?}");
}

#[tokio::test]
async fn a_lost_answer_is_made_good_by_the_second_try() {
    let world = World::new();
    world.faulty.set(|faults| faults.fail_next = 1);
    world.upload(&made(0, 4, 100, Codec::None, 0)).await.unwrap();
    assert_eq!(world.faulty.count("put", ".firn"), 2);
    let requests = world.bucket.store.requests();
    assert_eq!((requests.puts, requests.errors, requests.retries), (2, 1, 1));
}

#[tokio::test]
async fn a_bucket_that_is_down_is_a_typed_error_that_says_what_to_check() {
    let world = World::new();
    world.faulty.set(|faults| faults.down = true);
    let error = world.upload(&made(0, 4, 100, Codec::None, 0)).await.unwrap_err();
    let UploadError::Store(StoreError::Unreachable { attempts: 2, .. }) = &error else { panic!("{error}") };
    assert!(error.to_string().contains("firn.s3.endpoint"), "{error}");
}

#[tokio::test]
async fn a_segment_is_uploaded_from_a_batch_inside_it() {
    let world = World::new();
    let segment = made(100, 6, 100, Codec::None, 0);
    let upload = |from: i64| {
        let (world, segment) = (&world, &segment);
        async move {
            let upload = Upload {
                key: "inside",
                uuid: uuid::Uuid::from_u128(7),
                file: &InMemoryFile(Bytes::from(segment.bytes.clone())),
                file_bytes: segment.bytes.len() as u64,
                segment_base: segment.base,
                from: Offset(from),
                next: segment.next,
                leader_epoch: world.led.leader_epoch,
                previous_epoch: world.led.leader_epoch,
                producers: &[],
                aborted: &[],
                labels: &[],
            };
            upload.run(&world.bucket.store, world.tier.entropy.as_ref()).await
        }
    };
    let entry = upload(130).await.unwrap();
    assert_eq!((entry.base, entry.next), (Offset(130), Offset(160)));
    assert_eq!(entry.log_bytes as usize * 2, segment.bytes.len());
    let torn = upload(135).await;
    assert!(matches!(torn, Err(UploadError::Damaged(_))), "a batch is never cut: {torn:?}");
}

#[tokio::test]
async fn the_first_upload_claims_the_bucket_and_a_foreign_marker_turns_it_off() {
    let world = World::new();
    assert_eq!(world.bucket.ownership(), Ownership::Unknown);
    world.bucket.claim().await.unwrap();
    assert_eq!(world.faulty.object("firn-cluster.json").await, marker("cluster"));
    assert_eq!(world.bucket.ownership(), Ownership::Ours);

    let other = World::new();
    other.bucket.store.put("firn-cluster.json", vec![Bytes::from(marker("another"))]).await.unwrap();
    other.faulty.clear_ledger();
    let refused = other.bucket.claim().await;
    assert!(
        matches!(&refused, Err(ClaimError::Foreign { whose, .. }) if whose.contains("another")),
        "{refused:?}"
    );
    assert_eq!(other.bucket.claim().await, refused, "remembered");
    assert_eq!(other.faulty.ledger().len(), 2, "asked, asked again to be sure, wrote nothing");
}

#[tokio::test]
async fn a_marker_that_reads_damaged_once_gives_the_bucket_to_nobody() {
    // The first byte makes it no JSON, the fifteenth another cluster.
    for at in [0, 15] {
        let world = World::new();
        world.bucket.store.put("firn-cluster.json", vec![Bytes::from(marker("cluster"))]).await.unwrap();
        world.faulty.set(|faults| faults.flip_next = Some(("firn-cluster".to_owned(), at, 1)));
        assert_eq!(world.bucket.claim().await, Ok(()), "byte {at}: the second read decides");
        assert_eq!(world.bucket.ownership(), Ownership::Ours);
    }
}
