//! The door to other nodes: opaque bytes out, opaque bytes back. Not what they say (`rpc.rs`, `quorum/raft_codec.rs`)
//! and no socket (floor 4 has those). Invariant: an error says whether the other node may have seen the request.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// Where a node takes calls of other nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The request was not sent: the other node has not seen it.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The request may have been received and done; no answer came, or not in time.
    #[error("no answer: {0}")]
    Lost(String),
}

/// How a line to another node ended, or why there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineEnd {
    /// There was none: every address of the other host answered that nobody listens there.
    Refused,
    /// It stood, and the other side ended it.
    Broken,
    /// There was none, and nothing is known: no answer, no such name, no way there.
    Unknown(String),
}

/// Carries a request to another node and its answer back.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Calls the node at `to`, which hands `request` to [`crate::client::Controller::answer_peer`]. Gives up after
    /// `patience`; dropping the future gives up at once.
    fn call(
        &self,
        to: &Address,
        request: Bytes,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;

    /// Holds a connection to the node at `to` on which nothing is said, until it ends: when a process ends, however it
    /// does, its machine ends its connections at once. Always a new connection, so that a refusal is news. Dropping
    /// the future ends it.
    fn line(&self, to: &Address) -> BoxFuture<'static, LineEnd>;
}

/// The transport of a node that has no other to call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl Transport for Nowhere {
    fn call(&self, to: &Address, _: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let why = TransportError::Unreachable(format!("{to}: this node has no way to call others"));
        Box::pin(async { Err(why) })
    }

    fn line(&self, to: &Address) -> BoxFuture<'static, LineEnd> {
        let why = format!("{to}: this node has no way to call others");
        Box::pin(async { LineEnd::Unknown(why) })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A text that is not `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an address reads host:port, not {0:?}")]
pub struct NotAnAddress(pub String);

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let refuse = || NotAnAddress(text.chars().take(300).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || (bare.is_none() && host.contains(':')) {
            return Err(refuse());
        }
        Ok(Address { host: host.to_owned(), port: port.parse().map_err(|_| refuse())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_print() {
        for text in ["broker-1.example:9093", "10.0.0.1:1", "[::1]:65535"] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "host", ":9093", "host:", "host:65536", "::1:9093", "[]:1"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
