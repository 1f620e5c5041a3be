//! From checked settings to a `BrokerConfig`: the rules between keys that decide whether this broker can start.
//! It opens nothing. Everything that is wrong is gathered, so that one start shows every mistake.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::broker::{
    BrokerConfig, Groups, HttpListener, Logs, Network, Offsets, Roles, Telemetry, TopicDefaults,
};
use crate::config::listener::{
    Endpoint, ListenerError, check_protocols, parse_endpoints, parse_protocol_map,
};
use crate::config::load::Problems;
use crate::config::quorum::{self, ControllerListener};
use crate::config::remote;
use crate::config::settings::Settings;

/// At most this many data directories.
pub const LOG_DIRS_MAX: usize = 64;

/// A start that may go ahead, and what should be said about it once.
#[derive(Debug, Clone)]
pub struct Start {
    /// The broker's configuration.
    pub config: BrokerConfig,
    /// Lines worth a warning.
    pub warnings: Vec<String>,
}

/// Builds the configuration of a broker; `dev` marks a throw-away one.
pub fn build(settings: Settings, dev: bool) -> Result<Start, Problems> {
    let mut said = Said::default();
    let read = Read { settings: &settings };
    let node_id = said.keep(read.node_id()).unwrap_or_default();
    let roles = quorum::roles(&settings);
    let log_dirs = said.keep(read.log_dirs()).unwrap_or_default();
    let sockets = said.keep(read.sockets(roles)).unwrap_or_default();
    let quorum = said.keep(quorum::read(&settings, node_id, roles, sockets.controller.clone())).flatten();
    let cluster = quorum::cluster(&settings);
    quorum::check_times(&settings, &cluster, &mut said.problems);
    said.keep(read.group_limits());
    let telemetry = said.keep(read.telemetry()).unwrap_or(Telemetry { metrics: None, admin: None });
    let remote = said.keep(remote::read(&settings)).flatten();
    said.warnings.extend(remote::unused_url(&settings));
    said.warnings.extend(read.exposed(&sockets));
    let config = BrokerConfig {
        node_id,
        roles,
        quorum,
        cluster,
        rack: settings.text("broker.rack").map(str::to_owned),
        log_dirs,
        listeners: sockets.listeners,
        advertised: sockets.advertised,
        inter_broker_listener: sockets.inter_broker,
        network: read.network(),
        topics: read.topics(),
        offsets: read.offsets(),
        groups: read.groups(),
        log: read.logs(),
        remote,
        telemetry,
        dev,
        settings: Arc::new(settings.clone()),
    };
    if said.problems.is_empty() {
        Ok(Start { config, warnings: said.warnings })
    } else {
        Err(Problems(said.problems))
    }
}

#[derive(Default)]
struct Said {
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Said {
    fn keep<T>(&mut self, read: Result<T, String>) -> Option<T> {
        read.map_err(|problem| self.problems.push(problem)).ok()
    }
}

#[derive(Default)]
struct Sockets {
    listeners: Vec<Endpoint>,
    advertised: Vec<Endpoint>,
    inter_broker: String,
    controller: ControllerListener,
}

struct Read<'a> {
    settings: &'a Settings,
}

