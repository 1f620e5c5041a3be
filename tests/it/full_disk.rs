//! A disk that is really full: a small file system of its own under the log directory. Produce is refused, reads and
//! offload go on, and what they free is used again without a restart; also when the bucket is down meanwhile.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use tempfile::TempDir;

use crate::harness::asks::{COLD, EARLIEST_LOCAL, LATEST_TIERED, text};
use crate::harness::broker::{Client, TestBroker};
use crate::harness::records::{assert_same_batch, bulk};
use crate::harness::wait::until;

const KAFKA_STORAGE_ERROR: i16 = 56;
const DISK_BYTES: u64 = 64 << 20;
const BATCH: usize = 256 << 10;

/// An ext4 in a file, mounted; it goes when dropped.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// Nothing where this process may not mount; why is printed.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let image = dir.path().join("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).expect("a sparse file");
        let at = dir.path().join("disk");
        std::fs::create_dir(&at).expect("a mount point");
        let made = command("mkfs.ext4", &["-q", "-F", "-m", "0"], &[&image]);
        let mounted = made.and_then(|()| command("mount", &["-o", "loop"], &[&image, &at]));
        if let Err(why) = mounted {
            // Past the test runner, which keeps what a passing test prints to itself.
            let _ = writeln!(std::io::stderr(), "skipped: needs root and loop devices ({why})");
            return None;
        }
        Some(Self { dir })
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: threads of a broker that just ended may still hold a file.
        let _ = command("umount", &["-l"], &[&self.path()]);
    }
}

fn command(program: &str, options: &[&str], paths: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(options).args(paths).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", said.trim())) }
}

/// Produces until it is refused; how many batches the partition then holds.
async fn fill(client: &mut Client, topic: &str, mut next: u64) -> u64 {
    while next < 2 * DISK_BYTES / BATCH as u64 {
        let answer = client.produce(topic, 0, bulk(next, BATCH)).await.expect("an answer");
        if answer.error_code != 0 {
            assert_eq!(answer.error_code, KAFKA_STORAGE_ERROR, "{:?}", answer.error_message);
            return next;
        }
        assert_eq!(answer.base_offset as u64, next);
        next += 1;
    }
    panic!("{next} batches of {BATCH} bytes fit a disk of {DISK_BYTES}");
}

/// Every batch of `[0, end)` as it was sent.
async fn check(client: &mut Client, topic: &str, end: u64) {
    let read = client.read(topic, 0, 0, end as i64).await;
    assert_eq!(read.len() as u64, end);
    for (serial, (_, stored)) in read.iter().enumerate() {
        // Not a byte-for-byte comparison of headers: the timestamp was drawn when it was sent.
        let sent = bulk(serial as u64, BATCH);
        assert_eq!(stored.len(), sent.len());
        assert!(
            stored[stored.len() - BATCH..] == sent[sent.len() - BATCH..],
            "batch {serial} came back changed"
        );
    }
}

/// Waits until produce is taken again; the batch count after it.
async fn produce_again(client: &mut Client, topic: &str, next: u64) -> u64 {
    let batch = bulk(next, BATCH);
    until("produce is taken again", async || {
        let answer = client.produce(topic, 0, batch.clone()).await.expect("an answer");
        assert!(matches!(answer.error_code, 0 | KAFKA_STORAGE_ERROR), "{:?}", answer.error_message);
        answer.error_code == 0
    })
    .await;
    let stored = client.read(topic, 0, next as i64, next as i64 + 1).await;
    assert_same_batch(&stored[0].1, &batch);
    next + 1
}

async fn on_small_disk(disk: &SmallDisk) -> TestBroker {
    let dirs = format!("log.dirs={}", disk.path().join("log").display());
    TestBroker::with(&[&dirs]).await
}

#[tokio::test]
async fn a_full_disk_is_freed_by_local_retention_without_a_restart() {
    let Some(disk) = SmallDisk::mount() else { return };
    let broker = on_small_disk(&disk).await;
    let mut client = broker.client().await;
    let tiered = [("remote.storage.enable", "true"), ("segment.bytes", "1048576")];
    client.create("full", 1, &tiered).await;
    let end = fill(&mut client, "full", 0).await;
    assert!(end * BATCH as u64 > DISK_BYTES / 2, "refused after {end} batches");
    check(&mut client, "full", end).await;
    until("offload goes on while the disk is full", async || {
        client.offset("full", 0, LATEST_TIERED).await > end as i64 * 9 / 10
    })
    .await;
    let refused = client.produce("full", 0, bulk(end, BATCH)).await.unwrap();
    assert_eq!(refused.error_code, KAFKA_STORAGE_ERROR, "all of it is still on the disk too");
    // The quorum's log is on this disk: it takes a change all the same.
    let config =
        AlterableConfig::default().with_name(text("local.retention.bytes")).with_value(Some(text("1")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("full"))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    assert_eq!(client.call(1, &request).await.unwrap().responses[0].error_code, 0);
    let end = produce_again(&mut client, "full", end).await;
    assert!(client.offset("full", 0, EARLIEST_LOCAL).await > 0);
    check(&mut client, "full", end).await;
}

#[tokio::test]
async fn a_disk_that_filled_while_the_bucket_was_down_is_freed_when_it_is_back() {
    let Some(disk) = SmallDisk::mount() else { return };
    let broker = on_small_disk(&disk).await;
    broker.bucket.go_down();
    let mut client = broker.client().await;
    client.create("stuck", 1, COLD).await;
    let end = fill(&mut client, "stuck", 0).await;
    assert!(end * BATCH as u64 > DISK_BYTES / 2, "refused after {end} batches");
    check(&mut client, "stuck", end).await;
    assert_eq!(client.offset("stuck", 0, LATEST_TIERED).await, -1);
    broker.bucket.heal();
    let again = produce_again(&mut client, "stuck", end).await;
    assert!(client.offset("stuck", 0, EARLIEST_LOCAL).await > 0);
    // More than the disk holds: room keeps coming back.
    let mut next = again;
    while next < end + end / 2 {
        next = produce_again(&mut client, "stuck", next).await;
    }
    check(&mut client, "stuck", next).await;
}

#[tokio::test]
async fn a_disk_that_somebody_else_filled_to_the_last_byte_is_used_again_when_they_go() {
    let Some(disk) = SmallDisk::mount() else { return };
    let broker = on_small_disk(&disk).await;
    let mut client = broker.client().await;
    client.create("pressed", 1, &[]).await;
    for serial in 0..8 {
        client.append("pressed", 0, bulk(serial, BATCH)).await;
    }
    let hog = disk.path().join("hog");
    let filled =
        std::io::copy(&mut std::io::repeat(7), &mut std::fs::File::create(&hog).expect("another's file"));
    assert_eq!(filled.expect_err("no disk is endless").kind(), std::io::ErrorKind::StorageFull);
    // The broker may not have looked yet: then the write itself fails, and says the same.
    let end = fill(&mut client, "pressed", 8).await;
    check(&mut client, "pressed", end).await;
    std::fs::remove_file(&hog).expect("another's file");
    let end = produce_again(&mut client, "pressed", end).await;
    check(&mut client, "pressed", end).await;
}
