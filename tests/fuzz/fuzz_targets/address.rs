//! Any lines, as aliases, targets, filters and topics: resolution never panics, what it lets through obeys the
//! permission matrix, and the subscription index finds what each subscription says it receives.
//!
//! The first line chooses who publishes and who subscribes (any of `r`, `d`, `e`, `b`, as its first two characters).
//! Lines that start with `=` are an alias of device `d1`, `=` again and its target. Lines that start with `<` are
//! filters. All others are topics to publish to.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use rookery_fuzz::domain::address::{CanonicalTopic, TopicClass};
use rookery_fuzz::domain::alias::{ALIASES_PER_DEVICE_MAX, Names, conflicts, resolve_target, validate_alias};
use rookery_fuzz::domain::id::{BrokerId, DeviceId, RegistryId};
use rookery_fuzz::domain::index::{Matches, SubscriptionIndex};
use rookery_fuzz::domain::interest::Interest;
use rookery_fuzz::domain::permission::{Action, decide};
use rookery_fuzz::domain::principal::Principal;
use rookery_fuzz::domain::resolve::{self, TopicOptions};
use rookery_fuzz::mqtt::qos::QoS;
use rookery_fuzz::mqtt::topic::{has_wildcard, levels_match, validate_topic_name};

fuzz_target!(|input: &str| {
    let mut lines = input.lines();
    let mut who = lines.next().unwrap_or_default().chars();
    let publisher = principal(who.next());
    let subscriber = principal(who.next());
    let mut names = Registry::default();
    let mut interests: BTreeMap<&str, Interest> = BTreeMap::new();
    let mut topics = Vec::new();
    for line in lines {
        if let Some((alias, target)) = line.strip_prefix('=').and_then(|line| line.split_once('=')) {
            names.add(alias, target);
        } else if let Some(filter) = line.strip_prefix('<') {
            if let Ok(interest) = resolve::filter(&subscriber, filter, &names, TopicOptions::default()) {
                check_interest(&interest, filter, &subscriber);
                interests.insert(filter, interest);
            }
        } else if let Ok(topic) = resolve::publish(&publisher, line, &names) {
            check_topic(&topic, &publisher, &names);
            topics.push(topic);
        }
    }
    if publisher.space() == subscriber.space() {
        check_index(&interests, &topics, &subscriber, &names);
    }
});

fn principal(letter: Option<char>) -> Principal {
    let registry = RegistryId::new("r1");
    match letter {
        Some('d') => Principal::Device { device: DeviceId::new("d1"), registry },
        Some('e') => Principal::Device { device: DeviceId::new("d2"), registry },
        Some('b') => Principal::Broker(BrokerId::new("b1")),
        _ => Principal::Registry(registry),
    }
}

/// Registry `r1` with the devices `d1` and `d2`; `d1` has aliases.
#[derive(Default)]
struct Registry {
    aliases: BTreeMap<String, String>,
}

impl Registry {
    fn add(&mut self, alias: &str, target: &str) {
        let own = DeviceId::new("d1");
        let (Ok(()), Ok(target)) = (validate_alias(alias), resolve_target(target, &own)) else { return };
        assert!(target == "$devices/d1" || target.starts_with("$devices/d1/"), "{target:?}");
        assert!(!alias.is_empty() && !alias.starts_with('$') && !has_wildcard(alias), "{alias:?}");
        let conflict = self.aliases.keys().any(|present| conflicts(present, alias));
        if !conflict && self.aliases.len() < ALIASES_PER_DEVICE_MAX {
            self.aliases.insert(alias.to_owned(), target);
        }
    }
}

impl Names for Registry {
    fn alias_covering(&self, _registry: &RegistryId, topic: &str) -> Option<(&str, &str)> {
        let covering: Vec<_> = self.aliases.iter().filter(|(alias, _)| topic.starts_with(*alias)).collect();
        assert!(covering.len() <= 1, "aliases are prefix-free");
        covering.first().map(|(alias, target)| (alias.as_str(), target.as_str()))
    }

