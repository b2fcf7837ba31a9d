//! The index against the definition: every subscription asked one by one.

use std::collections::BTreeMap;

use proptest::prelude::{ProptestConfig, Strategy, any, prop};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{Matches, SubscriptionIndex};
use crate::domain::address::CanonicalTopic;
use crate::domain::fixture::{Fixture, principal};
use crate::domain::interest::Interest;
use crate::domain::permission::{Action, decide};
use crate::domain::principal::Principal;
use crate::domain::resolve::{self, TopicOptions};
use crate::mqtt::qos::QoS;

/// Levels that make most generated filters mean something.
fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "+", "events", "state", "commands", "config", "a", "b", "", "json", "d1", "temp",
    ])
}

fn family() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "$devices",
        "$registries",
        "$monitoring",
        "$me/device",
        "$me/registry",
        "$me/monitoring",
        "$me",
        "devices",
        "registries",
        "my/alias",
        "my",
        "temp",
        "st",
        "cfg",
        "cmd",
        "$share/g",
        "$SYS",
        "+",
        "",
        "dev",
    ])
}

fn id() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["d1", "d2", "d3", "r", "r2", "+", "nobody"])
}

/// Filters of a known family over all that narrowing looks at.
fn every_short_filter() -> Vec<String> {
    let mut filters = Vec::new();
    for family in ["$devices", "$registries", "$monitoring", "$me", "devices", "registries"] {
        filters.push(format!("{family}/#"));
        for second in ["d1", "d2", "r", "device", "registry", "monitoring", "+"] {
            filters.push(format!("{family}/{second}/#"));
            for third in ["events", "state", "commands", "config", "json", "+"] {
                for tail in ["", "/#", "/a", "/+", "/", "/a/#", "/+/#"] {
                    filters.push(format!("{family}/{second}/{third}{tail}"));
                }
            }
        }
    }
    filters
}

/// A filter: one that somebody is granted, or any text that looks like one.
fn filter_text() -> impl Strategy<Value = String> {
    let names = names();
    let mut useful = every_short_filter();
    useful
        .retain(|text| ["r", "d1", "d2"].iter().any(|who| granted(&names, &principal(who), text).is_some()));
    prop_oneof![3 => prop::sample::select(useful), 1 => any_filter_text()]
}

fn any_filter_text() -> impl Strategy<Value = String> {
    let parts = (family(), prop::option::of(id()), prop::collection::vec(level(), 0..4), any::<bool>());
    parts.prop_map(|(family, id, levels, ends_with_hash)| {
        let mut text = family.to_owned();
        for part in id.into_iter().chain(levels).chain(ends_with_hash.then_some("#")) {
            text.push('/');
            text.push_str(part);
        }
        text
    })
}

fn who() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["r", "d1", "d2"])
}

fn topic_text() -> impl Strategy<Value = String> {
    let device = prop::sample::select(vec!["$devices/d1", "$devices/d2", "$registries/r"]);
    let kind = prop::sample::select(vec!["events", "state", "commands", "config"]);
    let subtopic = prop::collection::vec(prop::sample::select(vec!["a", "b", "", "temp", "events"]), 0..3);
    let addressed = (device, kind, subtopic).prop_map(|(head, kind, subtopic)| {
        let mut text = format!("{head}/{kind}");
        for level in subtopic {
            text.push('/');
            text.push_str(level);
        }
        text
    });
    let monitoring = prop::sample::select(vec!["$monitoring/d1/json", "$monitoring/d2/json"]);
    prop_oneof![8 => addressed, 1 => monitoring.prop_map(str::to_owned)]
}

/// Names with awkward aliases: one that looks like a dollar-less topic, one without a trailing slash.
fn names() -> Fixture {
    let mut names = Fixture::new();
    names.add_alias("r", "d2", "devices/d2/", "$devices/d2/");
    names.add_alias("r", "d2", "devx", "$devices/d2");
    names
}

fn granted(names: &Fixture, who: &Principal, text: &str) -> Option<Interest> {
    resolve::filter(who, text, names, TopicOptions::default()).ok()
}

fn qos(strong: bool) -> QoS {
    if strong { QoS::AtLeastOnce } else { QoS::AtMostOnce }
}

type Deliveries = BTreeMap<(u8, String), QoS>;

/// What the definition says: ask every subscription, keep one copy per name at the highest QoS.
fn model(
    names: &Fixture,
    subscriptions: &BTreeMap<(u8, String), (Interest, QoS)>,
    topic: &CanonicalTopic,
) -> Deliveries {
    let mut expected = Deliveries::new();
    for ((session, _), (interest, granted)) in subscriptions {
        for name in interest.delivered_names(topic, &names.aliases_for(topic)) {
            let copy = expected.entry((*session, name.to_string())).or_insert(*granted);
            *copy = (*copy).max(*granted);
        }
    }
    expected
}

