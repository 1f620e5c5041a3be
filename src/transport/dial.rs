//! The way out of the network door: a connection from a tool of ours to a broker.
//! It is not used by the broker itself. Invariant: a dial ends, however silent the other side is.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// Connects to `HOST:PORT` within `patience`, trying each address the name has. Nagle's delay is switched off.
#[allow(clippy::disallowed_methods, reason = "this is the door to the network")]
pub async fn dial(address: &str, patience: Duration) -> io::Result<TcpStream> {
    let connected = timeout(patience, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| {
        io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", patience.as_secs()))
    })??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
