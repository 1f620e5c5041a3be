//! The door to kafka-protocol: its control-plane message types under the names of the protocol guide.
//! Handlers import messages from here; the package itself is named nowhere outside this room.
//! Nothing here decodes: bytes from a client pass [`crate::wire::guard`] first, without exception.
pub use kafka_protocol::error::ResponseError;
pub use kafka_protocol::messages::api_versions_request::ApiVersionsRequest;
pub use kafka_protocol::messages::api_versions_response::ApiVersionsResponse;
pub use kafka_protocol::messages::*;
pub use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
