//! Attacks on rights and resources by authenticated clients, and on time by silent ones.

use rookery_harness::{
    client::{Client, Outcome, new_source},
    fixture::{Fixture, PASSWORD, Role, unique_client_id},
    packet::{self, Connect},
    runtime::run,
};

use crate::{bystander::Bystander, fixture, node};

/// Names that mean something to access lists, format strings or file systems elsewhere.
const SUGGESTIVE_NAMES: [&str; 9] = ["#", "+", "a/+", "%c", "%u", "$", "../", "$devices/#", "*"];

#[test]
fn a4_slow_and_silent_connections_end_at_a_deadline() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let connect = Connect::new("slow").encode();
        let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
        let (tcp, tls) = (node().address("mqtt"), node().address("mqtts"));
        let mut silent =
            vec![Client::tcp(tcp).await, Client::tcp(tls).await, Client::tls_anonymous(node()).await];
        for (address, bytes) in [(tcp, &connect[..5]), (tls, &hello[..])] {
            let mut client = Client::tcp(address).await;
            client.send(bytes).await;
            silent.push(client);
        }
        let mut slow = Client::tcp(tcp).await;
        // One byte of CONNECT per keep-alive timeout of another client, 1.5 s by the server's clock: a byte now
        // and then does not move the deadline.
        for byte in connect.iter().cycle() {
            if slow.has_ended() {
                break;
            }
            slow.send(&[*byte]).await;
            let clock = Connect::new(&unique_client_id()).keep_alive_s(1);
            let mut clock = fixture.connect_with(Role::D1, &clock).await;
            tokio::select! {
                () = clock.expect_closed() => {}
                () = slow.expect_closed() => {}
            }
        }
        for client in &mut silent {
            client.expect_closed().await;
        }
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a13_names_that_look_like_patterns_grant_nothing() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        fixture.api.add_password(fixture.entity(Role::D1), PASSWORD).await.expect("the password is added");
        for name in SUGGESTIVE_NAMES {
            let mut device = fixture.connect_with(Role::D1, &Connect::new(name)).await;
            assert_eq!(device.subscribe_one(&fixture.expand("$devices/{D2}/commands")).await, 0x80, "{name}");
            let foreign = fixture.expand("$devices/{D2}/events");
            assert_eq!(device.try_publish(&foreign, b"x").await, Outcome::Closed, "{name}");
            let login = Connect::new(name).login(name, PASSWORD);
            assert_eq!(Client::tls_anonymous(node()).await.connect(&login).await, 4, "{name}");
        }
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a14_broad_filters_select_nothing_that_may_not_be_read() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let mut device = fixture.connect(Role::D1).await;
        let mut stranger = fixture.connect(Role::D3).await;
        let broad = ["#", "+/#", "/#", "+/+/+", "$devices/#", "$registries/#", "$monitoring/#"];
        let refused = [
            "$devices/+/events/#",
            "$SYS/#",
            "$share/g/#",
            "$share/g/$devices/+/commands",
            "$queue/$devices/+/commands",
            "$devices/+/events",
            "$registries/+/events/#",
        ];
        for client in [&mut device, &mut stranger] {
            for filter in broad {
                client.subscribe_one(filter).await; // granted or not: what counts is what arrives
            }
            for filter in refused {
                assert_eq!(client.subscribe_one(filter).await, 0x80, "{filter}");
            }
            client.fence().await;
            client.take_inbox(); // monitoring reports of the own registry
        }
        let mut neighbour = fixture.connect(Role::D2).await;
        let mut backend = fixture.connect(Role::R).await;
        for topic in ["$devices/{D2}/events", "$devices/{D2}/state", "$registries/{R}/events"] {
            neighbour.publish(&fixture.expand(topic), b"secret").await;
        }
        for topic in ["$devices/{D2}/commands", "$devices/{D2}/config", "cmd"] {
            backend.publish(&fixture.expand(topic), b"secret").await;
        }
        for client in [&mut device, &mut stranger] {
            client.fence().await;
            let leaked = client.take_inbox().into_iter().find(|message| message.payload == b"secret");
            assert_eq!(leaked, None);
        }
        bystander.saw_refusals(&fixture, "rookery_filters_refused_total", 14);
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a15_malformed_shared_filters_are_refused_and_harmless() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        for role in [Role::D1, Role::R, Role::B] {
            let mut client = fixture.connect(role).await;
            for filter in
                ["$share", "$share/", "$share//t", "$share/g+/t", "$share/g/", "$share/g", "$share/#"]
            {
                assert_eq!(client.subscribe_one(filter).await, 0x80, "{role:?} {filter}");
            }
            client.fence().await;
        }
        bystander.saw_refusals(&fixture, "rookery_filters_refused_total", 21);
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a17_wills_reach_no_topic_that_a_publish_may_not() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let mut backend = fixture.subscriber(Role::R, "$devices/#").await;
        let mut neighbour = fixture.subscriber(Role::D2, "$devices/#").await;
        assert_eq!(neighbour.subscribe_one("$registries/#").await, 1);
        let mut stranger = fixture.subscriber(Role::D3, "$registries/#").await;
        let topics = [
            "$devices/{D2}/commands",
            "$devices/{D2}/events",
            "$registries/{R}/commands",
            "$registries/{R2}/commands",
            "$monitoring/{D1}/json",
            "$SYS/x",
            "$CONTROL/x",
            "cmd",
        ];
        for topic in topics {
            let will = Connect::new(&unique_client_id()).will(&fixture.expand(topic), b"forged", 1, true);
            fixture.connect_with(Role::D1, &will).await.abort().await;
        }
        for topic in ["$devices/+/commands", "#", "", "$devices/{D1}/events/#"] {
            // A will that no topic can be may be refused at once or dropped at the end.
            let will = Connect::new(&unique_client_id()).will(&fixture.expand(topic), b"forged", 1, true);
            let options = rookery_harness::tls::TlsOptions::with(fixture.certificate(Role::D1).await);
            let opened = Client::tls(node().address("mqtts"), &node().ca_pem(), &options).await;
            let mut client = opened.expect("the handshake succeeds");
            client.send(&will.encode()).await;
            client.next().await;
            client.abort().await;
        }
        // An allowed will at the end closes the test: it comes after the forged ones.
        let topic = fixture.expand("$devices/{D1}/events");
        let last = Connect::new(&unique_client_id()).will(&topic, b"allowed", 1, false);
        fixture.connect_with(Role::D1, &last).await.abort().await;
        let is_report = |topic: &str| topic.starts_with(&fixture.expand("$devices/{D2}/events/bystander"));
        let mut received = backend.receive().await;
        while is_report(&received.topic) {
            received = backend.receive().await;
        }
        assert_eq!(received.text(), "allowed");
        neighbour.expect_nothing().await;
        stranger.expect_nothing().await;
        bystander.saw_refusals(&fixture, "rookery_wills_refused_total", 8);
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a20_client_identifier_of_another_device_has_no_effect() {
    run(async {
        let fixture = fixture().await;
        let connect = Connect::new(&unique_client_id());
        let topic = fixture.expand("$devices/{D1}/commands");
        let mut victim = fixture.connect_with(Role::D1, &connect).await;
        assert_eq!(victim.subscribe_one(&topic).await, 1);
        let mut attacker = fixture.connect_with(Role::D2, &connect).await;
        fixture.connect(Role::R).await.publish(&topic, b"for D1 only").await;
        assert_eq!(victim.receive_exactly(1).await[0].text(), "for D1 only");
        attacker.expect_nothing().await;
    });
}

