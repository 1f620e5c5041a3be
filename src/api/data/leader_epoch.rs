//! OffsetForLeaderEpoch: where an epoch ended, so that a client finds out whether its log diverged (KIP-320).
//! The lineage lies in memory: nothing is read. Invariant: one answer per partition asked, in the request's order.

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::partition::replica::PartitionHandle;
use crate::wire::header::Header;
use crate::wire::message::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use crate::wire::message::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use crate::wire::message::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use crate::wire::response::encode;

use firnline_tiering::epoch::LeaderEpoch;

/// Handles one OffsetForLeaderEpoch request.
pub fn handle(ctx: &Context, header: &Header, request: OffsetForLeaderEpochRequest) -> Answer {
    let mut response = OffsetForLeaderEpochResponse::default();
    for topic in request.topics {
        let hosted = ctx.shared.hosted.topic(&topic.topic);
        let partitions = topic.partitions.iter().map(|asked| {
            let partition = hosted.as_ref().and_then(|topic| topic.partition(asked.partition));
            match partition {
                Some(partition) => end_of(partition, asked),
                None => failed(asked, ctx.not_here(&topic.topic, asked.partition)),
            }
        });
        let result = OffsetForLeaderTopicResult::default()
            .with_partitions(partitions.collect())
            .with_topic(topic.topic.clone());
        response.topics.push(result);
    }
    encode(header, &response).into()
}

fn end_of(partition: &PartitionHandle, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    if !partition.is_leader() {
        return failed(asked, ErrorCode::NotLeaderOrFollower);
    }
    if let Err(refused) = partition.check_epoch(asked.current_leader_epoch) {
        return failed(asked, ErrorCode::from(&refused));
    }
    let answer = EpochEndOffset::default().with_partition(asked.partition);
    // Newer than everything known here: -1 and -1, which are the defaults.
    match partition.log().end_of_epoch(LeaderEpoch(asked.leader_epoch)) {
        Some((epoch, end)) => answer.with_leader_epoch(epoch.0).with_end_offset(end.0),
        None => answer,
    }
}

fn failed(asked: &OffsetForLeaderPartition, code: ErrorCode) -> EpochEndOffset {
    EpochEndOffset::default().with_partition(asked.partition).with_error_code(code.code())
}
