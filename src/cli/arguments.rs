//! What `firn` understands, for clap: commands, flags, their defaults and help texts.
//! No behaviour: each command's file acts on its arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Firnline: a Kafka-compatible broker that keeps the hot log on NVMe and history in your bucket.
#[derive(Debug, Parser)]
#[command(name = "firn", version, propagate_version = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a broker
    Server(Server),
    /// See it work: write to a throw-away broker, let the bucket have it, read it back, compare
    Demo(Demo),
    /// Prepare and inspect data directories
    #[command(subcommand)]
    Storage(Storage),
    /// Create, list, describe and delete topics
    #[command(subcommand)]
    Topic(Topic),
    /// See a cluster's nodes, and move partitions between them
    #[command(subcommand)]
    Cluster(Cluster),
    /// See what lies in memory, on disk and in the bucket
    #[command(subcommand)]
    Tier(Tier),
    /// Look into the files of a log while no broker runs
    #[command(subcommand)]
    Log(Log),
    /// Load a broker and measure it from outside
    #[command(subcommand)]
    Bench(Bench),
    /// Explain configuration keys
    #[command(subcommand)]
    Config(Config),
}

/// Where a broker's configuration comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct Source {
    /// Properties file with Kafka's names (server.properties)
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key, stronger than file and environment; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `firn server`.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// Configuration.
    #[command(flatten)]
    pub source: Source,
    /// A throw-away broker in ./firn-data: no file and no bucket needed, small segments, short local retention
    #[arg(long)]
    pub dev: bool,
}

/// `firn demo`.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// Megabytes to write; the least that fills enough segments is 24
    #[arg(long, value_name = "COUNT", default_value = "200", value_parser = clap::value_parser!(u32).range(24..=1_000_000))]
    pub megabytes: u32,
}

/// `firn log`.
#[derive(Debug, Clone, Subcommand)]
pub enum Log {
    /// Check every batch, record, index and checkpoint; say the first bad byte and what can be saved; exit 1 on damage
    Verify {
        /// A segment's file, a partition's directory, an entry of log.dirs, or a .firn object
        path: PathBuf,
        /// One JSON object (docs/log.md)
        #[arg(long)]
        json: bool,
    },
    /// Print what the files hold
    Dump {
        /// A file of a log, a partition's directory, an entry of log.dirs, or a .firn object
        path: PathBuf,
        /// Open the batches and print their records
        #[arg(long)]
        records: bool,
        /// One JSON object a line (docs/log.md)
        #[arg(long)]
        json: bool,
    },
}

/// `firn storage`.
#[derive(Debug, Clone, Subcommand)]
pub enum Storage {
    /// Give the data directories their cluster id; needed once before the first start
    Format {
        /// Configuration.
        #[command(flatten)]
        source: Source,
        /// 22 characters, the same for every node of a cluster; without it a new one is drawn
        #[arg(long, short = 't', value_name = "ID")]
        cluster_id: Option<String>,
        /// What the first controllers are, where controller.quorum.voters does not say (KIP-853).
        #[command(flatten)]
        first: FirstControllers,
        /// Leave directories that are formatted as they are; they always are
        #[arg(long, short = 'g')]
        ignore_formatted: bool,
    },
    /// Draw a cluster id
    RandomUuid,
    /// Show whose data directories these are
    Info {
        /// Configuration.
        #[command(flatten)]
        source: Source,
    },
}

/// The voters of a new cluster.
#[derive(Debug, Clone, Default, Args)]
#[group(multiple = false)]
pub struct FirstControllers {
    /// This node is the first voter, alone; others are added while it runs
    #[arg(long, short)]
    pub standalone: bool,
    /// This node joins a cluster that has voters: it asks controller.quorum.bootstrap.servers for them
    #[arg(long, short = 'N')]
    pub no_initial_controllers: bool,
    /// The first voters, this one among them, the same on each: ID@HOST:PORT:DIRECTORY-ID,...
    #[arg(long, short = 'I', value_name = "LIST")]
    pub initial_controllers: Option<String>,
}

/// Which broker to ask.
#[derive(Debug, Clone, Args)]
pub struct Broker {
    /// HOST:PORT of a broker, or several divided by commas
    #[arg(long, short = 'b', value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub bootstrap_server: String,
}

/// `firn bench through`: one record per request, one request per partition at a time, acks=all, idempotent.
#[derive(Debug, Clone, Args)]
pub struct Through {
    /// Topic; it must exist, and be empty unless nothing is checked
    #[arg(long, short, value_name = "NAME")]
    pub topic: String,
    /// Records per second over all partitions
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = rate)]
    pub rate: f64,
    /// Bytes of a record's value, 20 at least
    #[arg(long, value_name = "COUNT", default_value = "100", value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    pub record_bytes: u32,
    /// How long to write
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Do not read back what was written
    #[arg(long)]
    pub no_check: bool,
    /// Form of the result
    #[arg(long, short, value_enum, default_value = "table")]
    pub output: Output,
    /// Which broker.
    #[command(flatten)]
    pub broker: Broker,
}

