//! Keeps the partitions of this broker in step with the metadata: opens, gives roles, reconfigures, closes, deletes.
//! It decides nothing: the image says what there should be. Invariant: a partition is taken out of sight before its log
//! is abandoned, and an image counts as assigned only when everything it says is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use firnline_controller::id::{BrokerId, TopicId};
use firnline_controller::image::delta::Delta;
use firnline_controller::image::metadata::MetadataImage;
use firnline_controller::image::topics::Topic;
use firnline_controller::record::kinds::{Partition, Resource};
use firnline_tiering::cold::tier::TierRow;
use firnline_tiering::log::directory::LogName;
use firnline_tiering::log::open::RemoteEnd;
use firnline_tiering::log::relocate::RelocateError;
use firnline_tiering::offsets::Offset;
use tokio::sync::{mpsc, watch};

use crate::broker::log_mover::{Exchange, name_of};
use crate::broker::relocation::Points;
use crate::broker::storage::{Opened, Storage, Wanted};
use crate::broker::storage_error::StorageError;
use crate::config::settings::Settings;
use crate::config::topic::{self, TopicConfig};
use crate::metadata::view::MetadataView;
use crate::partition::cold_desk::ColdAccess;
use crate::partition::hosted::HostedPartitions;
use crate::partition::isr::Roster;
use crate::partition::replica::{
    PartitionHandle, PartitionId, Replica, ReplicaSettings, StartKeeper, Throttle,
};
use crate::purgatory::delayed::WakeBoard;
use crate::replication::follow::Follow;
use crate::replication::quota::{Quota, Quotas, UNLIMITED};
use crate::replication::tier_start::{TierStartError, goes_on, start_at_tier};

/// Keeps partitions in step with the metadata.
pub struct Assignment {
    node: BrokerId,
    settings: Arc<Settings>,
    storage: Arc<Storage>,
    hosted: Arc<HostedPartitions>,
    board: Arc<WakeBoard>,
    cold: Option<Arc<ColdAccess>>,
    fetchers: Arc<dyn Follow>,
    quotas: Arc<Quotas>,
    lag_max: Duration,
    /// The image that was acted on last.
    acted: Arc<MetadataImage>,
    /// Copies that are to take their logs' places.
    exchanges: mpsc::Receiver<Exchange>,
    /// Logs that this process closed cleanly, and their high watermarks: they are about to be opened again.
    settled: BTreeMap<PartitionId, Offset>,
    /// Partitions whose log could not be opened: tried again with every image and by housekeeping.
    failed: BTreeSet<PartitionId>,
    /// Partitions of the first image that could not be opened: their logs are somewhere. `None` before that image;
    /// whatever comes later was made since.
    unopened: Option<BTreeSet<PartitionId>>,
    assigned: watch::Sender<u64>,
}

/// On which terms a partition acknowledges.
#[derive(Clone, Copy)]
struct Terms {
    min_insync: i32,
    durable: bool,
    /// Its leader holds this broker's replica back, or itself does, while it is out of sync.
    throttled: [(Throttle, bool); 2],
}

impl Terms {
    /// Those of the replica of partition `index` on broker `node`.
    fn of(config: &TopicConfig, index: i32, node: BrokerId) -> Terms {
        let throttled = [
            (Throttle::Leader, config.throttled_by_leaders.names(index, node.0)),
            (Throttle::Follower, config.throttled_followers.names(index, node.0)),
        ];
        Terms { min_insync: config.min_insync_replicas, durable: config.durable, throttled }
    }

    fn throttle(&self, partition: &PartitionHandle) {
        self.throttled.iter().for_each(|(by, throttled)| partition.set_throttled(*by, *throttled));
    }
}

/// What an assignment works with.
pub struct Parts {
    /// This broker's `node.id`.
    pub node: BrokerId,
    /// The broker's settings, without what the image says.
    pub settings: Arc<Settings>,
    /// The log directories.
    pub storage: Arc<Storage>,
    /// Where open partitions are listed.
    pub hosted: Arc<HostedPartitions>,
    /// Wakes who waits for a partition that goes.
    pub board: Arc<WakeBoard>,
    /// The lane to the bucket.
    pub cold: Option<Arc<ColdAccess>>,
    /// Fetch for partitions that others lead.
    pub fetchers: Arc<dyn Follow>,
    /// Limits of throttled replicas.
    pub quotas: Arc<Quotas>,
    /// `replica.lag.time.max.ms`.
    pub lag_max: Duration,
    /// Copies that are to take their logs' places.
    pub exchanges: mpsc::Receiver<Exchange>,
}