    fn device_in_registry(&self, _registry: &RegistryId, device: &str) -> bool {
        matches!(device, "d1" | "d2")
    }

    fn aliases_of(&self, device: &DeviceId) -> Vec<(&str, &str)> {
        let own = self.aliases.iter().filter(|_| device.as_str() == "d1");
        own.map(|(alias, target)| (alias.as_str(), target.as_str())).collect()
    }
}

/// An accepted topic is canonical, allowed, and means the same when it is published again.
fn check_topic(topic: &CanonicalTopic, publisher: &Principal, names: &Registry) {
    assert!(decide(publisher, topic, Action::Publish));
    assert_eq!(validate_topic_name(topic.as_str()), Ok(()));
    assert_eq!(resolve::publish(publisher, topic.as_str(), names).as_ref(), Ok(topic));
    match topic.class() {
        TopicClass::Free => assert!(!topic.as_str().starts_with('$')),
        TopicClass::Monitoring { .. } => panic!("nobody publishes to {topic}"),
        TopicClass::Device { device, .. } => {
            assert!(names.device_in_registry(&RegistryId::new("r1"), device.as_str()))
        }
        TopicClass::Registry { .. } => {}
    }
}

/// A granted filter keeps its text, is never a `$share` or `$SYS` one, and is stored messages only of its names.
fn check_interest(interest: &Interest, filter: &str, subscriber: &Principal) {
    assert_eq!(interest.filter(), filter);
    let families = ["$devices/", "$registries/", "$monitoring/", "$me/"];
    assert!(
        !filter.starts_with('$') || families.iter().any(|family| filter.starts_with(family)),
        "{filter:?}"
    );
    let in_broker = matches!(subscriber, Principal::Broker(_));
    assert!(!in_broker || !filter.starts_with('$'), "{filter:?}");
    for stored in interest.stored().iter().flat_map(|selection| &selection.filters) {
        assert!(!in_broker);
        assert!(stored.filter().starts_with(stored.prefix()));
        assert_eq!(stored.exact().is_some(), !has_wildcard(stored.filter()));
    }
}

/// The index delivers what the interests say, to readers only, and is empty in the end.
fn check_index(
    interests: &BTreeMap<&str, Interest>,
    topics: &[CanonicalTopic],
    subscriber: &Principal,
    names: &Registry,
) {
    let mut index = SubscriptionIndex::new();
    for (session, interest) in (0u32..).zip(interests.values()) {
        assert!(index.insert(interest, session, QoS::AtMostOnce));
        assert!(!index.insert(interest, session, QoS::AtLeastOnce));
        // One session with everything: its subscriptions must not disturb each other.
        assert!(index.insert(interest, u32::MAX, QoS::AtMostOnce));
    }
    let mut found = Matches::new();
    for topic in topics {
        let aliases = topic.device().map(|device| names.aliases_of(device)).unwrap_or_default();
        index.matches(topic, &aliases, &mut found);
        let mut delivered: Vec<(u32, String)> = Vec::new();
        for group in &found.groups {
            delivered.extend(group.targets.iter().map(|(session, _)| (*session, group.name.to_string())));
        }
        let mut expected: Vec<(u32, String)> = Vec::new();
        for (session, interest) in (0u32..).zip(interests.values()) {
            for name in interest.delivered_names(topic, &aliases) {
                assert!(levels_match(interest.filter(), &name), "{} is sent {name}", interest.filter());
                assert!(decide(subscriber, topic, Action::Subscribe), "{topic}");
                expected.push((session, name.to_string()));
                expected.push((u32::MAX, name.to_string()));
            }
        }
        delivered.sort();
        expected.sort();
        expected.dedup();
        assert_eq!(delivered, expected, "{topic}");
    }
    for (session, interest) in (0u32..).zip(interests.values()) {
        assert!(index.remove(interest, session));
        assert!(index.remove(interest, u32::MAX));
        assert!(!index.remove(interest, session));
    }
    assert!(index.is_empty());
}
