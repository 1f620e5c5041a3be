//! Metadata: brokers, topics, leaders, as clients of the listener see them; topics nobody made yet are made when the
//! client and the broker allow it. Not here: who leads what.
//! Invariant: every topic asked for is answered, exactly once.
use std::collections::{BTreeMap, BTreeSet};

use firnline_controller::decide::names;
use firnline_controller::decide::topics::NewTopic;
use firnline_controller::error::CreateTopicError;
use firnline_controller::id::TopicId;
use firnline_controller::image::topics::Topic;

use crate::api::authorized;
use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::api::topics::partition_row::Reachable;
use crate::api::topics::topic_name;
use crate::metadata::view::MetadataView;
use crate::wire::header::Header;
use crate::wire::message::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::wire::message::{BrokerId, MetadataRequest, MetadataResponse, StrBytes, TopicName};
use crate::wire::response::encode;

/// First version that looks topics up by id; 10 and 11 carry ids but may not use them.
const BY_ID: i16 = 12;
/// First version that knows LISTENER_NOT_FOUND.
const LISTENER_NOT_FOUND: i16 = 6;

/// What one request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    All,
    These(Vec<Named>),
    /// Ids or nulls in a version that may not use them: each topic is answered with INVALID_REQUEST.
    Invalid(Vec<Named>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Name(String),
    Id(TopicId),
}

/// What the answer is made from, beside the image.
struct Asked<'a> {
    version: i16,
    listener: &'a str,
    cluster_id: &'a str,
    node_id: i32,
    cluster_operations: bool,
    topic_operations: bool,
    wanted: Wanted,
    /// Why topics that should have been made were not.
    refused: BTreeMap<String, ErrorCode>,
}

/// Handles one Metadata request.
pub fn handle(ctx: &Context, header: &Header, request: MetadataRequest) -> Answer {
    let wanted = Wanted::of(header.version, &request);
    let missing = match ctx.shared.config.topics.auto_create && request.allow_auto_topic_creation {
        true => wanted.missing(&ctx.metadata()),
        false => Vec::new(),
    };
    if missing.is_empty() {
        return answer_now(ctx, header, &request, wanted, BTreeMap::new());
    }
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let refused = auto_create(&ctx, missing).await;
        answer_now(&ctx, &header, &request, wanted, refused)
    }))
}

fn answer_now(
    ctx: &Context,
    header: &Header,
    request: &MetadataRequest,
    wanted: Wanted,
    refused: BTreeMap<String, ErrorCode>,
) -> Answer {
    let asked = Asked {
        version: header.version,
        listener: &ctx.peer.listener.name,
        cluster_id: &ctx.shared.cluster_id,
        node_id: ctx.controller_id(),
        cluster_operations: request.include_cluster_authorized_operations,
        topic_operations: request.include_topic_authorized_operations,
        wanted,
        refused,
    };
    encode(header, &answer(&ctx.metadata(), &asked)).into()
}

/// Makes topics with the broker's defaults; answers why some were not made.
async fn auto_create(ctx: &Context, names: Vec<String>) -> BTreeMap<String, ErrorCode> {
    let defaults = &ctx.shared.config.topics;
    let topics = names.iter().map(|name| NewTopic {
        name: name.clone(),
        partitions: defaults.partitions,
        replication_factor: defaults.replication_factor,
        ..NewTopic::default()
    });
    let outcomes = ctx.shared.controller.create_topics(topics.collect(), false).await;
    ctx.assigned(ctx.shared.controller.image().offset).await;
    let mut refused = BTreeMap::new();
    for (name, outcome) in names.into_iter().zip(outcomes) {
        match outcome {
            Ok(_) => tracing::info!(topic = name, "topic created because a client asked for its metadata"),
            // Another client was faster.
            Err(CreateTopicError::Exists { .. }) => {}
            Err(error) => {
                tracing::warn!(topic = name, %error, "topic not created");
                refused.insert(name, ErrorCode::from(&error));
            }
        }
    }
    refused
}

impl Wanted {
    fn of(version: i16, request: &MetadataRequest) -> Wanted {
        let Some(topics) = &request.topics else { return Wanted::All };
        if version == 0 && topics.is_empty() {
            return Wanted::All;
        }
        let mut valid = true;
        let mut seen = BTreeSet::new();
        let mut these = Vec::with_capacity(topics.len());
        for topic in topics {
            let named = match &topic.name {
                _ if !topic.topic_id.is_nil() => Named::Id(TopicId(topic.topic_id)),
                Some(name) => Named::Name(name.to_string()),
                None => Named::Id(TopicId::ZERO),
            };
            valid &= version >= BY_ID || matches!(named, Named::Name(_));
            if seen.insert(named.clone()) {
                these.push(named);
            }
        }
        if valid { Wanted::These(these) } else { Wanted::Invalid(these) }
    }

