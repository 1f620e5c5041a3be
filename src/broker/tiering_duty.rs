//! The duties of tiered logs: offload and retention over both tiers for those led here, local files of those that follow,
//! and purging what deleted topics left.
//! What each of them does is tiering's; here is when. Invariant: one task per log at a time, a bounded number in all,
//! and a log whose bucket fails waits longer each time, while the others go on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use firnline_controller::id::TopicId;
use firnline_tiering::cold::store::backoff;
use firnline_tiering::gc::{follow_row, purge_log, retain};
use firnline_tiering::log::unified::Stirs;
use firnline_tiering::offload::context::{Led, OffloadError, Tier};
use firnline_tiering::offload::settle::settle_all;
use firnline_tiering::offload::task::offload_once;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::context::Shared;
use crate::broker::tiers::Tiers;
use crate::broker::turn::pause;
use crate::partition::replica::{PartitionHandle, PartitionId};

/// What one task at one log came to.
type Tended = (PartitionId, Result<(), OffloadError>);

/// When a log is tended next.
#[derive(Clone, Copy)]
struct Schedule {
    failures: u32,
    /// Not before this, whatever there is to do.
    not_before: Instant,
    /// Also without a new segment: retention, folding, graves.
    due: Instant,
}

/// Tends tiered logs until told to stop; what is under way then is left to the next start.
pub struct TieringDuty {
    shared: Arc<Shared>,
    tiers: Arc<Tiers>,
    schedules: BTreeMap<PartitionId, Schedule>,
    running: JoinSet<Tended>,
    busy: BTreeSet<PartitionId>,
    /// Logs that were due at the last look and wait for a place, and whether their retention is due too.
    line: VecDeque<(PartitionHandle, bool)>,
    /// Where logs note that something happened to them.
    stirs: Arc<Stirs>,
    seen: Seen,
}

/// What the last look at all logs found.
struct Seen {
    /// As far as the notes of logs went then.
    rung: u64,
    at: Instant,
    /// When the first schedule comes due.
    due: Option<Instant>,
}

/// Longest time between two looks at all logs: what no log notes, such as replicas that caught up, shows within it.
const LOOK_MAX: Duration = Duration::from_secs(5);

