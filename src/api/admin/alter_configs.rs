//! IncrementalAlterConfigs: set, delete, append to, subtract from a resource's configuration, all or nothing.
//! Not here: what keys and values are allowed (the table's), or storing them (the controller's).
//! Invariant: one result per resource named.
use std::collections::{BTreeMap, BTreeSet};

use firnline_controller::decide::policy::MIN_INSYNC_REPLICAS;
use firnline_controller::record::kinds::Resource;

use crate::api::admin::resource;
use crate::api::context::{Answer, Context};
use crate::api::error_code::{ErrorCode, Failure};
use crate::api::topics::create_topics::wait_until_usable;
use crate::config::alter::{self, Alteration, Op};
use crate::config::settings::Settings;
use crate::metadata::settings;
use crate::metadata::view::MetadataView;
use crate::wire::header::Header;
use crate::wire::message::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use crate::wire::message::incremental_alter_configs_response::AlterConfigsResourceResponse;
use crate::wire::message::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, StrBytes};
use crate::wire::response::encode;

/// How long an answer waits for this broker to act on the change, milliseconds. The request names no time.
const ACTED_ON_MS: i32 = 5_000;

/// Values to store; `None` removes one.
type Changes = Vec<(String, Option<String>)>;

/// A resource of the request, and what to store for it or why not.
type Planned<'a> = (&'a AlterConfigsResource, Result<(Resource, Changes), Failure>);

/// Handles one IncrementalAlterConfigs request.
pub fn handle(ctx: &Context, header: &Header, request: IncrementalAlterConfigsRequest) -> Answer {
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let (view, mut changed) = (ctx.metadata(), false);
        let settings = settings::in_force(&ctx.shared.config, &view);
        let mut responses = Vec::new();
        for (asked, planned) in plan(&view, &settings, &request.resources) {
            let outcome = match planned {
                Ok((resource, changes)) if !request.validate_only && !changes.is_empty() => {
                    changed = true;
                    let altered = ctx.shared.controller.alter_configs(resource, changes).await;
                    altered.map_err(|error| Failure::of(&error))
                }
                Ok(_) => Ok(()),
                Err(failure) => Err(failure),
            };
            responses.push(result(asked, outcome));
        }
        if changed {
            wait_until_usable(&ctx, ACTED_ON_MS).await;
        }
        encode(&header, &IncrementalAlterConfigsResponse::default().with_responses(responses)).into()
    }))
}

/// What to store for each resource, or why not, once per resource in the request's order.
fn plan<'a>(view: &MetadataView, settings: &Settings, asked: &'a [AlterConfigsResource]) -> Vec<Planned<'a>> {
    let key = |asked: &'a AlterConfigsResource| (asked.resource_type, asked.resource_name.as_str());
    let mut times: BTreeMap<(i8, &str), usize> = BTreeMap::new();
    for resource in asked {
        *times.entry(key(resource)).or_default() += 1;
    }
    let mut plan = Vec::with_capacity(times.len());
    for resource in asked {
        let planned = match times.remove(&key(resource)) {
            None => continue,
            Some(1) => changes(view, settings, resource),
            Some(_) => Err(Failure::new(ErrorCode::InvalidRequest, "the request names this resource twice")),
        };
        plan.push((resource, planned));
    }
    plan
}

fn changes(
    view: &MetadataView,
    settings: &Settings,
    asked: &AlterConfigsResource,
) -> Result<(Resource, Changes), Failure> {
    let resource = resource::named(view, asked.resource_type, &asked.resource_name)?;
    let ops = alterations(&asked.configs)?;
    check_min_insync(view, resource, &ops)?;
    let current = view.overrides(resource);
    let changes = match resource {
        Resource::Topic(_) => alter::topic(settings, &asked.resource_name, &current, &ops),
        Resource::Broker(_) | Resource::BrokerDefault => alter::broker(settings, &current, &ops),
    };
    changes.map(|changes| (resource, changes)).map_err(|error| Failure::of(&error))
}

/// Where eligible leaders are kept (KIP-966), the controller has to know below how many members nothing is acked, and it
/// knows no single broker's setting. Kafka refuses it in these words.
fn check_min_insync(view: &MetadataView, resource: Resource, ops: &[Alteration]) -> Result<(), Failure> {
    let sets = |op: &Alteration| op.name == MIN_INSYNC_REPLICAS && op.op != Op::Delete;
    match resource {
        Resource::Broker(_) if view.image().feature_level >= 2 && ops.iter().any(sets) => {
            let why = "Broker-level min.insync.replicas cannot be altered while ELR is enabled.";
            Err(Failure::new(ErrorCode::InvalidConfig, why))
        }
        _ => Ok(()),
    }
}

