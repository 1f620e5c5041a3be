//! What a configuration request is about: a topic or a broker, by Kafka's resource types.
//! Not its configuration. Invariant: a resource that is named exists.
use firnline_controller::id::BrokerId;
use firnline_controller::record::kinds::Resource;

use firnline_controller::decide::names;

use crate::api::error_code::{ErrorCode, Failure};
use crate::metadata::view::MetadataView;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// The resource of a type and name.
///
/// # Errors
/// No such topic or broker, or a type that has no configuration here.
pub fn named(view: &MetadataView, kind: i8, name: &str) -> Result<Resource, Failure> {
    match kind {
        TOPIC => topic(view, name),
        BROKER if name.is_empty() => Ok(Resource::BrokerDefault),
        BROKER => broker(view, name),
        BROKER_LOGGER => {
            Err(Failure::new(ErrorCode::InvalidRequest, "log levels are set by RUST_LOG at start"))
        }
        CLIENT_METRICS => {
            Err(Failure::new(ErrorCode::InvalidRequest, "client metrics are not collected here"))
        }
        GROUP => {
            Err(Failure::new(ErrorCode::InvalidRequest, "groups have no configuration of their own here"))
        }
        other => {
            Err(Failure::new(ErrorCode::InvalidRequest, format!("no resource type has the number {other}")))
        }
    }
}

fn topic(view: &MetadataView, name: &str) -> Result<Resource, Failure> {
    if let Some(why) = names::illegal(name) {
        return Err(Failure::new(ErrorCode::InvalidTopic, format!("topic name is invalid: {why}")));
    }
    match view.topic(name) {
        Some(topic) => Ok(Resource::Topic(topic.id)),
        None => Err(Failure::new(ErrorCode::UnknownTopicOrPartition, format!("there is no topic '{name}'"))),
    }
}

fn broker(view: &MetadataView, name: &str) -> Result<Resource, Failure> {
    let id = name.parse().map_err(|_| {
        Failure::new(ErrorCode::InvalidRequest, format!("a broker is named by its number, not '{name}'"))
    })?;
    match view.image().brokers.get(BrokerId(id)) {
        Some(broker) => Ok(Resource::Broker(broker.id)),
        None => Err(Failure::new(ErrorCode::BrokerIdNotRegistered, format!("there is no broker {id}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::sample::{self, ORDERS};

    #[test]
    fn what_is_named_exists() {
        let code = |kind, name| named(&sample::view(), kind, name).map_err(|failure| failure.code);
        assert_eq!(code(TOPIC, "orders"), Ok(Resource::Topic(ORDERS)));
        assert_eq!(code(TOPIC, "nobody"), Err(ErrorCode::UnknownTopicOrPartition));
        assert_eq!(code(TOPIC, "a/b"), Err(ErrorCode::InvalidTopic));
        assert_eq!(code(BROKER, ""), Ok(Resource::BrokerDefault));
        assert_eq!(code(BROKER, "3"), Ok(Resource::Broker(BrokerId(3))));
        assert_eq!(code(BROKER, "9"), Err(ErrorCode::BrokerIdNotRegistered));
        assert_eq!(code(BROKER, "x"), Err(ErrorCode::InvalidRequest));
        for kind in [0, 1, BROKER_LOGGER, CLIENT_METRICS, GROUP, 99] {
            assert_eq!(code(kind, "x"), Err(ErrorCode::InvalidRequest), "{kind}");
        }
    }
}
