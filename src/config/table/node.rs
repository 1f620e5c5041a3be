//! Keys of one broker's identity, its sockets and the quorum.
//! Rows only: what a key means in numbers is decided in `broker`.

use crate::config::key::{Key, Kind, broker, int_from, long_from};

const NO_THREADS: &str = "one runtime per core serves everything; there is no pool to size";
const NO_QUEUE: &str = "requests are served on the core that reads them; there is no queue to bound";
const OWN_TIMES: &str = "the quorum times its elections and messages itself, by heartbeats of its own";

/// Who this node is.
#[rustfmt::skip] // one row per key
pub const IDENTITY: &[Key] = &[
    broker("node.id", int_from(-1), Some("-1"), "This node's id, at least 0 and unique in the cluster. It must be set."),
    broker("broker.id", int_from(-1), Some("-1"), "Older name of node.id; read when node.id is not set."),
    broker("process.roles", Kind::List(&["broker", "controller"]), None, "What this process is: it serves clients (broker), may vote and decide about metadata (controller), or both, which is what no value means."),
    broker("broker.rack", Kind::Text, None, "Rack or zone of this broker, passed on to clients."),
    broker("log.dirs", Kind::List(&[]), None, "Data directories, comma-separated. The first also holds the quorum log."),
    broker("log.dir", Kind::Text, None, "One data directory; read when log.dirs is not set."),
    broker("metadata.log.dir", Kind::Text, None, "Directory of the quorum log.").refused("the quorum log lies in the first of log.dirs, a place of its own is not built yet"),
    broker("cordoned.log.dirs", Kind::List(&[]), Some(""), "Data directories that take no new partitions.").default_only("cordoned directories are not built yet"),
];

/// Sockets and requests.
#[rustfmt::skip] // one row per key
pub const NETWORK: &[Key] = &[
    broker("listeners", Kind::List(&[]), Some("PLAINTEXT://:9092"), "Addresses to listen on, as NAME://HOST:PORT; no host means every interface, port 0 a free port."),
    broker("advertised.listeners", Kind::List(&[]), None, "Addresses clients are told to connect to, by the same names; without it those of listeners."),
    broker("listener.security.protocol.map", Kind::List(&[]), Some("PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL"), "Protocol of each listener name. Only PLAINTEXT can be listened on; TLS and SASL are not built yet."),
    broker("inter.broker.listener.name", Kind::Text, None, "Listener that brokers use among themselves; without it the first of listeners that is no controller's."),
    broker("security.inter.broker.protocol", Kind::Text, Some("PLAINTEXT"), "Protocol between brokers.").default_only("TLS and SASL are not built yet"),
    broker("early.start.listeners", Kind::Text, None, "Listeners that start before the others.").accepted("all listeners start together"),
    broker("socket.request.max.bytes", int_from(1), Some("104857600"), "Largest request frame. A longer one closes the connection."),
    broker("socket.send.buffer.bytes", int_from(-1), Some("-1"), "Send buffer of a client socket; -1 leaves it to the kernel, which grows it for who reads fast (Kafka fixes 102400)."),
    broker("socket.receive.buffer.bytes", int_from(-1), Some("-1"), "Receive buffer of a client socket; -1 leaves it to the kernel, which grows it for who sends much (Kafka fixes 102400)."),
    broker("socket.listen.backlog.size", int_from(1), Some("50"), "Connections the kernel may hold before they are accepted."),
    broker("max.connections", int_from(0), Some("2147483647"), "Open client connections; one more is closed at once."),
    broker("max.connections.per.ip", int_from(0), Some("2147483647"), "Open client connections of one address."),
    broker("max.connections.per.ip.overrides", Kind::Text, Some(""), "Limits for single addresses, as HOST:COUNT.").default_only("limits for single addresses are not built yet"),
    broker("max.connection.creation.rate", int_from(0), Some("2147483647"), "New connections per second.").default_only("connection rate limits are not built yet"),
    broker("connections.max.idle.ms", long_from(-1), Some("600000"), "A connection silent for this long is closed; negative means never."),
    broker("connection.failed.authentication.delay.ms", int_from(0), Some("100"), "Pause before a failed login is answered.").accepted("there is no authentication yet"),
    broker("fetch.max.bytes", int_from(1024), Some("57671680"), "Most bytes one Fetch answer may hold."),
    broker("max.incremental.fetch.session.cache.slots", int_from(0), Some("1000"), "Incremental fetch sessions kept at once."),
    broker("max.request.partition.size.limit", int_from(1), Some("2000"), "Partitions one DescribeTopicPartitions answer may hold.").accepted("a page holds at most 2000"),
    broker("num.network.threads", int_from(1), Some("3"), "Network threads in Kafka.").accepted(NO_THREADS),
    broker("num.io.threads", int_from(1), Some("8"), "Request threads in Kafka.").accepted(NO_THREADS),
    broker("background.threads", int_from(1), Some("10"), "Background threads in Kafka.").accepted(NO_THREADS),
    broker("queued.max.requests", int_from(1), Some("500"), "Requests waiting for a thread in Kafka.").accepted(NO_QUEUE),
    broker("queued.max.request.bytes", long_from(-1), Some("-1"), "Bytes of requests waiting for a thread in Kafka.").accepted(NO_QUEUE),
    broker("request.timeout.ms", int_from(1), Some("30000"), "How long this broker waits for another one.").accepted("each request to another node has a limit of its own"),
];

