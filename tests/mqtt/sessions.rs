//! Sessions and client identifiers (U-M5 to U-M7), and pipelining.

use rookery_harness::{
    client::{Client, Outcome},
    fixture::{Fixture, Role, unique_client_id},
    packet::{self, Connect, Message, Packet},
    runtime::{run, within},
    tls::TlsOptions,
};

use crate::{expect_log, fixture};

/// A TLS connection with a role's certificate, before CONNECT.
async fn opened(fixture: &Fixture<'_>, role: Role) -> Client {
    let options = TlsOptions::with(fixture.certificate(role).await);
    let client = Client::tls(fixture.node.address("mqtts"), &fixture.node.ca_pem(), &options).await;
    client.expect("the handshake succeeds")
}

#[test]
fn persistent_session_is_accepted_and_not_kept() {
    run(async {
        let fixture = fixture().await;
        let connect = Connect::new(&unique_client_id()).clean_session(false);
        let topic = fixture.expand("$devices/{D1}/commands");
        let mut device = fixture.connect_with(Role::D1, &connect).await;
        assert_eq!(device.subscribe_one(&topic).await, 1);
        device.disconnect().await;
        let mut backend = fixture.connect(Role::R).await;
        backend.publish(&topic, b"while away").await;
        // U-M5: session present is 0 (checked with every CONNACK) and nothing was queued or remembered.
        let mut device = fixture.connect_with(Role::D1, &connect).await;
        backend.publish(&topic, b"not subscribed").await;
        device.expect_nothing().await;
    });
}

#[test]
fn device_takes_over_its_own_client_identifier() {
    run(async {
        let fixture = fixture().await;
        let connect = Connect::new(&unique_client_id());
        let mut older = fixture.connect_with(Role::D1, &connect).await;
        let mut newer = fixture.connect_with(Role::D1, &connect).await;
        older.expect_closed().await;
        newer.fence().await;
        expect_log(&["disconnected: taken over by another connection"]);
    });
}

/// Connects with an identifier that others fight for, until the server lets one in.
async fn connected_at_last(fixture: &Fixture<'_>, connect: &Connect) -> Client {
    let trying = async {
        loop {
            let mut client = opened(fixture, Role::D1).await;
            match client.connect(connect).await {
                0 => return client,
                code => assert_eq!(code, 3, "slowed down"),
            }
        }
    };
    within("the server to let one in", trying).await
}

/// Each end of a session let all who waited for it begin again: the square of their number in steps.
#[test]
fn a21_of_many_connections_with_one_identifier_one_stays() {
    run(async {
        let fixture = fixture().await;
        let connect = Connect::new(&unique_client_id());
        let mut rivals = Vec::new();
        for _ in 0..100 {
            let mut rival = opened(&fixture, Role::D1).await;
            rival.send(&connect.encode()).await;
            rivals.push(rival);
        }
        // Connections have no order among themselves: the newest comes when each rival has met its fate.
        for rival in &mut rivals {
            rival.next().await;
        }
        let mut newest = connected_at_last(&fixture, &connect).await;
        for rival in &mut rivals {
            while rival.next().await.is_some() {}
        }
        newest.fence().await;
    });
}

/// Two clients with one identifier that throw each other out for ever kept the log busy.
#[test]
fn a21_a_takeover_war_is_slowed_down_and_the_session_that_there_is_lives_on() {
    run(async {
        let fixture = fixture().await;
        let connect = Connect::new(&unique_client_id());
        let mut holder = fixture.connect_with(Role::D1, &connect).await;
        let (mut accepted, mut refused) = (0, 0);
        for _ in 0..200 {
            let mut rival = opened(&fixture, Role::D1).await;
            match rival.connect(&connect).await {
                0 => {
                    holder.expect_closed().await;
                    holder = rival;
                    accepted += 1;
                }
                code => {
                    assert_eq!(code, 3, "it may come again");
                    holder.fence().await;
                    refused += 1;
                }
            }
            if refused >= 20 {
                break;
            }
        }
        assert!(accepted >= 20 && refused > 0, "{accepted} were accepted and {refused} refused");
        // Another client of the same device is not concerned, and the war may end.
        fixture.connect(Role::D1).await.fence().await;
        drop(holder);
        connected_at_last(&fixture, &connect).await.fence().await;
    });
}

#[test]
fn different_identifiers_of_one_device_stay_side_by_side() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/commands");
        let mut devices = Vec::new();
        for _ in 0..3 {
            devices.push(fixture.subscriber(Role::D1, &topic).await);
        }
        fixture.connect(Role::R).await.publish(&topic, b"all").await;
        for device in &mut devices {
            assert_eq!(device.receive_exactly(1).await[0].text(), "all");
        }
    });
}

