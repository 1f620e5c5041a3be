//! A topic's settings: its own overrides over the broker's defaults, typed.
//! It does not store anything: overrides live in the metadata image, as text that `alter` has checked before.

use std::collections::BTreeMap;

use crate::config::error::ConfigError;
use crate::config::settings::Settings;

/// What the broker itself reads of a topic; the log's part is `LogConfig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `retention.ms`, -1 = for ever.
    pub retention_ms: i64,
    /// `remote.storage.enable`.
    pub remote_enabled: bool,
}

impl TopicConfig {
    /// Resolves `overrides` (the image's text) over the broker's settings. Errors name key, value and what is expected.
    pub fn resolve(
        _settings: &Settings,
        _overrides: &BTreeMap<String, String>,
    ) -> Result<TopicConfig, ConfigError> {
        todo!("first landing: signatures")
    }
}

/// Checks the whole set of overrides of a topic about to be created: unknown names, values, and rules between keys.
pub fn validate(
    _settings: &Settings,
    _topic: &str,
    _overrides: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    todo!("first landing: signatures")
}
