//! The five documented rows of certificate and password together (spec/auth.md, "Precedence").

use rookery_harness::{
    certificates::{self, Certificate},
    client::{Client, Outcome},
    fixture::{Fixture, PASSWORD, Role, unique_client_id},
    packet::Connect,
    runtime::run,
    tls::TlsOptions,
};

use crate::fixture;

const WRONG: &str = "Wr0ngPasswordForDevice";

#[test]
fn row_1_wrong_certificate_and_wrong_password_are_refused() {
    run(async {
        let fixture = fixture().await;
        prepare(&fixture).await;
        assert_eq!(attempt(&fixture, &certificates::p256(), WRONG).await.err(), Some(4));
    });
}

#[test]
fn row_2_wrong_certificate_and_right_password_are_accepted() {
    run(async {
        let fixture = fixture().await;
        prepare(&fixture).await;
        let client = attempt(&fixture, &certificates::p256(), PASSWORD).await;
        is_first_device(&fixture, client.expect("the login counts")).await;
    });
}

#[test]
fn row_3_right_certificate_and_wrong_password_are_refused() {
    run(async {
        let fixture = fixture().await;
        prepare(&fixture).await;
        let certificate = fixture.certificate(Role::D1).await;
        assert_eq!(attempt(&fixture, certificate, WRONG).await.err(), Some(4));
    });
}

#[test]
fn row_4_right_certificate_and_right_password_are_accepted() {
    run(async {
        let fixture = fixture().await;
        prepare(&fixture).await;
        let client = attempt(&fixture, fixture.certificate(Role::D1).await, PASSWORD).await;
        is_first_device(&fixture, client.expect("both are right")).await;
    });
}

#[test]
fn row_5_certificate_of_another_device_and_right_password_are_accepted_as_the_login() {
    run(async {
        let fixture = fixture().await;
        prepare(&fixture).await;
        let client = attempt(&fixture, fixture.certificate(Role::D2).await, PASSWORD).await;
        is_first_device(&fixture, client.expect("the login outranks the certificate")).await;
    });
}

/// D1 gets the password.
async fn prepare(fixture: &Fixture<'_>) {
    fixture.api.add_password(fixture.entity(Role::D1), PASSWORD).await.expect("the password is added");
}

/// Connects with a certificate and D1's login.
async fn attempt(fixture: &Fixture<'_>, certificate: &Certificate, password: &str) -> Result<Client, u8> {
    let (node, options) = (fixture.node, TlsOptions::with(certificate));
    let opened = Client::tls(node.address("mqtts"), &node.ca_pem(), &options).await;
    let mut client = opened.expect("any certificate completes the handshake");
    let connect = Connect::new(&unique_client_id()).login(fixture.id(Role::D1), password);
    match client.connect(&connect).await {
        0 => Ok(client),
        code => Err(code),
    }
}

/// The session may do what D1 may and D2 may not.
async fn is_first_device(fixture: &Fixture<'_>, mut client: Client) {
    assert_eq!(client.subscribe_one(&fixture.expand("$devices/{D1}/commands")).await, 1);
    assert_eq!(client.subscribe_one(&fixture.expand("$devices/{D2}/commands")).await, 0x80);
    client.publish(&fixture.expand("$devices/{D1}/events"), b"x").await;
    assert_eq!(client.try_publish(&fixture.expand("$devices/{D2}/events"), b"x").await, Outcome::Closed);
}