impl Read<'_> {
    fn node_id(&self) -> Result<i32, String> {
        let id = |name| self.settings.number(name).filter(|id| *id >= 0);
        match (id("node.id"), id("broker.id")) {
            (Some(node), Some(broker)) if node != broker => {
                Err(format!("node.id is {node} but broker.id is {broker}: drop broker.id, its older name"))
            }
            (Some(id), _) | (None, Some(id)) => {
                i32::try_from(id).map_err(|error| format!("node.id={id}: {error}"))
            }
            (None, None) => {
                Err("node.id is not set: give this node a number of its own, e.g. node.id=1".to_owned())
            }
        }
    }

    fn log_dirs(&self) -> Result<Vec<PathBuf>, String> {
        let name = if self.settings.is_set("log.dirs") { "log.dirs" } else { "log.dir" };
        let dirs: Vec<PathBuf> = self.settings.items("log.dirs").into_iter().map(PathBuf::from).collect();
        let dirs = match (dirs.is_empty(), self.settings.text("log.dir")) {
            (true, Some(dir)) => vec![PathBuf::from(dir)],
            _ => dirs,
        };
        if dirs.is_empty() {
            return Err(
                "log.dirs is not set: name a directory for the data, e.g. log.dirs=/var/lib/firn".to_owned()
            );
        }
        if dirs.len() > LOG_DIRS_MAX {
            return Err(format!(
                "{name} names {} directories, at most {LOG_DIRS_MAX} are allowed",
                dirs.len()
            ));
        }
        match dirs.iter().enumerate().find(|(at, dir)| dirs[..*at].contains(dir)) {
            Some((_, twice)) => Err(format!("{name} names {} twice", twice.display())),
            None => Ok(dirs),
        }
    }

    fn sockets(&self, roles: Roles) -> Result<Sockets, String> {
        let keyed = |key: &'static str| move |error: ListenerError| format!("{key}: {error}");
        let parsed = |key: &'static str| {
            parse_endpoints(self.settings.text(key).unwrap_or_default()).map_err(keyed(key))
        };
        let (all, given) = (parsed("listeners")?, parsed("advertised.listeners")?);
        let controllers = quorum::listener_names(self.settings);
        let of_controllers = |each: &Endpoint| controllers.contains(&each.name);
        let map_key = "listener.security.protocol.map";
        let map =
            parse_protocol_map(self.settings.text(map_key).unwrap_or_default()).map_err(keyed(map_key))?;
        let (theirs, mine): (Vec<_>, Vec<_>) = all.into_iter().partition(of_controllers);
        let (advertised_theirs, given): (Vec<_>, Vec<_>) = given.into_iter().partition(of_controllers);
        check_protocols(mine.iter().map(|each| each.name.as_str()), &map).map_err(keyed("listeners"))?;
        let mapped = theirs
            .iter()
            .map(|each| each.name.as_str())
            .filter(|name| map.iter().any(|(known, _)| known == name));
        check_protocols(mapped, &map).map_err(keyed("controller.listener.names"))?;
        let controller = quorum::listener(
            roles,
            &controllers,
            theirs,
            advertised_theirs,
            self.settings.is_set("listeners"),
        )?;
        if !roles.broker {
            return match mine.first().filter(|_| self.settings.is_set("listeners")) {
                Some(stranger) => Err(format!(
                    "listeners names {stranger}, but process.roles=controller serves no clients: \
                     keep only what controller.listener.names names, or add the broker role"
                )),
                None => Ok(Sockets { controller, ..Sockets::default() }),
            };
        }
        if mine.is_empty() {
            return Err("listeners names no listener for clients, e.g. listeners=PLAINTEXT://127.0.0.1:9092"
                .to_owned());
        }
        let advertised = advertised(&mine, given).map_err(keyed("advertised.listeners"))?;
        let inter_broker = match self.settings.text("inter.broker.listener.name") {
            Some(name) => name.to_ascii_uppercase(),
            None => mine[0].name.clone(),
        };
        if controllers.contains(&inter_broker) {
            return Err(format!(
                "inter.broker.listener.name={inter_broker} is a controller's listener: \
                 brokers copy partitions over a listener of their own"
            ));
        }
        if !mine.iter().any(|each| each.name == inter_broker) {
            return Err(format!("inter.broker.listener.name: {}", ListenerError::NotAListener(inter_broker)));
        }
        Ok(Sockets { listeners: mine, advertised, inter_broker, controller })
    }

    fn exposed(&self, sockets: &Sockets) -> Vec<String> {
        let open = sockets.listeners.iter().filter(|each| each.is_every_interface());
        open.map(|each| {
            format!(
                "listener {each} takes unencrypted, unauthenticated connections on every interface: \
                 keep the port inside a trusted network"
            )
        })
        .collect()
    }

    fn group_limits(&self) -> Result<(), String> {
        let groups = self.groups();
        if groups.session_timeout_ms_min <= groups.session_timeout_ms_max {
            return Ok(());
        }
        Err(format!(
            "group.min.session.timeout.ms={} is more than group.max.session.timeout.ms={}",
            groups.session_timeout_ms_min, groups.session_timeout_ms_max
        ))
    }

    fn telemetry(&self) -> Result<Telemetry, String> {
        Ok(Telemetry {
            metrics: self.http("firn.metrics.listener")?,
            admin: self.http("firn.admin.listener")?,
        })
    }

    fn http(&self, name: &str) -> Result<Option<HttpListener>, String> {
        let Some(address) = self.settings.text(name) else { return Ok(None) };
        let port = address
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) => {
                Ok(Some(HttpListener { address: address.to_owned(), chosen: self.settings.is_set(name) }))
            }
            _ => Err(format!("{name}={address} is not of the form HOST:PORT, e.g. 127.0.0.1:9404")),
        }
    }

    /// A number whose key has a default, so that there always is one; negative ones become 0.
    fn size(&self, name: &str) -> u64 {
        self.settings.number(name).unwrap_or_default().max(0) as u64
    }

    fn int(&self, name: &str) -> i32 {
        i32::try_from(self.settings.number(name).unwrap_or_default()).unwrap_or(i32::MAX)
    }

    fn short(&self, name: &str) -> i16 {
        i16::try_from(self.settings.number(name).unwrap_or_default()).unwrap_or(i16::MAX)
    }

    fn buffer(&self, name: &str) -> Option<usize> {
        self.settings.number(name).and_then(|bytes| usize::try_from(bytes).ok())
    }

    fn flag(&self, name: &str) -> bool {
        self.settings.flag(name) == Some(true)
    }

    fn network(&self) -> Network {
        let idle_ms = self.settings.number("connections.max.idle.ms");
        Network {
            cores: self.size("firn.cores") as usize,
            request_bytes_max: self.size("socket.request.max.bytes") as usize,
            fetch_bytes_max: self.size("fetch.max.bytes") as usize,
            fetch_sessions_max: self.size("max.incremental.fetch.session.cache.slots") as usize,
            cold_memory_bytes: self.size("firn.cold.lane.memory.bytes") as usize,
            connections_max: self.size("max.connections") as usize,
            connections_per_ip_max: self.size("max.connections.per.ip") as usize,
            connections_idle_ms_max: idle_ms.and_then(|ms| u64::try_from(ms).ok()),
            send_buffer_bytes: self.buffer("socket.send.buffer.bytes"),
            receive_buffer_bytes: self.buffer("socket.receive.buffer.bytes"),
            listen_backlog: self.size("socket.listen.backlog.size") as u32,
        }
    }

    fn topics(&self) -> TopicDefaults {
        TopicDefaults {
            auto_create: self.flag("auto.create.topics.enable"),
            delete_enable: self.flag("delete.topic.enable"),
            partitions: self.int("num.partitions"),
            replication_factor: self.short("default.replication.factor"),
        }
    }

    fn offsets(&self) -> Offsets {
        Offsets {
            partitions: self.int("offsets.topic.num.partitions"),
            replication_factor: self.short("offsets.topic.replication.factor"),
            segment_bytes: self.size("offsets.topic.segment.bytes"),
            retention_ms: self.settings.number("offsets.retention.minutes").unwrap_or_default() * 60_000,
            retention_check_ms: self.size("offsets.retention.check.interval.ms"),
            metadata_bytes_max: self.size("offset.metadata.max.bytes") as usize,
        }
    }

    fn groups(&self) -> Groups {
        Groups {
            initial_rebalance_delay_ms: self.size("group.initial.rebalance.delay.ms"),
            session_timeout_ms_min: self.int("group.min.session.timeout.ms"),
            session_timeout_ms_max: self.int("group.max.session.timeout.ms"),
            size_max: self.size("group.max.size") as usize,
        }
    }

    fn logs(&self) -> Logs {
        Logs {
            retention_check_ms: self.size("log.retention.check.interval.ms"),
            checkpoint_interval_ms: self.size("log.flush.offset.checkpoint.interval.ms"),
            disk_reserve_bytes: self
                .settings
                .number("firn.disk.reserve.bytes")
                .map(|bytes| bytes.max(0) as u64),
        }
    }
}

