//! What changes of credentials and entities do to live sessions (U-A11).

use rookery_harness::{
    certificates,
    client::Client,
    fixture::{Fixture, PASSWORD, Role, unique_client_id},
    packet::Connect,
    runtime::run,
    tls::TlsOptions,
};

use crate::{expect_log, fixture};

async fn by_password(fixture: &Fixture<'_>, role: Role, password: &str) -> Client {
    let connect = Connect::new(&unique_client_id()).login(fixture.id(role), password);
    Client::connected_tcp(fixture.node, &connect).await
}

#[test]
fn deleting_a_certificate_closes_the_sessions_it_opened() {
    run(async {
        let fixture = fixture().await;
        let device = fixture.entity(Role::D1);
        let fingerprint = fixture.certificate(Role::D1).await.fingerprint();
        let mut first = fixture.connect(Role::D1).await;
        let mut second = fixture.connect(Role::D1).await;
        fixture.api.add_password(device, PASSWORD).await.expect("the password is added");
        let mut login = by_password(&fixture, Role::D1, PASSWORD).await;
        let other = certificates::p256();
        fixture.api.add_certificate(device, &other.pem).await.expect("the certificate is added");
        let connect = Connect::new(&unique_client_id());
        let mut by_other = Client::connected(fixture.node, &TlsOptions::with(&other), &connect).await;
        for client in [&mut first, &mut second] {
            client.fence().await; // adding credentials closes nothing
        }

        fixture.api.delete_certificate(device, &fingerprint).await.expect("the certificate is deleted");
        first.expect_closed().await;
        second.expect_closed().await;
        login.fence().await;
        by_other.fence().await;
        expect_log(&["disconnected: credentials revoked"]);
    });
}

#[test]
fn deleting_a_password_closes_the_sessions_it_opened() {
    run(async {
        let fixture = fixture().await;
        let device = fixture.entity(Role::D1);
        let password_id = fixture.api.add_password(device, PASSWORD).await.expect("the password is added");
        fixture.api.add_password(device, "0123456789_abcd").await.expect("the password is added");
        let mut first = by_password(&fixture, Role::D1, PASSWORD).await;
        let mut other = by_password(&fixture, Role::D1, "0123456789_abcd").await;
        let mut certificate = fixture.connect(Role::D1).await;

        fixture.api.delete_password(device, &password_id).await.expect("the password is deleted");
        first.expect_closed().await;
        other.fence().await;
        certificate.fence().await;
        let connect = Connect::new(&unique_client_id()).login(device.id(), PASSWORD);
        let code = Client::tls_anonymous(fixture.node).await.connect(&connect).await;
        assert_eq!(code, 4, "a verified password is not remembered after its deletion");
    });
}

#[test]
fn deleting_an_entity_closes_its_sessions() {
    run(async {
        let fixture = fixture().await;
        let mut deleted = fixture.connect(Role::D1).await;
        let mut neighbour = fixture.connect(Role::D2).await;
        let mut broker = fixture.connect(Role::B).await;
        let mut other_broker = fixture.connect(Role::B2).await;
        fixture.api.delete(fixture.entity(Role::D1)).await.expect("the device is deleted");
        fixture.api.delete(fixture.entity(Role::B)).await.expect("the broker is deleted");
        deleted.expect_closed().await;
        broker.expect_closed().await;
        neighbour.fence().await;
        other_broker.fence().await;
    });
}

#[test]
fn disabling_a_registry_closes_its_sessions_and_those_of_its_devices() {
    run(async {
        let fixture = fixture().await;
        let mut closed = Vec::new();
        for role in [Role::R, Role::D1, Role::D2] {
            closed.push(fixture.connect(role).await);
        }
        let mut foreign = fixture.connect(Role::D3).await;
        fixture.api.disable(fixture.entity(Role::R)).await.expect("the registry is disabled");
        for client in &mut closed {
            client.expect_closed().await;
        }
        foreign.fence().await;
    });
}

#[test]
fn a_publish_already_sent_cannot_outlive_the_revocation() {
    run(async {
        let fixture = fixture().await;
        let mut backend = fixture.subscriber(Role::R, "$devices/#").await;
        let mut device = fixture.connect(Role::D1).await;
        fixture.api.delete(fixture.entity(Role::D1)).await.expect("the device is deleted");
        let topic = fixture.expand("$devices/{D1}/events");
        device.publish_unacknowledged(&topic, b"too late").await;
        device.expect_closed().await;
        backend.expect_nothing().await;
    });
}
