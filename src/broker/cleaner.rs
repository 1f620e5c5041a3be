//! The broker's cleaner: finds the dirtiest compacted log, has it cleaned step by step off the serving cores, and
//! writes down how far it came. What stays of a log is tiering's to decide. Invariant: at most `log.cleaner.threads`
//! logs are cleaned at once, each by one, and a log that cannot be cleaned keeps nothing from the others.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use firnline_tiering::compact::clean::{CleanError, Cleaning, Report, Step, dirt};
use firnline_tiering::compact::plan::{Dirt, dirtiest};
use firnline_tiering::config::LogConfig;
use firnline_tiering::offsets::Offset;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api::context::Shared;
use crate::broker::storage::Storage;
use crate::config::cleaner::Cleaner;
use crate::metadata::settings::in_force;
use crate::metadata::view::MetadataView;
use crate::partition::cleaning::Uncleanable;
use crate::partition::cold_lane::ColdLane;
use crate::partition::replica::{PartitionHandle, PartitionId};

/// The cleaner's duty.
pub struct CleanerDuty {
    shared: Arc<Shared>,
    storage: Arc<Storage>,
    lane: Arc<ColdLane>,
    pace: Arc<Pace>,
    /// Logs that are being cleaned.
    busy: BTreeSet<PartitionId>,
}

/// A cleaning that ended.
struct Ended {
    partition: PartitionHandle,
    took: Duration,
    outcome: Result<Option<Report>, CleanError>,
}

impl CleanerDuty {
    /// `lane` does the work that waits for the disk.
    pub fn new(shared: Arc<Shared>, storage: Arc<Storage>, lane: Arc<ColdLane>) -> Self {
        Self { shared, storage, lane, pace: Arc::default(), busy: BTreeSet::new() }
    }

    /// Cleans until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut running: JoinSet<Ended> = JoinSet::new();
        loop {
            let settings = self.settings();
            self.pace.set(settings.bytes_per_second);
            while running.len() < settings.threads {
                let Some(partition) = self.next() else { break };
                self.busy.insert(partition.id());
                running.spawn(self.clean(partition, settings, stop.clone()));
            }
            // With nothing to do it pauses; with something it looks again when that ends.
            let pause = Duration::from_millis(settings.backoff_ms.max(1));
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = running.join_next(), if !running.is_empty() => {
                    if !self.end(ended).await {
                        tokio::select! {
                            () = stop.cancelled() => break,
                            () = tokio::time::sleep(pause) => {}
                        }
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        // They look at the token between two steps.
        while running.join_next().await.is_some() {}
    }

    fn settings(&self) -> Cleaner {
        let view = MetadataView::new(self.shared.controller.image());
        Cleaner::of(&in_force(&self.shared.config, &view))
    }

    /// The dirtiest log that is due and free; notes what was seen on the way.
    fn next(&self) -> Option<PartitionHandle> {
        let (now_ms, counts) = (self.shared.clock.now_ms(), &self.shared.cleaner);
        let refused = counts.now().uncleanable;
        let mut seen: Vec<(PartitionHandle, Arc<LogConfig>, Dirt)> = Vec::new();
        let mut waiting = Vec::new();
        for partition in self.shared.hosted.all() {
            let (log, id) = (partition.log(), partition.id());
            let config = log.config();
            if !config.compact || log.offline().is_some() || self.busy.contains(&id) {
                continue;
            }
            let dirt = dirt(log, stable(&partition), now_ms);
            match refused.contains_key(&id) {
                true => waiting.push((id, dirt.dirty_bytes)),
                false => seen.push((partition, config, dirt)),
            }
        }
        let percent = seen.iter().map(|(_, _, dirt)| dirt.ratio_ppm() / 10_000).max().unwrap_or(0);
        let delay = seen.iter().map(|(_, _, dirt)| dirt.overdue_ms).max().unwrap_or(0);
        let hosted = &self.shared.hosted;
        counts.note(|now| {
            (now.looked_ms, now.dirty_percent, now.delay_ms) = (now_ms, percent, delay);
            now.uncleanable.retain(|id, _| hosted.get(*id).is_some());
            for (id, bytes) in waiting {
                now.uncleanable.entry(id).and_modify(|log| log.bytes = bytes);
            }
        });
        let at = dirtiest(seen.iter().map(|(_, config, dirt)| (dirt, &**config)))?;
        Some(seen.swap_remove(at).0)
    }

    /// One cleaning, as a task of its own.
    fn clean(
        &self,
        partition: PartitionHandle,
        settings: Cleaner,
        stop: CancellationToken,
    ) -> impl Future<Output = Ended> + Send + use<> {
        let (lane, pace, now_ms) = (self.lane.clone(), self.pace.clone(), self.shared.clock.now_ms());
        async move {
            let began = Instant::now();
            let outcome = steps(&partition, settings, now_ms, &lane, &pace, &stop).await;
            Ended { partition, took: began.elapsed(), outcome }
        }
    }

    /// Notes how a cleaning ended. False if there is reason to pause: nothing was done.
    async fn end(&mut self, ended: Result<Ended, tokio::task::JoinError>) -> bool {
        let Ended { partition, took, outcome } = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // The log stays busy: what a defect did once it would do again.
                tracing::error!(%error, "a cleaning broke off");
                self.shared.cleaner.note(|now| now.broke_off += 1);
                return false;
            }
        };
        self.busy.remove(&partition.id());
        match outcome {
            Ok(Some(report)) => {
                self.note(&partition, &report, took);
                self.save().await;
                report.whole
            }
            Ok(None) => false,
            Err(error) => {
                self.refuse(&partition, &error);
                false
            }
        }
    }

