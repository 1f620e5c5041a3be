//! Keys of replication and leader election. What they mean in numbers is read in `config/quorum`.
//! Rows only.

use crate::config::key::{Key, Kind, broker, int_from, long_from};

/// Replicas and leaders.
#[rustfmt::skip] // one row per key
pub const REPLICATION: &[Key] = &[
    broker("min.insync.replicas", int_from(1), Some("1"), "In-sync replicas below which a produce with acks=all is refused.").dynamic(),
    broker("unclean.leader.election.enable", Kind::Boolean, Some("false"), "Let a replica lead that may have lost records.").dynamic(),
    broker("unclean.leader.election.interval.ms", long_from(1), Some("300000"), "How often such an election is tried.").accepted("it is tried whenever a partition has no leader and a replica comes back"),
    broker("replica.selector.class", Kind::Class, None, "Which replica a consumer reads from. Kafka's RackAwareReplicaSelector is known by its name: a consumer with client.rack reads from a replica in its rack (KIP-392)."),
    broker("replica.lag.time.max.ms", long_from(1), Some("30000"), "A follower that has not caught up for this long leaves the ISR."),
    broker("replica.fetch.max.bytes", int_from(0), Some("1048576"), "Bytes a follower fetches per partition; a larger first batch is taken all the same."),
    broker("replica.fetch.response.max.bytes", int_from(0), Some("10485760"), "Bytes a follower fetches at once; a larger first batch is taken all the same."),
    broker("replica.fetch.wait.max.ms", int_from(0), Some("500"), "How long a follower's fetch waits for new records."),
    broker("replica.fetch.min.bytes", int_from(0), Some("1"), "Bytes worth answering a follower's fetch."),
    broker("replica.fetch.backoff.ms", int_from(0), Some("1000"), "Pause of a follower after an error of a partition."),
    broker("replica.socket.timeout.ms", int_from(0), Some("5000"), "A follower's fetch without an answer for this long has failed: its connection may have died unseen (Kafka: 30000)."),
    broker("replica.socket.receive.buffer.bytes", int_from(-1), Some("65536"), "Receive buffer of a follower.").accepted("the kernel chooses, and grows it for who sends much"),
    broker("replica.high.watermark.checkpoint.interval.ms", long_from(1), Some("5000"), "How often high watermarks are written.").accepted("high watermarks are written with the other checkpoints, see log.flush.offset.checkpoint.interval.ms"),
    broker("num.replica.fetchers", int_from(1), Some("1"), "Fetchers per source broker.").dynamic().accepted("a follower has one connection for replicas in sync and one for those that catch up"),
    broker("num.replica.alter.log.dirs.threads", int_from(1), None, "Threads that move replicas between directories.").accepted("they move one after the other"),
    broker("auto.leader.rebalance.enable", Kind::Boolean, Some("true"), "Give leadership back to the preferred replica."),
    broker("leader.imbalance.check.interval.seconds", long_from(1), Some("300"), "How often that is looked at."),
    broker("leader.imbalance.per.broker.percentage", int_from(0), Some("10"), "Share of a broker's preferred partitions that others may lead before that is mended."),
    broker("leader.replication.throttled.rate", long_from(0), Some("9223372036854775807"), "Bytes per second this broker gives, as a leader, to replicas that leader.replication.throttled.replicas names. Replicas in sync count, and never wait.").dynamic(),
    broker("follower.replication.throttled.rate", long_from(0), Some("9223372036854775807"), "Bytes per second this broker takes, as a follower, for replicas that follower.replication.throttled.replicas names. Those that have all that is committed count, and never wait.").dynamic(),
    broker("replica.alter.log.dirs.io.max.bytes.per.second", long_from(0), Some("9223372036854775807"), "Bytes per second of moves between directories.").dynamic(),
    broker("replication.quota.window.num", int_from(1), Some("11"), "Windows over which the rate of throttled replicas is taken."),
    broker("replication.quota.window.size.seconds", int_from(1), Some("1"), "Length of each."),
    broker("alter.log.dirs.replication.quota.window.num", int_from(1), Some("11"), "Windows over which the rate of moves between directories is taken."),
    broker("alter.log.dirs.replication.quota.window.size.seconds", int_from(1), Some("1"), "Length of each."),
];