#[test]
fn a24_no_way_of_publishing_goes_around_the_check() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let mut victim = fixture.subscriber(Role::D2, "$devices/#").await;
        assert_eq!(victim.subscribe_one("$registries/#").await, 1);
        let names = [
            "$devices/{D2}/commands",
            "devices/{D2}/commands",
            "$devices/{D2}/config",
            "cmd",
            "cmd/sub",
            "$registries/{R}/commands",
            "registries/{R}/commands",
            "$me/registry/commands",
            "$me/registry/config",
        ];
        for name in names {
            let topic = fixture.expand(name);
            let mut device = fixture.connect(Role::D1).await;
            assert_eq!(device.try_publish(&topic, b"forged").await, Outcome::Closed, "QoS 1 to {name}");
            let mut device = fixture.connect(Role::D1).await;
            device.publish_unacknowledged(&topic, b"forged").await;
            device.expect_closed().await;
            let will = Connect::new(&unique_client_id()).will(&topic, b"forged", 0, false);
            fixture.connect_with(Role::D1, &will).await.abort().await;
            let answer = fixture.api.publish(fixture.entity(Role::D1), &topic, b"forged").await;
            let status = answer.expect_err("gRPC checks, too");
            assert_eq!(status.code(), tonic::Code::PermissionDenied, "gRPC to {name}");
        }
        victim.expect_nothing().await;
        // Nothing was stored behind the check either.
        fixture.subscriber(Role::D2, "$devices/{D2}/config").await.expect_nothing().await;
        fixture.subscriber(Role::D2, "$registries/{R}/config").await.expect_nothing().await;
        bystander.saw_refusals(&fixture, "rookery_publishes_refused_total", 18);
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a25_password_guessing_costs_nobody_else_anything() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        fixture.api.add_password(fixture.entity(Role::D1), PASSWORD).await.expect("the password is added");
        let (mut guesses, guesser) = (Vec::new(), new_source());
        for number in 0..12 {
            let id = if number % 2 == 0 { fixture.id(Role::D1) } else { "are00000000000000000" };
            let connect = Connect::new("guess").login(id, &format!("Gu3ssedPassword{number}"));
            let mut client = Client::tcp_from(guesser, node().address("mqtt")).await;
            client.send(&connect.encode()).await;
            guesses.push(client);
        }
        // While the guesses wait for their answers, others connect and publish.
        bystander.is_unaffected(&fixture).await;
        for client in &mut guesses {
            assert_eq!(client.connack().await, 4, "known and unknown ids look the same");
            client.expect_closed().await;
        }
        let right = Connect::new("owner").login(fixture.id(Role::D1), PASSWORD);
        assert_eq!(Client::tls_anonymous(node()).await.connect(&right).await, 0, "no lock-out");
        bystander.saw_refusals(&fixture, "rookery_connects_refused_total", 12);
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a27_topic_with_65400_slashes() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let slashes = "/".repeat(65_400);
        for (role, prefix) in
            [(Role::D1, "$devices/{D1}/events"), (Role::D1, ""), (Role::B, ""), (Role::B, "a")]
        {
            let topic = fixture.expand(prefix) + &slashes;
            let mut publisher = fixture.connect(role).await;
            assert_eq!(publisher.try_publish(&topic, b"x").await, Outcome::Closed, "{role:?} publishes");
            refuses_filter(&fixture, role, &topic).await;
            refuses_filter(&fixture, role, &format!("{topic}#")).await;
            refuses_filter(&fixture, role, &(fixture.expand(prefix) + &"/+".repeat(32_000))).await;
        }
        bystander.saw_refusals(&fixture, "rookery_filters_refused_total", 12);
        bystander.is_unaffected(&fixture).await;
    });
}

