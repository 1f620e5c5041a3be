//! `firn cluster drain` and `rebalance`: plans which replicas go where, asks for it, and watches until it is done.
//! The plan is `decide/balance`'s, made from what the cluster tells every client. Invariant: nothing is asked for
//! that was not printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use firnline_controller::decide::balance::{self, Plan};
use firnline_controller::id::{BrokerEpoch, BrokerId, TopicId};
use firnline_controller::image::metadata::MetadataImage;
use firnline_controller::record::entry::Group;
use firnline_controller::record::kinds::{Broker, FEATURE_LEVEL, Partition, Record};
use tokio::time::{Instant, sleep};

use crate::cli::columns::{Columns, bytes};
use crate::cli::failure::Failure;
use crate::client::cluster::{self, Cluster, Moving};
use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::client::topics::Topic;

/// Partitions that one rebalance changes at most; run it again for more.
const CHANGES_MAX: usize = 1_000;
/// Pause between two looks at moves under way.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Moves of which nothing changed for so long are not waited for.
const STALLED: Duration = Duration::from_secs(120);

/// What to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Everything off this broker.
    Drain(i32),
    /// Until all hold and lead equally much.
    Balance,
}

/// A planned move, by names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Move {
    topic: String,
    index: i32,
    before: Vec<i32>,
    after: Vec<i32>,
}

/// Plans, and with `apply` moves; ends when everything is where it should be.
pub async fn run(bootstrap: &str, goal: Goal, apply: bool) -> Result<String, Failure> {
    let what = "nothing was moved";
    let failed = |error: &ClientError| Failure::of_call(what, error);
    let mut connection = Connection::open(bootstrap, "firn-cluster").await.map_err(|error| failed(&error))?;
    let cluster = cluster::describe(&mut connection).await.map_err(|error| failed(&error))?;
    let topics = cluster::partitions(&mut connection).await.map_err(|error| failed(&error))?;
    let (moves, stuck) = plan(&cluster, &topics, goal)?;
    let mut text = table(&moves);
    for name in &stuck {
        let _ = writeln!(text, "{name} stays: no other live broker can take it, or it is being moved");
    }
    if !apply || (moves.is_empty() && stuck.is_empty()) {
        return Ok(text);
    }
    say(&text);
    let mut failures: Vec<String> = stuck
        .iter()
        .map(|name| format!("{name}: no other live broker can take it, or it is being moved"))
        .collect();
    let asked: Vec<_> =
        moves.iter().map(|each| (each.topic.clone(), each.index, each.after.clone())).collect();
    let refused = cluster::reassign(&mut connection, &asked).await.map_err(|error| failed(&error))?;
    failures.extend(refused);
    let unknown = |error| Failure::of_call("the moves go on, but how far they are is not known", &error);
    if !moves.is_empty() {
        failures.extend(watch(&mut connection, &cluster).await.map_err(unknown)?);
    }
    let now = cluster::partitions(&mut connection).await.map_err(unknown)?;
    outcome(&moves, failures, &now)
}

/// What became of what was asked: everything is where it should be, or what is not and why.
fn outcome(moves: &[Move], mut failures: Vec<String>, now: &[Topic]) -> Result<String, Failure> {
    let lies = |each: &&Move| {
        let topic = now.iter().find(|topic| topic.name == each.topic);
        let partition = topic.and_then(|topic| topic.partitions.iter().find(|it| it.index == each.index));
        // A topic that was deleted meanwhile is nowhere, which is as good.
        partition.is_none_or(|partition| partition.replicas == each.after)
    };
    let (there, not): (Vec<&Move>, Vec<&Move>) = moves.iter().partition(lies);
    for each in not {
        let name = format!("{}-{}", each.topic, each.index);
        if !failures.iter().any(|known| known.starts_with(&format!("{name}:"))) {
            failures.push(format!(
                "{name}: it is not where it was to go: its move was refused, changed or cancelled"
            ));
        }
    }
    match failures.is_empty() {
        true => Ok(format!("moved {} partitions\n", there.len())),
        false => Err(Failure::new(
            format!("moved {} partitions, {} could not be", there.len(), failures.len()),
            failures.join("\n"),
        )
        .next("`firn cluster status` shows what is under way; mend the reason and run it again")),
    }
}

