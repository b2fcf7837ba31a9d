//! Versions, keep-alive, sizes and violations (U-M1, U-M8, U-M10, U-M12 to U-M14).

use rookery_harness::{
    client::{Client, Outcome},
    fixture::{Fixture, PASSWORD, Role, unique_client_id},
    packet::{self, Connect, Message, Packet, publish_bytes},
    runtime::run,
};

use crate::{expect_log, fixture, node};

/// The largest payload.
const PAYLOAD_BYTES_MAX: usize = 262_144;

/// The largest number of subscriptions per session.
const SUBSCRIPTIONS_MAX: usize = 1000;

async fn login_of_first_device(fixture: &Fixture<'_>) -> Connect {
    fixture.api.add_password(fixture.entity(Role::D1), PASSWORD).await.expect("the password is added");
    Connect::new(&unique_client_id()).login(fixture.id(Role::D1), PASSWORD)
}

#[test]
fn mqisdp_level_3_is_accepted() {
    run(async {
        let fixture = fixture().await;
        let mut connect = login_of_first_device(&fixture).await;
        (connect.protocol_name, connect.level) = (b"MQIsdp".to_vec(), 3);
        let mut device = Client::connected_tcp(fixture.node, &connect).await;
        device.publish(&fixture.expand("$devices/{D1}/events"), b"x").await;
    });
}

#[test]
fn mqtt_5_is_refused_with_code_1_in_the_old_format() {
    run(async {
        let fixture = fixture().await;
        let mut connect = login_of_first_device(&fixture).await;
        connect.level = 5;
        let mut bytes = connect.encode();
        bytes.insert(12, 0); // MQTT 5 has properties behind the keep-alive; an empty list here
        bytes[1] += 1;
        let mut client = Client::tcp(node().address("mqtt")).await;
        client.send(&bytes).await;
        assert_eq!(client.next().await, Some(Packet::ConnAck { session_present: false, code: 1 }));
        client.expect_closed().await;
    });
}

#[test]
fn keep_alive_closes_a_silent_connection_and_only_that() {
    run(async {
        let fixture = fixture().await;
        let mut unlimited =
            fixture.connect_with(Role::D1, &Connect::new(&unique_client_id()).keep_alive_s(0)).await;
        let mut long =
            fixture.connect_with(Role::D1, &Connect::new(&unique_client_id()).keep_alive_s(65_535)).await;
        let mut silent =
            fixture.connect_with(Role::D1, &Connect::new(&unique_client_id()).keep_alive_s(1)).await;
        silent.expect_closed().await;
        expect_log(&["disconnected: keepalive timeout"]);
        unlimited.fence().await;
        long.fence().await;
    });
}

#[test]
fn keep_alive_counts_what_the_client_sends_not_what_it_receives() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/commands");
        let connect = Connect::new(&unique_client_id()).keep_alive_s(1);
        let mut device = fixture.connect_with(Role::D1, &connect).await;
        assert_eq!(device.subscribe(&[(&topic, 0)]).await, [0]);
        let mut backend = fixture.connect(Role::R).await;
        // The device receives all the time and never sends: MQTT-3.1.2-24.
        let closed = async {
            device.expect_closed().await;
        };
        let publishing = async {
            loop {
                backend.publish(&topic, b"x").await;
            }
        };
        tokio::select! {
            () = closed => {}
            () = publishing => {}
        }
    });
}

#[test]
fn largest_payload_is_delivered_and_one_byte_more_closes() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        let payload = vec![42; PAYLOAD_BYTES_MAX + 1];
        let mut device = fixture.connect(Role::D1).await;
        device.publish(&topic, &payload[..PAYLOAD_BYTES_MAX]).await;
        assert_eq!(backend.receive_exactly(1).await[0].payload.len(), PAYLOAD_BYTES_MAX);
        assert_eq!(device.try_publish(&topic, &payload).await, Outcome::Closed, "U-M10");
        expect_log(&["disconnected: message is too large"]);
        backend.expect_nothing().await;
    });
}

#[test]
fn longest_subtopic() {
    run(async {
        let fixture = fixture().await;
        let prefix = fixture.expand("$devices/{D1}/events/");
        let (longest, longer) = (prefix.clone() + &"t".repeat(1024), prefix + &"t".repeat(1025));
        let mut backend = fixture.connect(Role::R).await;
        assert_eq!(backend.subscribe(&[(&longest, 1), (&longer, 1)]).await, [1, 0x80], "U-T3");
        let mut device = fixture.connect(Role::D1).await;
        device.publish(&longest, b"x").await;
        assert_eq!(device.try_publish(&longer, b"x").await, Outcome::Closed, "U-T3");
        assert_eq!(backend.receive_exactly(1).await[0].topic, longest);
    });
}

