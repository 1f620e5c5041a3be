//! One connection to a broker: frames, versions, one typed request at a time, or several in flight.
//! It trusts a broker's answer only after its size and correlation id were right. Invariant: answers are read in the
//! order of the requests; after an error the connection is of no use.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::error::ClientError;
use crate::transport::dial::dial;
use crate::wire::message::{
    ApiVersionsRequest, Decodable, Encodable, HeaderVersion, Request, RequestHeader, ResponseHeader, StrBytes,
};

/// Largest answer taken, bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// What is read at once of an answer: memory grows as bytes arrive.
const READ_BYTES: usize = 1 << 20;
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
/// The version of ApiVersions that every broker since 2.4 answers.
const API_VERSIONS_VERSION: i16 = 3;
/// Where a request's frame holds its correlation id: behind size, key and version. Four bytes, big-endian.
pub const CORRELATION_ID_AT: usize = 8;

/// A connection, and the versions its broker serves.
pub struct Connection {
    stream: TcpStream,
    address: String,
    client_id: StrBytes,
    next_correlation_id: i32,
    versions: BTreeMap<i16, (i16, i16)>,
    /// Answers are read in here: its memory serves again once an answer is dropped.
    incoming: BytesMut,
}

impl Connection {
    /// Connects to the first of the comma-separated `HOST:PORT` addresses that answers, and asks for its versions.
    pub async fn open(bootstrap: &str, client_id: &str) -> Result<Connection, ClientError> {
        let mut failed = None;
        for address in bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            match Connection::to(address, client_id).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| ClientError::Unreachable {
            address: bootstrap.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "no address of the form HOST:PORT"),
        }))
    }

    async fn to(address: &str, client_id: &str) -> Result<Connection, ClientError> {
        let unreachable = |source| ClientError::Unreachable { address: address.to_owned(), source };
        let stream = dial(address, CONNECT_PATIENCE).await.map_err(unreachable)?;
        let mut connection = Connection {
            stream,
            address: address.to_owned(),
            client_id: StrBytes::from_string(client_id.to_owned()),
            next_correlation_id: 0,
            versions: BTreeMap::new(),
            incoming: BytesMut::new(),
        };
        let asked = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("firn"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let answer = connection.call_in(API_VERSIONS_VERSION, &asked).await?;
        ClientError::check(answer.error_code, None)?;
        connection.versions =
            answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(connection)
    }

    /// The stream and the address it leads to, for [`crate::client::pipeline`].
    pub(super) fn into_parts(self) -> (TcpStream, String) {
        (self.stream, self.address)
    }

    /// `HOST:PORT` as it was dialled.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The newest version of `Q` up to `newest` that the broker serves.
    pub fn version<Q: Request>(&self, newest: i16) -> Result<i16, ClientError> {
        let ours = Q::VERSIONS;
        let served = self.versions.get(&Q::KEY).copied();
        let best = served.and_then(|(min, max)| {
            let best = max.min(newest).min(ours.max);
            (best >= min && best >= ours.min).then_some(best)
        });
        best.ok_or_else(|| ClientError::Version {
            address: self.address.clone(),
            api: format!("API {}", Q::KEY),
        })
    }

    /// Sends a request in the newest version both sides speak, and waits for its answer.
    pub async fn call<Q: Request>(&mut self, newest: i16, request: &Q) -> Result<Q::Response, ClientError> {
        let version = self.version::<Q>(newest)?;
        self.call_in(version, request).await
    }

    /// Sends a request in one version, and waits for its answer.
    pub async fn call_in<Q: Request>(
        &mut self,
        version: i16,
        request: &Q,
    ) -> Result<Q::Response, ClientError> {
        let id = self.send(version, request).await?;
        self.receive::<Q>(version, id).await
    }

    /// Sends a request and does not wait; its answer is the next but those still awaited. Gives the correlation id.
    pub async fn send<Q: Request>(&mut self, version: i16, request: &Q) -> Result<i32, ClientError> {
        let id = self.next_correlation_id;
        let frame = self.frame(version, id, request)?;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        self.send_frame(&frame).await?;
        Ok(id)
    }

    /// A request as the whole frame that carries it, size included. Its correlation id lies at [`CORRELATION_ID_AT`].
    pub fn frame<Q: Request>(&self, version: i16, id: i32, request: &Q) -> Result<BytesMut, ClientError> {
        frame_of(&self.client_id, version, id, request).map_err(|source| self.broken(source))
    }

    /// Writes a whole frame, size included, as it stands.
    pub async fn send_frame(&mut self, frame: &[u8]) -> Result<(), ClientError> {
        self.stream.write_all(frame).await.map_err(|source| self.broken(source))
    }

    /// Waits for the answer to request `id`, which must be the next one.
    pub async fn receive<Q: Request>(&mut self, version: i16, id: i32) -> Result<Q::Response, ClientError> {
        let mut frame = self.receive_frame().await?;
        let header_version = Q::Response::header_version(version);
        let header =
            ResponseHeader::decode(&mut frame, header_version).map_err(|error| self.not_kafka(error))?;
        if header.correlation_id != id {
            return Err(self.not_kafka(format!("it answers {} where {id} was asked", header.correlation_id)));
        }
        let answer = Q::Response::decode(&mut frame, version).map_err(|error| self.not_kafka(error))?;
        match frame.remaining() {
            0 => Ok(answer),
            left => Err(self.not_kafka(format!("{left} bytes after an answer"))),
        }
    }

    /// Waits for the next whole frame and gives it without its size.
    pub async fn receive_frame(&mut self) -> Result<Bytes, ClientError> {
        match timeout(ANSWER_PATIENCE, read_frame(&mut self.stream, &mut self.incoming)).await {
            Ok(Ok(Ok(frame))) => Ok(frame),
            Ok(Ok(Err(size))) => Err(self.not_kafka(format!("it announces an answer of {size} bytes"))),
            Ok(Err(source)) => Err(self.broken(source)),
            Err(_) => {
                let text = format!("no answer within {} s", ANSWER_PATIENCE.as_secs());
                Err(self.broken(io::Error::new(io::ErrorKind::TimedOut, text)))
            }
        }
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken { address: self.address.clone(), source }
    }

    fn not_kafka(&self, why: impl std::fmt::Display) -> ClientError {
        ClientError::NotKafka { address: self.address.clone(), why: why.to_string() }
    }
}

