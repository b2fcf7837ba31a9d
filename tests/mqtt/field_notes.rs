//! What public client programs rely on, one test for each of the fourteen field notes, named `note_NN_…`. REST, the
//! third way in of note 12, does not exist yet.

use std::process::Command;

use rookery_harness::{
    certificates,
    client::Client,
    fixture::{Fixture, PASSWORD, Role, unique_client_id},
    ops,
    packet::{self, Connect, Message, Packet},
    runtime::run,
    tls::TlsOptions,
};

use crate::{BINARY, fixture, node};

/// Logs in over TLS without a certificate, as small boards do.
async fn by_password(fixture: &Fixture<'_>, role: Role, password: &str, client_id: &str) -> Client {
    fixture.api.add_password(fixture.entity(role), password).await.expect("the password is added");
    let connect = Connect::new(client_id).login(fixture.id(role), password);
    Client::connected(fixture.node, &TlsOptions::default(), &connect).await
}

#[test]
fn note_01_a_client_identifier_is_not_an_identity() {
    run(async {
        let fixture = fixture().await;
        let connect = Connect::new("Test_Client_device");
        let mut device = fixture.connect_with(Role::D1, &connect).await;
        let mut other = fixture.connect_with(Role::D2, &connect).await;
        let mut backend = fixture.connect_with(Role::R, &connect).await;
        for client in [&mut device, &mut other, &mut backend] {
            client.fence().await;
        }
        let _newer = fixture.connect_with(Role::D1, &connect).await;
        device.expect_closed().await;
        other.fence().await;
    });
}

#[test]
fn note_02_the_fourth_level_of_me_commands_is_the_command() {
    run(async {
        let fixture = fixture().await;
        let mut device = fixture.subscriber(Role::D1, "$me/device/commands/+").await;
        fixture.connect(Role::R).await.publish(&fixture.expand("$devices/{D1}/commands/reboot"), b"x").await;
        assert_eq!(device.receive_exactly(1).await[0].topic.split('/').nth(3), Some("reboot"));
    });
}

#[test]
fn note_03_slashes_at_both_ends_and_subtopics() {
    run(async {
        let fixture = fixture().await;
        let mut backend = fixture.subscriber(Role::R, "$devices/{D1}/events/#").await;
        let mut device = fixture.connect(Role::D1).await;
        for topic in ["$devices/{D1}/events/", "$devices/{D1}/events/a/b/"] {
            let topic = fixture.expand(topic);
            device.publish(&topic, b"x").await;
            assert_eq!(backend.receive_exactly(1).await[0].topic, topic);
        }
        let mut client = fixture.subscriber(Role::B, "/my/custom/topic").await;
        client.publish("/my/custom/topic", b"x").await;
        assert_eq!(client.receive_exactly(1).await[0].topic, "/my/custom/topic");
    });
}

#[test]
fn note_04_overlapping_wildcards_and_a_useless_filter_in_one_subscribe() {
    run(async {
        let fixture = fixture().await;
        let mut backend = fixture.connect(Role::R).await;
        let registry = fixture.expand("$registries/{R}/events/#");
        let filters = [
            ("$devices/+/events/#", 1),
            ("$devices/+/state", 1),
            (registry.as_str(), 1),
            ("$devices/#", 0),
            ("$device/x/events", 1),
        ];
        assert_eq!(backend.subscribe(&filters).await, [1, 1, 1, 0, 0x80]);
        let mut device = fixture.connect(Role::D1).await;
        for topic in ["$devices/{D1}/events/a", "$devices/{D1}/state", "$registries/{R}/events/a"] {
            let topic = fixture.expand(topic);
            device.publish(&topic, b"x").await;
            assert_eq!(backend.receive_exactly(1).await[0].topic, topic, "one copy each");
        }
    });
}

