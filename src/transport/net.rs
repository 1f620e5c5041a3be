//! The network door: the only place of the broker that binds a port, accepts a connection or opens one.
//! It is not the framing of requests (`frame.rs`) and not a policy about who may connect (`server/listener.rs`).
//! Invariant: a connection belongs to the runtime that attached it, so it travels between cores only detached.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use firnline_tiering::hot::syscall::set_receive_low_water;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::transport::dial::dial;

/// Opens sockets: the machine's own, or a simulated network's.
#[async_trait]
pub trait Net: Send + Sync + Debug {
    /// Binds `address` and listens on it. A port of 0 picks a free one.
    async fn listen(&self, address: SocketAddr, options: &ListenOptions) -> io::Result<Box<dyn Listener>>;
    /// The addresses a name stands for, at least one.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
    /// Connects to another node within `patience`; the connection belongs to the runtime that asked. A host is a name
    /// or an address, IPv6 without brackets.
    async fn dial(&self, host: &str, port: u16, patience: Duration) -> io::Result<Stream>;
}

/// How a listening socket is set up; accepted connections inherit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections the kernel completes while the accept loop is busy.
    pub backlog: u32,
    /// Send buffer, bytes; `None` = the kernel's choice.
    pub send_buffer: Option<usize>,
    /// Receive buffer, bytes; `None` = the kernel's choice.
    pub receive_buffer: Option<usize>,
}

/// A bound, listening socket.
#[async_trait]
pub trait Listener: Send {
    /// Waits for the next connection.
    async fn accept(&mut self) -> io::Result<Accepted>;
    /// The address that was really bound, with the port the kernel chose for port 0.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A connection on its way from the listener to the core that will serve it.
pub struct Accepted {
    /// Who connected.
    pub peer: SocketAddr,
    socket: Socket,
}

enum Socket {
    /// A kernel socket, bound to no runtime yet.
    Kernel(std::net::TcpStream),
    /// A simulated one: it lives in the one runtime there is.
    Simulated(Box<dyn Duplex>),
}

/// What a simulated connection must be able to do.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Accepted {
    /// A connection of a simulated network.
    pub fn simulated(peer: SocketAddr, stream: Box<dyn Duplex>) -> Self {
        Self { peer, socket: Socket::Simulated(stream) }
    }

    /// Registers the connection with the current runtime. Nagle's delay is switched off.
    pub fn attach(self) -> io::Result<Stream> {
        match self.socket {
            Socket::Kernel(socket) => {
                let socket = tokio::net::TcpStream::from_std(socket)?;
                socket.set_nodelay(true)?;
                Ok(Stream::Kernel(socket))
            }
            Socket::Simulated(stream) => Ok(Stream::Simulated(stream)),
        }
    }
}

/// A connection attached to the core that serves it.
pub enum Stream {
    /// A kernel socket: sendfile is possible.
    Kernel(tokio::net::TcpStream),
    /// A simulated one: every byte is copied.
    Simulated(Box<dyn Duplex>),
}

