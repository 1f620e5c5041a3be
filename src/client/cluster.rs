//! What the command line asks a cluster about itself: nodes, leaders, the quorum, moves under way; and what it asks
//! for: other replicas for partitions. Plain values in and out; the messages stay in here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::client::topics::{self, Topic};
use crate::wire::message::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use crate::wire::message::describe_quorum_request::{PartitionData, TopicData};
use crate::wire::message::{
    AlterPartitionReassignmentsRequest, BrokerId, DescribeClusterRequest, DescribeLogDirsRequest,
    DescribeQuorumRequest, ListPartitionReassignmentsRequest, StrBytes, TopicName,
};

/// How long a node may take to say that it is there.
const REACH: Duration = Duration::from_secs(2);
/// How long the controller may take over a change.
const PATIENCE_MS: i32 = 30_000;

/// A broker as the metadata knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// `node.id`.
    pub id: i32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: i32,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Not alive in the controller's eyes.
    pub fenced: bool,
    /// Why its advertised address cannot be reached from here.
    pub unreachable: Option<String>,
}

/// A member of the quorum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// `node.id`.
    pub id: i32,
    /// Whether it counts for a majority.
    pub voter: bool,
    /// Entries it lacks; `None` where the leader does not know.
    pub behind: Option<i64>,
}

/// A move under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moving {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub index: i32,
    /// Replicas that come.
    pub adding: Vec<i32>,
    /// Replicas that go.
    pub removing: Vec<i32>,
}

/// The cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Cluster {
    /// 22 characters.
    pub id: String,
    /// The active controller as the quorum tells it; `None` while there is none.
    pub controller: Option<i32>,
    /// The quorum's term.
    pub term: Option<i32>,
    /// Brokers, fenced ones too, by id.
    pub nodes: Vec<Node>,
    /// The quorum, by id.
    pub members: Vec<Member>,
    /// Moves under way.
    pub moving: Vec<Moving>,
}

/// What the cluster says about itself.
pub async fn describe(connection: &mut Connection) -> Result<Cluster, ClientError> {
    let request = DescribeClusterRequest::default().with_endpoint_type(1).with_include_fenced_brokers(true);
    let told = connection.call(2, &request).await?;
    ClientError::check(told.error_code, told.error_message.as_deref())?;
    let mut nodes: Vec<Node> = told
        .brokers
        .iter()
        .map(|broker| Node {
            id: broker.broker_id.0,
            host: broker.host.to_string(),
            port: broker.port,
            rack: broker.rack.as_ref().map(ToString::to_string),
            fenced: broker.is_fenced,
            unreachable: None,
        })
        .collect();
    nodes.sort_by_key(|node| node.id);
    let (controller, term, members) = quorum(connection).await?;
    let moving = moving(connection).await?;
    Ok(Cluster { id: told.cluster_id.to_string(), controller, term, nodes, members, moving })
}

type Quorum = (Option<i32>, Option<i32>, Vec<Member>);

async fn quorum(connection: &mut Connection) -> Result<Quorum, ClientError> {
    let topic = TopicData::default()
        .with_topic_name(TopicName(StrBytes::from_static_str("__cluster_metadata")))
        .with_partitions(vec![PartitionData::default()]);
    let told = connection.call(2, &DescribeQuorumRequest::default().with_topics(vec![topic])).await?;
    ClientError::check(told.error_code, told.error_message.as_deref())?;
    let Some(data) = told.topics.first().and_then(|topic| topic.partitions.first()) else {
        return Ok((None, None, Vec::new()));
    };
    ClientError::check(data.error_code, data.error_message.as_deref())?;
    let behind = |end: i64| (end >= 0).then(|| (data.high_watermark - end).max(0));
    let states = data.current_voters.iter().map(|state| (state, true));
    let states = states.chain(data.observers.iter().map(|state| (state, false)));
    let mut members: Vec<Member> = states
        .map(|(state, voter)| Member { id: state.replica_id.0, voter, behind: behind(state.log_end_offset) })
        .collect();
    members.sort_by_key(|member| member.id);
    let leader = Some(data.leader_id.0).filter(|id| *id >= 0);
    Ok((leader, Some(data.leader_epoch), members))
}

/// Moves under way.
pub async fn moving(connection: &mut Connection) -> Result<Vec<Moving>, ClientError> {
    let request = ListPartitionReassignmentsRequest::default().with_topics(None);
    let told = connection.call(0, &request).await?;
    ClientError::check(told.error_code, told.error_message.as_deref())?;
    let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
    let each = told.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| Moving {
            topic: topic.name.to_string(),
            index: partition.partition_index,
            adding: ids(&partition.adding_replicas),
            removing: ids(&partition.removing_replicas),
        })
    });
    Ok(each.collect())
}

/// All topics, internal ones too.
pub async fn partitions(connection: &mut Connection) -> Result<Vec<Topic>, ClientError> {
    topics::describe(connection, None).await
}

/// Notes for each live broker whether its advertised address answers from here.
pub async fn reach(cluster: &mut Cluster) {
    let tries = cluster.nodes.iter().map(|node| {
        let address = format!("{}:{}", node.host, node.port);
        async move {
            match tokio::time::timeout(REACH, Connection::open(&address, "firn-cluster")).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("{address} does not answer within {} s", REACH.as_secs())),
            }
        }
    });
    let outcomes = futures::future::join_all(tries).await;
    for (node, outcome) in cluster.nodes.iter_mut().zip(outcomes) {
        node.unreachable = outcome;
    }
}

/// Bytes on disk of each replica that the broker behind `connection` holds, by topic and partition.
pub async fn sizes(connection: &mut Connection) -> Result<BTreeMap<(String, i32), u64>, ClientError> {
    let told = connection.call(4, &DescribeLogDirsRequest::default().with_topics(None)).await?;
    let mut sizes = BTreeMap::new();
    let local = told.results.iter().filter(|dir| !dir.log_dir.starts_with("remote://"));
    for topic in local.flat_map(|dir| &dir.topics) {
        for partition in &topic.partitions {
            let bytes = u64::try_from(partition.partition_size).unwrap_or_default();
            sizes.insert((topic.name.to_string(), partition.partition_index), bytes);
        }
    }
    Ok(sizes)
}

/// Asks for other replicas; answers what was refused, in words.
pub async fn reassign(
    connection: &mut Connection,
    moves: &[(String, i32, Vec<i32>)],
) -> Result<Vec<String>, ClientError> {
    let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
    for (topic, index, replicas) in moves {
        let replicas = replicas.iter().map(|id| BrokerId(*id)).collect();
        let partition =
            ReassignablePartition::default().with_partition_index(*index).with_replicas(Some(replicas));
        topics.entry(topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        let name = TopicName(StrBytes::from_string(name.to_owned()));
        ReassignableTopic::default().with_name(name).with_partitions(partitions)
    });
    let request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(PATIENCE_MS)
        .with_topics(topics.collect());
    let told = connection.call(1, &request).await?;
    ClientError::check(told.error_code, told.error_message.as_deref())?;
    let mut refused = Vec::new();
    for topic in &told.responses {
        for partition in &topic.partitions {
            let outcome = ClientError::check(partition.error_code, partition.error_message.as_deref());
            if let Err(error) = outcome {
                refused.push(format!("{}-{}: {error}", topic.name.as_str(), partition.partition_index));
            }
        }
    }
    Ok(refused)
}
