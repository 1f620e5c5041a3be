//! `firn cluster status`: who decides, who is alive and reachable, which partitions lack a leader or a copy.
//! It asks over Kafka's protocol, like anybody else. Invariant: what is wrong stands in words below the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::cli::arguments::Output;
use crate::cli::columns::Columns;
use crate::cli::failure::Failure;
use crate::client::cluster::{self, Cluster, Node};
use crate::client::connection::Connection;
use crate::client::topics::Topic;

/// How many partitions a broker has to do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
struct Share {
    leads: usize,
    replicas: usize,
    in_sync: usize,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Status {
    cluster: Cluster,
    shares: BTreeMap<i32, Share>,
    partitions: usize,
    without_leader: Vec<String>,
    under_replicated: Vec<String>,
}

/// Runs `firn cluster status`. With `wait_for` it fails unless so many brokers are alive and every partition is led.
pub async fn run(bootstrap: &str, output: Output, wait_for: Option<usize>) -> Result<String, Failure> {
    let what = "the cluster's state is not known";
    let failed = |error: &_| Failure::of_call(what, error);
    let mut connection = Connection::open(bootstrap, "firn-cluster").await.map_err(|error| failed(&error))?;
    let mut cluster = cluster::describe(&mut connection).await.map_err(|error| failed(&error))?;
    let topics = cluster::partitions(&mut connection).await.map_err(|error| failed(&error))?;
    cluster::reach(&mut cluster).await;
    let status = Status::of(cluster, &topics);
    if let Some(wanted) = wait_for {
        status.is_serving(wanted)?;
    }
    match output {
        Output::Table => Ok(status.text()),
        Output::Json => serde_json::to_string_pretty(&status)
            .map(|json| json + "\n")
            .map_err(|error| Failure::new("the status cannot be printed", error)),
    }
}

impl Status {
    fn of(cluster: Cluster, topics: &[Topic]) -> Status {
        let mut shares: BTreeMap<i32, Share> =
            cluster.nodes.iter().map(|node| (node.id, Share::default())).collect();
        let (mut partitions, mut without_leader, mut under_replicated) = (0, Vec::new(), Vec::new());
        for topic in topics {
            for partition in &topic.partitions {
                partitions += 1;
                let name = format!("{}-{}", topic.name, partition.index);
                if partition.in_sync.len() < partition.replicas.len() {
                    under_replicated.push(name.clone());
                }
                match partition.leader {
                    -1 => without_leader.push(name),
                    leader => shares.entry(leader).or_default().leads += 1,
                }
                partition.replicas.iter().for_each(|id| shares.entry(*id).or_default().replicas += 1);
                partition.in_sync.iter().for_each(|id| shares.entry(*id).or_default().in_sync += 1);
            }
        }
        Status { cluster, shares, partitions, without_leader, under_replicated }
    }

    fn is_serving(&self, wanted: usize) -> Result<(), Failure> {
        let live = self.cluster.nodes.iter().filter(|node| !node.fenced && node.unreachable.is_none());
        let live = live.count();
        let refuse = |why: String| Err(Failure::new("the cluster does not serve yet", why));
        if live < wanted {
            return refuse(format!("{live} of {wanted} brokers are alive and reachable"));
        }
        match (self.cluster.controller, self.without_leader.len()) {
            (None, _) => refuse("no controller is active".to_owned()),
            (_, 0) => Ok(()),
            (_, count) => refuse(format!("{count} partitions have no leader")),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let Cluster { id, controller, term, .. } = &self.cluster;
        let _ = writeln!(text, "cluster     {id}");
        let _ = match (controller, term) {
            (Some(node), Some(term)) => writeln!(text, "controller  node {node}, term {term}"),
            _ => writeln!(text, "controller  none is active"),
        };
        let (without, under) = (self.without_leader.len(), self.under_replicated.len());
        let _ = writeln!(
            text,
            "partitions  {}, {without} without leader, {under} with too few copies in sync, {} moving\n",
            self.partitions,
            self.cluster.moving.len()
        );
        text.push_str(&self.table());
        text.push_str(&self.complaints());
        text
    }

    fn table(&self) -> String {
        let head = ["NODE", "QUORUM", "BEHIND", "BROKER", "ADDRESS", "RACK", "LEADS", "REPLICAS", "IN SYNC"];
        let mut columns = Columns::new(&head);
        let mut rows: BTreeMap<i32, [String; 9]> = BTreeMap::new();
        for node in &self.cluster.nodes {
            let share = self.shares.get(&node.id).copied().unwrap_or_default();
            let state = if node.fenced { "fenced" } else { "live" };
            let address = format!("{}:{}", node.host, node.port);
            rows.insert(
                node.id,
                [
                    node.id.to_string(),
                    "-".to_owned(),
                    "-".to_owned(),
                    state.to_owned(),
                    address,
                    node.rack.clone().unwrap_or_else(|| "-".to_owned()),
                    share.leads.to_string(),
                    share.replicas.to_string(),
                    share.in_sync.to_string(),
                ],
            );
        }
        for member in &self.cluster.members {
            let row = rows.entry(member.id).or_insert_with(|| {
                let mut row = [const { String::new() }; 9].map(|_: String| "-".to_owned());
                row[0] = member.id.to_string();
                row
            });
            let role = match (self.cluster.controller == Some(member.id), member.voter) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) => "observer",
            };
            row[1] = role.to_owned();
            row[2] = member.behind.map_or_else(|| "-".to_owned(), |behind| behind.to_string());
        }
        rows.into_values().for_each(|row| columns.row(row.to_vec()));
        columns.print()
    }