/// The quorum that keeps the metadata.
#[rustfmt::skip] // one row per key
pub const QUORUM: &[Key] = &[
    broker("controller.quorum.voters", Kind::List(&[]), Some(""), "The voters of the metadata quorum as ID@HOST:PORT, the same on every node; each host and port is that node's controller listener."),
    broker("controller.quorum.bootstrap.servers", Kind::List(&[]), Some(""), "Addresses of controllers, as HOST:PORT, for a node that learns the voters from them (KIP-853)."),
    broker("controller.listener.names", Kind::List(&[]), None, "Names in listeners that belong to the controller; the first that is there is bound, and only nodes and Kafka's tools with --bootstrap-controller are served on it."),
    broker("controller.quorum.election.timeout.ms", int_from(1), Some("1000"), "Wait before an election.").accepted(OWN_TIMES),
    broker("controller.quorum.fetch.timeout.ms", int_from(1), Some("2000"), "Wait before a silent leader is doubted.").accepted(OWN_TIMES),
    broker("controller.quorum.election.backoff.max.ms", int_from(1), Some("1000"), "Longest pause between elections.").accepted(OWN_TIMES),
    broker("controller.quorum.append.linger.ms", int_from(0), Some("25"), "Wait for more records before a quorum write.").accepted("quorum writes are batched while the disk is busy, without waiting"),
    broker("controller.quorum.request.timeout.ms", int_from(1), Some("2000"), "How long a voter waits for another.").accepted(OWN_TIMES),
    broker("controller.quorum.retry.backoff.ms", int_from(0), Some("20"), "Pause between tries to reach a voter.").accepted(OWN_TIMES),
    broker("controller.quorum.auto.join.enable", Kind::Boolean, Some("false"), "Join the voters without being asked.").default_only("a controller joins the voters when it is asked to: kafka-metadata-quorum add-controller"),
    broker("controller.quorum.fetch.max.bytes", int_from(1), Some("8388608"), "Bytes of one fetch between controllers.").accepted(OWN_TIMES),
    broker("controller.quorum.fetch.snapshot.max.bytes", int_from(1), Some("8388608"), "Bytes of one snapshot fetch between controllers.").accepted(OWN_TIMES),
    broker("controller.socket.timeout.ms", int_from(1), Some("30000"), "Socket timeout towards controllers.").accepted(OWN_TIMES),
    broker("controller.performance.*", Kind::Text, None, "Sampling of controller events in Kafka.").accepted("the controller's metrics are always on"),
    broker("broker.heartbeat.interval.ms", int_from(1), Some("250"), "How often a broker tells the active controller that it lives (Kafka: 2000)."),
    broker("broker.session.timeout.ms", int_from(1), Some("1200"), "A broker silent for this long is fenced: it leaves every ISR and others lead its partitions (Kafka: 9000)."),
    broker("initial.broker.registration.timeout.ms", int_from(1), Some("60000"), "How long a broker tries to register at start."),
    broker("server.max.startup.time.ms", long_from(0), Some("9223372036854775807"), "A start longer than this fails.").accepted("a start that cannot finish says why and ends"),
    broker("controlled.shutdown.enable", Kind::Boolean, Some("true"), "Move leaders to other brokers before stopping."),
    broker("metadata.log.max.record.bytes.between.snapshots", long_from(1), Some("20971520"), "Bytes of metadata records between snapshots.").accepted("snapshots are taken by number of records"),
    broker("metadata.log.max.snapshot.interval.ms", long_from(0), Some("3600000"), "Longest time between metadata snapshots.").accepted("snapshots are taken by number of records"),
    broker("metadata.log.segment.*", Kind::Text, None, "Segments of the metadata log in Kafka.").accepted("the quorum log has files of its own, cut after each snapshot"),
    broker("metadata.max.*", Kind::Text, None, "Retention of the metadata log in Kafka.").accepted("the quorum log is cut after each snapshot"),
];
