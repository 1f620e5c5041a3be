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
