//! Return codes (U-A9), the odd combinations (U-A7, U-A8), several credentials and the rules for secrets.

use std::time::{Duration, Instant};

use rookery_harness::{
    certificates,
    client::{Client, new_source},
    fixture::{Fixture, PASSWORD, Role, unique_client_id},
    packet::Connect,
    runtime::run,
    tls::TlsOptions,
};
use tonic::Code;

use crate::{expect_log, fixture, node};

/// CONNACK code of a connection without a certificate.
async fn code_without_certificate(connect: &Connect) -> u8 {
    Client::tls_anonymous(node()).await.connect(connect).await
}

/// CONNACK code of a connection with a role's certificate.
async fn code_with_certificate(fixture: &Fixture<'_>, role: Role, connect: &Connect) -> u8 {
    let options = TlsOptions::with(fixture.certificate(role).await);
    let opened = Client::tls(fixture.node.address("mqtts"), &fixture.node.ca_pem(), &options).await;
    opened.expect("the handshake succeeds").connect(connect).await
}

fn new_connect() -> Connect {
    Connect::new(&unique_client_id())
}

#[test]
fn unknown_login_and_wrong_password_both_get_code_4() {
    run(async {
        let fixture = fixture().await;
        let unknown = new_connect().login("are00000000000000000", PASSWORD);
        assert_eq!(code_without_certificate(&unknown).await, 4);
        for role in [Role::D1, Role::R, Role::B] {
            let wrong = new_connect().login(fixture.id(role), PASSWORD);
            assert_eq!(code_without_certificate(&wrong).await, 4, "{role:?} has no password");
            fixture.api.add_password(fixture.entity(role), PASSWORD).await.expect("the password is added");
            assert_eq!(code_without_certificate(&wrong).await, 0, "{role:?} has it now");
            let other = new_connect().login(fixture.id(role), "0therPasswordForDevice");
            assert_eq!(code_without_certificate(&other).await, 4, "{role:?} with another password");
        }
    });
}

#[test]
fn no_credentials_get_code_5() {
    run(async {
        assert_eq!(code_without_certificate(&new_connect()).await, 5);
        let mut plain = Client::tcp(node().address("mqtt")).await;
        assert_eq!(plain.connect(&new_connect()).await, 5, "on the plain listener, too");
    });
}

#[test]
fn unregistered_certificate_gets_code_5() {
    run(async {
        let options = TlsOptions::with(&certificates::p256());
        let opened = Client::tls(node().address("mqtts"), &node().ca_pem(), &options).await;
        assert_eq!(opened.expect("the handshake succeeds").connect(&new_connect()).await, 5);
    });
}

#[test]
fn user_name_without_password_leaves_the_certificate_in_charge() {
    run(async {
        let fixture = fixture().await;
        for user_name in [fixture.id(Role::D2), "anything", ""] {
            let mut connect = new_connect();
            connect.user_name = Some(user_name.into());
            assert_eq!(
                code_with_certificate(&fixture, Role::D1, &connect).await,
                0,
                "U-A8 with {user_name:?}"
            );
        }
        let mut connect = new_connect();
        connect.user_name = Some(fixture.id(Role::D1).into());
        assert_eq!(code_without_certificate(&connect).await, 5, "a user name alone is no credential");
    });
}

#[test]
fn empty_password_with_the_flag_is_a_wrong_password() {
    run(async {
        let fixture = fixture().await;
        let connect = new_connect().login(fixture.id(Role::D1), "");
        assert_eq!(code_with_certificate(&fixture, Role::D1, &connect).await, 4, "U-A8");
        assert_eq!(code_without_certificate(&connect).await, 4);
    });
}

#[test]
fn login_is_the_exact_id() {
    run(async {
        let fixture = fixture().await;
        let device = fixture.entity(Role::D1);
        fixture.api.rename_device(device, "kitchen").await.expect("the device is renamed");
        fixture.api.add_password(device, PASSWORD).await.expect("the password is added");
        let id = device.id();
        let wrong =
            ["kitchen".to_owned(), id.to_uppercase(), format!(" {id}"), format!("{id} "), format!("{id}\t")];
        for login in wrong {
            let connect = new_connect().login(&login, PASSWORD);
            assert_eq!(code_without_certificate(&connect).await, 4, "U-A7: login {login:?}");
        }
        assert_eq!(code_without_certificate(&new_connect().login(id, PASSWORD)).await, 0);
    });
}

