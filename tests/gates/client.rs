//! A client on a blocking socket: it sends a frame that was made before and decodes the answer to it.
//! It runs on a thread of its own, so nothing it does is counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use firnline::wire::message::{Decodable, HeaderVersion, Request, ResponseHeader};

/// Longer than any answer takes under valgrind.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Client {
    stream: TcpStream,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        Self { stream }
    }

    /// Sends whole frames in one write.
    pub fn send(&mut self, frames: &[u8]) {
        self.stream.write_all(frames).expect("the broker reads");
    }

    /// The next answer.
    pub fn receive<Q: Request>(&mut self, version: i16) -> Q::Response {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).expect("an answer");
        let mut body = vec![0; i32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut body).expect("a whole answer");
        let mut body = Bytes::from(body);
        ResponseHeader::decode(&mut body, Q::Response::header_version(version)).expect("a header");
        Q::Response::decode(&mut body, version).expect("an answer of its kind")
    }

    pub fn call<Q: Request>(&mut self, version: i16, frame: &[u8]) -> Q::Response {
        self.send(frame);
        self.receive::<Q>(version)
    }
}
