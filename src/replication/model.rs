//! Three replicas of one partition without a network: fetches are handed over by hand, late, and never; leaders change,
//! also while the old one does not know; brokers restart. Whatever comes, what was committed stays where it was (I1, I5),
//! replicas agree below their high watermarks (I9), and no leader's falls (I6). The KIP-101/279/320 scenarios by name.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;
    use std::sync::{Arc, Weak};
    use std::time::Duration;

    use firnline_controller::id::{BrokerEpoch, BrokerId, PartitionEpoch, TopicId};
    use firnline_controller::record::kinds::Partition;
    use firnline_tiering::batch::builder::BatchBuilder;
    use firnline_tiering::batch::header::batches;
    use firnline_tiering::clock::SystemClock;
    use firnline_tiering::config::LogConfig;
    use firnline_tiering::epoch::LeaderEpoch;
    use firnline_tiering::hot::file::OsFiles;
    use firnline_tiering::log::append::Origin;
    use firnline_tiering::log::open::OpenLog;
    use firnline_tiering::log::read::Read;
    use firnline_tiering::log::unified::Log;
    use firnline_tiering::offsets::Offset;
    use proptest::prelude::*;
    use tempfile::TempDir;
    use tokio::time::Instant;

    use crate::partition::cold_lane::{ColdLane, read_exact};
    use crate::partition::isr::{Report, Roster};
    use crate::partition::leader::LeaderAppend;
    use crate::partition::read::{Isolation, ReadAsk, ReadRefused};
    use crate::partition::replica::{PartitionHandle, PartitionId, Replica, ReplicaSettings, StartKeeper};
    use crate::partition::role::Noted;
    use crate::replication::intake::{Doors, Taken, take};
    use crate::replication::line::Member;
    use crate::wire::fetch_reply::FetchedPart;

    const NODES: usize = 3;
    const LAG: Duration = Duration::from_secs(30);

    struct NoKeeper;

    impl StartKeeper for NoKeeper {
        fn keep(&self, _: &str, _: i32, _: Offset) -> io::Result<()> {
            Ok(())
        }
        fn lower_recovery_point(&self, _: &str, _: i32, _: Offset) -> io::Result<()> {
            Ok(())
        }
    }

    struct Node {
        dir: TempDir,
        replica: PartitionHandle,
        life: i64,
        /// A fetch that the leader answered and this node has not seen.
        coming: Option<(Member, FetchedPart, Vec<u8>)>,
    }

    struct Group {
        keeper: Arc<dyn StartKeeper>,
        nodes: Vec<Node>,
        /// As the quorum has it.
        row: Partition,
        min_insync: i32,
        /// What was committed: batches by base offset, as the checksum of their bytes.
        committed: BTreeMap<i64, (i64, u32)>,
        serial: u64,
        lane: Arc<ColdLane>,
    }

    fn id(node: usize) -> BrokerId {
        BrokerId(node as i32)
    }

    fn open(dir: &TempDir, node: usize, min_insync: i32, keeper: &Arc<dyn StartKeeper>) -> PartitionHandle {
        let (log, _) = Log::open(OpenLog {
            id: TopicId::ZERO.log_id(0),
            dir: dir.path().to_owned(),
            config: LogConfig { segment_bytes: 1_000, ..LogConfig::default() },
            files: Arc::new(OsFiles),
            health: Arc::default(),
            clock: Arc::new(SystemClock),
            boot: None,
            clean_shutdown: false,
            recovery_point: Offset(0),
            log_start: Offset(0),
            committed_remote_end: None,
        })
        .expect("opens");
        Replica::open(ReplicaSettings {
            id: PartitionId { topic: TopicId::ZERO, index: 0 },
            me: id(node),
            topic_name: "t".into(),
            log,
            internal: false,
            high_watermark: Offset(0),
            lag_max: LAG,
            min_insync,
            room: Arc::default(),
            durable: false,
            dirty: Arc::default(),
            keeper: Arc::downgrade(keeper) as Weak<dyn StartKeeper>,
        })
    }

    impl Group {
        fn new(min_insync: i32) -> Group {
            let keeper: Arc<dyn StartKeeper> = Arc::new(NoKeeper);
            let all: Arc<[BrokerId]> = (0..NODES).map(id).collect();
            let row =
                Partition { replicas: all.clone(), isr: all, leader: Some(id(0)), ..Partition::default() };
            let node = |at| {
                let dir = tempfile::tempdir().expect("a directory");
                let replica = open(&dir, at, min_insync, &keeper);
                Node { dir, replica, life: 0, coming: None }
            };
            let nodes = (0..NODES).map(node).collect();
            let lane = ColdLane::new(None, 0);
            let mut group =
                Group { keeper, nodes, row, min_insync, committed: BTreeMap::new(), serial: 0, lane };
            (0..NODES).for_each(|node| group.deliver(node));
            group
        }

        /// The node learns the row as it is now.
        fn deliver(&mut self, node: usize) {
            let (replica, row) = (&self.nodes[node].replica, &self.row);
            if row.leader == Some(id(node)) {
                let roster =
                    Roster { replicas: row.replicas.clone(), isr: row.isr.clone(), epoch: row.epoch };
                replica.lead(row.leader_epoch, roster);
            } else {
                replica.follow(row.leader, row.leader_epoch);
            }
            self.check();
        }

        /// Produces to a node, whether it should lead or only believes so.
        fn produce(&mut self, node: usize) {
            self.serial += 1;
            let mut builder = BatchBuilder::new();
            for _ in 0..1 + self.serial % 3 {
                builder.push(self.serial as i64, None, Some(&self.serial.to_be_bytes()), &[]);
            }
            let mut batch = builder.build().to_vec();
            let how =
                LeaderAppend { origin: Origin::Client, now_ms: 0, produce_version: 9, all_replicas: true };
            // Refused where it does not lead, or too few are in sync.
            let _ = self.nodes[node].replica.append(&mut batch, &how);
            self.check();
        }

        /// The node's fetch reaches its leader; the answer is on its way.
        fn ask(&mut self, node: usize) {
            let Some(following) = self.nodes[node].replica.following() else { return };
            let member = Member::new(&self.nodes[node].replica, following);
            let asked = member.ask(300);
            let leader = &self.nodes[following.leader.0 as usize].replica;
            let mut part = FetchedPart {
                topic: TopicId::ZERO.0,
                index: 0,
                error: 0,
                high_watermark: -1,
                log_start: -1,
                diverging: None,
                records: 0..0,
            };
            let mut bytes = Vec::new();
            let from = Offset(asked.fetch_offset);
            let found = leader.read(&ReadAsk {
                from,
                max_bytes: 300,
                min_one: true,
                isolation: Isolation::Follower,
                from_follower: false,
                claimed_epoch: asked.current_leader_epoch,
                last_fetched_epoch: asked.last_fetched_epoch,
            });
            match found {
                Ok(found) => {
                    part.diverging = found.diverging.map(|(epoch, end)| (epoch.0, end.0));
                    if part.diverging.is_none() {
                        let report = Report {
                            from: id(node),
                            broker_epoch: BrokerEpoch(self.nodes[node].life),
                            end: from,
                            log_start: Offset(asked.log_start_offset),
                            leader_end: leader.offsets().end,
                            at: Instant::now(),
                            eligible: true,
                        };
                        if leader.note_fetch(&report) == Noted::Stranger {
                            return;
                        }
                    }
                    if let Some(Read::Hot(slice)) = found.read {
                        bytes = vec![0; slice.len as usize];
                        read_exact(&*slice.file, &mut bytes, slice.at).expect("reads");
                    }
                }
                Err(ReadRefused::OutOfRange { .. }) => part.error = 1,
                Err(_) => return,
            }
            let marks = leader.marks();
            (part.high_watermark, part.log_start) = (marks.high_watermark.0, marks.log_start.0);
            part.records = 0..bytes.len();
            self.nodes[node].coming = Some((member, part, bytes));
            self.check();
        }

        /// The answer arrives.
        async fn receive(&mut self, node: usize) {
            let Some((member, part, mut bytes)) = self.nodes[node].coming.take() else { return };
            let doors = Doors { lane: &self.lane, now_ms: 0 };
            if let Ok(Taken::Records) = take(&member, &part, &mut bytes, &doors).await {
                member.partition.adopt_high_watermark(member.following, Offset(part.high_watermark));
            }
            self.check();
        }

        async fn fetch(&mut self, node: usize) {
            self.ask(node);
            self.receive(node).await;
        }

        /// The node asks for the ISR it wants; the quorum decides, and the answer may get lost.
        fn alter(&mut self, node: usize, answered: bool) {
            let Some((epoch, wish)) = self.nodes[node].replica.propose() else { return };
            let lives = |(id, life): &(BrokerId, Option<BrokerEpoch>)| {
                let known = self.nodes[id.0 as usize].life;
                life.is_none_or(|life| life.0 == known) || self.row.isr.contains(id)
            };
            let current = self.row.leader == Some(id(node))
                && (self.row.leader_epoch, self.row.epoch) == (epoch, wish.on)
                && wish.isr.iter().all(lives);
            if current {
                self.row.isr = wish.isr.iter().map(|(id, _)| *id).collect();
                self.row.epoch = PartitionEpoch(self.row.epoch.0 + 1);
            }
            match (current, answered) {
                (true, true) => {
                    let row = self.row.clone();
                    let roster = Roster { replicas: row.replicas, isr: row.isr, epoch: row.epoch };
                    self.nodes[node].replica.learn(row.leader_epoch, roster);
                }
                (true, false) => self.nodes[node].replica.ask_again(epoch, wish.on),
                (false, _) => self.nodes[node].replica.refused(epoch, wish.on),
            }
            self.check();
        }

        /// Another member of the ISR leads; nobody has been told. `fenced`: the old leader leaves the ISR.
        fn elect(&mut self, to: usize, fenced: bool) {
            let old = self.row.leader;
            if old == Some(id(to)) || !self.row.isr.contains(&id(to)) {
                return;
            }
            if fenced {
                self.row.isr = self.row.isr.iter().copied().filter(|it| Some(*it) != old).collect();
            }
            self.row.leader = Some(id(to));
            self.row.leader_epoch = LeaderEpoch(self.row.leader_epoch.0 + 1);
            self.row.epoch = PartitionEpoch(self.row.epoch.0 + 1);
            self.check();
        }

        /// The process dies and comes back with what it wrote; its high watermark was never written down.
        fn restart(&mut self, node: usize) {
            if self.row.leader == Some(id(node)) {
                let other = self.row.isr.iter().find(|it| **it != id(node)).copied();
                match other {
                    Some(other) => self.elect(other.0 as usize, true),
                    None => {
                        self.row.leader_epoch = LeaderEpoch(self.row.leader_epoch.0 + 1);
                        self.row.epoch = PartitionEpoch(self.row.epoch.0 + 1);
                    }
                }
            } else if self.row.isr.contains(&id(node)) {
                self.row.isr = self.row.isr.iter().copied().filter(|it| *it != id(node)).collect();
                self.row.epoch = PartitionEpoch(self.row.epoch.0 + 1);
            }
            let Group { keeper, min_insync, nodes, .. } = self;
            let gone = &mut nodes[node];
            (gone.coming, gone.life) = (None, gone.life + 1);
            gone.replica.resign();
            gone.replica.log().abandon();
            gone.replica = open(&gone.dir, node, *min_insync, keeper);
            self.deliver(node);
        }

        /// Batches of a node's log below `to`.
        fn stored(&self, node: usize, to: Offset) -> BTreeMap<i64, (i64, u32)> {
            let log = self.nodes[node].replica.log();
            let (mut at, mut found) = (log.offsets().log_start, BTreeMap::new());
            while at < to {
                let Ok(Read::Hot(slice)) = log.read(at, 1 << 20, log.offsets().end, true) else { break };
                let mut bytes = vec![0; slice.len as usize];
                read_exact(&*slice.file, &mut bytes, slice.at).expect("reads");
                for batch in batches(&bytes) {
                    let (header, batch) = batch.expect("whole batches");
                    at = header.next_offset();
                    if at <= to {
                        let sum = crc(&batch[12..]);
                        found.insert(header.base_offset.0, (at.0, sum));
                    }
                }
            }
            found
        }

        fn check(&mut self) {
            for node in 0..NODES {
                let replica = &self.nodes[node].replica;
                let high = replica.high_watermark();
                assert!(high <= replica.offsets().end, "node {node}: {high} above {}", replica.offsets().end);
                for (base, batch) in self.stored(node, high) {
                    let known = *self.committed.entry(base).or_insert(batch);
                    assert_eq!(known, batch, "node {node}: another batch at {base} was committed");
                }
            }
            // Whoever leads now, or could, holds all of it.
            for member in self.row.isr.iter() {
                let node = member.0 as usize;
                let held = self.stored(node, self.nodes[node].replica.offsets().end);
                for (base, batch) in &self.committed {
                    assert_eq!(held.get(base), Some(batch), "node {node} is in the ISR without {base}");
                }
            }
        }

        /// Everybody learns the row and fetches until nothing changes; then all logs are the same.
        async fn heal(&mut self) {
            (0..NODES).for_each(|node| self.deliver(node));
            for _ in 0..200 {
                for node in 0..NODES {
                    self.fetch(node).await;
                    self.alter(node, true);
                }
            }
            let leader = self.row.leader.expect("a leader").0 as usize;
            let end = self.nodes[leader].replica.offsets().end;
            assert_eq!(self.row.isr.len(), NODES, "everybody is back in sync");
            for node in 0..NODES {
                assert_eq!(self.nodes[node].replica.offsets().end, end, "node {node}");
                assert_eq!(self.stored(node, end), self.stored(leader, end), "node {node}");
                assert_eq!(self.nodes[node].replica.high_watermark(), end, "node {node}");
            }
        }
    }

    fn crc(bytes: &[u8]) -> u32 {
        firnline_tiering::batch::header::crc32c(bytes)
    }

    #[tokio::test]
    async fn a_record_is_committed_when_every_replica_in_sync_has_asked_for_what_follows_it() {
        let mut group = Group::new(2);
        group.produce(0);
        let end = group.nodes[0].replica.offsets().end;
        group.fetch(1).await;
        group.fetch(2).await;
        assert_eq!(
            group.nodes[0].replica.high_watermark(),
            Offset(0),
            "they have it, the leader does not know"
        );
        group.fetch(1).await;
        assert_eq!(group.nodes[0].replica.high_watermark(), Offset(0));
        group.fetch(2).await;
        assert_eq!(group.nodes[0].replica.high_watermark(), end);
        assert_eq!(group.nodes[2].replica.high_watermark(), end);
        assert_eq!(group.nodes[1].replica.high_watermark(), Offset(0), "1 hears of it with its next fetch");
        group.heal().await;
    }

    /// KIP-101, scenario 1: a follower that restarts keeps what is above the high watermark it knew, because the leader's
    /// epochs say that it is right.
    #[tokio::test]
    async fn a_restarted_follower_that_leads_next_loses_nothing() {
        let mut group = Group::new(1);
        group.produce(0);
        group.alter(0, true);
        for _ in 0..2 {
            group.fetch(1).await;
            group.fetch(2).await;
        }
        group.produce(0);
        group.fetch(1).await;
        group.fetch(2).await;
        group.fetch(1).await;
        group.fetch(2).await;
        let committed = group.committed.clone();
        assert_eq!(committed.len(), 2);
        group.restart(1);
        group.fetch(1).await;
        group.alter(0, true);
        group.fetch(1).await;
        group.alter(0, true);
        group.elect(1, true);
        group.deliver(1);
        group.deliver(0);
        group.heal().await;
        assert_eq!(group.committed, committed, "both records are where they were");
    }

    /// KIP-279: two leaders in a row wrote without anybody copying it; the old tails go, epoch by epoch.
    #[tokio::test]
    async fn tails_that_nobody_copied_are_cut_epoch_by_epoch() {
        let mut group = Group::new(1);
        group.produce(0);
        for _ in 0..2 {
            group.fetch(1).await;
            group.fetch(2).await;
        }
        // 0 goes on to believe that it leads.
        group.elect(1, false);
        group.produce(0);
        group.produce(0);
        group.deliver(1);
        group.produce(1);
        group.elect(2, false);
        group.deliver(2);
        group.produce(2);
        group.produce(2);
        group.produce(2);
        let before = group.stored(2, group.nodes[2].replica.offsets().end);
        group.heal().await;
        assert_eq!(group.stored(0, group.nodes[0].replica.offsets().end), before);
        assert_eq!(before.len(), 4);
    }

    /// KIP-320: a leader that does not know that it is none commits nothing more.
    #[tokio::test]
    async fn a_leader_of_the_past_commits_nothing() {
        let mut group = Group::new(1);
        group.elect(1, true);
        group.deliver(1);
        group.deliver(2);
        group.produce(0);
        group.fetch(2).await;
        assert_eq!(group.nodes[0].replica.high_watermark(), Offset(0));
        let reign = group.nodes[0].replica.reign();
        group.deliver(0);
        assert!(!group.nodes[0].replica.reigns(reign));
        group.produce(1);
        group.heal().await;
        assert_eq!(group.committed.len(), 1);
    }

    #[tokio::test]
    async fn too_few_in_sync_take_nothing_and_commit_nothing() {
        let mut group = Group::new(2);
        group.restart(1);
        group.restart(2);
        group.deliver(0);
        assert_eq!(group.nodes[0].replica.in_sync(), (1, 2));
        group.produce(0);
        assert_eq!(group.nodes[0].replica.offsets().end, Offset(0), "refused before anything is written");
        group.fetch(1).await;
        group.alter(0, true);
        assert_eq!(group.nodes[0].replica.in_sync(), (2, 2));
        group.produce(0);
        group.heal().await;
        assert_eq!(group.committed.len(), 1);
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Produce(usize),
        Ask(usize),
        Receive(usize),
        Fetch(usize),
        Alter(usize, bool),
        Elect(usize, bool),
        Deliver(usize),
        Restart(usize),
        Tick,
    }

    fn event() -> impl Strategy<Value = Event> {
        let node = || 0..NODES;
        prop_oneof![
            6 => node().prop_map(Event::Produce),
            4 => node().prop_map(Event::Ask),
            4 => node().prop_map(Event::Receive),
            8 => node().prop_map(Event::Fetch),
            4 => (node(), any::<bool>()).prop_map(|(node, answered)| Event::Alter(node, answered)),
            2 => (node(), any::<bool>()).prop_map(|(node, fenced)| Event::Elect(node, fenced)),
            4 => node().prop_map(Event::Deliver),
            1 => node().prop_map(Event::Restart),
            1 => Just(Event::Tick),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn what_was_committed_stays(min_insync in 1..3_i32, events in proptest::collection::vec(event(), 1..100)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            runtime.expect("a runtime").block_on(async {
                let mut group = Group::new(min_insync);
                for event in events {
                    match event {
                        Event::Produce(node) => group.produce(node),
                        Event::Ask(node) => group.ask(node),
                        Event::Receive(node) => group.receive(node).await,
                        Event::Fetch(node) => group.fetch(node).await,
                        Event::Alter(node, answered) => group.alter(node, answered),
                        Event::Elect(node, fenced) => group.elect(node, fenced),
                        Event::Deliver(node) => group.deliver(node),
                        Event::Restart(node) => group.restart(node),
                        Event::Tick => tokio::time::advance(LAG).await,
                    }
                }
                group.heal().await;
            });
        }
    }
}