/// A request as the whole frame that carries it, size included.
pub(super) fn frame_of<Q: Request>(
    client_id: &StrBytes,
    version: i16,
    id: i32,
    request: &Q,
) -> io::Result<BytesMut> {
    let mut frame = BytesMut::with_capacity(512);
    frame.put_i32(0);
    let header = RequestHeader::default()
        .with_request_api_key(Q::KEY)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(client_id.clone()));
    header
        .encode(&mut frame, Q::header_version(version))
        .and_then(|()| request.encode(&mut frame, version))
        .map_err(|error| io::Error::other(error.to_string()))?;
    let size = i32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    Ok(frame)
}

/// The next frame of a stream without its size, or the size that cannot be one. `incoming` is empty before and after.
pub(super) async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    incoming: &mut BytesMut,
) -> io::Result<Result<Bytes, i32>> {
    let size = stream.read_i32().await?;
    let length = match usize::try_from(size) {
        Ok(length) if (4..=ANSWER_BYTES_MAX).contains(&length) => length,
        _ => return Ok(Err(size)),
    };
    while incoming.len() < length {
        let room = (length - incoming.len()).min(READ_BYTES);
        incoming.reserve(room);
        let mut part = (&mut *incoming).limit(room);
        if stream.read_buf(&mut part).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Ok(incoming.split().freeze()))
}