/// What Metadata hands out; an address nobody can reach is refused when it was written by hand.
fn advertised(listeners: &[Endpoint], given: Vec<Endpoint>) -> Result<Vec<Endpoint>, ListenerError> {
    if let Some(stranger) = given.iter().find(|each| listeners.iter().all(|mine| mine.name != each.name)) {
        return Err(ListenerError::NotAListener(stranger.name.clone()));
    }
    if let Some(unreachable) = given.iter().find(|each| each.is_every_interface() || each.port == 0) {
        return Err(ListenerError::Unreachable(unreachable.clone()));
    }
    let of = |mine: &Endpoint| given.iter().find(|each| each.name == mine.name).unwrap_or(mine).clone();
    let advertised: Vec<Endpoint> = listeners.iter().map(of).collect();
    match advertised.iter().find(|each| each.is_every_interface() && !each.host.is_empty()) {
        Some(unreachable) => Err(ListenerError::Unreachable(unreachable.clone())),
        None => Ok(advertised),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firnline_tiering::cold::url::BucketUrl;

    use crate::config::settings::Source;

    const LEAST: &str = "node.id=1\nlog.dirs=/data\n";

    fn start(text: &str) -> Result<Start, String> {
        let mut settings = Settings::default();
        for entry in crate::config::properties::parse(&format!("{LEAST}{text}")).unwrap() {
            settings.put(Source::File, &entry.key, &entry.value).unwrap();
        }
        build(settings, false).map_err(|problems| problems.to_string())
    }

    fn problem(text: &str) -> String {
        start(text).unwrap_err()
    }

    #[test]
    fn the_least_file_gives_kafkas_defaults() {
        let Start { config, warnings } = start("").unwrap();
        assert_eq!((config.node_id, config.log_dirs), (1, vec![PathBuf::from("/data")]));
        assert_eq!(config.listeners, config.advertised);
        assert_eq!((config.roles, &config.quorum), (Roles { broker: true, controller: true }, &None));
        assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://:9092");
        assert_eq!((config.offsets.partitions, config.offsets.retention_ms), (50, 604_800_000));
        assert_eq!(config.network.connections_idle_ms_max, Some(600_000));
        assert_eq!(config.log.disk_reserve_bytes, None);
        assert_eq!(
            (config.log.reserve_bytes(1 << 40), config.log.reserve_bytes(64 << 20)),
            (256 << 20, (64 << 20) / 20)
        );
        assert_eq!(config.remote, None);
        let metrics = config.telemetry.metrics.unwrap();
        assert_eq!((metrics.address.as_str(), metrics.chosen), ("127.0.0.1:9404", false));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("listener PLAINTEXT://:9092 takes unencrypted"), "{warnings:?}");
    }

    #[test]
    fn a_kraft_file_of_one_node_is_understood() {
        let file = "process.roles=broker,controller\ncontroller.quorum.voters=1@localhost:9093\n\
                    listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://:9093\nadvertised.listeners=PLAINTEXT://broker:9092\n\
                    controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n\
                    listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
                    firn.metrics.listener=127.0.0.1:0\nfirn.admin.listener=\n";
        let Start { config, warnings } = start(file).unwrap();
        assert_eq!(
            config.listeners.iter().map(Endpoint::to_string).collect::<Vec<_>>(),
            ["PLAINTEXT://127.0.0.1:9092"]
        );
        assert_eq!(config.advertised[0].host, "broker");
        let quorum = config.quorum.unwrap();
        assert_eq!(quorum.listener.unwrap().to_string(), "CONTROLLER://:9093");
        assert_eq!(quorum.advertised.unwrap().to_string(), "CONTROLLER://localhost:9093");
        assert!(config.telemetry.metrics.unwrap().chosen);
        assert_eq!(config.telemetry.admin, None);
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn every_mistake_says_the_next_step() {
        let nothing = build(Settings::default(), false).unwrap_err().to_string();
        assert_eq!(
            nothing,
            "node.id is not set: give this node a number of its own, e.g. node.id=1\n\
             log.dirs is not set: name a directory for the data, e.g. log.dirs=/var/lib/firn"
        );
        let said = [
            ("broker.id=2", "node.id is 1 but broker.id is 2: drop broker.id, its older name"),
            ("log.dirs=/a,/b,/a", "log.dirs names /a twice"),
            (
                "listeners=9092",
                "listeners: `9092` is not of the form NAME://HOST:PORT, for example PLAINTEXT://127.0.0.1:9092",
            ),
            (
                "listeners=SSL://:9092",
                "listeners: listener SSL is mapped to SSL: TLS and SASL are not built yet, only PLAINTEXT is",
            ),
            (
                "listeners=EDGE://:9092",
                "listeners: listener EDGE has no entry in listener.security.protocol.map; add EDGE:PLAINTEXT",
            ),
            (
                "listeners=PLAINTEXT://0.0.0.0:9092",
                "advertised.listeners: PLAINTEXT://0.0.0.0:9092 cannot be advertised: \
                 clients cannot connect to 0.0.0.0 or to port 0",
            ),
            ("advertised.listeners=X://a:1", "advertised.listeners: X is not a name in `listeners`"),
            ("inter.broker.listener.name=X", "inter.broker.listener.name: X is not a name in `listeners`"),
            (
                "group.min.session.timeout.ms=9\ngroup.max.session.timeout.ms=8",
                "group.min.session.timeout.ms=9 is more than group.max.session.timeout.ms=8",
            ),
            (
                "firn.metrics.listener=9404",
                "firn.metrics.listener=9404 is not of the form HOST:PORT, e.g. 127.0.0.1:9404",
            ),
        ];
        for (text, expected) in said {
            assert_eq!(problem(text), expected);
        }
    }

    #[test]
    fn the_bucket_is_read_when_it_is_switched_on() {
        let on = "remote.log.storage.system.enable=true\n";
        assert!(problem(on).starts_with("remote.log.storage.system.enable=true needs firn.remote.url"));
        let s3 =
            format!("{on}firn.remote.url=s3://bucket/some/prefix/\nfirn.s3.endpoint=http://127.0.0.1:9000\n");
        let remote = start(&s3).unwrap().config.remote.unwrap();
        assert_eq!(remote.url, BucketUrl::S3 { bucket: "bucket".into(), prefix: "some/prefix".into() });
        assert!(remote.s3.path_style && remote.delete_grace_ms == 60_000);
        assert!(problem(&format!("{s3}firn.s3.access.key.id=a")).contains("both or neither"));
        let off = start("firn.remote.url=s3://bucket").unwrap();
        assert!(
            off.config.remote.is_none()
                && off.warnings.iter().any(|line| line.starts_with("firn.remote.url"))
        );
    }
}
