//! Keys that promise protection we do not give yet, and keys of the Java process around Kafka.
//! The first are refused, so that nobody believes in a lock that is not there; the second are accepted and named.

use crate::config::key::{Key, Kind, broker, int_from, long_from};

const NO_AUTH: &str = "TLS, SASL and ACLs are not built yet; keep the port inside a trusted network";
const NO_QUOTA: &str = "client quotas are not built yet";
const JAVA: &str = "it configures the Java process around Kafka";
const NO_PURGATORY_PURGE: &str = "a waiting request leaves its list when it is answered";

/// Refused until the protection exists.
#[rustfmt::skip] // one row per key
pub const SECURITY: &[Key] = &[
    broker("authorizer.class.name", Kind::Class, Some(""), "Who may do what.").refused(NO_AUTH),
    broker("super.users", Kind::Text, None, "Principals that may do everything.").refused(NO_AUTH),
    broker("allow.everyone.if.no.acl.found", Kind::Boolean, Some("false"), "What no ACL means.").refused(NO_AUTH),
    broker("principal.builder.class", Kind::Class, None, "How a client becomes a principal.").refused(NO_AUTH),
    broker("sasl.*", Kind::Secret, None, "SASL authentication.").refused(NO_AUTH),
    broker("ssl.*", Kind::Secret, None, "TLS.").refused(NO_AUTH),
    broker("listener.name.*", Kind::Secret, None, "Security of one listener.").refused(NO_AUTH),
    broker("security.providers", Kind::Text, None, "Java security providers.").refused(NO_AUTH),
    broker("delegation.token.*", Kind::Secret, None, "Delegation tokens.").refused(NO_AUTH),
    broker("password.encoder.*", Kind::Secret, None, "Encryption of stored passwords.").refused(NO_AUTH),
    broker("client.quota.callback.class", Kind::Class, None, "A class that sets client quotas.").refused(NO_QUOTA),
];

/// Accepted and named once.
#[rustfmt::skip] // one row per key
pub const ACCEPTED: &[Key] = &[
    broker("quota.window.num", int_from(1), Some("11"), "Samples kept for client quotas.").accepted(NO_QUOTA),
    broker("quota.window.size.seconds", int_from(1), Some("1"), "Length of a sample for client quotas.").accepted(NO_QUOTA),
    broker("controller.quota.window.num", int_from(1), Some("11"), "Samples kept for controller quotas.").accepted(NO_QUOTA),
    broker("controller.quota.window.size.seconds", int_from(1), Some("1"), "Length of a sample for controller quotas.").accepted(NO_QUOTA),
    broker("fetch.purgatory.purge.interval.requests", int_from(0), Some("1000"), "Clean-up of waiting fetches.").accepted(NO_PURGATORY_PURGE),
    broker("producer.purgatory.purge.interval.requests", int_from(0), Some("1000"), "Clean-up of waiting produce requests.").accepted(NO_PURGATORY_PURGE),
    broker("delete.records.purgatory.purge.interval.requests", int_from(0), Some("1"), "Clean-up of waiting DeleteRecords.").accepted(NO_PURGATORY_PURGE),
    broker("metric.reporters", Kind::List(&[]), None, "Java metric reporters.").accepted("metrics are served at firn.metrics.listener"),
    broker("metrics.num.samples", int_from(1), Some("2"), "Samples of a Java metric.").accepted(JAVA),
    broker("metrics.sample.window.ms", long_from(1), Some("30000"), "Length of a sample of a Java metric.").accepted(JAVA),
    broker("metrics.recording.level", Kind::Text, Some("INFO"), "Detail of Java metrics.").accepted(JAVA),
    broker("kafka.metrics.*", Kind::Text, None, "Older Java metric reporters.").accepted(JAVA),
    broker("auto.include.jmx.reporter", Kind::Boolean, Some("true"), "Java's own metric reporter.").accepted(JAVA),
    broker("telemetry.max.bytes", int_from(1), Some("1048576"), "Largest telemetry push of a client (KIP-714).").accepted("client telemetry is not built yet"),
    broker("config.providers", Kind::List(&[]), Some(""), "Places that hold values of other keys.").refused("values are read as they stand: use KAFKA_* or FIRN_* variables instead"),
    broker("config.providers.*", Kind::Text, None, "Settings of those places.").refused("values are read as they stand: use KAFKA_* or FIRN_* variables instead"),
    broker("unstable.api.versions.enable", Kind::Boolean, Some("false"), "Serve request versions still in the making.").default_only("only released versions are served"),
    broker("unstable.feature.versions.enable", Kind::Boolean, Some("false"), "Allow feature levels still in the making.").default_only("only released levels are served"),
    broker("zookeeper.*", Kind::Text, None, "ZooKeeper.").refused("there is no ZooKeeper: this node's own quorum keeps the metadata"),
    broker("inter.broker.protocol.version", Kind::Text, None, "Protocol version between brokers of before Kafka 4.").accepted("the quorum holds one feature level for the cluster"),
    broker("log.message.format.version", Kind::Text, None, "Record format of before Kafka 4.").accepted("records are always stored in format v2"),
];