fn say(text: &str) {
    // Progress is a courtesy: a closed standard error changes nothing.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn plan(cluster: &Cluster, topics: &[Topic], goal: Goal) -> Result<(Vec<Move>, Vec<String>), Failure> {
    if let Goal::Drain(id) = goal
        && cluster.nodes.iter().all(|node| node.id != id)
    {
        let known: Vec<String> = cluster.nodes.iter().map(|node| node.id.to_string()).collect();
        return Err(Failure::new("nothing was moved", format!("there is no broker {id}"))
            .next(format!("brokers are {}", known.join(", "))));
    }
    let image = image(cluster, topics)?;
    let Plan { moves, stuck } = match goal {
        Goal::Drain(id) => balance::drain(&image, BrokerId(id)),
        Goal::Balance => balance::rebalance(&image, CHANGES_MAX),
    };
    let name = |topic: TopicId| image.topics.get(topic).map_or(String::new(), |topic| topic.name.to_string());
    let moves = moves.into_iter().filter_map(|each| {
        let row = image.topics.partition(each.topic, each.index)?;
        let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
        let after = ids(each.replicas.as_deref()?);
        Some(Move { topic: name(each.topic), index: each.index, before: ids(&row.replicas), after })
    });
    let stuck = stuck.into_iter().map(|(topic, index)| format!("{}-{index}", name(topic)));
    Ok((moves.collect(), stuck.collect()))
}

/// What the cluster told us, as the plan wants to see it.
fn image(cluster: &Cluster, topics: &[Topic]) -> Result<MetadataImage, Failure> {
    let odd = |why: String| Failure::new("the cluster tells what cannot be", why);
    let mut records = vec![Record::FeatureLevel { level: FEATURE_LEVEL }];
    for (node, epoch) in cluster.nodes.iter().zip(1..) {
        records.push(Record::Broker(Broker {
            id: BrokerId(node.id),
            epoch: BrokerEpoch(epoch),
            rack: node.rack.clone(),
            fenced: node.fenced,
            ..Broker::default()
        }));
    }
    for topic in topics {
        let id: TopicId = topic.id.parse().map_err(|_| odd(format!("topic id {}", topic.id)))?;
        records.push(Record::Topic { id, name: topic.name.clone() });
        for partition in &topic.partitions {
            let moving = cluster
                .moving
                .iter()
                .find(|moving| moving.topic == topic.name && moving.index == partition.index);
            let ids = |ids: &[i32]| ids.iter().map(|id| BrokerId(*id)).collect();
            let row = Partition {
                replicas: ids(&partition.replicas),
                isr: ids(&partition.in_sync),
                leader: Some(BrokerId(partition.leader)).filter(|leader| leader.0 >= 0),
                adding: moving.map_or_else(Default::default, |moving| ids(&moving.adding)),
                removing: moving.map_or_else(Default::default, |moving| ids(&moving.removing)),
                ..Partition::default()
            };
            records.push(Record::Partition { topic: id, index: partition.index, row });
        }
    }
    let mut image = MetadataImage::default();
    let applied = image.apply_group(&Group { preconditions: Vec::new(), records });
    applied.map_err(|error| odd(format!("{error:?}")))?;
    Ok(image)
}

fn table(moves: &[Move]) -> String {
    if moves.is_empty() {
        return "nothing to move\n".to_owned();
    }
    let mut columns = Columns::new(&["PARTITION", "REPLICAS", "BECOME"]);
    let ids = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    for each in moves {
        let name = format!("{}-{}", each.topic, each.index);
        columns.row(vec![name, ids(&each.before), ids(&each.after)]);
    }
    columns.print()
}

/// Says once a second how far the moves are, until none is under way, or nothing of them has changed for long: then
/// answers which they are.
async fn watch(connection: &mut Connection, cluster: &Cluster) -> Result<Vec<String>, ClientError> {
    let began = Instant::now();
    let mut first = None;
    let mut told = String::new();
    let mut last = (Instant::now(), (usize::MAX, 0));
    loop {
        let moving = cluster::moving(connection).await?;
        if moving.is_empty() {
            return Ok(Vec::new());
        }
        let (there, wanted) = copied(cluster, &moving).await;
        if last.1 != (moving.len(), there) {
            last = (Instant::now(), (moving.len(), there));
        } else if last.0.elapsed() >= STALLED {
            return Ok(moving.iter().map(stalled).collect());
        }
        let start = *first.get_or_insert(there);
        let line = progress(moving.len(), there, wanted, there.saturating_sub(start), began.elapsed());
        if line != told {
            say(&line);
            told = line;
        }
        sleep(LOOK_EVERY).await;
    }
}

fn stalled(moving: &Moving) -> String {
    let to: Vec<String> = moving.adding.iter().map(i32::to_string).collect();
    let (topic, index, minutes) = (&moving.topic, moving.index, STALLED.as_secs() / 60);
    format!(
        "{topic}-{index}: nothing was copied to broker {} for {minutes} minutes; the move goes on",
        to.join(", ")
    )
}

