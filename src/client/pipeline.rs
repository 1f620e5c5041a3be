//! A connection in two halves, so that sending keeps its pace while answers are awaited: what an open loop needs.
//! It knows frames only. Invariant: answers come in the order of the requests; the halves do not wait for each other.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::client::connection::{ANSWER_PATIENCE, Connection, frame_of, read_frame};
use crate::client::error::ClientError;
use crate::wire::message::{Decodable, HeaderVersion, Request, ResponseHeader, StrBytes};

/// The half that sends. Once it is dropped the connection stays open until the other half has gone, too: a broker
/// takes the end of what a client sends for the end of the client, and drops the answers it still owes.
pub struct Sender {
    /// There until it is dropped.
    stream: Option<OwnedWriteHalf>,
    address: String,
}

/// The half that receives.
pub struct Receiver {
    /// Buffered: small answers come several at a time.
    stream: BufReader<OwnedReadHalf>,
    address: String,
    incoming: BytesMut,
}

/// Parts a connection on which no answer is awaited.
pub fn split(connection: Connection) -> (Sender, Receiver) {
    let (stream, address) = connection.into_parts();
    let (read, write) = stream.into_split();
    let receiver =
        Receiver { stream: BufReader::new(read), address: address.clone(), incoming: BytesMut::new() };
    (Sender { stream: Some(write), address }, receiver)
}

/// Parts a connection on which no answer is awaited; the sending half is the plain socket, which does not block.
pub fn split_plain(connection: Connection) -> Result<(std::net::TcpStream, Receiver), ClientError> {
    let (stream, address) = connection.into_parts();
    let broken = |source| ClientError::Broken { address: address.clone(), source };
    let plain = stream.into_std().map_err(broken)?;
    let kept = plain.try_clone().map_err(broken)?;
    let (read, write) = tokio::net::TcpStream::from_std(kept).map_err(broken)?.into_split();
    // Dropped, it would close the direction that the plain socket writes to.
    write.forget();
    Ok((plain, Receiver { stream: BufReader::new(read), address, incoming: BytesMut::new() }))
}

impl Sender {
    /// Sends a request; its answer is awaited by the other half.
    pub async fn send<Q: Request>(
        &mut self,
        version: i16,
        id: i32,
        client_id: &StrBytes,
        request: &Q,
    ) -> Result<(), ClientError> {
        let frame = frame_of(client_id, version, id, request);
        let frame = frame.map_err(|source| ClientError::Broken { address: self.address.clone(), source })?;
        self.send_frame(&frame).await
    }

    /// Writes a whole frame, size included.
    pub async fn send_frame(&mut self, frame: &[u8]) -> Result<(), ClientError> {
        let sent = match &mut self.stream {
            Some(stream) => stream.write_all(frame).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        sent.map_err(|source| ClientError::Broken { address: self.address.clone(), source })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stream.take().into_iter().for_each(OwnedWriteHalf::forget);
    }
}

impl Receiver {
    /// Waits for the answer to request `id`, which must be the next one.
    pub async fn receive<Q: Request>(&mut self, version: i16, id: i32) -> Result<Q::Response, ClientError> {
        let mut frame = self.receive_frame().await?;
        let header = ResponseHeader::decode(&mut frame, Q::Response::header_version(version))
            .map_err(|error| self.not_kafka(error))?;
        if header.correlation_id != id {
            return Err(self.not_kafka(format!("it answers {} where {id} was asked", header.correlation_id)));
        }
        let answer = Q::Response::decode(&mut frame, version).map_err(|error| self.not_kafka(error))?;
        match frame.remaining() {
            0 => Ok(answer),
            left => Err(self.not_kafka(format!("{left} bytes after an answer"))),
        }
    }

    async fn receive_frame(&mut self) -> Result<Bytes, ClientError> {
        let broken = |source| ClientError::Broken { address: self.address.clone(), source };
        let frame = match timeout(ANSWER_PATIENCE, read_frame(&mut self.stream, &mut self.incoming)).await {
            Ok(outcome) => outcome.map_err(broken)?,
            Err(_) => return Err(broken(io::ErrorKind::TimedOut.into())),
        };
        frame.map_err(|size| self.not_kafka(format!("it announces an answer of {size} bytes")))
    }

    fn not_kafka(&self, why: impl std::fmt::Display) -> ClientError {
        ClientError::NotKafka { address: self.address.clone(), why: why.to_string() }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test is its own network")]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn who_has_sent_everything_still_waits_for_its_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (read, write) = TcpStream::connect(address).await.unwrap().into_split();
        let (mut broker, _) = listener.accept().await.unwrap();
        drop(Sender { stream: Some(write), address: address.to_string() });
        let heard = timeout(Duration::from_millis(50), broker.read_u8()).await;
        assert!(heard.is_err(), "the broker hears of an end: {heard:?}");
        drop(read);
        assert!(broker.read_u8().await.is_err(), "both have gone");
    }
}
