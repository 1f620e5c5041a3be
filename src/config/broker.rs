//! What one broker reads of its configuration at start, typed and checked.
//! It is not the table of keys (`table`) and not where values come from (`settings`): it is the last step, from checked
//! text to numbers. Invariant: a `BrokerConfig` that exists is one the broker can act on.

use std::path::PathBuf;
use std::sync::Arc;

use firnline_tiering::cold::url::{BucketUrl, S3Options};

use crate::config::listener::Endpoint;
use crate::config::settings::Settings;

/// Everything the broker needs to start. Built once; values that may change while running are read through `settings`.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// This node's id, ≥ 0 (`node.id`).
    pub node_id: i32,
    /// What this process is (`process.roles`).
    pub roles: Roles,
    /// How it takes part in a quorum with others; `None` = a quorum of one that nobody else can join.
    pub quorum: Option<Quorum>,
    /// Life signs, and copies of partitions on several brokers.
    pub cluster: Cluster,
    /// `broker.rack`, passed on to clients.
    pub rack: Option<String>,
    /// Data directories in the order given (`log.dirs`); the first also holds the quorum log. Never empty.
    pub log_dirs: Vec<PathBuf>,
    /// Client listeners to bind: `listeners` without those named by `controller.listener.names`. Empty only without
    /// the broker role.
    pub listeners: Vec<Endpoint>,
    /// One address per client listener, by the same name: what Metadata hands out. A port 0 stands for the bound port,
    /// an empty host for this machine's name.
    pub advertised: Vec<Endpoint>,
    /// Name of the listener that brokers use among themselves; one of `listeners`, empty without the broker role.
    pub inter_broker_listener: String,
    /// Sockets and request limits.
    pub network: Network,
    /// What a topic gets that says nothing else.
    pub topics: TopicDefaults,
    /// `__consumer_offsets` and what is kept in it.
    pub offsets: Offsets,
    /// Limits of consumer groups.
    pub groups: Groups,
    /// Log directories: checks, recovery, reserve.
    pub log: Logs,
    /// The bucket, when `remote.log.storage.system.enable` is true.
    pub remote: Option<Remote>,
    /// Where `/metrics` and the admin API listen.
    pub telemetry: Telemetry,
    /// Dev mode: a throw-away broker that formats an empty directory by itself.
    pub dev: bool,
    /// The checked settings this was built from: feeds DescribeConfigs and topic configs.
    pub settings: Arc<Settings>,
}

/// What a process is. At least one is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It serves clients.
    pub broker: bool,
    /// It may vote and decide.
    pub controller: bool,
}

/// A quorum that others take part in, as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// `controller.quorum.voters`; empty where the voters are known from elsewhere (KIP-853).
    pub voters: Vec<Voter>,
    /// `controller.quorum.bootstrap.servers`: host and port of controllers that know the quorum.
    pub bootstrap: Vec<(String, u16)>,
    /// Where this node's controller listens; `None` without the controller role.
    pub listener: Option<Endpoint>,
    /// What other nodes are told of it, by the same name.
    pub advertised: Option<Endpoint>,
}

/// One entry of `controller.quorum.voters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Its `node.id`.
    pub id: i32,
    /// Where its controller listens; IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Life signs of brokers, copies of partitions, and who leads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// A broker tells the active controller so often that it lives, ms (`broker.heartbeat.interval.ms`).
    pub heartbeat_ms: u64,
    /// A broker silent for this long is fenced, ms (`broker.session.timeout.ms`).
    pub session_ms: u64,
    /// How long a start tries to register, ms (`initial.broker.registration.timeout.ms`).
    pub registration_ms: u64,
    /// Whether leaders are moved away before a stop (`controlled.shutdown.enable`).
    pub controlled_shutdown: bool,
    /// A follower that has not caught up for this long leaves the ISR, ms (`replica.lag.time.max.ms`).
    pub lag_ms_max: u64,
    /// Bytes a follower fetches of one partition (`replica.fetch.max.bytes`).
    pub fetch_partition_bytes: i32,
    /// Bytes a follower fetches at once (`replica.fetch.response.max.bytes`).
    pub fetch_bytes: i32,
    /// Bytes worth answering a follower's fetch (`replica.fetch.min.bytes`).
    pub fetch_bytes_min: i32,
    /// How long a follower's fetch waits for them, ms (`replica.fetch.wait.max.ms`).
    pub fetch_wait_ms: i32,
    /// Pause of a follower after an error, ms (`replica.fetch.backoff.ms`).
    pub fetch_backoff_ms: u64,
    /// A follower's fetch without an answer for this long has failed, ms (`replica.socket.timeout.ms`).
    pub fetch_timeout_ms: u64,
    /// Consumers may read from a replica in their own rack (`replica.selector.class`, KIP-392).
    pub rack_aware_fetch: bool,
    /// Whether a replica may lead that may have lost records, where topic and cluster say nothing
    /// (`unclean.leader.election.enable`).
    pub unclean_election: bool,
    /// Seconds between two looks at who should lead by preference; `None` = nobody looks
    /// (`auto.leader.rebalance.enable`, `leader.imbalance.check.interval.seconds`).
    pub rebalance_every_s: Option<u64>,
    /// Share of a broker's preferred partitions, in percent, that others may lead before that is mended
    /// (`leader.imbalance.per.broker.percentage`).
    pub imbalance_percent: u32,
}

