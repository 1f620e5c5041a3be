//! Which replicas of a topic are throttled: the value of `leader|follower.replication.throttled.replicas`.
//! Not how fast they may be (broker keys). Invariant: what `parse` takes is what Kafka takes.

use std::collections::BTreeSet;

/// Replicas of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ThrottledReplicas {
    /// None.
    #[default]
    None,
    /// Every replica of every partition.
    All,
    /// Partition and broker.
    These(BTreeSet<(i32, i32)>),
}

impl ThrottledReplicas {
    /// Reads `*`, or `partition:broker` pairs with commas between; `None` for anything else.
    pub fn parse(text: &str) -> Option<ThrottledReplicas> {
        match text.trim() {
            "" => Some(ThrottledReplicas::None),
            "*" => Some(ThrottledReplicas::All),
            list => {
                let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(pair).collect::<Option<_>>().map(ThrottledReplicas::These)
            }
        }
    }

    /// Whether the replica of `partition` on `broker` is one of them.
    pub fn names(&self, partition: i32, broker: i32) -> bool {
        match self {
            ThrottledReplicas::None => false,
            ThrottledReplicas::All => true,
            ThrottledReplicas::These(these) => these.contains(&(partition, broker)),
        }
    }
}

fn pair(text: &str) -> Option<(i32, i32)> {
    let number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok())?;
    let (partition, broker) = text.split_once(':')?;
    Some((number(partition)?, number(broker)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_pairs_are_read_and_nothing_else() {
        let these = ThrottledReplicas::parse("0:1, 2:101,").expect("pairs");
        assert!(these.names(0, 1) && these.names(2, 101) && !these.names(0, 101) && !these.names(1, 0));
        assert!(ThrottledReplicas::parse("*").expect("all").names(7, 8));
        assert!(!ThrottledReplicas::parse("").expect("none").names(0, 0));
        for text in ["**", "0", "0:", ":1", "0:1:2", "-1:2", "+1:2", "0:1,*", "99999999999:1"] {
            assert_eq!(ThrottledReplicas::parse(text), None, "{text}");
        }
    }
}
