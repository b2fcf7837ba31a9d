//! Section 11.4: the last message of `state` and `config` topics.

use rookery_harness::{
    api::Entity,
    client::Client,
    fixture::{Fixture, Role},
    janitor,
    node::Node,
    packet::Message,
    runtime::run,
};

use crate::{BINARY, connect_new, fixture};

#[test]
fn case_116_state_is_sent_on_subscribing() {
    run(async {
        let fixture = fixture().await;
        publish(&fixture, Role::D1, "$devices/{D1}/state", "150").await;
        expect_stored(&fixture, Role::R, "$devices/{D1}/state", &[("$devices/{D1}/state", "150")]).await;
    });
}

#[test]
fn case_117_only_the_last_message_is_kept() {
    run(async {
        let fixture = fixture().await;
        publish(&fixture, Role::D1, "$devices/{D1}/state", "1").await;
        publish(&fixture, Role::D1, "$devices/{D1}/state", "2").await;
        expect_stored(&fixture, Role::R, "$devices/{D1}/state", &[("$devices/{D1}/state", "2")]).await;
    });
}

#[test]
fn case_118_config_is_sent_on_subscribing() {
    config_under("$devices/{D1}/config");
}

#[test]
fn case_119_config_is_sent_under_the_me_name() {
    config_under("$me/device/config");
}

#[test]
fn case_120_config_is_sent_under_the_exact_alias() {
    config_under("cfg");
}

fn config_under(filter: &str) {
    run(async {
        let fixture = fixture().await;
        publish(&fixture, Role::R, "$devices/{D1}/config", "c").await;
        expect_stored(&fixture, Role::D1, filter, &[(filter, "c")]).await;
    });
}

#[test]
fn case_121_alias_wildcard_sends_nothing_stored() {
    run(async {
        let fixture = fixture().await;
        publish(&fixture, Role::D1, "$devices/{D1}/state", "s").await;
        let mut backend = fixture.subscriber(Role::R, "my/alias/#").await;
        backend.expect_nothing().await;
        publish(&fixture, Role::D1, "$devices/{D1}/state", "later").await;
        let messages = backend.receive_exactly(1).await;
        assert_eq!((messages[0].topic.as_str(), messages[0].text()), ("my/alias/state", "later".to_owned()));
    });
}

#[test]
fn case_122_subtopics_are_stored_separately() {
    run(async {
        let fixture = fixture().await;
        publish(&fixture, Role::D1, "$devices/{D1}/state/a", "1").await;
        publish(&fixture, Role::D1, "$devices/{D1}/state/b", "2").await;
        let expected = [("$devices/{D1}/state/a", "1"), ("$devices/{D1}/state/b", "2")];
        expect_stored(&fixture, Role::R, "$devices/{D1}/state/#", &expected).await;
    });
}

#[test]
fn case_123_state_of_all_devices() {
    run(async {
        let fixture = fixture().await;
        publish(&fixture, Role::D1, "$devices/{D1}/state", "1").await;
        publish(&fixture, Role::D2, "$devices/{D2}/state", "2").await;
        let expected = [("$devices/{D1}/state", "1"), ("$devices/{D2}/state", "2")];
        expect_stored(&fixture, Role::R, "$devices/+/state", &expected).await;
    });
}

#[test]
fn case_124_retain_flag_on_events_stores_nothing() {
    run(async {
        let fixture = fixture().await;
        let mut device = fixture.connect(Role::D1).await;
        let topic = fixture.expand("$devices/{D1}/events");
        let message = Message { retain: true, ..Message::new(&topic, b"e", 1) };
        assert_eq!(device.try_publish_message(message).await, rookery_harness::client::Outcome::Acknowledged);
        fixture.subscriber(Role::R, &topic).await.expect_nothing().await;
    });
}

#[test]
fn case_125_state_is_stored_without_the_retain_flag() {
    run(async {
        let fixture = fixture().await;
        let mut device = fixture.connect(Role::D1).await;
        let message = Message::new(&fixture.expand("$devices/{D1}/state"), b"s", 1);
        assert!(!message.retain);
        device.try_publish_message(message).await;
        expect_stored(&fixture, Role::R, "$devices/{D1}/state", &[("$devices/{D1}/state", "s")]).await;
    });
}

