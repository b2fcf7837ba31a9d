//! Quality of service, order, retain flag and the in-flight window (U-M2 to U-M4).

use std::collections::HashSet;

use rookery_harness::{
    client::{Client, Outcome},
    fixture::{Fixture, Role},
    packet::{self, Message, Packet},
    runtime::run,
};

use crate::{expect_log, fixture};

/// More messages than the in-flight window of a session (1000 by default).
const BURST: usize = 1500;

#[test]
fn delivery_quality_is_the_lower_of_publish_and_grant() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut device = fixture.connect(Role::D1).await;
        for (granted, published) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let mut backend = fixture.connect(Role::R).await;
            assert_eq!(backend.subscribe(&[(&topic, granted)]).await, [granted]);
            match published {
                0 => device.publish_unacknowledged(&topic, b"x").await,
                _ => device.publish(&topic, b"x").await,
            }
            let message = backend.receive().await;
            assert_eq!(message.quality, granted.min(published));
            assert_eq!(message.packet_identifier != 0, message.quality == 1);
            backend.disconnect().await;
        }
    });
}

#[test]
fn subscribing_with_qos_2_grants_1() {
    run(async {
        let fixture = fixture().await;
        let mut backend = fixture.connect(Role::R).await;
        let topic = fixture.expand("$devices/{D1}/events");
        assert_eq!(backend.subscribe(&[(&topic, 2)]).await, [1], "U-M3");
    });
}

#[test]
fn publishing_with_qos_2_closes_the_connection() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        let mut device = fixture.connect(Role::D1).await;
        device.send(&Message { packet_identifier: 1, ..Message::new(&topic, b"x", 2) }.encode()).await;
        device.expect_closed().await;
        expect_log(&["disconnected: QoS 2 is not supported"]);
        backend.expect_nothing().await;
    });
}

#[test]
fn packets_of_the_qos_2_flow_close_the_connection() {
    run(async {
        let fixture = fixture().await;
        for first_byte in [0x50, 0x62, 0x70] {
            let mut device = fixture.connect(Role::D1).await;
            device.send(&packet::frame(first_byte, &[0, 1])).await;
            device.expect_closed().await;
        }
    });
}

#[test]
fn retain_flag_is_ignored() {
    run(async {
        let fixture = fixture().await;
        for topic in ["$devices/{D1}/events", "$devices/{D1}/state"] {
            let topic = fixture.expand(topic);
            let mut backend = fixture.subscriber(Role::R, &topic).await;
            let mut device = fixture.connect(Role::D1).await;
            let message = Message { retain: true, ..Message::new(&topic, b"x", 1) };
            assert_eq!(device.try_publish_message(message).await, Outcome::Acknowledged);
            assert!(!backend.receive_exactly(1).await[0].retain, "U-M4");
        }
        let mut late = fixture.subscriber(Role::B, "a/b").await;
        let mut client = fixture.connect(Role::B).await;
        client.try_publish_message(Message { retain: true, ..Message::new("a/b", b"x", 1) }).await;
        assert!(!late.receive_exactly(1).await[0].retain);
        fixture.subscriber(Role::B, "a/b").await.expect_nothing().await;
    });
}

#[test]
fn repeated_publish_with_dup_is_acknowledged_again() {
    run(async {
        let fixture = fixture().await;
        let mut device = fixture.connect(Role::D1).await;
        let message = Message {
            packet_identifier: 5,
            duplicate: true,
            ..Message::new(&fixture.expand("$devices/{D1}/events"), b"x", 1)
        };
        for _ in 0..2 {
            device.send(&message.encode()).await;
            assert_eq!(device.next().await, Some(Packet::PubAck(5)));
        }
    });
}

/// Publishes `BURST` numbered messages with QoS 1 in one go and reads all PUBACKs in order.
async fn burst(device: &mut Client, topic: &str) {
    let mut bytes = Vec::new();
    for number in 0..BURST {
        let packet_identifier = device.identifier();
        let message = Message { packet_identifier, ..Message::new(topic, number.to_string().as_bytes(), 1) };
        bytes.extend(message.encode());
    }
    device.send(&bytes).await;
    for _ in 0..BURST {
        assert!(matches!(device.next().await, Some(Packet::PubAck(_))));
    }
}

