//! A shard under clients that do anything in any order, on a log that is busy, full or slow to commit.
//! Invariant checked: live state equals a replay of the log, every request is answered, and nobody hears of a record
//! that is not committed.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use firnline_tiering::batch::header::{BatchHeader, set_base_offset};
    use firnline_tiering::clock::Clock;
    use firnline_tiering::offsets::Offset;
    use parking_lot::Mutex;
    use proptest::prelude::*;
    use tokio::sync::oneshot;

    use crate::coordinator::group::classic::Limits;
    use crate::coordinator::group::error::GroupError;
    use crate::coordinator::group::groups::{Commit, OffsetToCommit};
    use crate::coordinator::group::id::{GroupId, MemberId};
    use crate::coordinator::group::join::Join;
    use crate::coordinator::group::member::Protocol;
    use crate::coordinator::group::sync::{Claim, Leaving, Sync};
    use crate::coordinator::journal::{Journal, JournalError};
    use crate::coordinator::loader::{LoadError, replay};
    use crate::coordinator::shard::{JoinAnswer, SettledAnswer, Shard, ShardParts, SyncAnswer};
    use crate::coordinator::ticker::Ticker;

    #[derive(Debug, Default)]
    struct Tape(Mutex<TapeState>);

    #[derive(Debug, Default)]
    struct TapeState {
        bytes: Vec<u8>,
        end: i64,
        /// Appends that are answered busy before the next one goes through.
        busy: u32,
        /// The next append fails.
        fail: bool,
        /// Committed by hand, up to here.
        held_at: Option<i64>,
    }

    impl Journal for Tape {
        fn append(&self, batch: &mut [u8], _now_ms: i64) -> Result<Offset, JournalError> {
            let mut tape = self.0.lock();
            if tape.busy > 0 {
                tape.busy -= 1;
                return Err(JournalError::Busy);
            }
            if std::mem::take(&mut tape.fail) {
                return Err(JournalError::Unavailable("no room".into()));
            }
            set_base_offset(batch, Offset(tape.end));
            let header = BatchHeader::parse_whole(batch).expect("a batch");
            tape.bytes.extend_from_slice(batch);
            tape.end = header.next_offset().0;
            Ok(Offset(tape.end))
        }

        fn committed(&self) -> Offset {
            let tape = self.0.lock();
            Offset(tape.held_at.unwrap_or(tape.end))
        }

        fn span(&self) -> (Offset, Offset) {
            (Offset(0), Offset(self.0.lock().end))
        }

        fn read(&self, from: Offset) -> Result<Bytes, JournalError> {
            let tape = self.0.lock();
            let mut at = 0;
            while let Ok(header) = BatchHeader::parse_whole(&tape.bytes[at..]) {
                if header.next_offset() > from {
                    break;
                }
                at += header.size();
            }
            // A few batches at a time, the last one torn, as a read by size may be.
            let whole = BatchHeader::parse_whole(&tape.bytes[at..]).map_or(0, |header| header.size());
            Ok(Bytes::copy_from_slice(&tape.bytes[at..at + whole]))
        }

        fn open_limit(&self) -> usize {
            1 << 20
        }
    }

    #[derive(Debug)]
    struct Noon;

    impl Clock for Noon {
        fn now_ms(&self) -> i64 {
            1_767_268_800_000
        }
    }

    fn limits() -> Limits {
        Limits {
            session_timeout_ms_min: 1,
            session_timeout_ms_max: 1_000_000,
            initial_rebalance_delay_ms: 3_000,
            size_max: 3,
            retention_ms: 0,
            metadata_bytes_max: 100,
        }
    }

    async fn shard(tape: &Arc<Tape>) -> Arc<Shard> {
        let parts =
            ShardParts { limits: limits(), clock: Arc::new(Noon), ticker: Arc::new(Ticker::default()) };
        let shard = Shard::new(0, tape.clone(), Arc::new(parts));
        shard.begin(replay(&**tape).expect("replays"), |_| true).await;
        shard
    }

    #[derive(Debug, Clone)]
    enum Op {
        Join { client: usize, group: u8, fixed: bool, old: bool, protocols: u8 },
        Sync { client: usize },
        Heartbeat { client: usize },
        Leave { client: usize },
        Commit { client: usize, partition: i32, offset: i64 },
        SimpleCommit { group: u8, partition: i32, expires: bool },
        Delete { group: u8 },
        Forget,
        ForgetTopic,
        Wait { ms: u64 },
        Busy { times: u32 },
        Fail,
        Hold,
        Release,
        Restart,
    }

    fn any_op() -> impl Strategy<Value = Op> {
        let client = 0..4_usize;
        let group = 0..2_u8;
        prop_oneof![
            6 => (client.clone(), group.clone(), any::<bool>(), any::<bool>(), 0..3_u8).prop_map(
                |(client, group, fixed, old, protocols)| Op::Join { client, group, fixed, old, protocols }
            ),
            6 => client.clone().prop_map(|client| Op::Sync { client }),
            2 => client.clone().prop_map(|client| Op::Heartbeat { client }),
            1 => client.clone().prop_map(|client| Op::Leave { client }),
            3 => (client, 0..3, 0..100_i64).prop_map(|(client, partition, offset)| Op::Commit { client, partition, offset }),
            1 => (group.clone(), 0..3, any::<bool>()).prop_map(
                |(group, partition, expires)| Op::SimpleCommit { group, partition, expires }
            ),
            1 => group.prop_map(|group| Op::Delete { group }),
            1 => Just(Op::Forget),
            1 => Just(Op::ForgetTopic),
            4 => prop_oneof![Just(1), Just(1_000), Just(3_000), Just(10_000), Just(60_000)].prop_map(|ms| Op::Wait { ms }),
            1 => (1..4_u32).prop_map(|times| Op::Busy { times }),
            1 => Just(Op::Fail),
            1 => Just(Op::Hold),
            1 => Just(Op::Release),
            1 => Just(Op::Restart),
        ]
    }

    /// One consumer: what it knows of itself, and the answers it waits for.
    #[derive(Default)]
    struct Client {
        group: u8,
        member: String,
        instance: Option<String>,
        generation: i32,
        leads: Vec<MemberId>,
        joins: Vec<oneshot::Receiver<JoinAnswer>>,
        syncs: Vec<oneshot::Receiver<SyncAnswer>>,
    }

    struct World {
        tape: Arc<Tape>,
        shard: Arc<Shard>,
        clients: Vec<Client>,
        settles: Vec<oneshot::Receiver<SettledAnswer>>,
        ids: u128,
    }

    fn group(number: u8) -> GroupId {
        format!("group-{number}").into()
    }

    impl World {
        async fn new() -> Self {
            let tape = Arc::new(Tape::default());
            let shard = shard(&tape).await;
            let clients = (0..4).map(|_| Client::default()).collect();
            World { tape, shard, clients, settles: Vec::new(), ids: 0 }
        }

        /// Takes a step whose answer may have to wait for a held log: the step itself is taken at once.
        async fn step<R>(
            &self,
            step: impl FnOnce(&mut crate::coordinator::shard::Step<'_>) -> R,
        ) -> Option<R> {
            tokio::time::timeout(Duration::from_millis(0), self.shard.run(step)).await.ok()?.ok()
        }

        fn claim(&self, client: usize) -> (GroupId, Claim) {
            let it = &self.clients[client];
            let instance = it.instance.as_deref().map(Into::into);
            (
                group(it.group),
                Claim { member: it.member.as_str().into(), instance, generation: it.generation },
            )
        }

        async fn run(&mut self, op: Op) {
            match op {
                Op::Join { client, group, fixed, old, protocols } => {
                    self.join(client, group, fixed, old, protocols).await;
                }
                Op::Sync { client } => self.sync(client).await,
                Op::Heartbeat { client } => {
                    let (group, claim) = self.claim(client);
                    self.step(|step| step.groups.heartbeat(step.now, &group, &claim)).await;
                }
                Op::Leave { client } => {
                    let (group, claim) = self.claim(client);
                    let leaving =
                        [Leaving { member: claim.member, instance: claim.instance, reason: String::new() }];
                    self.step(|step| {
                        step.groups.leave(step.now, step.limits, &group, &leaving, step.effects)
                    })
                    .await;
                }
                Op::Commit { client, partition, offset } => {
                    let (group, claim) = self.claim(client);
                    self.commit(group, claim, partition, offset, None).await;
                }
                Op::SimpleCommit { group: number, partition, expires } => {
                    let claim = Claim { member: "".into(), instance: None, generation: -1 };
                    self.commit(group(number), claim, partition, 7, expires.then_some(5)).await;
                }
                Op::Delete { group: number } => {
                    let answer = self.step(|step| {
                        let (waiter, answer) = step.wait_for_records();
                        if step.groups.delete(&group(number), waiter, step.effects).is_err() {
                            step.wait_no_more(waiter);
                            return None;
                        }
                        Some(answer)
                    });
                    let answer = answer.await.flatten();
                    self.settles.extend(answer);
                }
                Op::Forget => {
                    self.step(|step| {
                        step.groups.forget_expired(step.now, step.limits, None, 9, step.effects)
                    })
                    .await;
                }
                Op::ForgetTopic => {
                    self.step(|step| step.groups.forget_topics(|topic| topic == "topic", step.effects)).await;
                }
                Op::Wait { ms } => self.wait(ms).await,
                Op::Busy { times } => self.tape.0.lock().busy = times,
                Op::Fail => self.tape.0.lock().fail = true,
                Op::Hold => {
                    let mut tape = self.tape.0.lock();
                    tape.held_at = Some(tape.held_at.unwrap_or(tape.end));
                }
                Op::Release => self.release(),
                Op::Restart => self.restart().await,
            }
            self.hear();
        }

        fn release(&self) {
            self.tape.0.lock().held_at = None;
            self.shard.release();
        }

        async fn wait(&self, ms: u64) {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            let _ = tokio::time::timeout(Duration::from_millis(0), self.shard.expire()).await;
        }

        async fn join(&mut self, client: usize, number: u8, fixed: bool, old: bool, protocols: u8) {
            self.ids += 1;
            let offered = |name: &str| Protocol { name: name.into(), metadata: Bytes::from(vec![protocols]) };
            let it = &mut self.clients[client];
            if it.member.is_empty() {
                (it.group, it.instance) = (number, fixed.then(|| format!("instance-{client}")));
            }
            let join = Join {
                member: it.member.as_str().into(),
                instance: it.instance.as_deref().map(Into::into),
                client_id: format!("client-{client}"),
                client_host: "/127.0.0.1".into(),
                rebalance_timeout_ms: 20_000,
                session_timeout_ms: 8_000,
                protocol_type: "consumer".into(),
                protocols: match protocols {
                    0 => vec![offered("range"), offered("sticky")],
                    1 => vec![offered("sticky"), offered("range")],
                    _ => vec![offered("sticky")],
                },
                needs_id: !old,
                may_skip: !old,
                reason: String::new(),
                fresh: uuid::Uuid::from_u128(self.ids),
            };
            let group = group(it.group);
            let answer = self.step(|step| {
                let (waiter, answer) = step.wait_for_join();
                step.groups.join(step.now, step.limits, &group, join, waiter, step.effects);
                answer
            });
            let answer = answer.await;
            self.clients[client].joins.extend(answer);
        }

        async fn sync(&mut self, client: usize) {
            let (group, claim) = self.claim(client);
            let parts = self.clients[client].leads.iter().map(|id| (id.clone(), Bytes::from(id.to_string())));
            let sync = Sync { claim, protocol_type: None, protocol: None, assignment: parts.collect() };
            let answer = self.step(|step| {
                let (waiter, answer) = step.wait_for_sync();
                step.groups.sync(step.now, &group, sync, waiter, step.effects);
                answer
            });
            let answer = answer.await;
            self.clients[client].syncs.extend(answer);
        }

        async fn commit(
            &mut self,
            group: GroupId,
            claim: Claim,
            partition: i32,
            offset: i64,
            retention: Option<i64>,
        ) {
            let offset = OffsetToCommit {
                topic: if partition == 0 { "topic".into() } else { "other".into() },
                partition,
                offset,
                leader_epoch: 1,
                metadata: "m".into(),
            };
            let commit =
                Commit { claim, retention_ms: retention, knows_not_found: true, offsets: vec![offset] };
            let answer = self.step(|step| {
                let (waiter, answer) = step.wait_for_records();
                let told = step.groups.commit(step.now, step.limits, &group, commit, waiter, step.effects);
                if told.is_err() {
                    step.wait_no_more(waiter);
                    return None;
                }
                Some(answer)
            });
            let answer = answer.await.flatten();
            self.settles.extend(answer);
        }

        /// Clients read what was answered, and learn who they are.
        fn hear(&mut self) {
            for client in &mut self.clients {
                let mut answers = Vec::new();
                client.joins.retain_mut(|join| match join.try_recv() {
                    Err(oneshot::error::TryRecvError::Empty) => true,
                    Err(oneshot::error::TryRecvError::Closed) => false,
                    Ok(answer) => {
                        answers.push(answer);
                        false
                    }
                });
                for answer in answers {
                    match answer {
                        Ok(joined) => {
                            client.member = joined.member.to_string();
                            client.generation = joined.generation;
                            client.leads = joined.members.into_iter().map(|member| member.id).collect();
                        }
                        Err(refused) if refused.error == GroupError::MemberIdRequired => {
                            client.member = refused.member.to_string();
                        }
                        Err(refused) if refused.error == GroupError::UnknownMember => client.member.clear(),
                        Err(_) => {}
                    }
                }
                client
                    .syncs
                    .retain_mut(|sync| matches!(sync.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
            }
            self.settles
                .retain_mut(|answer| matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        }

        /// The shard is done with what it was told, however busy the log was.
        async fn settle(&self) {
            self.release();
            self.tape.0.lock().busy = 0;
            self.shard.run(|_| ()).await.expect("it serves");
        }

        async fn compare(&self) {
            self.settle().await;
            let live = self.shard.dump().await.expect("it serves");
            let replayed = replay(&*self.tape).expect("replays").groups.dump();
            let found = live.differences(&replayed);
            assert!(found.is_empty(), "{}", found.join("\n"));
        }

        async fn restart(&mut self) {
            self.compare().await;
            self.shard.resign();
            self.hear();
            let open =
                self.clients.iter().map(|client| client.joins.len() + client.syncs.len()).sum::<usize>();
            assert_eq!((open, self.settles.len()), (0, 0), "somebody waits for a shard that is gone");
            self.shard = shard(&self.tape).await;
        }

        /// All clients go away: every session ends, and with it every wait.
        async fn end(&mut self) {
            self.tape.0.lock().fail = false;
            self.settle().await;
            for _ in 0..40 {
                self.wait(20_000).await;
            }
            self.compare().await;
            self.hear();
            for client in &self.clients {
                assert_eq!((client.joins.len(), client.syncs.len()), (0, 0), "a request is never answered");
            }
            assert_eq!(self.settles.len(), 0, "a request is never answered");
            assert!(self.shard.is_idle(), "somebody is still waited for");
        }
    }

    fn paused(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(test);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn live_state_equals_a_replay_whatever_clients_and_the_log_do(ops in proptest::collection::vec(any_op(), 1..80)) {
            paused(async move {
                let mut world = World::new().await;
                for op in ops {
                    world.run(op).await;
                }
                world.compare().await;
                world.end().await;
            });
        }
    }

    #[test]
    fn nobody_hears_of_a_record_before_it_is_committed() {
        paused(async {
            let mut world = World::new().await;
            world.run(Op::Hold).await;
            world.run(Op::SimpleCommit { group: 0, partition: 1, expires: false }).await;
            // The step was taken and written, but its requester, and whoever looks after it, waits.
            assert_eq!(world.tape.span().1, Offset(1));
            assert!(world.step(|step| step.groups.len()).await.is_none());
            let (shard, tape) = (world.shard.clone(), world.tape.clone());
            let looks = shard.run(|step| step.groups.len());
            let releases = async {
                tokio::task::yield_now().await;
                tape.0.lock().held_at = None;
                shard.release();
            };
            assert_eq!(tokio::join!(looks, releases).0, Ok(1));
        });
    }

    #[test]
    fn a_busy_log_delays_and_loses_nothing() {
        paused(async {
            let world = World::new().await;
            world.tape.0.lock().busy = 3;
            let claim = Claim { member: "".into(), instance: None, generation: -1 };
            let shard = world.shard.clone();
            let commit = Commit {
                claim,
                retention_ms: None,
                knows_not_found: true,
                offsets: vec![OffsetToCommit {
                    topic: "t".into(),
                    partition: 0,
                    offset: 1,
                    leader_epoch: -1,
                    metadata: String::new(),
                }],
            };
            let answer = shard.run(|step| {
                let (waiter, answer) = step.wait_for_records();
                let told =
                    step.groups.commit(step.now, step.limits, &"g".into(), commit, waiter, step.effects);
                assert_eq!(told, Ok(vec![Ok(())]));
                answer
            });
            assert_eq!(answer.await.expect("it serves").await, Ok(Ok(())));
            assert_eq!(world.tape.0.lock().busy, 0);
            world.compare().await;
        });
    }

    #[test]
    fn a_damaged_or_unknown_record_stops_the_load() {
        paused(async {
            let mut world = World::new().await;
            world.run(Op::SimpleCommit { group: 0, partition: 1, expires: false }).await;
            let flipped = Tape::default();
            {
                let (from, mut to) = (world.tape.0.lock(), flipped.0.lock());
                (to.bytes, to.end) = (from.bytes.clone(), from.end);
                let last = to.bytes.len() - 1;
                to.bytes[last] ^= 1;
            }
            assert!(matches!(replay(&flipped), Err(LoadError::Batch { at: Offset(0), .. })));
            let known: BTreeMap<_, _> = replay(&*world.tape).expect("replays").groups.dump().offsets;
            assert_eq!(known.len(), 1);
        });
    }
}
