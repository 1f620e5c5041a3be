//! The network door over turmoil's simulated TCP.
//! It adds nothing but the journal: latency and failures are turmoil's.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use firnline::transport::dial::no_answer;
use firnline::transport::net::{Accepted, ListenOptions, Listener, Net, Stream};

use super::journal::Journal;

/// Opens sockets of the simulated network.
#[derive(Debug)]
pub struct SimNet(pub Journal);

struct SimListener {
    inner: turmoil::net::TcpListener,
    journal: Journal,
}

#[async_trait]
impl Net for SimNet {
    async fn listen(&self, address: SocketAddr, _options: &ListenOptions) -> io::Result<Box<dyn Listener>> {
        self.0.note("net", format_args!("listen {address}"));
        let inner = turmoil::net::TcpListener::bind(("0.0.0.0", address.port())).await?;
        Ok(Box::new(SimListener { inner, journal: self.0.clone() }))
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![SocketAddr::new(turmoil::lookup(host), port)])
    }

    async fn dial(&self, host: &str, port: u16, patience: Duration) -> io::Result<Stream> {
        self.0.note("net", format_args!("dial {host}:{port}"));
        let connected = tokio::time::timeout(patience, turmoil::net::TcpStream::connect((host, port))).await;
        Ok(Stream::Simulated(Box::new(connected.map_err(|_| no_answer(patience))??)))
    }
}

#[async_trait]
impl Listener for SimListener {
    async fn accept(&mut self) -> io::Result<Accepted> {
        let (stream, peer) = self.inner.accept().await?;
        self.journal.note("net", format_args!("accept {peer}"));
        Ok(Accepted::simulated(peer, Box::new(stream)))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}
