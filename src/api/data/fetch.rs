//! Fetch: look at every wanted partition; answer when there is enough, something is wrong, or the wait is over.
//! It reads no bytes of local files (the connection sends them) and waits for no bucket. Invariant: one partition's
//! error or slowness never changes what the others answer, and what "changed" is decided once, at the end.

use std::time::Duration;

use bytes::Bytes;
use firnline_controller::id::TopicId;
use firnline_tiering::batch::header::BatchHeader;
use firnline_tiering::hot::transactions::AbortedTransaction;
use firnline_tiering::log::read::{Read, ReadError, Slice};
use firnline_tiering::offsets::Offset;
use tokio::time::Instant;

use crate::api::context::{Answer, Context};
use crate::api::data::fetch_replica::{Fetcher, Reader, preferred};
use crate::api::data::fetch_session::{Opened, Wanted};
use crate::api::data::leader_hint::endpoints;
use crate::api::error_code::ErrorCode;
use crate::metadata::view::Leader;
use crate::partition::cold_desk::Desk;
use crate::partition::local_desk::Asked;
use crate::partition::read::{Found, Isolation, ReadAsk, ReadRefused};
use crate::partition::replica::PartitionHandle;
use crate::purgatory::delayed::Woken;
use crate::wire::fetch::{FetchPartition, FetchView, TopicRef};
use crate::wire::fetch_answer::{Aborted, FetchAnswer, Fetched, encode};
use crate::wire::header::Header;
use crate::wire::produce_answer::LeaderHint;
use crate::wire::response::Piece;

/// Longest that a fetch waits for a busy disk to say where its bytes lie, whatever its client allows.
const LOOK_UP_MAX: Duration = Duration::from_secs(1);

/// First version that names topics by id.
const BY_ID_FROM: i16 = 13;

/// Handles one Fetch request.
pub fn handle(ctx: &Context, header: &Header, view: FetchView) -> Answer {
    let by_id = header.version >= BY_ID_FROM;
    let reader = match Reader::of(ctx, header, &view) {
        Ok(reader) => reader,
        Err(code) => return refuse(header, code),
    };
    let opened = match ctx.shared.sessions.open(&view, by_id) {
        Ok(opened) => opened,
        Err(refused) => return refuse(header, ErrorCode::from(&refused)),
    };
    let fetching = Fetching::new(ctx.clone(), header.clone(), &view, opened, reader);
    let mut pass = fetching.look();
    if let Reader::Follower(follower) = &fetching.reader {
        fetching.note(follower, &mut pass);
    }
    if fetching.is_enough(&pass) {
        return fetching.answer(pass);
    }
    let deadline = fetching.deadline(&pass);
    Answer::Later(Box::pin(fetching.wait(deadline)))
}

fn refuse(header: &Header, code: ErrorCode) -> Answer {
    let answer = FetchAnswer { error: code.code(), ..FetchAnswer::default() };
    encode(header, answer).into()
}

/// A fetch under way.
struct Fetching {
    ctx: Context,
    header: Header,
    opened: Opened,
    /// One per wanted partition: the partition, or why it cannot be asked.
    targets: Vec<Result<PartitionHandle, Fetched>>,
    reader: Reader,
    isolation: Isolation,
    max_bytes: u64,
    min_bytes: u64,
    deadline: Instant,
    waits: bool,
}

/// One look at all partitions.
struct Pass {
    fetched: Vec<Fetched>,
    bytes: u64,
    /// Something that a client has to learn at once.
    urgent: bool,
    /// Places of partitions whose bytes came off the cold desk.
    cold: Vec<usize>,
    /// Some partition's bytes are on their way from the bucket.
    coming: bool,
    /// Places of partitions that were asked for at the local desk.
    looked_up: Vec<usize>,
    /// Some partition's place on the local disk is being looked up.
    looking: bool,
}

impl Fetching {
    fn new(ctx: Context, header: Header, view: &FetchView, opened: Opened, reader: Reader) -> Self {
        let targets = opened.wanted.iter().map(|wanted| resolve(&ctx, wanted)).collect();
        let limit = ctx.shared.config.network.fetch_bytes_max as u64;
        let max_wait = Duration::from_millis(u64::try_from(view.max_wait_ms).unwrap_or(0));
        Self {
            targets,
            isolation: match reader {
                Reader::Follower(_) => Isolation::Follower,
                Reader::Consumer { .. } if view.read_committed => Isolation::Committed,
                Reader::Consumer { .. } => Isolation::Uncommitted,
            },
            reader,
            max_bytes: u64::try_from(view.max_bytes).unwrap_or(0).min(limit),
            min_bytes: u64::try_from(view.min_bytes).unwrap_or(0),
            deadline: Instant::now() + max_wait,
            waits: !max_wait.is_zero() && !opened.wanted.is_empty(),
            ctx,
            header,
            opened,
        }
    }

