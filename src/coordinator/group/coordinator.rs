//! The door to consumer groups: finds the shard that holds a group and lets it take the step a request asks for.
//! It knows no wire types and no rules of groups. Callable from every core; loading and timers run on one task.
//! Invariant: there is one shard per partition of `__consumer_offsets` led here, of the epoch it is led in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use firnline_controller::image::metadata::MetadataImage;
use firnline_tiering::clock::Clock;
use firnline_tiering::entropy::Entropy;
use firnline_tiering::epoch::LeaderEpoch;
use tokio::sync::watch;

use crate::config::broker::BrokerConfig;
use crate::coordinator::group::classic::{Limits, State};
use crate::coordinator::group::effects::{Joined, Synced};
use crate::coordinator::group::error::{GroupError, JoinRefused};
use crate::coordinator::group::groups::{Commit, Dump};
use crate::coordinator::group::id::{GroupId, MemberId};
use crate::coordinator::group::join::Join;
use crate::coordinator::group::member::Member;
use crate::coordinator::group::offsets::Offsets;
use crate::coordinator::group::sync::{Claim, Leaving, Sync};
use crate::coordinator::journal::PartitionJournal;
use crate::coordinator::loader::replay;
use crate::coordinator::shard::{Shard, ShardParts};
use crate::coordinator::ticker::Ticker;
use crate::partition::cold_lane::ColdLane;
use crate::partition::hosted::HostedPartitions;
use crate::partition::replica::{PartitionHandle, PartitionId, Replica};
use crate::purgatory::delayed::WakeBoard;

/// The topic that groups live in.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Groups looked at in one turn of forgetting: a turn holds its shard's lock.
const FORGET_PER_TURN: usize = 500;

/// Where the newest metadata is found.
type Images = watch::Receiver<Arc<MetadataImage>>;

/// What the coordinator works with.
pub struct Parts {
    /// The broker's settings.
    pub config: Arc<BrokerConfig>,
    /// Where led partitions are found.
    pub hosted: Arc<HostedPartitions>,
    /// Wakes consumers of the offsets topic.
    pub board: Arc<WakeBoard>,
    /// Where logs are replayed.
    pub lane: Arc<ColdLane>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// For member ids.
    pub entropy: Arc<dyn Entropy>,
}

/// Consumer groups of this broker.
pub struct GroupCoordinator {
    hosted: Arc<HostedPartitions>,
    board: Arc<WakeBoard>,
    lane: Arc<ColdLane>,
    entropy: Arc<dyn Entropy>,
    forget_every_ms: u64,
    shared: Arc<ShardParts>,
    shards: ArcSwap<Shards>,
    /// Offset of the image that was followed last.
    followed: watch::Sender<u64>,
}

/// The shards of this broker.
#[derive(Default, Clone)]
struct Shards {
    /// Partitions of the offsets topic, wherever they are led; 0 = there is no such topic yet.
    partitions: i32,
    by_index: BTreeMap<i32, Led>,
}

#[derive(Clone)]
struct Led {
    id: PartitionId,
    epoch: LeaderEpoch,
    replica: Weak<Replica>,
    shard: Arc<Shard>,
}

/// A group as an administrator sees it.
#[derive(Debug, Clone)]
pub struct Described {
    /// Where it stands.
    pub state: State,
    /// `consumer`, `connect`...; empty for a simple consumer's.
    pub protocol_type: String,
    /// The assignor, while the group is stable.
    pub protocol: String,
    /// Its members, by id.
    pub members: Vec<(MemberId, Member)>,
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub id: GroupId,
    /// `consumer`, `connect`...; empty for a simple consumer's.
    pub protocol_type: String,
    /// Where it stands.
    pub state: State,
}

impl GroupCoordinator {
    /// A coordinator that leads nothing yet. `run` and `follow` bring it to life.
    pub fn new(parts: Parts) -> Arc<Self> {
        let (groups, offsets) = (&parts.config.groups, &parts.config.offsets);
        let limits = Limits {
            session_timeout_ms_min: groups.session_timeout_ms_min,
            session_timeout_ms_max: groups.session_timeout_ms_max,
            initial_rebalance_delay_ms: groups.initial_rebalance_delay_ms,
            size_max: groups.size_max,
            retention_ms: offsets.retention_ms,
            metadata_bytes_max: offsets.metadata_bytes_max,
        };
        let shared = ShardParts { limits, clock: parts.clock, ticker: Arc::new(Ticker::default()) };
        Arc::new(Self {
            forget_every_ms: offsets.retention_check_ms.max(1),
            hosted: parts.hosted,
            board: parts.board,
            lane: parts.lane,
            entropy: parts.entropy,
            shared: Arc::new(shared),
            shards: ArcSwap::default(),
            followed: watch::channel(0).0,
        })
    }

