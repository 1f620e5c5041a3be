//! Keys of consumer groups, their offsets, and transactions.
//! Rows only; KIP-848, share and streams groups and transactions are accepted by name until they are built.

use crate::config::key::{Key, Kind, broker, int_from, long_from};

const NO_TXN: &str = "transactions are not built yet; clients that ask for one are told so";
const NO_848: &str = "the consumer protocol of KIP-848 is not built yet; groups use the classic one";
const NO_SHARE: &str = "share groups are not built yet";
const NO_STREAMS: &str = "streams groups are not built yet";
const NO_THREADS: &str = "a coordinator runs on the core that serves its partition";

/// Groups and their committed offsets.
#[rustfmt::skip] // one row per key
pub const GROUPS: &[Key] = &[
    broker("offsets.topic.num.partitions", int_from(1), Some("50"), "Partitions of __consumer_offsets, fixed when it is created."),
    broker("offsets.topic.replication.factor", Kind::Short(1, 32767), Some("3"), "Replicas of __consumer_offsets. With fewer live brokers it is not made yet; a node that is a quorum of its own makes one replica."),
    broker("offsets.topic.segment.bytes", int_from(1), Some("104857600"), "Segment size of __consumer_offsets."),
    broker("offsets.topic.compression.codec", int_from(0), Some("0"), "Codec of __consumer_offsets.").accepted("offset records are written uncompressed"),
    broker("offsets.retention.minutes", int_from(1), Some("10080"), "Offsets of an empty group are kept this long."),
    broker("offsets.retention.check.interval.ms", long_from(1), Some("600000"), "How often expired offsets are looked for."),
    broker("offset.metadata.max.bytes", int_from(0), Some("4096"), "Longest text a client may store with an offset."),
    broker("offsets.commit.timeout.ms", int_from(1), Some("5000"), "How long a commit waits for replicas.").accepted("a commit waits for the log only: there are no other replicas yet"),
    broker("offsets.load.buffer.size", int_from(1), Some("5242880"), "Read size when a coordinator loads.").accepted("loading reads in slices of its own"),
    broker("group.initial.rebalance.delay.ms", int_from(0), Some("3000"), "A new group waits this long for more members."),
    broker("group.min.session.timeout.ms", int_from(0), Some("6000"), "Shortest session timeout a member may ask for."),
    broker("group.max.session.timeout.ms", int_from(0), Some("1800000"), "Longest session timeout a member may ask for."),
    broker("group.max.size", int_from(1), Some("2147483647"), "Most members of one group."),
    broker("group.coordinator.rebalance.protocols", Kind::List(&["classic", "consumer", "streams", "share"]), Some("classic,consumer,streams"), "Group protocols to serve.").accepted("the classic protocol is served, the others are not built yet"),
    broker("group.coordinator.threads", int_from(1), Some("4"), "Coordinator threads in Kafka.").accepted(NO_THREADS),
    broker("group.coordinator.background.threads", int_from(1), Some("2"), "Coordinator background threads in Kafka.").accepted(NO_THREADS),
    broker("group.coordinator.append.linger.ms", int_from(-1), Some("-1"), "Wait for more group records before a write.").accepted("group records are written at once"),
    broker("group.coordinator.cached.buffer.max.bytes", int_from(1), Some("1048588"), "Write buffer a coordinator keeps.").accepted("no buffer is kept"),
    broker("group.consumer.assignors", Kind::List(&[]), Some("uniform,range"), "Assignors of the consumer protocol.").accepted(NO_848),
    broker("group.consumer.session.timeout.ms", int_from(1), Some("45000"), "Session timeout of the consumer protocol.").accepted(NO_848),
    broker("group.consumer.heartbeat.interval.ms", int_from(1), Some("5000"), "Heartbeat interval of the consumer protocol.").accepted(NO_848),
    broker("group.consumer.max.size", int_from(1), Some("2147483647"), "Most members of a group of the consumer protocol.").accepted(NO_848),
    broker("group.consumer.*", Kind::Text, None, "Other keys of the consumer protocol (KIP-848).").accepted(NO_848),
    broker("group.share.*", Kind::Text, None, "Share groups (KIP-932).").accepted(NO_SHARE),
    broker("share.coordinator.*", Kind::Text, None, "State of share groups.").accepted(NO_SHARE),
    broker("share.fetch.purgatory.purge.interval.requests", int_from(0), Some("1000"), "Waiting share fetches.").accepted(NO_SHARE),
    broker("group.streams.*", Kind::Text, None, "Streams groups (KIP-1071).").accepted(NO_STREAMS),
    broker("errors.deadletterqueue.*", Kind::Text, None, "Dead letter queues of share groups.").accepted(NO_SHARE),
];

/// Transactions.
#[rustfmt::skip] // one row per key
pub const TRANSACTIONS: &[Key] = &[
    broker("transaction.state.log.num.partitions", int_from(1), Some("50"), "Partitions of __transaction_state.").accepted(NO_TXN),
    broker("transaction.state.log.replication.factor", Kind::Short(1, 32767), Some("3"), "Replicas of __transaction_state.").accepted(NO_TXN),
    broker("transaction.state.log.min.isr", int_from(1), Some("2"), "min.insync.replicas of __transaction_state.").accepted(NO_TXN),
    broker("transaction.state.log.segment.bytes", int_from(1), Some("104857600"), "Segment size of __transaction_state.").accepted(NO_TXN),
    broker("transaction.state.log.load.buffer.size", int_from(1), Some("5242880"), "Read size when a coordinator loads.").accepted(NO_TXN),
    broker("transaction.max.timeout.ms", int_from(1), Some("900000"), "Longest transaction timeout a producer may ask for.").accepted(NO_TXN),
    broker("transactional.id.expiration.ms", int_from(1), Some("604800000"), "A transactional id unused for this long is forgotten.").accepted(NO_TXN),
    broker("transaction.abort.timed.out.transaction.cleanup.interval.ms", int_from(1), Some("10000"), "How often overdue transactions are aborted.").accepted(NO_TXN),
    broker("transaction.remove.expired.transaction.cleanup.interval.ms", int_from(1), Some("3600000"), "How often unused ids are looked for.").accepted(NO_TXN),
    broker("transaction.partition.verification.enable", Kind::Boolean, Some("true"), "Check that a partition belongs to the transaction.").accepted(NO_TXN),
    broker("transaction.two.phase.commit.enable", Kind::Boolean, Some("false"), "Transactions that a coordinator outside decides.").default_only(NO_TXN),
    broker("add.partitions.to.txn.retry.backoff.*", Kind::Text, None, "Pauses of partition verification.").accepted(NO_TXN),
];
