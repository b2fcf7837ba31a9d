//! Section 11.3: what a subscriber receives, and under which name.

use std::{collections::HashMap, net::IpAddr};

use rookery_harness::{
    api::Entity,
    client::Client,
    fixture::{Fixture, Role},
    packet::Message,
    runtime::run,
};
use serde_json::Value;

use crate::fixture;

/// `subscriber filter; [publisher topic, …] => [(index of the publish, topic as received), …]`
macro_rules! deliveries {
    ($($name:ident: $role:ident $filter:literal;
        [$($publisher:ident $topic:literal),* $(,)?] => [$(($index:literal, $received:literal)),* $(,)?];)*) => { $(
        #[test]
        fn $name() {
            run(delivery(Role::$role, $filter, &[$((Role::$publisher, $topic)),*], &[$(($index, $received)),*]));
        }
    )* };
}

deliveries! {
    case_086_device_and_registry_topics_are_not_connected: R "$registries/{R}/events";
        [D1 "$devices/{D1}/events"] => [];
    case_087_registry_and_device_topics_are_not_connected: R "$devices/{D1}/events";
        [D1 "$registries/{R}/events"] => [];
    case_088_plus_matches_one_subtopic_level: D1 "$registries/{R}/commands/+";
        [R "$registries/{R}/commands/bedroom", R "$registries/{R}/commands/kitchen",
         R "$registries/{R}/commands/bedroom/entrance", R "$registries/{R}/commands"]
        => [(0, "$registries/{R}/commands/bedroom"), (1, "$registries/{R}/commands/kitchen")];
    case_089_hash_matches_all_below_and_the_topic_itself: R "$devices/{D1}/events/#";
        [D1 "$devices/{D1}/events", D1 "$devices/{D1}/events/a", D1 "$devices/{D1}/events/a/b", D1 "$devices/{D1}/events/"]
        => [(0, "$devices/{D1}/events"), (1, "$devices/{D1}/events/a"), (2, "$devices/{D1}/events/a/b"), (3, "$devices/{D1}/events/")];
    case_090_plus_matches_an_empty_level: R "$devices/{D1}/events/+";
        [D1 "$devices/{D1}/events", D1 "$devices/{D1}/events/a", D1 "$devices/{D1}/events/a/b", D1 "$devices/{D1}/events/"]
        => [(1, "$devices/{D1}/events/a"), (3, "$devices/{D1}/events/")];
    case_091_exact_filter_matches_the_topic_only: R "$devices/{D1}/events";
        [D1 "$devices/{D1}/events", D1 "$devices/{D1}/events/a", D1 "$devices/{D1}/events/a/b", D1 "$devices/{D1}/events/"]
        => [(0, "$devices/{D1}/events")];
    case_092_one_subtopic_of_all_devices: R "$devices/+/events/bedroom/temperature";
        [D1 "$devices/{D1}/events/bedroom/temperature", D2 "$devices/{D2}/events/bedroom/temperature", D1 "$devices/{D1}/events/bedroom/humidity"]
        => [(0, "$devices/{D1}/events/bedroom/temperature"), (1, "$devices/{D2}/events/bedroom/temperature")];
    case_093_two_pluses: R "$devices/+/events/bedroom/+";
        [D1 "$devices/{D1}/events/bedroom/temperature", D1 "$devices/{D1}/events/bedroom/humidity", D1 "$devices/{D1}/events/kitchen/temperature"]
        => [(0, "$devices/{D1}/events/bedroom/temperature"), (1, "$devices/{D1}/events/bedroom/humidity")];
    case_094_all_devices_narrows_to_what_is_readable: R "$devices/#";
        [D1 "$devices/{D1}/events", D1 "$devices/{D1}/events/x", D2 "$devices/{D2}/events", R "$devices/{D1}/commands", D3 "$devices/{D3}/events"]
        => [(0, "$devices/{D1}/events"), (1, "$devices/{D1}/events/x"), (2, "$devices/{D2}/events")];
    case_095_all_devices_covers_state: R "$devices/#";
        [D1 "$devices/{D1}/state"] => [(0, "$devices/{D1}/state")];
    case_096_plus_hash_equals_hash: R "$devices/+/#";
        [D1 "$devices/{D1}/events", D1 "$devices/{D1}/events/x", D2 "$devices/{D2}/events", R "$devices/{D1}/commands", D3 "$devices/{D3}/events"]
        => [(0, "$devices/{D1}/events"), (1, "$devices/{D1}/events/x"), (2, "$devices/{D2}/events")];
    case_097_events_of_all_devices: R "$devices/+/events/#";
        [D1 "$devices/{D1}/events", D1 "$devices/{D1}/events/x", D1 "$devices/{D1}/state"]
        => [(0, "$devices/{D1}/events"), (1, "$devices/{D1}/events/x")];
    case_098_all_topics_of_one_device: R "$devices/{D1}/#";
        [D1 "$devices/{D1}/events/x", D2 "$devices/{D2}/events/x"] => [(0, "$devices/{D1}/events/x")];
    case_099_kinds_of_one_device_without_subtopics: R "$devices/{D1}/+";
        [D1 "$devices/{D1}/events", D1 "$devices/{D1}/events/x"] => [(0, "$devices/{D1}/events")];
    case_100_state_topics_of_one_device: R "$devices/{D1}/state/#";
        [D1 "$devices/{D1}/state", D1 "$devices/{D1}/state/x", D1 "$devices/{D1}/events"]
        => [(0, "$devices/{D1}/state"), (1, "$devices/{D1}/state/x")];
    case_101_device_all_registry_topics: D1 "$registries/#";
        [R "$registries/{R}/commands", R "$registries/{R}/commands/x", D2 "$registries/{R}/events"]
        => [(0, "$registries/{R}/commands"), (1, "$registries/{R}/commands/x")];
    case_102_device_all_device_topics: D1 "$devices/#";
        [R "$devices/{D1}/commands/x", R "$devices/{D2}/commands"] => [(0, "$devices/{D1}/commands/x")];
    case_103_hash_is_all_aliases: R "#";
        [D1 "$devices/{D1}/events/temp", D1 "$devices/{D1}/events"]
        => [(0, "temp"), (0, "my/alias/events/temp"), (1, "my/alias/events")];
    case_104_alias_wildcard_receives_under_the_alias: R "my/alias/#";
        [D1 "$devices/{D1}/events"] => [(0, "my/alias/events")];
    case_105_plus_inside_an_alias: R "my/+/events";
        [D1 "my/alias/events"] => [(0, "my/alias/events")];
    case_106_canonical_filter_receives_under_the_canonical_name: R "$devices/{D1}/events";
        [D1 "my/alias/events"] => [(0, "$devices/{D1}/events")];
    case_107_me_commands: D1 "$me/device/commands";
        [R "$devices/{D1}/commands"] => [(0, "$me/device/commands")];
    case_108_me_commands_with_plus: D1 "$me/device/commands/+";
        [R "$devices/{D1}/commands/reboot"] => [(0, "$me/device/commands/reboot")];
    case_109_me_registry_commands: D1 "$me/registry/commands";
        [R "$registries/{R}/commands"] => [(0, "$me/registry/commands")];
    case_113_brokers_are_isolated: B "/my/#";
        [B "/my/custom/topic", B2 "/my/custom/topic"] => [(0, "/my/custom/topic")];
    case_115_registries_are_isolated: D1 "$registries/{R}/config";
        [R2 "$registries/{R2}/config"] => [];
}