    fn is_enough(&self, pass: &Pass) -> bool {
        let may_wait = self.waits || pass.coming || pass.looking;
        // A place on disk is found within milliseconds: nobody is told "nothing" meanwhile.
        let min_bytes = if pass.looking { self.min_bytes.max(1) } else { self.min_bytes };
        // When all that was asked of the bucket is here it goes out, as in Kafka: no more of it will come by itself.
        let all_came = !pass.cold.is_empty() && !pass.coming;
        !may_wait || pass.urgent || pass.bytes >= min_bytes || all_came
    }

    /// Until when it waits: for the bucket as long as the broker allows (`remote.fetch.max.wait.ms`), for new records
    /// as long as the client does.
    fn deadline(&self, pass: &Pass) -> Instant {
        match &self.ctx.shared.cold {
            Some(cold) if pass.coming => Instant::now() + cold.limits().fetch_wait_max(),
            _ if pass.looking => self.deadline.max(Instant::now() + LOOK_UP_MAX),
            _ => self.deadline,
        }
    }

    /// Looks at every partition in order, sharing out the bytes.
    fn look(&self) -> Pass {
        let mut pass = Pass {
            fetched: Vec::with_capacity(self.targets.len()),
            bytes: 0,
            urgent: false,
            cold: Vec::new(),
            coming: false,
            looked_up: Vec::new(),
            looking: false,
        };
        for (wanted, target) in self.opened.wanted.iter().zip(&self.targets) {
            let fetched = match target {
                Ok(partition) => self.look_at(partition, &wanted.ask, &mut pass),
                Err(failed) => failed.clone(),
            };
            pass.urgent |= fetched.error != 0 || fetched.diverging.is_some();
            pass.bytes += fetched.record_bytes();
            pass.fetched.push(fetched);
        }
        pass
    }

    fn look_at(&self, partition: &PartitionHandle, ask: &FetchPartition, pass: &mut Pass) -> Fetched {
        if let Some(id) = preferred(&self.ctx, &self.reader, partition, ask.fetch_offset) {
            pass.urgent = true;
            return Fetched { preferred_read_replica: id.0, ..self.marked(partition) };
        }
        let left = match &self.reader {
            Reader::Follower(follower) if follower.is_held_back(&self.ctx, partition) => None,
            _ => Some(self.max_bytes.saturating_sub(pass.bytes)),
        };
        let ask = ReadAsk {
            from: Offset(ask.fetch_offset),
            max_bytes: u64::try_from(ask.max_bytes).unwrap_or(0).min(left.unwrap_or(0)),
            // Only the first partition with data may exceed the limits, with one batch.
            min_one: pass.bytes == 0 && left.is_some(),
            isolation: self.isolation,
            from_follower: matches!(self.reader, Reader::Consumer { anywhere: true, .. }),
            claimed_epoch: ask.current_leader_epoch,
            last_fetched_epoch: ask.last_fetched_epoch,
        };
        let mut fetched = self.marked(partition);
        match partition.read(&ask) {
            Ok(found) => self.take(partition, &ask, found, &mut fetched, pass),
            Err(refused) => {
                fetched.error = ErrorCode::from(&refused).code();
                fetched.current_leader = self.hint(partition, &refused);
            }
        }
        fetched
    }

    /// An empty answer that carries the partition's offsets, as every answer does, also a failed one.
    fn marked(&self, partition: &PartitionHandle) -> Fetched {
        let marks = partition.marks();
        Fetched {
            high_watermark: marks.high_watermark.0,
            last_stable_offset: marks.last_stable.0,
            log_start_offset: marks.log_start.0,
            aborted: (self.isolation == Isolation::Committed).then(Vec::new),
            ..Fetched::empty(partition.id().index, 0)
        }
    }

    fn take(
        &self,
        partition: &PartitionHandle,
        ask: &ReadAsk,
        found: Found,
        fetched: &mut Fetched,
        pass: &mut Pass,
    ) {
        fetched.high_watermark = found.marks.high_watermark.0;
        fetched.last_stable_offset = found.marks.last_stable.0;
        fetched.log_start_offset = found.marks.log_start.0;
        fetched.diverging = found.diverging.map(|(epoch, end)| (epoch.0, end.0));
        let read = match found.read {
            Some(read) => read,
            None => match self.ask_local(partition, ask, pass) {
                Some(Ok(read)) => read,
                Some(Err(refused)) => {
                    fetched.error = ErrorCode::from(&ReadRefused::from(refused)).code();
                    return;
                }
                None => {
                    pass.looking = true;
                    return;
                }
            },
        };
        match read {
            Read::Empty => {}
            Read::Hot(Slice { file, at, len, steady, upto, .. }) => {
                if self.isolation == Isolation::Committed {
                    match partition.log().aborted(ask.from, upto) {
                        Ok(aborted) => fetched.aborted = Some(told(&aborted)),
                        Err(error) => {
                            fetched.error = ErrorCode::from(&ReadRefused::Log(error)).code();
                            return;
                        }
                    }
                }
                fetched.records.push(Piece::File { file, at, len, steady });
            }
            // A follower goes on where the bucket ends: it is not a reader of it (KIP-405).
            Read::Cold if self.isolation == Isolation::Follower => {
                fetched.error = ErrorCode::OffsetMovedToTieredStorage.code();
            }
            Read::Cold => self.take_cold(partition, ask, fetched, pass),
        }
    }