impl TieringDuty {
    /// Nothing runs yet.
    pub fn new(shared: Arc<Shared>, tiers: Arc<Tiers>, stirs: Arc<Stirs>) -> Self {
        let (schedules, running, busy) = (BTreeMap::new(), JoinSet::new(), BTreeSet::new());
        let now = Instant::now();
        let seen = Seen { rung: 0, at: now, due: Some(now) };
        Self { shared, tiers, schedules, running, busy, line: VecDeque::new(), stirs, seen }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        settle(&self.tiers.tier, &stop).await;
        let mut next_look = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.running.shutdown().await,
                // Whoever was waiting for a place gets it now and not at the next look.
                Some(done) = self.running.join_next() => self.note(done),
                () = tokio::time::sleep_until(next_look) => {
                    let logs = if self.has_reason() { self.look() } else { 0 };
                    next_look = Instant::now() + pause(logs);
                }
            }
            self.start();
        }
    }

    /// Whether a look at all logs may find anything: idle logs are left alone.
    fn has_reason(&self) -> bool {
        let now = Instant::now();
        !self.line.is_empty()
            || self.stirs.rung() != self.seen.rung
            || self.seen.due.is_some_and(|due| due <= now)
            || now.duration_since(self.seen.at) >= LOOK_MAX
    }

    /// Puts every log that is due in line; answers how many logs there are.
    fn look(&mut self) -> usize {
        let now = Instant::now();
        // Before the look: what happens during it is seen by the next.
        self.seen = Seen { rung: self.stirs.rung(), at: now, due: None };
        let led = self.shared.hosted.all();
        self.line.clear();
        let tiered = led.iter().filter(|partition| partition.log().config().remote_enabled);
        let mut seen = BTreeSet::new();
        for partition in tiered {
            let id = partition.id();
            seen.insert(id);
            let fresh = Schedule { failures: 0, not_before: now, due: now };
            let schedule = *self.schedules.entry(id).or_insert(fresh);
            let due = schedule.due <= now;
            let waits = self.busy.contains(&id) || schedule.not_before > now;
            if !waits && (due || (partition.is_leader() && has_news(partition))) {
                self.line.push_back((partition.clone(), due));
            }
        }
        self.schedules.retain(|id, _| seen.contains(id));
        self.seen.due = self.schedules.values().map(|schedule| schedule.due.max(schedule.not_before)).min();
        led.len()
    }

    /// Starts a task for everyone in line, as far as places go.
    fn start(&mut self) {
        while self.running.len() < self.tiers.remote.uploads_max.max(1) {
            let Some((partition, due)) = self.line.pop_front() else { return };
            if self.busy.insert(partition.id()) {
                self.running.spawn(tend(partition, self.tiers.clone(), self.shared.clone(), due));
            }
        }
    }

    fn note(&mut self, done: Result<Tended, tokio::task::JoinError>) {
        let (id, outcome) = match done {
            Ok(tended) => tended,
            Err(error) => {
                // Which log it was is lost with the task: all wait for their next turn.
                tracing::error!(%error, "a task of the cold tier ended badly; please report this");
                self.busy.clear();
                return;
            }
        };
        self.busy.remove(&id);
        let Some(schedule) = self.schedules.get_mut(&id) else { return };
        let (now, remote) = (Instant::now(), &self.tiers.remote);
        // It may have more to do at once.
        self.seen.due = Some(now);
        match outcome {
            Ok(()) | Err(OffloadError::Busy(_)) => {
                if schedule.failures > 0 {
                    tracing::info!(topic = %id.topic, partition = id.index, "the cold tier works again");
                    self.tiers.counts.works_again();
                }
                schedule.failures = 0;
                schedule.due = now + Duration::from_millis(remote.task_interval_ms);
            }
            Err(error) => {
                schedule.failures = schedule.failures.saturating_add(1);
                self.tiers.counts.failed(error.to_string());
                let first = Duration::from_millis(remote.retry_backoff_ms);
                let most = Duration::from_millis(remote.retry_backoff_ms_max);
                let pause = backoff(first, most, schedule.failures, &*self.shared.entropy);
                schedule.not_before = now + pause;
                let (failures, pause_ms) = (schedule.failures, pause.as_millis());
                tracing::warn!(topic = %id.topic, partition = id.index, %error, failures, pause_ms, "offload failed");
            }
        }
    }
}

/// A durable segment that the bucket does not hold.
fn has_news(partition: &PartitionHandle) -> bool {
    let log = partition.log();
    if log.segment_count() < 2 || log.config().remote_copy_disable {
        return false;
    }
    let end = log.tier().map(|row| row.end);
    let sealed = log.sealed();
    sealed
        .last()
        .is_some_and(|last| end.is_none_or(|end| last.next > end) && last.next <= partition.last_stable())
}

/// Offloads what there is, then lets go what may go.
async fn tend(partition: PartitionHandle, tiers: Arc<Tiers>, shared: Arc<Shared>, retention: bool) -> Tended {
    let outcome = tend_log(&partition, &tiers, &shared, retention).await;
    (partition.id(), outcome)
}

async fn tend_log(
    partition: &PartitionHandle,
    tiers: &Tiers,
    shared: &Shared,
    retention: bool,
) -> Result<(), OffloadError> {
    let log = partition.log();
    if partition.is_following() {
        follow_row(log, partition.high_watermark(), &tiers.tier)?;
        return Ok(());
    }
    let led = Led { leader_epoch: partition.leader_epoch(), labels: labels(partition, shared) };
    let tier = &*tiers.tier;
    while partition.is_leader() {
        let done = offload_once(log, &led, partition.last_stable(), tier).await?;
        tiers.counts.offloaded(&done);
        if !done.more {
            break;
        }
    }
    if retention && partition.is_leader() {
        let done = retain(log, &led, partition.high_watermark(), tier).await?;
        if let Some(log_start) = done.log_start {
            tracing::info!(log = %log.id(), %log_start, "retention moved the log start");
            shared.board.announce(partition.wait_key(), partition.interest());
        }
    }
    Ok(())
}

