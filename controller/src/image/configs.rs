//! Dynamic configuration: what was set while running, by resource and key. Not defaults, files or what a value
//! means. Invariant: a resource without values is not in the table.

use std::sync::Arc;

use imbl::OrdMap;

use crate::record::kinds::Resource;

/// One resource's values, by key.
pub type Values = OrdMap<Arc<str>, Arc<str>>;

/// All dynamic configuration. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Configs {
    by_resource: OrdMap<Resource, Values>,
}

impl Configs {
    /// One value.
    pub fn get(&self, resource: Resource, key: &str) -> Option<&Arc<str>> {
        self.by_resource.get(&resource)?.get(key)
    }

    /// A resource's values; none is the same as an empty table.
    pub fn of(&self, resource: Resource) -> Option<&Values> {
        self.by_resource.get(&resource)
    }

    pub(crate) fn set(&mut self, resource: Resource, key: &str, value: Option<&str>) {
        let mut values = self.by_resource.get(&resource).cloned().unwrap_or_default();
        match value {
            Some(value) => values.insert(key.into(), value.into()),
            None => values.remove(key),
        };
        if values.is_empty() {
            self.by_resource.remove(&resource);
        } else {
            self.by_resource.insert(resource, values);
        }
    }

    pub(crate) fn drop_resource(&mut self, resource: Resource) {
        self.by_resource.remove(&resource);
    }

    pub(crate) fn table(&self) -> &OrdMap<Resource, Values> {
        &self.by_resource
    }
}