    /// Topics that a client may make and nobody has.
    fn missing(&self, view: &MetadataView) -> Vec<String> {
        let Wanted::These(these) = self else { return Vec::new() };
        let names = these.iter().filter_map(|named| match named {
            Named::Name(name) => Some(name),
            Named::Id(_) => None,
        });
        names.filter(|name| topic_name::may_be_created(name) && view.topic(name).is_none()).cloned().collect()
    }
}

fn answer(view: &MetadataView, asked: &Asked<'_>) -> MetadataResponse {
    let reachable = Reachable::by(view, asked.listener);
    let topics = match &asked.wanted {
        Wanted::All => view.image().topics.iter().map(|topic| known(topic, &reachable, asked)).collect(),
        Wanted::These(these) => these.iter().map(|named| one(view, named, &reachable, asked)).collect(),
        Wanted::Invalid(these) => {
            these.iter().map(|named| failed(named, ErrorCode::InvalidRequest)).collect()
        }
    };
    let brokers = reachable.brokers.into_iter().map(|broker| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(broker.id))
            .with_host(StrBytes::from_string(broker.host))
            .with_port(i32::from(broker.port))
            .with_rack(broker.rack.map(StrBytes::from_string))
    });
    MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(StrBytes::from_string(asked.cluster_id.to_owned())))
        .with_controller_id(BrokerId(asked.node_id))
        .with_cluster_authorized_operations(authorized::when(asked.cluster_operations, authorized::CLUSTER))
        .with_topics(topics)
}

fn one(
    view: &MetadataView,
    named: &Named,
    reachable: &Reachable,
    asked: &Asked<'_>,
) -> MetadataResponseTopic {
    let (topic, unknown) = match named {
        Named::Id(id) => (view.topic_by_id(*id), ErrorCode::UnknownTopicId),
        Named::Name(name) if names::illegal(name).is_some() => (None, ErrorCode::InvalidTopic),
        Named::Name(name) => {
            let refused = asked.refused.get(name).copied();
            (view.topic(name), refused.unwrap_or(ErrorCode::UnknownTopicOrPartition))
        }
    };
    topic.map_or_else(|| failed(named, unknown), |topic| known(topic, reachable, asked))
}

fn failed(named: &Named, code: ErrorCode) -> MetadataResponseTopic {
    let topic = MetadataResponseTopic::default().with_error_code(code.code());
    match named {
        Named::Name(name) => {
            let internal = topic_name::internal(name);
            topic.with_name(Some(named_as(name))).with_is_internal(internal)
        }
        // A null name belongs to ids; versions that have none get an empty one.
        Named::Id(id) if code == ErrorCode::UnknownTopicId => topic.with_topic_id(id.0).with_name(None),
        Named::Id(id) => topic.with_topic_id(id.0).with_name(Some(named_as(""))),
    }
}

fn known(topic: &Topic, reachable: &Reachable, asked: &Asked<'_>) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().zip(0..).map(|(partition, index)| {
        let row = reachable.row(topic.id, index, partition);
        let error = match row.error {
            ErrorCode::ListenerNotFound if asked.version < LISTENER_NOT_FOUND => {
                ErrorCode::LeaderNotAvailable
            }
            error => error,
        };
        MetadataResponsePartition::default()
            .with_error_code(error.code())
            .with_partition_index(index)
            .with_leader_id(row.leader)
            .with_leader_epoch(row.leader_epoch)
            .with_replica_nodes(row.replicas)
            .with_isr_nodes(row.in_sync)
            .with_offline_replicas(row.offline)
    });
    MetadataResponseTopic::default()
        .with_name(Some(named_as(&topic.name)))
        .with_topic_id(topic.id.0)
        .with_is_internal(topic_name::internal(&topic.name))
        .with_topic_authorized_operations(authorized::when(asked.topic_operations, authorized::TOPIC))
        .with_partitions(partitions.collect())
}