/// What every object says about where it came from.
fn labels(partition: &PartitionHandle, shared: &Shared) -> Vec<(String, String)> {
    let id = partition.id();
    let label = |name: &str, value: String| (name.to_owned(), value);
    vec![
        label("cluster", shared.cluster_id.to_string()),
        label("topic", partition.topic_name().to_string()),
        label("topic-id", id.topic.to_string()),
        label("partition", id.index.to_string()),
    ]
}

/// Settles what the last run of this broker left open. A bucket that does not answer is asked again, ever slower;
/// each log settles its own before it offloads anyway.
async fn settle(tier: &Tier, stop: &CancellationToken) {
    let settled = tokio::select! {
        () = stop.cancelled() => return,
        settled = settle_all(tier) => settled,
    };
    match settled {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "settled uploads that an earlier run left open"),
        Err(error) => tracing::warn!(%error, "uploads of an earlier run are not settled yet"),
    }
}

/// Purges what deleted topics left in the bucket, until `stop`; each topic until it is done, also after a restart.
pub async fn purge_deleted_topics(shared: Arc<Shared>, tiers: Option<Arc<Tiers>>, stop: CancellationToken) {
    let mut images = shared.controller.watch();
    let mut failures = 0;
    loop {
        let image = images.borrow_and_update().clone();
        let tombstones: Vec<(TopicId, i32)> =
            image.topics.tombstones().map(|(id, tombstone)| (id, tombstone.partitions)).collect();
        let mut left = false;
        for (topic, partitions) in tombstones {
            left |= !purge(&shared, tiers.as_deref(), topic, partitions, image.offset).await;
        }
        failures = if left { failures + 1 } else { 0 };
        let again = async {
            match failures {
                0 => std::future::pending().await,
                _ => {
                    tokio::time::sleep(backoff(PURGE_PAUSE, PURGE_PAUSE_MAX, failures, &*shared.entropy))
                        .await
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = images.changed() => if changed.is_err() { return },
            () = again => {}
        }
    }
}

/// First pause after a purge that failed.
const PURGE_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause between two tries to purge.
const PURGE_PAUSE_MAX: Duration = Duration::from_secs(60);

/// True when nothing of the topic is left and the quorum knows it.
async fn purge(shared: &Shared, tiers: Option<&Tiers>, topic: TopicId, partitions: i32, image: u64) -> bool {
    // Its logs must be gone here first: an offload under way would write what the purge has just removed.
    if shared.assigned.clone().wait_for(|reached| *reached >= image).await.is_err() {
        return false;
    }
    let rows = shared.controller.image();
    match tiers {
        Some(tiers) => {
            for index in 0..partitions {
                let row = rows.tiers.get(topic, index).map(Arc::as_ref);
                if let Err(error) = purge_log(&topic.log_id(index), row, &tiers.tier).await {
                    tracing::warn!(%topic, partition = index, %error, "a deleted topic is not purged yet");
                    return false;
                }
            }
        }
        None if rows.tiers.of(topic).next().is_some() => {
            tracing::warn!(%topic, "a deleted topic left objects in a bucket that is not configured now");
            return false;
        }
        None => {}
    }
    match shared.controller.finish_purge(topic).await {
        Ok(()) => {
            tracing::info!(%topic, "nothing of the deleted topic is left");
            true
        }
        Err(error) => {
            tracing::warn!(%topic, %error, "the end of a purge is not in the quorum yet");
            false
        }
    }
}
