//! Calls to other nodes of the cluster under the private api key, over a few kept connections to each.
//! It does not know what is said. Invariant: connections live on a runtime of their own, so that a call waits for its
//! peer and for nothing else: not for a serving core, not for a disk.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use firnline_controller::transport::{Address, LineEnd, Transport, TransportError};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use crate::transport::net::{Net, Stream};
use crate::transport::peer::{Head, PeerConnection, PeerError, PeerLimits};

/// Connections kept to one node while nobody uses them; more may be open while calls are under way.
const IDLE_MAX: usize = 4;
/// Nodes whose connections are kept.
const NODES_MAX: usize = 64;
/// What another node may answer at most: a part of a snapshot, or the entries of one append, with room to spare.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long a dial may take, however patient the call is.
const DIAL: Duration = Duration::from_millis(500);
/// The private key: see `wire/api_key`.
const NODE: Head = Head { key: 32100, version: 0, flexible: false };

/// Connections nobody uses now, by host and port.
type Idle = BTreeMap<(String, u16), Vec<PeerConnection>>;

/// The ways to all other nodes. A clone shares them.
#[derive(Clone)]
pub struct Nodes {
    net: Arc<dyn Net>,
    /// Where connections are driven.
    on: Handle,
    client_id: Arc<str>,
    idle: Arc<Mutex<Idle>>,
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").field("known", &self.idle.lock().len()).finish_non_exhaustive()
    }
}

impl Nodes {
    /// Nobody is dialled yet. `on` drives the connections.
    pub fn new(net: Arc<dyn Net>, on: Handle, node_id: i32) -> Nodes {
        Nodes { net, on, client_id: format!("node-{node_id}").into(), idle: Arc::default() }
    }

    /// Asks the node at `host:port`.
    ///
    /// # Errors
    /// [`PeerError`]; only [`PeerError::Unreachable`] says for certain that nothing was done.
    pub async fn ask(
        &self,
        host: &str,
        port: u16,
        request: Bytes,
        patience: Duration,
    ) -> Result<Bytes, PeerError> {
        let (nodes, host) = (self.clone(), host.to_owned());
        let to = format!("{host}:{port}");
        let work = async move {
            let mut connection = nodes.take(&host, port);
            let answer = connection.call(NODE, &[&request], patience).await;
            nodes.give_back(host, port, connection);
            answer
        };
        let stopped = |error| PeerError::Broken { to, source: std::io::Error::other(error) };
        // Who stops waiting gives up the call, and with it the connection: its answer would be another's.
        Abandoned(self.on.spawn(work)).await.map_err(stopped)?
    }

    fn take(&self, host: &str, port: u16) -> PeerConnection {
        let kept = self.idle.lock().get_mut(&(host.to_owned(), port)).and_then(Vec::pop);
        kept.unwrap_or_else(|| {
            let limits = PeerLimits { dial: DIAL, answer_bytes_max: ANSWER_BYTES_MAX };
            PeerConnection::new(self.net.clone(), host, port, &self.client_id, limits)
        })
    }

    /// Keeps a connection, also one that failed: it knows how long to leave its node alone.
    fn give_back(&self, host: String, port: u16, connection: PeerConnection) {
        let mut idle = self.idle.lock();
        if !connection.is_connected() {
            // Its siblings lead to the same process, which has most likely gone: they would only fail one by one.
            idle.remove(&(host.clone(), port));
        }
        if idle.len() >= NODES_MAX && !idle.contains_key(&(host.clone(), port)) {
            return;
        }
        let kept = idle.entry((host, port)).or_default();
        if kept.len() < IDLE_MAX {
            kept.push(connection);
        }
    }
}

/// A task that ends when nobody waits for it any more.
struct Abandoned<T>(JoinHandle<T>);

impl<T> Future for Abandoned<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get_mut().0).poll(cx)
    }
}

impl<T> Drop for Abandoned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Transport for Nodes {
    fn call(
        &self,
        to: &Address,
        request: Bytes,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (nodes, Address { host, port }) = (self.clone(), to.clone());
        Box::pin(async move {
            nodes.ask(&host, port, request, patience).await.map_err(|error| match error {
                PeerError::Unreachable { .. } => TransportError::Unreachable(error.to_string()),
                PeerError::Broken { .. } | PeerError::Silent { .. } | PeerError::NotKafka { .. } => {
                    TransportError::Lost(error.to_string())
                }
            })
        })
    }

