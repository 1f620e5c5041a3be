//! Produce: each batch to its partition, in the request's order, without leaving the core.
//! It validates no batch (the log does). Invariant: a batch that meets a taken lock is tried again before anything
//! later of the same connection starts, so that send order is offset order (I3).

use std::sync::Arc;
use std::time::Duration;

use firnline_tiering::batch::header::BatchHeader;
use firnline_tiering::batch::validate::Invalid;
use firnline_tiering::log::append::{AppendError, Appended, Origin};
use firnline_tiering::offsets::Offset;
use tokio::time::Instant;

use crate::api::context::{Answer, Context};
use crate::api::data::leader_hint::endpoints;
use crate::api::error_code::ErrorCode;
use crate::partition::hosted::HostedTopic;
use crate::partition::leader::{LeaderAppend, LeaderAppended, ProduceRefused};
use crate::partition::replica::PartitionHandle;
use crate::partition::role::Reign;
use crate::purgatory::delayed::Woken;
use crate::wire::header::Header;
use crate::wire::produce::{ProduceOutline, ProduceView};
use crate::wire::produce_answer::{LeaderHint, Produced, RecordError, encode};

/// Handles one Produce request.
pub fn handle(ctx: &Context, header: &Header, view: ProduceView) -> Answer {
    let mut producing = Producing::new(ctx, header, view);
    if producing.append_all(ctx) {
        return producing.finish(ctx, header);
    }
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::First(Box::pin(async move {
        loop {
            tokio::task::yield_now().await;
            if producing.append_all(&ctx) {
                return producing.finish(&ctx, &header);
            }
        }
    }))
}

/// A request on its way through its partitions.
struct Producing {
    view: ProduceView,
    /// The topic looked up last: most requests name one.
    topic: Option<Arc<HostedTopic>>,
    how: LeaderAppend,
    refused: Option<(ErrorCode, &'static str)>,
    done: Vec<Produced>,
    /// Slots that wait for an fsync up to an offset (`flush.messages`).
    unflushed: Vec<(usize, PartitionHandle, Offset)>,
    /// In the log and not committed yet.
    awaited: Vec<Awaited>,
}

/// A slot that waits for its partition's high watermark, or with acks=1 for this broker's fsync.
struct Awaited {
    slot: usize,
    partition: PartitionHandle,
    /// The offset after its last record.
    next: Offset,
    /// It was appended in this reign: the high watermark of another says nothing about it.
    reign: Reign,
    all_replicas: bool,
}

impl Producing {
    fn new(ctx: &Context, header: &Header, view: ProduceView) -> Self {
        let how = LeaderAppend {
            origin: Origin::Client,
            now_ms: ctx.shared.clock.now_ms(),
            produce_version: header.version,
            all_replicas: view.acks() == -1,
        };
        let refused = refuse_whole(&view);
        let done = Vec::with_capacity(view.slots());
        let (unflushed, awaited) = (Vec::new(), Vec::new());
        Self { view, topic: None, how, refused, done, unflushed, awaited }
    }

    /// Appends until every slot is done, or until a lock is taken; answers whether all are done.
    fn append_all(&mut self, ctx: &Context) -> bool {
        while self.done.len() < self.view.slots() {
            let Some(produced) = self.append_next(ctx) else {
                ctx.shared.counters.append_retries.add(1);
                return false;
            };
            self.done.push(produced);
        }
        true
    }

