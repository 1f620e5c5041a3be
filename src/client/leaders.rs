//! Who leads a topic's partitions and where they listen, as one broker tells it. It asks; it keeps nothing up to date.
//! Invariant: of two answers about a partition the one of the later leader epoch counts.

use std::collections::BTreeMap;

use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::wire::message::metadata_request::MetadataRequestTopic;
use crate::wire::message::{MetadataRequest, StrBytes, TopicName};

/// A topic's leaders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaders {
    /// `HOST:PORT` of each broker that is alive.
    pub brokers: BTreeMap<i32, String>,
    /// Leader and its epoch by partition; a leader of −1 is none.
    pub partitions: BTreeMap<i32, (i32, i32)>,
}

impl Leaders {
    /// Takes in what another broker said; its leaders only where they are newer. True if anything is new.
    pub fn learn(&mut self, other: Leaders) -> bool {
        let before = self.clone();
        self.brokers.extend(other.brokers);
        for (index, (leader, epoch)) in other.partitions {
            let known = self.partitions.entry(index).or_insert((leader, epoch));
            if epoch >= known.1 {
                *known = (leader, epoch);
            }
        }
        *self != before
    }

    /// Where a partition's leader listens, if there is one.
    pub fn of(&self, index: i32) -> Option<i32> {
        self.partitions
            .get(&index)
            .map(|(leader, _)| *leader)
            .filter(|leader| self.brokers.contains_key(leader))
    }
}

/// Asks one broker about one topic.
pub async fn ask(connection: &mut Connection, topic: &str) -> Result<Leaders, ClientError> {
    let name = TopicName(StrBytes::from_string(topic.to_owned()));
    let wanted = MetadataRequestTopic::default().with_name(Some(name));
    let request =
        MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
    let answer = connection.call(12, &request).await?;
    let mut leaders = Leaders::default();
    for broker in &answer.brokers {
        let (host, port) = (broker.host.as_str(), broker.port);
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        leaders.brokers.insert(broker.node_id.0, address);
    }
    for told in answer.topics {
        ClientError::check(told.error_code, Some(&format!("topic {topic}")))?;
        for part in told.partitions {
            leaders.partitions.insert(part.partition_index, (part.leader_id.0, part.leader_epoch));
        }
    }
    Ok(leaders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(leader: i32, epoch: i32) -> Leaders {
        let brokers = BTreeMap::from([(leader, format!("host-{leader}:1"))]);
        Leaders { brokers, partitions: BTreeMap::from([(0, (leader, epoch))]) }
    }

    #[test]
    fn an_older_answer_changes_no_leader() {
        let mut known = told(1, 5);
        assert!(known.learn(told(2, 6)));
        assert_eq!(known.of(0), Some(2));
        assert!(!known.learn(told(1, 5)), "a broker that lags behind says so");
        assert_eq!((known.of(0), known.of(1)), (Some(2), None));
        assert!(known.learn(told(-1, 7)) && known.brokers.remove(&-1).is_some());
        assert_eq!(known.of(0), None, "nobody leads");
    }
}
