//! Listeners as an operator writes them: `NAME://HOST:PORT` lists and the protocol map.
//! It is not a socket: nothing is resolved or bound here. Only PLAINTEXT exists until TLS and SASL are built, and a
//! listener mapped to anything else is refused, so that nobody believes in a protection that is not there.

use std::fmt;

use thiserror::Error;

/// One `NAME://HOST:PORT` of `listeners` or `advertised.listeners`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Upper-case listener name, unique within its list, e.g. `PLAINTEXT`.
    pub name: String,
    /// Host name or address; empty means every address of this machine (`0.0.0.0`). IPv6 without brackets.
    pub host: String,
    /// TCP port; 0 asks the kernel for a free one (tests and `--dev`).
    pub port: u16,
}

impl Endpoint {
    /// True when a socket bound here hears every network this machine is in.
    pub fn is_every_interface(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }

    /// `host:port`, bracketed for IPv6, with the wildcard spelled out: what a socket binds to.
    pub fn socket_address(&self) -> String {
        let host = if self.host.is_empty() { "0.0.0.0" } else { &self.host };
        if host.contains(':') { format!("[{host}]:{}", self.port) } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.name)?;
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a listener list cannot be used. Each text stands alone, without the key's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ListenerError {
    /// Not of the form `NAME://HOST:PORT`.
    #[error("`{0}` is not of the form NAME://HOST:PORT, for example PLAINTEXT://127.0.0.1:9092")]
    Form(String),
    /// Two listeners share a name or a port.
    #[error("{0} is used by two listeners")]
    Twice(String),
    /// The protocol map says nothing about this name.
    #[error("listener {0} has no entry in listener.security.protocol.map; add {0}:PLAINTEXT")]
    Unmapped(String),
    /// The map names a protocol we do not speak yet.
    #[error("listener {name} is mapped to {protocol}: TLS and SASL are not built yet, only PLAINTEXT is")]
    Protocol {
        /// Listener name.
        name: String,
        /// What the map says, e.g. `SASL_SSL`.
        protocol: String,
    },
    /// A clients' address nobody can connect to.
    #[error("{0} cannot be advertised: clients cannot connect to 0.0.0.0 or to port 0")]
    Unreachable(Endpoint),
    /// A name in one list that the other does not know.
    #[error("{0} is not a name in `listeners`")]
    NotAListener(String),
}

/// At most this many listeners: each costs a socket and a line in every Metadata answer.
pub const LISTENERS_MAX: usize = 64;

/// Reads a comma-separated list of endpoints; blanks around entries and empty entries are ignored.
pub fn parse_endpoints(text: &str) -> Result<Vec<Endpoint>, ListenerError> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let endpoint = parse_endpoint(entry)?;
        if endpoints.iter().any(|other| other.name == endpoint.name) || endpoints.len() == LISTENERS_MAX {
            return Err(ListenerError::Twice(format!("name {}", endpoint.name)));
        }
        if endpoint.port != 0
            && endpoints.iter().any(|other| other.port == endpoint.port && other.host == endpoint.host)
        {
            return Err(ListenerError::Twice(format!("address {}", endpoint.socket_address())));
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
}

fn parse_endpoint(entry: &str) -> Result<Endpoint, ListenerError> {
    let form = || ListenerError::Form(entry.to_owned());
    let (name, address) = entry.split_once("://").ok_or_else(form)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(form)?;
    let host = match (host.strip_prefix('['), host.strip_suffix(']')) {
        (Some(_), Some(_)) => &host[1..host.len() - 1],
        (None, None) if !host.contains(':') => host,
        _ => return Err(form()),
    };
    let name_ok =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let host_ok = !host.chars().any(|c| c.is_whitespace() || c == '/');
    let port = port.parse::<u16>().map_err(|_| form())?;
    if !name_ok || !host_ok {
        return Err(form());
    }
    Ok(Endpoint { name: name.to_ascii_uppercase(), host: host.to_owned(), port })
}

/// Reads `NAME:PROTOCOL,...` into pairs, names in upper case, in the order given.
pub fn parse_protocol_map(text: &str) -> Result<Vec<(String, String)>, ListenerError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (name, protocol) = entry.split_once(':').ok_or_else(|| ListenerError::Form(entry.to_owned()))?;
        let (name, protocol) = (name.trim().to_ascii_uppercase(), protocol.trim().to_ascii_uppercase());
        if pairs.iter().any(|(other, _)| *other == name) {
            return Err(ListenerError::Twice(format!("name {name} in the protocol map")));
        }
        pairs.push((name, protocol));
    }
    Ok(pairs)
}

/// Refuses a listener whose protocol we do not speak. Every name in `names` must be mapped.
pub fn check_protocols<'a>(
    names: impl IntoIterator<Item = &'a str>,
    map: &[(String, String)],
) -> Result<(), ListenerError> {
    for name in names {
        match map.iter().find(|(mapped, _)| mapped == name) {
            None => return Err(ListenerError::Unmapped(name.to_owned())),
            Some((_, protocol)) if protocol != "PLAINTEXT" => {
                return Err(ListenerError::Protocol { name: name.to_owned(), protocol: protocol.clone() });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(name: &str, host: &str, port: u16) -> Endpoint {
        Endpoint { name: name.into(), host: host.into(), port }
    }

    #[test]
    fn reads_names_hosts_and_ports() {
        let read =
            parse_endpoints("plaintext://:9092, EXTERNAL://broker-1.lan:9094,V6://[::1]:9095").unwrap();
        assert_eq!(
            read,
            vec![
                endpoint("PLAINTEXT", "", 9092),
                endpoint("EXTERNAL", "broker-1.lan", 9094),
                endpoint("V6", "::1", 9095)
            ]
        );
        assert_eq!(read[0].socket_address(), "0.0.0.0:9092");
        assert_eq!(read[2].socket_address(), "[::1]:9095");
        assert!(read[0].is_every_interface() && !read[1].is_every_interface());
        let again: Vec<String> = read.iter().map(Endpoint::to_string).collect();
        assert_eq!(parse_endpoints(&again.join(",")).unwrap(), read);
    }

    #[test]
    fn refuses_what_is_not_a_listener() {
        for bad in [
            "9092",
            "PLAINTEXT:9092",
            "PLAINTEXT://host",
            "P://h:70000",
            "://h:1",
            "P://a b:1",
            "P://[::1:1",
            "P://::1:1",
        ] {
            assert_eq!(parse_endpoints(bad), Err(ListenerError::Form(bad.to_owned())), "{bad}");
        }
        assert!(matches!(parse_endpoints("A://h:1,a://h:2"), Err(ListenerError::Twice(_))));
        assert!(matches!(parse_endpoints("A://h:1,B://h:1"), Err(ListenerError::Twice(_))));
        assert_eq!(parse_endpoints("A://h:0,B://h:0").unwrap().len(), 2);
    }

    #[test]
    fn only_plaintext_is_spoken() {
        let map = parse_protocol_map("PLAINTEXT:PLAINTEXT, edge:sasl_ssl").unwrap();
        assert_eq!(check_protocols(["PLAINTEXT"], &map), Ok(()));
        assert_eq!(
            check_protocols(["EDGE"], &map).unwrap_err().to_string(),
            "listener EDGE is mapped to SASL_SSL: TLS and SASL are not built yet, only PLAINTEXT is"
        );
        assert_eq!(check_protocols(["X"], &map), Err(ListenerError::Unmapped("X".into())));
    }
}
