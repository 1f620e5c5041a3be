//! Offload, retention and deletion of a real log, with crashes, lost answers and outages at every step.

use crate::harness::quorum::Next;
use crate::harness::segment::value_of;
use crate::harness::world::{World, open_log, roll};
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::validate::Origin;
use firnline_tiering::cold::commit::{CommitError, TierCommit};
use firnline_tiering::cold::manifest::Manifest;
use firnline_tiering::cold::reader::ColdReadError;
use firnline_tiering::cold::tier::TierChangeKind;
use firnline_tiering::config::LogConfig;
use firnline_tiering::gc::{purge_log, retain};
use firnline_tiering::log::append::AppendAs;
use firnline_tiering::log::read::Read;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offload::context::OffloadError;
use firnline_tiering::offload::settle::settle_all;
use firnline_tiering::offload::task::offload_once;
use firnline_tiering::offsets::Offset;
use std::sync::Arc;

const KEEP_LOCAL: LogConfigEdit = |config| {
    config.retention_ms = -1;
    config.local_retention_ms = -1;
};
const RELEASE_AT_ONCE: LogConfigEdit = |config| {
    config.retention_ms = -1;
    config.local_retention_ms = 0;
};
type LogConfigEdit = fn(&mut LogConfig);

/// Appends one batch of 10 records of 1 KiB and seals it as a segment of its own; returns the batch as stored.
fn seal_one(log: &Log) -> Vec<u8> {
    let base = log.offsets().end;
    let mut builder = BatchBuilder::new();
    for offset in base.0..base.0 + 10 {
        builder.push(1000 + offset, None, Some(&value_of(offset, 1024)), &[]);
    }
    let mut batch = builder.build().to_vec();
    let epoch = firnline_tiering::epoch::LeaderEpoch(0);
    let how = AppendAs { leader_epoch: epoch, now_ms: 1000, origin: Origin::Client, produce_version: 11 };
    log.append(&mut batch, &how).unwrap();
    roll(log);
    batch
}

async fn offload_all(world: &World, log: &Log) -> usize {
    let mut uploaded = 0;
    loop {
        let done = offload_once(log, &world.led, Offset::MAX, &world.tier).await.unwrap();
        uploaded += usize::from(done.uploaded.is_some());
        if !done.more {
            return uploaded;
        }
    }
}

async fn read_all(world: &World, log: &Log) -> Vec<u8> {
    let (mut at, mut out) = (log.offsets().log_start, Vec::new());
    while at < log.offsets().end {
        match log.read(at, 1 << 20, Offset::MAX, true).unwrap() {
            Read::Hot(slice) => {
                let mut bytes = vec![0; usize::try_from(slice.len).unwrap()];
                slice.file.read_exact_at(&mut bytes, slice.at).unwrap();
                for batch in firnline_tiering::batch::header::batches(&bytes) {
                    at = batch.unwrap().0.next_offset();
                }
                out.extend_from_slice(&bytes);
            }
            Read::Cold => {
                let read =
                    world.reader.read(&world.log, &world.row(), at, 1 << 20, Offset::MAX).await.unwrap();
                at = read.next;
                out.extend_from_slice(&read.bytes);
            }
            Read::Empty => panic!("nothing at {at}"),
        }
    }
    out
}

async fn manifest(world: &World) -> Option<Arc<Manifest>> {
    let row = world.row();
    Some(world.tier.manifests.load(&world.log, &row.manifest?).await.unwrap())
}

/// I14: every object is named by a row, a manifest, a graveyard or an open intent, and every live one is there.
async fn audit(world: &World) {
    let (row, manifest) = (world.row(), manifest(world).await);
    let entries = world.tier.manifests.entries(&world.log, &row).await.unwrap();
    let segments = world.segments().await;
    for entry in entries.iter().filter(|entry| entry.next > row.log_start) {
        let found = segments.iter().find(|key| key.contains(&entry.uuid.to_string()));
        let object = world.faulty.object(found.unwrap_or_else(|| panic!("{entry:?} is not there"))).await;
        assert_eq!(object.len() as u64, entry.object_bytes());
    }
    let mut named: Vec<String> = entries.iter().map(|entry| entry.uuid.to_string()).collect();
    named.extend(row.manifest.map(|pointer| pointer.uuid.to_string()));
    named.extend(
        world.tier.intents.open_intents().unwrap().iter().map(|intent| intent.name.uuid().to_string()),
    );
    if let Some(manifest) = manifest {
        named.extend(manifest.graveyard.iter().map(|grave| grave.name.uuid().to_string()));
    }
    for key in world.faulty.keys().await {
        let known = key == "firn-cluster.json" || named.iter().any(|uuid| key.contains(uuid));
        assert!(known, "{key} is an orphan");
    }
}

