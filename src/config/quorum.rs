//! From checked settings to the part this node takes in a quorum: its roles, the voters, the controller's listener,
//! and the times by which brokers live and replicas follow. It opens nothing and knows no membership but what the
//! configuration names. Invariant: what two keys say about the same thing agrees, or nothing starts.

use crate::config::broker::{Cluster, Quorum, Roles, Voter};
use crate::config::listener::Endpoint;
use crate::config::settings::Settings;

/// Where this node's controller listens and what others are told, as far as the configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControllerListener {
    /// Of `listeners`.
    pub bound: Option<Endpoint>,
    /// Of `advertised.listeners`.
    pub advertised: Option<Endpoint>,
}

/// `process.roles`; no value means both.
pub fn roles(settings: &Settings) -> Roles {
    let roles = settings.items("process.roles");
    let has = |role| roles.is_empty() || roles.contains(&role);
    Roles { broker: has("broker"), controller: has("controller") }
}

/// `controller.listener.names`, in upper case.
pub fn listener_names(settings: &Settings) -> Vec<String> {
    settings.items("controller.listener.names").iter().map(|name| name.to_ascii_uppercase()).collect()
}

/// Picks the controller's listener out of those that `controller.listener.names` names.
pub fn listener(
    roles: Roles,
    names: &[String],
    bound: Vec<Endpoint>,
    advertised: Vec<Endpoint>,
    chosen: bool,
) -> Result<ControllerListener, String> {
    let first = names.iter().find_map(|name| bound.iter().find(|each| each.name == *name)).cloned();
    match (roles.controller, first) {
        (false, Some(mine)) => Err(format!(
            "listeners names {mine}, a controller's listener by controller.listener.names, but process.roles=broker \
             has no controller: take it out of listeners"
        )),
        (true, None) if !roles.broker => Err(format!(
            "process.roles=controller needs a listener: name one in controller.listener.names and in listeners{}, \
             e.g. controller.listener.names=CONTROLLER and listeners=CONTROLLER://127.0.0.1:9093",
            if chosen { " (none of its names is there)" } else { "" }
        )),
        (_, first) => {
            let told = first.as_ref().and_then(|mine| advertised.iter().find(|each| each.name == mine.name));
            match told.filter(|told| told.is_every_interface() || told.port == 0) {
                Some(told) => Err(format!("advertised.listeners: other nodes cannot connect to {told}")),
                None => Ok(ControllerListener { advertised: told.cloned(), bound: first }),
            }
        }
    }
}

/// The quorum this node takes part in; `None` for one of its own that nobody else can join.
pub fn read(
    settings: &Settings,
    node_id: i32,
    roles: Roles,
    listener: ControllerListener,
) -> Result<Option<Quorum>, String> {
    let voters = voters(&settings.items("controller.quorum.voters"))?;
    let bootstrap = bootstrap(&settings.items("controller.quorum.bootstrap.servers"))?;
    check_voters(&voters, node_id, roles)?;
    let others = voters.iter().any(|voter| voter.id != node_id) || !bootstrap.is_empty();
    if !others && !roles.controller {
        return Err("process.roles=broker has to know its controllers: \
                    set controller.quorum.voters=ID@HOST:PORT,... or controller.quorum.bootstrap.servers=HOST:PORT,..."
            .to_owned());
    }
    if others && roles.controller && listener.bound.is_none() {
        return Err("controller.listener.names names none of `listeners`, so that other controllers cannot reach this one: \
                    e.g. controller.listener.names=CONTROLLER and listeners=...,CONTROLLER://127.0.0.1:9093"
            .to_owned());
    }
    if !others && listener.bound.is_none() {
        return Ok(None);
    }
    let mine = voters.iter().find(|voter| voter.id == node_id);
    let advertised = match (listener.advertised, &listener.bound, mine) {
        (Some(told), _, Some(mine)) if (told.host.as_str(), told.port) != (mine.host.as_str(), mine.port) => {
            return Err(format!(
                "advertised.listeners names {told}, controller.quorum.voters {}: make them agree",
                mine.written()
            ));
        }
        (Some(told), ..) => Some(told),
        (None, Some(bound), Some(mine)) if bound.port != 0 && bound.port != mine.port => {
            return Err(format!(
                "listeners names {bound}, controller.quorum.voters {}: make the ports agree, or name the port that \
                 leads here in advertised.listeners",
                mine.written()
            ));
        }
        (None, Some(bound), Some(mine)) => {
            Some(Endpoint { name: bound.name.clone(), host: mine.host.clone(), port: mine.port })
        }
        (None, bound, None) => bound.clone(),
        (None, None, Some(_)) => None,
    };
    Ok(Some(Quorum { voters, bootstrap, listener: listener.bound, advertised }))
}

