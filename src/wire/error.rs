//! Why bytes on a connection are not a request we can serve. Not Kafka's error codes: nothing here is answered, each
//! closes the connection with one log line. Its one invariant: no variant repeats more than a few bytes of a client's.
use crate::wire::api_key::ApiKey;

/// Why a frame is not a request we can serve. Each closes the connection, with one log line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A key outside the version table. Kafka closes the connection too.
    #[error("unknown api key {key} (version {version})")]
    UnknownApiKey {
        /// Raw key.
        key: i16,
        /// Raw version.
        version: i16,
    },
    /// A version outside the table's row. Kafka closes the connection too.
    #[error("{api_key} version {version} is not supported (we speak {}-{})", api_key.api().min, api_key.api().max)]
    UnsupportedVersion {
        /// The key.
        api_key: ApiKey,
        /// The version asked.
        version: i16,
    },
    /// A length or count reaches past the end of the frame.
    #[error("a length at byte {at} wants {wanted} bytes where {remaining} remain")]
    Truncated {
        /// Position inside the slice that was read.
        at: usize,
        /// Bytes the length asks for.
        wanted: u64,
        /// Bytes that remain.
        remaining: u64,
    },
    /// A length below -1, or -1 where null is not allowed.
    #[error("a length at byte {at} is {length}")]
    NegativeLength {
        /// Position of the length.
        at: usize,
        /// The length read.
        length: i64,
    },
    /// A varint wider than 32 bits.
    #[error("a varint at byte {at} is wider than 32 bits")]
    BadVarint {
        /// Position of the varint.
        at: usize,
    },
    /// A string that is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// Which field.
        field: &'static str,
    },
    /// More array elements in one request than any client sends.
    #[error("more than {limit} array elements in one request")]
    TooManyElements {
        /// The limit.
        limit: usize,
    },
    /// kafka-protocol refused a body that the guard had passed.
    #[error("{api_key} version {version} does not decode: {reason}")]
    Undecodable {
        /// The key.
        api_key: ApiKey,
        /// The version.
        version: i16,
        /// What the codec said.
        reason: String,
    },
}