#[tokio::test]
async fn a_log_moves_to_the_bucket_and_reads_back_the_same() {
    let world = World::new();
    let log = open_log(&world, RELEASE_AT_ONCE);
    let sent: Vec<u8> = (0..40).flat_map(|_| seal_one(&log)).collect();
    assert_eq!(offload_all(&world, &log).await, 40);
    let row = world.row();
    assert_eq!(row.end, Offset(400));
    assert!(row.entries.len() < 16, "folded at 16");
    assert_eq!(row.segments(), 40);
    assert_eq!(log.offsets().local_start, Offset(400), "all of it left the local disk");
    assert!(read_all(&world, &log).await == sent);
    audit(&world).await;
    assert_eq!(world.tier.intents.open_intents().unwrap(), []);
}

#[tokio::test]
async fn one_segment_costs_one_put_and_one_commit() {
    let world = World::new();
    let log = open_log(&world, KEEP_LOCAL);
    seal_one(&log);
    offload_all(&world, &log).await;
    seal_one(&log);
    let version = world.row().version;
    world.faulty.clear_ledger();
    offload_all(&world, &log).await;
    assert_eq!(world.faulty.count("put", ""), 1);
    assert_eq!(world.faulty.count("list", ""), 0);
    assert_eq!(world.row().version.0, version.0 + 1);
}

#[tokio::test]
async fn nothing_goes_above_the_last_stable_offset() {
    let world = World::new();
    let log = open_log(&world, KEEP_LOCAL);
    seal_one(&log);
    seal_one(&log);
    let done = offload_once(&log, &world.led, Offset(19), &world.tier).await.unwrap();
    assert!(done.uploaded.is_some());
    let done = offload_once(&log, &world.led, Offset(19), &world.tier).await.unwrap();
    assert_eq!((done.uploaded, world.row().end), (None, Offset(10)));
}

#[tokio::test]
async fn an_old_entry_is_folded_even_if_it_is_alone() {
    let world = World::new();
    let log = open_log(&world, KEEP_LOCAL);
    seal_one(&log);
    offload_all(&world, &log).await;
    assert_eq!((world.row().entries.len(), world.row().manifest), (1, None));
    world.clock.forward(10 * 60_000);
    assert!(offload_once(&log, &world.led, Offset::MAX, &world.tier).await.unwrap().folded);
    assert_eq!((world.row().entries.len(), world.row().segments()), (0, 1));
    audit(&world).await;
}

#[tokio::test]
async fn an_outage_leaves_an_intent_that_the_next_turn_settles() {
    let world = World::new();
    let log = open_log(&world, RELEASE_AT_ONCE);
    let sent = seal_one(&log);
    world.bucket.claim().await.unwrap();
    world.faulty.set(|faults| faults.lose_put_answers = true);
    // The PUT is done, its answer lost, and then nobody answers: verified it is not, so it does not count.
    let failed = offload_once(&log, &world.led, Offset::MAX, &world.tier).await;
    assert!(matches!(failed, Err(OffloadError::Upload(_))), "{failed:?}");
    assert_eq!(log.offsets().local_start, Offset(0), "not verified, not released");
    world.faulty.set(|faults| faults.down = true);
    assert!(offload_once(&log, &world.led, Offset::MAX, &world.tier).await.is_err());
    audit(&world).await;
    world.faulty.heal();
    assert_eq!(offload_all(&world, &log).await, 1);
    assert_eq!(world.segments().await.len(), 1);
    assert!(read_all(&world, &log).await == sent);
    audit(&world).await;
}

