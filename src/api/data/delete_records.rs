//! DeleteRecords: moves the log start up. Of a tiered partition it moves in the quorum first, then here.
//! It deletes nothing itself: segments go by retention, objects by their graveyard. Invariant: the low watermark that is
//! answered is in force on every live replica, also after a restart.

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::partition::replica::PartitionHandle;
use crate::partition::trim::{TrimRefused, trim};
use crate::purgatory::delayed::Woken;
use crate::wire::header::Header;
use crate::wire::message::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use crate::wire::message::{DeleteRecordsRequest, DeleteRecordsResponse};
use crate::wire::response::encode;

use firnline_tiering::offsets::Offset;
use tokio::time::Instant;

/// "Up to the high watermark."
const HIGH_WATERMARK: i64 = -1;

/// Handles one DeleteRecords request.
pub fn handle(ctx: &Context, header: &Header, request: DeleteRecordsRequest) -> Answer {
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let within = std::time::Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let deadline = Instant::now() + within;
        let mut response = DeleteRecordsResponse::default();
        for topic in &request.topics {
            let mut result = DeleteRecordsTopicResult::default().with_name(topic.name.clone());
            for asked in &topic.partitions {
                let delete = delete(&ctx, &topic.name, asked.partition_index, asked.offset, deadline);
                let outcome = tokio::time::timeout_at(deadline, delete).await;
                let outcome = outcome.unwrap_or(Err(ErrorCode::RequestTimedOut));
                let answer =
                    DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
                result.partitions.push(match outcome {
                    Ok(low) => answer.with_low_watermark(low.0),
                    Err(code) => answer.with_low_watermark(-1).with_error_code(code.code()),
                });
            }
            response.topics.push(result);
        }
        encode(&header, &response).into()
    }))
}

async fn delete(
    ctx: &Context,
    topic: &str,
    index: i32,
    offset: i64,
    deadline: Instant,
) -> Result<Offset, ErrorCode> {
    let Some(partition) = ctx.shared.hosted.find(topic, index) else {
        return Err(ctx.not_here(topic, index));
    };
    if !partition.is_leader() {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    if partition.is_internal() {
        return Err(ErrorCode::InvalidTopic);
    }
    let high_watermark = partition.high_watermark();
    let to = if offset == HIGH_WATERMARK { high_watermark } else { Offset(offset) };
    if to < Offset(0) || to > high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let trimmed = trim(&partition, to, &ctx.shared.lane, &*ctx.shared.tiers).await;
    let low = trimmed.map_err(|refused: TrimRefused| {
        tracing::warn!(topic, partition = index, to = to.0, error = %refused, "records not deleted");
        ErrorCode::from(&refused)
    })?;
    // Readers below the new start have to learn it.
    ctx.core.purgatory.announce(partition.wait_key(), partition.interest());
    ctx.core.purgatory.end_turn();
    if partition.is_alone() { Ok(low) } else { on_all(ctx, &partition, to, deadline).await }
}

/// Waits until the log starts of all live replicas have reached `to`: they learn it with their next fetch.
async fn on_all(
    ctx: &Context,
    partition: &PartitionHandle,
    to: Offset,
    deadline: Instant,
) -> Result<Offset, ErrorCode> {
    let key = [(partition.wait_key(), partition.interest())];
    let mut wait = ctx.core.purgatory.watch(key, deadline);
    loop {
        let image = ctx.shared.controller.image();
        let low = partition.low_watermark(|id| image.brokers.is_live(id));
        let low = low.ok_or(ErrorCode::NotLeaderOrFollower)?;
        if low >= to {
            return Ok(low);
        }
        if wait.woken().await == Woken::Deadline {
            return Err(ErrorCode::RequestTimedOut);
        }
    }
}
