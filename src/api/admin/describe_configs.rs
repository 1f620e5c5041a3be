//! DescribeConfigs: every key of a topic or of this broker, where its value comes from, its type and its doc.
//! Not here: keys and values (the table's). Invariant: a resource asked about is answered, with all its keys or a
//! reason.
use std::collections::BTreeSet;

use firnline_controller::id::BrokerId;
use firnline_controller::record::kinds::Resource;

use crate::api::admin::resource;
use crate::api::context::{Answer, Context};
use crate::api::error_code::{ErrorCode, Failure};
use crate::config::describe::{self, Described};
use crate::config::settings::Settings;
use crate::metadata::settings;
use crate::metadata::view::MetadataView;
use crate::wire::header::Header;
use crate::wire::message::describe_configs_request::DescribeConfigsResource;
use crate::wire::message::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::wire::message::{DescribeConfigsRequest, DescribeConfigsResponse, StrBytes};
use crate::wire::response::encode;

/// Kafka's number for a value set for all brokers.
const DYNAMIC_DEFAULT_BROKER: i8 = 3;

/// Handles one DescribeConfigs request.
pub fn handle(ctx: &Context, header: &Header, request: &DescribeConfigsRequest) -> Answer {
    let (view, config) = (ctx.metadata(), &ctx.shared.config);
    let settings = settings::in_force(config, &view);
    let results = request.resources.iter().map(|asked| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        match described(&view, &settings, config.node_id, asked) {
            Ok(lines) => result.with_configs(chosen(lines, asked, request)),
            Err(failure) => result
                .with_error_code(failure.code.code())
                .with_error_message(failure.message.map(StrBytes::from_string)),
        }
    });
    encode(header, &DescribeConfigsResponse::default().with_results(results.collect())).into()
}

fn described(
    view: &MetadataView,
    settings: &Settings,
    node_id: i32,
    asked: &DescribeConfigsResource,
) -> Result<Vec<Described>, Failure> {
    match resource::named(view, asked.resource_type, &asked.resource_name)? {
        Resource::Topic(id) => Ok(describe::topic(settings, &view.topic_overrides(id))),
        Resource::BrokerDefault => Ok(for_all_brokers(describe::broker(settings))),
        Resource::Broker(id) if id == BrokerId(node_id) => Ok(describe::broker(settings)),
        Resource::Broker(id) => {
            let why = format!("broker {} describes itself, this is broker {node_id}", id.0);
            Err(Failure::new(ErrorCode::InvalidRequest, why))
        }
    }
}

/// What was set for all brokers, and nothing else: what the resource with the empty name holds.
fn for_all_brokers(lines: Vec<Described>) -> Vec<Described> {
    let set = lines.into_iter().filter_map(|mut line| {
        line.synonyms.retain(|synonym| synonym.source == DYNAMIC_DEFAULT_BROKER);
        let synonym = line.synonyms.first()?;
        Some(Described { value: synonym.value.clone(), source: DYNAMIC_DEFAULT_BROKER, ..line })
    });
    set.collect()
}

/// The keys asked for (null or none: all), without what was not asked for.
fn chosen(
    lines: Vec<Described>,
    asked: &DescribeConfigsResource,
    request: &DescribeConfigsRequest,
) -> Vec<DescribeConfigsResourceResult> {
    let keys: BTreeSet<&str> = asked.configuration_keys.iter().flatten().map(|key| key.as_str()).collect();
    let lines = lines.into_iter().filter(|line| keys.is_empty() || keys.contains(&*line.name));
    lines.map(|line| written(line, request)).collect()
}