    fn note(&self, partition: &PartitionHandle, report: &Report, took: Duration) {
        let Report { bytes_read, bytes_written, tally, map_percent, .. } = *report;
        let removed = tally.records - tally.kept;
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.shared.cleaner.note(|now| {
            now.cleanings += 1;
            (now.map_percent, now.took_ms) = (map_percent, took_ms);
            now.recopy_percent = (bytes_written * 100).checked_div(bytes_read).unwrap_or(0);
            now.bytes_read += bytes_read;
            now.bytes_written += bytes_written;
            now.records_removed += removed;
            now.lies += tally.lies;
        });
        tracing::info!(
            topic = %partition.topic_name(), partition = partition.id().index, from = %report.from, upto = %report.upto,
            bytes_read, bytes_written, records = tally.records, kept = tally.kept, took_ms, "cleaned a log"
        );
    }

    /// A full disk is waited out; anything else stays until somebody looks at it.
    fn refuse(&self, partition: &PartitionHandle, error: &CleanError) {
        let (topic, index) = (partition.topic_name(), partition.id().index);
        if error.is_full_disk() {
            tracing::warn!(%topic, partition = index, %error, "no room to clean a log, it is tried again");
            return;
        }
        if partition.log().offline().is_some() || !partition.is_leader() {
            return;
        }
        tracing::error!(%topic, partition = index, %error, "a log cannot be cleaned and is left alone");
        let directory = partition.log().dir().parent().unwrap_or(partition.log().dir()).to_owned();
        let log = Uncleanable { directory, why: error.to_string().into(), bytes: 0 };
        self.shared.cleaner.note(|now| drop(now.uncleanable.insert(partition.id(), log)));
    }

    async fn save(&self) {
        let (storage, hosted) = (self.storage.clone(), self.shared.hosted.all());
        let saved = self.lane.run(move || storage.save_clean_points(&hosted).map_err(io::Error::other)).await;
        if let Err(error) = saved {
            tracing::error!(%error, "how far logs were cleaned was not written down");
        }
    }
}

/// Nothing from there on may be cleaned.
fn stable(partition: &PartitionHandle) -> Offset {
    let stable = partition.last_stable();
    partition.log().first_undecided().map_or(stable, |undecided| undecided.min(stable))
}

/// All steps of one cleaning, each where it may wait for the disk. `None` if there was nothing to do, or no time.
async fn steps(
    partition: &PartitionHandle,
    settings: Cleaner,
    now_ms: i64,
    lane: &ColdLane,
    pace: &Pace,
    stop: &CancellationToken,
) -> Result<Option<Report>, CleanError> {
    let (log, stable, high) = (partition.log().clone(), stable(partition), partition.high_watermark());
    let begun = lane.run(move || Ok(Cleaning::begin(&log, stable, high, now_ms, settings.memory))).await??;
    let Some(mut cleaning) = begun else { return Ok(None) };
    loop {
        let (after, step) = lane
            .run(move || {
                let step = cleaning.step();
                Ok((cleaning, step))
            })
            .await?;
        cleaning = after;
        match step? {
            Step::Done(report) => return Ok(Some(report)),
            Step::More(bytes) => {
                tokio::select! {
                    () = stop.cancelled() => return Ok(None),
                    () = pace.moved(bytes) => {}
                }
            }
        }
    }
}

/// Keeps all cleanings together to `log.cleaner.io.max.bytes.per.second`.
#[derive(Default)]
struct Pace {
    rate: parking_lot::Mutex<Option<f64>>,
    /// When what was moved so far may have been moved.
    paid: Mutex<Option<Instant>>,
}

impl Pace {
    fn set(&self, bytes_per_second: Option<f64>) {
        *self.rate.lock() = bytes_per_second;
    }

    /// Waits as long as `bytes` take.
    async fn moved(&self, bytes: u64) {
        let rate = *self.rate.lock();
        let Some(rate) = rate else {
            // In a simulation the steps run inline: others get their turn here.
            return tokio::task::yield_now().await;
        };
        let takes = Duration::from_secs_f64((bytes as f64 / rate.max(1.0)).min(PAUSE_MAX_SECS));
        let until = {
            let mut paid = self.paid.lock().await;
            let from = paid.map_or_else(Instant::now, |paid| paid.max(Instant::now()));
            *paid.insert(from + takes)
        };
        sleep_until(until).await;
    }
}

/// Longest pause after one step, however low the rate: a changed rate is followed after it.
const PAUSE_MAX_SECS: f64 = 60.0;