    fn complaints(&self) -> String {
        let mut text = String::new();
        let unreachable = |node: &Node| node.unreachable.clone().map(|why| (node.id, why));
        for (id, why) in self.cluster.nodes.iter().filter_map(unreachable) {
            let _ = writeln!(text, "node {id} advertises an address that cannot be reached from here: {why}");
        }
        for (what, names) in [
            ("without leader", &self.without_leader),
            ("with too few copies in sync", &self.under_replicated),
        ] {
            if !names.is_empty() {
                let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(" ");
                let more = names.len().saturating_sub(SHOWN);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let _ = writeln!(text, "{what}: {shown}{more}");
            }
        }
        if text.is_empty() { text } else { format!("\n{text}") }
    }
}

/// Names printed of a list.
const SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::cluster::Member;
    use crate::client::topics::Partition;

    fn node(id: i32, fenced: bool, unreachable: Option<&str>) -> Node {
        Node {
            id,
            host: "h".into(),
            port: 9000 + id,
            rack: Some(format!("r{id}")),
            fenced,
            unreachable: unreachable.map(str::to_owned),
        }
    }

    fn status() -> Status {
        let partition = |index, leader, in_sync: &[i32]| Partition {
            index,
            leader,
            replicas: vec![1, 2],
            in_sync: in_sync.to_vec(),
        };
        let partitions = vec![partition(0, 1, &[1, 2]), partition(1, -1, &[2])];
        let topic = Topic { name: "t".into(), id: String::new(), internal: false, partitions };
        let member = |id, voter, behind| Member { id, voter, behind };
        let cluster = Cluster {
            id: "abc".into(),
            controller: Some(1),
            term: Some(7),
            nodes: vec![node(1, false, None), node(2, true, Some("connection refused"))],
            members: vec![member(1, true, Some(0)), member(2, true, Some(3)), member(9, false, None)],
            moving: Vec::new(),
        };
        Status::of(cluster, &[topic])
    }

    #[test]
    fn the_table_and_what_is_wrong() {
        let expected = "\
cluster     abc
controller  node 1, term 7
partitions  2, 1 without leader, 1 with too few copies in sync, 0 moving

NODE  QUORUM    BEHIND  BROKER  ADDRESS  RACK  LEADS  REPLICAS  IN SYNC
1     leader    0       live    h:9001   r1    1      2         1
2     voter     3       fenced  h:9002   r2    0      2         2
9     observer  -       -       -        -     -      -         -

node 2 advertises an address that cannot be reached from here: connection refused
without leader: t-1
with too few copies in sync: t-1
";
        assert_eq!(status().text(), expected);
    }

    #[test]
    fn waiting_says_what_is_missing() {
        let mut status = status();
        assert!(status.is_serving(2).unwrap_err().to_string().contains("1 of 2 brokers are alive"));
        assert!(status.is_serving(1).unwrap_err().to_string().contains("1 partitions have no leader"));
        status.without_leader.clear();
        assert_eq!(status.is_serving(1), Ok(()));
        status.cluster.controller = None;
        assert!(status.is_serving(1).unwrap_err().to_string().contains("no controller is active"));
    }
}
