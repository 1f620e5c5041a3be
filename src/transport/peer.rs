//! A connection from this node to another one: dialled when first needed and again after every failure, one request
//! at a time. It knows Kafka's frames and correlation ids, not what a request means.
//! Invariant: after any failure the connection is gone, so an answer is never taken for another request's.
//!
//! ```text
//! size i32 | key i16 | version i16 | correlation id i32 | client id (i16 length, bytes) | [no tags 00] | body
//! size i32 | correlation id i32 | [tags] body
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::transport::frame::{FrameError, FrameReader};
use crate::transport::net::{Net, Stream};

/// Pause after a first failed dial; it doubles.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest pause between two dials.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Why another node did not answer. The next call dials again.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It could not be connected to.
    #[error("{to} cannot be reached: {source}")]
    Unreachable {
        /// `HOST:PORT`.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// The connection ended before the answer.
    #[error("the connection to {to} broke: {source}")]
    Broken {
        /// `HOST:PORT`.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// It said nothing for too long.
    #[error("{to} did not answer within {} ms", patience.as_millis())]
    Silent {
        /// `HOST:PORT`.
        to: String,
        /// How long was waited.
        patience: Duration,
    },
    /// What came back is no answer.
    #[error("{to} answers what is not Kafka's: {why}")]
    NotKafka {
        /// `HOST:PORT`.
        to: String,
        /// What is wrong.
        why: String,
    },
}

/// What stands in front of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Api key.
    pub key: i16,
    /// Version of the body.
    pub version: i16,
    /// Whether that version has tags in its headers (request header v2).
    pub flexible: bool,
}

/// How long the parts of a call may take, and how large an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLimits {
    /// For connecting.
    pub dial: Duration,
    /// Largest answer, bytes; memory grows only as they arrive.
    pub answer_bytes_max: usize,
}

/// The way to one other node.
pub struct PeerConnection {
    net: Arc<dyn Net>,
    host: String,
    port: u16,
    client_id: String,
    limits: PeerLimits,
    link: Option<Link>,
    next_id: i32,
    /// No dial before this; and the pause that led there.
    not_before: Option<(Instant, Duration)>,
}

struct Link {
    stream: Stream,
    frames: FrameReader,
}

impl PeerConnection {
    /// Nothing is dialled yet. `client_id` is what the other side sees in its log, at most 32,767 bytes.
    pub fn new(
        net: Arc<dyn Net>,
        host: &str,
        port: u16,
        client_id: &str,
        limits: PeerLimits,
    ) -> PeerConnection {
        PeerConnection {
            net,
            host: host.to_owned(),
            port,
            client_id: client_id.to_owned(),
            limits,
            link: None,
            next_id: 0,
            not_before: None,
        }
    }

    /// `HOST:PORT`.
    pub fn to(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether a connection stands, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Ends the connection; the next call dials again.
    pub fn close(&mut self) {
        self.link = None;
    }

    /// Sends a request, whose body is `parts` one after the other, and waits for its answer: the bytes behind the
    /// correlation id, so that the answer of a flexible version begins with its header's tags. Dialling, and a pause
    /// before it, count into `patience`. Dropping the future ends the connection.
    ///
    /// # Errors
    /// [`PeerError`]. Whether the other side has acted on the request is not known then, unless it is
    /// [`PeerError::Unreachable`].
    pub async fn call(
        &mut self,
        head: Head,
        parts: &[&[u8]],
        patience: Duration,
    ) -> Result<Bytes, PeerError> {
        let until = Instant::now() + patience;
        // Taken out for the time of the call: whatever ends it, a half-read connection is not used again.
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.open(until).await?,
        };
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let frame = self.frame(head, id, parts)?;
        let answer = match timeout_at(until, exchange(&mut link, &frame)).await {
            Ok(outcome) => outcome.map_err(|failed| self.explain(failed))?,
            Err(_) => return Err(PeerError::Silent { to: self.to(), patience }),
        };
        let answer = self.belongs(answer, id)?;
        self.link = Some(link);
        Ok(answer)
    }

