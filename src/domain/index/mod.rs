//! The subscriptions of one topic space: which sessions receive a message, and under which name.
//!
//! Invariants: one canonical index serves canonical, `$me` and dollar-less subscriptions alike; what is stored is
//! already narrowed to what its subscriber may read, so a match never needs a permission check; nothing stays behind of a
//! removed subscription; no change stops the readers for long, however many subscriptions there are. The last is why the
//! maps are trees: growing a hash map of half a million devices takes a tenth of a second under the write lock.
//!
//! In reading order: `subscribers` (who stands behind one filter), `trie` (filters with wildcards), `filters` (all
//! filters below one scope), `matches` (what a look-up yields), and here the space as a whole.

mod filters;
mod matches;
mod subscribers;
mod trie;

#[cfg(test)]
mod model_tests;

use std::collections::BTreeMap;

pub use matches::{Matches, NameGroup};

use self::filters::FilterIndex;
use self::subscribers::{Subscriber, SubscriberSet};
use super::address::{CanonicalTopic, TopicClass};
use super::id::DeviceId;
use super::interest::{AliasReader, Form, Interest, Scope, alias_names};
use super::permission::{Side, reads};
use crate::mqtt::qos::QoS;

/// All subscriptions of one space. `K` is whatever the caller addresses a session by.
///
/// Bounded by the limit on subscriptions per session (U-M12), which the caller enforces.
#[derive(Debug)]
pub struct SubscriptionIndex<K> {
    devices: BTreeMap<DeviceId, FilterIndex<K>>,
    every_device: FilterIndex<K>,
    registry: FilterIndex<K>,
    monitoring: BTreeMap<DeviceId, SubscriberSet<K>>,
    every_monitoring: SubscriberSet<K>,
    free: FilterIndex<K>,
    registry_aliases: FilterIndex<K>,
    device_aliases: BTreeMap<DeviceId, FilterIndex<K>>,
    subscriptions: usize,
}

impl<K> Default for SubscriptionIndex<K> {
    fn default() -> Self {
        Self {
            devices: BTreeMap::new(),
            every_device: FilterIndex::default(),
            registry: FilterIndex::default(),
            monitoring: BTreeMap::new(),
            every_monitoring: SubscriberSet::default(),
            free: FilterIndex::default(),
            registry_aliases: FilterIndex::default(),
            device_aliases: BTreeMap::new(),
            subscriptions: 0,
        }
    }
}

impl<K: Copy + Ord> SubscriptionIndex<K> {
    /// An index without subscriptions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a subscription, or replaces its QoS if the subscriber has it already. Returns whether it is new.
    pub fn insert(&mut self, interest: &Interest, subscriber: K, granted: QoS) -> bool {
        let own = Subscriber { key: subscriber, form: interest.form };
        let mut is_new = false;
        for pattern in &interest.patterns {
            let suffix = &pattern.suffix;
            is_new |= match &pattern.scope {
                Scope::Device(id) => self.devices.entry(id.clone()).or_default().insert(suffix, own, granted),
                Scope::EveryDevice => self.every_device.insert(suffix, own, granted),
                Scope::Registry(_) => self.registry.insert(suffix, own, granted),
                Scope::Monitoring(id) => self.monitoring.entry(id.clone()).or_default().insert(own, granted),
                Scope::EveryMonitoring => self.every_monitoring.insert(own, granted),
                Scope::Free => self.free.insert(suffix, own, granted),
            };
        }
        if let Some(reader) = &interest.aliases {
            let own = Subscriber { key: subscriber, form: Form::PLAIN };
            is_new |= match reader {
                AliasReader::Registry => self.registry_aliases.insert(&interest.filter, own, granted),
                AliasReader::Device(id) => {
                    self.device_aliases.entry(id.clone()).or_default().insert(&interest.filter, own, granted)
                }
            };
        }
        self.subscriptions += usize::from(is_new);
        is_new
    }

