//! A quorum of several through its public door: agreement, forwarding, failover, partitions, members that come and
//! go. Every answer given is checked against what the image shows afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::Duration;

use firnline_controller::decide::brokers::Heartbeat;
use firnline_controller::error::{CreateTopicError, StartError, Unavailable, VoterError};
use firnline_controller::id::BrokerId;
use firnline_controller::quorum::plan::Plan;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::cluster::{Cluster, address};
use crate::disk::LOSSES;
use crate::disk::Loss;
use crate::scene::{broker_of, topic};

/// What was answered, to be found again.
#[derive(Debug, Default)]
struct Model {
    topics: BTreeSet<String>,
    producer_ids: i64,
}

impl Model {
    /// Asks node `id` for one topic and one block; notes what it answers.
    async fn work(&mut self, cluster: &Cluster, id: i32, name: String) {
        let node = cluster.node(id).clone();
        match node.create_topics(vec![topic(&name, 1)], false).await.pop().unwrap() {
            Ok(created) => {
                let shown = node.image().topics.by_name(&name).map(|topic| topic.id);
                assert_eq!(shown, Some(created.id), "{name} was answered before node {id} shows it");
                assert!(self.topics.insert(name));
            }
            Err(CreateTopicError::Unavailable(_)) => {}
            Err(refused) => panic!("{name}: {refused}"),
        }
        if let Ok(block) = node.allocate_producer_ids().await {
            assert!(block.start >= self.producer_ids, "{block:?} was given out below {}", self.producer_ids);
            self.producer_ids = block.end;
        }
    }