#[test]
fn each_of_several_credentials_is_valid() {
    run(async {
        let fixture = fixture().await;
        let device = fixture.entity(Role::D1);
        let passwords = [PASSWORD, "0123456789_abcd", "1Test2Sample3Password!", "{;+#&!Pass-w0rd{;"];
        for password in passwords {
            fixture.api.add_password(device, password).await.expect("the password is added");
        }
        for password in passwords {
            let connect = new_connect().login(device.id(), password);
            assert_eq!(code_without_certificate(&connect).await, 0, "{password}");
        }
        for certificate in [certificates::p256(), certificates::p256()] {
            fixture.api.add_certificate(device, &certificate.pem).await.expect("the certificate is added");
            Client::connected(fixture.node, &TlsOptions::with(&certificate), &new_connect()).await;
        }
    });
}

#[test]
fn a_password_works_on_the_plain_listener() {
    run(async {
        let fixture = fixture().await;
        fixture.api.add_password(fixture.entity(Role::D1), PASSWORD).await.expect("the password is added");
        let connect = new_connect().login(fixture.id(Role::D1), PASSWORD);
        let mut device = Client::connected_tcp(fixture.node, &connect).await;
        device.publish(&fixture.expand("$devices/{D1}/events"), b"x").await;
    });
}

#[test]
fn weak_passwords_are_refused() {
    run(async {
        let fixture = fixture().await;
        let long = format!("Aa1{}", "x".repeat(126));
        let weak = ["", "my-password1", "Passw0rdShort", "alllowercaseletters", "lowerand0123456789", &long];
        for password in weak {
            let answer = fixture.api.add_password(fixture.entity(Role::D1), password).await;
            let status = answer.expect_err("the password is refused");
            assert_eq!(status.code(), Code::InvalidArgument, "{password:?}");
            assert!(password.is_empty() || !status.message().contains(password), "an error tells no secret");
        }
        fixture
            .api
            .add_password(fixture.entity(Role::D1), &long[..128])
            .await
            .expect("128 bytes are allowed (U-A6)");
    });
}

#[test]
fn a_certificate_belongs_to_one_entity() {
    run(async {
        let fixture = fixture().await;
        let pem = &fixture.certificate(Role::D1).await.pem;
        for role in [Role::D1, Role::D2, Role::D3, Role::R, Role::R2, Role::B] {
            let status =
                fixture.api.add_certificate(fixture.entity(role), pem).await.expect_err("it is taken");
            assert_eq!(status.code(), Code::AlreadyExists, "U-A3: {role:?}: {}", status.message());
        }
        fixture.api.delete(fixture.entity(Role::D1)).await.expect("the device is deleted");
        fixture
            .api
            .add_certificate(fixture.entity(Role::R2), pem)
            .await
            .expect("the certificate is free again");
    });
}

#[test]
fn text_without_a_certificate_is_refused() {
    run(async {
        let fixture = fixture().await;
        let key = &certificates::p256().key_pem;
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "certificate", broken, key] {
            let answer = fixture.api.add_certificate(fixture.entity(Role::D1), text).await;
            let status = answer.expect_err("there is no certificate in it");
            assert_eq!(status.code(), Code::InvalidArgument, "U-A4, U-P10: {text:?}");
            assert!(!status.message().contains("PRIVATE KEY"), "an error tells no secret");
        }
    });
}