fn found(
    index: &SubscriptionIndex<u8>,
    names: &Fixture,
    topic: &CanonicalTopic,
    out: &mut Matches<u8>,
) -> Deliveries {
    index.matches(topic, &names.aliases_for(topic), out);
    let mut found = Deliveries::new();
    for group in &out.groups {
        assert!(!group.targets.is_empty());
        for (session, qos) in &group.targets {
            let earlier = found.insert((*session, group.name.to_string()), *qos);
            assert!(earlier.is_none(), "{topic}: a second copy of {}", group.name);
        }
    }
    assert_eq!(found.len(), out.copies());
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Sessions subscribe, change and unsubscribe at random; then every topic finds what the definition says, nobody
    /// matches a topic that he may not read (A14, A24), and after the last removal nothing is left.
    #[test]
    fn index_agrees_with_the_definition(
        steps in prop::collection::vec((0u8..20, filter_text(), any::<bool>(), 0u8..4), 1..60),
        whos in prop::collection::vec(who(), 20),
        topics in prop::collection::vec(topic_text(), 1..20),
    ) {
        let names = names();
        let mut index = SubscriptionIndex::new();
        let mut subscriptions = BTreeMap::new();
        for (session, text, strong, dice) in steps {
            let who = principal(whos[usize::from(session)]);
            let Some(interest) = granted(&names, &who, &text) else { continue };
            let key = (session, text);
            if dice == 0 {
                prop_assert_eq!(index.remove(&interest, session), subscriptions.remove(&key).is_some());
            } else {
                let is_new = index.insert(&interest, session, qos(strong));
                prop_assert_eq!(is_new, subscriptions.insert(key, (interest, qos(strong))).is_none());
            }
            prop_assert_eq!(index.len(), subscriptions.len());
        }
        let mut out = Matches::new();
        for text in topics {
            let topic = CanonicalTopic::parse(&text, &crate::domain::id::RegistryId::new("r")).unwrap();
            let found = found(&index, &names, &topic, &mut out);
            prop_assert_eq!(&found, &model(&names, &subscriptions, &topic), "{}", topic);
            for (session, _) in found.keys() {
                prop_assert!(decide(&principal(whos[usize::from(*session)]), &topic, Action::Subscribe));
            }
        }
        for ((session, _), (interest, _)) in subscriptions {
            prop_assert!(index.remove(&interest, session));
        }
        prop_assert!(index.is_empty());
        prop_assert!(index.holds_nothing());
    }

    /// A filter is granted or not, but what it narrows to selects exactly the readable part of what it says.
    #[test]
    fn narrowing_keeps_exactly_what_is_readable(
        who in who(),
        text in filter_text(),
        topic in topic_text(),
    ) {
        let names = names();
        let who = principal(who);
        let topic = CanonicalTopic::parse(&topic, &crate::domain::id::RegistryId::new("r")).unwrap();
        let matches = crate::mqtt::topic::matches(&text, topic.as_str());
        let is_canonical = ["$devices/", "$registries/", "$monitoring/"].iter().any(|head| text.starts_with(head));
        let readable = is_canonical && matches && decide(&who, &topic, Action::Subscribe);
        let delivered = granted(&names, &who, &text)
            .and_then(|interest| interest.delivered_name(&topic, &[]))
            .is_some_and(|name| name == topic.as_str());
        prop_assert_eq!(delivered, readable, "{} {}", text, topic);
    }

    /// The free topics of a broker follow plain MQTT matching.
    #[test]
    fn broker_spaces_match_as_the_standard_says(
        filters in prop::collection::vec("(\\+|[ab]?)(/(\\+|[ab]?)){0,3}(/#)?", 1..40),
        topics in prop::collection::vec("[ab]?(/[ab]?){0,4}", 1..20),
    ) {
        let names = names();
        let who = principal("b");
        let mut index = SubscriptionIndex::new();
        let mut held = BTreeMap::new();
        for (session, text) in (0u8..).zip(filters) {
            if let Some(interest) = granted(&names, &who, &text) {
                index.insert(&interest, session, QoS::AtMostOnce);
                held.insert((session, text), (interest, QoS::AtMostOnce));
            }
        }
        let mut out = Matches::new();
        for text in topics.iter().filter(|text| !text.is_empty()) {
            let topic = resolve::publish(&who, text, &names).unwrap();
            let expected = held
                .keys()
                .filter(|(_, filter)| crate::mqtt::topic::matches(filter, text))
                .map(|(session, _)| ((*session, text.clone()), QoS::AtMostOnce))
                .collect::<Deliveries>();
            prop_assert_eq!(found(&index, &names, &topic, &mut out), expected);
        }
        for ((session, _), (interest, _)) in held {
            prop_assert!(index.remove(&interest, session));
        }
        prop_assert!(index.holds_nothing());
    }
}

/// The byte that tells filters of one session apart does its job: different filters never share a place.
#[test]
fn form_and_pattern_determine_the_filter() {
    let names = names();
    for who in ["r", "d1"] {
        let mut places = std::collections::HashMap::new();
        let mut granted_filters = 0;
        for text in every_short_filter() {
            let Some(interest) = granted(&names, &principal(who), &text) else { continue };
            granted_filters += 1;
            for pattern in &interest.patterns {
                let earlier = places.insert((pattern.clone(), interest.form), text.clone());
                assert_eq!(earlier, None, "{who}: {text} narrows to the place of an earlier filter");
            }
        }
        assert!(granted_filters > 100, "{granted_filters}");
    }
}

/// A28, A29: the same filter again and again, and a hundred thousand sessions behind one filter, cost what they hold.
#[test]
fn a29_repetition_and_crowds() {
    let names = names();
    let all = granted(&names, &principal("d1"), "$registries/r/commands").unwrap();
    let mut index = SubscriptionIndex::new();
    for _ in 0..1000 {
        index.insert(&all, 7u32, QoS::AtMostOnce);
    }
    assert_eq!(index.len(), 1);
    for session in 0..100_000u32 {
        index.insert(&all, session, QoS::AtMostOnce);
    }
    assert_eq!(index.len(), 100_000);
    let topic = resolve::publish(&principal("r"), "$registries/r/commands", &names).unwrap();
    let mut out = Matches::new();
    index.matches(&topic, &[], &mut out);
    assert_eq!((out.groups.len(), out.copies()), (1, 100_000));
    for session in 0..100_000u32 {
        assert!(index.remove(&all, session));
    }
    assert!(index.holds_nothing());
}
