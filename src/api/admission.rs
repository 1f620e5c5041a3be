//! Which requests a listener takes: clients are not served where nodes speak, and the other way round.
//! Not what a request may do. Invariant: what nodes say to each other is heard only where nodes are expected.

use crate::api::context::Audience;
use crate::wire::api_key::ApiKey;

/// What a controller's listener answers beside other nodes: Kafka's tools with `--bootstrap-controller` (KIP-919).
const ON_CONTROLLERS: &[ApiKey] = &[
    ApiKey::ApiVersions,
    ApiKey::DescribeConfigs,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::DescribeQuorum,
    ApiKey::UpdateFeatures,
    ApiKey::DescribeCluster,
    ApiKey::UnregisterBroker,
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
];

/// Whether a listener of this audience takes requests of `key`.
pub fn takes(audience: Audience, key: ApiKey) -> bool {
    match (key, audience) {
        (ApiKey::Node, _) => audience.has_nodes(),
        (_, Audience::Nodes) => ON_CONTROLLERS.contains(&key),
        (_, Audience::Clients | Audience::ClientsAndNodes) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_clients_are_kept_apart() {
        let taken = |key| {
            [Audience::Clients, Audience::ClientsAndNodes, Audience::Nodes]
                .map(|audience| takes(audience, key))
        };
        assert_eq!(taken(ApiKey::Node), [false, true, true]);
        assert_eq!(taken(ApiKey::Produce), [true, true, false]);
        assert_eq!(taken(ApiKey::Metadata), [true, true, false]);
        assert_eq!(taken(ApiKey::DescribeCluster), [true, true, true]);
        assert_eq!(taken(ApiKey::ApiVersions), [true, true, true]);
    }
}
