//! ApiVersions: the first request of every client. The table is the wire's; the features are this cluster's.
//! Not here: which versions we speak. Invariant: it is always answered, whatever its version (KIP-511).
use crate::api::admission::takes;
use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::metadata::features;
use crate::wire::api_key::TABLE;
use crate::wire::api_versions::{self, names_a_client};
use crate::wire::header::Header;
use crate::wire::message::ApiVersionsRequest;
use crate::wire::response::{encode, encode_in};

/// First version that carries the client's name.
const NAMES_CLIENT: i16 = 3;

/// Answers in a version we speak.
pub fn handle(ctx: &Context, header: &Header, request: &ApiVersionsRequest) -> Answer {
    let error = match header.version {
        NAMES_CLIENT.. if !named(request) => ErrorCode::InvalidRequest,
        _ => ErrorCode::None,
    };
    let image = ctx.shared.controller.image();
    let epoch = i64::try_from(image.offset).unwrap_or(i64::MAX);
    let audience = ctx.peer.listener.audience;
    let served = TABLE.iter().filter(|api| takes(audience, api.key));
    encode(header, &api_versions::answer(header.version, error.code(), served, &features::of(&image), epoch))
        .into()
}

/// Answers a version we do not speak: in version 0, with the versions we do.
pub fn unsupported(header: &Header) -> Answer {
    encode_in(header, 0, &api_versions::unsupported(ErrorCode::UnsupportedVersion.code())).into()
}

fn named(request: &ApiVersionsRequest) -> bool {
    names_a_client(&request.client_software_name) && names_a_client(&request.client_software_version)
}
