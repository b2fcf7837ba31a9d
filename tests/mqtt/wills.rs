//! The last will (U-M9).

use rookery_harness::{
    client::Client,
    fixture::{Fixture, PASSWORD, Role, unique_client_id},
    packet::{Connect, Message},
    runtime::run,
};

use crate::{expect_log, fixture};

/// Connects as D1 with a will.
async fn with_will(fixture: &Fixture<'_>, topic: &str, quality: u8, retain: bool) -> Client {
    let connect = Connect::new(&unique_client_id()).will(&fixture.expand(topic), b"gone", quality, retain);
    fixture.connect_with(Role::D1, &connect).await
}

#[test]
fn will_is_published_when_the_connection_breaks() {
    run(async {
        let fixture = fixture().await;
        let mut backend = fixture.subscriber(Role::R, "$devices/{D1}/events/#").await;
        with_will(&fixture, "$devices/{D1}/events/will", 0, false).await.abort().await;
        let message = backend.receive().await;
        let expected = Message::new(&fixture.expand("$devices/{D1}/events/will"), b"gone", 0);
        assert_eq!(message, expected);
    });
}

#[test]
fn will_is_published_when_the_server_closes_the_connection() {
    run(async {
        let fixture = fixture().await;
        let mut backend = fixture.subscriber(Role::R, "$devices/{D1}/events/#").await;
        let mut device = with_will(&fixture, "$devices/{D1}/events/will", 1, false).await;
        device.try_publish("$devices/nonexistent/events", b"x").await;
        assert_eq!(backend.receive_exactly(1).await[0].text(), "gone");
    });
}

#[test]
fn will_is_published_after_a_keep_alive_timeout() {
    run(async {
        let fixture = fixture().await;
        let mut backend = fixture.subscriber(Role::R, "$devices/{D1}/events/#").await;
        let topic = fixture.expand("$devices/{D1}/events/will");
        let connect = Connect::new(&unique_client_id()).keep_alive_s(1).will(&topic, b"gone", 1, false);
        let mut device = fixture.connect_with(Role::D1, &connect).await;
        device.expect_closed().await;
        assert_eq!(backend.receive_exactly(1).await[0].text(), "gone");
        expect_log(&["disconnected: keepalive timeout"]);
    });
}

#[test]
fn will_is_discarded_by_a_normal_disconnect() {
    run(async {
        let fixture = fixture().await;
        let mut backend = fixture.subscriber(Role::R, "$devices/{D1}/events/#").await;
        with_will(&fixture, "$devices/{D1}/events/will", 1, false).await.disconnect().await;
        backend.expect_nothing().await;
    });
}

#[test]
fn will_with_qos_2_and_retain_counts_as_qos_1_without_retain() {
    run(async {
        let fixture = fixture().await;
        let mut backend = fixture.subscriber(Role::R, "$devices/{D1}/events").await;
        with_will(&fixture, "$me/device/events", 2, true).await.abort().await;
        let message = backend.receive_exactly(1).await.remove(0);
        assert_eq!((message.quality, message.retain), (1, false));
        assert_eq!(
            message.topic,
            fixture.expand("$devices/{D1}/events"),
            "a will is resolved like a publish"
        );
        fixture.subscriber(Role::R, "$devices/{D1}/events").await.expect_nothing().await;
    });
}

#[test]
fn will_to_a_state_topic_is_stored() {
    run(async {
        let fixture = fixture().await;
        let mut live = fixture.subscriber(Role::R, "$devices/{D1}/state").await;
        with_will(&fixture, "$devices/{D1}/state", 1, false).await.abort().await;
        assert_eq!(live.receive_exactly(1).await[0].text(), "gone");
        let mut late = fixture.subscriber(Role::R, "$devices/{D1}/state").await;
        assert_eq!(late.receive_exactly(1).await[0].text(), "gone");
    });
}

#[test]
fn will_to_a_forbidden_topic_is_dropped_and_the_connection_accepted() {
    run(async {
        let fixture = fixture().await;
        let mut backend = fixture.subscriber(Role::R, "$devices/#").await;
        let mut neighbour = fixture.subscriber(Role::D2, "$devices/#").await;
        let forbidden = [
            "$devices/{D2}/events",
            "$devices/{D1}/commands",
            "homeassistant/status",
            "$SYS/will",
            "$devices/{D2}/commands",
        ];
        for topic in forbidden {
            let device = with_will(&fixture, topic, 1, true).await;
            device.abort().await;
        }
        expect_log(&["WARN", "will"]);
        // A will that is allowed comes after the forbidden ones and closes the test.
        with_will(&fixture, "$devices/{D1}/events", 1, false).await.abort().await;
        assert_eq!(backend.receive_exactly(1).await[0].topic, fixture.expand("$devices/{D1}/events"));
        neighbour.expect_nothing().await;
    });
}

#[test]
fn will_of_a_revoked_device_is_not_published() {
    run(async {
        let fixture = fixture().await;
        let device = fixture.entity(Role::D1);
        fixture.api.add_password(device, PASSWORD).await.expect("the password is added");
        let mut backend = fixture.subscriber(Role::R, "$devices/#").await;
        let topic = fixture.expand("$devices/{D1}/events");
        let connect = Connect::new("will").login(device.id(), PASSWORD).will(&topic, b"gone", 1, false);
        let mut client = Client::connected_tcp(fixture.node, &connect).await;
        fixture.api.delete(device).await.expect("the device is deleted");
        client.expect_closed().await;
        backend.expect_nothing().await;
    });
}
