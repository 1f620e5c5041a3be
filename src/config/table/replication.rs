//! Keys of replication and leader election: none has a second broker to act on yet, but `min.insync.replicas`.
//! Rows only.

use crate::config::key::{Key, Kind, broker, int_from, long_from};

const ALONE: &str = "replication between brokers is not built yet";

/// Replicas and leaders.
#[rustfmt::skip] // one row per key
pub const REPLICATION: &[Key] = &[
    broker("min.insync.replicas", int_from(1), Some("1"), "In-sync replicas below which a produce with acks=all is refused.").dynamic(),
    broker("unclean.leader.election.enable", Kind::Boolean, Some("false"), "Let a replica lead that may have lost records.").dynamic().accepted(ALONE),
    broker("unclean.leader.election.interval.ms", long_from(1), Some("300000"), "How often such an election is tried.").accepted(ALONE),
    broker("replica.selector.class", Kind::Class, None, "Which replica a consumer reads from.").accepted(ALONE),
    broker("replica.lag.time.max.ms", long_from(1), Some("30000"), "A follower behind for this long leaves the ISR.").accepted(ALONE),
    broker("replica.fetch.max.bytes", int_from(0), Some("1048576"), "Bytes a follower fetches per partition.").accepted(ALONE),
    broker("replica.fetch.response.max.bytes", int_from(0), Some("10485760"), "Bytes a follower fetches at once.").accepted(ALONE),
    broker("replica.fetch.wait.max.ms", int_from(0), Some("500"), "How long a follower's fetch waits.").accepted(ALONE),
    broker("replica.fetch.min.bytes", int_from(0), Some("1"), "Bytes worth answering a follower's fetch.").accepted(ALONE),
    broker("replica.fetch.backoff.ms", int_from(0), Some("1000"), "Pause of a follower after an error.").accepted(ALONE),
    broker("replica.socket.timeout.ms", int_from(0), Some("30000"), "Socket timeout of a follower.").accepted(ALONE),
    broker("replica.socket.receive.buffer.bytes", int_from(-1), Some("65536"), "Receive buffer of a follower.").accepted(ALONE),
    broker("replica.high.watermark.checkpoint.interval.ms", long_from(1), Some("5000"), "How often high watermarks are written.").accepted("a lone replica's high watermark is its log end"),
    broker("num.replica.fetchers", int_from(1), Some("1"), "Fetchers per source broker.").dynamic().accepted(ALONE),
    broker("num.replica.alter.log.dirs.threads", int_from(1), None, "Threads that move replicas between directories.").accepted("moving replicas between directories is not built yet"),
    broker("auto.leader.rebalance.enable", Kind::Boolean, Some("true"), "Give leadership back to the preferred replica.").accepted(ALONE),
    broker("leader.imbalance.check.interval.seconds", long_from(1), Some("300"), "How often that is looked at.").accepted(ALONE),
    broker("leader.replication.throttled.rate", long_from(0), Some("9223372036854775807"), "Bytes per second a leader gives to throttled replicas.").dynamic().accepted(ALONE),
    broker("follower.replication.throttled.rate", long_from(0), Some("9223372036854775807"), "Bytes per second a throttled follower takes.").dynamic().accepted(ALONE),
    broker("replica.alter.log.dirs.io.max.bytes.per.second", long_from(0), Some("9223372036854775807"), "Bytes per second of moves between directories.").dynamic().accepted("moving replicas between directories is not built yet"),
    broker("replication.quota.*", Kind::Text, None, "Window of replication quotas.").accepted(ALONE),
    broker("alter.log.dirs.replication.quota.*", Kind::Text, None, "Window of quotas on moves between directories.").accepted(ALONE),
];