#[test]
fn note_05_state_is_read_back_with_and_without_retain_and_cleared_by_an_empty_payload() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/state");
        let mut device = fixture.connect(Role::D1).await;
        for (payload, retain) in [("plain", false), ("retained", true)] {
            let message = Message { retain, ..Message::new(&topic, payload.as_bytes(), 1) };
            device.try_publish_message(message).await;
            let mut reader = fixture.subscriber(Role::R, &topic).await;
            assert_eq!(reader.receive_exactly(1).await[0].text(), payload);
        }
        device.try_publish_message(Message { retain: true, ..Message::new(&topic, b"", 1) }).await;
        fixture.subscriber(Role::R, &topic).await.expect_nothing().await;
    });
}

#[test]
fn note_06_nobody_publishes_qos_2_and_subscribing_with_it_grants_1() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.connect(Role::R).await;
        assert_eq!(backend.subscribe(&[(&topic, 2)]).await, [1]);
        let mut device = fixture.connect(Role::D1).await;
        device.send(&Message { packet_identifier: 1, ..Message::new(&topic, b"x", 2) }.encode()).await;
        device.expect_closed().await;
        backend.expect_nothing().await;
    });
}

#[test]
fn note_07_tls_12_without_a_server_name_by_certificate_or_by_login_on_one_port() {
    run(async {
        let fixture = fixture().await;
        let old = TlsOptions { only_tls12: true, without_server_name: true, ..TlsOptions::default() };
        // RSA-4096 takes seconds to make and has its own test, `vendor_recipe_rsa_4096`.
        let certificate = certificates::rsa(2048);
        let added = fixture.api.add_certificate(fixture.entity(Role::D1), &certificate.pem).await;
        added.expect("the certificate is added");
        let options = TlsOptions { certificate: Some(certificate), ..old.clone() };
        Client::connected(fixture.node, &options, &Connect::new(&unique_client_id())).await.fence().await;
        fixture.api.add_password(fixture.entity(Role::D1), PASSWORD).await.expect("the password is added");
        let login = Connect::new(&unique_client_id()).login(fixture.id(Role::D1), PASSWORD);
        Client::connected(fixture.node, &old, &login).await.fence().await;
    });
}

#[test]
fn note_08_keep_alives_client_identifiers_and_passwords_of_the_field() {
    run(async {
        let fixture = fixture().await;
        let client_id = format!("Test_Device-Client#1{}", "x".repeat(31));
        assert_eq!(client_id.len(), 51);
        for password in ["aB3{;+#&!aB3{;", "0123456789_abcdEF{+&!;"] {
            by_password(&fixture, Role::D1, password, &client_id).await.fence().await;
            for keep_alive_s in [15, 60, 90, 120] {
                let login = Connect::new(&client_id).login(fixture.id(Role::D1), password);
                let connect = login.keep_alive_s(keep_alive_s);
                Client::connected_tcp(fixture.node, &connect).await.fence().await;
            }
        }
    });
}

#[test]
fn note_09_connect_subscribe_and_publish_in_one_segment_and_gone() {
    run(async {
        let fixture = fixture().await;
        let (topic, filter) =
            (fixture.expand("$devices/{D1}/events"), fixture.expand("$devices/{D1}/commands"));
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        fixture.api.add_password(fixture.entity(Role::D1), PASSWORD).await.expect("the password is added");
        let mut bytes = Connect::new(&unique_client_id()).login(fixture.id(Role::D1), PASSWORD).encode();
        bytes.extend(packet::subscribe(1, &[(&filter, 1)]));
        bytes.extend(Message::new(&topic, b"x", 0).encode());
        let mut device = Client::tls_anonymous(node()).await;
        device.send(&bytes).await;
        device.abort().await;
        assert_eq!(backend.receive_exactly(1).await[0].text(), "x", "although the password took its time");
    });
}

#[test]
fn note_10_clean_session_0_is_accepted_and_starts_anew() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/commands");
        let connect = Connect::new(&unique_client_id()).clean_session(false);
        let mut device = fixture.connect_with(Role::D1, &connect).await;
        device.subscribe_one(&topic).await;
        device.abort().await;
        let mut backend = fixture.connect(Role::R).await;
        backend.publish(&topic, b"while away").await;
        let mut device = fixture.connect_with(Role::D1, &connect).await;
        device.expect_nothing().await;
        device.subscribe_one(&topic).await;
        backend.publish(&topic, b"now").await;
        assert_eq!(device.receive_exactly(1).await[0].text(), "now");
    });
}

