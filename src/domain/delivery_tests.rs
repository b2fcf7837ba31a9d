//! `spec/topics.md` sections 11.3 and 11.4 without sessions and storage: who receives what, under which name.

use super::address::{CanonicalTopic, TopicClass};
use super::alias::Names;
use super::fixture::{Fixture, principal};
use super::id::DeviceId;
use super::index::{Matches, SubscriptionIndex};
use super::interest::{Interest, MonitoringScope};
use super::principal::SpaceId;
use super::resolve::{self, TopicOptions};
use crate::mqtt::qos::QoS;

fn interest(names: &Fixture, as_whom: &str, filter: &str) -> Interest {
    resolve::filter(&principal(as_whom), filter, names, TopicOptions::default()).unwrap()
}

/// Subscribes and publishes; returns the names received, in order of publishing and then of name.
fn received(subscriber: (&str, &str), publishes: &[(&str, &str)]) -> Vec<String> {
    let mut service = Service::new(Fixture::new());
    service.subscribe(1, subscriber.0, subscriber.1, QoS::AtLeastOnce);
    publishes
        .iter()
        .flat_map(|(as_whom, topic)| service.publish(as_whom, topic))
        .map(|(_, name)| name)
        .collect()
}

/// One index per space, as the actors have it.
struct Service {
    names: Fixture,
    spaces: Vec<(SpaceId, SubscriptionIndex<u32>)>,
}

impl Service {
    fn new(names: Fixture) -> Self {
        Self { names, spaces: Vec::new() }
    }

    fn space(&mut self, space: &SpaceId) -> &mut SubscriptionIndex<u32> {
        if !self.spaces.iter().any(|(present, _)| present == space) {
            self.spaces.push((space.clone(), SubscriptionIndex::new()));
        }
        let found = self.spaces.iter_mut().find(|(present, _)| present == space);
        &mut found.unwrap().1
    }

    fn subscribe(&mut self, session: u32, as_whom: &str, filter: &str, qos: QoS) -> Interest {
        let interest = interest(&self.names, as_whom, filter);
        self.space(&principal(as_whom).space()).insert(&interest, session, qos);
        interest
    }

    fn publish(&mut self, as_whom: &str, topic: &str) -> Vec<(u32, String)> {
        let topic = resolve::publish(&principal(as_whom), topic, &self.names).unwrap();
        self.deliver(as_whom, &topic).into_iter().map(|(session, name, _)| (session, name)).collect()
    }

    fn deliver(&mut self, as_whom: &str, topic: &CanonicalTopic) -> Vec<(u32, String, QoS)> {
        let names = self.names.clone();
        let mut matches = Matches::new();
        self.space(&principal(as_whom).space()).matches(topic, &names.aliases_for(topic), &mut matches);
        let mut deliveries: Vec<_> = matches
            .groups
            .iter()
            .flat_map(|group| {
                group.targets.iter().map(|(session, qos)| (*session, group.name.to_string(), *qos))
            })
            .collect();
        deliveries.sort();
        deliveries
    }
}

const EVENTS: [(&str, &str); 4] = [
    ("d1", "$devices/d1/events"),
    ("d1", "$devices/d1/events/a"),
    ("d1", "$devices/d1/events/a/b"),
    ("d1", "$devices/d1/events/"),
];

#[test]
fn cases_86_to_93_one_topic_or_subtopic() {
    assert!(received(("r", "$registries/r/events"), &[("d1", "$devices/d1/events")]).is_empty(), "case 86");
    assert!(received(("r", "$devices/d1/events"), &[("d1", "$registries/r/events")]).is_empty(), "case 87");
    let commands = [
        ("r", "$registries/r/commands/bedroom"),
        ("r", "$registries/r/commands/kitchen"),
        ("r", "$registries/r/commands/bedroom/entrance"),
        ("r", "$registries/r/commands"),
    ];
    let first_two = ["$registries/r/commands/bedroom", "$registries/r/commands/kitchen"];
    assert_eq!(received(("d1", "$registries/r/commands/+"), &commands), first_two, "case 88");
    assert_eq!(received(("r", "$devices/d1/events/#"), &EVENTS), EVENTS.map(|(_, topic)| topic), "case 89");
    let one_level = ["$devices/d1/events/a", "$devices/d1/events/"];
    assert_eq!(received(("r", "$devices/d1/events/+"), &EVENTS), one_level, "case 90");
    assert_eq!(received(("r", "$devices/d1/events"), &EVENTS), ["$devices/d1/events"], "case 91");
    let subtopics = [
        ("d1", "$devices/d1/events/bedroom/temperature"),
        ("d2", "$devices/d2/events/bedroom/temperature"),
        ("d1", "$devices/d1/events/bedroom/humidity"),
        ("d1", "$devices/d1/events/kitchen/temperature"),
    ];
    let two = received(("r", "$devices/+/events/bedroom/temperature"), &subtopics);
    assert_eq!(two, [subtopics[0].1, subtopics[1].1], "case 92");
    let bedroom = received(("r", "$devices/+/events/bedroom/+"), &subtopics);
    assert_eq!(bedroom, [subtopics[0].1, subtopics[1].1, subtopics[2].1], "case 93");
}

