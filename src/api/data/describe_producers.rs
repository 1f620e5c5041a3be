//! DescribeProducers (KIP-664): the idempotent producers that a partition's leader remembers.
//! The table is copied off the serving core, under the append lock. Invariant: every partition has one answer.

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::partition::replica::PartitionHandle;
use crate::wire::header::Header;
use crate::wire::message::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use crate::wire::message::{DescribeProducersRequest, DescribeProducersResponse};
use crate::wire::response::encode;

use firnline_tiering::producer::state;

/// Handles one DescribeProducers request.
pub fn handle(ctx: &Context, header: &Header, request: DescribeProducersRequest) -> Answer {
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let mut response = DescribeProducersResponse::default();
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
            for index in topic.partition_indexes {
                let answer =
                    PartitionResponse::default().with_partition_index(index).with_error_message(None);
                partitions.push(match described(&ctx, &topic.name, index).await {
                    Ok(producers) => answer.with_active_producers(producers),
                    Err(code) => answer.with_error_code(code.code()),
                });
            }
            response.topics.push(TopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        encode(&header, &response).into()
    }))
}

async fn described(ctx: &Context, topic: &str, index: i32) -> Result<Vec<ProducerState>, ErrorCode> {
    let found = ctx.shared.hosted.find(topic, index);
    let partition: PartitionHandle = found.ok_or_else(|| ctx.not_here(topic, index))?;
    if !partition.is_leader() {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let log = partition.log().clone();
    let table = ctx.shared.lane.run(move || Ok(log.producers())).await;
    let table = table.map_err(|_| ErrorCode::KafkaStorage)?;
    Ok(table.iter().map(producer).collect())
}

fn producer(known: &state::ProducerState) -> ProducerState {
    ProducerState::default()
        .with_producer_id(known.producer_id.into())
        .with_producer_epoch(known.epoch.into())
        .with_last_sequence(known.last_batch().map_or(-1, |batch| batch.last_sequence))
        .with_last_timestamp(known.last_timestamp)
        .with_coordinator_epoch(known.coordinator_epoch)
        .with_current_txn_start_offset(known.transaction_start.map_or(-1, |start| start.0))
}