impl Stream {
    /// Waits until a read has something to answer. A simulated connection is always asked directly.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Kernel(socket) => std::future::poll_fn(|cx| socket.poll_read_ready(cx)).await,
            Stream::Simulated(_) => Ok(()),
        }
    }

    /// Has the kernel report the connection as readable only once `bytes` have arrived (at least 1), or the other side
    /// has ended. The kernel takes less where its own buffer is smaller; a read answers whatever is there.
    pub fn set_low_water(&self, bytes: usize) -> io::Result<()> {
        let Stream::Kernel(socket) = self else { return Ok(()) };
        if bytes > 1 {
            // Forgets that there was something to read. Nothing is lost: when told the new mark, the kernel reports
            // again what has arrived already.
            let forget: io::Result<()> =
                socket.try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
            debug_assert!(forget.is_err());
        }
        set_receive_low_water(socket.as_fd(), bytes)
    }

    /// While corked the kernel sends full packets only (TCP_CORK), for at most 200 ms; what is left goes out when the cork
    /// comes off. A simulated connection has no packets.
    pub fn cork(&self, corked: bool) -> io::Result<()> {
        match self {
            Stream::Kernel(socket) => Ok(rustix::net::sockopt::set_tcp_cork(socket, corked)?),
            Stream::Simulated(_) => Ok(()),
        }
    }

    /// Waits until a write may take something. A simulated connection is always asked directly.
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Stream::Kernel(socket) => socket.writable().await,
            Stream::Simulated(_) => Ok(()),
        }
    }

    /// Runs one non-blocking system call on the kernel socket as soon as it is writable; `None` when there is no
    /// kernel socket and the caller has to copy.
    pub fn poll_syscall<R>(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut(&tokio::net::TcpStream) -> io::Result<R>,
    ) -> Option<Poll<io::Result<R>>> {
        let Stream::Kernel(socket) = self else { return None };
        loop {
            match socket.poll_write_ready(cx) {
                Poll::Pending => return Some(Poll::Pending),
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Ready(Ok(())) => {}
            }
            match socket.try_io(Interest::WRITABLE, || call(socket)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => return Some(Poll::Ready(outcome)),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Kernel(socket) => Pin::new(socket).poll_read(cx, buf),
            Stream::Simulated(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Kernel(socket) => Pin::new(socket).poll_write(cx, buf),
            Stream::Simulated(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Kernel(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Stream::Simulated(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Kernel(socket) => socket.is_write_vectored(),
            Stream::Simulated(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Kernel(socket) => Pin::new(socket).poll_flush(cx),
            Stream::Simulated(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Kernel(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Simulated(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The machine's own network.
#[derive(Debug, Default)]
pub struct OsNet;

struct OsListener(tokio::net::TcpListener);

#[async_trait]
impl Net for OsNet {
    /// SO_REUSEADDR is set (a restart must not wait for TIME_WAIT), SO_REUSEPORT is not: a second process on the
    /// same port has to fail instead of taking half of the connections.
    async fn listen(&self, address: SocketAddr, options: &ListenOptions) -> io::Result<Box<dyn Listener>> {
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        options.send_buffer.map_or(Ok(()), |bytes| socket.set_send_buffer_size(size(bytes)))?;
        options.receive_buffer.map_or(Ok(()), |bytes| socket.set_recv_buffer_size(size(bytes)))?;
        socket.bind(address)?;
        Ok(Box::new(OsListener(socket.listen(options.backlog)?)))
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(found)
    }

    async fn dial(&self, host: &str, port: u16, patience: Duration) -> io::Result<Stream> {
        dial((host, port), patience).await.map(Stream::Kernel)
    }
}

#[async_trait]
impl Listener for OsListener {
    async fn accept(&mut self) -> io::Result<Accepted> {
        let (socket, peer) = self.0.accept().await?;
        Ok(Accepted { peer, socket: Socket::Kernel(socket.into_std()?) })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Writes all of `slices` with as few system calls as the socket allows: one when its buffer has room.
pub async fn write_all_vectored(stream: &mut Stream, slices: &mut [&[u8]]) -> io::Result<usize> {
    let total = slices.iter().map(|slice| slice.len()).sum();
    let mut left: usize = total;
    let mut first = advance(slices, 0, 0);
    while left > 0 {
        let wrote = std::future::poll_fn(|cx| {
            if slices[first].len() == left {
                // The last one: the kernel has less to do for bytes in one place.
                return Pin::new(&mut *stream).poll_write(cx, slices[first]);
            }
            let mut vectors = [io::IoSlice::new(&[]); MAX_VECTORS];
            let count = slices[first..].len().min(MAX_VECTORS);
            for (vector, slice) in vectors.iter_mut().zip(&slices[first..]) {
                *vector = io::IoSlice::new(slice);
            }
            let wrote = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &vectors[..count]))?;
            Poll::Ready(Ok::<usize, io::Error>(wrote))
        })
        .await?;
        if wrote == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        left -= wrote;
        first = advance(slices, first, wrote);
    }
    Ok(total)
}

/// Slices given to one writev; the kernel takes at most 1024.
const MAX_VECTORS: usize = 64;

/// Drops `wrote` bytes from the front of `slices[first..]`; answers the first slice with bytes left.
fn advance(slices: &mut [&[u8]], mut first: usize, mut wrote: usize) -> usize {
    while first < slices.len() && wrote >= slices[first].len() {
        wrote -= slices[first].len();
        first += 1;
    }
    if wrote > 0 {
        slices[first] = &slices[first][wrote..];
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn advance_skips_whole_slices_and_cuts_the_next() {
        let mut slices: Vec<&[u8]> = vec![b"abc", b"", b"defg", b"h"];
        let first = advance(&mut slices, 0, 5);
        assert_eq!((first, slices[first]), (2, &b"fg"[..]));
        let first = advance(&mut slices, first, 3);
        assert_eq!(first, slices.len());
    }

    /// A client's socket and the connection as the door hands it out.
    async fn pair() -> (tokio::net::TcpStream, Stream) {
        let options = ListenOptions { backlog: 8, send_buffer: None, receive_buffer: None };
        let mut listener = OsNet.listen(([127, 0, 0, 1], 0).into(), &options).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let client = dial(&address, std::time::Duration::from_secs(5)).await.unwrap();
        (client, listener.accept().await.unwrap().attach().unwrap())
    }

    /// Whether a read has something to answer once everything that was sent has arrived.
    async fn is_readable(stream: &Stream) -> bool {
        for _ in 0..100 {
            tokio::task::yield_now().await;
            if stream.readable().now_or_never().is_some() {
                return true;
            }
        }
        false
    }

    #[tokio::test]
    async fn below_the_low_water_mark_nothing_is_readable_and_what_lies_there_shows_when_it_falls() {
        let (mut client, mut stream) = pair().await;
        client.write_all(b"head").await.unwrap();
        stream.readable().await.unwrap();
        assert_eq!(stream.read(&mut [0; 100]).await.unwrap(), 4);
        stream.set_low_water(1000).unwrap();
        client.write_all(&[1; 999]).await.unwrap();
        assert!(!is_readable(&stream).await);
        client.write_all(&[1; 1]).await.unwrap();
        stream.readable().await.unwrap();
        // As much is there as is waited for: telling the kernel reports it again.
        stream.set_low_water(1000).unwrap();
        stream.readable().await.unwrap();
        stream.set_low_water(1001).unwrap();
        assert!(!is_readable(&stream).await);
        stream.set_low_water(1).unwrap();
        stream.readable().await.unwrap();
        assert_eq!(stream.read(&mut [0; 2000]).await.unwrap(), 1000);
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_seen_below_the_mark() {
        let (mut client, mut stream) = pair().await;
        stream.set_low_water(1000).unwrap();
        client.write_all(b"half").await.unwrap();
        drop(client);
        stream.readable().await.unwrap();
        assert_eq!(stream.read(&mut [0; 100]).await.unwrap(), 4);
        assert_eq!(stream.read(&mut [0; 100]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_taken_port_is_refused() {
        let options = ListenOptions { backlog: 8, send_buffer: None, receive_buffer: Some(1 << 16) };
        let first = OsNet.listen(([127, 0, 0, 1], 0).into(), &options).await.unwrap();
        let second = OsNet.listen(first.local_addr().unwrap(), &options).await;
        assert_eq!(second.err().map(|e| e.kind()), Some(io::ErrorKind::AddrInUse));
    }
}
