//! Who fetches: a consumer, or a follower that shows which registration it has (KIP-903). And where a consumer should
//! rather read, when a replica lies in its own rack (KIP-392).
//! It reads no log. Invariant: nobody is noted as a follower but the registered broker, in its present life.

use firnline_controller::id::{BrokerEpoch, BrokerId};
use firnline_tiering::offsets::Offset;
use tokio::time::Instant;

use crate::api::context::Context;
use crate::api::error_code::ErrorCode;
use crate::partition::isr::Report;
use crate::partition::replica::{PartitionHandle, Throttle};
use crate::partition::role::Noted;
use crate::wire::fetch::{FetchPartition, FetchView};
use crate::wire::header::Header;
use crate::wire::message::StrBytes;

/// First version in which a follower shows its broker epoch.
const SHOWS_EPOCH: i16 = 15;
/// First version in which a consumer names its rack.
const NAMES_RACK: i16 = 11;

/// Who fetches.
pub enum Reader {
    /// A consumer.
    Consumer {
        /// It may read from replicas that do not lead.
        anywhere: bool,
        /// Its rack, where it names one.
        rack: Option<StrBytes>,
    },
    /// A follower.
    Follower(Fetcher),
}

/// A registered broker that fetches as a follower.
pub struct Fetcher {
    id: BrokerId,
    epoch: BrokerEpoch,
    eligible: bool,
    came: Instant,
}

impl Reader {
    /// Finds out who asks; a client that only says it is a follower is refused.
    pub fn of(ctx: &Context, header: &Header, view: &FetchView) -> Result<Reader, ErrorCode> {
        if view.replica_id < 0 {
            let anywhere = ctx.shared.config.cluster.rack_aware_fetch && header.version >= NAMES_RACK;
            let rack = Some(view.rack_id.clone()).filter(|rack| anywhere && !rack.is_empty());
            return Ok(Reader::Consumer { anywhere, rack });
        }
        let image = ctx.shared.controller.image();
        let id = BrokerId(view.replica_id);
        let refuse = |code, why: &str| {
            if ctx.shared.followers_refused.first(&format!("{} {}", header.client(), ctx.peer.address.ip())) {
                let (client, address) = (header.client(), ctx.peer.address);
                tracing::warn!(client, %address, replica = id.0, epoch = view.replica_epoch, why, "a fetch as follower is refused");
            }
            Err(code)
        };
        let Some(broker) = image.brokers.get(id) else {
            return refuse(ErrorCode::ClusterAuthorizationFailed, "no broker of this id is registered");
        };
        if header.version < SHOWS_EPOCH || id.0 == ctx.shared.config.node_id {
            return refuse(ErrorCode::ClusterAuthorizationFailed, "it does not show that it is that broker");
        }
        let epoch = BrokerEpoch(view.replica_epoch);
        if broker.epoch < epoch {
            // This broker's image is behind: the follower asks again.
            return Err(ErrorCode::UnknownLeaderEpoch);
        }
        if broker.epoch != epoch {
            return refuse(ErrorCode::StaleBrokerEpoch, "the broker has registered anew since");
        }
        let eligible = !broker.fenced && !broker.stopping;
        Ok(Reader::Follower(Fetcher { id, epoch, eligible, came: Instant::now() }))
    }
}

impl Fetcher {
    /// Whether the follower gets nothing of this partition for now: out of sync, throttled, and the limit is used up.
    pub fn is_held_back(&self, ctx: &Context, partition: &PartitionHandle) -> bool {
        let quota = &ctx.shared.quotas.leader;
        let held = partition.is_throttled(Throttle::Leader)
            && !partition.has_in_sync(self.id)
            && quota.is_exceeded();
        if held {
            quota.count_held_back();
        }
        held
    }

    /// Counts what went out to it.
    pub fn count(&self, ctx: &Context, partition: &PartitionHandle, bytes: u64, failed: bool) {
        partition.traffic().copied(failed);
        ctx.shared.quotas.count_out(bytes);
        if bytes > 0 && partition.is_throttled(Throttle::Leader) {
            ctx.shared.quotas.leader.note(bytes);
        }
    }

    /// Notes where the follower is and tells whom that concerns; false when it holds no replica of the partition. The
    /// caller ends the turn.
    pub fn note(&self, ctx: &Context, partition: &PartitionHandle, ask: &FetchPartition) -> bool {
        let report = Report {
            from: self.id,
            broker_epoch: self.epoch,
            end: Offset(ask.fetch_offset),
            log_start: Offset(ask.log_start_offset.max(0)),
            leader_end: partition.offsets().end,
            at: self.came,
            eligible: self.eligible,
        };
        let Noted::Follower { moved, joins } = partition.note_fetch(&report) else { return false };
        if moved {
            ctx.core.purgatory.announce(partition.wait_key(), partition.interest());
            if partition.is_internal() {
                ctx.shared.groups.committed(partition.id().index);
            }
        }
        if joins {
            ctx.shared.isr.look_at(partition.id());
        }
        true
    }
}

/// The replica in the reader's rack that it should read from instead; `None` keeps it here.
pub fn preferred(
    ctx: &Context,
    reader: &Reader,
    partition: &PartitionHandle,
    offset: i64,
) -> Option<BrokerId> {
    let Reader::Consumer { rack: Some(rack), .. } = reader else { return None };
    if !partition.is_leader() || ctx.shared.config.rack.as_deref() == Some(rack.as_str()) {
        return None;
    }
    let image = ctx.shared.controller.image();
    partition.best_follower(Offset(offset), |id| {
        let broker = image.brokers.get(id).filter(|broker| !broker.fenced && !broker.stopping);
        broker.is_some_and(|broker| broker.rack.as_deref() == Some(rack.as_str()))
    })
}
