//! What was acknowledged is there after the end of the process, however it ended, and a full disk refuses writes
//! only.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
};

use rookery_harness::{
    api::{Api, Entity},
    certificates::Certificate,
    client::{Client, Outcome},
    cluster::disk::SmallDisk,
    fixture::{Fixture, Role, unique_client_id},
    node::Node,
    ops,
    packet::Connect,
    runtime::{run, within},
    tls::TlsOptions,
};
use rookery_proto::yandex::cloud::iot::devices::v1 as devices;
use tokio::sync::oneshot;

use crate::BINARY;

/// How often the node is killed.
const ROUNDS: usize = 3;

/// How many acknowledged calls and messages a round collects before the node is killed.
const ACKNOWLEDGEMENTS: usize = 25;

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let mut node = Node::start(BINARY);
    let (registry, device, topic, reader, writer) = run(async {
        let fixture = Fixture::create(&node).await;
        let (reader, writer) = (fixture.certificate(Role::R).await, fixture.certificate(Role::D1).await);
        (
            fixture.entity(Role::R).clone(),
            fixture.entity(Role::D1).clone(),
            fixture.expand("$devices/{D1}/state/counter"),
            reader.clone(),
            writer.clone(),
        )
    });
    let (mut created, mut stored) = (BTreeSet::from([device.id().to_owned()]), 0);
    for _ in 0..ROUNDS {
        let calls = run(write_until_killed(&node, &registry, &topic, &writer, stored));
        created.extend(calls.created);
        stored = calls.stored;
        node = node.kill_and_restart();
        run(async {
            let present = Api::connect(&node).device_ids(&registry).await.expect("the devices are listed");
            let lost: Vec<_> = created.difference(&present).collect();
            assert!(lost.is_empty(), "acknowledged devices are gone: {lost:?}");
            let options = TlsOptions::with(&reader);
            let mut backend = Client::connected(&node, &options, &Connect::new("reader")).await;
            assert_eq!(backend.subscribe_one(&topic).await, 1);
            let found: u64 = backend.receive().await.text().parse().expect("the payload is a number");
            // The publish in flight when the node was killed may have been stored without its PUBACK.
            assert!(found == stored || found == stored + 1, "acknowledged {stored}, found {found}");
            stored = found;
        });
    }
}

struct Acknowledged {
    created: Vec<String>,
    stored: u64,
}

/// Creates devices and publishes a counter to a permanent topic until the node dies, which is arranged once both
/// have been acknowledged often enough.
async fn write_until_killed(
    node: &Node,
    registry: &Entity,
    topic: &str,
    certificate: &Certificate,
    stored: u64,
) -> Acknowledged {
    let (enough_created, created_ready) = oneshot::channel();
    let (enough_stored, stored_ready) = oneshot::channel();
    let api = Api::connect(node);
    let creating = async {
        let (mut created, mut enough) = (Vec::new(), Some(enough_created));
        while let Ok(device) = api.create_device(registry, &[]).await {
            created.push(device.id);
            if created.len() >= ACKNOWLEDGEMENTS {
                enough.take().map(|enough| enough.send(()));
            }
        }
        created
    };
    let options = TlsOptions::with(certificate);
    let publishing = async {
        let connect = Connect::new(&unique_client_id());
        let mut device = Client::connected(node, &options, &connect).await;
        let (mut last, mut enough) = (stored, Some(enough_stored));
        while device.try_publish(topic, (last + 1).to_string().as_bytes()).await == Outcome::Acknowledged {
            last += 1;
            if last >= stored + ACKNOWLEDGEMENTS as u64 {
                enough.take().map(|enough| enough.send(()));
            }
        }
        last
    };
    let killing = async {
        within("enough acknowledged devices", created_ready).await.expect("the writer goes on");
        within("enough acknowledged messages", stored_ready).await.expect("the writer goes on");
        node.kill();
    };
    let (created, stored, ()) = tokio::join!(creating, publishing, killing);
    Acknowledged { created, stored }
}

#[test]
fn everything_is_the_same_after_a_restart() {
    let node = Node::start(BINARY);
    let (fixture_of_node, token) = (run(Fixture::create(&node)), node.admin_token());
    let (before, entities, certificate) = run(async {
        let fixture = fixture_of_node;
        let certificate = fixture.certificate(Role::D1).await.clone();
        fixture.api.disable(fixture.entity(Role::R2)).await.expect("the registry is disabled");
        fixture.api.delete(fixture.entity(Role::B2)).await.expect("the broker is deleted");
        let entities: Vec<_> = [Role::D1, Role::R2, Role::B2].map(|role| fixture.entity(role).clone()).into();
        let before = fixture.api.device(&entities[0]).await.expect("the device is read");
        (before, entities, certificate)
    });
    let node = node.kill_and_restart();
    assert_eq!(node.admin_token(), token);
    run(async {
        let api = Api::connect(&node);
        let after = api.device(&entities[0]).await.expect("the device is read");
        assert_eq!((after.topic_aliases, after.created_at), (before.topic_aliases, before.created_at));
        let request = devices::GetRegistryRequest { registry_id: entities[1].id().into() };
        let registry = api.registries().get(request).await.expect("the registry is read").into_inner();
        assert_eq!(registry.status(), devices::registry::Status::Disabled);
        let status = api.publish(&entities[2], "a", b"x").await.expect_err("the broker was deleted");
        assert_eq!(status.code(), tonic::Code::NotFound);
        let options = TlsOptions::with(&certificate);
        Client::connected(&node, &options, &Connect::new("after")).await.fence().await;
    });
}