    /// Removes a subscription. Returns whether there was one.
    pub fn remove(&mut self, interest: &Interest, subscriber: K) -> bool {
        let own = Subscriber { key: subscriber, form: interest.form };
        let mut was_there = false;
        for pattern in &interest.patterns {
            let suffix = &pattern.suffix;
            was_there |= match &pattern.scope {
                Scope::Device(id) => remove_below(&mut self.devices, id, |filters| {
                    (filters.remove(suffix, own), filters.is_empty())
                }),
                Scope::EveryDevice => self.every_device.remove(suffix, own),
                Scope::Registry(_) => self.registry.remove(suffix, own),
                Scope::Monitoring(id) => {
                    remove_below(&mut self.monitoring, id, |set| (set.remove(own), set.is_empty()))
                }
                Scope::EveryMonitoring => self.every_monitoring.remove(own),
                Scope::Free => self.free.remove(suffix, own),
            };
        }
        if let Some(reader) = &interest.aliases {
            let own = Subscriber { key: subscriber, form: Form::PLAIN };
            was_there |= match reader {
                AliasReader::Registry => self.registry_aliases.remove(&interest.filter, own),
                AliasReader::Device(id) => remove_below(&mut self.device_aliases, id, |filters| {
                    (filters.remove(&interest.filter, own), filters.is_empty())
                }),
            };
        }
        self.subscriptions -= usize::from(was_there);
        was_there
    }

    /// Finds who receives a message of `topic`: one copy per distinct (subscriber, name) at the highest granted QoS
    /// (U-T7). `aliases` are those of the device that the topic addresses, as (alias, target); empty for other topics.
    /// What `out` held before is dropped, its memory is reused.
    pub fn matches(&self, topic: &CanonicalTopic, aliases: &[(&str, &str)], out: &mut Matches<K>) {
        out.clear();
        let suffix = topic.suffix();
        match topic.class() {
            TopicClass::Device { device, .. } => {
                if let Some(filters) = self.devices.get(device) {
                    filters.visit(suffix, &mut |set| out.collect(set));
                }
                self.every_device.visit(suffix, &mut |set| out.collect(set));
            }
            TopicClass::Registry { .. } => self.registry.visit(suffix, &mut |set| out.collect(set)),
            TopicClass::Monitoring { device } => {
                if let Some(set) = self.monitoring.get(device) {
                    out.collect(set);
                }
                out.collect(&self.every_monitoring);
            }
            TopicClass::Free => self.free.visit(suffix, &mut |set| out.collect(set)),
        }
        out.name_collected(|rename| rename.name(topic));
        if let Some(filters) = self.alias_filters(topic) {
            for name in alias_names(topic, aliases) {
                filters.visit(&name, &mut |set| out.collect(set));
                out.name_collected(|_| name.clone());
            }
        }
    }

    /// The alias filters of those who may read `topic`.
    fn alias_filters(&self, topic: &CanonicalTopic) -> Option<&FilterIndex<K>> {
        let filters = match topic.class() {
            TopicClass::Device { kind, .. } if reads(Side::Registry, *kind) => Some(&self.registry_aliases),
            TopicClass::Device { device, .. } => self.device_aliases.get(device),
            _ => None,
        };
        filters.filter(|filters| !filters.is_empty())
    }

    /// How many subscriptions there are: distinct pairs of subscriber and filter.
    pub fn len(&self) -> usize {
        self.subscriptions
    }

    /// Whether no structure holds anything: what must be true when the last subscription is gone.
    #[cfg(test)]
    fn holds_nothing(&self) -> bool {
        let filters = [&self.every_device, &self.registry, &self.free, &self.registry_aliases];
        self.devices.is_empty()
            && self.monitoring.is_empty()
            && self.device_aliases.is_empty()
            && self.every_monitoring.is_empty()
            && filters.iter().all(|filters| filters.is_empty())
    }

    /// Whether there are no subscriptions.
    pub fn is_empty(&self) -> bool {
        self.subscriptions == 0
    }
}

/// Removes something below an entry of `map`, and the entry when nothing is left in it. `remove` tells whether it found
/// something and whether the entry is empty afterwards.
fn remove_below<V>(
    map: &mut BTreeMap<DeviceId, V>,
    id: &DeviceId,
    remove: impl FnOnce(&mut V) -> (bool, bool),
) -> bool {
    let Some(entry) = map.get_mut(id) else {
        return false;
    };
    let (found, is_empty) = remove(entry);
    if is_empty {
        map.remove(id);
    }
    found
}