#[test]
fn messages_of_one_publisher_stay_in_order() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        let mut device = fixture.connect(Role::D1).await;
        burst(&mut device, &topic).await;
        let received: Vec<_> = backend.receive_exactly(BURST).await.iter().map(Message::text).collect();
        let expected: Vec<_> = (0..BURST).map(|number| number.to_string()).collect();
        assert_eq!(received, expected, "U-M2");
    });
}

#[test]
fn unacknowledged_messages_fill_a_window_and_the_rest_waits() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        backend.acknowledges = false;
        let mut device = fixture.connect(Role::D1).await;
        burst(&mut device, &topic).await;
        let mut received = vec![backend.receive().await];
        backend.fence().await;
        received.extend(backend.take_inbox());
        let identifiers: HashSet<_> = received.iter().map(|message| message.packet_identifier).collect();
        assert_eq!(identifiers.len(), received.len(), "identifiers in flight differ (MQTT-2.3.1-4)");
        assert!(received.len() < BURST, "the window is bounded");
        // Acknowledging opens the window; nothing is lost, repeated or reordered.
        for message in &received {
            backend.send(&packet::puback(message.packet_identifier)).await;
        }
        backend.acknowledges = true;
        received.extend(backend.receive_exactly(BURST - received.len()).await);
        let numbers: Vec<_> = received.iter().map(Message::text).collect();
        assert_eq!(numbers, (0..BURST).map(|number| number.to_string()).collect::<Vec<_>>());
    });
}

#[test]
fn unacknowledged_messages_end_with_the_connection() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        backend.acknowledges = false;
        fixture.connect(Role::D1).await.publish(&topic, b"x").await;
        assert_eq!(backend.receive().await.text(), "x");
        backend.abort().await;
        fixture.subscriber(Role::R, &topic).await.expect_nothing().await;
    });
}

#[test]
fn overlapping_filters_deliver_one_copy_at_the_highest_quality() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.connect(Role::R).await;
        let filters = [(topic.as_str(), 0), ("$devices/+/events", 1), ("$devices/#", 0)];
        assert_eq!(backend.subscribe(&filters).await, [0, 1, 0]);
        fixture.connect(Role::D1).await.publish(&topic, b"x").await;
        assert_eq!(backend.receive_exactly(1).await[0].quality, 1, "U-T7");
    });
}

#[test]
fn stored_messages_come_after_the_suback() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/state");
        fixture.connect(Role::D1).await.publish(&topic, b"s").await;
        let mut backend = fixture.connect(Role::R).await;
        backend.send(&packet::subscribe(1, &[(&topic, 1)])).await;
        assert_eq!(backend.next().await, Some(Packet::SubAck { packet_identifier: 1, codes: vec![1] }));
        assert!(matches!(backend.next().await, Some(Packet::Publish(_))));
    });
}

#[test]
fn subscribing_again_replaces_the_quality_and_repeats_stored_messages() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/state");
        fixture.connect(Role::D1).await.publish(&topic, b"s").await;
        let mut backend = fixture.connect(Role::R).await;
        for quality in [1, 0] {
            assert_eq!(backend.subscribe(&[(&topic, quality)]).await, [quality]);
            let stored = backend.receive_exactly(1).await.remove(0);
            assert_eq!(
                (stored.text(), stored.quality),
                ("s".to_owned(), quality),
                "U-T21: one per SUBSCRIBE"
            );
        }
    });
}

#[test]
fn unsubscribing_ends_delivery_of_that_filter_only() {
    run(async {
        let fixture = fixture().await;
        let (events, state) = (fixture.expand("$devices/{D1}/events"), fixture.expand("$devices/{D1}/state"));
        let mut backend = fixture.connect(Role::R).await;
        assert_eq!(backend.subscribe(&[(&events, 1), (&state, 1)]).await, [1, 1]);
        backend.unsubscribe("$devices/never/subscribed").await;
        backend.unsubscribe(&events).await;
        let mut device = fixture.connect(Role::D1).await;
        publish_both(&mut device, &fixture).await;
        assert_eq!(backend.receive_exactly(1).await[0].topic, state);
    });
}

async fn publish_both(device: &mut Client, fixture: &Fixture<'_>) {
    device.publish(&fixture.expand("$devices/{D1}/events"), b"x").await;
    device.publish(&fixture.expand("$devices/{D1}/state"), b"x").await;
}
