//! ApiVersions: the first request of every client. The table is the wire's; the features are this cluster's.
//! Not here: which versions we speak. Invariant: it is always answered, whatever its version (KIP-511).
use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::wire::api_versions::{self, Feature, names_a_client};
use crate::wire::header::Header;
use crate::wire::message::ApiVersionsRequest;
use crate::wire::response::{encode, encode_in};

/// First version that carries the client's name.
const NAMES_CLIENT: i16 = 3;

/// `metadata.version` by Kafka's numbers: 3.3-IV3 to 4.3-IV0, the release whose behaviour we follow. The
/// features behind groups of KIP-848 and transactions are listed when they exist, not before.
const FEATURES: &[Feature] = &[Feature { name: "metadata.version", min: 7, max: 30, finalized: 30 }];

/// Answers in a version we speak.
pub fn handle(ctx: &Context, header: &Header, request: &ApiVersionsRequest) -> Answer {
    let error = match header.version {
        NAMES_CLIENT.. if !named(request) => ErrorCode::InvalidRequest,
        _ => ErrorCode::None,
    };
    let epoch = i64::try_from(ctx.shared.controller.image().offset).unwrap_or(i64::MAX);
    encode(header, &api_versions::answer(header.version, error.code(), FEATURES, epoch)).into()
}

/// Answers a version we do not speak: in version 0, with the versions we do.
pub fn unsupported(header: &Header) -> Answer {
    encode_in(header, 0, &api_versions::unsupported(ErrorCode::UnsupportedVersion.code())).into()
}

fn named(request: &ApiVersionsRequest) -> bool {
    names_a_client(&request.client_software_name) && names_a_client(&request.client_software_version)
}