    /// Notes where a follower is, for every partition that it asks for rightly, and tells it what that committed.
    fn note(&self, follower: &Fetcher, pass: &mut Pass) {
        for ((wanted, target), fetched) in self.opened.wanted.iter().zip(&self.targets).zip(&mut pass.fetched)
        {
            let Ok(partition) = target else { continue };
            if fetched.error != 0 || fetched.diverging.is_some() {
                continue;
            }
            if follower.note(&self.ctx, partition, &wanted.ask) {
                fetched.high_watermark = partition.high_watermark().0;
            } else {
                // Its leader here has not heard of it yet.
                let failed = Fetched::empty(wanted.ask.index, ErrorCode::UnknownLeaderEpoch.code());
                *fetched = failed;
                pass.urgent = true;
            }
        }
        self.ctx.core.purgatory.end_turn();
    }

    /// Where the answer lies is on disk only: somebody else looks, and wakes us.
    fn ask_local(
        &self,
        partition: &PartitionHandle,
        ask: &ReadAsk,
        pass: &mut Pass,
    ) -> Option<Result<Read, ReadError>> {
        if ask.max_bytes == 0 && !ask.min_one {
            return Some(Ok(Read::Empty));
        }
        let ReadAsk { from, max_bytes, min_one, isolation, .. } = *ask;
        let asked = Asked { from, max_bytes, min_one, isolation };
        pass.looked_up.push(pass.fetched.len());
        self.ctx.core.local.ask(partition, &asked)
    }

    fn take_cold(&self, partition: &PartitionHandle, ask: &ReadAsk, fetched: &mut Fetched, pass: &mut Pass) {
        let Some(desk) = &self.ctx.core.cold else {
            fetched.error = ErrorCode::KafkaStorage.code();
            return;
        };
        if ask.max_bytes == 0 && !ask.min_one {
            return;
        }
        match desk.ask(partition, ask.from, ask.max_bytes, partition.bound(self.isolation)) {
            Desk::Coming => pass.coming = true,
            Desk::Here(batches) => {
                let bytes = whole_batches(batches.bytes, ask.max_bytes, ask.min_one);
                if self.isolation == Isolation::Committed {
                    fetched.aborted = Some(told(&batches.aborted));
                }
                if !bytes.is_empty() {
                    pass.cold.push(pass.fetched.len());
                    fetched.records.push(Piece::Bytes(bytes));
                }
            }
            Desk::Failed(error) => {
                pass.cold.push(pass.fetched.len());
                fetched.error = match partition.offsets().log_start > ask.from {
                    // Retention passed the reader by while it read.
                    true => ErrorCode::OffsetOutOfRange.code(),
                    false => ErrorCode::from(&error).code(),
                };
            }
        }
    }

    /// Who leads instead, where the error says that the client asked the wrong broker or with an old epoch.
    fn hint(&self, partition: &PartitionHandle, refused: &ReadRefused) -> Option<LeaderHint> {
        if !matches!(refused, ReadRefused::NotLeader | ReadRefused::Epoch(_)) {
            return None;
        }
        let id = partition.id();
        self.ctx.metadata().leader_by_id(id.topic, id.index).map(hint)
    }

    /// Waits for news of any partition, or for `deadline`.
    async fn wait(self, deadline: Instant) -> Answer {
        let watched = self.targets.iter().flatten();
        let keys = watched.map(|partition| partition.waiters(self.isolation));
        let mut wait = self.ctx.core.purgatory.watch(keys, deadline);
        loop {
            // First a look: something may have come between the last one and the registration.
            let pass = self.look();
            if self.is_enough(&pass) || wait.woken().await == Woken::Deadline {
                drop(wait);
                let pass = if self.is_enough(&pass) { pass } else { self.look() };
                return self.answer(pass);
            }
        }
    }

    fn answer(self, pass: Pass) -> Answer {
        self.settle(&pass);
        let by_id = self.header.version >= BY_ID_FROM;
        let hints = pass.fetched.iter().filter_map(|fetched| fetched.current_leader);
        let endpoints = endpoints(&self.ctx, hints);
        let (session_id, topics) = self.ctx.shared.sessions.close(self.opened, pass.fetched, by_id);
        let answer = FetchAnswer { session_id, topics, endpoints, ..FetchAnswer::default() };
        encode(&self.header, answer).into()
    }

