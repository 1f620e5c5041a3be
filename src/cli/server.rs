//! `firn server`: from arguments to a running broker, and from a signal to a clean stop.
//! It decides who may format an empty directory (`--dev`, and an image with CLUSTER_ID), installs the log, and says on
//! standard output where a `--dev` broker listens. Everything the broker does is `broker`'s.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use firnline_tiering::hot::file::OsFiles;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::doors::Doors;
use crate::broker::lifecycle::Broker;
use crate::cli::arguments::Server;
use crate::cli::configuration::{self, Configuration, process_environment};
use crate::cli::failure::{Exit, Failure};
use crate::cli::storage::disks::{DEV_PREFIX, Disks};
use crate::config::broker::BrokerConfig;
use crate::telemetry::http::{self, Bound};
use crate::telemetry::metrics::Seen;
use crate::telemetry::subscriber;

/// Signals this close together are one request to stop.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// Runs `firn server` until a signal ends it.
pub async fn run(arguments: &Server) -> Result<(), Failure> {
    let dev_data = if arguments.dev { Some(configuration::dev_data()?) } else { None };
    let configuration =
        configuration::read(&OsFiles, &arguments.source, dev_data.as_deref(), process_environment())?;
    let settings = &configuration.start.config.settings;
    let text = |key: &str| settings.text(key).unwrap_or_default();
    subscriber::install(text("firn.log.format"), text("firn.log.level"))
        .map_err(|why| Failure::new("the log cannot be set up", why).exit(Exit::Configuration))?;
    say(&configuration);
    let config = configuration.start.config.clone();
    prepare(&config, configuration.image_cluster_id.as_deref()).await?;

    let mut signals = Signals::open()?;
    let broker = Broker::start(config.clone(), Doors::real())
        .await
        .map_err(|error| Failure::new("the broker did not start", error))?;
    let stop = CancellationToken::new();
    let bound = match watch(&broker, &stop).await {
        Ok(bound) => bound,
        Err(failure) => {
            finish(broker, &stop).await?;
            return Err(failure);
        }
    };
    if let Some(data) = &dev_data {
        greet(data, broker.addr(), bound)?;
    }
    let lost = tokio::select! {
        () = signals.first() => None,
        why = broker.lost() => Some(why),
    };
    if let Some(why) = lost {
        // What can still be closed is; the failed disk keeps it from being a clean stop.
        let _ = finish(broker, &stop).await;
        return Err(Failure::new("the broker stopped", why)
            .next("replace the disk, or take it out of log.dirs, and start again"));
    }
    tokio::select! {
        stopped = finish(broker, &stop) => stopped,
        () = signals.again() => Err(Failure::new("stopped at once", "a second signal came before the clean stop ended")
            .next("the next start recovers what was not flushed")),
    }
}

/// Names once what the configuration says that deserves a word.
fn say(configuration: &Configuration) {
    for warning in &configuration.warnings {
        tracing::warn!("{warning}");
    }
    for (key, why) in &configuration.ignored {
        tracing::info!(%key, %why, "configuration key is accepted and not acted on");
    }
}

/// Makes sure the directories may be used: formats them where that is allowed, else says how.
async fn prepare(config: &BrokerConfig, image_cluster_id: Option<&str>) -> Result<(), Failure> {
    let disks = Disks::real();
    let config = &disks.readable(config);
    let found = disks.cluster_of(config)?;
    let dirs: Vec<String> = config.log_dirs.iter().map(|dir| dir.display().to_string()).collect();
    let dirs = dirs.join(", ");
    match (&found, config.dev, image_cluster_id) {
        (Some(cluster), true, _) if !cluster.starts_with(DEV_PREFIX) => {
            let why = format!("the data in it is of cluster {cluster}, which --dev did not make");
            return Err(Failure::new(format!("--dev does not use {dirs}"), why)
                .next("start it with its own --config, or run --dev in another directory"));
        }
        (None, false, None) => {
            return Err(Failure::new(format!("{dirs} is not formatted"), "a data directory gets its cluster id once")
                .next("run `firn storage format --config FILE`, then start again; `firn server --dev` needs no format")
                .exit(Exit::Configuration));
        }
        (Some(_), true, _) | (Some(_), false, None) => return Ok(()),
        _ => {}
    }
    let drawn = disks.draw_dev_id();
    let wanted = if config.dev { &drawn } else { image_cluster_id.unwrap_or(&drawn) };
    let formatted = disks.format(config, Some(wanted)).await?;
    for warning in &formatted.warnings {
        tracing::warn!("{warning}");
    }
    for dir in &formatted.fresh {
        tracing::info!(dir = %dir.display(), cluster_id = %formatted.cluster_id, "formatted");
    }
    Ok(())
}