    async fn open(&mut self, until: Instant) -> Result<Link, PeerError> {
        let pause = match self.not_before {
            Some((at, pause)) => {
                if at >= until {
                    let source = io::Error::new(io::ErrorKind::NotConnected, "it failed a moment ago");
                    return Err(PeerError::Unreachable { to: self.to(), source });
                }
                sleep_until(at).await;
                pause
            }
            None => Duration::ZERO,
        };
        let patience = self.limits.dial.min(until.saturating_duration_since(Instant::now()));
        match self.net.dial(&self.host, self.port, patience).await {
            Ok(stream) => {
                self.not_before = None;
                Ok(Link { stream, frames: FrameReader::new(self.limits.answer_bytes_max) })
            }
            Err(source) => {
                let pause = (pause * 2).clamp(PAUSE, PAUSE_MAX);
                self.not_before = Some((Instant::now() + pause, pause));
                Err(PeerError::Unreachable { to: self.to(), source })
            }
        }
    }

    fn frame(&self, head: Head, id: i32, parts: &[&[u8]]) -> Result<BytesMut, PeerError> {
        let body: usize = parts.iter().map(|part| part.len()).sum();
        let size = 2 + 2 + 4 + 2 + self.client_id.len() + usize::from(head.flexible) + body;
        let too_large =
            |what: &str| PeerError::NotKafka { to: self.to(), why: format!("our {what} is too large") };
        let mut frame = BytesMut::with_capacity(4 + size);
        frame.put_i32(i32::try_from(size).map_err(|_| too_large("request"))?);
        frame.put_i16(head.key);
        frame.put_i16(head.version);
        frame.put_i32(id);
        frame.put_i16(i16::try_from(self.client_id.len()).map_err(|_| too_large("client id"))?);
        frame.put_slice(self.client_id.as_bytes());
        if head.flexible {
            frame.put_u8(0);
        }
        parts.iter().for_each(|part| frame.put_slice(part));
        Ok(frame)
    }

    fn explain(&self, failed: Failed) -> PeerError {
        match failed {
            Failed::Io(source) => PeerError::Broken { to: self.to(), source },
            Failed::Frame(error) => PeerError::NotKafka { to: self.to(), why: error.to_string() },
        }
    }

    /// Takes the correlation id off an answer.
    fn belongs(&self, mut answer: Bytes, id: i32) -> Result<Bytes, PeerError> {
        let wrong = |why: String| PeerError::NotKafka { to: self.to(), why };
        if answer.len() < 4 {
            return Err(wrong(format!("an answer of {} bytes", answer.len())));
        }
        match answer.get_i32() {
            found if found == id => Ok(answer),
            found => Err(wrong(format!("it answers {found} where {id} was asked"))),
        }
    }
}

enum Failed {
    Io(io::Error),
    Frame(FrameError),
}