#[test]
fn full_disk_refuses_writes_and_recovers() {
    let Some(disk) = SmallDisk::mount(256) else {
        let _ =
            writeln!(io::stderr(), "full_disk_refuses_writes_and_recovers: not checked, mounting needs root");
        return;
    };
    let node = Node::start_in(BINARY, &disk.path().join("data"), &[]);
    run(async {
        let fixture = Fixture::create(&node).await;
        let (events, state) = (fixture.expand("$devices/{D1}/events"), fixture.expand("$devices/{D1}/state"));
        let mut device = fixture.connect(Role::D1).await;
        let mut backend = fixture.subscriber(Role::R, &events).await;
        device.publish(&state, b"before").await;
        // The reserve is a twentieth of the disk: less than that is free, and more than the half that is kept for sessions.
        disk.fill(9 << 20);
        let status = refused_write(&fixture).await;
        assert!(
            status.message().contains("disk is full"),
            "the error names the reason: {}",
            status.message()
        );
        let status = fixture.api.publish(fixture.entity(Role::D1), &state, b"refused").await;
        let status = status.expect_err("the message cannot be stored");
        assert!(status.message().contains("disk is full"), "{}", status.message());

        // Reads go on, and so do sessions and traffic that needs no disk.
        fixture.api.device(fixture.entity(Role::D1)).await.expect("reads are served");
        device.publish(&events, b"live").await;
        assert_eq!(backend.receive_exactly(1).await[0].text(), "live");
        device.publish_unacknowledged(&events, b"unacknowledged").await;
        assert_eq!(backend.receive_exactly(1).await[0].text(), "unacknowledged");
        let mut late = fixture.subscriber(Role::R, &state).await;
        assert_eq!(late.receive().await.text(), "before");
        device.publish_unacknowledged(&state, b"delivered, not stored").await;
        assert_eq!(late.receive_exactly(1).await[0].text(), "delivered, not stored");

        // MQTT 3.1.1 has no code for it: no PUBACK, and the log says why.
        assert_eq!(device.try_publish(&state, b"refused").await, Outcome::Closed);
        let what = ["disconnected: message could not be stored: disk is full", fixture.id(Role::D1)];
        node.wait_for_log(|line| what.iter().all(|part| line.contains(part)), what[0]);
        assert_eq!(ops::get(&node, "/readyz").0, 200, "no reason to send clients away");

        // Not a byte is free: new sessions cannot be stored any more, and those that there are go on.
        disk.free();
        let mut device = fixture.connect(Role::D1).await;
        disk.fill(0);
        refused_connect(&fixture).await;
        device.publish(&events, b"still live").await;
        assert_eq!(backend.receive_exactly(1).await[0].text(), "still live");
        drop(device);

        disk.free();
        let mut created = fixture.api.create_device(fixture.entity(Role::R), &[]).await;
        let recovering = async {
            while created.is_err() {
                created = fixture.api.create_device(fixture.entity(Role::R), &[]).await;
            }
        };
        within("writes to be accepted again", recovering).await;
        let mut device = fixture.connect(Role::D1).await;
        device.publish(&state, b"after").await;
        assert_eq!(late.receive_exactly(1).await[0].text(), "after");
    });
    drop(node);
    remounted_data_is_whole(&disk.path().join("data"));
}

/// Connects until a session finds no room: the log may have a little of its own.
async fn refused_connect(fixture: &Fixture<'_>) {
    let options = TlsOptions::with(fixture.certificate(Role::D1).await);
    let connecting = async {
        loop {
            let address = fixture.node.address("mqtts");
            let client = Client::tls(address, &fixture.node.ca_pem(), &options).await;
            let mut client = client.expect("the handshake succeeds");
            match client.connect(&Connect::new(&unique_client_id())).await {
                0 => client.disconnect().await,
                code => return assert_eq!(code, 3, "server unavailable"),
            }
        }
    };
    within("a session to find no room", connecting).await;
}

/// Writes until the full disk is noticed: the log may have a little room of its own.
async fn refused_write(fixture: &Fixture<'_>) -> tonic::Status {
    let description = "x".repeat(256);
    let writing = async {
        loop {
            let request = devices::CreateDeviceRequest {
                registry_id: fixture.id(Role::R).into(),
                description: description.clone(),
                ..Default::default()
            };
            if let Err(status) = fixture.api.devices().create(request).await {
                return status;
            }
        }
    };
    let status = within("a refused write", writing).await;
    let expected = [tonic::Code::ResourceExhausted, tonic::Code::Unavailable];
    assert!(expected.contains(&status.code()), "{:?}: {}", status.code(), status.message());
    status
}

/// A node starts on what the full disk left behind.
fn remounted_data_is_whole(data_directory: &Path) {
    let node = Node::start_in(BINARY, data_directory, &[]);
    run(async {
        Api::connect(&node).create_registry().await.expect("writes are accepted");
    });
}