#[test]
fn one_identifier_for_different_identities_never_interacts() {
    run(async {
        let fixture = fixture().await;
        let connect = Connect::new("Test_Client_device");
        let mut clients = Vec::new();
        for role in [Role::D1, Role::R, Role::D2, Role::D3, Role::R2, Role::B, Role::B2] {
            clients.push(fixture.connect_with(role, &connect).await);
        }
        for client in &mut clients {
            client.fence().await;
        }
    });
}

#[test]
fn registries_and_brokers_may_repeat_an_identifier() {
    run(async {
        let fixture = fixture().await;
        for role in [Role::R, Role::B] {
            let connect = Connect::new("YCCmdLine");
            let mut first = fixture.connect_with(role, &connect).await;
            let mut second = fixture.connect_with(role, &connect).await;
            first.fence().await;
            second.fence().await;
        }
    });
}

#[test]
fn empty_identifier_needs_a_clean_session() {
    run(async {
        let fixture = fixture().await;
        let mut first = fixture.connect_with(Role::D1, &Connect::new("")).await;
        let mut second = fixture.connect_with(Role::D1, &Connect::new("")).await;
        first.fence().await; // empty identifiers never take over
        second.fence().await;
        let mut refused = opened(&fixture, Role::D1).await;
        assert_eq!(refused.connect(&Connect::new("").clean_session(false)).await, 2, "U-M7");
    });
}

#[test]
fn identifier_has_at_most_256_bytes() {
    run(async {
        let fixture = fixture().await;
        for client_id in ["x".repeat(256), "ю".repeat(128), "a#_-+/ \u{feff}".to_owned()] {
            fixture.connect_with(Role::D1, &Connect::new(&client_id)).await.disconnect().await;
        }
        let mut refused = opened(&fixture, Role::D1).await;
        assert_eq!(refused.connect(&Connect::new(&"x".repeat(257))).await, 2, "U-M7");
    });
}

#[test]
fn connect_subscribe_and_publish_may_come_in_one_segment() {
    run(async {
        let fixture = fixture().await;
        let mut backend = fixture.subscriber(Role::R, "$devices/{D1}/events").await;
        let commands = fixture.expand("$devices/{D1}/commands");
        let events = Message {
            packet_identifier: 2,
            ..Message::new(&fixture.expand("$devices/{D1}/events"), b"x", 1)
        };
        let mut bytes = Connect::new(&unique_client_id()).encode();
        bytes.extend(packet::subscribe(1, &[(&commands, 1)]));
        bytes.extend(events.encode());
        let mut device = opened(&fixture, Role::D1).await;
        device.send(&bytes).await;
        assert_eq!(device.connack().await, 0);
        assert_eq!(device.next().await, Some(Packet::SubAck { packet_identifier: 1, codes: vec![1] }));
        assert_eq!(device.next().await, Some(Packet::PubAck(2)));
        assert_eq!(backend.receive_exactly(1).await[0].text(), "x");
        backend.publish(&commands, b"subscribed").await;
        assert_eq!(device.receive_exactly(1).await[0].text(), "subscribed");
    });
}

#[test]
fn a_client_may_publish_and_exit_at_once() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        let mut bytes = Connect::new(&unique_client_id()).encode();
        bytes.extend(Message::new(&topic, b"fire and forget", 0).encode());
        bytes.extend(packet::DISCONNECT);
        let mut device = opened(&fixture, Role::D1).await;
        device.send(&bytes).await;
        device.abort().await;
        assert_eq!(backend.receive().await.text(), "fire and forget");
    });
}

#[test]
fn packets_behind_a_refused_connect_are_not_executed() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        let mut bytes = Connect::new("x").login(fixture.id(Role::D1), "Wr0ngPasswordForDevice").encode();
        bytes.extend(Message::new(&topic, b"forged", 0).encode());
        let mut device = opened(&fixture, Role::D1).await;
        device.send(&bytes).await;
        assert_eq!(device.connack().await, 4);
        device.expect_closed().await;
        backend.expect_nothing().await;
    });
}

#[test]
fn a_packet_may_arrive_byte_by_byte() {
    run(async {
        let fixture = fixture().await;
        let mut device = opened(&fixture, Role::D1).await;
        for byte in Connect::new(&unique_client_id()).encode() {
            device.send(&[byte]).await;
        }
        assert_eq!(device.connack().await, 0);
        let topic = fixture.expand("$devices/{D1}/events");
        let message = Message { packet_identifier: 9, ..Message::new(&topic, b"slow", 1) };
        for byte in message.encode() {
            device.send(&[byte]).await;
        }
        assert_eq!(device.next().await, Some(Packet::PubAck(9)));
    });
}

#[test]
fn after_disconnect_nothing_is_read() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        let mut device = fixture.connect(Role::D1).await;
        let mut bytes = packet::DISCONNECT.to_vec();
        bytes.extend(Message::new(&topic, b"after the end", 0).encode());
        device.send(&bytes).await;
        device.expect_closed().await;
        backend.expect_nothing().await;
        assert_eq!(device.try_publish(&topic, b"x").await, Outcome::Closed);
    });
}