impl Voter {
    /// `ID@HOST:PORT`.
    pub fn written(&self) -> String {
        let Voter { id, host, port } = self;
        if host.contains(':') { format!("{id}@[{host}]:{port}") } else { format!("{id}@{host}:{port}") }
    }
}

fn voters(entries: &[&str]) -> Result<Vec<Voter>, String> {
    let mut voters: Vec<Voter> = Vec::new();
    for entry in entries {
        let read = entry.split_once('@').and_then(|(id, address)| {
            let (host, port) = host_and_port(address)?;
            Some(Voter { id: id.parse().ok().filter(|id| *id >= 0)?, host, port })
        });
        let Some(voter) = read else {
            return Err(format!(
                "controller.quorum.voters: `{entry}` is not of the form ID@HOST:PORT, e.g. 1@127.0.0.1:9093"
            ));
        };
        let twice = |other: &&Voter| {
            other.id == voter.id || (other.host.as_str(), other.port) == (voter.host.as_str(), voter.port)
        };
        if let Some(other) = voters.iter().find(twice) {
            let (one, two) = (other.written(), voter.written());
            return Err(format!("controller.quorum.voters: {one} and {two} share an id or an address"));
        }
        voters.push(voter);
    }
    Ok(voters)
}

fn bootstrap(entries: &[&str]) -> Result<Vec<(String, u16)>, String> {
    let read = |entry: &&str| {
        host_and_port(entry).ok_or_else(|| {
            format!("controller.quorum.bootstrap.servers: `{entry}` is not of the form HOST:PORT")
        })
    };
    entries.iter().map(read).collect()
}

fn host_and_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let odd = |c: char| c.is_whitespace() || matches!(c, '/' | '@');
    (!bare.is_empty() && !bare.chars().any(odd)).then(|| (bare.to_owned(), port))
}

fn check_voters(voters: &[Voter], node_id: i32, roles: Roles) -> Result<(), String> {
    let listed = || voters.iter().map(Voter::written).collect::<Vec<_>>().join(",");
    let named = voters.iter().any(|voter| voter.id == node_id);
    match (roles.controller, named) {
        (true, false) if !voters.is_empty() => Err(format!(
            "controller.quorum.voters={} does not name this node, {node_id}: add it, correct node.id, \
             or use process.roles=broker",
            listed()
        )),
        (false, true) => Err(format!(
            "controller.quorum.voters={} names this node, {node_id}, but process.roles=broker does not vote: \
             give it an id of its own, or add the controller role",
            listed()
        )),
        _ => Ok(()),
    }
}