fn written(line: Described, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let synonyms = line.synonyms.into_iter().filter(|_| request.include_synonyms).map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(StrBytes::from_string(synonym.name.to_string()))
            .with_value(synonym.value.map(StrBytes::from_string))
            .with_source(synonym.source)
    });
    let doc = request.include_documentation.then(|| StrBytes::from_string(line.doc.to_string()));
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_string(line.name.to_string()))
        .with_value(line.value.map(StrBytes::from_string))
        .with_read_only(line.read_only)
        .with_config_source(line.source)
        .with_is_sensitive(line.sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(line.kind)
        .with_documentation(doc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Source;
    use crate::metadata::sample;
    use crate::wire::api_key::ApiKey;

    const TOPIC: i8 = 2;
    const BROKER: i8 = 4;

    fn about(kind: i8, name: &'static str) -> DescribeConfigsResource {
        let name = StrBytes::from_static_str(name);
        let resource = DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(name);
        resource.with_configuration_keys(None)
    }

    fn lines(settings: &Settings, asked: &DescribeConfigsResource) -> Result<Vec<Described>, ErrorCode> {
        described(&sample::view(), settings, 1, asked).map_err(|failure| failure.code)
    }

    #[test]
    fn a_topic_shows_every_key_and_what_was_set_on_it() {
        let lines = lines(&Settings::default(), &about(TOPIC, "orders")).expect("described");
        assert!(lines.len() > 25, "{} keys", lines.len());
        for key in [
            "cleanup.policy",
            "retention.ms",
            "segment.bytes",
            "remote.storage.enable",
            "min.insync.replicas",
        ] {
            assert!(lines.iter().any(|line| line.name == key), "{key} is missing");
        }
        let retention = lines.iter().find(|line| line.name == "retention.ms").expect("there");
        assert_eq!((retention.value.as_deref(), retention.source), (Some("1000"), 1));
        let policy = lines.iter().find(|line| line.name == "cleanup.policy").expect("there");
        assert_eq!((policy.value.as_deref(), policy.source), (Some("delete"), 5));
    }

    #[test]
    fn brokers_describe_themselves_and_the_empty_name_what_is_set_for_all() {
        let mut settings = Settings::default();
        settings.put(Source::DynamicDefault, "log.retention.ms", "9000").expect("a broker key");
        settings.put(Source::DynamicBroker, "log.retention.ms", "9500").expect("a broker key");
        assert!(lines(&settings, &about(BROKER, "1")).expect("itself").len() > 50);
        assert_eq!(lines(&settings, &about(BROKER, "2")), Err(ErrorCode::InvalidRequest));
        let all = lines(&settings, &about(BROKER, "")).expect("for all");
        let rows: Vec<_> = all.iter().map(|line| (&*line.name, line.value.as_deref(), line.source)).collect();
        assert_eq!(rows, [("log.retention.ms", Some("9000"), 3)]);
    }

    #[test]
    fn only_what_was_asked_for_is_written_in_every_version() {
        let keys = ["retention.ms", "nonsense"].map(StrBytes::from_static_str).to_vec();
        let one = about(TOPIC, "orders").with_configuration_keys(Some(keys));
        for version in 1..=4 {
            let request = DescribeConfigsRequest::default()
                .with_include_synonyms(version > 1)
                .with_include_documentation(version >= 3);
            let chosen = chosen(lines(&Settings::default(), &one).expect("described"), &one, &request);
            assert_eq!(chosen.len(), 1);
            assert_eq!(!chosen[0].synonyms.is_empty(), version > 1);
            assert_eq!(chosen[0].documentation.is_some(), version >= 3);
            let result = DescribeConfigsResult::default().with_configs(chosen);
            let header =
                Header { api_key: ApiKey::DescribeConfigs, version, correlation_id: 1, client_id: None };
            let response = DescribeConfigsResponse::default().with_results(vec![result]);
            encode(&header, &response).unwrap_or_else(|error| panic!("{version}: {error}"));
        }
        let none = about(TOPIC, "orders").with_configuration_keys(Some(Vec::new()));
        let all = chosen(
            lines(&Settings::default(), &none).expect("described"),
            &none,
            &DescribeConfigsRequest::default(),
        );
        assert!(all.len() > 25, "an empty list of keys means all of them");
    }
}
