//! Section 11.6: further choices, and publishing over gRPC.

use rookery_harness::{api::Entity, client::Outcome, fixture::Role, runtime::run};
use serde_json::Value;
use tonic::Code;

use crate::{
    fixture,
    permanent::{expect_stored, publish},
};

/// The largest payload (MQTT and gRPC).
const PAYLOAD_BYTES_MAX: usize = 262_144;

#[test]
fn case_146_registry_publishes_to_me_registry_commands() {
    run(async {
        let fixture = fixture().await;
        let mut device = fixture.subscriber(Role::D1, "$registries/{R}/commands").await;
        publish(&fixture, Role::R, "$me/registry/commands", "go").await;
        assert_eq!(device.receive_exactly(1).await[0].topic, fixture.expand("$registries/{R}/commands"));
    });
}

#[test]
fn case_147_registry_has_no_me_device_topics() {
    run(async {
        let fixture = fixture().await;
        let mut registry = fixture.connect(Role::R).await;
        assert_eq!(registry.subscribe_one("$me/device/commands").await, 0x80);
        assert_eq!(registry.try_publish("$me/device/commands", b"x").await, Outcome::Closed);
    });
}

#[test]
fn case_148_monitoring_of_all_own_devices() {
    run(async {
        let fixture = fixture().await;
        let mut registry = fixture.subscriber(Role::R, "$monitoring/+/json").await;
        publish(&fixture, Role::D3, "$devices/{D3}/events", "foreign").await;
        publish(&fixture, Role::D1, "$devices/{D1}/events", "own").await;
        loop {
            let message = registry.receive().await;
            let report: Value = serde_json::from_slice(&message.payload).expect("the report is JSON");
            let device = report["device_id"].as_str().expect("the report names its device").to_owned();
            assert_eq!(message.topic, format!("$monitoring/{device}/json"));
            assert_ne!(device, fixture.id(Role::D3), "a device of another registry is not reported");
            if device == fixture.id(Role::D1) && report.get("last_pub_activity_time").is_some() {
                break;
            }
        }
    });
}

#[test]
fn case_149_me_wildcard_sends_stored_messages() {
    run(async {
        let fixture = fixture().await;
        publish(&fixture, Role::R, "$devices/{D1}/config/a", "1").await;
        publish(&fixture, Role::R, "$devices/{D1}/config/b", "2").await;
        let expected = [("$me/device/config/a", "1"), ("$me/device/config/b", "2")];
        expect_stored(&fixture, Role::D1, "$me/device/config/#", &expected).await;
    });
}

#[test]
fn case_150_device_publishes_over_grpc() {
    grpc_publish_is_delivered(Role::D1, "$devices/{D1}/events", Role::R);
}

#[test]
fn case_151_device_may_not_publish_commands_over_grpc() {
    grpc_publish_fails(Role::D1, "$devices/{D1}/commands", Code::PermissionDenied);
}

#[test]
fn case_152_device_state_over_grpc_is_stored() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/state");
        fixture.api.publish(fixture.entity(Role::D1), &topic, b"s").await.expect("the publish is accepted");
        expect_stored(&fixture, Role::R, &topic, &[(&topic, "s")]).await;
    });
}

#[test]
fn case_153_registry_publishes_over_grpc() {
    grpc_publish_is_delivered(Role::R, "$registries/{R}/commands/heartbeat", Role::D1);
}

#[test]
fn case_154_registry_may_not_publish_events_over_grpc() {
    grpc_publish_fails(Role::R, "$devices/{D1}/events", Code::PermissionDenied);
}

#[test]
fn case_155_broker_publishes_over_grpc() {
    run(async {
        let fixture = fixture().await;
        let mut client = fixture.subscriber(Role::B, "a/#").await;
        fixture.api.publish(fixture.entity(Role::B), "a/b", b"x").await.expect("the publish is accepted");
        let message = client.receive_exactly(1).await.remove(0);
        assert_eq!((message.topic.as_str(), message.text()), ("a/b", "x".to_owned()));
    });
}

#[test]
fn case_156_largest_payload_over_grpc() {
    run(async {
        let fixture = fixture().await;
        let data = vec![7; PAYLOAD_BYTES_MAX + 1];
        let publishers =
            [(Role::D1, "$devices/{D1}/events"), (Role::R, "$registries/{R}/commands"), (Role::B, "a/b")];
        let mut backend = fixture.subscriber(Role::R, "$devices/{D1}/events").await;
        for (role, topic) in publishers {
            let (entity, topic) = (fixture.entity(role), fixture.expand(topic));
            let accepted = fixture.api.publish(entity, &topic, &data[..PAYLOAD_BYTES_MAX]).await;
            accepted.unwrap_or_else(|status| panic!("{role:?}: {status}"));
            let status = fixture.api.publish(entity, &topic, &data).await.expect_err("one byte too many");
            assert_eq!(status.code(), Code::InvalidArgument, "{role:?}: {}", status.message());
        }
        assert_eq!(backend.receive_exactly(1).await[0].payload.len(), PAYLOAD_BYTES_MAX);
    });
}

#[test]
fn case_157_longest_topic_over_grpc() {
    run(async {
        let fixture = fixture().await;
        let device = fixture.entity(Role::D1);
        let prefix = fixture.expand("$devices/{D1}/events/");
        let topic = |length: usize| format!("{prefix}{}", "t".repeat(length - prefix.len()));
        fixture.api.publish(device, &topic(1024), b"x").await.expect("1024 characters are accepted");
        let status = fixture.api.publish(device, &topic(1025), b"x").await.expect_err("1025 are not");
        assert_eq!(status.code(), Code::InvalidArgument, "{}", status.message());
    });
}

#[test]
fn case_158_unknown_device_over_grpc() {
    run(async {
        let fixture = fixture().await;
        let unknown = Entity::Device("are00000000000000000".to_owned());
        let topic = "$devices/are00000000000000000/events";
        let status = fixture.api.publish(&unknown, topic, b"x").await.expect_err("there is no such device");
        assert_eq!(status.code(), Code::NotFound, "{}", status.message());
    });
}

fn grpc_publish_is_delivered(role: Role, topic: &str, reader: Role) {
    run(async {
        let fixture = fixture().await;
        let mut subscriber = fixture.subscriber(reader, topic).await;
        let topic = fixture.expand(topic);
        fixture.api.publish(fixture.entity(role), &topic, b"x").await.expect("the publish is accepted");
        let message = subscriber.receive_exactly(1).await.remove(0);
        assert_eq!(
            (&message.topic, message.text(), message.quality),
            (&topic, "x".to_owned(), 1),
            "U-P6: QoS 1"
        );
    });
}

fn grpc_publish_fails(role: Role, topic: &str, code: Code) {
    run(async {
        let fixture = fixture().await;
        let answer = fixture.api.publish(fixture.entity(role), &fixture.expand(topic), b"x").await;
        let status = answer.expect_err("the publish is refused");
        assert_eq!(status.code(), code, "{}", status.message());
        assert!(!status.message().is_empty(), "an error explains itself");
    });
}