/// Times and limits between brokers.
pub fn cluster(settings: &Settings) -> Cluster {
    let number = |name: &str| settings.number(name).unwrap_or_default().max(0);
    let size = |name: &str| number(name).unsigned_abs();
    let int = |name: &str| i32::try_from(number(name)).unwrap_or(i32::MAX);
    let flag = |name: &str| settings.flag(name) == Some(true);
    Cluster {
        heartbeat_ms: size("broker.heartbeat.interval.ms"),
        session_ms: size("broker.session.timeout.ms"),
        registration_ms: size("initial.broker.registration.timeout.ms"),
        controlled_shutdown: flag("controlled.shutdown.enable"),
        lag_ms_max: size("replica.lag.time.max.ms"),
        fetch_partition_bytes: int("replica.fetch.max.bytes"),
        fetch_bytes: int("replica.fetch.response.max.bytes"),
        fetch_bytes_min: int("replica.fetch.min.bytes"),
        fetch_wait_ms: int("replica.fetch.wait.max.ms"),
        fetch_backoff_ms: size("replica.fetch.backoff.ms"),
        fetch_timeout_ms: size("replica.socket.timeout.ms"),
        rack_aware_fetch: settings.text("replica.selector.class").is_some_and(|class| class == RACK_AWARE),
        unclean_election: flag("unclean.leader.election.enable"),
        rebalance_every_s: flag("auto.leader.rebalance.enable")
            .then(|| size("leader.imbalance.check.interval.seconds")),
        imbalance_percent: u32::try_from(number("leader.imbalance.per.broker.percentage"))
            .unwrap_or(u32::MAX),
    }
}

/// Kafka's class that lets consumers read in their own rack: the one we know how to do.
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
/// Kafka's class for what happens without any.
const LEADER_ONLY: &str = "org.apache.kafka.common.replica.LeaderSelector";