#[test]
fn cases_94_to_102_wildcards_over_ids_and_kinds() {
    let publishes = [
        ("d1", "$devices/d1/events"),
        ("d1", "$devices/d1/events/x"),
        ("d2", "$devices/d2/events"),
        ("r", "$devices/d1/commands"),
        ("d3", "$devices/d3/events"),
    ];
    let first_three = ["$devices/d1/events", "$devices/d1/events/x", "$devices/d2/events"];
    assert_eq!(received(("r", "$devices/#"), &publishes), first_three, "case 94");
    let state = received(("r", "$devices/#"), &[("d1", "$devices/d1/state")]);
    assert_eq!(state, ["$devices/d1/state"], "case 95");
    assert_eq!(received(("r", "$devices/+/#"), &publishes), first_three, "case 96");
    let kinds = [("d1", "$devices/d1/events"), ("d1", "$devices/d1/events/x"), ("d1", "$devices/d1/state")];
    let events = ["$devices/d1/events", "$devices/d1/events/x"];
    assert_eq!(received(("r", "$devices/+/events/#"), &kinds), events, "case 97");
    let both = [("d1", "$devices/d1/events/x"), ("d2", "$devices/d2/events/x")];
    assert_eq!(received(("r", "$devices/d1/#"), &both), ["$devices/d1/events/x"], "case 98");
    assert_eq!(received(("r", "$devices/d1/+"), &EVENTS), ["$devices/d1/events"], "case 99");
    let states = [("d1", "$devices/d1/state"), ("d1", "$devices/d1/state/x"), ("d1", "$devices/d1/events")];
    let expected = ["$devices/d1/state", "$devices/d1/state/x"];
    assert_eq!(received(("r", "$devices/d1/state/#"), &states), expected, "case 100");
    let registry =
        [("r", "$registries/r/commands"), ("r", "$registries/r/commands/x"), ("d2", "$registries/r/events")];
    let expected = ["$registries/r/commands", "$registries/r/commands/x"];
    assert_eq!(received(("d1", "$registries/#"), &registry), expected, "case 101");
    let commands = [("r", "$devices/d1/commands/x"), ("r", "$devices/d2/commands")];
    assert_eq!(received(("d1", "$devices/#"), &commands), ["$devices/d1/commands/x"], "case 102");
}

#[test]
fn cases_103_to_109_delivery_under_the_name_that_matched() {
    let events = [("d1", "$devices/d1/events/temp"), ("d1", "$devices/d1/events")];
    let names = ["my/alias/events/temp", "temp", "my/alias/events"];
    assert_eq!(received(("r", "#"), &events), names, "case 103");
    let canonical = [("d1", "$devices/d1/events")];
    let alias = [("d1", "my/alias/events")];
    assert_eq!(received(("r", "my/alias/#"), &canonical), ["my/alias/events"], "case 104");
    assert_eq!(received(("r", "my/+/events"), &alias), ["my/alias/events"], "case 105");
    assert_eq!(received(("r", "$devices/d1/events"), &alias), ["$devices/d1/events"], "case 106");
    let command = [("r", "$devices/d1/commands")];
    assert_eq!(received(("d1", "$me/device/commands"), &command), ["$me/device/commands"], "case 107");
    let reboot = received(("d1", "$me/device/commands/+"), &[("r", "$devices/d1/commands/reboot")]);
    assert_eq!(reboot, ["$me/device/commands/reboot"], "case 108");
    let all = received(("d1", "$me/registry/commands"), &[("r", "$registries/r/commands")]);
    assert_eq!(all, ["$me/registry/commands"], "case 109");
    let dollar_less = received(("r", "devices/+/events"), &canonical);
    assert_eq!(dollar_less, ["devices/d1/events"], "u-t24");
    let own_alias = received(("d1", "#"), &[("r", "$devices/d1/config"), ("r", "$devices/d2/commands")]);
    assert_eq!(own_alias, ["cfg", "my/alias/config"], "own aliases only");
}

