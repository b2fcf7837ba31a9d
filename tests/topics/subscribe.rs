//! Section 11.2: which filters are granted and which are refused with 0x80.

use rookery_harness::{fixture::Role, runtime::run};

use crate::fixture;

const GRANTED: bool = true;
const REFUSED: bool = false;

macro_rules! filters {
    ($($name:ident: $role:ident $filter:literal => $verdict:ident;)*) => { $(
        #[test]
        fn $name() {
            run(subscribe(Role::$role, $filter, $verdict));
        }
    )* };
}

filters! {
    case_051_registry_device_events: R "$devices/{D1}/events" => GRANTED;
    case_052_registry_device_state: R "$devices/{D1}/state" => GRANTED;
    case_053_registry_device_commands: R "$devices/{D1}/commands" => REFUSED;
    case_054_registry_device_config: R "$devices/{D1}/config" => REFUSED;
    case_055_registry_its_events: R "$registries/{R}/events" => GRANTED;
    case_056_registry_its_state: R "$registries/{R}/state" => GRANTED;
    case_057_registry_its_commands: R "$registries/{R}/commands" => REFUSED;
    case_058_registry_monitoring: R "$monitoring/{D1}/json" => GRANTED;
    case_059_registry_monitoring_of_a_foreign_device: R "$monitoring/{D3}/json" => REFUSED;
    case_060_registry_events_of_a_foreign_device: R "$devices/{D3}/events" => REFUSED;
    case_062_devices_filter_of_two_parts: R "$devices/+" => REFUSED;
    case_063_registries_filter_of_two_parts: R "$registries/+" => REFUSED;
    case_064_device_its_commands: D1 "$devices/{D1}/commands" => GRANTED;
    case_065_device_its_commands_with_subtopics: D1 "$devices/{D1}/commands/#" => GRANTED;
    case_066_device_its_config: D1 "$devices/{D1}/config" => GRANTED;
    case_067_device_its_events: D1 "$devices/{D1}/events" => REFUSED;
    case_068_device_commands_of_another_device: D1 "$devices/{D2}/commands" => REFUSED;
    case_069_device_registry_commands: D1 "$registries/{R}/commands" => GRANTED;
    case_070_device_registry_config: D1 "$registries/{R}/config" => GRANTED;
    case_071_device_registry_events: D1 "$registries/{R}/events" => REFUSED;
    case_072_device_its_monitoring: D1 "$monitoring/{D1}/json" => GRANTED;
    case_073_device_monitoring_of_another_device: D1 "$monitoring/{D2}/json" => GRANTED;
    case_074_me_device_commands: D1 "$me/device/commands" => GRANTED;
    case_075_me_registry_config: D1 "$me/registry/config" => GRANTED;
    case_076_me_monitoring: D1 "$me/monitoring/json" => GRANTED;
    case_077_me_device_events: D1 "$me/device/events" => REFUSED;
    case_079_alias_of_config: D1 "cfg" => GRANTED;
    case_080_alias_of_events_for_the_device: D1 "temp" => REFUSED;
    case_081_alias_of_events_for_the_registry: R "temp" => GRANTED;
    case_082_alias_of_commands_for_the_registry: R "cmd" => REFUSED;
    case_083_broker_everything: B "#" => GRANTED;
    case_084_broker_device_topics: B "$devices/#" => REFUSED;
    case_085_registry_device_that_does_not_exist: R "$devices/nonexistent/events" => REFUSED;
}

/// The code is as expected and the connection stays open either way.
async fn subscribe(role: Role, filter: &str, granted: bool) {
    let fixture = fixture().await;
    let mut client = fixture.connect(role).await;
    let code = client.subscribe_one(&fixture.expand(filter)).await;
    if granted {
        assert!(code <= 1, "{role:?} subscribes to {filter}: 0x{code:x}");
    } else {
        assert_eq!(code, 0x80, "{role:?} subscribes to {filter}");
    }
    client.fence().await;
}

#[test]
fn case_061_singular_device_filter_is_refused_and_logged() {
    run(async {
        let fixture = fixture().await;
        let mut client = fixture.connect(Role::R).await;
        let filter = fixture.expand("$device/{D1}/events");
        assert_eq!(client.subscribe_one(&filter).await, 0x80);
        let expected = format!("some of subscriptions failed: not allowed to subscribe: [\"{filter}\"]");
        fixture.node.wait_for_log(|line| line.contains(&expected), &expected);
        client.fence().await;
    });
}

#[test]
fn case_078_two_filters_get_one_code_each() {
    run(async {
        let fixture = fixture().await;
        let mut client = fixture.connect(Role::D1).await;
        let own = fixture.expand("$devices/{D1}/commands");
        let foreign = fixture.expand("$devices/{D2}/commands");
        assert_eq!(client.subscribe(&[(&own, 1), (&foreign, 1)]).await, [1, 0x80]);
    });
}