#[test]
fn note_11_wills_with_qos_1_and_retain_to_any_topic() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/events/lwt");
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        for will in ["homeassistant/sensor/status", "/lwt", "offline", &topic] {
            let connect = Connect::new(&unique_client_id()).will(will, b"gone", 1, true);
            fixture.connect_with(Role::D1, &connect).await.abort().await;
        }
        let message = backend.receive_exactly(1).await.remove(0);
        assert_eq!((message.text().as_str(), message.quality, message.retain), ("gone", 1, false));
        let mut free = fixture.subscriber(Role::B, "any/topic").await;
        let connect = Connect::new(&unique_client_id()).will("any/topic", b"gone", 1, true);
        fixture.connect_with(Role::B, &connect).await.abort().await;
        assert_eq!(free.receive_exactly(1).await[0].text(), "gone");
    });
}

/// Runs a command of the binary against the shared node.
fn command_line(arguments: &[&str]) {
    let output = Command::new(BINARY)
        .args(arguments)
        .arg("--data-dir")
        .arg(node().data_directory())
        .args(["--endpoint", &node().address("api").to_string()])
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn note_12_command_line_grpc_and_mqtt_side_by_side() {
    run(async {
        let fixture = fixture().await;
        command_line(&[
            "device",
            "password",
            "add",
            "--device-id",
            fixture.id(Role::D1),
            "--password",
            PASSWORD,
        ]);
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        fixture.api.publish(fixture.entity(Role::D1), &topic, b"over gRPC").await.expect("it is published");
        assert_eq!(backend.receive_exactly(1).await[0].text(), "over gRPC");
        let server = node().address("mqtts").to_string();
        let login = ["--username", fixture.id(Role::D1), "--password", PASSWORD, "--server", &server];
        command_line(
            &[&["mqtt", "publish", "-q", "1", "-t", &topic, "-m", "by command"][..], &login].concat(),
        );
        assert_eq!(backend.receive_exactly(1).await[0].text(), "by command");
        let connect = Connect::new(&unique_client_id()).login(fixture.id(Role::D1), PASSWORD);
        let mut device = Client::connected(node(), &TlsOptions::default(), &connect).await;
        device.publish(&topic, b"over MQTT").await;
        assert_eq!(backend.receive_exactly(1).await[0].text(), "over MQTT");
    });
}

#[test]
fn note_13_monitoring_under_both_names() {
    run(async {
        let fixture = fixture().await;
        for filter in ["$monitoring/{D1}/json", "$me/monitoring/json"] {
            let mut device = fixture.subscriber(Role::D1, filter).await;
            let report = device.receive().await;
            assert_eq!(report.topic, fixture.expand(filter));
            assert!(report.text().starts_with('{'), "{}", report.text());
        }
    });
}

/// A board whose buffer is too small for a message breaks the connection and comes again, for ever.
#[test]
fn note_14_a_client_that_breaks_off_and_returns_is_always_let_in() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/config");
        fixture.connect(Role::R).await.publish(&topic, &[b'x'; 2000]).await;
        let connect = Connect::new(&unique_client_id());
        let mut backend = fixture.subscriber(Role::R, "$devices/{D1}/events").await;
        for _ in 0..20 {
            let mut device = fixture.connect_with(Role::D1, &connect).await;
            device.send(&packet::subscribe(1, &[(&topic, 1)])).await;
            assert_eq!(device.next().await, Some(Packet::SubAck { packet_identifier: 1, codes: vec![1] }));
            device.abort().await;
        }
        fixture.connect(Role::D1).await.publish(&fixture.expand("$devices/{D1}/events"), b"still here").await;
        assert_eq!(backend.receive_exactly(1).await[0].text(), "still here");
        assert_eq!(ops::get(node(), "/livez").0, 200);
    });
}
