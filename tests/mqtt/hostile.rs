//! Malformed and malicious bytes; each test bears the number of its entry in the catalogue of attacks.
//!
//! Every attack must meet a clear refusal and cost nobody else anything, which the bystander checks.

use rookery_harness::{
    client::{Client, Outcome},
    fixture::{Fixture, PASSWORD, Role, unique_client_id},
    packet::{self, Connect, Message, Packet},
    runtime::run,
};

use crate::{bystander::Bystander, fixture, node};

/// Sends bytes as the first ones of a plain connection and expects the end without an answer.
async fn refused_before_connect(what: &str, bytes: &[u8]) {
    let mut client = Client::tcp(node().address("mqtt")).await;
    client.send(bytes).await;
    assert_eq!(client.next().await, None, "{what}: the connection is closed without an answer");
}

/// Sends bytes on a session of D1 and expects the end without an answer.
async fn refused_in_session(fixture: &Fixture<'_>, what: &str, bytes: &[u8]) {
    let mut device = fixture.connect(Role::D1).await;
    device.send(bytes).await;
    assert_eq!(device.next().await, None, "{what}: the connection is closed without an answer");
}

#[test]
fn a1_connect_announcing_256_mb_is_refused_at_its_header() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let before = node().resident_bytes();
        let mut clients = Vec::new();
        for _ in 0..200 {
            let mut client = Client::tcp(node().address("mqtt")).await;
            client.send(&[0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60]).await;
            clients.push(client);
        }
        for client in &mut clients {
            assert_eq!(client.next().await, None);
        }
        let grown = node().resident_bytes().saturating_sub(before);
        assert!(grown < 64 << 20, "200 announcements of 256 MB cost {grown} bytes");
        bystander.saw_refusals(&fixture, "rookery_protocol_violations_total", 200);
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a2_first_packet_is_connect_and_comes_once() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        refused_before_connect("PUBLISH first", &Message::new("a", b"x", 0).encode()).await;
        refused_before_connect("SUBSCRIBE first", &packet::subscribe(1, &[("#", 1)])).await;
        refused_before_connect("PINGREQ first", &packet::PINGREQ).await;
        refused_before_connect("DISCONNECT first", &packet::DISCONNECT).await;
        refused_before_connect("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let connect = Connect::new(&unique_client_id());
        refused_in_session(&fixture, "second CONNECT", &connect.encode()).await;

        fixture.api.add_password(fixture.entity(Role::D1), PASSWORD).await.expect("the password is added");
        let twice = connect.login(fixture.id(Role::D1), PASSWORD).encode().repeat(2);
        let mut client = Client::tcp(node().address("mqtt")).await;
        client.send(&twice).await;
        assert_eq!(client.connack().await, 0);
        client.expect_closed().await;
        bystander.saw_refusals(&fixture, "rookery_protocol_violations_total", 7);
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a3_remaining_length_of_five_bytes_or_not_minimal_is_refused() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        for (what, bytes) in [
            ("five bytes", &[0x10, 0xff, 0xff, 0xff, 0xff, 0x7f][..]),
            ("four continuation bytes", &[0x10, 0x80, 0x80, 0x80, 0x80]),
            ("not minimal", &[0x10, 0x80, 0x80, 0x00]),
        ] {
            refused_before_connect(what, bytes).await;
            let in_session: Vec<_> = [0xc0].iter().chain(&bytes[1..]).copied().collect();
            refused_in_session(&fixture, what, &in_session).await;
        }
        bystander.saw_refusals(&fixture, "rookery_protocol_violations_total", 6);
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a7_malformed_connects_end_the_connection_only() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let valid = Connect::new("a7").will("a", b"b", 1, false).login("user", "password").encode();
        let mut corpus: Vec<Vec<u8>> = (1..valid.len()).map(|length| valid[..length].to_vec()).collect();
        // The same truncations with a remaining length that fits them: fields run over the end.
        corpus.extend((2..valid.len()).map(|length| packet::frame(0x10, &valid[2..length])));
        for index in 2..valid.len() {
            for value in [0x00, 0x7f, 0xff] {
                let mut changed = valid.clone();
                changed[index] = value;
                corpus.push(changed);
            }
        }
        corpus.push([valid.clone(), vec![0; 3]].concat());
        corpus.push(packet::frame(0x10, &[&valid[2..], &[0][..]].concat()));
        corpus.extend(random_bytes(100, 64));
        for bytes in corpus {
            let mut client = Client::tcp(node().address("mqtt")).await;
            client.send(&bytes).await;
            client.end_of_input().await;
            while let Some(packet) = client.next().await {
                let refusal = matches!(packet, Packet::ConnAck { code: 1.., .. });
                assert!(refusal, "{bytes:02x?} was answered with {packet:?}");
            }
        }
        bystander.saw_refusals(&fixture, "rookery_protocol_violations_total", 100);
        bystander.is_unaffected(&fixture).await;
    });
}