impl Assignment {
    /// Nothing is assigned yet. The receiver tells which image was acted on last.
    pub fn new(parts: Parts) -> (Self, watch::Receiver<u64>) {
        let (assigned, reached) = watch::channel(0);
        let Parts { node, settings, storage, hosted, board, cold, fetchers, quotas, lag_max, exchanges } =
            parts;
        let new = Self {
            node,
            settings,
            storage,
            hosted,
            board,
            cold,
            fetchers,
            quotas,
            lag_max,
            exchanges,
            settled: BTreeMap::new(),
            acted: Arc::default(),
            failed: BTreeSet::new(),
            unopened: None,
            assigned,
        };
        (new, reached)
    }

    /// Deletes what a crash left of deleted topics. A log that the metadata never knew is left alone and named: the
    /// metadata may be what was lost.
    pub fn settle_strays(&self, image: &MetadataImage) -> Result<(), StorageError> {
        for (name, topic) in self.storage.found()? {
            let lives = image.topics.by_name(&name.name);
            if lives.is_some_and(|lives| topic.is_none_or(|id| id == lives.id)) {
                continue;
            }
            match topic.filter(|id| image.topics.tombstone(*id).is_some()) {
                Some(id) => {
                    self.storage.delete_log(&name, id)?;
                    tracing::info!(
                        topic = name.name,
                        partition = name.number,
                        "removed a deleted topic's log"
                    );
                }
                None => tracing::warn!(
                    topic = name.name,
                    partition = name.number,
                    id = topic.map(|id| id.to_string()),
                    "a log on disk is not in the metadata: left alone"
                ),
            }
        }
        Ok(())
    }

