//! How a quorum begins: with a majority of the named voters, or with those that formatting named.
//! Whatever is cut, killed and brought back meanwhile, one quorum begins.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use firnline_controller::id::BrokerId;
use firnline_controller::quorum::founder::{self, FirstVoter};
use firnline_controller::quorum::plan::Plan;
use firnline_tiering::hot::file::Files;
use uuid::Uuid;

use crate::cluster::{Cluster, address};
use crate::disk::LOSSES;
use crate::disk::Loss;
use crate::scene::{broker_of, topic};

/// Every one of `voters` votes as itself and has everything.
fn whole(cluster: &Cluster, voters: usize) -> Option<()> {
    let status = cluster.node(cluster.leading()?).quorum();
    let all = status.voters.len() == voters && status.learners.is_empty();
    let met = status.voters.iter().all(|voter| voter.last_caught_up > 0);
    let calm = cluster.nodes().all(|(_, node)| node.quorum().trouble.is_none());
    (all && met && calm).then_some(())
}

async fn create(cluster: &Cluster, at: i32, name: &str) {
    let made = cluster.node(at).create_topics(vec![topic(name, 1)], false).await.pop();
    made.expect("an answer").unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[tokio::test(start_paused = true)]
async fn two_of_three_begin_and_the_third_joins_under_its_own_identity() {
    let mut cluster = Cluster::not_started(3);
    cluster.start(2).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(cluster.leading(), None, "one of three is no majority");
    cluster.start(3).await.unwrap();
    let leader = cluster.leader().await;
    cluster.node(leader).register_broker(broker_of(2, 1)).await.unwrap();
    create(&cluster, 2, "before").await;
    assert_eq!(cluster.voters(), [1, 2, 3], "the third is a voter that nobody has met");
    cluster.start(1).await.unwrap();
    cluster.until("three voters", |cluster| whole(cluster, 3)).await;
    assert!(cluster.node(1).image().topics.by_name("before").is_some());
    cluster.kill(2, Loss::All).await;
    create(&cluster, 1, "after").await;
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_nobody_has_met_counts_for_nothing() {
    let mut cluster = Cluster::not_started(3);
    cluster.start(1).await.unwrap();
    cluster.start(2).await.unwrap();
    cluster.leader().await;
    cluster.kill(2, Loss::None).await;
    cluster.start(3).await.unwrap();
    let silent = |cluster: &Cluster| cluster.leading().is_none().then_some(());
    cluster.until("the end of the leader", silent).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(cluster.leading(), None, "the third gave a vote before it was let in");
    cluster.start(2).await.unwrap();
    cluster.until("three voters", |cluster| whole(cluster, 3)).await;
}

#[tokio::test(start_paused = true)]
async fn two_majorities_that_do_not_hear_each_other_begin_one_quorum() {
    let mut cluster = Cluster::not_started(3);
    for (a, b) in [(1, 2), (2, 1)] {
        cluster.network.link(a, b, |link| link.cut = true);
    }
    for id in 1..=3 {
        cluster.start(id).await.unwrap();
    }
    let leader = cluster.leader().await;
    cluster.node(leader).register_broker(broker_of(2, 1)).await.unwrap();
    create(&cluster, leader, "split").await;
    for (a, b) in [(1, 2), (2, 1)] {
        cluster.network.link(a, b, |link| link.cut = false);
    }
    cluster.until("three voters", |cluster| whole(cluster, 3)).await;
    cluster.agree().await;
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_while_it_begins_one_quorum_comes_of_it() {
    for seed in 0..8 {
        let (mut dice, mut cluster) = (Dice(seed), Cluster::not_started(3));
        for id in 1..=3 {
            cluster.start(id).await.unwrap();
        }
        for _ in 0..12 {
            let (a, b) = (1 + dice.roll(3) as i32, 1 + dice.roll(3) as i32);
            match dice.roll(4) {
                0 => cluster.network.link(a, b, |link| link.cut = !link.cut),
                1 => cluster.network.link(a, b, |link| link.delay = Duration::from_millis(150)),
                _ if cluster.nodes().any(|(id, _)| id == a) => {
                    cluster.kill(a, LOSSES[dice.roll(LOSSES.len() as u64) as usize]).await;
                }
                _ => _ = cluster.start(a).await.unwrap(),
            }
            tokio::time::sleep(Duration::from_millis(dice.roll(1500))).await;
        }
        for id in 1..=3 {
            (1..=3).for_each(|other| cluster.network.link(id, other, |link| *link = Default::default()));
            if cluster.nodes().all(|(running, _)| running != id) {
                cluster.start(id).await.unwrap();
            }
        }
        cluster.until(&format!("quorum of three with seed {seed}"), |cluster| whole(cluster, 3)).await;
        cluster.agree().await;
    }
}

fn first(id: i32) -> FirstVoter {
    let directory = Uuid::from_u128((0x1234_0000 + id as u128) << 96 | 7);
    FirstVoter { node: BrokerId(id), address: address(id), directory }
}

async fn start_formatted(cluster: &mut Cluster, id: i32, voters: &[FirstVoter]) {
    let mut config = cluster.config(id);
    config.directory = first(id).directory;
    let files: Arc<dyn Files> = config.files.clone();
    if voters.iter().any(|voter| voter.node.0 == id) {
        founder::format(&files, Path::new("/data/__cluster_metadata-0"), BrokerId(id), voters).unwrap();
    }
    cluster.start_as(id, config).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_voters_that_formatting_named_begin_as_soon_as_most_are_there() {
    let mut cluster = Cluster::planned(Plan::Join((1..=3).map(address).collect()));
    let voters: Vec<FirstVoter> = (1..=3).map(first).collect();
    start_formatted(&mut cluster, 3, &voters).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(cluster.leading(), None, "one of three is no majority");
    start_formatted(&mut cluster, 1, &voters).await;
    let leader = cluster.leader().await;
    cluster.node(leader).register_broker(broker_of(1, 1)).await.unwrap();
    create(&cluster, leader, "before").await;
    start_formatted(&mut cluster, 2, &voters).await;
    cluster.until("three voters", |cluster| whole(cluster, 3)).await;
    let directories: Vec<Uuid> =
        cluster.node(2).quorum().voters.iter().map(|voter| voter.directory).collect();
    assert_eq!(directories, voters.iter().map(|voter| voter.directory).collect::<Vec<_>>());
    start_formatted(&mut cluster, 4, &voters).await;
    let joined = |cluster: &Cluster| (cluster.node(4).quorum().learners.len() == 1).then_some(());
    cluster.until("a fourth that only follows", joined).await;
}

#[tokio::test(start_paused = true)]
async fn voters_that_were_formatted_with_other_lists_begin_nothing_and_say_so() {
    let mut cluster = Cluster::planned(Plan::Join((1..=3).map(address).collect()));
    start_formatted(&mut cluster, 1, &[first(1), first(2), first(3)]).await;
    start_formatted(&mut cluster, 2, &[first(1), first(2)]).await;
    let trouble = |cluster: &Cluster| {
        let named =
            |id| cluster.node(id).quorum().trouble.is_some_and(|why| why.contains("names other voters"));
        (named(1) && named(2)).then_some(())
    };
    cluster.until("a word about the lists", trouble).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(cluster.leading(), None);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_formatted_alone_leads_at_once_and_lets_others_in() {
    let mut cluster = Cluster::planned(Plan::Join(vec![address(1)]));
    start_formatted(&mut cluster, 1, &[first(1)]).await;
    assert!(cluster.node(1).quorum().leads, "it leads when it has started");
    start_formatted(&mut cluster, 2, &[]).await;
    cluster.until("a learner", |cluster| (cluster.node(1).quorum().learners.len() == 1).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_voter_whose_list_is_another_is_not_let_in_and_says_so() {
    let mut cluster = Cluster::not_started(3);
    cluster.start(1).await.unwrap();
    cluster.start(2).await.unwrap();
    cluster.leader().await;
    let mut config = cluster.config(3);
    config.plan = Plan::Voters([1, 3, 4].map(|id| (BrokerId(id), address(id))).into());
    cluster.start_as(3, config).await.unwrap();
    let trouble = |cluster: &Cluster| {
        cluster
            .node(3)
            .quorum()
            .trouble
            .filter(|why| why.contains("names other voters") && why.contains("2@node:2"))
    };
    cluster.until("a word about the voters", trouble).await;
    let settled = cluster.node(1).quorum();
    assert!(
        settled.learners.is_empty()
            && settled.voters.iter().all(|voter| voter.id.0 != 3 || voter.log_end == 0)
    );
}
