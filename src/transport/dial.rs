//! The way out of the network door: a connection from a node or a tool of ours to a broker.
//! It is not what is said on it. Invariant: a dial ends, however silent the other side is.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

/// Connects to `HOST:PORT` within `patience`, trying each address the name has. Nagle's delay is switched off.
#[allow(clippy::disallowed_methods, reason = "this is the door to the network")]
pub async fn dial(address: impl ToSocketAddrs, patience: Duration) -> io::Result<TcpStream> {
    let connected = timeout(patience, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| no_answer(patience))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Why a dial gave up.
pub fn no_answer(patience: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} ms", patience.as_millis()))
}
