//! The request header: who asks for what, in which version. It is our own peek, since a header must be
//! readable for keys and versions we do not know. Not here: bodies. It never panics and never allocates.
//!
//! ```text
//! api_key i16 | version i16 | correlation_id i32 | client_id nullable string (i16 length) | v2: tagged fields
//! ```
use std::ops::Range;

use bytes::BytesMut;

use crate::wire::api_key::ApiKey;
use crate::wire::cursor::Cursor;
use crate::wire::error::WireError;
use crate::wire::message::StrBytes;

/// A parsed request header. Header v1, or v2 where the body of that version is flexible (KIP-482).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Which API is asked.
    pub api_key: ApiKey,
    /// Version of the request body. For ApiVersions it may lie outside what we advertise.
    pub version: i16,
    /// Echoed in the response header.
    pub correlation_id: i32,
    /// The client's name for itself, `None` when null.
    pub client_id: Option<StrBytes>,
}

impl Header {
    /// The client id for logs and group ids: empty when the client sent null.
    pub fn client(&self) -> &str {
        self.client_id.as_ref().map_or("", |id| id.as_str())
    }

    /// Whether request and response bodies of this key and version use compact encodings.
    pub fn flexible(&self) -> bool {
        self.api_key.flexible(self.version)
    }
}

/// Bytes that [`peek`] reads.
const PEEK_BYTES: usize = 8;

/// The first eight bytes of a request, readable whatever the key and version are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peek {
    /// Raw key, known to us or not.
    pub key: i16,
    /// Raw version.
    pub version: i16,
    /// Correlation id.
    pub correlation_id: i32,
}

/// Reads key, version and correlation id.
///
/// # Errors
/// [`WireError::Truncated`] when the frame holds fewer than eight bytes.
pub fn peek(frame: &[u8]) -> Result<Peek, WireError> {
    let mut at = Cursor::new(frame);
    Ok(Peek { key: at.i16()?, version: at.i16()?, correlation_id: at.i32()? })
}

/// Where the parts of a request lie in its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Which API is asked.
    pub api_key: ApiKey,
    /// Version of the body.
    pub version: i16,
    /// Correlation id.
    pub correlation_id: i32,
    /// The client id's bytes, `None` when null. Not yet checked to be UTF-8.
    pub client_id: Option<Range<usize>>,
    /// First byte of the body.
    pub body: usize,
}

/// Finds the header's parts.
///
/// The header version follows from key and version: an ApiVersions request of any version from 3 on has
/// header v2. Of a version we do not speak, only what is needed to answer is read; its body is not.
///
/// # Errors
/// Unknown key, unsupported version (ApiVersions excepted), or a header that does not fit its frame.
pub fn layout(frame: &[u8]) -> Result<Layout, WireError> {
    let (api_key, peeked) = known(peek(frame)?)?;
    let mut at = Cursor::new(frame);
    at.skip(PEEK_BYTES)?;
    let client_id = at.nullable_string_range()?;
    // A version we do not know is answered all the same (KIP-511), so its tags may be what they like.
    if api_key.flexible(peeked.version) && api_key.advertises(peeked.version) {
        at.skip_tagged_fields()?;
    }
    let Peek { version, correlation_id, .. } = peeked;
    Ok(Layout { api_key, version, correlation_id, client_id, body: at.position() })
}

/// Takes the header off the front of a frame; what stays in `frame` is the body.
///
/// # Errors
/// As [`layout`], and a client id that is not UTF-8.
pub fn split(frame: &mut BytesMut) -> Result<Header, WireError> {
    let Layout { api_key, version, correlation_id, client_id, body } = layout(frame)?;
    let head = frame.split_to(body).freeze();
    let client_id = match client_id {
        None => None,
        Some(range) => Some(
            StrBytes::from_utf8(head.slice(range)).map_err(|_| WireError::NotUtf8 { field: "client_id" })?,
        ),
    };
    Ok(Header { api_key, version, correlation_id, client_id })
}

fn known(peeked: Peek) -> Result<(ApiKey, Peek), WireError> {
    let Some(api_key) = ApiKey::from_code(peeked.key) else {
        return Err(WireError::UnknownApiKey { key: peeked.key, version: peeked.version });
    };
    if api_key != ApiKey::ApiVersions && !api_key.advertises(peeked.version) {
        return Err(WireError::UnsupportedVersion { api_key, version: peeked.version });
    }
    Ok((api_key, peeked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api_key::TABLE;
    use crate::wire::message::{Encodable, RequestHeader};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_read_back_as_the_codec_wrote_them(
            row in 0..TABLE.len(), pick in any::<u16>(), correlation_id in any::<i32>(),
            client in proptest::option::of("\\PC{0,40}"), body in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let api = TABLE[row];
            let version = api.min + (pick as i16).rem_euclid(api.max - api.min + 1);
            let client = client.map(StrBytes::from_string);
            let written = RequestHeader::default()
                .with_request_api_key(api.key.code())
                .with_request_api_version(version)
                .with_correlation_id(correlation_id)
                .with_client_id(client.clone());
            let mut frame = BytesMut::new();
            written.encode(&mut frame, if api.key.flexible(version) { 2 } else { 1 }).expect("encodes");
            frame.extend_from_slice(&body);
            let header = split(&mut frame).expect("parses");
            prop_assert_eq!(header, Header { api_key: api.key, version, correlation_id, client_id: client });
            prop_assert_eq!(&frame[..], &body[..]);
        }

        #[test]
        fn arbitrary_headers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (peek(&bytes), layout(&bytes));
        }
    }

    #[test]
    fn a_header_cut_anywhere_is_an_error() {
        let whole =
            [&3i16.to_be_bytes()[..], &1i16.to_be_bytes(), &7i32.to_be_bytes(), &1i16.to_be_bytes(), b"c"]
                .concat();
        assert!(layout(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(layout(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_client_id_that_is_not_text_is_an_error() {
        let mut frame = BytesMut::from(&[0, 3, 0, 1, 0, 0, 0, 7, 0, 1, 0xff][..]);
        assert_eq!(split(&mut frame), Err(WireError::NotUtf8 { field: "client_id" }));
    }
}