/// Pseudo-random strings from a fixed seed (xorshift), so that a failure repeats.
fn random_bytes(count: usize, length: usize) -> Vec<Vec<u8>> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| (0..length).map(|_| next()).collect()).collect()
}

#[test]
fn a8_packets_of_a_server_are_refused() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let packets: [(&str, &[u8]); 4] = [
            ("CONNACK", &[0x20, 2, 0, 0]),
            ("SUBACK", &[0x90, 3, 0, 1, 0]),
            ("UNSUBACK", &[0xb0, 2, 0, 1]),
            ("PINGRESP", &[0xd0, 0]),
        ];
        for (what, bytes) in packets {
            refused_before_connect(what, bytes).await;
            refused_in_session(&fixture, what, bytes).await;
        }
        // A PUBACK that acknowledges nothing is no offence, and no harm.
        let mut device = fixture.connect(Role::D1).await;
        device.send(&packet::puback(77)).await;
        device.fence().await;
        bystander.saw_refusals(&fixture, "rookery_protocol_violations_total", 8);
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a9_contradictory_will_flags_are_refused() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let with_flags = |flags: u8| Connect { flags: Some(flags), ..Connect::new("a9") };
        for (what, connect) in [
            ("will QoS without a will", with_flags(0x02 | 0x08)),
            ("will retain without a will", with_flags(0x02 | 0x20)),
            ("a will that is missing", with_flags(0x02 | 0x04)),
            ("will QoS 3", Connect::new("a9").will("a", b"x", 3, false)),
            (
                "a will that was not announced",
                Connect { flags: Some(0x02), ..Connect::new("a9").will("a", b"x", 0, false) },
            ),
        ] {
            refused_before_connect(what, &connect.encode()).await;
        }
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a10_text_that_is_not_utf_8_is_refused_everywhere() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let nul = &b"a\0b"[..];
        for text in [nul, b"\xed\xa0\x80", b"\xc0\x80", b"\xf8\x88\x80\x80\x80", b"\xff", b"\xe2\x82"] {
            let mut client_id = Connect::new("");
            client_id.client_id = text.to_vec();
            refused_before_connect("client identifier", &client_id.encode()).await;
            let mut user_name = Connect::new("a10").login("", "password");
            user_name.user_name = Some(text.to_vec());
            refused_before_connect("user name", &user_name.encode()).await;
            let mut will = Connect::new("a10").will("", b"x", 0, false);
            will.will.as_mut().expect("it was set").topic = text.to_vec();
            refused_before_connect("will topic", &will.encode()).await;
            let publish = packet::publish_bytes(&Message::new("", b"x", 0), text);
            refused_in_session(&fixture, "topic name", &publish).await;
        }
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a10_unusual_utf_8_is_kept_as_it_is() {
    run(async {
        let fixture = fixture().await;
        let mut client = fixture.connect(Role::B).await;
        assert_eq!(client.subscribe_one("u/#").await, 1);
        for topic in ["u/\u{feff}", "u/e\u{301}", "u/\u{e9}", "u/\u{1f980}"] {
            client.publish(topic, b"x").await;
            assert_eq!(client.receive_exactly(1).await[0].topic, topic, "MQTT-1.5.3-3");
        }
        // The same text in two normalisations is two identifiers: none takes the other over.
        let name = unique_client_id();
        let mut composed = fixture.connect_with(Role::D1, &Connect::new(&format!("{name}\u{e9}"))).await;
        let mut decomposed = fixture.connect_with(Role::D1, &Connect::new(&format!("{name}e\u{301}"))).await;
        composed.fence().await;
        decomposed.fence().await;
    });
}