#[test]
fn a_session_has_at_most_1000_subscriptions() {
    run(async {
        let fixture = fixture().await;
        let mut client = fixture.connect(Role::B).await;
        let names: Vec<_> = (0..SUBSCRIPTIONS_MAX + 10).map(|number| format!("f/{number}")).collect();
        let filters: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        assert_eq!(client.subscribe(&filters[..SUBSCRIPTIONS_MAX]).await, vec![1; SUBSCRIPTIONS_MAX]);
        assert_eq!(client.subscribe(&filters[SUBSCRIPTIONS_MAX..]).await, [0x80; 10], "U-M12");
        assert_eq!(client.subscribe(&filters[..1]).await, [1], "a repeated filter takes no further place");
        client.unsubscribe(&names[0]).await;
        assert_eq!(client.subscribe(&filters[SUBSCRIPTIONS_MAX..=SUBSCRIPTIONS_MAX]).await, [1]);
    });
}

#[test]
fn malformed_filters_are_refused_one_by_one() {
    run(async {
        let fixture = fixture().await;
        let mut client = fixture.connect(Role::B).await;
        let filters = [("a#", 1), ("a/b", 1), ("#/a", 0), ("a+", 1), ("+a/b", 1), ("a/#/b", 1), ("+/b/#", 0)];
        assert_eq!(client.subscribe(&filters).await, [0x80, 1, 0x80, 0x80, 0x80, 0x80, 0], "U-M14");
        let mut backend = fixture.connect(Role::R).await;
        let (bad, good) = (fixture.expand("$devices/{D1}/events#"), fixture.expand("$devices/{D1}/events/#"));
        assert_eq!(backend.subscribe(&[(&bad, 1), (&good, 1)]).await, [0x80, 1]);
    });
}

#[test]
fn several_filters_with_a_useless_one_keep_the_connection() {
    run(async {
        let fixture = fixture().await;
        let mut backend = fixture.connect(Role::R).await;
        let own = fixture.expand("$registries/{R}/events/#");
        let filters =
            [("$devices/+/events/#", 1), ("$devices/+/state", 1), (&own, 1), ("$devices/none/events", 1)];
        assert_eq!(backend.subscribe(&filters).await, [1, 1, 1, 0x80]);
        fixture.connect(Role::D1).await.publish(&fixture.expand("$registries/{R}/events/a"), b"x").await;
        assert_eq!(backend.receive_exactly(1).await[0].topic, fixture.expand("$registries/{R}/events/a"));
    });
}

/// Sends raw bytes on an established session of D1 and expects the end without any answer.
async fn violation(fixture: &Fixture<'_>, what: &str, bytes: &[u8]) {
    let mut device = fixture.connect(Role::D1).await;
    device.send(bytes).await;
    let answer = device.next().await;
    assert_eq!(answer, None, "{what}: the connection is closed without an answer");
}

#[test]
fn protocol_violations_close_the_connection_and_are_logged() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/events");
        let publish = |topic: &[u8]| {
            publish_bytes(&Message { packet_identifier: 1, ..Message::new("", b"x", 1) }, topic)
        };
        let zero = Message { packet_identifier: 0, ..Message::new(&topic, b"x", 1) }.encode();
        let mut filter_of_bad_utf8 = vec![0, 1];
        packet::put_field(&mut filter_of_bad_utf8, &[0xff]);
        filter_of_bad_utf8.push(0);
        let cases: [(&str, Vec<u8>); 14] = [
            ("wildcard in a topic name", publish(b"$devices/+/events")),
            ("hash in a topic name", publish(b"#")),
            ("invalid UTF-8", publish(b"$devices/\xff/events")),
            ("zero-length topic", publish(b"")),
            ("second CONNECT", Connect::new("again").encode()),
            ("reserved flags of SUBSCRIBE", packet::frame(0x80, &[0, 1, 0, 1, b'a', 0])),
            ("reserved flags of PINGREQ", vec![0xc1, 0]),
            ("packet type 0", vec![0x00, 0]),
            ("packet type 15", vec![0xf0, 0]),
            ("packet identifier 0", zero),
            ("QoS 3 in PUBLISH", packet::frame(0x36, &[0, 1, b'a', 0, 1])),
            ("QoS 3 in SUBSCRIBE", packet::subscribe(1, &[("a", 3)])),
            ("SUBSCRIBE without a filter", packet::subscribe(1, &[])),
            ("invalid UTF-8 in a filter", packet::frame(0x82, &filter_of_bad_utf8)),
        ];
        for (what, bytes) in cases {
            violation(&fixture, what, &bytes).await;
        }
        expect_log(&["disconnected: protocol violation"]);
    });
}

#[test]
fn pingreq_is_answered() {
    run(async {
        let fixture = fixture().await;
        let mut device = fixture.connect(Role::D1).await;
        device.send(&[packet::PINGREQ, packet::PINGREQ].concat()).await;
        assert_eq!(device.next().await, Some(Packet::PingResp));
        assert_eq!(device.next().await, Some(Packet::PingResp));
    });
}
