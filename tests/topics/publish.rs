//! Section 11.1: which publishes are accepted, under which canonical topic, and which close the connection.

use rookery_harness::{client::Outcome, fixture::Role, runtime::run};

use crate::{fixture, is_permanent, reader};

macro_rules! accepted {
    ($($name:ident: $role:ident $topic:literal => $canonical:literal;)*) => { $(
        #[test]
        fn $name() {
            run(accepted(Role::$role, $topic, $canonical));
        }
    )* };
}

macro_rules! closes {
    ($($name:ident: $role:ident $topic:literal;)*) => { $(
        #[test]
        fn $name() {
            run(closes(Role::$role, $topic));
        }
    )* };
}

accepted! {
    case_001_device_to_its_events: D1 "$devices/{D1}/events" => "$devices/{D1}/events";
    case_002_device_to_its_state: D1 "$devices/{D1}/state" => "$devices/{D1}/state";
    case_003_device_to_an_events_subtopic: D1 "$devices/{D1}/events/bedroom/temperature" => "$devices/{D1}/events/bedroom/temperature";
    case_004_device_to_a_state_subtopic: D1 "$devices/{D1}/state/bedroom/temperature" => "$devices/{D1}/state/bedroom/temperature";
    case_005_trailing_slash_is_a_subtopic: D1 "$devices/{D1}/events/" => "$devices/{D1}/events/";
    case_009_device_to_events_of_its_registry: D1 "$registries/{R}/events" => "$registries/{R}/events";
    case_010_device_to_state_of_its_registry: D1 "$registries/{R}/state" => "$registries/{R}/state";
    case_019_me_device_events: D1 "$me/device/events" => "$devices/{D1}/events";
    case_020_me_device_state_subtopic: D1 "$me/device/state/x" => "$devices/{D1}/state/x";
    case_023_me_registry_events: D1 "$me/registry/events" => "$registries/{R}/events";
    case_024_alias_of_a_device_prefix: D1 "my/alias/events" => "$devices/{D1}/events";
    case_025_alias_to_state: D1 "my/alias/state/k" => "$devices/{D1}/state/k";
    case_027_alias_of_a_subtopic: D1 "temp" => "$devices/{D1}/events/temp";
    case_028_alias_with_a_further_level: D1 "temp/room" => "$devices/{D1}/events/temp/room";
    case_029_alias_is_a_raw_prefix: D1 "temperature" => "$devices/{D1}/events/temperature";
    case_033_registry_to_device_commands: R "$devices/{D1}/commands" => "$devices/{D1}/commands";
    case_034_registry_to_device_config: R "$devices/{D1}/config" => "$devices/{D1}/config";
    case_037_registry_to_its_commands: R "$registries/{R}/commands" => "$registries/{R}/commands";
    case_038_registry_to_a_commands_subtopic: R "$registries/{R}/commands/bedroom" => "$registries/{R}/commands/bedroom";
    case_039_registry_to_a_config_subtopic: R "$registries/{R}/config/bedroom" => "$registries/{R}/config/bedroom";
    case_043_registry_by_a_commands_alias: R "cmd" => "$devices/{D2}/commands";
    case_044_registry_by_alias_to_config: R "my/alias/config" => "$devices/{D1}/config";
    case_046_broker_topic_with_leading_slash: B "/my/custom/topic" => "/my/custom/topic";
    case_047_broker_topic: B "a/b" => "a/b";
    case_050_dollarless_device_topic: D1 "devices/{D1}/events" => "$devices/{D1}/events";
}

closes! {
    case_006_device_to_its_commands: D1 "$devices/{D1}/commands";
    case_007_device_to_its_config: D1 "$devices/{D1}/config";
    case_008_device_to_events_of_another_device: D1 "$devices/{D2}/events";
    case_011_device_to_commands_of_its_registry: D1 "$registries/{R}/commands";
    case_012_device_to_config_of_its_registry: D1 "$registries/{R}/config";
    case_013_device_to_events_of_another_registry: D1 "$registries/{R2}/events";
    case_015_topic_without_a_kind: D1 "$devices/{D1}";
    case_016_kind_with_a_suffix: D1 "$devices/{D1}/eventsX";
    case_017_unknown_kind: D1 "$devices/{D1}/telemetry";
    case_018_monitoring_topic: D1 "$monitoring/{D1}/json";
    case_021_me_device_commands: D1 "$me/device/commands";
    case_022_me_registry_commands: D1 "$me/registry/commands";
    case_026_alias_to_commands: D1 "my/alias/commands";
    case_030_alias_with_a_bad_result: D1 "stX";
    case_031_alias_of_another_device: D2 "my/alias/events";
    case_032_unknown_alias: D1 "unknown/topic";
    case_035_registry_to_device_events: R "$devices/{D1}/events";
    case_036_registry_to_device_state: R "$devices/{D1}/state";
    case_040_registry_to_its_events: R "$registries/{R}/events";
    case_041_registry_to_a_device_of_another_registry: R "$devices/{D3}/commands";
    case_042_registry_to_a_device_that_does_not_exist: R "$devices/nonexistent/commands";
    case_045_registry_by_alias_to_events: R "my/alias/events";
    case_048_broker_client_to_a_device_topic: B "$devices/{D1}/events";
    case_049_broker_client_to_a_me_topic: B "$me/device/events";
}

#[test]
fn case_014_singular_device_topic_closes_and_is_logged() {
    run(async {
        closes_and_logs(Role::D1, "$device/{D1}/events").await;
    });
}

/// The publish is acknowledged, a live subscriber of the canonical topic gets it, and a later subscriber gets
/// it from storage exactly if the topic is permanent.
async fn accepted(role: Role, topic: &str, canonical: &str) {
    let fixture = fixture().await;
    let (reading_role, filter) = (reader(canonical), fixture.expand(canonical));
    let mut live = fixture.subscriber(reading_role, canonical).await;
    let mut publisher = fixture.connect(role).await;
    publisher.publish(&fixture.expand(topic), b"payload").await;

    let message = live.receive_exactly(1).await.remove(0);
    assert_eq!((&message.topic, message.text()), (&filter, "payload".to_owned()));
    assert_eq!((message.quality, message.retain), (1, false), "live messages have RETAIN=0 (U-T19)");

    let mut late = fixture.subscriber(reading_role, canonical).await;
    if is_permanent(canonical) {
        let stored = late.receive_exactly(1).await.remove(0);
        assert_eq!((&stored.topic, stored.text()), (&filter, "payload".to_owned()));
        assert!(stored.retain, "stored messages have RETAIN=1 (U-T19)");
    } else {
        late.expect_nothing().await;
    }
}

/// The connection ends without a PUBACK, and nobody who may read the device's topics sees the message.
async fn closes(role: Role, topic: &str) {
    let fixture = fixture().await;
    let mut reader = fixture.subscriber(Role::R, "$devices/#").await;
    let mut publisher = fixture.connect(role).await;
    assert_eq!(publisher.try_publish(&fixture.expand(topic), b"payload").await, Outcome::Closed, "{topic}");
    reader.expect_nothing().await;
}

async fn closes_and_logs(role: Role, topic: &str) {
    let fixture = fixture().await;
    let topic = fixture.expand(topic);
    let mut publisher = fixture.connect(role).await;
    assert_eq!(publisher.try_publish(&topic, b"payload").await, Outcome::Closed);
    let expected = format!("disconnected: publish to topic \"{topic}\" not allowed");
    fixture.node.wait_for_log(|line| line.contains(&expected), &expected);
}