async fn exchange(link: &mut Link, frame: &[u8]) -> Result<Bytes, Failed> {
    link.stream.write_all(frame).await.map_err(Failed::Io)?;
    loop {
        if let Some(answer) = link.frames.next_frame().map_err(Failed::Frame)? {
            return Ok(answer.freeze());
        }
        let mut space = link.frames.space();
        if link.stream.read_buf(&mut space).await.map_err(Failed::Io)? == 0 {
            return Err(Failed::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::net::SocketAddr;

    use async_trait::async_trait;
    use parking_lot::Mutex;
    use tokio::io::DuplexStream;

    use crate::transport::net::{ListenOptions, Listener};

    const HEAD: Head = Head { key: 3, version: 9, flexible: true };
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Hands out prepared connections; dials beyond them are refused.
    #[derive(Debug, Default)]
    struct Prepared {
        ready: Mutex<VecDeque<DuplexStream>>,
        dials: Mutex<Vec<Instant>>,
    }

    #[async_trait]
    impl Net for Prepared {
        async fn listen(&self, _: SocketAddr, _: &ListenOptions) -> io::Result<Box<dyn Listener>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        async fn dial(&self, _: &str, _: u16, _: Duration) -> io::Result<Stream> {
            self.dials.lock().push(Instant::now());
            let next = self.ready.lock().pop_front();
            next.map(|stream| Stream::Simulated(Box::new(stream)))
                .ok_or(io::ErrorKind::ConnectionRefused.into())
        }
    }

    fn setting(connections: usize) -> (PeerConnection, Vec<DuplexStream>, Arc<Prepared>) {
        let net = Arc::new(Prepared::default());
        let theirs = (0..connections).map(|_| {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            net.ready.lock().push_back(ours);
            theirs
        });
        let theirs = theirs.collect();
        let limits = PeerLimits { dial: PATIENCE, answer_bytes_max: 100 };
        (PeerConnection::new(net.clone(), "::1", 9, "me", limits), theirs, net)
    }

    async fn request(stream: &mut DuplexStream) -> Vec<u8> {
        let size = stream.read_i32().await.unwrap();
        let mut frame = vec![0; size as usize];
        stream.read_exact(&mut frame).await.unwrap();
        frame
    }

    async fn answer(stream: &mut DuplexStream, id: i32, body: &[u8]) {
        stream.write_i32(4 + body.len() as i32).await.unwrap();
        stream.write_i32(id).await.unwrap();
        stream.write_all(body).await.unwrap();
    }

    #[tokio::test]
    async fn requests_have_kafkas_header_and_answers_lose_only_the_correlation_id() {
        let (mut peer, mut theirs, net) = setting(1);
        let mut other = theirs.remove(0);
        let serve = tokio::spawn(async move {
            assert_eq!(request(&mut other).await, b"\0\x03\0\x09\0\0\0\0\0\x02me\0one");
            answer(&mut other, 0, b"\0first").await;
            assert_eq!(request(&mut other).await, b"\0\x03\0\x09\0\0\0\x01\0\x02me\0");
            answer(&mut other, 1, b"").await;
        });
        assert_eq!(peer.call(HEAD, &[b"o", b"ne"], PATIENCE).await.unwrap()[..], b"\0first"[..]);
        assert_eq!(peer.call(HEAD, &[], PATIENCE).await.unwrap().len(), 0);
        serve.await.unwrap();
        assert_eq!((net.dials.lock().len(), peer.to()), (1, "[::1]:9".to_owned()));
    }

    #[tokio::test]
    async fn whatever_goes_wrong_ends_the_connection_and_the_next_call_dials_again() {
        let (mut peer, theirs, net) = setting(4);
        let serve = tokio::spawn(async move {
            let [mut stranger, mut huge, gone, mut right] =
                <[DuplexStream; 4]>::try_from(theirs).expect("four connections");
            request(&mut stranger).await;
            answer(&mut stranger, 77, b"").await;
            request(&mut huge).await;
            huge.write_i32(101).await.unwrap();
            drop(gone);
            request(&mut right).await;
            answer(&mut right, 3, b"x").await;
        });
        let wrong = peer.call(HEAD, &[], PATIENCE).await.unwrap_err();
        assert_eq!(wrong.to_string(), "[::1]:9 answers what is not Kafka's: it answers 77 where 0 was asked");
        assert!(matches!(peer.call(HEAD, &[], PATIENCE).await, Err(PeerError::NotKafka { .. })));
        assert!(matches!(peer.call(HEAD, &[], PATIENCE).await, Err(PeerError::Broken { .. })));
        assert_eq!(peer.call(HEAD, &[], PATIENCE).await.unwrap()[..], b"x"[..]);
        serve.await.unwrap();
        assert_eq!(net.dials.lock().len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_call_and_refused_dials_are_further_and_further_apart() {
        let (mut peer, theirs, net) = setting(1);
        let silent = peer.call(HEAD, &[], PATIENCE).await.unwrap_err();
        assert_eq!(silent.to_string(), "[::1]:9 did not answer within 5000 ms");
        assert!(!peer.is_connected());
        drop(theirs);
        for _ in 0..8 {
            assert!(matches!(peer.call(HEAD, &[], PATIENCE).await, Err(PeerError::Unreachable { .. })));
        }
        let dials = net.dials.lock()[1..].to_vec();
        let pauses: Vec<u128> = dials.windows(2).map(|two| (two[1] - two[0]).as_millis()).collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 500, 500]);
        // A caller with less patience than the pause is told at once, without a dial.
        let before = net.dials.lock().len();
        assert!(peer.call(HEAD, &[], Duration::from_millis(10)).await.is_err());
        assert_eq!(net.dials.lock().len(), before);
    }
}
