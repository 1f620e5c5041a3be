//! Kafka's wire, from bytes to typed requests and back. It is the only room that names kafka-protocol.
//! It holds no broker state and asks nobody anything. Its one invariant: no length that a client wrote
//! is believed before it was compared with the bytes that remain.
pub mod api_key;
pub mod api_versions;
pub mod cursor;
pub mod error;
pub mod fetch;
pub mod fetch_answer;
pub mod fetch_ask;
pub mod fetch_reply;
pub mod guard;
pub mod header;
pub mod message;
pub mod page;
pub mod produce;
pub mod produce_answer;
pub mod request;
pub mod response;
pub mod schema;
pub mod writer;