#[test]
fn a10_fields_of_65535_bytes_are_refused() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let long = "x".repeat(65_535);
        for connect in [
            Connect::new(&long),
            Connect::new("a10").login(&long, "password"),
            Connect::new("a10").login(fixture.id(Role::D1), &long),
            Connect::new("a10").will(&long, long.as_bytes(), 1, true).login(&long, &long),
        ] {
            let mut client = Client::tcp(node().address("mqtt")).await;
            client.send(&connect.encode()).await;
            match client.next().await {
                None => {}
                Some(Packet::ConnAck { code: 1.., .. }) => client.expect_closed().await,
                other => panic!("a CONNECT of more than 65535 bytes was answered with {other:?}"),
            }
        }
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a11_protocol_names_and_levels() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let with =
            |name: &[u8], level| Connect { protocol_name: name.to_vec(), level, ..Connect::new("a11") };
        for level in [0, 2, 3, 5, 6, 0x84, 0xff] {
            let mut client = Client::tcp(node().address("mqtt")).await;
            assert_eq!(client.connect(&with(b"MQTT", level)).await, 1, "MQTT level {level}");
        }
        for level in [4, 0, 0x83] {
            let mut client = Client::tcp(node().address("mqtt")).await;
            assert_eq!(client.connect(&with(b"MQIsdp", level)).await, 1, "MQIsdp level {level}");
        }
        for name in [&b"mqtt"[..], b"MQTT\0", b"", b"HTTP", b"MQTT5"] {
            refused_before_connect("protocol name", &with(name, 4).encode()).await;
        }
        let reserved = Connect { flags: Some(0x03), ..Connect::new("a11") };
        refused_before_connect("reserved connect flag (MQTT-3.1.2-3)", &reserved.encode()).await;
        let mut password_only = Connect::new("a11");
        password_only.password = Some(b"password".to_vec());
        refused_before_connect("password without user name (MQTT-3.1.2-22)", &password_only.encode()).await;
        bystander.saw_refusals(&fixture, "rookery_connects_refused_total", 10);
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a32_odd_publishes() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let topic = fixture.expand("$devices/{D1}/events");
        let zero = Message::new(&topic, b"x", 1).encode();
        refused_in_session(&fixture, "packet identifier 0", &zero).await;
        refused_in_session(&fixture, "QoS 3", &packet::frame(0x36, &[0, 1, b'a', 0, 1, b'x'])).await;
        refused_in_session(&fixture, "wildcard", &Message::new("$devices/+/events", b"x", 0).encode()).await;
        refused_in_session(&fixture, "empty topic", &Message::new("", b"x", 0).encode()).await;
        refused_in_session(&fixture, "PUBLISH without a topic", &packet::frame(0x30, &[])).await;
        refused_in_session(&fixture, "topic beyond the end", &packet::frame(0x30, &[0, 9, b'a'])).await;
        refused_in_session(&fixture, "DUP with QoS 0", &packet::frame(0x38, &[0, 1, b'a'])).await;
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        let mut device = fixture.connect(Role::D1).await;
        device.publish(&topic, b"").await;
        assert_eq!(backend.receive_exactly(1).await[0].payload, b"");
        let too_large = vec![0; 262_145];
        assert_eq!(device.try_publish(&topic, &too_large).await, Outcome::Closed);
        bystander.is_unaffected(&fixture).await;
    });
}

/// U-M11: there is no limit to the rate.
#[test]
fn a32_flood_is_acknowledged_in_full() {
    run(async {
        const FLOOD: u16 = 5000;
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut device = fixture.connect(Role::D1).await;
        let mut bytes = Vec::new();
        for packet_identifier in 1..=FLOOD {
            bytes.extend(Message { packet_identifier, ..Message::new(&topic, b"x", 1) }.encode());
        }
        device.send(&bytes).await;
        for packet_identifier in 1..=FLOOD {
            assert_eq!(device.next().await, Some(Packet::PubAck(packet_identifier)));
        }
        bystander.is_unaffected(&fixture).await;
    });
}