/// Bytes that the replicas that come hold already, and bytes they are to hold. A broker that does not answer counts
/// for nothing: this is for the eye.
async fn copied(cluster: &Cluster, moving: &[Moving]) -> (u64, u64) {
    let mut held: BTreeMap<i32, BTreeMap<(String, i32), u64>> = BTreeMap::new();
    for node in cluster.nodes.iter().filter(|node| !node.fenced) {
        let address = format!("{}:{}", node.host, node.port);
        if let Ok(mut connection) = Connection::open(&address, "firn-cluster").await
            && let Ok(sizes) = cluster::sizes(&mut connection).await
        {
            held.insert(node.id, sizes);
        }
    }
    let (mut there, mut wanted) = (0, 0);
    for each in moving {
        let key = (each.topic.clone(), each.index);
        let size = |id: &i32| held.get(id).and_then(|sizes| sizes.get(&key)).copied().unwrap_or_default();
        let whole = held.keys().map(&size).max().unwrap_or_default();
        for id in &each.adding {
            there += size(id);
            wanted += whole;
        }
    }
    (there, wanted)
}

fn progress(moving: usize, there: u64, wanted: u64, gained: u64, elapsed: Duration) -> String {
    let left = wanted.saturating_sub(there);
    let rate = gained as f64 / elapsed.as_secs_f64().max(0.001);
    let eta = match (left, gained) {
        (0, _) => "almost done".to_owned(),
        (_, 0) => "no estimate yet".to_owned(),
        _ => format!("about {} s left", (left as f64 / rate).ceil() as u64),
    };
    format!("{moving} partitions moving, {} of {} copied, {eta}\n", bytes(there), bytes(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::cluster::Node;
    use crate::client::topics::Partition as Told;

    fn cluster() -> Cluster {
        let node = |id| Node { id, host: "h".into(), port: 1, rack: None, fenced: false, unreachable: None };
        Cluster { nodes: [1, 2, 3].map(node).to_vec(), ..Cluster::default() }
    }

    fn topic(replicas: &[&[i32]]) -> Topic {
        let partition = |(index, replicas): (i32, &&[i32])| Told {
            index,
            leader: replicas[0],
            replicas: replicas.to_vec(),
            in_sync: replicas.to_vec(),
        };
        let partitions = (0..).zip(replicas).map(partition).collect();
        let id = TopicId(uuid::Uuid::from_u128(77)).to_string();
        Topic { name: "t".into(), id, internal: false, partitions }
    }

    #[test]
    fn a_drained_broker_keeps_nothing_that_another_can_take() {
        let (moves, stuck) =
            plan(&cluster(), &[topic(&[&[1, 2], &[2, 3], &[3, 1]])], Goal::Drain(3)).unwrap();
        assert_eq!(stuck, [""; 0]);
        assert!(moves.iter().all(|each| each.before.contains(&3) && !each.after.contains(&3)), "{moves:?}");
        assert_eq!(moves.len(), 2);
        let (_, stuck) = plan(&cluster(), &[topic(&[&[1, 2, 3]])], Goal::Drain(3)).unwrap();
        assert_eq!(stuck, ["t-0"]);
        let unknown = plan(&cluster(), &[], Goal::Drain(9)).unwrap_err().to_string();
        assert!(unknown.contains("there is no broker 9\n  next: brokers are 1, 2, 3"), "{unknown}");
    }

    #[test]
    fn what_did_not_move_is_a_failure_that_names_it() {
        let (moves, _) = plan(&cluster(), &[topic(&[&[1, 2], &[2, 3]])], Goal::Drain(3)).unwrap();
        let [one] = &moves[..] else { panic!("one move: {moves:?}") };
        let after = [topic(&[&[1, 2], &one.after])];
        assert_eq!(outcome(&moves, Vec::new(), &after), Ok("moved 1 partitions\n".to_owned()));
        let cancelled = outcome(&moves, Vec::new(), &[topic(&[&[1, 2], &[2, 3]])]).unwrap_err().to_string();
        assert!(
            cancelled.contains("moved 0 partitions, 1 could not be\n  t-1: it is not where"),
            "{cancelled}"
        );
        let stuck = outcome(&moves, vec!["u-0: nobody".to_owned()], &after).unwrap_err();
        assert!(stuck.why == "u-0: nobody" && stuck.what == "moved 1 partitions, 1 could not be", "{stuck}");
    }

    #[test]
    fn an_even_cluster_has_nothing_to_move() {
        let (moves, _) = plan(&cluster(), &[topic(&[&[1, 2], &[2, 3], &[3, 1]])], Goal::Balance).unwrap();
        assert_eq!(table(&moves), "nothing to move\n");
        let (moves, _) = plan(&cluster(), &[topic(&[&[1], &[1], &[1]])], Goal::Balance).unwrap();
        assert_eq!(moves.len(), 2, "{moves:?}");
    }

    #[test]
    fn progress_tells_what_is_left() {
        let second = Duration::from_secs(1);
        assert_eq!(
            progress(2, 1 << 20, 3 << 20, 1 << 20, second),
            "2 partitions moving, 1.0 MiB of 3.0 MiB copied, about 2 s left\n"
        );
        assert!(progress(2, 0, 1, 0, second).contains("no estimate yet"));
        assert!(progress(2, 1, 1, 1, second).contains("almost done"));
    }
}