    /// Keeps the shards in step with the partitions led here until the source of images is gone. `assigned` tells which
    /// image's partitions are open.
    pub async fn follow(self: Arc<Self>, images: Images, mut assigned: watch::Receiver<u64>) {
        let mut topics = BTreeMap::new();
        loop {
            let reached = *assigned.borrow_and_update();
            // The image may be newer than what is open: the rest comes with the next turn.
            let image = images.borrow().clone();
            self.lead(&image, &images);
            self.forget_deleted(&mut topics, &image).await;
            self.followed.send_replace(reached);
            if assigned.changed().await.is_err() {
                return self.close();
            }
        }
    }

    /// Waits until the shards of the image of `offset` exist; false when the broker stopped before.
    pub async fn followed(&self, offset: u64) -> bool {
        self.followed.subscribe().wait_for(|reached| *reached >= offset).await.is_ok()
    }

    /// Starts shards for partitions that are led here now, ends those that are not.
    fn lead(self: &Arc<Self>, image: &MetadataImage, images: &Images) {
        let before = self.shards.load_full();
        let mut next = Shards::default();
        if let Some(topic) = image.topics.by_name(OFFSETS_TOPIC) {
            next.partitions = topic.partition_count();
            let hosted = self.hosted.topic_by_id(topic.id);
            for partition in hosted.iter().flat_map(|topic| topic.partitions()).filter(|it| it.is_leader()) {
                let (id, epoch) = (partition.id(), partition.leader_epoch());
                let known = before.by_index.get(&id.index).filter(|led| {
                    // The same replica, too: one that moved to another directory was opened anew.
                    led.id == id && led.epoch == epoch && std::ptr::eq(led.replica.as_ptr(), &**partition)
                });
                let led = known.cloned().unwrap_or_else(|| Led {
                    id,
                    epoch,
                    replica: Arc::downgrade(partition),
                    shard: self.begin(partition, images),
                });
                next.by_index.insert(id.index, led);
            }
        }
        let next = Arc::new(next);
        self.shards.store(next.clone());
        for (index, led) in &before.by_index {
            if next.by_index.get(index).is_none_or(|now| !Arc::ptr_eq(&now.shard, &led.shard)) {
                led.shard.resign();
            }
        }
    }

    fn begin(self: &Arc<Self>, partition: &PartitionHandle, images: &Images) -> Arc<Shard> {
        let journal = Arc::new(PartitionJournal::new(partition.clone(), self.board.clone()));
        let shard = Shard::new(partition.id().index, journal, self.shared.clone());
        tokio::spawn(self.clone().load(shard.clone(), images.clone()));
        shard
    }

    async fn load(self: Arc<Self>, shard: Arc<Shard>, images: Images) {
        let (partition, journal) = (shard.index(), shard.journal().clone());
        let replayed = self.lane.run(move || Ok(replay(&*journal))).await;
        match replayed.map_err(|error| error.to_string()).and_then(|it| it.map_err(|error| error.to_string()))
        {
            Ok(replayed) => {
                let (groups, records) = (replayed.groups.len(), replayed.records);
                if records > 0 {
                    tracing::info!(partition, groups, records, end = %replayed.end, "groups are loaded");
                }
                shard.begin(replayed, |topic| images.borrow().topics.by_name(topic).is_some()).await;
            }
            Err(error) => {
                tracing::error!(partition, error, "groups cannot be loaded: their members are sent away");
                shard.fail();
            }
        }
    }

    /// Offsets of deleted topics go with them.
    async fn forget_deleted(&self, known: &mut BTreeMap<uuid::Uuid, String>, image: &MetadataImage) {
        let now: BTreeMap<uuid::Uuid, String> =
            image.topics.iter().map(|topic| (topic.id.0, topic.name.to_string())).collect();
        let gone: BTreeSet<String> =
            known.iter().filter(|(id, _)| !now.contains_key(*id)).map(|(_, name)| name.clone()).collect();
        *known = now;
        if gone.is_empty() {
            return;
        }
        for led in self.shards.load_full().by_index.values() {
            // A shard that is still loading looks at the newest image when it begins to serve.
            let _ = led
                .shard
                .run(|step| step.groups.forget_topics(|topic| gone.contains(topic), step.effects))
                .await;
        }
    }

