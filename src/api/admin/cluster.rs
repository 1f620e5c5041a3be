//! DescribeCluster: id, controller and brokers, as clients of the listener see them.
//! Not here: topics. Invariant: a controller's listener is never taken for a broker's (KIP-919).
use firnline_controller::quorum::status::QuorumStatus;

use crate::api::authorized;
use crate::api::context::{Answer, Audience, Context};
use crate::api::error_code::{ErrorCode, Failure};
use crate::metadata::view::MetadataView;
use crate::wire::header::Header;
use crate::wire::message::describe_cluster_response::DescribeClusterBroker;
use crate::wire::message::{BrokerId, DescribeClusterRequest, DescribeClusterResponse, StrBytes};
use crate::wire::response::encode;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Handles one DescribeCluster request.
pub fn handle(ctx: &Context, header: &Header, request: &DescribeClusterRequest) -> Answer {
    let audience = ctx.peer.listener.audience;
    let response = match refused(request.endpoint_type, audience) {
        Some(failure) => DescribeClusterResponse::default()
            .with_error_code(failure.code.code())
            .with_error_message(failure.message.map(StrBytes::from_string)),
        None if audience == Audience::Nodes => {
            controllers(&ctx.shared.cluster_id, &ctx.shared.controller.quorum())
        }
        None => DescribeClusterResponse::default()
            .with_cluster_id(StrBytes::from_string(ctx.shared.cluster_id.to_string()))
            .with_controller_id(BrokerId(ctx.controller_id()))
            .with_brokers(brokers(&ctx.metadata(), &ctx.peer.listener.name, request.include_fenced_brokers))
            .with_cluster_authorized_operations(authorized::when(
                request.include_cluster_authorized_operations,
                authorized::CLUSTER,
            )),
    };
    encode(header, &response).into()
}

fn controllers(cluster_id: &str, quorum: &QuorumStatus) -> DescribeClusterResponse {
    let voters = quorum.voters.iter().filter_map(|voter| {
        let address = voter.address.as_ref()?;
        let described = DescribeClusterBroker::default()
            .with_broker_id(BrokerId(voter.id.0))
            .with_host(StrBytes::from_string(address.host.clone()))
            .with_port(i32::from(address.port));
        Some(described)
    });
    DescribeClusterResponse::default()
        .with_endpoint_type(CONTROLLERS)
        .with_cluster_id(StrBytes::from_string(cluster_id.to_owned()))
        .with_controller_id(BrokerId(quorum.leader.map_or(-1, |leader| leader.0)))
        .with_brokers(voters.collect())
}

fn refused(endpoint_type: i8, audience: Audience) -> Option<Failure> {
    match endpoint_type {
        BROKERS if audience.has_clients() => None,
        CONTROLLERS if audience == Audience::Nodes => None,
        BROKERS => {
            let why = "this is a controller's listener, not a broker's";
            Some(Failure::new(ErrorCode::MismatchedEndpointType, why))
        }
        CONTROLLERS => {
            let why = "this is a broker's listener, not a controller's";
            Some(Failure::new(ErrorCode::MismatchedEndpointType, why))
        }
        other => {
            let why = format!("no endpoint type has the number {other}");
            Some(Failure::new(ErrorCode::UnsupportedEndpointType, why))
        }
    }
}

fn brokers(view: &MetadataView, listener: &str, fenced_too: bool) -> Vec<DescribeClusterBroker> {
    let known = view.image().brokers.iter().filter(|broker| fenced_too || !broker.fenced);
    let listed = known.filter_map(|broker| {
        let endpoint = broker.endpoints.iter().find(|endpoint| endpoint.listener == listener)?;
        let described = DescribeClusterBroker::default()
            .with_broker_id(BrokerId(broker.id.0))
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(i32::from(endpoint.port))
            .with_rack(broker.rack.clone().map(StrBytes::from_string))
            .with_is_fenced(broker.fenced);
        Some(described)
    });
    listed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::sample;

    #[test]
    fn brokers_of_the_listener_and_fenced_ones_when_asked() {
        let ids = |listener, fenced_too| {
            let brokers = brokers(&sample::view(), listener, fenced_too);
            brokers.iter().map(|broker| (broker.broker_id.0, broker.is_fenced)).collect::<Vec<_>>()
        };
        assert_eq!(ids("IN", false), [(1, false), (2, false)]);
        assert_eq!(ids("OUT", false), [(1, false)]);
        assert_eq!(ids("OUT", true), [(1, false), (3, true)]);
    }

    #[test]
    fn other_endpoint_types_are_refused_by_their_codes() {
        let code = |kind, audience| refused(kind, audience).map(|failure| failure.code);
        let mismatched = Some(ErrorCode::MismatchedEndpointType);
        assert_eq!((code(BROKERS, Audience::Clients), code(CONTROLLERS, Audience::Nodes)), (None, None));
        assert_eq!(code(CONTROLLERS, Audience::ClientsAndNodes), mismatched);
        assert_eq!(code(BROKERS, Audience::Nodes), mismatched);
        assert_eq!(code(7, Audience::Clients), Some(ErrorCode::UnsupportedEndpointType));
    }
}