/// A rate above nothing.
fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|error: std::num::ParseFloatError| error.to_string())?;
    if rate > 0.0 && rate <= 1e6 { Ok(rate) } else { Err("more than 0 and at most 1000000".to_owned()) }
}

/// `firn topic`.
#[derive(Debug, Clone, Subcommand)]
pub enum Topic {
    /// Create a topic
    Create {
        /// Its name
        name: String,
        /// Partitions; without it the broker's num.partitions
        #[arg(long, short, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// Replicas; without it the broker's default.replication.factor
        #[arg(long, short, value_name = "COUNT", value_parser = clap::value_parser!(i16).range(1..))]
        replication_factor: Option<i16>,
        /// A topic config such as retention.ms=86400000; may be repeated
        #[arg(long = "config", short, value_name = "KEY=VALUE")]
        configs: Vec<String>,
        /// Which broker.
        #[command(flatten)]
        broker: Broker,
    },
    /// List topics
    List {
        /// Show the broker's own topics too
        #[arg(long)]
        internal: bool,
        /// Which broker.
        #[command(flatten)]
        broker: Broker,
    },
    /// Show partitions, leaders and the configs a topic has of its own
    Describe {
        /// Topics; without any, all
        names: Vec<String>,
        /// Which broker.
        #[command(flatten)]
        broker: Broker,
    },
    /// Delete topics, their data on disk and in the bucket
    Delete {
        /// Topics
        #[arg(required = true)]
        names: Vec<String>,
        /// Which broker.
        #[command(flatten)]
        broker: Broker,
    },
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// `firn cluster`.
#[derive(Debug, Clone, Subcommand)]
pub enum Cluster {
    /// Who decides, who is alive and reachable, which partitions lack a leader or a copy
    Status {
        /// Fail unless so many brokers are alive and every partition has a leader
        #[arg(long, value_name = "COUNT")]
        wait_for: Option<usize>,
        /// Form of the answer
        #[arg(long, short, value_enum, default_value = "table")]
        output: Output,
        /// Which broker.
        #[command(flatten)]
        broker: Broker,
    },
    /// Move everything off a broker, so that it can be taken away
    Drain {
        /// Its node.id
        #[arg(value_name = "BROKER")]
        id: i32,
        /// Only say what would be moved
        #[arg(long)]
        plan: bool,
        /// Which broker.
        #[command(flatten)]
        broker: Broker,
    },
    /// Move replicas and leaders until all brokers have equally much
    Rebalance {
        /// Only say what would be moved
        #[arg(long, required_unless_present = "apply", conflicts_with = "apply")]
        plan: bool,
        /// Move it, and wait until it is there
        #[arg(long)]
        apply: bool,
        /// Which broker.
        #[command(flatten)]
        broker: Broker,
    },
}

/// `firn tier`.
#[derive(Debug, Clone, Subcommand)]
pub enum Tier {
    /// The bucket's health; with a topic, what lies where per partition
    Status {
        /// Topic to show
        topic: Option<String>,
        /// HOST:PORT of the broker's admin listener
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9644")]
        admin: String,
        /// Form of the answer
        #[arg(long, short, value_enum, default_value = "table")]
        output: Output,
    },
}

/// `firn bench`.
#[derive(Debug, Clone, Subcommand)]
pub enum Bench {
    /// Write batches
    Produce {
        /// What both sides have.
        #[command(flatten)]
        load: Load,
        /// Bytes of a record's value
        #[arg(long, value_name = "COUNT", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        record_bytes: u32,
        /// Requests per connection that may wait for their answer. A rate is kept whatever the answers do
        #[arg(long, value_name = "COUNT", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        in_flight: u32,
        /// Who acknowledges: 0 nobody, 1 the leader, all in-sync replicas
        #[arg(long, value_enum, default_value = "all")]
        acks: Acks,
        /// Codec of the batches
        #[arg(long, value_enum, default_value = "none")]
        codec: BatchCodec,
        /// How much of each value is random; the rest repeats, so that a codec has something to do
        #[arg(long, value_name = "PERCENT", default_value = "100", value_parser = clap::value_parser!(u32).range(0..=100))]
        random_percent: u32,
        /// Write into each batch when it was due, for `consume --tail` on the same machine; without a codec only
        #[arg(long)]
        stamp: bool,
    },
    /// Read from the start of the log, again and again, or what arrives
    Consume {
        /// What both sides have.
        #[command(flatten)]
        load: Load,
        /// Start at the end and wait for what arrives; nothing may come
        #[arg(long)]
        tail: bool,
        /// How long the broker may hold an empty fetch, milliseconds
        #[arg(long, value_name = "MS", default_value = "500", value_parser = clap::value_parser!(i32).range(0..=60_000))]
        wait_ms: i32,
    },
    /// Write to every partition through whatever happens to its leaders; tell how long acknowledgements were owed
    Through(Through),
    /// Knock until every partition of a topic has acknowledged one record, and say when that was
    First {
        /// Topic; it must exist once the broker serves
        #[arg(long, short, value_name = "NAME")]
        topic: String,
        /// Partitions that must answer, from 0
        #[arg(long, value_name = "COUNT", default_value = "1", value_parser = clap::value_parser!(i32).range(1..))]
        partitions: i32,
        /// When to give up
        #[arg(long, value_name = "COUNT", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=86_400))]
        seconds: u64,
        /// Which broker.
        #[command(flatten)]
        broker: Broker,
    },
}

/// Who acknowledges a produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// Nobody: there is no answer.
    #[value(name = "0")]
    Nobody,
    /// The leader.
    #[value(name = "1")]
    Leader,
    /// Every in-sync replica.
    All,
}

