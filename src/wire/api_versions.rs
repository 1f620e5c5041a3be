//! Builds the ApiVersions answer: the version table, and features by the rules that keep old clients alive.
//! Not here: which features this cluster has. Its one invariant: the finalized epoch is never below zero, or
//! clients ignore every feature (KIP-584).
use kafka_protocol::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::protocol::StrBytes;

use crate::wire::api_key::{Api, ApiKey};

/// A feature of this cluster (KIP-584).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Kafka's name for it.
    pub name: &'static str,
    /// Lowest level this broker can run.
    pub min: i16,
    /// Highest level this broker can run.
    pub max: i16,
    /// The level the cluster runs, 0 when off.
    pub finalized: i16,
}

/// First request version to which a feature with minimum 0 may be shown; Java clients below it reject the
/// whole answer (KAFKA-17011, KAFKA-17492).
const SHOWS_MINIMUM_ZERO: i16 = 4;

/// The answer to a request of a version we speak, on a listener that serves `apis`. `epoch` is the version of the
/// finalized features and only grows.
pub fn answer<'a>(
    version: i16,
    error: i16,
    apis: impl Iterator<Item = &'a Api>,
    features: &[Feature],
    epoch: i64,
) -> ApiVersionsResponse {
    let keys = apis.map(|api| {
        ApiVersion::default().with_api_key(api.key.code()).with_min_version(api.min).with_max_version(api.max)
    });
    let response = ApiVersionsResponse::default().with_error_code(error).with_api_keys(keys.collect());
    if version < 3 {
        return response;
    }
    let shown = features.iter().filter(|feature| feature.min > 0 || version >= SHOWS_MINIMUM_ZERO);
    let supported = shown.map(|feature| {
        SupportedFeatureKey::default()
            .with_name(StrBytes::from_static_str(feature.name))
            .with_min_version(feature.min)
            .with_max_version(feature.max)
    });
    let on = features.iter().filter(|feature| feature.finalized > 0);
    let finalized = on.map(|feature| {
        FinalizedFeatureKey::default()
            .with_name(StrBytes::from_static_str(feature.name))
            .with_min_version_level(feature.finalized)
            .with_max_version_level(feature.finalized)
    });
    response
        .with_supported_features(supported.collect())
        .with_finalized_features_epoch(epoch.max(0))
        .with_finalized_features(finalized.collect())
}

/// The answer to a version we do not speak: this API's own versions, for the client to choose from (KIP-511).
pub fn unsupported(error: i16) -> ApiVersionsResponse {
    let api = ApiKey::ApiVersions.api();
    let own = ApiVersion::default()
        .with_api_key(api.key.code())
        .with_min_version(api.min)
        .with_max_version(api.max);
    ApiVersionsResponse::default().with_error_code(error).with_api_keys(vec![own])
}

/// Whether a client's name or version may stand in logs and metrics:
/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (KIP-511).
pub fn names_a_client(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api_key::TABLE;
    use crate::wire::header::Header;
    use crate::wire::message::Decodable;
    use crate::wire::response::encode_in;

    const FEATURES: &[Feature] = &[
        Feature { name: "metadata.version", min: 7, max: 30, finalized: 30 },
        Feature { name: "group.version", min: 0, max: 1, finalized: 0 },
    ];

    #[test]
    fn every_version_encodes_behind_response_header_zero() {
        for version in 0..=4 {
            let header = Header { api_key: ApiKey::ApiVersions, version, correlation_id: 9, client_id: None };
            let response =
                encode_in(&header, version, &answer(version, 0, TABLE.iter(), FEATURES, 5)).expect("encodes");
            let mut body = response.flattened().slice(8..);
            let decoded = ApiVersionsResponse::decode(&mut body, version).expect("decodes");
            assert!(body.is_empty(), "{} bytes left: a tag section in the header?", body.len());
            assert_eq!(decoded.api_keys.len(), TABLE.len());
        }
    }

    #[test]
    fn features_with_minimum_zero_are_hidden_from_version_three() {
        let names = |version| {
            let features = answer(version, 0, TABLE.iter(), FEATURES, 5).supported_features;
            features.iter().map(|feature| feature.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(3), ["metadata.version"]);
        assert_eq!(names(4), ["metadata.version", "group.version"]);
        let finalized = answer(4, 0, TABLE.iter(), FEATURES, -1);
        assert_eq!(finalized.finalized_features.len(), 1, "level 0 is off");
        assert_eq!(finalized.finalized_features_epoch, 0, "clients ignore features below epoch 0");
    }

    #[test]
    fn client_names_are_those_of_kip_511() {
        for good in ["a", "librdkafka", "apache-kafka-java", "2.15.0", "a-.b"] {
            assert!(names_a_client(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "a\n", "ü", "a_b"] {
            assert!(!names_a_client(bad), "{bad}");
        }
    }
}