/// Sockets and request limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Serving cores; 0 = one per CPU this process may use (`firn.cores`).
    pub cores: usize,
    /// Largest request frame, bytes (`socket.request.max.bytes`).
    pub request_bytes_max: usize,
    /// Most bytes one Fetch answer may hold (`fetch.max.bytes`).
    pub fetch_bytes_max: usize,
    /// Incremental fetch sessions kept (`max.incremental.fetch.session.cache.slots`).
    pub fetch_sessions_max: usize,
    /// Bytes of cold local data in memory on their way to consumers (`firn.cold.lane.memory.bytes`).
    pub cold_memory_bytes: usize,
    /// Open client connections (`max.connections`).
    pub connections_max: usize,
    /// Open client connections of one address (`max.connections.per.ip`).
    pub connections_per_ip_max: usize,
    /// A connection silent for this long is closed, ms (`connections.max.idle.ms`); `None` = never.
    pub connections_idle_ms_max: Option<u64>,
    /// Socket send buffer, bytes; `None` = the kernel's choice (`socket.send.buffer.bytes`).
    pub send_buffer_bytes: Option<usize>,
    /// Socket receive buffer, bytes; `None` = the kernel's choice (`socket.receive.buffer.bytes`).
    pub receive_buffer_bytes: Option<usize>,
    /// Pending connections per listener (`socket.listen.backlog.size`).
    pub listen_backlog: u32,
}

/// What a topic gets that says nothing else. Per-topic log settings come from `topic::TopicConfig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDefaults {
    /// `auto.create.topics.enable`.
    pub auto_create: bool,
    /// `delete.topic.enable`.
    pub delete_enable: bool,
    /// `num.partitions`, ≥ 1.
    pub partitions: i32,
    /// `default.replication.factor`, ≥ 1.
    pub replication_factor: i16,
}

/// `__consumer_offsets` and what is kept in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offsets {
    /// `offsets.topic.num.partitions`.
    pub partitions: i32,
    /// `offsets.topic.replication.factor`; 1 is used where no other broker can join.
    pub replication_factor: i16,
    /// `offsets.topic.segment.bytes`.
    pub segment_bytes: u64,
    /// An empty group's offsets live this long, ms (`offsets.retention.minutes`).
    pub retention_ms: i64,
    /// How often expired offsets are looked for, ms (`offsets.retention.check.interval.ms`).
    pub retention_check_ms: u64,
    /// Longest metadata text of one commit, bytes (`offset.metadata.max.bytes`).
    pub metadata_bytes_max: usize,
}

/// Limits of consumer groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// An empty group waits this long for more members, ms (`group.initial.rebalance.delay.ms`).
    pub initial_rebalance_delay_ms: u64,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_ms_max: i32,
    /// Members of one group (`group.max.size`).
    pub size_max: usize,
}

/// Log directories: checks, recovery, reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// How often retention looks, ms (`log.retention.check.interval.ms`).
    pub retention_check_ms: u64,
    /// How often recovery points are written, ms (`log.flush.offset.checkpoint.interval.ms`).
    pub checkpoint_interval_ms: u64,
    /// Free bytes below which produce is refused; `None` = the smaller of 256 MiB and 5 % (`firn.disk.reserve.bytes`).
    pub disk_reserve_bytes: Option<u64>,
}

impl Logs {
    /// The reserve of a directory on a file system of `total` bytes.
    pub fn reserve_bytes(&self, total: u64) -> u64 {
        self.disk_reserve_bytes.unwrap_or_else(|| (256 << 20).min(total / 20))
    }
}

/// Everything about the bucket and the lanes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// `firn.remote.url`.
    pub url: BucketUrl,
    /// How to talk to it: `firn.s3.*`; without keys AWS's environment and profile.
    pub s3: S3Options,
    /// A reader may still hold what left the manifest for this long, ms (`firn.remote.delete.grace.ms`).
    pub delete_grace_ms: i64,
    /// How often a partition looks for work, ms (`remote.log.manager.task.interval.ms`).
    pub task_interval_ms: u64,
    /// First pause after a failed upload, ms (`remote.log.manager.task.retry.backoff.ms`).
    pub retry_backoff_ms: u64,
    /// Longest pause after failed uploads, ms (`remote.log.manager.task.retry.backoff.max.ms`).
    pub retry_backoff_ms_max: u64,
    /// Uploads at once (`remote.log.manager.copier.thread.pool.size`).
    pub uploads_max: usize,
    /// Cold reads at once (`remote.log.reader.threads`).
    pub reads_max: usize,
    /// Cold reads that may wait (`remote.log.reader.max.pending.tasks`).
    pub reads_waiting_max: usize,
    /// How long a fetch that needs the bucket waits, ms (`remote.fetch.max.wait.ms`).
    pub fetch_wait_ms_max: u64,
    /// How long a lookup by time waits for the bucket, ms (`remote.list.offsets.request.timeout.ms`).
    pub list_offsets_timeout_ms: u64,
    /// Memory the chunk cache may hold, bytes (`firn.cache.memory.bytes`).
    pub cache_memory_bytes: u64,
    /// Disk the chunk cache may hold, bytes; 0 = none (`firn.cache.disk.bytes`).
    pub cache_disk_bytes: u64,
    /// Where the disk cache lies; `None` = `.firn-cache` in the first log dir (`firn.cache.disk.path`).
    pub cache_disk_dir: Option<PathBuf>,
}

/// An HTTP address of ours, and whether an operator chose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpListener {
    /// `HOST:PORT`.
    pub address: String,
    /// False = our default: a taken port then gives way to a free one, said in the log.
    pub chosen: bool,
}

/// Where `/metrics` and the admin API listen. `None` = switched off by an empty value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// `firn.metrics.listener`.
    pub metrics: Option<HttpListener>,
    /// `firn.admin.listener`.
    pub admin: Option<HttpListener>,
}
