//! DescribeCluster: id, controller and brokers, as clients of the listener see them.
//! Not here: topics. Invariant: a controller's listener is never taken for a broker's (KIP-919).
use crate::api::authorized;
use crate::api::context::{Answer, Context};
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
    let response = match refused(request.endpoint_type) {
        Some(failure) => DescribeClusterResponse::default()
            .with_error_code(failure.code.code())
            .with_error_message(failure.message.map(StrBytes::from_string)),
        None => DescribeClusterResponse::default()
            .with_cluster_id(StrBytes::from_string(ctx.shared.cluster_id.to_string()))
            .with_controller_id(BrokerId(ctx.shared.config.node_id))
            .with_brokers(brokers(&ctx.metadata(), &ctx.peer.listener.name, request.include_fenced_brokers))
            .with_cluster_authorized_operations(authorized::when(
                request.include_cluster_authorized_operations,
                authorized::CLUSTER,
            )),
    };
    encode(header, &response).into()
}

fn refused(endpoint_type: i8) -> Option<Failure> {
    match endpoint_type {
        BROKERS => None,
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
        assert_eq!(refused(BROKERS), None);
        assert_eq!(refused(CONTROLLERS).map(|failure| failure.code), Some(ErrorCode::MismatchedEndpointType));
        assert_eq!(refused(7).map(|failure| failure.code), Some(ErrorCode::UnsupportedEndpointType));
    }
}
