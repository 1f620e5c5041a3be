//! DeleteRecords: moves the log start up. Of a tiered partition it moves in the quorum first, then here.
//! It deletes nothing itself: segments go by retention, objects by their graveyard. Invariant: the low watermark that is
//! answered is in force, also after a restart.

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::partition::trim::{TrimRefused, trim};
use crate::wire::header::Header;
use crate::wire::message::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use crate::wire::message::{DeleteRecordsRequest, DeleteRecordsResponse};
use crate::wire::response::encode;

use firnline_tiering::offsets::Offset;

/// "Up to the high watermark."
const HIGH_WATERMARK: i64 = -1;

/// Handles one DeleteRecords request.
pub fn handle(ctx: &Context, header: &Header, request: DeleteRecordsRequest) -> Answer {
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let within = std::time::Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let deadline = tokio::time::Instant::now() + within;
        let mut response = DeleteRecordsResponse::default();
        for topic in &request.topics {
            let mut result = DeleteRecordsTopicResult::default().with_name(topic.name.clone());
            for asked in &topic.partitions {
                let delete = delete(&ctx, &topic.name, asked.partition_index, asked.offset);
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

async fn delete(ctx: &Context, topic: &str, index: i32, offset: i64) -> Result<Offset, ErrorCode> {
    let Some(partition) = ctx.shared.hosted.find(topic, index) else {
        return Err(ctx.not_here(topic, index));
    };
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
    Ok(low)
}