async fn delivery(role: Role, filter: &str, publishes: &[(Role, &str)], expected: &[(usize, &str)]) {
    let fixture = fixture().await;
    let mut subscriber = fixture.subscriber(role, filter).await;
    publish_all(&fixture, publishes).await;
    let received = subscriber.receive_exactly(expected.len()).await;
    let mut expected: Vec<_> =
        expected.iter().map(|(index, topic)| (index.to_string(), fixture.expand(topic))).collect();
    expected.sort();
    assert_eq!(contents(&received), expected);
}

/// Publishes in order, each acknowledged before the next; the payload is the index.
async fn publish_all(fixture: &Fixture<'_>, publishes: &[(Role, &str)]) {
    let mut publishers: HashMap<&str, Client> = HashMap::new();
    for (index, (role, topic)) in publishes.iter().enumerate() {
        let id = fixture.id(*role);
        if !publishers.contains_key(id) {
            publishers.insert(id, fixture.connect(*role).await);
        }
        let publisher = publishers.get_mut(id).expect("it was inserted");
        publisher.publish(&fixture.expand(topic), index.to_string().as_bytes()).await;
    }
}

/// Payload and topic of each message, sorted: there is no order between publishers or topics.
fn contents(messages: &[Message]) -> Vec<(String, String)> {
    let mut contents: Vec<_> =
        messages.iter().map(|message| (message.text(), message.topic.clone())).collect();
    contents.sort();
    contents
}