/// 0x80 with the connection kept, as with every bad filter.
async fn refuses_filter(fixture: &Fixture<'_>, role: Role, filter: &str) {
    let mut subscriber = fixture.connect(role).await;
    assert_eq!(subscriber.subscribe_one(filter).await, 0x80, "{role:?} subscribes");
    subscriber.fence().await;
}

#[test]
fn a29_subscriptions_of_one_session_are_bounded() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let mut client = fixture.connect(Role::B).await;
        for round in 0..20 {
            let names: Vec<_> = (0..5000).map(|number| format!("{round}/{number}")).collect();
            let filters: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
            let codes = client.subscribe(&filters).await;
            let granted = codes.iter().filter(|code| **code == 1).count();
            assert_eq!(granted, if round == 0 { 1000 } else { 0 }, "round {round}");
        }
        bystander.saw_refusals(&fixture, "rookery_filters_refused_total", 99000);
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a29_same_filter_subscribed_for_ever_takes_one_place() {
    run(async {
        let fixture = fixture().await;
        let mut client = fixture.connect(Role::B).await;
        let same = vec![("a/b", 1); 2000];
        for _ in 0..10 {
            assert_eq!(client.subscribe(&same).await, vec![1; same.len()]);
        }
        client.publish("a/b", b"x").await;
        assert_eq!(client.receive_exactly(1).await.len(), 1, "one copy");
        client.unsubscribe("a/b").await;
        client.publish("a/b", b"x").await;
        client.expect_nothing().await;
    });
}

#[test]
fn a33_endless_keep_alives_hold_no_place_of_others() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let mut idle = Vec::new();
        for number in 0..100 {
            let keep_alive_s = if number % 2 == 0 { 0 } else { 65_535 };
            let connect = Connect::new(&unique_client_id()).keep_alive_s(keep_alive_s);
            idle.push(fixture.connect_with(Role::D1, &connect).await);
        }
        bystander.is_unaffected(&fixture).await;
        for client in &mut idle {
            client.fence().await;
        }
    });
}

#[test]
fn a40_client_identifiers_that_collide_as_file_names_are_separate_sessions() {
    run(async {
        let fixture = fixture().await;
        let mut bystander = Bystander::connect(&fixture).await;
        let topic = fixture.expand("$devices/{D1}/commands");
        let base = unique_client_id();
        let names = ["", "/", "//", "/b", "/b/", "/../x", "%2fb", "\\b", ":b", "b"]
            .map(|tail| format!("{base}{tail}"));
        let mut devices = Vec::new();
        for name in &names {
            let mut device = fixture.connect_with(Role::D1, &Connect::new(name)).await;
            assert_eq!(device.subscribe_one(&topic).await, 1);
            devices.push(device);
        }
        fixture.connect(Role::R).await.publish(&topic, b"x").await;
        for (name, device) in names.iter().zip(&mut devices) {
            assert_eq!(device.receive_exactly(1).await.len(), 1, "{name}");
        }
        let mut nul = Client::tcp(node().address("mqtt")).await;
        nul.send(&Connect::new("a\0b").encode()).await;
        assert_eq!(nul.next().await, None, "U+0000 is not allowed (MQTT-1.5.3-2)");
        bystander.is_unaffected(&fixture).await;
    });
}

#[test]
fn a40_unread_bytes_of_one_session_do_not_reach_another() {
    run(async {
        let fixture = fixture().await;
        let topic = fixture.expand("$devices/{D1}/commands");
        let base = unique_client_id();
        let mut first = fixture.connect_with(Role::D1, &Connect::new(&format!("{base}a"))).await;
        assert_eq!(first.subscribe_one(&topic).await, 1);
        first.acknowledges = false;
        fixture.connect(Role::R).await.publish(&topic, b"for the first").await;
        first.receive().await;
        first.send(&packet::PINGREQ[..1]).await; // half a packet stays behind
        first.abort().await;
        let mut second = fixture.connect_with(Role::D1, &Connect::new(&format!("{base}ab"))).await;
        assert_eq!(second.subscribe_one(&topic).await, 1);
        second.expect_nothing().await;
    });
}
