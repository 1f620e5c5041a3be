//! CreateTopics: resolves defaults, checks configuration, asks the controller, and tells what was made, with every
//! effective configuration value from version 5 on. Not here: names, counts and placement (the controller's).
//! Invariant: one result per topic name, and a created topic can be used by whoever reads the answer.
use std::collections::BTreeMap;
use std::time::Duration;

use firnline_controller::decide::topics::{CreatedTopic, NewTopic};
use firnline_controller::id::BrokerId;

use crate::api::context::{Answer, Context};
use crate::api::error_code::{ErrorCode, Failure};
use crate::config::broker::TopicDefaults;
use crate::config::settings::Settings;
use crate::config::{describe, topic};
use crate::metadata::settings;
use crate::metadata::view::MetadataView;
use crate::wire::header::Header;
use crate::wire::message::create_topics_request::CreatableTopic;
use crate::wire::message::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use crate::wire::message::{CreateTopicsRequest, CreateTopicsResponse, StrBytes, TopicName};
use crate::wire::response::encode;

/// First version whose answer holds partitions, replication factor and configuration.
const TELLS_CONFIGS: i16 = 5;

/// The name tools know the quorum's log by; no topic may take it.
const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Handles one CreateTopics request.
pub fn handle(ctx: &Context, header: &Header, request: CreateTopicsRequest) -> Answer {
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let response = create(&ctx, header.version, request).await;
        encode(&header, &response).into()
    }))
}

async fn create(ctx: &Context, version: i16, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let (view, config) = (ctx.metadata(), &ctx.shared.config);
    let settings = settings::in_force(config, &view);
    let plan = plan(&view, &settings, &config.topics, &request.topics);
    let asked: Vec<NewTopic> =
        plan.iter().filter_map(|(_, planned)| planned.as_ref().ok().cloned()).collect();
    let mut outcomes = ctx.shared.controller.create_topics(asked, request.validate_only).await.into_iter();
    if !request.validate_only {
        wait_until_usable(ctx, request.timeout_ms).await;
    }
    let results = plan.into_iter().map(|(name, planned)| {
        let outcome = match planned {
            Err(failure) => Err(failure),
            Ok(_) => match outcomes.next() {
                Some(outcome) => outcome.map_err(|error| Failure::of(&error)),
                None => Err(Failure::from(ErrorCode::RequestTimedOut)),
            },
        };
        match outcome {
            Ok(created) => made(version, &settings, created),
            Err(failure) => refused(name, failure),
        }
    });
    CreateTopicsResponse::default().with_topics(results.collect())
}

/// Clients look for a new topic at once: waits until this broker has opened its partitions, no longer than the
/// client does. What was created stays created.
pub(crate) async fn wait_until_usable(ctx: &Context, timeout_ms: i32) {
    let offset = ctx.shared.controller.image().offset;
    let within = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    if tokio::time::timeout(within, ctx.assigned(offset)).await.is_err() {
        tracing::warn!(offset, timeout_ms, "answered before the change was acted on");
    }
}

/// What to ask the controller, or why not, once per topic name in the request's order.
fn plan(
    view: &MetadataView,
    settings: &Settings,
    defaults: &TopicDefaults,
    asked: &[CreatableTopic],
) -> Vec<(String, Result<NewTopic, Failure>)> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in asked {
        *times.entry(topic.name.as_str()).or_default() += 1;
    }
    let mut plan = Vec::with_capacity(times.len());
    for topic in asked {
        // A name that was dealt with is gone from the map.
        let planned = match times.remove(topic.name.as_str()) {
            None => continue,
            Some(1) => new_topic(view, settings, defaults, topic),
            Some(_) => Err(Failure::new(ErrorCode::InvalidRequest, "the request names this topic twice")),
        };
        plan.push((topic.name.to_string(), planned));
    }
    plan
}

fn new_topic(
    view: &MetadataView,
    settings: &Settings,
    defaults: &TopicDefaults,
    asked: &CreatableTopic,
) -> Result<NewTopic, Failure> {
    let name = asked.name.to_string();
    if name == CLUSTER_METADATA {
        let why = format!("creation of internal topic {name} is prohibited");
        return Err(Failure::new(ErrorCode::InvalidRequest, why));
    }
    let mut configs = BTreeMap::new();
    for config in &asked.configs {
        let Some(value) = &config.value else {
            let why = format!("configuration {} has no value", config.name.as_str());
            return Err(Failure::new(ErrorCode::InvalidConfig, why));
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    // That it exists is the better answer, and the controller gives it.
    if view.topic(&name).is_none() {
        topic::validate(settings, &name, &configs, false).map_err(|error| Failure::of(&error))?;
    }
    let placed = !asked.assignments.is_empty();
    let replicas = |ids: &[crate::wire::message::BrokerId]| ids.iter().map(|id| BrokerId(id.0)).collect();
    let assignments = asked.assignments.iter().map(|of| (of.partition_index, replicas(&of.broker_ids)));
    Ok(NewTopic {
        name,
        partitions: match asked.num_partitions {
            -1 if !placed => defaults.partitions,
            partitions => partitions,
        },
        replication_factor: match asked.replication_factor {
            -1 if !placed => defaults.replication_factor,
            factor => factor,
        },
        assignments: assignments.collect(),
        configs: configs.into_iter().collect(),
    })
}

fn made(version: i16, settings: &Settings, created: CreatedTopic) -> CreatableTopicResult {
    let name = TopicName(StrBytes::from_string(created.name));
    let result = CreatableTopicResult::default().with_name(name).with_topic_id(created.id.0);
    if version < TELLS_CONFIGS {
        return result;
    }
    let configs = describe::topic(settings, &created.configs.into_iter().collect());
    let configs = configs.into_iter().map(|config| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_string(config.name.to_string()))
            .with_value(config.value.map(StrBytes::from_string))
            .with_read_only(config.read_only)
            .with_config_source(config.source)
            .with_is_sensitive(config.sensitive)
    });
    result
        .with_num_partitions(created.partitions)
        .with_replication_factor(created.replication_factor)
        .with_configs(Some(configs.collect()))
}