#[test]
fn case_110_all_devices_hear_the_registry() {
    let mut service = Service::new(Fixture::new());
    service.subscribe(1, "d1", "$registries/r/commands", QoS::AtLeastOnce);
    service.subscribe(2, "d2", "$me/registry/commands", QoS::AtMostOnce);
    service.subscribe(3, "d3", "$registries/r2/commands", QoS::AtMostOnce);
    let heard = service.publish("r", "$registries/r/commands");
    let expected = [(1, "$registries/r/commands".to_owned()), (2, "$me/registry/commands".to_owned())];
    assert_eq!(heard, expected);
}

#[test]
fn cases_111_112_148_monitoring() {
    let mut service = Service::new(Fixture::new());
    let of_d1 = service.subscribe(1, "d2", "$monitoring/d1/json", QoS::AtMostOnce);
    let own = service.subscribe(2, "d1", "$me/monitoring/json", QoS::AtMostOnce);
    let all = service.subscribe(3, "r", "$monitoring/+/json", QoS::AtMostOnce);
    let commands = service.subscribe(4, "d1", "$me/device/commands", QoS::AtMostOnce);
    let d1 = DeviceId::new("d1");
    assert_eq!(of_d1.monitoring(), Some(MonitoringScope::Device(&d1)));
    assert_eq!(own.monitoring(), Some(MonitoringScope::Device(&d1)));
    assert_eq!(all.monitoring(), Some(MonitoringScope::EveryDevice));
    assert_eq!(commands.monitoring(), None);
    let topic = CanonicalTopic::monitoring(&d1);
    let names: Vec<_> = service.deliver("r", &topic).into_iter().map(|(key, name, _)| (key, name)).collect();
    let json = || "$monitoring/d1/json".to_owned();
    assert_eq!(names, [(1, json()), (2, "$me/monitoring/json".to_owned()), (3, json())]);
    assert_eq!(own.delivered_name(&topic, &[]).as_deref(), Some("$me/monitoring/json"));
    let of_d2 = CanonicalTopic::monitoring(&DeviceId::new("d2"));
    assert_eq!(service.deliver("r", &of_d2).len(), 1);
}

#[test]
fn case_113_brokers_are_isolated() {
    let mut service = Service::new(Fixture::new());
    service.subscribe(1, "b", "/my/#", QoS::AtMostOnce);
    assert_eq!(service.publish("b", "/my/custom/topic"), [(1, "/my/custom/topic".to_owned())]);
    assert!(service.publish("b2", "/my/custom/topic").is_empty());
}

#[test]
fn case_114_115_new_devices_are_heard_and_foreign_registries_are_not() {
    let mut service = Service::new(Fixture::new());
    service.subscribe(1, "r", "$devices/+/events", QoS::AtMostOnce);
    service.names.add_device("r", "d4");
    assert_eq!(service.publish("d4", "$devices/d4/events"), [(1, "$devices/d4/events".to_owned())]);
    service.subscribe(2, "d1", "$registries/r/config", QoS::AtMostOnce);
    assert!(service.publish("r2", "$registries/r2/config").is_empty(), "case 115");
}

#[test]
fn u_t6_a34_alias_subscriptions_follow_the_alias_map() {
    let mut service = Service::new(Fixture::new());
    service.subscribe(1, "r", "temp", QoS::AtMostOnce);
    service.subscribe(2, "r", "new/#", QoS::AtMostOnce);
    service.subscribe(3, "d1", "cfg", QoS::AtMostOnce);
    assert_eq!(service.publish("d1", "temp"), [(1, "temp".to_owned())]);
    service.names.remove_alias("r", "temp");
    service.names.remove_alias("r", "cfg");
    assert!(service.publish("d1", "$devices/d1/events/temp").is_empty());
    // The names now belong to another device: the registry follows, the device does not read a neighbour's topic.
    service.names.add_alias("r", "d2", "temp", "$devices/d2/events");
    service.names.add_alias("r", "d2", "cfg", "$devices/d2/config");
    service.names.add_alias("r", "d2", "new/", "$devices/d2/");
    let heard = service.publish("d2", "$devices/d2/events");
    assert_eq!(heard, [(1, "temp".to_owned()), (2, "new/events".to_owned())]);
    assert!(service.publish("r", "$devices/d2/config").is_empty());
}

