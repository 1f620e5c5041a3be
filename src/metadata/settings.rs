//! The broker's settings as they are now: what it was started with, under what was altered since.
//! It checks nothing (altering did). Invariant: this broker's own dynamic values beat the cluster's.
use firnline_controller::id::BrokerId;
use firnline_controller::record::kinds::Resource;

use crate::config::broker::BrokerConfig;
use crate::config::settings::Settings;
use crate::metadata::view::MetadataView;

/// The settings in force on this broker at the moment of `view`.
pub fn in_force(config: &BrokerConfig, view: &MetadataView) -> Settings {
    let own = view.overrides(Resource::Broker(BrokerId(config.node_id)));
    config.settings.with_dynamic(&view.overrides(Resource::BrokerDefault), &own)
}
