//! The network door over turmoil's simulated TCP.
//! It adds nothing but the journal: latency and failures are turmoil's.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use firnline::transport::net::{Accepted, ListenOptions, Listener, Net};

use super::journal::Journal;

/// Binds sockets of the simulated network.
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