#[test]
fn u_t7_overlapping_filters_give_one_copy_per_name_at_the_highest_qos() {
    let mut service = Service::new(Fixture::new());
    let wide = service.subscribe(1, "r", "$devices/#", QoS::AtMostOnce);
    let narrow = service.subscribe(1, "r", "$devices/+/events/#", QoS::AtLeastOnce);
    service.subscribe(1, "r", "$devices/d1/events", QoS::AtMostOnce);
    service.subscribe(1, "r", "devices/d1/events", QoS::AtMostOnce);
    let topic = resolve::publish(&principal("d1"), "$devices/d1/events", &service.names).unwrap();
    let dollar_less = || (1, "devices/d1/events".to_owned(), QoS::AtMostOnce);
    let copy = |qos| (1, "$devices/d1/events".to_owned(), qos);
    assert_eq!(service.deliver("r", &topic), [copy(QoS::AtLeastOnce), dollar_less()]);
    let index = service.space(&principal("r").space());
    assert!(index.remove(&narrow, 1));
    assert!(!index.remove(&narrow, 1));
    assert_eq!(service.deliver("r", &topic), [copy(QoS::AtMostOnce), dollar_less()]);
    let index = service.space(&principal("r").space());
    assert!(!index.insert(&wide, 1, QoS::AtLeastOnce), "same session, same filter");
    assert_eq!(index.len(), 3);
    assert_eq!(service.deliver("r", &topic), [copy(QoS::AtLeastOnce), dollar_less()]);
}

/// What is sent from storage on subscribing, if `topics` are stored.
fn stored(as_whom: &str, filter: &str, topics: &[&str]) -> Vec<String> {
    let names = Fixture::new();
    let Some(selection) = interest(&names, as_whom, filter).stored() else {
        return Vec::new();
    };
    let registry = super::id::RegistryId::new("r");
    let mut sent = Vec::new();
    for filter in &selection.filters {
        for text in topics.iter().filter(|text| filter.matches(text)) {
            assert!(text.starts_with(filter.prefix()), "{text} {}", filter.prefix());
            assert!(filter.exact().is_none_or(|exact| exact == *text));
            sent.push(filter.name(&CanonicalTopic::parse(text, &registry).unwrap()).to_string());
        }
    }
    sent
}

#[test]
fn cases_116_to_126_149_stored_messages() {
    let state = "$devices/d1/state";
    let config = "$devices/d1/config";
    assert_eq!(stored("r", state, &[state]), [state], "case 116");
    assert_eq!(stored("d1", config, &[config]), [config], "case 118");
    assert_eq!(stored("d1", "$me/device/config", &[config]), ["$me/device/config"], "case 119");
    assert_eq!(stored("d1", "cfg", &[config]), ["cfg"], "case 120");
    assert!(stored("r", "my/alias/#", &[state]).is_empty(), "case 121");
    let subtopics = ["$devices/d1/state/a", "$devices/d1/state/b", state];
    assert_eq!(stored("r", "$devices/d1/state/#", &subtopics), subtopics, "case 122");
    let of_both = [state, "$devices/d2/state"];
    assert_eq!(stored("r", "$devices/+/state", &of_both), of_both, "case 123");
    assert!(stored("r", "$devices/d1/events", &of_both).is_empty(), "case 124");
    let all = "$registries/r/config";
    assert_eq!(stored("d2", "$registries/r/config", &[all]), [all], "case 126");
    assert_eq!(stored("d2", "$me/registry/#", &[all]), ["$me/registry/config"]);
    let configs = ["$devices/d1/config/a", "$devices/d1/config/b", "$devices/d2/config/c"];
    let own = ["$me/device/config/a", "$me/device/config/b"];
    assert_eq!(stored("d1", "$me/device/config/#", &configs), own, "case 149");
    assert_eq!(stored("r", "$devices/#", &subtopics), subtopics, "u-t8");
    assert_eq!(stored("r", "devices/d1/state", &[state]), ["devices/d1/state"]);
    assert_eq!(
        stored("r", "my/alias/state/a", &subtopics),
        ["my/alias/state/a"],
        "exact filter below an alias"
    );
    assert!(stored("r", "temp", &subtopics).is_empty());
    assert!(stored("b", "#", &[]).is_empty());
}

/// The fixture's ordered look-up finds the covering alias whatever lies around it.
#[test]
fn the_covering_alias_is_the_greatest_key_not_above_the_topic() {
    let mut names = Fixture::new();
    names.add_device("r", "d9");
    for alias in ["a/", "a0", "b", "my/alias1/", "my/ali/"] {
        names.add_alias("r", "d9", alias, "$devices/d9/events");
    }
    let registry = super::id::RegistryId::new("r");
    let covering = |topic: &str| names.alias_covering(&registry, topic).map(|(alias, _)| alias);
    assert_eq!(covering("a/x"), Some("a/"));
    assert_eq!(covering("a/"), Some("a/"));
    assert_eq!(covering("a"), None);
    assert_eq!(covering("bbb"), Some("b"));
    assert_eq!(covering("my/alias1/z"), Some("my/alias1/"));
    assert_eq!(covering("my/alias/z"), Some("my/alias/"));
    assert_eq!(covering("my/aliasz"), None);
    let topic = resolve::publish(&principal("d9"), "a0/q", &names).unwrap();
    assert!(matches!(topic.class(), TopicClass::Device { .. }));
}