    fn line(&self, to: &Address) -> BoxFuture<'static, LineEnd> {
        let (net, Address { host, port }) = (self.net.clone(), to.clone());
        let held = Abandoned(self.on.spawn(async move { hold(&*net, &host, port).await }));
        Box::pin(async move { held.await.unwrap_or_else(|error| LineEnd::Unknown(error.to_string())) })
    }
}

/// Connects, and waits for the end. A name of several addresses refuses only if each of them does: one that is of
/// another machine says nothing about the others.
async fn hold(net: &dyn Net, host: &str, port: u16) -> LineEnd {
    let addresses = match net.resolve(host, port).await {
        Ok(addresses) => addresses,
        Err(error) => return LineEnd::Unknown(error.to_string()),
    };
    let mut unknown = addresses.is_empty().then(|| "the name has no address".to_owned());
    for address in addresses {
        match net.dial(&address.ip().to_string(), address.port(), DIAL).await {
            Ok(stream) => return stands(stream).await,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => unknown = Some(error.to_string()),
        }
    }
    unknown.map_or(LineEnd::Refused, LineEnd::Unknown)
}

/// A reset and an orderly end tell the same: the other side has closed its socket.
async fn stands(mut stream: Stream) -> LineEnd {
    match stream.read(&mut [0; 1]).await {
        Ok(0) | Err(_) => LineEnd::Broken,
        Ok(_) => LineEnd::Unknown("it speaks without being asked".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::net::{ListenOptions, OsNet};
    use tokio::io::AsyncWriteExt;

    async fn serve_one(listener: &mut Box<dyn crate::transport::net::Listener>, answers: usize) -> usize {
        let mut stream = listener.accept().await.unwrap().attach().unwrap();
        for _ in 0..answers {
            let size = stream.read_i32().await.unwrap();
            let mut frame = vec![0; usize::try_from(size).unwrap()];
            stream.read_exact(&mut frame).await.unwrap();
            assert_eq!(frame[..4], [0x7d, 0x64, 0, 0], "the private key, version 0");
            assert!(frame.ends_with(b"\0\x06node-7ask"));
            stream.write_all(&[&7i32.to_be_bytes()[..], &frame[4..8], b"yes"].concat()).await.unwrap();
        }
        answers
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_a_dead_one_is_not() {
        let options = ListenOptions { backlog: 8, send_buffer: None, receive_buffer: None };
        let mut listener = OsNet.listen(([127, 0, 0, 1], 0).into(), &options).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let nodes = Nodes::new(Arc::new(OsNet), Handle::current(), 7);
        let to = Address { host: "127.0.0.1".into(), port };
        let ask = || nodes.call(&to, Bytes::from_static(b"ask"), Duration::from_secs(5));
        // Two calls over one connection; then it ends, which the third call only learns by trying.
        let serve = tokio::spawn(async move { (serve_one(&mut listener, 2).await, listener) });
        assert_eq!((ask().await.unwrap(), ask().await.unwrap()), ("yes".into(), "yes".into()));
        let (_, mut listener) = serve.await.unwrap();
        assert!(matches!(ask().await, Err(TransportError::Lost(_))));
        let serve = tokio::spawn(async move { serve_one(&mut listener, 1).await });
        assert_eq!(ask().await.unwrap(), "yes");
        serve.await.unwrap();
        assert!(matches!(ask().await, Err(TransportError::Lost(_))));
        assert!(matches!(ask().await, Err(TransportError::Unreachable(_))));
    }
    #[tokio::test]
    async fn a_line_tells_that_the_other_side_has_gone_and_then_that_nobody_is_there() {
        let options = ListenOptions { backlog: 8, send_buffer: None, receive_buffer: None };
        let mut listener = OsNet.listen(([127, 0, 0, 1], 0).into(), &options).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let nodes = Nodes::new(Arc::new(OsNet), Handle::current(), 7);
        let to = Address { host: "127.0.0.1".into(), port };
        let line = tokio::spawn(nodes.line(&to));
        let stream = listener.accept().await.unwrap().attach().unwrap();
        tokio::task::yield_now().await;
        assert!(!line.is_finished(), "it stands while the other side does");
        drop(stream);
        assert_eq!(line.await.unwrap(), LineEnd::Broken);
        drop(listener);
        assert_eq!(nodes.line(&to).await, LineEnd::Refused);
        let nowhere = Address { host: "no.such.host.invalid".into(), port };
        assert!(
            matches!(nodes.line(&nowhere).await, LineEnd::Unknown(_)),
            "a name that is gone proves nothing"
        );
    }
}