#[test]
fn disabled_registry_and_its_devices_get_code_5() {
    run(async {
        let fixture = fixture().await;
        let registry = fixture.entity(Role::R);
        fixture.api.add_password(fixture.entity(Role::D2), PASSWORD).await.expect("the password is added");
        fixture.api.disable(registry).await.expect("the registry is disabled");
        fixture.api.disable(registry).await.expect("disabling twice changes nothing (U-D3)");
        for role in [Role::R, Role::D1] {
            assert_eq!(code_with_certificate(&fixture, role, &new_connect()).await, 5, "{role:?}");
        }
        let login = new_connect().login(fixture.id(Role::D2), PASSWORD);
        assert_eq!(code_without_certificate(&login).await, 5);
        assert_eq!(
            code_with_certificate(&fixture, Role::D3, &new_connect()).await,
            0,
            "another registry is unaffected"
        );
        let status = fixture.api.publish(registry, &fixture.expand("$registries/{R}/commands"), b"x").await;
        assert_eq!(status.expect_err("the registry is disabled").code(), Code::FailedPrecondition, "U-D3");

        fixture.api.enable(registry).await.expect("the registry is enabled");
        fixture.api.enable(registry).await.expect("enabling twice changes nothing (U-D3)");
        for role in [Role::R, Role::D1] {
            assert_eq!(code_with_certificate(&fixture, role, &new_connect()).await, 0, "{role:?}");
        }
        assert_eq!(code_without_certificate(&login).await, 0);
    });
}

#[test]
fn deleted_entities_are_unknown() {
    run(async {
        let fixture = fixture().await;
        for role in [Role::D1, Role::B] {
            fixture.api.add_password(fixture.entity(role), PASSWORD).await.expect("the password is added");
            fixture.certificate(role).await;
            fixture.api.delete(fixture.entity(role)).await.expect("the entity is deleted");
            let login = new_connect().login(fixture.id(role), PASSWORD);
            assert_eq!(code_without_certificate(&login).await, 4, "{role:?} by password");
            assert_eq!(
                code_with_certificate(&fixture, role, &new_connect()).await,
                5,
                "{role:?} by certificate"
            );
        }
    });
}

#[test]
fn failures_never_lock_the_owner_out() {
    run(async {
        let fixture = fixture().await;
        let device = fixture.entity(Role::D1);
        fixture.api.add_password(device, PASSWORD).await.expect("the password is added");
        let (tcp, guesser) = (fixture.node.address("mqtt"), new_source());
        let began = Instant::now();
        for attempt in 0..6 {
            let wrong = new_connect().login(device.id(), &format!("Wr0ngPassword-{attempt}"));
            let mut client = Client::tcp_from(guesser, tcp).await;
            assert_eq!(client.connect(&wrong).await, 4, "a delayed answer is still an answer");
        }
        // Three are free, then 0.5 s, 1 s and 2 s. Slowness elsewhere only adds to it.
        assert!(began.elapsed() >= Duration::from_millis(3500), "U-A10: {:?}", began.elapsed());
        let right = new_connect().login(device.id(), PASSWORD);
        let mut owner = Client::tcp_from(guesser, tcp).await;
        assert_eq!(owner.connect(&right).await, 0, "U-A10: delayed, never locked out");
        assert_eq!(code_without_certificate(&right).await, 0, "nor from elsewhere");
    });
}

#[test]
fn connections_are_logged_without_secrets() {
    run(async {
        let fixture = fixture().await;
        let certificate = fixture.certificate(Role::D1).await.clone();
        let connect = new_connect();
        let client_id = String::from_utf8(connect.client_id.clone()).expect("it is text");
        fixture.connect_with(Role::D1, &connect).await.disconnect().await;
        let cert = format!("connected, cert: \"{}\", address: \"127.", certificate.fingerprint());
        expect_log(&[&cert, &format!("clientID: \"{client_id}\"")]);
        expect_log(&["disconnected: client disconnected"]);

        let secret = "S3cretOfTheLogTest";
        fixture.api.add_password(fixture.entity(Role::D1), secret).await.expect("the password is added");
        let connect = new_connect().login(fixture.id(Role::D1), secret);
        assert_eq!(code_without_certificate(&connect).await, 0);
        let client_id = String::from_utf8(connect.client_id.clone()).expect("it is text");
        let login = format!("connected, login: \"{}\", address: \"127.", fixture.id(Role::D1));
        expect_log(&[&login, &format!("clientID: \"{client_id}\"")]);
        let wrong = new_connect().login(fixture.id(Role::D1), "S3cretOfTheLogTestButWrong");
        assert_eq!(code_without_certificate(&wrong).await, 4);
        let token = node().admin_token();
        let leaks =
            |line: &String| line.contains(secret) || line.contains(&token) || line.contains("PRIVATE KEY");
        assert_eq!(node().log().all().into_iter().find(leaks), None, "the log tells no secret");
    });
}
