//! Topic aliases: the rules that need to know the other aliases of the registry (`spec/topics.md`, section 6).

use imbl::OrdMap;
use smol_str::SmolStr;

use super::entity::{Device, TopicAliases};
use super::rejection::Rejection;
use super::state::Catalog;
use crate::domain::alias::{self, ALIASES_PER_DEVICE_MAX, Names};
use crate::domain::id::{DeviceId, RegistryId};

/// An alias that begins a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AliasMatch<'a> {
    /// The alias.
    pub alias: &'a str,
    /// What it stands for.
    pub target: &'a str,
    /// The device that has it.
    pub device: &'a DeviceId,
}

impl Catalog {
    /// The only alias of the registry that is a string prefix of `topic`, if any (U-T12).
    pub fn alias_of_topic(&self, registry: &RegistryId, topic: &str) -> Option<AliasMatch<'_>> {
        let (alias, device) = prefix_of(self.index.aliases.get(registry)?, topic)?;
        let target = self.devices.get(device)?.topic_aliases.get(alias)?;
        Some(AliasMatch { alias, target, device })
    }

    /// Checks the whole new alias map of a device and puts its id into the targets (U-T15).
    pub(super) fn check_aliases(
        &self,
        registry: &RegistryId,
        device: &DeviceId,
        aliases: &TopicAliases,
    ) -> Result<TopicAliases, Rejection> {
        if aliases.len() > ALIASES_PER_DEVICE_MAX {
            return Err(Rejection::TooManyAliases { entries: aliases.len() });
        }
        let mut resolved = TopicAliases::new();
        for (alias, target) in aliases {
            alias::validate_alias(alias)?;
            resolved.insert(alias.clone(), SmolStr::new(alias::resolve_target(target, device)?));
        }
        self.check_alias_conflicts(registry, device, &resolved)?;
        Ok(resolved)
    }

    /// No alias may be a prefix of another one in the registry; the device's old aliases are about to go.
    pub(super) fn check_alias_conflicts(
        &self,
        registry: &RegistryId,
        device: &DeviceId,
        aliases: &TopicAliases,
    ) -> Result<(), Rejection> {
        let mut known = self.index.aliases.get(registry).cloned().unwrap_or_default();
        if let Some(old) = self.devices.get(device) {
            remove_aliases(&mut known, &old.topic_aliases);
        }
        for alias in aliases.keys() {
            if let Some((with, device)) = conflict(&known, alias) {
                let (alias, with, device) = (alias.clone(), with.clone(), device.clone());
                return Err(Rejection::AliasConflict { alias, with, device });
            }
            known.insert(alias.clone(), device.clone());
        }
        Ok(())
    }

    /// Updates the index from the old to the new alias map of a device.
    pub(super) fn replace_aliases(
        &mut self,
        registry: &RegistryId,
        device: &DeviceId,
        old: &TopicAliases,
        new: &TopicAliases,
    ) {
        if old.is_empty() && new.is_empty() {
            return;
        }
        let mut known = self.index.aliases.remove(registry).unwrap_or_default();
        remove_aliases(&mut known, old);
        for alias in new.keys() {
            known.insert(alias.clone(), device.clone());
        }
        if !known.is_empty() {
            self.index.aliases.insert(registry.clone(), known);
        }
    }

    /// The device with this id, if it belongs to the registry.
    pub fn device_of_registry(&self, registry: &RegistryId, id: &str) -> Option<&Device> {
        self.devices.get(id).map(AsRef::as_ref).filter(|device: &&Device| device.registry_id == *registry)
    }

    /// Every alias of the registry in order of the alias, with its device.
    pub fn aliases_of_registry(&self, registry: &RegistryId) -> impl Iterator<Item = AliasMatch<'_>> {
        let aliases = self.index.aliases.get(registry).into_iter().flat_map(|aliases| aliases.iter());
        aliases.filter_map(|(alias, device)| {
            let target = self.devices.get(device)?.topic_aliases.get(alias)?;
            Some(AliasMatch { alias, target, device })
        })
    }
}

impl Names for Catalog {
    fn alias_covering(&self, registry: &RegistryId, topic: &str) -> Option<(&str, &str)> {
        self.alias_of_topic(registry, topic).map(|found| (found.alias, found.target))
    }

    fn device_in_registry(&self, registry: &RegistryId, device: &str) -> bool {
        self.device_of_registry(registry, device).is_some()
    }

    fn aliases_of(&self, device: &DeviceId) -> Vec<(&str, &str)> {
        let aliases = self.devices.get(device).map(|device| device.topic_aliases.iter());
        aliases.into_iter().flatten().map(|(alias, target)| (alias.as_str(), target.as_str())).collect()
    }
}

fn remove_aliases(known: &mut OrdMap<SmolStr, DeviceId>, old: &TopicAliases) {
    for alias in old.keys() {
        known.remove(alias);
    }
}

/// The known alias that is a prefix of `text`. As no known alias is a prefix of another, it can only be the last one
/// that is not after `text` in string order.
fn prefix_of<'a>(known: &'a OrdMap<SmolStr, DeviceId>, text: &str) -> Option<(&'a SmolStr, &'a DeviceId)> {
    known.get_prev(text).filter(|(alias, _)| text.starts_with(alias.as_str()))
}

/// A known alias that is a prefix of `alias`, or that `alias` is a prefix of: then it is the next one in order.
fn conflict<'a>(known: &'a OrdMap<SmolStr, DeviceId>, alias: &str) -> Option<(&'a SmolStr, &'a DeviceId)> {
    prefix_of(known, alias).or_else(|| known.get_next(alias).filter(|(next, _)| next.starts_with(alias)))
}