fn alterations(asked: &[AlterableConfig]) -> Result<Vec<Alteration>, Failure> {
    let invalid = |why: String| Failure::new(ErrorCode::InvalidRequest, why);
    let mut seen = BTreeSet::new();
    let mut ops = Vec::with_capacity(asked.len());
    for config in asked {
        let name = config.name.to_string();
        let number = config.config_operation;
        let op =
            Op::from_wire(number).ok_or_else(|| invalid(format!("no operation has the number {number}")))?;
        if !seen.insert(config.name.as_str()) {
            return Err(invalid(format!("the request names {name} twice")));
        }
        if config.value.is_none() && op != Op::Delete {
            return Err(invalid(format!("{name} has no value")));
        }
        ops.push(Alteration { name, op, value: config.value.as_ref().map(|value| value.to_string()) });
    }
    Ok(ops)
}

fn result(asked: &AlterConfigsResource, outcome: Result<(), Failure>) -> AlterConfigsResourceResponse {
    let result = AlterConfigsResourceResponse::default()
        .with_resource_type(asked.resource_type)
        .with_resource_name(asked.resource_name.clone());
    match outcome {
        Ok(()) => result,
        Err(failure) => result
            .with_error_code(failure.code.code())
            .with_error_message(failure.message.map(StrBytes::from_string)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::sample::{self, ORDERS};

    const TOPIC: i8 = 2;

    fn op(name: &'static str, number: i8, value: Option<&'static str>) -> AlterableConfig {
        let config = AlterableConfig::default().with_name(StrBytes::from_static_str(name));
        config.with_config_operation(number).with_value(value.map(StrBytes::from_static_str))
    }

    fn about(name: &'static str, ops: Vec<AlterableConfig>) -> AlterConfigsResource {
        let name = StrBytes::from_static_str(name);
        AlterConfigsResource::default().with_resource_type(TOPIC).with_resource_name(name).with_configs(ops)
    }

    fn planned(ops: Vec<AlterableConfig>) -> Result<Changes, ErrorCode> {
        let asked = [about("orders", ops)];
        let planned = plan(&sample::view(), &Settings::default(), &asked).remove(0).1;
        planned.map_err(|failure| failure.code).map(|(resource, changes)| {
            assert_eq!(resource, Resource::Topic(ORDERS));
            changes
        })
    }

    #[test]
    fn operations_become_changes() {
        let set = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        assert_eq!(planned(vec![op("segment.ms", 0, Some("70"))]), Ok(vec![set("segment.ms", "70")]));
        assert_eq!(planned(vec![op("retention.ms", 1, None)]), Ok(vec![("retention.ms".to_owned(), None)]));
        let appended = planned(vec![op("cleanup.policy", 2, Some("compact"))]);
        assert_eq!(appended, Ok(vec![set("cleanup.policy", "delete,compact")]));
    }

    #[test]
    fn one_brokers_min_insync_replicas_is_refused_as_in_kafka() {
        let planned = |broker: &'static str, number, value| {
            let asked = [about(broker, vec![op("min.insync.replicas", number, value)]).with_resource_type(4)];
            plan(&sample::view(), &Settings::default(), &asked).remove(0).1.map_err(|failure| failure.code)
        };
        assert_eq!(planned("1", 0, Some("2")).map(|_| ()), Err(ErrorCode::InvalidConfig));
        assert!(planned("", 0, Some("2")).is_ok(), "the default of all brokers is the controller's, too");
        assert!(planned("1", 1, None).is_ok(), "an old one may go");
    }

    #[test]
    fn what_contradicts_itself_is_an_invalid_request() {
        let invalid = Err(ErrorCode::InvalidRequest);
        assert_eq!(planned(vec![op("retention.ms", 4, Some("7"))]), invalid);
        assert_eq!(planned(vec![op("retention.ms", 0, None)]), invalid);
        assert_eq!(planned(vec![op("retention.ms", 0, Some("7")), op("retention.ms", 1, None)]), invalid);
    }

    #[test]
    fn what_the_table_does_not_allow_is_an_invalid_config() {
        let invalid = Err(ErrorCode::InvalidConfig);
        assert_eq!(planned(vec![op("no.such.key", 0, Some("7"))]), invalid);
        assert_eq!(planned(vec![op("retention.ms", 0, Some("soon"))]), invalid);
        assert_eq!(planned(vec![op("retention.ms", 2, Some("7"))]), invalid, "not a list");
    }

    #[test]
    fn a_resource_twice_is_one_refusal() {
        let asked = [about("orders", vec![]), about("quiet", vec![]), about("orders", vec![])];
        let plan = plan(&sample::view(), &Settings::default(), &asked);
        let codes = plan.iter().map(|(_, planned)| planned.as_ref().err().map(|failure| failure.code));
        assert_eq!(codes.collect::<Vec<_>>(), [Some(ErrorCode::InvalidRequest), None]);
    }
}
