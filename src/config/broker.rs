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
    /// `broker.rack`, passed on to clients.
    pub rack: Option<String>,
    /// Data directories in the order given (`log.dirs`); the first also holds the quorum log. Never empty.
    pub log_dirs: Vec<PathBuf>,
    /// Client listeners to bind: `listeners` without those named by `controller.listener.names`. Never empty.
    pub listeners: Vec<Endpoint>,
    /// One address per client listener, by the same name: what Metadata hands out. A port 0 stands for the bound port,
    /// an empty host for this machine's name.
    pub advertised: Vec<Endpoint>,
    /// Name of the listener that brokers use among themselves; one of `listeners`.
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
    /// `offsets.topic.replication.factor`; the creator clamps it to the live brokers.
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
