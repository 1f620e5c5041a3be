//! ListGroups: the groups this broker coordinates, by state (version 4) and type (version 5).
//! Invariant: either all of them or an error, never a part.

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::api::groups::names;
use crate::coordinator::group::coordinator::Listed;
use crate::coordinator::group::error::GroupError;
use crate::wire::header::Header;
use crate::wire::message::list_groups_response::ListedGroup;
use crate::wire::message::{ListGroupsRequest, ListGroupsResponse, StrBytes};
use crate::wire::response::encode;

/// First version with states.
const STATES: i16 = 4;
/// First version with types (KIP-848).
const TYPES: i16 = 5;
/// The only type there is yet.
const CLASSIC: &str = "classic";

/// Handles one ListGroups request.
pub fn handle(ctx: &Context, header: &Header, request: ListGroupsRequest) -> Answer {
    let (groups, header) = (ctx.shared.groups.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let outcome = groups.list().await;
        encode(&header, &response(header.version, &request, outcome)).into()
    }))
}

fn response(
    version: i16,
    request: &ListGroupsRequest,
    outcome: Result<Vec<Listed>, GroupError>,
) -> ListGroupsResponse {
    let response = ListGroupsResponse::default();
    let listed = match outcome {
        Ok(listed) => listed,
        Err(error) => return response.with_error_code(ErrorCode::from(&error).code()),
    };
    let groups = listed.into_iter().filter(|group| {
        wanted(&request.states_filter, group.state.name()) && wanted(&request.types_filter, CLASSIC)
    });
    let listed = groups.map(|group| {
        let listed = ListedGroup::default()
            .with_group_id(names::group_out(&group.id))
            .with_protocol_type(StrBytes::from_string(group.protocol_type));
        let listed =
            if version >= STATES { listed.with_group_state(names::text(group.state.name())) } else { listed };
        if version >= TYPES { listed.with_group_type(names::text(CLASSIC)) } else { listed }
    });
    response.with_groups(listed.collect())
}

/// No filter wants all; names are compared as Kafka compares them, whatever their case.
fn wanted(filter: &[StrBytes], name: &str) -> bool {
    filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    use crate::coordinator::group::classic::State;
    use crate::wire::message::Encodable;

    fn listed() -> Vec<Listed> {
        let group = |id: &str, state| Listed { id: id.into(), protocol_type: "consumer".into(), state };
        vec![group("a", State::Stable), group("b", State::Empty)]
    }

    fn names_of(request: &ListGroupsRequest) -> Vec<String> {
        let response = response(5, request, Ok(listed()));
        response.groups.iter().map(|group| group.group_id.to_string()).collect()
    }

    #[test]
    fn filters_take_names_in_any_case_and_unknown_ones_match_nothing() {
        let request = ListGroupsRequest::default();
        assert_eq!(names_of(&request), ["a", "b"]);
        let state = |name| request.clone().with_states_filter(vec![names::text(name)]);
        assert_eq!(names_of(&state(" EMPTY")), ["b"]);
        assert!(names_of(&state("nonsense")).is_empty());
        let kind = |name| request.clone().with_types_filter(vec![names::text(name)]);
        assert_eq!((names_of(&kind("Classic")).len(), names_of(&kind("consumer")).len()), (2, 0));
    }

    #[test]
    fn every_version_encodes() {
        for version in 0..=5 {
            let response = response(version, &ListGroupsRequest::default(), Ok(listed()));
            response.encode(&mut BytesMut::new(), version).expect("encodes");
        }
    }
}