    /// What goes out is taken off the cold desk and counted.
    fn settle(&self, pass: &Pass) {
        let failures = pass.fetched.iter().filter(|fetched| fetched.error != 0).count();
        self.ctx.shared.counters.fetch_failures.add(failures as u64);
        for (target, fetched) in self.targets.iter().zip(&pass.fetched) {
            let Ok(partition) = target else { continue };
            let (bytes, failed) = (fetched.record_bytes(), fetched.error != 0);
            match &self.reader {
                Reader::Follower(follower) => follower.count(&self.ctx, partition, bytes, failed),
                Reader::Consumer { .. } => partition.traffic().fetched(bytes, failed),
            }
        }
        for place in pass.looked_up.iter().filter(|place| !pass.fetched[**place].records.is_empty()) {
            if let Ok(partition) = &self.targets[*place] {
                let asked = Offset(self.opened.wanted[*place].ask.fetch_offset);
                self.ctx.core.local.served(partition, asked, self.isolation);
            }
        }
        for place in &pass.cold {
            let asked = Offset(self.opened.wanted[*place].ask.fetch_offset);
            if let (Some(desk), Ok(partition)) = (&self.ctx.core.cold, &self.targets[*place]) {
                desk.served(partition, asked);
            }
            self.ctx.shared.counters.fetch_cold_bytes.add(pass.fetched[*place].record_bytes());
        }
    }
}

fn hint(leader: Leader) -> LeaderHint {
    LeaderHint { id: leader.id, epoch: leader.epoch }
}

/// Aborted transactions as an answer names them.
fn told(aborted: &[AbortedTransaction]) -> Vec<Aborted> {
    let one = |one: &AbortedTransaction| Aborted { producer_id: one.producer_id, first_offset: one.first.0 };
    aborted.iter().map(one).collect()
}

/// Finds the partition, or says why it cannot be asked.
fn resolve(ctx: &Context, wanted: &Wanted) -> Result<PartitionHandle, Fetched> {
    let index = wanted.ask.index;
    let (hosted, unknown) = match &wanted.topic {
        TopicRef::Name(name) => (ctx.shared.hosted.topic(name), ErrorCode::UnknownTopicOrPartition),
        TopicRef::Id(id) => (ctx.shared.hosted.topic_by_id(TopicId(*id)), ErrorCode::UnknownTopicId),
    };
    if let Some(partition) = hosted.as_ref().and_then(|topic| topic.partition(index)) {
        return Ok(partition.clone());
    }
    let metadata = ctx.metadata();
    let (known, leader) = match &wanted.topic {
        TopicRef::Name(name) => (metadata.topic(name).is_some(), metadata.leader(name, index)),
        TopicRef::Id(id) => {
            (metadata.topic_by_id(TopicId(*id)).is_some(), metadata.leader_by_id(TopicId(*id), index))
        }
    };
    let code = match (known, leader) {
        (_, Some(_)) => ErrorCode::NotLeaderOrFollower,
        (true, None) => ErrorCode::UnknownTopicOrPartition,
        (false, None) => unknown,
    };
    Err(Fetched { current_leader: leader.map(hint), ..Fetched::empty(index, code.code()) })
}

/// Cuts `bytes` to whole batches of at most `max_bytes` together; the first one stays if `min_one`.
fn whole_batches(bytes: Bytes, max_bytes: u64, min_one: bool) -> Bytes {
    let mut end = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[end..]) {
        let next = end + header.size();
        let fits = next as u64 <= max_bytes || (min_one && end == 0);
        if !fits || next > bytes.len() {
            break;
        }
        end = next;
    }
    bytes.slice(..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firnline_tiering::batch::builder::BatchBuilder;

    fn batch(bytes: usize) -> Bytes {
        let mut builder = BatchBuilder::new();
        builder.push(0, None, Some(&vec![0; bytes]), &[]);
        builder.build()
    }

    #[test]
    fn cold_bytes_are_cut_between_batches_and_the_first_may_exceed_the_limit() {
        let (first, second) = (batch(100), batch(300));
        let both = Bytes::from([&first[..], &second[..]].concat());
        let cut = |limit: usize, min_one| whole_batches(both.clone(), limit as u64, min_one).len();
        assert_eq!(cut(both.len(), false), both.len());
        assert_eq!(cut(both.len() - 1, false), first.len());
        assert_eq!(cut(first.len() - 1, false), 0);
        assert_eq!(cut(1, true), first.len());
        let torn = both.slice(..both.len() - 1);
        assert_eq!(whole_batches(torn, u64::MAX, true).len(), first.len(), "half a batch is not answered");
    }
}
