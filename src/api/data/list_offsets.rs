//! ListOffsets: the ends of a partition's tiers, and the first record at or after a time.
//! What may wait for a disk or the bucket leaves the core. Invariant: an answer lies within [log start, bound) of the
//! reader's isolation, and "no such record" is an answer, not an error.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::partition::read::Isolation;
use crate::partition::replica::PartitionHandle;
use crate::partition::times::{At, Times};
use crate::wire::header::Header;
use crate::wire::message::list_offsets_request::ListOffsetsPartition;
use crate::wire::message::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use crate::wire::message::{ListOffsetsRequest, ListOffsetsResponse};
use crate::wire::response::encode;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// Handles one ListOffsets request.
pub fn handle(ctx: &Context, header: &Header, request: ListOffsetsRequest) -> Answer {
    let isolation = if request.isolation_level == 1 { Isolation::Committed } else { Isolation::Uncommitted };
    let asking = Asking { ctx: ctx.clone(), header: header.clone(), isolation };
    let waits =
        request.topics.iter().flat_map(|topic| &topic.partitions).any(|asked| searches(asked.timestamp));
    if !waits {
        let mut response = ListOffsetsResponse::default();
        for topic in &request.topics {
            let twice = repeated(&topic.partitions);
            let answers =
                topic.partitions.iter().map(|asked| match asking.at_once(&topic.name, asked, &twice) {
                    Ok(done) => done,
                    // cannot happen: no timestamp of this request searches.
                    Err(_) => failed(asked, ErrorCode::InvalidRequest),
                });
            response.topics.push(topic_response(&topic.name, answers.collect()));
        }
        return encode(header, &response).into();
    }
    Answer::Later(Box::pin(asking.search(request)))
}

/// True when the timestamp needs a look into segments.
fn searches(timestamp: i64) -> bool {
    timestamp >= 0 || timestamp == MAX_TIMESTAMP
}

/// Indexes that occur more than once: each occurrence is refused.
fn repeated(partitions: &[ListOffsetsPartition]) -> Vec<i32> {
    let mut seen = BTreeMap::new();
    partitions.iter().for_each(|asked| *seen.entry(asked.partition_index).or_insert(0) += 1);
    seen.into_iter().filter(|(_, times)| *times > 1).map(|(index, _)| index).collect()
}

struct Asking {
    ctx: Context,
    header: Header,
    isolation: Isolation,
}

impl Asking {
    /// Answers partitions one after the other; each search is bounded by the request's time.
    async fn search(self, request: ListOffsetsRequest) -> Answer {
        let within = self.within(request.timeout_ms);
        let deadline = tokio::time::Instant::now() + within;
        let mut response = ListOffsetsResponse::default();
        for topic in &request.topics {
            let twice = repeated(&topic.partitions);
            let mut answers = Vec::new();
            for asked in &topic.partitions {
                answers.push(match self.at_once(&topic.name, asked, &twice) {
                    Ok(done) => done,
                    Err(partition) => {
                        let search = self.search_one(&partition, asked);
                        let found = tokio::time::timeout_at(deadline, search).await;
                        found.unwrap_or_else(|_| failed(asked, ErrorCode::RequestTimedOut))
                    }
                });
            }
            response.topics.push(topic_response(&topic.name, answers));
        }
        encode(&self.header, &response).into()
    }

    /// How long searching may take: what the client says (v10), at most what the broker allows.
    fn within(&self, timeout_ms: i32) -> Duration {
        let cold = self.ctx.shared.cold.as_ref();
        let limit = cold.map_or(DISK_TIMEOUT, |cold| cold.limits().list_offsets_max());
        match u64::try_from(timeout_ms) {
            Ok(asked) if asked > 0 && self.header.version >= 10 => limit.min(Duration::from_millis(asked)),
            _ => limit,
        }
    }