fn named_as(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::sample::{self, ORDERS};
    use crate::wire::api_key::ApiKey;
    use crate::wire::message::Decodable;
    use crate::wire::message::metadata_request::MetadataRequestTopic;
    use uuid::Uuid;

    fn named(name: &str) -> MetadataRequestTopic {
        MetadataRequestTopic::default().with_name(Some(named_as(name)))
    }

    fn by_id(id: Uuid) -> MetadataRequestTopic {
        MetadataRequestTopic::default().with_name(None).with_topic_id(id)
    }

    fn ask(version: i16, listener: &str, topics: Option<Vec<MetadataRequestTopic>>) -> MetadataResponse {
        let request = MetadataRequest::default().with_topics(topics);
        let asked = Asked {
            version,
            listener,
            cluster_id: "AAAAAAAAAAAAAAAAAAAAAA",
            node_id: 1,
            cluster_operations: (8..=10).contains(&version),
            topic_operations: version >= 8,
            wanted: Wanted::of(version, &request),
            refused: BTreeMap::from([("refused".to_owned(), ErrorCode::InvalidReplicationFactor)]),
        };
        answer(&sample::view(), &asked)
    }

    fn names(response: &MetadataResponse) -> Vec<&str> {
        response.topics.iter().map(|topic| topic.name.as_ref().map_or("", |name| name.as_str())).collect()
    }

    #[test]
    fn null_means_all_and_an_empty_list_none_except_in_version_zero() {
        let all = ["__consumer_offsets", "orders", "quiet"];
        assert_eq!(names(&ask(0, "IN", Some(Vec::new()))), all);
        assert_eq!(names(&ask(1, "IN", None)), all);
        assert_eq!(names(&ask(1, "IN", Some(Vec::new()))), [""; 0]);
    }

    #[test]
    fn every_topic_asked_for_is_answered_once() {
        let asked = ["orders", "nobody", "..", "orders", "refused"].map(named).to_vec();
        let response = ask(9, "IN", Some(asked));
        assert_eq!(names(&response), ["orders", "nobody", "..", "refused"]);
        let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, 3, 17, 38]);
    }

    #[test]
    fn ids_are_looked_up_from_version_twelve_on() {
        let unknown = Uuid::from_u128(99);
        let response = ask(12, "IN", Some(vec![by_id(ORDERS.0), by_id(unknown), by_id(Uuid::nil())]));
        let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, 100, 100]);
        assert_eq!((response.topics[1].topic_id, &response.topics[1].name), (unknown, &None));
        for version in [10, 11] {
            let response = ask(version, "IN", Some(vec![by_id(ORDERS.0), named("orders")]));
            assert!(
                response.topics.iter().all(|topic| topic.error_code == 42),
                "version {version}: {response:?}"
            );
        }
    }

    #[test]
    fn leaders_are_named_only_where_the_listener_reaches_them() {
        let rows = |version, listener| {
            let response = ask(version, listener, Some(vec![named("orders"), named("quiet")]));
            let partitions = response.topics.into_iter().flat_map(|topic| topic.partitions);
            partitions.map(|partition| (partition.error_code, partition.leader_id.0)).collect::<Vec<_>>()
        };
        assert_eq!(rows(9, "IN"), [(0, 1), (0, 2), (5, -1), (5, -1)]);
        assert_eq!(rows(9, "OUT"), [(0, 1), (72, -1), (5, -1), (5, -1)], "broker 2 has no listener OUT");
        assert_eq!(rows(5, "OUT"), [(0, 1), (5, -1), (5, -1), (5, -1)], "version 5 does not know 72");
        let response = ask(9, "OUT", Some(vec![named("orders")]));
        let hosts: Vec<_> = response.brokers.iter().map(|broker| broker.host.as_str()).collect();
        assert_eq!(hosts, ["out-1"]);
        assert_eq!(response.topics[0].partitions[0].offline_replicas, [BrokerId(3)]);
    }

    #[test]
    fn only_topics_a_client_may_make_are_missing() {
        let asked = ["orders", "new", "a/b", "__transaction_state", "new"].map(named).to_vec();
        let wanted = Wanted::of(9, &MetadataRequest::default().with_topics(Some(asked)));
        assert_eq!(wanted.missing(&sample::view()), ["new"]);
        assert_eq!(Wanted::All.missing(&sample::view()), [""; 0]);
    }

    #[test]
    fn every_version_encodes() {
        for version in 0..=13 {
            let header = Header { api_key: ApiKey::Metadata, version, correlation_id: 1, client_id: None };
            let unknown = if version >= 12 { by_id(Uuid::from_u128(9)) } else { named("nobody") };
            let response = ask(version, "IN", Some(vec![named("orders"), named(".."), unknown]));
            let encoded = encode(&header, &response).unwrap_or_else(|error| panic!("{version}: {error}"));
            let mut body = encoded.flattened().split_off(if version >= 9 { 9 } else { 8 });
            let decoded = MetadataResponse::decode(&mut body, version).expect("decodes");
            assert_eq!(decoded.topics.len(), 3);
            let operations = decoded.topics[0].topic_authorized_operations;
            assert_eq!(operations, if version >= 8 { authorized::TOPIC } else { authorized::NOT_ASKED });
        }
    }
}
