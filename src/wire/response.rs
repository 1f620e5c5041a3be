//! Responses as pieces: bytes to write, and ranges of files to send as they lie. Control-plane messages are encoded
//! here; Produce and Fetch write their own. Not here: sockets. Its one invariant: the size in the first
//! four bytes equals what all pieces hold after it.
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use firnline_tiering::hot::file::File;

use crate::wire::header::Header;
use crate::wire::message::{Encodable, HeaderVersion};
use crate::wire::writer::Writer;

/// A whole response, size and header included, ready to be written in order.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// Size, header, and the body up to the first piece that lies elsewhere.
    head: Bytes,
    rest: Vec<Piece>,
}

/// A part of a response.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A range of a file, sent without a copy where the socket allows it.
    File {
        /// The file; it never changes below `at + len`.
        file: Arc<dyn File>,
        /// First byte.
        at: u64,
        /// Number of bytes.
        len: u64,
        /// Bytes of the file that never change, at least `at + len`: who sends may read ahead up to there.
        steady: u64,
    },
}

impl Piece {
    /// Bytes in this piece.
    pub fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::File { len, .. } => *len,
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A message that does not fit its version or the protocol: a fault of ours, reported and answered by closing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A field is set that this version does not have, or a string is too long.
    #[error("{what} version {version} does not encode: {reason}")]
    Message {
        /// The API.
        what: &'static str,
        /// The version.
        version: i16,
        /// What the codec said.
        reason: String,
    },
    /// The response is larger than a size field can say.
    #[error("a response of {0} bytes is larger than the protocol can carry")]
    TooLarge(u64),
}

impl Response {
    /// The pieces, in the order they go out.
    pub fn into_pieces(self) -> impl Iterator<Item = Piece> {
        std::iter::once(Piece::Bytes(self.head)).chain(self.rest)
    }

    /// Bytes on the wire, size included.
    pub fn len(&self) -> u64 {
        self.head.len() as u64 + self.rest.iter().map(Piece::len).sum::<u64>()
    }

    /// Whether it holds nothing; no encoded response is empty.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// Starts a response with the header of `header`'s version (of any API but ApiVersions, whose header never changes);
    /// the body follows in the same buffer, for which `capacity` bytes are made ready. [`Response::finish`] ends it.
    pub fn begin(header: &Header, capacity: usize) -> Writer {
        let mut head = Writer::new(header.flexible(), HEAD_BYTES + capacity);
        head.i32(0);
        head.i32(header.correlation_id);
        head.no_tags();
        head
    }

    /// Ends a response: `head` is what was written since [`Response::begin`] up to the first of `rest`.
    ///
    /// # Errors
    /// [`EncodeError::TooLarge`] above what an `i32` can say.
    pub fn finish(mut head: BytesMut, rest: Vec<Piece>) -> Result<Response, EncodeError> {
        debug_assert!(head.len() >= 8, "a head of {} bytes", head.len());
        let size = head.len() as u64 - 4 + rest.iter().map(Piece::len).sum::<u64>();
        let told = i32::try_from(size).map_err(|_| EncodeError::TooLarge(size))?;
        head[..4].copy_from_slice(&told.to_be_bytes());
        Ok(Response { head: head.freeze(), rest })
    }
}

/// Room for size, header and tag section in front of a body that is encoded into one buffer.
const HEAD_BYTES: usize = 9;

/// Encodes a control-plane response in the request's version, in one piece.
///
/// # Errors
/// A field that the version does not have, or a response that is too large: both are faults of the handler.
pub fn encode<M: Encodable + HeaderVersion>(header: &Header, message: &M) -> Result<Response, EncodeError> {
    encode_in(header, header.version, message)
}

/// A response whose body is encoded elsewhere.
///
/// # Errors
/// [`EncodeError::TooLarge`].
pub fn opaque(header: &Header, body: Bytes) -> Result<Response, EncodeError> {
    Response::finish(Response::begin(header, 0).out, vec![Piece::Bytes(body)])
}

/// As [`encode`], in another version than the request's: what ApiVersions does for versions we do not know (KIP-511).
///
/// # Errors
/// As [`encode`].
pub fn encode_in<M: Encodable + HeaderVersion>(
    header: &Header,
    version: i16,
    message: &M,
) -> Result<Response, EncodeError> {
    let mut out = BytesMut::with_capacity(HEAD_BYTES + 247);
    out.put_i32(0);
    out.put_i32(header.correlation_id);
    if M::header_version(version) >= 1 {
        out.put_u8(0);
    }
    message.encode(&mut out, version).map_err(|error| EncodeError::Message {
        what: header.api_key.api().name,
        version,
        reason: error.to_string(),
    })?;
    Response::finish(out, Vec::new())
}

#[cfg(test)]
impl Response {
    /// All pieces, for tests that look at where they lie.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        self.clone().into_pieces().collect()
    }

    /// All pieces in one, for tests that read a response back.
    pub(crate) fn flattened(&self) -> Bytes {
        let mut out = BytesMut::new();
        for piece in self.pieces() {
            let Piece::Bytes(bytes) = &piece else { panic!("{piece:?} lies in a file") };
            out.extend_from_slice(bytes);
        }
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api_key::TABLE;
    use crate::wire::message::{ApiKey as CodecKey, MetadataResponse};

    #[test]
    fn response_headers_are_those_of_the_codec() {
        for api in TABLE {
            let codec = CodecKey::try_from(api.key.code()).expect("the codec knows it");
            for version in api.min..=api.max {
                assert_eq!(
                    api.key.flexible(version),
                    codec.request_header_version(version) == 2,
                    "{api:?} {version}"
                );
                let tagged =
                    api.key.flexible(version) && api.key != crate::wire::api_key::ApiKey::ApiVersions;
                assert_eq!(tagged, codec.response_header_version(version) == 1, "{api:?} {version}");
            }
        }
    }

    #[test]
    fn the_size_counts_what_follows_it() {
        let api_key = crate::wire::api_key::ApiKey::Metadata;
        for version in [1, 9] {
            let header = Header { api_key, version, correlation_id: 0x01020304, client_id: None };
            let bytes = encode(&header, &MetadataResponse::default()).expect("encodes").flattened();
            assert_eq!(bytes[..4], (bytes.len() as i32 - 4).to_be_bytes());
            assert_eq!(bytes[4..8], [1, 2, 3, 4]);
        }
    }

    #[test]
    fn what_does_not_encode_is_an_error_not_a_panic() {
        let api_key = crate::wire::api_key::ApiKey::Metadata;
        let header = Header { api_key, version: 3, correlation_id: 1, client_id: None };
        let message = MetadataResponse::default().with_cluster_id(Some("x".repeat(40_000).into()));
        assert!(matches!(
            encode(&header, &message),
            Err(EncodeError::Message { what: "Metadata", version: 3, .. })
        ));
    }
}