/// Notes times that contradict each other, and a selector that is no rule of ours.
pub fn check_times(settings: &Settings, cluster: &Cluster, problems: &mut Vec<String>) {
    let Cluster { heartbeat_ms, session_ms, fetch_wait_ms, fetch_timeout_ms, lag_ms_max, .. } = cluster;
    let fetch_wait_ms = u64::from(fetch_wait_ms.unsigned_abs());
    if heartbeat_ms >= session_ms {
        problems.push(format!(
            "broker.heartbeat.interval.ms={heartbeat_ms} is not below broker.session.timeout.ms={session_ms}: \
             a broker would be fenced between two heartbeats"
        ));
    }
    for (name, limit) in
        [("replica.socket.timeout.ms", fetch_timeout_ms), ("replica.lag.time.max.ms", lag_ms_max)]
    {
        if *limit < fetch_wait_ms {
            problems.push(format!(
                "{name}={limit} is less than replica.fetch.wait.max.ms={fetch_wait_ms}: \
                 a follower with nothing to fetch would count as failed"
            ));
        }
    }
    if let Some(class) = settings.text("replica.selector.class")
        && ![RACK_AWARE, LEADER_ONLY, ""].contains(&class)
    {
        problems.push(format!(
            "replica.selector.class={class} is a Java class, which is never loaded: use {RACK_AWARE}, or leave it out"
        ));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::broker::{Roles, Voter};
    use crate::config::settings::{Settings, Source};
    use crate::config::start::{Start, build};

    const LEAST: &str = "node.id=1\nlog.dirs=/data\n";
    const THREE: &str = "controller.quorum.voters=1@a:19,2@b:29,3@[::1]:39\n";
    const MINE: &str = "controller.listener.names=CONTROLLER\n\
                        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n";
    const BOTH: &str = "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:19\n";

    fn start(texts: &[&str]) -> Result<Start, String> {
        let mut settings = Settings::default();
        for entry in crate::config::properties::parse(&format!("{LEAST}{}", texts.join("\n"))).unwrap() {
            settings.put(Source::File, &entry.key, &entry.value).unwrap();
        }
        build(settings, false).map_err(|problems| problems.to_string())
    }

    #[test]
    fn three_nodes_of_both_roles() {
        let config = start(&[THREE, MINE, BOTH]).unwrap().config;
        let quorum = config.quorum.unwrap();
        assert_eq!(quorum.voters[2], Voter { id: 3, host: "::1".into(), port: 39 });
        assert_eq!(quorum.voters[2].written(), "3@[::1]:39");
        assert_eq!(quorum.listener.unwrap().to_string(), "CONTROLLER://127.0.0.1:19");
        assert_eq!(quorum.advertised.unwrap().to_string(), "CONTROLLER://a:19");
        assert_eq!(config.listeners.len(), 1);
        assert_eq!((config.cluster.heartbeat_ms, config.cluster.session_ms), (250, 1200));
    }

    #[test]
    fn a_broker_alone_and_a_controller_alone() {
        let broker = "process.roles=broker\ncontroller.quorum.bootstrap.servers=b:29, c:39";
        let config = start(&[broker, "controller.listener.names=CONTROLLER"]).unwrap().config;
        let quorum = config.quorum.unwrap();
        assert_eq!(quorum.bootstrap, [("b".to_owned(), 29), ("c".to_owned(), 39)]);
        assert_eq!((config.roles, quorum.listener), (Roles { broker: true, controller: false }, None));
        let controller = "process.roles=controller\nlisteners=CONTROLLER://127.0.0.1:19";
        let config = start(&[THREE, MINE, controller]).unwrap().config;
        assert!(config.listeners.is_empty() && config.inter_broker_listener.is_empty());
        assert_eq!(config.roles, Roles { broker: false, controller: true });
    }

    #[test]
    fn what_does_not_agree_is_refused_with_the_next_step() {
        let moved = BOTH.replace(":19", ":20");
        let said = [
            (vec!["controller.quorum.voters=1@a"], "is not of the form ID@HOST:PORT"),
            (vec!["controller.quorum.voters=1@a:1,1@b:1"], "1@a:1 and 1@b:1 share an id or an address"),
            (vec!["controller.quorum.voters=2@a:1"], "does not name this node, 1: add it, correct node.id"),
            (vec![THREE], "controller.listener.names names none of `listeners`"),
            (vec![THREE, MINE, &moved], "1@a:19: make the ports agree"),
            (
                vec![THREE, MINE, BOTH, "advertised.listeners=PLAINTEXT://a:9092,CONTROLLER://x:19"],
                "controller.quorum.voters 1@a:19: make them agree",
            ),
            (
                vec![THREE, "process.roles=broker"],
                "names this node, 1, but process.roles=broker does not vote",
            ),
            (vec!["process.roles=broker"], "process.roles=broker has to know its controllers"),
            (vec!["process.roles=controller"], "process.roles=controller needs a listener"),
            (
                vec!["process.roles=controller", MINE, BOTH, THREE],
                "process.roles=controller serves no clients",
            ),
            (
                vec!["process.roles=broker", MINE, BOTH, "controller.quorum.bootstrap.servers=b:1"],
                "process.roles=broker has no controller: take it out of listeners",
            ),
            (vec![THREE, MINE, BOTH, "inter.broker.listener.name=CONTROLLER"], "is a controller's listener"),
            (vec!["controller.quorum.bootstrap.servers=9093"], "`9093` is not of the form HOST:PORT"),
            (vec!["broker.heartbeat.interval.ms=1200"], "would be fenced between two heartbeats"),
            (vec!["replica.fetch.wait.max.ms=30001"], "replica.lag.time.max.ms=30000 is less than"),
            (vec!["replica.selector.class=com.example.Mine"], "is a Java class, which is never loaded"),
        ];
        for (texts, expected) in said {
            let problem = start(&texts).map(|start| start.config.quorum).unwrap_err();
            assert!(problem.contains(expected), "{texts:?}: {problem}");
        }
    }

    #[test]
    fn the_rack_aware_selector_is_known_by_kafkas_name() {
        let class = "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector";
        assert!(start(&[class]).unwrap().config.cluster.rack_aware_fetch);
        assert!(!start(&[]).unwrap().config.cluster.rack_aware_fetch);
    }
}
