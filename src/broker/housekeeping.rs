//! The broker's background duties: rolling, making sealed segments durable, checkpoints, room on disk, deletions.
//! Duties of tiered logs are in `tiering_duty.rs`. Invariant: every duty has one owner, a loop that stops on the token,
//! and one log that fails never keeps a duty from the others.

use std::sync::Arc;
use std::time::Duration;

use firnline_tiering::clock::Clock;
use firnline_tiering::gc::expired_local;
use firnline_tiering::log::agenda::Agenda;
use firnline_tiering::log::directory::LogName;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::context::Shared;
use crate::broker::disk;
use crate::broker::storage::Storage;
use crate::broker::tiering_duty::{TieringDuty, purge_deleted_topics};
use crate::broker::tiers::Tiers;
use crate::broker::turn::{TURN, pause};

/// How often directories of deleted logs are looked for: it lists the log directories.
const PURGE_TURN: Duration = Duration::from_secs(5);

/// Starts the duties. `lost` is told once the disks leave this broker nothing to go on with.
pub fn start(
    shared: &Arc<Shared>,
    storage: &Arc<Storage>,
    tiers: Option<&Arc<Tiers>>,
    stop: &CancellationToken,
    chores: &Handle,
    lost: watch::Sender<Option<String>>,
) -> Vec<JoinHandle<()>> {
    let logs = &shared.config.log;
    let mut duties = vec![
        chores.spawn(look_at_logs(shared.clone(), storage.clone(), lost, stop.clone())),
        chores.spawn(every(PURGE_TURN, stop.clone(), {
            let (shared, storage) = (shared.clone(), storage.clone());
            move || purge(&shared, &storage)
        })),
        chores.spawn(every(Duration::from_millis(logs.checkpoint_interval_ms), stop.clone(), {
            let (shared, storage) = (shared.clone(), storage.clone());
            move || checkpoint(&shared, &storage)
        })),
        chores.spawn(every(Duration::from_millis(logs.retention_check_ms), stop.clone(), {
            let (shared, storage) = (shared.clone(), storage.clone());
            move || retention(&shared, &storage)
        })),
        chores.spawn(purge_deleted_topics(shared.clone(), tiers.cloned(), stop.clone())),
    ];
    duties.extend(tiers.map(|tiers| {
        let follow = tiers.clone().follow(shared.config.clone(), shared.controller.watch());
        let stop = stop.clone();
        chores.spawn(async move {
            stop.run_until_cancelled(follow).await;
        })
    }));
    duties.extend(tiers.map(|tiers| {
        let duty = TieringDuty::new(shared.clone(), tiers.clone(), storage.stirs().clone());
        chores.spawn(duty.run(stop.clone()))
    }));
    duties
}

/// Does `duty` again and again, with a pause between.
async fn every(pause: Duration, stop: CancellationToken, duty: impl Fn() + Send + 'static) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause.max(Duration::from_millis(1))) => duty(),
        }
    }
}

/// Looks at the disks, and at every log where something happened or is due, again and again.
async fn look_at_logs(
    shared: Arc<Shared>,
    storage: Arc<Storage>,
    lost: watch::Sender<Option<String>>,
    stop: CancellationToken,
) {
    let (mut agenda, mut last, mut looked_at) = (Agenda::default(), Instant::now(), 0);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TURN) => {
                disk::watch(&storage, &shared.config.log);
                tell_lost(&storage, &lost);
                shared.lane.sweep();
            }
        }
        if last.elapsed() >= pause(looked_at) {
            looked_at = turn(&mut agenda, &storage, &*shared.clock);
            shared.counters.open_segment_files.set(storage.close_idle() as u64);
            last = Instant::now();
        }
    }
}

/// Says, once, that the disks leave this broker nothing to go on with.
fn tell_lost(storage: &Storage, lost: &watch::Sender<Option<String>>) {
    let Some(why) = storage.lost() else { return };
    let told = lost.send_if_modified(|known| known.is_none() && known.replace(why.clone()).is_none());
    if told {
        tracing::error!(%why, "the broker cannot go on");
    }
}

/// Answers how many logs were looked at.
fn turn(agenda: &mut Agenda, storage: &Storage, clock: &dyn Clock) -> usize {
    let due = agenda.take(storage.stirs(), clock.now_ms());
    for (number, log) in &due {
        if log.offline().is_some() {
            continue;
        }
        let done = log.roll_if_due().and_then(|_| log.maintain()).and_then(|()| log.flush_if_due());
        let again = match done {
            Ok(_) => log.due_ms(),
            Err(error) => {
                tracing::error!(log = %log.id(), dir = %log.dir().display(), %error, "housekeeping failed");
                // A full disk may have room at the next turn; a log that is offline is not looked at.
                Some(clock.now_ms())
            }
        };
        agenda.plan(*number, log, again);
    }
    due.len()
}

/// Removes directories of deleted logs after the broker's `log.segment.delete.delay.ms`; on a full disk at once.
fn purge(shared: &Shared, storage: &Storage) {
    let delay_ms = shared.config.settings.number("log.segment.delete.delay.ms").unwrap_or(0);
    let full = storage.dirs().iter().any(|dir| dir.noted_full());
    if let Err(error) = storage.purge_deleted(if full { 0 } else { delay_ms }) {
        tracing::warn!(%error, "directories of deleted logs stay for now");
    }
}

/// Retention of logs that are not tiered; the others' goes through the quorum. All new starts are kept in one write
/// per directory before any of them is seen.
fn retention(shared: &Shared, storage: &Storage) {
    let now_ms = shared.clock.now_ms();
    let mut moving = Vec::new();
    for partition in shared.hosted.all() {
        let log = partition.log();
        if log.config().remote_enabled || log.offline().is_some() {
            continue;
        }
        if let Some(to) = expired_local(log, partition.high_watermark(), now_ms) {
            moving.push((partition, to));
        }
    }
    let starts = moving.iter().map(|(partition, to)| {
        (LogName { name: partition.topic_name().to_string(), number: partition.id().index }, *to)
    });
    if let Err(error) = storage.keep_starts(&starts.collect()) {
        tracing::error!(%error, "retention waits: log starts were not kept");
        return;
    }
    for (partition, log_start) in moving {
        let log = partition.log();
        match log.advance_log_start(log_start) {
            Ok(()) => {
                tracing::info!(log = %log.id(), %log_start, "retention moved the log start");
                shared.board.announce(partition.wait_key(), partition.interest());
            }
            Err(error) => tracing::error!(log = %log.id(), %error, "retention failed"),
        }
    }
}

fn checkpoint(shared: &Shared, storage: &Storage) {
    if let Err(error) = storage.checkpoint(&shared.hosted.all()) {
        tracing::error!(%error, "checkpoints were not written");
    }
}