#[test]
fn case_126_registry_config_reaches_each_device_on_subscribing() {
    run(async {
        let fixture = fixture().await;
        publish(&fixture, Role::R, "$registries/{R}/config", "all").await;
        for device in [Role::D1, Role::D2] {
            let expected = [("$registries/{R}/config", "all")];
            expect_stored(&fixture, device, "$registries/{R}/config", &expected).await;
        }
    });
}

#[test]
fn case_127_state_is_sent_again_after_a_reconnect() {
    run(async {
        let fixture = fixture().await;
        publish(&fixture, Role::D1, "$devices/{D1}/state", "s").await;
        for _ in 0..2 {
            let mut backend = fixture.subscriber(Role::R, "$devices/{D1}/state").await;
            assert_eq!(backend.receive_exactly(1).await[0].text(), "s");
            backend.disconnect().await;
        }
    });
}

#[test]
fn case_128_an_empty_payload_clears() {
    run(async {
        let fixture = fixture().await;
        publish(&fixture, Role::D1, "$devices/{D1}/state", "s").await;
        let mut live = fixture.subscriber(Role::R, "$devices/{D1}/state").await;
        assert_eq!(live.receive_exactly(1).await[0].text(), "s");
        publish(&fixture, Role::D1, "$devices/{D1}/state", "").await;
        let cleared = live.receive_exactly(1).await.remove(0);
        assert_eq!(
            (cleared.text(), cleared.retain),
            (String::new(), false),
            "it is delivered live, too (U-T20)"
        );
        expect_stored(&fixture, Role::R, "$devices/{D1}/state", &[]).await;
    });
}

#[test]
fn case_129_state_survives_a_restart() {
    let node = Node::start_in(BINARY, &janitor::new_directory("node-"), &[]);
    let (topic, certificate) = run(async {
        let fixture = Fixture::create(&node).await;
        publish(&fixture, Role::D1, "$devices/{D1}/state", "s").await;
        (fixture.expand("$devices/{D1}/state"), fixture.certificate(Role::R).await.clone())
    });
    node.terminate();
    assert!(node.wait().success(), "SIGTERM ends the node with exit code 0");
    let node = node.restart();
    run(async {
        let options = rookery_harness::tls::TlsOptions::with(&certificate);
        let connect = rookery_harness::packet::Connect::new("after the restart");
        let mut backend = Client::connected(&node, &options, &connect).await;
        assert_eq!(backend.subscribe_one(&topic).await, 1);
        let stored = backend.receive_exactly(1).await.remove(0);
        assert_eq!((stored.topic, stored.payload), (topic, b"s".to_vec()));
    });
}

#[test]
fn case_130_deleting_a_device_purges_its_state() {
    run(async {
        let fixture = fixture().await;
        publish(&fixture, Role::D1, "$devices/{D1}/state", "s").await;
        fixture.api.delete(fixture.entity(Role::D1)).await.expect("the device is deleted");
        let created = fixture.api.create_device(fixture.entity(Role::R), &[]).await;
        let device = Entity::Device(created.expect("a device is created").id);
        expect_stored(&fixture, Role::R, "$devices/+/state", &[]).await;
        let topic = format!("$devices/{}/state", device.id());
        connect_new(&fixture, &device).await.publish(&topic, b"new").await;
        expect_stored(&fixture, Role::R, "$devices/+/state", &[(&topic, "new")]).await;
    });
}

/// Publishes once on a connection of its own and waits for the PUBACK.
pub async fn publish(fixture: &Fixture<'_>, role: Role, topic: &str, payload: &str) {
    let mut client = fixture.connect(role).await;
    client.publish(&fixture.expand(topic), payload.as_bytes()).await;
    client.disconnect().await;
}

/// Subscribes and compares what comes at once, topic and payload, with RETAIN=1 (U-T19).
pub async fn expect_stored(fixture: &Fixture<'_>, role: Role, filter: &str, expected: &[(&str, &str)]) {
    let mut client = fixture.subscriber(role, filter).await;
    let received = client.receive_exactly(expected.len()).await;
    assert!(received.iter().all(|message| message.retain), "stored messages have RETAIN=1: {received:?}");
    let mut received: Vec<_> =
        received.iter().map(|message| (message.topic.clone(), message.text())).collect();
    received.sort();
    let mut expected: Vec<_> =
        expected.iter().map(|&(topic, text)| (fixture.expand(topic), text.to_owned())).collect();
    expected.sort();
    assert_eq!(received, expected, "stored messages for {filter}");
}