#[tokio::test]
async fn what_the_bucket_holds_leaves_the_local_disk_also_while_the_bucket_is_down() {
    let world = World::new();
    let log = open_log(&world, KEEP_LOCAL);
    seal_one(&log);
    offload_all(&world, &log).await;
    seal_one(&log);
    world.faulty.set(|faults| faults.down = true);
    let mut config = (*log.config()).clone();
    RELEASE_AT_ONCE(&mut config);
    log.set_config(config);
    assert!(offload_once(&log, &world.led, Offset::MAX, &world.tier).await.is_err());
    assert_eq!(log.offsets().local_start, Offset(10), "the committed one went, the other stays");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_counts_and_is_found_to() {
    let world = World::new();
    let log = open_log(&world, KEEP_LOCAL);
    seal_one(&log);
    world.quorum.next_commit(Next::ApplyAndLoseAnswer);
    let failed = offload_once(&log, &world.led, Offset::MAX, &world.tier).await;
    assert!(matches!(failed, Err(OffloadError::Commit(CommitError::Unknown(_)))), "{failed:?}");
    assert_eq!(world.tier.intents.open_intents().unwrap().len(), 1);
    let world = world.restarted();
    assert_eq!(settle_all(&world.tier).await.unwrap(), 0, "nothing removed");
    assert_eq!(world.tier.intents.open_intents().unwrap(), []);
    assert_eq!(world.row().end, Offset(10));
    audit(&world).await;
}

#[tokio::test]
async fn a_commit_still_on_its_way_is_fenced_before_its_object_goes() {
    let world = World::new();
    let log = open_log(&world, KEEP_LOCAL);
    seal_one(&log);
    world.quorum.next_commit(Next::Delay);
    assert!(offload_once(&log, &world.led, Offset::MAX, &world.tier).await.is_err());
    let world = world.restarted();
    assert_eq!(settle_all(&world.tier).await.unwrap(), 1);
    assert_eq!(world.segments().await, Vec::<String>::new());
    let late = world.quorum.deliver_late();
    assert!(matches!(late, Err(CommitError::Refused(_))), "an entry without its object: {late:?}");
    assert_eq!(offload_all(&world, &log).await, 1);
    audit(&world).await;
}

#[tokio::test]
async fn a_deposed_leader_stops_and_its_object_goes() {
    let world = World::new();
    let log = open_log(&world, KEEP_LOCAL);
    seal_one(&log);
    let row = world.row().with_leader_epoch(firnline_tiering::epoch::LeaderEpoch(7));
    world.quorum.put(&world.log, row);
    let refused = offload_once(&log, &world.led, Offset::MAX, &world.tier).await;
    assert!(matches!(refused, Err(OffloadError::NotLeader { .. })), "{refused:?}");
    assert_eq!(world.segments().await, Vec::<String>::new());
}

#[tokio::test]
async fn two_tasks_never_work_on_one_log() {
    let world = World::new();
    let log = open_log(&world, KEEP_LOCAL);
    seal_one(&log);
    let (a, b) = tokio::join!(
        offload_once(&log, &world.led, Offset::MAX, &world.tier),
        offload_once(&log, &world.led, Offset::MAX, &world.tier)
    );
    assert!(a.unwrap().uploaded.is_some());
    assert!(matches!(b, Err(OffloadError::Busy(_))));
}

#[tokio::test]
async fn retention_moves_the_log_start_first_and_objects_die_after_their_grace() {
    let world = World::new();
    let log = open_log(&world, |config| {
        RELEASE_AT_ONCE(config);
        config.retention_bytes = 40_000;
    });
    for _ in 0..20 {
        seal_one(&log);
    }
    offload_all(&world, &log).await;
    let old_row = world.row();
    let done = retain(&log, &world.led, Offset::MAX, &world.tier).await.unwrap();
    let start = done.log_start.unwrap();
    assert!(start > Offset(100) && start < Offset(200), "{start}");
    assert_eq!((world.row().log_start, log.offsets().log_start), (start, start));
    assert_eq!(done.objects_deleted, 0, "the grace period runs");
    assert_eq!(world.segments().await.len(), 20);
    audit(&world).await;
    // A reader still at it, with the row from before, reads on.
    world.reader.read(&world.log, &old_row, Offset(0), 1, Offset::MAX).await.unwrap();

    world.clock.forward(60_000);
    world.faulty.set(|faults| faults.down = true);
    assert!(retain(&log, &world.led, Offset::MAX, &world.tier).await.is_err());
    world.faulty.heal();
    let done = retain(&log, &world.led, Offset::MAX, &world.tier).await.unwrap();
    assert!(done.objects_deleted > 0);
    let live = world.row().segments();
    assert_eq!(world.segments().await.len(), live);
    audit(&world).await;
    let fresh = world.restarted();
    let gone = fresh.reader.read(&fresh.log, &old_row, Offset(0), 1, Offset::MAX).await;
    assert!(matches!(gone, Err(ColdReadError::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_graveyard_empties_only_by_confirmed_deletions_and_does_not_feed_itself() {
    let world = World::new();
    let log = open_log(&world, RELEASE_AT_ONCE);
    for _ in 0..40 {
        seal_one(&log);
    }
    offload_all(&world, &log).await;
    world.commit(TierChangeKind::MoveLogStart(Offset(300))).await;
    retain(&log, &world.led, Offset::MAX, &world.tier).await.unwrap();
    assert!(manifest(&world).await.unwrap().graveyard.len() >= 30);
    let version = world.row().version;
    for _ in 0..6 {
        world.clock.forward(60_000);
        retain(&log, &world.led, Offset::MAX, &world.tier).await.unwrap();
        audit(&world).await;
    }
    assert!(world.row().version.0 - version.0 <= 2, "a swap for each swap's own grave would never end");
    assert!(manifest(&world).await.unwrap().graveyard.len() < 16);
    assert_eq!(world.segments().await.len(), 10);
}

#[tokio::test]
async fn a_restart_between_log_start_and_files_is_made_good() {
    let world = World::new();
    let log = open_log(&world, KEEP_LOCAL);
    for _ in 0..4 {
        seal_one(&log);
    }
    offload_all(&world, &log).await;
    world.commit(TierChangeKind::MoveLogStart(Offset(25))).await;
    retain(&log, &world.led, Offset::MAX, &world.tier).await.unwrap();
    assert_eq!((log.offsets().log_start, log.offsets().local_start), (Offset(25), Offset(25)));
    audit(&world).await;
}

#[tokio::test]
async fn the_tier_goes_on_after_everything_in_it_expired() {
    let world = World::new();
    let log = open_log(&world, RELEASE_AT_ONCE);
    for _ in 0..3 {
        seal_one(&log);
    }
    offload_all(&world, &log).await;
    // Not offloaded, and deleted by DeleteRecords all the same.
    seal_one(&log);
    world.commit(TierChangeKind::MoveLogStart(Offset(40))).await;
    retain(&log, &world.led, Offset::MAX, &world.tier).await.unwrap();
    let sent = seal_one(&log);
    assert_eq!(offload_all(&world, &log).await, 1);
    assert_eq!(world.row().end, Offset(50));
    assert!(read_all(&world, &log).await == sent);
    audit(&world).await;
}

#[tokio::test]
async fn a_purge_removes_every_object_and_may_be_interrupted_anywhere() {
    for failing in 0..12 {
        let world = World::new();
        let log = open_log(&world, RELEASE_AT_ONCE);
        for _ in 0..4 {
            seal_one(&log);
        }
        offload_all(&world, &log).await;
        world.commit(TierChangeKind::MoveLogStart(Offset(20))).await;
        // Two graves, two folded entries, one that is not folded, one under way: each kind of place is purged.
        retain(&log, &world.led, Offset::MAX, &world.tier).await.unwrap();
        seal_one(&log);
        offload_all(&world, &log).await;
        seal_one(&log);
        world.quorum.next_commit(Next::Delay);
        assert!(offload_once(&log, &world.led, Offset::MAX, &world.tier).await.is_err());
        let row = world.quorum.delete(&world.log).unwrap();
        assert_eq!((world.segments().await.len(), row.entries.len(), row.segments()), (6, 1, 3));

        // The bucket goes down after some of the deletions.
        let before = world.faulty.ledger().len();
        let world = world.restarted();
        world.quorum.delete(&world.log);
        world.faulty.die_after(before + failing);
        let interrupted = purge_log(&world.log, Some(&row), &world.tier).await;
        assert_eq!(
            interrupted.is_ok(),
            failing >= 9,
            "marker, manifest and seven deletions, {failing} answered: {interrupted:?}"
        );
        world.faulty.heal();
        let world = world.restarted();
        world.quorum.delete(&world.log);
        purge_log(&world.log, Some(&row), &world.tier).await.unwrap();
        assert_eq!(
            world.faulty.keys().await,
            ["firn-cluster.json"],
            "interrupted at {failing}: {interrupted:?}"
        );
        assert_eq!(world.tier.intents.open_intents().unwrap(), []);
    }
}

#[tokio::test]
async fn a_log_without_a_row_keeps_its_objects() {
    let world = World::new();
    let log = open_log(&world, KEEP_LOCAL);
    seal_one(&log);
    world.quorum.next_commit(Next::ApplyAndLoseAnswer);
    assert!(offload_once(&log, &world.led, Offset::MAX, &world.tier).await.is_err());
    let row = world.quorum.delete(&world.log);
    assert_eq!(settle_all(&world.tier).await.unwrap(), 0);
    assert_eq!(world.segments().await.len(), 1, "it may have moved to another broker");
    assert!(row.is_some() && world.quorum.row(&world.log).is_none());
    assert_eq!(world.tier.intents.open_intents().unwrap().len(), 1);
}
