//! What one fetch brought, handed to the partitions it is for; then made durable where that is asked for, and what that
//! means is told. What a single partition does is in `intake.rs`. Invariant: one partition's trouble never keeps the
//! others from what came for them, and nothing here waits for the bucket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use firnline_controller::id::TopicId;
use firnline_tiering::offsets::Offset;
use futures::future::join_all;
use tokio::time::Instant;

use crate::partition::replica::{PartitionHandle, PartitionId, Throttle};
use crate::replication::intake::{Doors, Taken, take};
use crate::replication::line::{Line, Member};
use crate::replication::tier_start::start_at_tier;
use crate::replication::world::World;
use crate::wire::fetch_reply::{FetchReply, FetchedPart};

/// Takes answers of one line.
pub struct Receiver {
    /// The line.
    pub line: Arc<Line>,
    /// Its doors.
    pub world: Arc<World>,
}

impl Receiver {
    /// Hands each partition what came for it; then what has to be durable is made durable, and what that means is told.
    pub async fn take_all(
        &self,
        due: &BTreeMap<PartitionId, Member>,
        reply: FetchReply,
        mut bytes: BytesMut,
    ) {
        let mut took: Vec<(&Member, FetchedPart)> = Vec::new();
        let doors = Doors { lane: &self.world.lane, now_ms: self.world.clock.now_ms() };
        for part in reply.partitions {
            let id = PartitionId { topic: TopicId(part.topic), index: part.index };
            let Some(member) = due.get(&id) else { continue };
            let records = &mut bytes[part.records.clone()];
            self.count(member, records.len() as u64);
            match take(member, &part, records, &doors).await {
                Ok(Taken::Records) => took.push((member, part)),
                Ok(Taken::Cut) => self.line.fetched(id, member.following, false),
                Ok(Taken::OtherRole) => {}
                Ok(Taken::InBucket) => self.start_from_bucket(member),
                Err(error) => {
                    let most = Duration::from_millis(self.world.settings.fetch_backoff_ms);
                    let failures = self.line.failed(id, member.following, Instant::now(), most);
                    // The first ones are usual while an election spreads.
                    if failures.is_power_of_two() && failures >= 4 {
                        let log = member.partition.log().id();
                        tracing::warn!(%log, leader = self.line.leader.0, %error, failures, "a partition is not fetched: tried again");
                    }
                }
            }
        }
        let durable =
            took.iter().filter(|(member, part)| member.partition.is_durable() && !part.records.is_empty());
        let flushes = durable.map(|(member, _)| {
            let partition = member.partition.clone();
            self.world.lane.run(move || partition.log().flush())
        });
        // What failed is said by the log, which is offline then: its end does not move.
        join_all(flushes).await;
        for (member, part) in took {
            self.settle(member, &part).await;
        }
    }

    /// Counts what came, wanted or not: it was sent.
    fn count(&self, member: &Member, bytes: u64) {
        self.world.quotas.count_in(bytes);
        if bytes > 0 && member.partition.is_throttled(Throttle::Follower) {
            self.world.quotas.follower.note(bytes);
        }
    }

    /// Takes over the leader's high watermark and log start.
    async fn settle(&self, member: &Member, part: &FetchedPart) {
        let Member { partition, following, .. } = member;
        if partition.adopt_high_watermark(*following, Offset(part.high_watermark)) {
            self.world.board.announce(partition.wait_key(), partition.interest());
        }
        let to = Offset(part.log_start).min(partition.high_watermark());
        if to > partition.offsets().log_start {
            raise_log_start(partition, to, &self.world).await;
        }
        partition.note_lag(Offset(part.high_watermark));
        let has_all = partition.offsets().end.0 >= part.high_watermark;
        self.line.fetched(partition.id(), *following, has_all);
    }

    /// Its leader has the records in the bucket only. That may take long: the others go on meanwhile.
    fn start_from_bucket(&self, member: &Member) {
        let (line, world, member) = (self.line.clone(), self.world.clone(), member.clone());
        let id = member.partition.id();
        line.set_away(id, member.following, true);
        tokio::spawn(async move {
            let row = world.controller.image().tier_row(id.topic, id.index);
            let started = match &row {
                Some(row) => start_at_tier(&member.partition, row, world.cold.as_deref()).await,
                None => Ok(()),
            };
            if let (Ok(()), Some(row)) = (&started, row) {
                member.partition.log().set_tier(row);
            }
            if let Err(error) = started {
                let most = Duration::from_millis(world.settings.fetch_backoff_ms);
                line.failed(id, member.following, Instant::now(), most);
                tracing::warn!(log = %member.partition.log().id(), %error, "the replica cannot start from the bucket: tried again");
            }
            line.set_away(id, member.following, false);
        });
    }
}

async fn raise_log_start(partition: &PartitionHandle, to: Offset, world: &World) {
    let raised = partition.clone();
    let outcome = world.lane.run(move || Ok(raised.raise_log_start(to))).await;
    if let Err(error) =
        outcome.map_err(|error| error.to_string()).and_then(|it| it.map_err(|error| error.to_string()))
    {
        tracing::warn!(log = %partition.log().id(), %to, error, "the log start stays behind the leader's");
    }
    world.board.announce(partition.wait_key(), partition.interest());
}