    /// The answer, or the partition that has to be searched for it.
    fn at_once(
        &self,
        topic: &str,
        asked: &ListOffsetsPartition,
        twice: &[i32],
    ) -> Result<ListOffsetsPartitionResponse, PartitionHandle> {
        if twice.contains(&asked.partition_index) {
            return Ok(failed(asked, ErrorCode::InvalidRequest));
        }
        let Some(partition) = self.ctx.shared.hosted.find(topic, asked.partition_index) else {
            return Ok(failed(asked, self.ctx.not_here(topic, asked.partition_index)));
        };
        if !partition.is_leader() {
            return Ok(failed(asked, ErrorCode::NotLeaderOrFollower));
        }
        if let Err(refused) = partition.check_epoch(asked.current_leader_epoch) {
            return Ok(failed(asked, ErrorCode::from(&refused)));
        }
        let supported = match asked.timestamp {
            LATEST | EARLIEST | 0.. => true,
            MAX_TIMESTAMP => self.header.version >= 7,
            EARLIEST_LOCAL => self.header.version >= 8,
            LATEST_TIERED => self.header.version >= 9,
            _ => false,
        };
        match supported {
            false => Ok(failed(asked, ErrorCode::UnsupportedVersion)),
            true if asked.timestamp == LATEST && !knows_the_end(&partition) => {
                Ok(failed(asked, self.not_yet()))
            }
            true if searches(asked.timestamp) => Err(partition),
            true => Ok(self.found(asked, self.end(&partition, asked.timestamp))),
        }
    }

    fn found(&self, asked: &ListOffsetsPartition, at: At) -> ListOffsetsPartitionResponse {
        let answer = ListOffsetsPartitionResponse::default()
            .with_partition_index(asked.partition_index)
            .with_offset(at.offset)
            .with_timestamp(at.timestamp_ms);
        // The field exists since version 4.
        if self.header.version >= 4 { answer.with_leader_epoch(at.leader_epoch) } else { answer }
    }

    /// The code for an end that is not known yet (KIP-207).
    fn not_yet(&self) -> ErrorCode {
        if self.header.version >= 5 { ErrorCode::OffsetNotAvailable } else { ErrorCode::LeaderNotAvailable }
    }

    fn end(&self, partition: &PartitionHandle, which: i64) -> At {
        let times = Times::new(partition, self.isolation);
        match which {
            LATEST => times.latest(),
            EARLIEST => times.earliest(),
            EARLIEST_LOCAL => times.earliest_local(),
            _ => times.latest_tiered(),
        }
    }

    async fn search_one(
        &self,
        partition: &PartitionHandle,
        asked: &ListOffsetsPartition,
    ) -> ListOffsetsPartitionResponse {
        let times = Times::new(partition, self.isolation);
        let (lane, cold) = (&self.ctx.shared.lane, self.ctx.shared.cold.as_deref());
        let outcome = match asked.timestamp {
            MAX_TIMESTAMP => times.max_timestamp(lane, cold).await,
            timestamp => times.first_since(timestamp, lane, cold).await,
        };
        match outcome {
            Ok(at) if at == At::NOWHERE && !knows_the_end(partition) => failed(asked, self.not_yet()),
            Ok(at) => self.found(asked, at),
            Err(error) => failed(asked, ErrorCode::from(&error)),
        }
    }
}

/// False while a new leader's high watermark is behind where its term began: readers may have seen more under the last
/// leader, and an end never goes backwards for them (I6).
fn knows_the_end(partition: &PartitionHandle) -> bool {
    partition.is_alone() || partition.epoch_start().is_none_or(|start| start <= partition.high_watermark())
}

/// Longest search without a bucket.
const DISK_TIMEOUT: Duration = Duration::from_secs(30);

fn failed(asked: &ListOffsetsPartition, code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse::default()
        .with_partition_index(asked.partition_index)
        .with_error_code(code.code())
}

fn topic_response(
    name: &crate::wire::message::TopicName,
    partitions: Vec<ListOffsetsPartitionResponse>,
) -> ListOffsetsTopicResponse {
    ListOffsetsTopicResponse::default().with_name(name.clone()).with_partitions(partitions)
}