    /// `None` when the log's lock is taken.
    fn append_next(&mut self, ctx: &Context) -> Option<Produced> {
        if let Some((code, why)) = self.refused {
            return Some(failed(code, why.to_owned()));
        }
        let part = self.view.part(self.done.len());
        if self.topic.as_ref().is_none_or(|topic| *topic.name != *part.topic) {
            self.topic = ctx.shared.hosted.topic(part.topic);
        }
        let partition = self.topic.as_ref().and_then(|topic| topic.partition(part.index));
        let Some(partition) = partition else {
            return Some(not_here(ctx, part.topic, part.index));
        };
        let Some(records) = part.records else {
            return Some(failed(ErrorCode::InvalidRecord, "no record batch".to_owned()));
        };
        if BatchHeader::parse(records).is_ok_and(|header| header.is_transactional()) {
            let (code, why) = NO_TRANSACTIONS;
            return Some(failed(code, why.to_owned()));
        }
        let bytes = records.len() as u64;
        match partition.append(records, &self.how) {
            Ok(done) => {
                let (next, reign) = (done.appended.last_offset.next(), done.reign);
                let committed = partition.high_watermark() >= next && partition.reigns(reign);
                if committed {
                    ctx.core.purgatory.announce(partition.wait_key(), partition.interest());
                }
                if !partition.is_alone() {
                    ctx.core.purgatory.announce(partition.tail_key(), partition.tail_interest());
                }
                let all_replicas = self.how.all_replicas;
                if !committed && (all_replicas || (self.view.acks() != 0 && partition.is_durable())) {
                    let (slot, partition) = (self.done.len(), partition.clone());
                    self.awaited.push(Awaited { slot, partition, next, reign, all_replicas });
                }
                ctx.shared.counters.produce_bytes.add(bytes);
                ctx.shared.counters.produce_batches.add(1);
                let Appended { base_offset, last_offset, .. } = done.appended;
                partition.traffic().produced((last_offset.0 - base_offset.0 + 1).max(0) as u64, bytes);
                if let Some(upto) = partition.log().flush_wanted() {
                    self.unflushed.push((self.done.len(), partition.clone(), upto));
                }
                Some(succeeded(&done))
            }
            Err(ProduceRefused::Log(AppendError::Busy)) => None,
            Err(refused) => {
                partition.traffic().produce_failed();
                Some(refused_batch(ctx, &refused, part.topic, part.index))
            }
        }
    }

    /// Answers at once, or once everything appended is fsynced (where a count asks for that) and committed.
    fn finish(self, ctx: &Context, header: &Header) -> Answer {
        let (acks, timeout_ms) = (self.view.acks(), self.view.timeout_ms());
        let Self { view, done, unflushed, awaited, .. } = self;
        let finished = Finished { acks, outline: view.into_outline(), done };
        // Nobody waits for an fsync with acks=0.
        if awaited.is_empty() && (unflushed.is_empty() || acks == 0) {
            return finished.answer(ctx, header);
        }
        let deadline = Instant::now() + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
        let (ctx, header) = (ctx.clone(), header.clone());
        Answer::Later(Box::pin(async move {
            let mut finished = finished;
            finished.flush(&ctx, unflushed).await;
            finished.commit(&ctx, awaited, deadline).await;
            finished.answer(&ctx, &header)
        }))
    }
}

/// A request whose batches are in the log or refused; its frame is gone.
struct Finished {
    acks: i16,
    outline: ProduceOutline,
    done: Vec<Produced>,
}

impl Finished {
    /// Waits until what `flush.messages` asks for is fsynced.
    async fn flush(&mut self, ctx: &Context, unflushed: Vec<(usize, PartitionHandle, Offset)>) {
        for (slot, partition, upto) in unflushed {
            let flushed = ctx.shared.lane.run(move || partition.log().flush_to(upto)).await;
            if let Err(error) = flushed {
                self.done[slot] = failed(ErrorCode::KafkaStorage, format!("not flushed: {error}"));
            }
        }
    }

    /// Waits in the core's purgatory; what is not committed by `deadline` is answered as timed out, and stays.
    async fn commit(&mut self, ctx: &Context, mut awaited: Vec<Awaited>, deadline: Instant) {
        if awaited.is_empty() {
            return;
        }
        let purgatory = ctx.core.purgatory.clone();
        let keys = awaited.iter().map(|it| (it.partition.wait_key(), it.partition.interest()));
        let mut wait = purgatory.watch(keys, deadline);
        loop {
            awaited.retain(|it| match it.verdict() {
                None => true,
                Some(Ok(())) => false,
                Some(Err((code, why))) => {
                    self.done[it.slot] = failed(code, why);
                    false
                }
            });
            if awaited.is_empty() {
                return;
            }
            if wait.woken().await == Woken::Deadline {
                for it in &awaited {
                    let why = format!("not committed in time: the high watermark is below {}", it.next);
                    self.done[it.slot] = failed(ErrorCode::RequestTimedOut, why);
                }
                return;
            }
        }
    }

