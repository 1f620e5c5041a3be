//! What a follower does with one partition of an answer: append the batches as they are, or cut its log where the leader's
//! leaves it (KIP-101, KIP-279, KIP-595), or begin anew where the leader's begins.
//! It asks for nothing. Invariant: the log is cut only where the leader's epochs say so, and what is appended continues it.

use firnline_tiering::batch::header::BatchHeader;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::log::append::AppendError;
use firnline_tiering::log::truncate::CutError;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;

use crate::partition::cold_lane::ColdLane;
use crate::partition::follower::FollowError;
use crate::replication::line::Member;
use crate::wire::fetch_reply::FetchedPart;
use crate::wire::message::ResponseError;

/// What taking needs of the world.
pub struct Doors<'a> {
    /// Where work waits for disks.
    pub lane: &'a ColdLane,
    /// The wall clock.
    pub now_ms: i64,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The log goes on; the answer's offsets are the leader's.
    Records,
    /// The log was cut or begun anew: ask again.
    Cut,
    /// The records are in the bucket only.
    InBucket,
    /// It follows somebody else now.
    OtherRole,
}

/// Why nothing came of it. Asking again later may help.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The leader's word for it.
    #[error("the leader answers {0}")]
    Leader(String),
    /// The log did not take it.
    #[error(transparent)]
    Log(#[from] FollowError),
    /// What came is no whole batch.
    #[error("the leader sent {0} bytes that are no batch")]
    NoBatch(usize),
    /// Disk work could not be done.
    #[error("the disk work did not run: {0}")]
    Lane(#[from] std::io::Error),
}

/// Takes what came for one partition.
pub async fn take(
    member: &Member,
    part: &FetchedPart,
    records: &mut [u8],
    doors: &Doors<'_>,
) -> Result<Taken, IntakeError> {
    let taken = match ResponseError::try_from_code(part.error) {
        None if part.error != 0 => return Err(IntakeError::Leader(format!("error {}", part.error))),
        None => match part.diverging {
            Some((epoch, end)) => cut(member, part, (LeaderEpoch(epoch), Offset(end)), doors).await,
            None => append(member, records, doors).await.map(|()| Taken::Records),
        },
        Some(ResponseError::OffsetOutOfRange) => begin_anew(member, part, doors).await,
        Some(ResponseError::OffsetMovedToTieredStorage) => Ok(Taken::InBucket),
        Some(error) => return Err(IntakeError::Leader(format!("{error:?}"))),
    };
    match taken {
        Err(IntakeError::Log(FollowError::OtherRole)) => Ok(Taken::OtherRole),
        taken => taken,
    }
}

async fn append(member: &Member, mut records: &mut [u8], doors: &Doors<'_>) -> Result<(), IntakeError> {
    let now_ms = doors.now_ms;
    while !records.is_empty() {
        let size = BatchHeader::parse(records).map(|header| header.size()).unwrap_or(0);
        if size == 0 || size > records.len() {
            return Err(IntakeError::NoBatch(records.len()));
        }
        let (batch, rest) = records.split_at_mut(size);
        append_one(member, batch, now_ms, doors).await?;
        records = rest;
    }
    Ok(())
}

async fn append_one(
    member: &Member,
    batch: &mut [u8],
    now_ms: i64,
    doors: &Doors<'_>,
) -> Result<(), IntakeError> {
    loop {
        match member.partition.append_fetched(member.following, batch, now_ms) {
            Ok(_) => return Ok(()),
            Err(FollowError::Append(AppendError::Busy)) => tokio::task::yield_now().await,
            // The leader's log begins inside this batch, and ours was begun there.
            Err(FollowError::Append(AppendError::OutOfOrder { given, end }))
                if member.partition.log().offsets().local_start == end
                    && member.partition.log().size_bytes() == 0 =>
            {
                let Member { partition, following, .. } = member.clone();
                doors.lane.run(move || Ok(partition.restart_inside(following, given))).await??;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn restart(member: &Member, at: Offset, doors: &Doors<'_>) -> Result<(), IntakeError> {
    let Member { partition, following, .. } = member.clone();
    Ok(doors.lane.run(move || Ok(partition.restart_fetched(following, at))).await??)
}

/// The leader's log leaves ours after `epoch`, which ended there at `end`.
async fn cut(
    member: &Member,
    part: &FetchedPart,
    leaders: (LeaderEpoch, Offset),
    doors: &Doors<'_>,
) -> Result<Taken, IntakeError> {
    let Member { partition, following, .. } = member.clone();
    let (log, to) = (partition.log().clone(), cut_point(partition.log(), leaders));
    let (from, high_watermark) = (log.offsets().end, partition.high_watermark());
    let outcome = doors.lane.run(move || Ok(partition.truncate_fetched(following, to))).await?;
    match outcome {
        Ok(()) => {
            tracing::info!(log = %log.id(), %from, %to, leader = following.leader.0, epoch = %following.epoch, %high_watermark, "cut where the leader's log leaves ours");
            Ok(Taken::Cut)
        }
        // What is there at all is not the leader's.
        Err(FollowError::Cut(CutError::BelowFloor { .. })) => begin_anew(member, part, doors).await,
        Err(error) => Err(error.into()),
    }
}

/// Where our log has to end so that it is a part of the leader's, as far as this answer tells: the end of the same epoch
/// in the shorter of both. The next fetch goes on from there.
pub fn cut_point(log: &Log, (epoch, end): (LeaderEpoch, Offset)) -> Offset {
    log.end_of_epoch(epoch).map_or(end, |(_, own)| own.min(end))
}

/// Nothing of our log is in the leader's: it begins anew at the leader's start, or where the bucket ends.
async fn begin_anew(member: &Member, part: &FetchedPart, doors: &Doors<'_>) -> Result<Taken, IntakeError> {
    let log = member.partition.log();
    if log.config().remote_enabled && log.tier().is_some_and(|row| row.has_committed()) {
        return Ok(Taken::InBucket);
    }
    if part.log_start < 0 {
        return Err(IntakeError::Leader("no log start".to_owned()));
    }
    let offsets = log.offsets();
    let at = Offset(part.log_start).max(offsets.log_start);
    restart(member, at, doors).await?;
    tracing::warn!(log = %log.id(), from = %offsets.log_start, to = %offsets.end, %at, leader = member.following.leader.0, "nothing of the log is in its leader's: begun anew");
    Ok(Taken::Cut)
}