#[test]
fn case_110_registry_commands_reach_all_devices() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$registries/{R}/commands");
        let mut first = fixture.subscriber(Role::D1, &topic).await;
        let mut second = fixture.subscriber(Role::D2, &topic).await;
        publish_all(&fixture, &[(Role::R, &topic)]).await;
        for device in [&mut first, &mut second] {
            assert_eq!(device.receive_exactly(1).await[0].topic, topic);
        }
    });
}

#[test]
fn case_111_monitoring_of_another_device() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$monitoring/{D1}/json");
        let mut watcher = fixture.subscriber(Role::D2, &topic).await;
        publish_all(&fixture, &[(Role::D1, "$devices/{D1}/events")]).await;
        let report = loop {
            let message = watcher.receive().await;
            assert_eq!((message.topic.as_str(), message.quality), (topic.as_str(), 0));
            let report: Value = serde_json::from_slice(&message.payload).expect("the report is JSON");
            assert_eq!(report["device_id"], fixture.id(Role::D1));
            assert_eq!(report["registry_id"], fixture.id(Role::R));
            if report.get("last_pub_activity_time").is_some() {
                break report;
            }
        };
        let address = report["last_auth_ip"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
        assert!(address.is_some_and(|address| address.is_loopback()), "an address without a port: {report}");
        for field in ["last_auth_time", "last_online_time"] {
            let time = report[field].as_str().expect("times are text");
            assert!(time.ends_with('Z') && time.contains('T'), "{field} is RFC 3339 in UTC: {time}");
        }
        assert!(
            report.get("last_sub_activity_time").is_none(),
            "fields without a value are left out: {report}"
        );
    });
}

#[test]
fn case_112_own_monitoring_after_a_ping() {
    run(async {
        let fixture = fixture().await;
        let mut device = fixture.subscriber(Role::D1, "$me/monitoring/json").await;
        let first = last_online(&device.receive().await);
        loop {
            // The fence pings; the report of a ping may be held back for a second (U-T23).
            device.fence().await;
            if last_online(&device.receive().await) > first {
                break;
            }
        }
    });
}

/// Checks the name and returns the time, whose text has a fixed width up to the seconds.
fn last_online(message: &Message) -> String {
    assert_eq!((message.topic.as_str(), message.quality), ("$me/monitoring/json", 0));
    let report: Value = serde_json::from_slice(&message.payload).expect("the report is JSON");
    report["last_online_time"].as_str().expect("the device is online").trim_end_matches('Z').to_owned()
}

#[test]
fn case_114_wildcards_cover_devices_created_later() {
    run(async {
        let fixture = fixture().await;
        let mut subscriber = fixture.subscriber(Role::R, "$devices/+/events").await;
        let created = fixture.api.create_device(fixture.entity(Role::R), &[]).await;
        let device = Entity::Device(created.expect("a device is created").id);
        let topic = format!("$devices/{}/events", device.id());
        let mut publisher = crate::connect_new(&fixture, &device).await;
        publisher.publish(&topic, b"late").await;
        assert_eq!(subscriber.receive_exactly(1).await[0].topic, topic);
    });
}