    fn answer(self, ctx: &Context, header: &Header) -> Answer {
        let failures = self.done.iter().filter(|produced| produced.error != 0).count();
        ctx.shared.counters.produce_failures.add(failures as u64);
        if self.acks == 0 {
            return match self.done.iter().find(|produced| produced.error != 0) {
                None => Answer::Silent,
                // The only way to tell a client that awaits no answer.
                Some(failed) => {
                    Answer::Close(format!("a produce request with acks=0 failed: error {}", failed.error))
                }
            };
        }
        let endpoints = endpoints(ctx, self.done.iter().filter_map(|produced| produced.current_leader));
        encode(header, &self.outline, &self.done, &endpoints, 0).into()
    }
}

impl Awaited {
    /// Committed, lost for this client, or `None`: neither yet.
    fn verdict(&self) -> Option<Result<(), (ErrorCode, String)>> {
        // The offset first: it may be of another reign only if this one is over.
        let reached = match self.all_replicas {
            true => self.partition.high_watermark(),
            false => self.partition.log().recovery_point(),
        };
        let reigns = self.partition.reigns(self.reign);
        if reached >= self.next && reigns {
            return Some(Ok(()));
        }
        if let Some(what) = self.partition.log().offline() {
            return Some(Err((ErrorCode::KafkaStorage, what.to_string())));
        }
        if !reigns {
            let why = "this broker does not lead the partition any more".to_owned();
            return Some(Err((ErrorCode::NotLeaderOrFollower, why)));
        }
        let (in_sync, required) = self.partition.in_sync();
        (self.all_replicas && in_sync < required).then(|| {
            let why = format!("appended, but only {in_sync} of {required} replicas are in sync now");
            Err((ErrorCode::NotEnoughReplicasAfterAppend, why))
        })
    }
}

/// The one refusal that librdkafka does not repeat for ever.
const NO_TRANSACTIONS: (ErrorCode, &str) =
    (ErrorCode::TransactionalIdAuthorizationFailed, "transactions are not built yet");

/// What makes every partition of a request fail.
fn refuse_whole(view: &ProduceView) -> Option<(ErrorCode, &'static str)> {
    if !matches!(view.acks(), -1..=1) {
        return Some((ErrorCode::InvalidRequiredAcks, "acks must be 0, 1 or -1"));
    }
    if view.transactional_id().is_some() {
        return Some(NO_TRANSACTIONS);
    }
    None
}

fn succeeded(done: &LeaderAppended) -> Produced {
    Produced {
        base_offset: done.appended.base_offset.0,
        log_append_time_ms: done.appended.log_append_time_ms,
        log_start_offset: done.log_start.0,
        ..Produced::failed(0, None)
    }
}

fn failed(code: ErrorCode, why: String) -> Produced {
    Produced::failed(code.code(), Some(why))
}

/// A partition we do not hold: unknown everywhere, or led by another broker, who is named (KIP-951).
fn not_here(ctx: &Context, topic: &str, index: i32) -> Produced {
    match ctx.metadata().leader(topic, index) {
        None => failed(ErrorCode::UnknownTopicOrPartition, format!("no partition {topic}-{index}")),
        Some(_) if ctx.shared.hosted.is_failed(topic, index) => {
            failed(ErrorCode::KafkaStorage, format!("the log of {topic}-{index} could not be opened"))
        }
        Some(leader) => Produced {
            current_leader: Some(LeaderHint { id: leader.id, epoch: leader.epoch }),
            ..failed(ErrorCode::NotLeaderOrFollower, format!("broker {} leads {topic}-{index}", leader.id))
        },
    }
}

fn refused_batch(ctx: &Context, refused: &ProduceRefused, topic: &str, index: i32) -> Produced {
    let code = ErrorCode::from(refused);
    let produced = failed(code, refused.to_string());
    match refused {
        ProduceRefused::NotLeader => not_here(ctx, topic, index),
        ProduceRefused::Log(AppendError::Invalid(invalid)) => {
            Produced { record_errors: record_errors(invalid), ..produced }
        }
        _ => produced,
    }
}

/// The records that made a batch fail, where single ones did (KIP-467).
fn record_errors(invalid: &Invalid) -> Vec<RecordError> {
    let Invalid::Records { errors, .. } = invalid else { return Vec::new() };
    let told = errors.iter();
    told.map(|error| RecordError { batch_index: error.index, message: Some(error.reason.to_string()) })
        .collect()
}
