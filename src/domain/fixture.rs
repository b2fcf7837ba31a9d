//! The fixture of `spec/topics.md` section 11: registry `r` with devices `d1` and `d2`, registry `r2` with device
//! `d3`, brokers `b` and `b2`, and the aliases of `d1` and `d2`.

use std::collections::{BTreeMap, BTreeSet};

use super::address::CanonicalTopic;
use super::alias::{Names, conflicts, resolve_target, validate_alias};
use super::id::{BrokerId, DeviceId, RegistryId};
use super::principal::Principal;

/// A small registry service: devices and aliases, with the rules of alias management.
#[derive(Debug, Default, Clone)]
pub(super) struct Fixture {
    devices: BTreeSet<(String, String)>,
    aliases: BTreeMap<(String, String), (DeviceId, String)>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let mut fixture = Self::default();
        for (registry, device) in [("r", "d1"), ("r", "d2"), ("r2", "d3")] {
            fixture.add_device(registry, device);
        }
        for (device, alias, target) in [
            ("d1", "my/alias/", "$devices/d1/"),
            ("d1", "temp", "$devices/{id}/events/temp"),
            ("d1", "st", "$devices/d1/state"),
            ("d1", "cfg", "$devices/d1/config"),
            ("d2", "cmd", "$devices/d2/commands"),
        ] {
            fixture.add_alias("r", device, alias, target);
        }
        fixture
    }

    pub(super) fn add_device(&mut self, registry: &str, device: &str) {
        self.devices.insert((registry.to_owned(), device.to_owned()));
    }

    pub(super) fn add_alias(&mut self, registry: &str, device: &str, alias: &str, target: &str) {
        let device = DeviceId::new(device);
        validate_alias(alias).unwrap();
        let target = resolve_target(target, &device).unwrap();
        let taken =
            self.aliases.keys().any(|(other, present)| other == registry && conflicts(present, alias));
        assert!(!taken, "{alias}");
        self.aliases.insert((registry.to_owned(), alias.to_owned()), (device, target));
    }

    pub(super) fn remove_alias(&mut self, registry: &str, alias: &str) {
        self.aliases.remove(&(registry.to_owned(), alias.to_owned())).unwrap();
    }

    /// The aliases that concern a topic, as the index wants them.
    pub(super) fn aliases_for(&self, topic: &CanonicalTopic) -> Vec<(&str, &str)> {
        topic.device().map_or(Vec::new(), |device| self.aliases_of(device))
    }
}

impl Names for Fixture {
    fn alias_covering(&self, registry: &RegistryId, topic: &str) -> Option<(&str, &str)> {
        let upper = (registry.to_string(), topic.to_owned());
        let ((owner, alias), (_, target)) = self.aliases.range(..=upper).next_back()?;
        (owner == registry.as_str() && topic.starts_with(alias)).then_some((alias, target))
    }

    fn device_in_registry(&self, registry: &RegistryId, device: &str) -> bool {
        self.devices.contains(&(registry.to_string(), device.to_owned()))
    }

    fn aliases_of(&self, device: &DeviceId) -> Vec<(&str, &str)> {
        let own = self.aliases.iter().filter(|(_, (owner, _))| owner == device);
        own.map(|((_, alias), (_, target))| (alias.as_str(), target.as_str())).collect()
    }
}

/// The principal with a given name of the fixture.
pub(super) fn principal(name: &str) -> Principal {
    match name {
        "r" | "r2" => Principal::Registry(RegistryId::new(name)),
        "b" | "b2" => Principal::Broker(BrokerId::new(name)),
        "d3" => Principal::Device { device: DeviceId::new(name), registry: RegistryId::new("r2") },
        device => Principal::Device { device: DeviceId::new(device), registry: RegistryId::new("r") },
    }
}