/// Opens metrics and admin port beside the serving cores.
async fn watch(broker: &Broker, stop: &CancellationToken) -> Result<Bound, Failure> {
    let seen = Arc::new(Seen { shared: broker.shared().clone(), tiers: broker.tiers().cloned() });
    let (net, stop) = (Doors::real().net, stop.clone());
    let opened = broker.background().spawn(async move { http::start(&*net, seen, &stop).await }).await;
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new("metrics or admin port did not open", why)
            .next("set firn.metrics.listener or firn.admin.listener to a free HOST:PORT, or to nothing")
    };
    opened.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

async fn finish(broker: Broker, stop: &CancellationToken) -> Result<(), Failure> {
    stop.cancel();
    broker.shutdown().await.map_err(|error| {
        Failure::new("the broker did not stop cleanly", error)
            .next("the next start recovers what was not flushed")
    })
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn open() -> Result<Signals, Failure> {
        let open = |kind| signal(kind).map_err(|error| Failure::new("signals cannot be received", error));
        Ok(Signals { terminate: open(SignalKind::terminate())?, interrupt: open(SignalKind::interrupt())? })
    }

    /// Waits for a signal from somebody who has lost patience. One that comes with the first is the same request:
    /// `timeout` and process supervisors signal a process and its group.
    async fn again(&mut self) {
        let began = Instant::now();
        while began.elapsed() < SAME_REQUEST {
            self.first().await;
        }
    }

    /// Waits for the next of either.
    async fn first(&mut self) {
        let (name, _) = tokio::select! {
            got = self.terminate.recv() => ("SIGTERM", got),
            got = self.interrupt.recv() => ("SIGINT", got),
        };
        tracing::info!(signal = name, "stopping");
    }
}

/// Where the broker listens, and three lines to paste.
fn greet(data: &Path, kafka: SocketAddr, bound: Bound) -> Result<(), Failure> {
    let text = greeting(data, kafka, bound);
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new("the greeting could not be printed", error))
        }
        _ => Ok(()),
    }
}

fn greeting(data: &Path, kafka: SocketAddr, bound: Bound) -> String {
    let mut text = String::from("Firnline is up: one node, one replica, not for production.\n\n");
    let mut line = |label: &str, value: String| _ = writeln!(text, "  {label:<9}{value}");
    line("kafka", kafka.to_string());
    if let Some(admin) = bound.admin {
        line("admin", format!("http://{admin}/tier"));
    }
    if let Some(metrics) = bound.metrics {
        line("metrics", format!("http://{metrics}/metrics"));
    }
    line("data", format!("{} (its folder `bucket` poses as the bucket)", data.display()));
    let server = if kafka.port() == 9092 { String::new() } else { format!(" -b {kafka}") };
    let admin = match bound.admin {
        Some(admin) if admin.port() != 9644 => format!(" --admin {admin}"),
        _ => String::new(),
    };
    let _ = write!(
        text,
        "\nPaste into another terminal; after a minute most of it lies in the bucket only:\n\n  \
         firn topic create hello -p 3{server}\n  \
         seq 1 1000000 | kcat -P -b {kafka} -t hello\n  \
         firn tier status hello{admin}\n\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dev_broker_says_where_it_is_and_what_to_type() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let bound = Bound { metrics: Some(at(9404)), admin: Some(at(9644)) };
        let expected = "\
Firnline is up: one node, one replica, not for production.

  kafka    127.0.0.1:9092
  admin    http://127.0.0.1:9644/tier
  metrics  http://127.0.0.1:9404/metrics
  data     /x/firn-data (its folder `bucket` poses as the bucket)

Paste into another terminal; after a minute most of it lies in the bucket only:

  firn topic create hello -p 3
  seq 1 1000000 | kcat -P -b 127.0.0.1:9092 -t hello
  firn tier status hello

";
        assert_eq!(greeting(Path::new("/x/firn-data"), at(9092), bound), expected);
        let moved = greeting(Path::new("/x"), at(9), Bound { metrics: None, admin: Some(at(7)) });
        assert!(
            moved.contains("create hello -p 3 -b 127.0.0.1:9\n")
                && moved.contains("hello --admin 127.0.0.1:7\n")
        );
    }
}