/// Codec of a bench's batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BatchCodec {
    /// As they are.
    None,
    /// gzip.
    Gzip,
    /// Snappy in Java's framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// A load.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// Topic; it must exist
    #[arg(long, short, value_name = "NAME")]
    pub topic: String,
    /// Bytes of a batch, or of one fetch
    #[arg(long, value_name = "COUNT", default_value = "65536", value_parser = clap::value_parser!(u32).range(64..=64 << 20))]
    pub batch_bytes: u32,
    /// MB/s (10^6 bytes) over all connections; 0 is as fast as it goes. Latency counts from when the rate meant an operation to begin
    #[arg(long, value_name = "MB/S", default_value = "0")]
    pub rate: f64,
    /// The same in operations per second over all connections
    #[arg(long, value_name = "COUNT", default_value = "0", conflicts_with = "rate")]
    pub operation_rate: f64,
    /// Stop after so many MB (10^6 bytes) over all connections; 0 sets no limit
    #[arg(long, value_name = "COUNT", default_value = "0")]
    pub megabytes: u64,
    /// How long at most
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Connections; the topic's partitions are dealt out to them, and each goes round its own
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Form of the result
    #[arg(long, short, value_enum, default_value = "table")]
    pub output: Output,
    /// Which broker.
    #[command(flatten)]
    pub broker: Broker,
}

/// `firn config`.
#[derive(Debug, Clone, Subcommand)]
pub enum Config {
    /// What a key does, its type, range, default, and whether the broker acts on it
    Explain {
        /// Key, e.g. local.retention.ms
        key: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_finds_no_fault() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_documented_lines_parse() {
        for line in [
            "firn server --dev",
            "firn server --config server.properties --set num.partitions=3 --set node.id=2",
            "firn demo --megabytes 24",
            "firn storage format --config f --cluster-id MkU3OEVBNTcwNTJENDM2Qk",
            "firn storage info --config f",
            "firn storage random-uuid",
            "firn storage format -c f -t MkU3OEVBNTcwNTJENDM2Qk --standalone",
            "firn storage format -c f --no-initial-controllers -g",
            "firn storage format -c f -I 1@h:1:MkU3OEVBNTcwNTJENDM2Qk",
            "firn cluster status -b h:1 -o json --wait-for 3",
            "firn cluster drain 3 --plan",
            "firn cluster rebalance --apply -b h:1",
            "firn topic create orders -p 3 -c remote.storage.enable=true --bootstrap-server h:1",
            "firn topic list --bootstrap-server h:1",
            "firn topic describe orders",
            "firn topic delete orders",
            "firn tier status orders --admin h:1 -o json",
            "firn tier status",
            "firn bench produce --topic t --rate 50 --seconds 5 --connections 4 --record-bytes 100 --batch-bytes 16384",
            "firn bench produce -t t --operation-rate 100 --acks 0 --codec zstd --random-percent 50 --megabytes 10",
            "firn bench consume -t t -b h:1 -o json",
            "firn bench consume -t t --tail --wait-ms 100",
            "firn bench first -t t --partitions 3",
            "firn config explain retention.ms",
        ] {
            assert!(Arguments::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        assert!(Arguments::try_parse_from(["firn", "topic", "create", "t", "-p", "0"]).is_err());
        assert!(Arguments::try_parse_from(["firn", "storage", "format", "-s", "-N"]).is_err());
    }
}