    /// Everything that was answered is there, on every node.
    async fn check(&self, cluster: &Cluster) {
        cluster.agree().await;
        for (id, node) in cluster.nodes() {
            let image = node.image();
            for name in &self.topics {
                assert!(image.topics.by_name(name).is_some(), "node {id} lost {name}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn three_voters_agree_and_any_node_takes_any_verb() {
    let mut cluster = Cluster::of(3).await;
    cluster.start(4).await.unwrap();
    let mut model = Model::default();
    cluster.node(4).register_broker(broker_of(4, 1)).await.unwrap();
    for id in 1..=4 {
        model.work(&cluster, id, format!("from.{id}")).await;
    }
    assert_eq!(model.topics.len(), 4, "every node's request was done");
    model.check(&cluster).await;
    let status = cluster.node(4).describe_quorum().await.unwrap();
    assert_eq!(status.voters.iter().map(|voter| voter.id.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(status.learners.iter().map(|learner| learner.id.0).collect::<Vec<_>>(), [4]);
    for member in status.voters.iter().chain(&status.learners) {
        assert!(member.last_fetch > 0 && member.log_end > 0, "{member:?}");
        assert_eq!(member.address, Some(address(member.id.0)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_killed_200_times_never_stalls_the_quorum_for_2_seconds() {
    let mut cluster = Cluster::of(3).await;
    cluster.node(1).register_broker(broker_of(1, 1)).await.unwrap();
    let (mut model, mut longest) = (Model::default(), Duration::ZERO);
    for round in 0..200 {
        let fell = cluster.leader().await;
        cluster.kill(fell, LOSSES[round % LOSSES.len()]).await;
        let (begun, other) = (Instant::now(), 1 + fell % 3);
        let before = model.topics.len();
        model.work(&cluster, other, format!("round.{round}")).await;
        assert_eq!(
            model.topics.len(),
            before + 1,
            "round {round}: a write failed while two of three lived: {:#?}",
            cluster.nodes().map(|(id, node)| (id, node.quorum())).collect::<Vec<_>>()
        );
        longest = longest.max(begun.elapsed());
        cluster.start(fell).await.unwrap();
    }
    assert!(longest < Duration::from_secs(2), "the longest stall took {longest:?}");
    println!("200 leaders killed, the longest stall took {longest:?}");
    model.check(&cluster).await;
}

/// Registers a broker on each of three nodes and has each send signs of life; answers once all may lead.
async fn three_live_brokers(cluster: &Cluster) -> BTreeMap<i32, JoinHandle<()>> {
    let mut live = BTreeMap::new();
    for id in 1..=3 {
        let node = cluster.node(id).clone();
        let epoch = node.register_broker(broker_of(id, 1)).await.unwrap();
        let beats = async move {
            loop {
                let (id, image_offset) = (BrokerId(id), node.image().offset);
                let beat = Heartbeat { id, epoch, image_offset, wants_fence: false, wants_stop: false };
                // Nobody answers where its node was killed.
                _ = tokio::time::timeout(Duration::from_secs(1), node.heartbeat(beat)).await;
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        live.insert(id, tokio::spawn(beats));
    }
    cluster.until("three live brokers", |cluster| (alive(cluster, 1) == [1, 2, 3]).then_some(())).await;
    // Every line stands by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    live
}

/// Brokers that are not fenced, as node `id` sees it.
fn alive(cluster: &Cluster, id: i32) -> Vec<i32> {
    cluster.node(id).image().brokers.live().map(|broker| broker.id.0).collect()
}

#[tokio::test(start_paused = true)]
async fn a_killed_broker_is_fenced_long_before_its_session_ends_whoever_led_the_quorum() {
    for led in [false, true] {
        let mut cluster = Cluster::of(3).await;
        let live = three_live_brokers(&cluster).await;
        let leader = cluster.leader().await;
        let (killed, other) = (if led { leader } else { 1 + leader % 3 }, 1 + (leader + 1) % 3);
        live[&killed].abort();
        let begun = Instant::now();
        cluster.kill(killed, Loss::None).await;
        let others: Vec<i32> = (1..=3).filter(|id| *id != killed).collect();
        cluster.until("its fencing", |cluster| (alive(cluster, other) == others).then_some(())).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(400), "led: {led}, it took {took:?}");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(alive(&cluster, other), others, "led: {led}: nobody else is taken for dead");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_cut_off_is_not_taken_for_dead() {
    let cluster = Cluster::of(3).await;
    let _live = three_live_brokers(&cluster).await;
    let leader = cluster.leader().await;
    let cut = 1 + leader % 3;
    let (begun, term) = (Instant::now(), cluster.node(leader).quorum().term);
    cluster.network.isolate(cut, true);
    cluster.until("its fencing", |cluster| (!alive(cluster, leader).contains(&cut)).then_some(())).await;
    assert!(
        begun.elapsed() > Duration::from_millis(900),
        "silence alone proves nothing: {:?}",
        begun.elapsed()
    );
    cluster.network.isolate(cut, false);
    cluster.until("its return", |cluster| (alive(cluster, leader) == [1, 2, 3]).then_some(())).await;
    assert_eq!(cluster.node(leader).quorum().term, term, "no election was held");
}

/// What a disk that hangs for three seconds in whatever it does brings about, if anything. Each node is on a runtime
/// of its own, as in a process: one worker, and others where that one waits for a disk.
#[allow(clippy::disallowed_methods, reason = "who holds the disk must wait on no runtime")]
fn trouble_of_a_hanging_disk(leaders: bool) -> Option<String> {
    let runtime = || Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (main, runtimes) = (runtime(), [runtime(), runtime(), runtime()]);
    let mut cluster = Cluster::not_started(3);
    for (id, runtime) in (1..=3).zip(&runtimes) {
        runtime.block_on(cluster.start(id)).unwrap();
    }
    let trouble = main.block_on(async {
        let live = three_live_brokers(&cluster).await;
        let leader = cluster.leader().await;
        let (other, term) = (1 + (leader + 1) % 3, cluster.node(leader).quorum().term);
        let disk = cluster.disk(if leaders { leader } else { 1 + leader % 3 });
        let (release, released) = mpsc::channel::<()>();
        let hangs = std::thread::spawn(move || {
            let _held = disk.hold();
            // An error means that it is over, too.
            _ = released.recv();
        });
        let node = cluster.node(other).clone();
        let written = tokio::spawn(async move {
            let mut written = 0;
            for nth in 0..3 {
                let created = node.create_topics(vec![topic(&format!("topic.{nth}"), 1)], false).await;
                written += usize::from(created[0].is_ok());
            }
            written
        });
        let mut trouble = None;
        for _ in 0..150 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let (seen, now) = (alive(&cluster, other), cluster.node(other).quorum());
            if seen != [1, 2, 3] || now.term != term || !cluster.node(leader).quorum().leads {
                trouble = trouble.or(Some(format!("live brokers {seen:?}, term {} of {term}", now.term)));
            }
        }
        release.send(()).unwrap();
        hangs.join().unwrap();
        assert_eq!(written.await.unwrap(), 3, "what waited for the disk was done");
        cluster.agree().await;
        live.values().for_each(JoinHandle::abort);
        trouble
    });
    runtimes.into_iter().for_each(Runtime::shutdown_background);
    trouble
}

/// Real time on a machine that may be busy with other tests: a thread that gets no processor for 0.7 s looks like a
/// dead leader, too. So it may try again; where a disk holds up a sign of life, no try succeeds.
#[test]
fn a_disk_that_hangs_for_seconds_ends_no_session_and_begins_no_election() {
    for leaders in [true, false] {
        let mut seen = Vec::new();
        while seen.len() < 5 {
            match trouble_of_a_hanging_disk(leaders) {
                None => break,
                Some(trouble) => seen.push(trouble),
            }
        }
        assert!(seen.len() < 5, "the leader's: {leaders}; {seen:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_cut_off_steps_down_and_what_it_proposes_fails() {
    let cluster = Cluster::of(3).await;
    cluster.node(1).register_broker(broker_of(1, 1)).await.unwrap();
    let (mut model, old) = (Model::default(), cluster.leader().await);
    let term = cluster.node(old).quorum().term;
    cluster.network.isolate(old, true);
    let ask = cluster.node(old).clone();
    let asked =
        tokio::spawn(
            async move { ask.create_topics(vec![topic("minority", 1)], false).await.pop().unwrap() },
        );
    let others = |cluster: &Cluster| {
        cluster.nodes().find(|(id, node)| *id != old && node.quorum().leads).map(|(id, _)| id)
    };
    let new = cluster.until("a leader of the majority", others).await;
    assert!(!cluster.node(old).quorum().leads, "two lead at once");
    model.work(&cluster, new, "majority".to_owned()).await;
    let answer = asked.await.unwrap();
    assert!(matches!(answer, Err(CreateTopicError::Unavailable(Unavailable::Interrupted))), "{answer:?}");
    assert!(cluster.node(old).quorum().term == term, "a voter cut off raises no term");
    cluster.network.isolate(old, false);
    model.check(&cluster).await;
    assert!(cluster.node(new).quorum().leads, "the one that came back disturbs nobody");
    assert!(cluster.node(new).image().topics.by_name("majority").is_some());
}

#[tokio::test(start_paused = true)]
async fn one_way_cuts_delays_and_losses_heal() {
    let cluster = Cluster::of(3).await;
    cluster.node(1).register_broker(broker_of(1, 1)).await.unwrap();
    let mut model = Model::default();
    for round in 0..12 {
        let (a, b) = (1 + round % 3, 1 + (round + 1) % 3);
        match round % 4 {
            0 => cluster.network.link(a, b, |link| link.cut = true),
            1 => cluster.network.link(a, b, |link| link.delay = Duration::from_millis(40)),
            2 => cluster.network.link(b, a, |link| link.loses = 3),
            _ => (1..=3).for_each(|id| cluster.network.link(a, id, |link| link.cut = true)),
        }
        for id in 1..=3 {
            model.work(&cluster, id, format!("round.{round}.{id}")).await;
        }
        for (a, b) in [(1, 2), (2, 3), (3, 1), (2, 1), (3, 2), (1, 3), (1, 1), (2, 2), (3, 3)] {
            cluster.network.link(a, b, |link| *link = Default::default());
        }
        cluster.leader().await;
    }
    assert!(model.topics.len() > 18, "only {} of 36 requests were done", model.topics.len());
    model.check(&cluster).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_far_behind_gets_a_snapshot() {
    let mut cluster = Cluster::of(3).await;
    cluster.snapshot_every_records = 40;
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    for id in 1..=3 {
        cluster.start(id).await.unwrap();
    }
    let leader = cluster.leader().await;
    cluster.node(leader).register_broker(broker_of(1, 1)).await.unwrap();
    let far = 1 + leader % 3;
    cluster.kill(far, Loss::None).await;
    let mut model = Model::default();
    for round in 0..200 {
        model.work(&cluster, leader, format!("topic.{round}")).await;
    }
    assert_eq!(model.topics.len(), 200);
    let node = cluster.start(far).await.unwrap();
    assert!(node.image().topics.by_name("topic.150").is_none(), "it is far behind");
    model.check(&cluster).await;
    model.work(&cluster, far, "after".to_owned()).await;
    assert_eq!(model.topics.len(), 201);
    model.check(&cluster).await;
}

#[tokio::test(start_paused = true)]
async fn a_wiped_voter_returns_under_a_new_identity_and_takes_its_old_place() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    cluster.node(leader).register_broker(broker_of(1, 1)).await.unwrap();
    let (wiped, other) = (1 + leader % 3, 1 + (leader + 1) % 3);
    let mut model = Model::default();
    model.work(&cluster, leader, "before".to_owned()).await;
    model.check(&cluster).await;
    cluster.kill(wiped, Loss::All).await;
    cluster.wipe(wiped);
    cluster.kill(other, Loss::All).await;
    // One of three is left, and a stranger on an empty disk: nothing may be decided, nobody elected.
    cluster.start(wiped).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.leading(), None, "a wiped voter gave the vote of the one it was");
    cluster.start(other).await.unwrap();
    let settled = |cluster: &Cluster| {
        let status = cluster.node(cluster.leading()?).quorum();
        (status.voters.len() == 3
            && status.learners.is_empty()
            && cluster.nodes().all(|(_, node)| node.quorum().trouble.is_none()))
        .then_some(())
    };
    cluster.until("a quorum of three", settled).await;
    model.check(&cluster).await;
    cluster.kill(leader, Loss::All).await;
    model.work(&cluster, wiped, "after".to_owned()).await;
    assert_eq!(model.topics.len(), 2, "the one that returned votes: two of three decide");
    model.check(&cluster).await;
}

#[tokio::test(start_paused = true)]
async fn voters_are_added_and_removed_one_by_one() {
    let mut cluster = Cluster::of(1).await;
    cluster.node(1).register_broker(broker_of(1, 1)).await.unwrap();
    let mut model = Model::default();
    let any = Uuid::nil();
    assert_eq!(cluster.node(1).remove_voter(BrokerId(1), any).await, Err(VoterError::LastVoter(BrokerId(1))));
    assert_eq!(cluster.node(1).add_voter(BrokerId(2), any).await, Err(VoterError::Unknown(BrokerId(2))));
    for id in 2..=4 {
        let mut config = cluster.config(id);
        config.plan = Plan::Join(vec![address(1)]);
        cluster.start_as(id, config).await.unwrap();
        cluster.agree().await;
        let added = |cluster: &Cluster| {
            let caught = cluster
                .node(1)
                .quorum()
                .learners
                .iter()
                .any(|learner| learner.id.0 == id && learner.last_caught_up > 0);
            caught.then_some(())
        };
        cluster.until("a learner that has caught up", added).await;
        cluster.node(id).add_voter(BrokerId(id), any).await.unwrap();
        let again = cluster.node(id).add_voter(BrokerId(id), any).await;
        assert_eq!(again, Err(VoterError::AlreadyVotes(BrokerId(id))));
        model.work(&cluster, id, format!("with.{id}")).await;
    }
    assert_eq!(cluster.voters(), [1, 2, 3, 4]);
    let leader = cluster.leader().await;
    cluster.node(2).remove_voter(BrokerId(leader), any).await.unwrap();
    let moved = |cluster: &Cluster| cluster.leading().filter(|id| *id != leader);
    cluster.until("another leader", moved).await;
    assert!(!cluster.voters().contains(&leader) && cluster.voters().len() == 3, "{:?}", cluster.voters());
    model.work(&cluster, leader, "as.a.learner".to_owned()).await;
    assert_eq!(model.topics.len(), 4);
    let third = cluster.voters().into_iter().find(|id| Some(*id) != cluster.leading()).unwrap();
    cluster.kill(third, Loss::All).await;
    model.work(&cluster, leader, "two.of.three".to_owned()).await;
    assert_eq!(model.topics.len(), 5);
    model.check(&cluster).await;
}

#[tokio::test(start_paused = true)]
async fn strangers_are_refused_by_name() {
    let mut cluster = Cluster::of(3).await;
    cluster.node(1).register_broker(broker_of(1, 1)).await.unwrap();
    let mut config = cluster.config(4);
    config.cluster_id = "another".to_owned();
    let node = cluster.start_as(4, config).await.unwrap();
    let trouble = |cluster: &Cluster| {
        cluster
            .node(4)
            .quorum()
            .trouble
            .filter(|why| why.contains("belong to cluster") || why.contains("belongs to cluster"))
    };
    cluster.until("a word about the other cluster", trouble).await;
    assert!(node.image().cluster_id.is_empty());
    cluster.stop(4).await;
    // Another process with node id 2, at another address, while node 2 lives.
    cluster.wipe(5);
    let mut config = cluster.config(5);
    config.node_id = BrokerId(2);
    config.plan = Plan::Join(vec![address(1), address(3)]);
    cluster.start_as(5, config).await.unwrap();
    let trouble =
        |cluster: &Cluster| cluster.node(5).quorum().trouble.filter(|why| why.contains("runs already"));
    cluster.until("a word about the duplicate", trouble).await;
    cluster.stop(5).await;
    let mut config = cluster.config(6);
    config.address = None;
    let refused = cluster.start_as(6, config).await.expect_err("nobody could call it");
    assert!(matches!(refused, StartError::Quorum(_)), "{refused}");
    let mut config = cluster.config(3);
    config.plan = Plan::Voters(vec![(BrokerId(3), address(9)), (BrokerId(1), address(1))]);
    assert!(cluster.start_as(7, config).await.is_err(), "named at another address");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_reached_where_it_says_is_told_so() {
    let mut cluster = Cluster::of(3).await;
    let mut config = cluster.config(4);
    (config.address, config.plan) = (Some(address(9)), Plan::Join(vec![address(1), address(2)]));
    cluster.start_as(4, config).await.unwrap();
    let trouble = |cluster: &Cluster| {
        cluster.node(4).quorum().trouble.filter(|why| why.contains("does not reach it at node:9"))
    };
    cluster.until("a word about its address", trouble).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_speaks_for_another() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let other = 1 + leader % 3;
    let refused = cluster.node(other).register_broker(broker_of(leader, 1)).await;
    assert!(refused.is_err(), "node {other} registered broker {leader}");
    assert!(cluster.node(leader).image().brokers.get(BrokerId(leader)).is_none());
    cluster.node(other).register_broker(broker_of(other, 1)).await.unwrap();
    // Calls by hand: a member's own identity, and one that is kept for a voter nobody has met.
    let asked = |from: u64| {
        let mut call = vec![1, 0, 22];
        call.extend_from_slice(crate::scene::CLUSTER.as_bytes());
        call.extend_from_slice(&from.to_be_bytes());
        call.extend_from_slice(&[0; 8]);
        call.extend_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0, 9]);
        cluster.node(leader).answer_peer(call.into())
    };
    let said = asked(1 << 31 | 2).await;
    assert_eq!(said[..2], [1, 6], "{said:?}");
    assert!(String::from_utf8_lossy(&said).contains("nobody has that identity"));
    assert_eq!(
        asked(7 << 32 | 2).await[..2],
        [1, 0],
        "a beat of a node that may be a member one day is answered"
    );
}

#[tokio::test(start_paused = true)]
async fn voters_that_name_others_begin_no_quorum() {
    let mut cluster = Cluster::of(1).await;
    let named = |ids: &[i32]| Plan::Voters(ids.iter().map(|id| (BrokerId(*id), address(*id))).collect());
    for (id, plan) in [(2, named(&[2, 3])), (3, named(&[2, 3, 4])), (4, named(&[2, 3, 4]))] {
        let mut config = cluster.config(id);
        config.plan = plan;
        cluster.start_as(id, config).await.unwrap();
    }
    let trouble =
        |cluster: &Cluster| cluster.node(2).quorum().trouble.filter(|why| why.contains("names other voters"));
    cluster.until("a word about the voters", trouble).await;
    assert!(cluster.node(2).quorum().voters.is_empty());
}