    /// Keeps time for all groups until the task is dropped.
    pub async fn run(self: Arc<Self>) {
        let ticker = self.shared.ticker.clone();
        let mut forget_at = ticker.now().saturating_add(self.forget_every_ms);
        loop {
            ticker.look();
            let shards = self.shards.load_full();
            let mut next = forget_at;
            for led in shards.by_index.values() {
                next = led.shard.expire().await.map_or(next, |at| next.min(at));
            }
            if ticker.now() >= forget_at {
                for led in shards.by_index.values() {
                    self.forget_expired(&led.shard).await;
                }
                forget_at = ticker.now().saturating_add(self.forget_every_ms);
                next = next.min(forget_at);
            }
            ticker.sleep_until(next).await;
        }
    }

    async fn forget_expired(&self, shard: &Shard) {
        let mut from = None;
        loop {
            let turn = shard.run(|step| {
                step.groups.forget_expired(
                    step.now,
                    step.limits,
                    from.as_ref(),
                    FORGET_PER_TURN,
                    step.effects,
                )
            });
            match turn.await {
                Ok(Some(next)) => from = Some(next),
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Sends everybody away: the broker stops.
    pub fn close(&self) {
        let shards = self.shards.swap(Arc::default());
        shards.by_index.values().for_each(|led| led.shard.resign());
    }

    /// Whether this broker coordinates the groups of a partition of the offsets topic, or will when it is loaded.
    pub fn leads(&self, partition: i32) -> bool {
        self.shards.load().by_index.contains_key(&partition)
    }

    /// Sends the answers of a partition's shard whose records are committed by now: for whoever moves a high watermark
    /// later than the append.
    pub fn committed(&self, partition: i32) {
        if let Some(led) = self.shards.load().by_index.get(&partition) {
            led.shard.release();
        }
    }

    fn shard(&self, group: &GroupId) -> Result<Arc<Shard>, GroupError> {
        let shards = self.shards.load();
        if shards.partitions == 0 {
            return Err(GroupError::NotAvailable);
        }
        let led = shards.by_index.get(&group.partition(shards.partitions));
        led.map(|led| led.shard.clone()).ok_or(GroupError::NotCoordinator)
    }

    fn named(&self, group: &GroupId) -> Result<Arc<Shard>, GroupError> {
        if group.is_empty() { Err(GroupError::InvalidGroupId) } else { self.shard(group) }
    }

    /// A uuid for a member without id.
    pub fn fresh(&self) -> uuid::Uuid {
        self.entropy.uuid()
    }

    /// A member joins; answered when its rebalance completes.
    pub async fn join(&self, group: GroupId, join: Join) -> Result<Joined, JoinRefused> {
        let member = join.member.clone();
        let refuse = |error| JoinRefused { error, member: member.clone() };
        let shard = self.named(&group).map_err(&refuse)?;
        let limits = &self.shared.limits;
        let allowed = limits.session_timeout_ms_min..=limits.session_timeout_ms_max;
        if !allowed.contains(&join.session_timeout_ms) {
            return Err(refuse(GroupError::InvalidSessionTimeout));
        }
        let begun = shard.run(|step| {
            let (waiter, answer) = step.wait_for_join();
            step.groups.join(step.now, step.limits, &group, join, waiter, step.effects);
            answer
        });
        let answer = begun.await.map_err(&refuse)?;
        answer.await.unwrap_or_else(|_| Err(refuse(GroupError::NotCoordinator)))
    }

    /// A member fetches its assignment, the leader brings all; answered when the assignment is stored.
    pub async fn sync(&self, group: GroupId, sync: Sync) -> Result<Synced, GroupError> {
        let begun = self.named(&group)?;
        let answer = begun
            .run(|step| {
                let (waiter, answer) = step.wait_for_sync();
                step.groups.sync(step.now, &group, sync, waiter, step.effects);
                answer
            })
            .await?;
        answer.await.unwrap_or(Err(GroupError::NotCoordinator))
    }

    /// A member lives.
    pub async fn heartbeat(&self, group: GroupId, claim: Claim) -> Result<(), GroupError> {
        let shard = self.named(&group)?;
        match shard.run(|step| step.groups.heartbeat(step.now, &group, &claim)).await {
            // Nobody should rejoin because we are replaying: the session begins when that is done.
            Err(GroupError::Loading) => Ok(()),
            answer => answer?,
        }
    }

    /// Members leave; one answer for each, in order.
    pub async fn leave(
        &self,
        group: GroupId,
        leaving: Vec<Leaving>,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let shard = self.named(&group)?;
        shard.run(|step| step.groups.leave(step.now, step.limits, &group, &leaving, step.effects)).await
    }

    /// Commits offsets; one answer for each, in order, once they are stored. An empty group id is allowed.
    pub async fn commit(
        &self,
        group: GroupId,
        commit: Commit,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let shard = self.shard(&group)?;
        let (answers, stored) = shard
            .run(|step| {
                let (waiter, stored) = step.wait_for_records();
                let answers = step.groups.commit(step.now, step.limits, &group, commit, waiter, step.effects);
                if answers.is_err() {
                    step.wait_no_more(waiter);
                }
                (answers, stored)
            })
            .await?;
        let answers = answers?;
        stored.await.unwrap_or(Err(GroupError::NotCoordinator))?;
        Ok(answers)
    }

    /// Looks at a group's offsets; `None` when there is no such group.
    pub async fn offsets<R>(
        &self,
        group: &GroupId,
        look: impl FnOnce(Option<&Offsets>) -> R,
    ) -> Result<R, GroupError> {
        let shard = self.shard(group)?;
        shard.run(|step| look(step.groups.get(group.as_str()).map(|(_, offsets)| offsets))).await
    }

    /// Deletes a group without members, once that is stored.
    pub async fn delete(&self, group: &GroupId) -> Result<(), GroupError> {
        let shard = self.shard(group)?;
        let (begun, stored) = shard
            .run(|step| {
                let (waiter, stored) = step.wait_for_records();
                let begun = step.groups.delete(group, waiter, step.effects);
                if begun.is_err() {
                    step.wait_no_more(waiter);
                }
                (begun, stored)
            })
            .await?;
        begun?;
        stored.await.unwrap_or(Err(GroupError::NotCoordinator))
    }

    /// Forgets some of a group's offsets, by topic and partition; one answer for each, in order, once that is stored.
    pub async fn delete_offsets(
        &self,
        group: &GroupId,
        asked: &[(String, i32)],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let shard = self.named(group)?;
        let (begun, stored) = shard
            .run(|step| {
                let (waiter, stored) = step.wait_for_records();
                let begun = step.groups.delete_offsets(group, asked, waiter, step.effects);
                if begun.is_err() {
                    step.wait_no_more(waiter);
                }
                (begun, stored)
            })
            .await?;
        let answers = begun?;
        stored.await.unwrap_or(Err(GroupError::NotCoordinator))?;
        Ok(answers)
    }

    /// Describes a group; `None` when there is none of that name.
    pub async fn describe(&self, group: &GroupId) -> Result<Option<Described>, GroupError> {
        let shard = self.shard(group)?;
        shard
            .run(|step| {
                let (classic, _) = step.groups.get(group.as_str())?;
                let stable = classic.state() == State::Stable;
                Some(Described {
                    state: classic.state(),
                    protocol_type: classic.protocol_type().unwrap_or_default().to_owned(),
                    protocol: classic.protocol().filter(|_| stable).unwrap_or_default().to_owned(),
                    members: classic.members().map(|(id, member)| (id.clone(), member.clone())).collect(),
                })
            })
            .await
    }

    /// All groups that this broker coordinates, by partition and name. Refused while any of them is being loaded.
    pub async fn list(&self) -> Result<Vec<Listed>, GroupError> {
        let mut listed = Vec::new();
        for led in self.shards.load_full().by_index.values() {
            let turn = led.shard.run(|step| {
                let list = step.groups.iter().map(|(id, classic, _)| Listed {
                    id: id.clone(),
                    protocol_type: classic.protocol_type().unwrap_or_default().to_owned(),
                    state: classic.state(),
                });
                list.collect::<Vec<_>>()
            });
            match turn.await {
                Ok(list) => listed.extend(list),
                // Its partition has just gone to somebody else, who lists it.
                Err(GroupError::NotCoordinator) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listed)
    }

    /// Compares every serving shard with a replay of its log: one line per difference, none when all agree (D10).
    pub async fn verify(&self) -> Result<Vec<String>, GroupError> {
        let mut found = Vec::new();
        for led in self.shards.load_full().by_index.values() {
            // Records written between dump and replay would look like differences: take the dump on both sides.
            let (before, journal): (Dump, _) = (led.shard.dump().await?, led.shard.journal().clone());
            let replayed = self.lane.run(move || Ok(replay(&*journal))).await;
            let after = led.shard.dump().await?;
            let replayed = replayed.map_err(|error| error.to_string());
            match replayed.and_then(|replayed| replayed.map_err(|error| error.to_string())) {
                Ok(replayed) if before == after => found.extend(before.differences(&replayed.groups.dump())),
                Ok(_) => found.push(format!("partition {}: busy, not compared", led.id.index)),
                Err(error) => found.push(format!("partition {}: {error}", led.id.index)),
            }
        }
        Ok(found)
    }
}