fn refused(name: String, failure: Failure) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(TopicName(StrBytes::from_string(name)))
        .with_error_code(failure.code.code())
        .with_error_message(failure.message.map(StrBytes::from_string))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::sample;
    use crate::wire::api_key::ApiKey;
    use crate::wire::message::create_topics_request::{CreatableReplicaAssignment, CreatableTopicConfig};
    use firnline_controller::id::TopicId;

    const DEFAULTS: TopicDefaults =
        TopicDefaults { auto_create: true, delete_enable: true, partitions: 4, replication_factor: 1 };

    fn asked(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
        let name = TopicName(StrBytes::from_string(name.to_owned()));
        CreatableTopic::default()
            .with_name(name)
            .with_num_partitions(partitions)
            .with_replication_factor(factor)
    }

    fn with_config(topic: CreatableTopic, key: &'static str, value: Option<&'static str>) -> CreatableTopic {
        let config = CreatableTopicConfig::default().with_name(StrBytes::from_static_str(key));
        let config = config.with_value(value.map(StrBytes::from_static_str));
        topic.with_configs(vec![config])
    }

    fn planned(topics: &[CreatableTopic]) -> Vec<(String, Result<NewTopic, ErrorCode>)> {
        let plan = plan(&sample::view(), &Settings::default(), &DEFAULTS, topics);
        plan.into_iter().map(|(name, planned)| (name, planned.map_err(|failure| failure.code))).collect()
    }

    fn code(topic: CreatableTopic) -> Result<(), ErrorCode> {
        planned(&[topic]).remove(0).1.map(|_| ())
    }

    #[test]
    fn minus_one_is_the_brokers_default_unless_replicas_are_given() {
        let new = planned(&[asked("a", -1, -1)]).remove(0).1.expect("planned");
        assert_eq!((new.partitions, new.replication_factor), (4, 1));
        let of =
            CreatableReplicaAssignment::default().with_broker_ids(vec![crate::wire::message::BrokerId(2)]);
        let new = planned(&[asked("a", -1, -1).with_assignments(vec![of])]).remove(0).1.expect("planned");
        assert_eq!((new.partitions, new.replication_factor), (-1, -1));
        assert_eq!(new.assignments, [(0, vec![BrokerId(2)])]);
        let new = planned(&[asked("a", 0, -2)]).remove(0).1.expect("the controller refuses it");
        assert_eq!((new.partitions, new.replication_factor), (0, -2));
    }

    #[test]
    fn a_name_twice_is_one_refusal() {
        let plan = planned(&[asked("a", 1, 1), asked("b", 1, 1), asked("a", 2, 1)]);
        let names: Vec<_> = plan.iter().map(|(name, planned)| (name.as_str(), planned.is_ok())).collect();
        assert_eq!(names, [("a", false), ("b", true)]);
        assert_eq!(plan[0].1, Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn configuration_is_checked_before_the_controller_is_asked() {
        assert_eq!(code(with_config(asked("a", 1, 1), "retention.ms", Some("7"))), Ok(()));
        assert_eq!(code(with_config(asked("a", 1, 1), "retention.ms", None)), Err(ErrorCode::InvalidConfig));
        assert_eq!(
            code(with_config(asked("a", 1, 1), "retention.ms", Some("x"))),
            Err(ErrorCode::InvalidConfig)
        );
        assert_eq!(
            code(with_config(asked("a", 1, 1), "retention.mss", Some("7"))),
            Err(ErrorCode::InvalidConfig)
        );
        let exists = with_config(asked("orders", 1, 1), "retention.mss", Some("7"));
        assert_eq!(code(exists), Ok(()), "that it exists is the better answer");
        assert_eq!(code(asked(CLUSTER_METADATA, 1, 1)), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn every_version_encodes_and_tells_configuration_from_five_on() {
        for version in 2..=7 {
            let created = CreatedTopic {
                name: "a".to_owned(),
                id: TopicId(uuid::Uuid::from_u128(5)),
                partitions: 3,
                replication_factor: 1,
                configs: vec![("retention.ms".to_owned(), "7".to_owned())],
            };
            let good = made(version, &Settings::default(), created);
            let retention =
                good.configs.iter().flatten().find(|config| config.name.as_str() == "retention.ms");
            assert_eq!(retention.and_then(|config| config.value.as_deref()), (version >= 5).then_some("7"));
            let bad = refused("b".to_owned(), Failure::new(ErrorCode::InvalidConfig, "no"));
            let response = CreateTopicsResponse::default().with_topics(vec![good, bad]);
            let header =
                Header { api_key: ApiKey::CreateTopics, version, correlation_id: 1, client_id: None };
            encode(&header, &response).unwrap_or_else(|error| panic!("{version}: {error}"));
        }
    }
}