    /// Follows the image until its source is gone. Runs off the serving cores: it opens files.
    pub async fn follow(mut self, mut images: watch::Receiver<Arc<MetadataImage>>) {
        loop {
            let image = images.borrow_and_update().clone();
            self.act(image).await;
            let changed = tokio::select! {
                changed = images.changed() => changed,
                Some(exchange) = self.exchanges.recv() => {
                    self.exchange(exchange).await;
                    Ok(())
                }
                () = tokio::time::sleep(RETRY), if !self.failed.is_empty() => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Does what `image` says and has not been done yet.
    pub async fn act(&mut self, image: Arc<MetadataImage>) {
        let delta = Delta::between(&self.acted, &image);
        for topic in &delta.topics_deleted {
            self.delete(*topic);
        }
        let mut due: BTreeSet<PartitionId> = std::mem::take(&mut self.failed);
        due.extend(
            delta.partitions.iter().map(|(topic, index)| PartitionId { topic: *topic, index: *index }),
        );
        self.let_go(&image, &due);
        let mut news = Vec::new();
        for id in due {
            if self.is_new_here(&image, id).await {
                news.push(id);
            }
        }
        let opened = self.open(&image, news).await;
        // Once all are open: the first of these syncs then carries the others.
        self.storage.settle_names(&opened);
        if !opened.is_empty() {
            self.hosted.change(opened.clone(), &[]);
        }
        // Seen before they fetch: what a fetch moves is looked up by id.
        opened.iter().for_each(|partition| self.fetchers.attend(partition));
        self.distrust(&image, &delta.brokers);
        self.reconfigure(&image, &delta.configs);
        self.hand_rows(&image, &delta.tiers);
        self.tell_failed(&image);
        let offset = image.offset;
        self.unopened.get_or_insert_with(|| self.failed.clone());
        self.acted = image;
        self.assigned.send_replace(offset);
    }

    /// Clients of a partition that could not be opened are told that its storage failed, not to look elsewhere.
    fn tell_failed(&self, image: &MetadataImage) {
        let named = |id: &PartitionId| Some((image.topics.get(id.topic)?.name.to_string(), id.index));
        self.hosted.set_failed(self.failed.iter().filter_map(named).collect());
    }

    /// Whether a partition has to be opened; one that is open is told what changed.
    async fn is_new_here(&mut self, image: &MetadataImage, id: PartitionId) -> bool {
        let Some(row) = image.topics.partition(id.topic, id.index) else { return false };
        if !row.replicas.contains(&self.node) {
            return false;
        }
        let Some(partition) = self.hosted.get(id) else { return true };
        if let Err(error) = self.take_role(&partition, row, image.tier_row(id.topic, id.index)).await {
            tracing::error!(log = %partition.log().id(), %error, "the partition cannot lead yet: tried again");
            self.failed.insert(id);
        }
        partition.tell_all(&self.board);
        self.fetchers.attend(&partition);
        false
    }

    /// Gives a partition the role its row says.
    async fn take_role(
        &self,
        partition: &PartitionHandle,
        row: &Partition,
        tier: Option<Arc<TierRow>>,
    ) -> Result<(), TierStartError> {
        if row.leader != Some(self.node) {
            partition.follow(row.leader, row.leader_epoch);
            return Ok(());
        }
        if !partition.is_leader()
            && let Some(tier) = tier.filter(|_| partition.log().config().remote_enabled)
        {
            // A leader serves nothing before its log goes on where the bucket ends (D4).
            partition.follow(None, row.leader_epoch);
            if !goes_on(partition, &tier) {
                start_at_tier(partition, &tier, self.cold.as_deref()).await?;
            }
        }
        let roster = Roster { replicas: row.replicas.clone(), isr: row.isr.clone(), epoch: row.epoch };
        partition.lead(row.leader_epoch, roster);
        Ok(())
    }

    /// Takes partitions away whose replicas moved to other brokers.
    fn let_go(&mut self, image: &MetadataImage, changed: &BTreeSet<PartitionId>) {
        let here = |id: &PartitionId| image.topics.partition(id.topic, id.index);
        let gone: Vec<PartitionId> = changed
            .iter()
            .filter(|id| here(id).is_some_and(|row| !row.replicas.contains(&self.node)))
            .filter(|id| self.hosted.get(**id).is_some())
            .copied()
            .collect();
        if gone.is_empty() {
            return;
        }
        for partition in self.hosted.change(Vec::new(), &gone) {
            let id = partition.id();
            self.close_for_good(&partition);
            let name = LogName { name: partition.topic_name().to_string(), number: id.index };
            match self.storage.delete_log(&name, id.topic) {
                Ok(()) => {
                    tracing::info!(topic = %name.name, partition = id.index, "the replica moved away")
                }
                Err(error) => {
                    tracing::error!(topic = %name.name, partition = id.index, %error, "a log that moved away stays on disk");
                }
            }
        }
    }

    /// Puts a copy in its log's place. The partition is closed and opened anew meanwhile: its clients are told that it
    /// is not led here, and ask again.
    async fn exchange(&mut self, exchange: Exchange) {
        let Exchange { partition, mut relocation, to, copy, done } = exchange;
        let (id, name) = (partition.id(), name_of(&partition));
        let not = |why: &str| StorageError::NotExchanged {
            log: partition.log().id().to_string(),
            why: why.to_owned(),
        };
        let image = self.acted.clone();
        let row = image.topics.partition(id.topic, id.index);
        let same = self.hosted.get(id).is_some_and(|now| Arc::ptr_eq(&now, &partition));
        if !same || row.is_none_or(|row| !row.replicas.contains(&self.node)) {
            // Whoever waited may be gone; so here and below.
            _ = done.send(Err(not("the replica is not here any more")));
            return;
        }
        partition.resign();
        self.fetchers.attend(&partition);
        partition.tell_all(&self.board);
        let log = partition.log().clone();
        let failed = |source| StorageError::Failed { log: log.id().to_string(), source };
        let copied = log.close().map_err(failed).and_then(|()| match relocation.finish() {
            Err(RelocateError::Cut) => Err(StorageError::CutMeanwhile { log: log.id().to_string() }),
            Err(RelocateError::Io(source)) => Err(failed(source)),
            Ok(()) => Ok(()),
        });
        let (high_watermark, offsets) = (partition.high_watermark(), log.offsets());
        let points =
            Points { start: offsets.log_start, end: offsets.end, high_watermark, clean: log.clean_point() };
        let from = log.dir().parent().unwrap_or(log.dir());
        let outcome = copied.and_then(|()| self.storage.exchange((&name, id), from, (&to, &copy), &points));
        log.abandon();
        if log.offline().is_none() {
            self.settled.insert(id, high_watermark);
        }
        let opened = self.open(&image, vec![id]).await;
        self.hosted.change(opened.clone(), &[id]);
        opened.iter().for_each(|partition| self.fetchers.attend(partition));
        self.tell_failed(&image);
        // Groups may live in it: they look at what is led now.
        self.assigned.send_replace(image.offset);
        _ = done.send(outcome);
    }

    fn close_for_good(&self, partition: &PartitionHandle) {
        partition.resign();
        self.fetchers.attend(partition);
        partition.tell_all(&self.board);
        // Nothing of it is worth an fsync: a crash from here on finds the row, or the tombstone.
        partition.log().abandon();
    }

    /// Brokers that are fenced, stopping or in another life than they fetched in are not waited for any more.
    fn distrust(&self, image: &MetadataImage, changed: &BTreeSet<BrokerId>) {
        let lost: Vec<BrokerId> = changed
            .iter()
            .filter(|id| {
                let broker = image.brokers.get(**id);
                let before = self.acted.brokers.get(**id);
                broker.is_none_or(|broker| {
                    broker.fenced || broker.stopping || before.is_some_and(|it| it.epoch != broker.epoch)
                })
            })
            .copied()
            .collect();
        if lost.is_empty() {
            return;
        }
        for partition in self.hosted.all().iter().filter(|it| it.is_leader() && !it.is_alone()) {
            for id in &lost {
                partition.distrust(*id);
            }
            // Also for DeleteRecords, which waits for live replicas only.
            partition.tell_all(&self.board);
        }
    }

    /// Opens partitions, many at a time; those that fail are noted and left out.
    async fn open(&mut self, image: &Arc<MetadataImage>, ids: Vec<PartitionId>) -> Vec<PartitionHandle> {
        let mut configs: BTreeMap<TopicId, TopicConfig> = BTreeMap::new();
        let (mut news, mut wanted) = (Vec::new(), Vec::new());
        for id in ids {
            let Some(topic) = image.topics.get(id.topic) else { continue };
            let config = configs.entry(id.topic).or_insert_with(|| self.config_of(image, topic));
            let tier = image.tier_row(id.topic, id.index).filter(|_| config.log.remote_enabled);
            wanted.push(Wanted {
                id,
                name: LogName { name: topic.name.to_string(), number: id.index },
                remote_end: tier
                    .as_ref()
                    .filter(|row| row.has_committed())
                    .map(|row| RemoteEnd { at: row.end, epoch: row.end_epoch }),
                log_start: tier.as_ref().map_or(Offset(0), |row| row.log_start),
                config: config.log.clone(),
                settled: self.settled.remove(&id),
                fresh: self.unopened.as_ref().is_some_and(|unopened| !unopened.contains(&id)),
            });
            let terms = Terms::of(config, id.index, self.node);
            news.push((id, topic, terms, tier));
        }
        let mut handles = Vec::with_capacity(news.len());
        for ((id, topic, terms, tier), opened) in news.into_iter().zip(self.storage.open_logs(wanted)) {
            let led = match opened {
                Ok(opened) => self.begin(topic, id, terms, tier, opened).await,
                Err(error) => Err(error),
            };
            match led {
                Ok(partition) => handles.push(partition),
                Err(error) => {
                    tracing::error!(topic = %topic.name, partition = id.index, %error, "partition is offline");
                    self.failed.insert(id);
                }
            }
        }
        handles
    }

    async fn begin(
        &self,
        topic: &Topic,
        id: PartitionId,
        terms: Terms,
        tier: Option<Arc<TierRow>>,
        opened: Opened,
    ) -> Result<PartitionHandle, StorageError> {
        if let Some(row) = &tier {
            self.restore(&opened, row).await?;
            opened.log.set_tier(row.clone());
        }
        if terms.durable {
            // What the last process left in the page cache becomes durable before it counts as committed.
            let failed = |source| StorageError::Failed { log: opened.log.id().to_string(), source };
            opened.log.flush().map_err(failed)?;
        }
        say_about(topic, id, &opened);
        let partition = Replica::open(ReplicaSettings {
            id,
            me: self.node,
            topic_name: topic.name.clone(),
            internal: topic::is_internal(&topic.name),
            // What the bucket holds was committed.
            high_watermark: opened.high_watermark.max(tier.as_ref().map_or(Offset(0), |row| row.end)),
            lag_max: self.lag_max,
            min_insync: terms.min_insync,
            log: opened.log,
            room: opened.room,
            dirty: opened.dirty,
            durable: terms.durable,
            keeper: Arc::downgrade(&self.storage) as Weak<dyn StartKeeper>,
        });
        terms.throttle(&partition);
        if let Some(row) = topic.partition(id.index) {
            let failed = |error: TierStartError| StorageError::Failed {
                log: partition.log().id().to_string(),
                source: std::io::Error::other(error),
            };
            self.take_role(&partition, row, tier).await.map_err(failed)?;
        }
        Ok(partition)
    }

    /// A log that had to start empty at the bucket's end takes over epochs and producers from there.
    async fn restore(&self, opened: &Opened, row: &TierRow) -> Result<(), StorageError> {
        if !opened.recovered.restarted_at_remote_end {
            return Ok(());
        }
        let log = opened.log.id();
        let failed = |source| StorageError::Failed { log: log.to_string(), source };
        let Some(cold) = &self.cold else {
            return Err(failed(std::io::Error::other("the local log was lost and no bucket is configured")));
        };
        let state =
            cold.reader().state_at_end(log, row).await.map_err(std::io::Error::other).map_err(failed)?;
        match state {
            Some(state) => opened.log.restore(state.lineage, Some(&state.producers)).map_err(failed),
            None => Ok(()),
        }
    }

    /// The topic's settings under the image's dynamic ones. What cannot be read was checked when it was set: the
    /// broker's defaults stand in, and the log says so.
    fn config_of(&self, image: &Arc<MetadataImage>, topic: &Topic) -> TopicConfig {
        let view = MetadataView::new(image.clone());
        let broker = view.overrides(Resource::Broker(self.node));
        let settings = self.settings.with_dynamic(&view.overrides(Resource::BrokerDefault), &broker);
        let overrides = view.topic_overrides(topic.id);
        TopicConfig::resolve(&settings, &topic.name, &overrides).unwrap_or_else(|error| {
            tracing::error!(topic = %topic.name, %error, "topic configuration is unreadable: using defaults");
            let defaults = TopicConfig::resolve(&settings, &topic.name, &BTreeMap::new());
            defaults.unwrap_or_default()
        })
    }

    /// Tells open partitions their changed settings.
    fn reconfigure(&self, image: &Arc<MetadataImage>, changed: &BTreeSet<Resource>) {
        self.limit(image);
        let everyone = changed.iter().any(|resource| !matches!(resource, Resource::Topic(_)));
        for topic in image.topics.iter() {
            if !everyone && !changed.contains(&Resource::Topic(topic.id)) {
                continue;
            }
            let Some(hosted) = self.hosted.topic_by_id(topic.id) else { continue };
            let config = self.config_of(image, topic);
            for partition in hosted.partitions() {
                let terms = Terms::of(&config, partition.id().index, self.node);
                terms.throttle(partition);
                partition.set_min_insync(terms.min_insync);
                partition.set_durable(terms.durable);
                partition.tell_all(&self.board);
                partition.log().set_config(config.log.clone());
                self.hand_row(image, partition);
            }
        }
    }

    /// Tells the limits of throttled replicas.
    fn limit(&self, image: &Arc<MetadataImage>) {
        let view = MetadataView::new(image.clone());
        let broker = view.overrides(Resource::Broker(self.node));
        let settings = self.settings.with_dynamic(&view.overrides(Resource::BrokerDefault), &broker);
        let limit = |quota: &Quota, name: &str| quota.set_limit(settings.number(name).unwrap_or(UNLIMITED));
        limit(&self.quotas.leader, "leader.replication.throttled.rate");
        limit(&self.quotas.follower, "follower.replication.throttled.rate");
        limit(&self.quotas.directories, "replica.alter.log.dirs.io.max.bytes.per.second");
    }

    fn hand_rows(&self, image: &MetadataImage, changed: &BTreeSet<(TopicId, i32)>) {
        for (topic, index) in changed {
            if let Some(partition) = self.hosted.get(PartitionId { topic: *topic, index: *index }) {
                self.hand_row(image, &partition);
            }
        }
    }

    fn hand_row(&self, image: &MetadataImage, partition: &PartitionHandle) {
        let id = partition.id();
        if let Some(row) =
            image.tier_row(id.topic, id.index).filter(|_| partition.log().config().remote_enabled)
        {
            partition.log().set_tier(row);
        }
    }

    /// Takes a topic's partitions away: out of sight first, then abandoned, then renamed; removed later.
    fn delete(&mut self, topic: TopicId) {
        self.failed.retain(|id| id.topic != topic);
        if let Some(hosted) = self.hosted.topic_by_id(topic) {
            let ids: Vec<PartitionId> = hosted.partitions().map(|partition| partition.id()).collect();
            for partition in self.hosted.change(Vec::new(), &ids) {
                self.close_for_good(&partition);
            }
        }
        let Some(before) = self.acted.topics.get(topic) else { return };
        for number in 0..before.partition_count() {
            let name = LogName { name: before.name.to_string(), number };
            if let Err(error) = self.storage.delete_log(&name, topic) {
                tracing::error!(topic = %name.name, partition = number, %error, "a deleted log stays on disk");
            }
        }
        tracing::info!(topic = %before.name, id = %topic, "topic deleted");
    }
}

/// What an operator should know about a log that was just opened: a torn tail.
fn say_about(topic: &Topic, id: PartitionId, opened: &Opened) {
    if opened.recovered.bytes_cut > 0 {
        let cut = opened.recovered.bytes_cut;
        tracing::warn!(topic = %topic.name, partition = id.index, cut, "cut a torn tail off the log");
    }
}

/// Pause before a log that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(30);
