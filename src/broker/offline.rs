//! Tells the quorum which replicas of this broker cannot be used because their disks failed, so that others lead them.
//! It finds no failure itself (logs and directories do) and stops nothing. Invariant: the whole list is told whenever it
//! differs from what the metadata says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use firnline_controller::id::{BrokerId, TopicId};
use tokio::time::{Instant, sleep};

use crate::api::context::Shared;
use crate::partition::replica::PartitionId;

/// Every log is looked at so often: one that is damaged goes offline alone.
const LOOK_AT_ALL: Duration = Duration::from_secs(5);

/// What was told, and when to look closer.
pub struct OfflineReplicas {
    shared: Arc<Shared>,
    /// Failed directories at the last look at all logs.
    directories: usize,
    look_at: Instant,
    seen: BTreeSet<(TopicId, i32)>,
    /// As the quorum took it, under this broker epoch: at an old feature level the metadata does not say it.
    told: Option<(i64, BTreeSet<(TopicId, i32)>)>,
    said: Option<String>,
}

impl OfflineReplicas {
    /// Nothing is known and nothing told.
    pub fn new(shared: Arc<Shared>) -> OfflineReplicas {
        let (seen, look_at) = (BTreeSet::new(), Instant::now());
        OfflineReplicas { shared, directories: 0, look_at, seen, told: None, said: None }
    }

    /// Tells what there is to tell, as often as signs of life are sent.
    pub async fn run(mut self) {
        let every = Duration::from_millis(self.shared.config.cluster.heartbeat_ms);
        loop {
            self.tell().await;
            sleep(every).await;
        }
    }

    /// Tells the quorum, if there is news.
    pub async fn tell(&mut self) {
        self.look();
        let me = BrokerId(self.shared.config.node_id);
        let image = self.shared.controller.image();
        let Some(broker) = image.brokers.get(me) else { return };
        let known = broker.offline.iter().eq(self.seen.iter());
        let told =
            self.told.as_ref().is_some_and(|(epoch, told)| *epoch == broker.epoch.0 && *told == self.seen);
        if known || (told && image.feature_level < 3) {
            return;
        }
        let list = self.seen.iter().copied().collect();
        match self.shared.controller.replicas_offline(me, broker.epoch, list).await {
            Ok(()) => {
                tracing::warn!(replicas = self.seen.len(), "told the controller which replicas are offline");
                self.told = Some((broker.epoch.0, self.seen.clone()));
                self.said = None;
            }
            Err(error) => {
                let text = error.to_string();
                if self.said.as_ref() != Some(&text) {
                    tracing::warn!(
                        why = text,
                        "the controller was not told which replicas are offline; trying on"
                    );
                    self.said = Some(text);
                }
            }
        }
    }

    /// Looks at all logs when a directory failed since the last time, and now and then.
    fn look(&mut self) {
        let failed = self.shared.directories.iter().filter(|directory| directory.failed().is_some()).count();
        let now = Instant::now();
        if failed == self.directories && now < self.look_at {
            return;
        }
        (self.directories, self.look_at) = (failed, now + LOOK_AT_ALL);
        let image = self.shared.controller.image();
        let place = |(name, index): &(String, i32)| Some((image.topics.by_name(name)?.id, *index));
        let unopened: Vec<_> = self.shared.hosted.failed().iter().filter_map(place).collect();
        let held = self.shared.hosted.all();
        let broken = held.iter().filter(|partition| partition.log().offline().is_some());
        self.seen = broken.map(|partition| (partition.id().topic, partition.id().index)).collect();
        // One that is open, and only waits for its role, has its log.
        let closed = |(topic, index): &(TopicId, i32)| {
            let id = PartitionId { topic: *topic, index: *index };
            self.shared.hosted.get(id).is_none()
        };
        self.seen.extend(unopened.into_iter().filter(closed));
    }
}
