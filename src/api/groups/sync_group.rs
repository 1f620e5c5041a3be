//! SyncGroup: a member fetches its assignment, the leader brings everybody's.
//! Invariant: assignments travel untouched.

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::api::groups::names;
use crate::coordinator::group::effects::Synced;
use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::sync::Sync;
use crate::wire::header::Header;
use crate::wire::message::{StrBytes, SyncGroupRequest, SyncGroupResponse};
use crate::wire::response::encode;

/// First version that must say which protocol it means (KIP-559).
const NAMES_PROTOCOL: i16 = 5;

/// Handles one SyncGroup request.
pub fn handle(ctx: &Context, header: &Header, request: SyncGroupRequest) -> Answer {
    let named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if header.version >= NAMES_PROTOCOL && !named {
        return encode(header, &response(header.version, Err(GroupError::InconsistentProtocol))).into();
    }
    let group = names::group(&request.group_id);
    let assignment = request.assignments.into_iter();
    let sync = Sync {
        claim: names::claim(&request.member_id, request.group_instance_id.as_ref(), request.generation_id),
        protocol_type: request.protocol_type.map(|name| name.to_string()),
        protocol: request.protocol_name.map(|name| name.to_string()),
        assignment: assignment.map(|it| (names::member(&it.member_id), it.assignment)).collect(),
    };
    let (groups, header) = (ctx.shared.groups.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let outcome = groups.sync(group, sync).await;
        encode(&header, &response(header.version, outcome)).into()
    }))
}

fn response(version: i16, outcome: Result<Synced, GroupError>) -> SyncGroupResponse {
    let response = SyncGroupResponse::default();
    let named = |name: Option<String>| name.filter(|_| version >= NAMES_PROTOCOL).map(StrBytes::from_string);
    match outcome {
        Err(error) => response.with_error_code(ErrorCode::from(&error).code()),
        Ok(synced) => response
            .with_protocol_type(named(synced.protocol_type))
            .with_protocol_name(named(synced.protocol))
            .with_assignment(synced.assignment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};

    use crate::wire::message::{Decodable, Encodable};

    #[test]
    fn every_version_encodes_an_assignment() {
        for version in 0..=5 {
            let synced = Synced {
                protocol_type: Some("consumer".into()),
                protocol: Some("range".into()),
                assignment: Bytes::from_static(b"\x00\x01raw"),
            };
            let mut bytes = BytesMut::new();
            response(version, Ok(synced)).encode(&mut bytes, version).expect("encodes");
            let read = SyncGroupResponse::decode(&mut bytes.freeze(), version).expect("decodes");
            assert_eq!((read.error_code, &read.assignment[..]), (0, &b"\x00\x01raw"[..]));
            assert_eq!(read.protocol_name.is_some(), version >= 5);
        }
    }
}
