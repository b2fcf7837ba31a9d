//! When devices were last heard of.

use std::sync::Arc;

use super::command::LastSeen;
use super::event::Event;
use super::state::Catalog;

impl Catalog {
    pub(super) fn last_seen(&mut self, batch: Vec<LastSeen>, events: &mut Vec<Event>) {
        for LastSeen { device_id, monitoring: news } in batch {
            let Some(device) = self.devices.get(&device_id) else { continue };
            let known = self.monitoring.get(&device_id).map(AsRef::as_ref);
            let mut monitoring = known.cloned().unwrap_or_default();
            monitoring.merge(&news);
            if known != Some(&monitoring) {
                let registry = device.registry_id.clone();
                self.monitoring.insert(device_id.clone(), Arc::new(monitoring));
                events.push(Event::MonitoringChanged { registry, device: device_id });
            }
        }
    }
}
