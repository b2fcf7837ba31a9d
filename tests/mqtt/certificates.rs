//! Which client certificates authenticate, under both TLS versions (U-A1 to U-A5).

use rookery_harness::{
    certificates::{self, Certificate},
    client::Client,
    fixture::{Fixture, Role, unique_client_id},
    packet::Connect,
    runtime::run,
    tls::TlsOptions,
};
use rookery_proto::yandex::cloud::iot::devices::v1 as devices;

use crate::{fixture, node};

macro_rules! certificates_authenticate {
    ($($name:ident: $make:expr;)*) => { $(
        #[test]
        fn $name() {
            run(authenticates(&$make));
        }
    )* };
}

certificates_authenticate! {
    vendor_recipe_rsa_4096: certificates::vendor_recipe();
    rsa_2048: certificates::rsa(2048);
    ecdsa_p256: certificates::p256();
    ecdsa_p384: certificates::elliptic("P-384");
    ed25519: certificates::ed25519();
    expired: certificates::expired();
    not_yet_valid: certificates::not_yet_valid();
    version_1: certificates::version_1();
    with_a_subject_alternative_name: certificates::with_alternative_name();
}

/// Registers the certificate for D1 and publishes with it over TLS 1.2, over TLS 1.3 and without a server name.
async fn authenticates(certificate: &Certificate) {
    let fixture = fixture().await;
    let device = fixture.entity(Role::D1);
    let fingerprint = fixture.api.add_certificate(device, &certificate.pem).await.expect("it is registered");
    assert_eq!(fingerprint, certificate.fingerprint(), "U-A5");
    let base = TlsOptions::with(certificate);
    let variants = [
        TlsOptions { only_tls12: true, ..base.clone() },
        TlsOptions { without_server_name: true, ..base.clone() },
        base,
    ];
    for options in variants {
        let connect = Connect::new(&unique_client_id());
        let mut client = Client::connected(fixture.node, &options, &connect).await;
        client.publish(&fixture.expand("$devices/{D1}/events"), b"x").await;
    }
}

#[test]
fn stolen_certificate_without_its_key_fails() {
    run(async {
        let fixture = fixture().await;
        let certificate = fixture.certificate(Role::D1).await;
        for only_tls12 in [true, false] {
            let wrong_key = Some(certificates::p256());
            let options = TlsOptions { wrong_key, only_tls12, ..TlsOptions::with(certificate) };
            // With TLS 1.3 the client learns of the refusal only when it reads.
            if let Ok(mut client) = Client::tls(node().address("mqtts"), &node().ca_pem(), &options).await {
                client.send(&Connect::new("thief").encode()).await;
                assert_eq!(client.next().await, None, "the handshake fails");
            }
        }
    });
}

#[test]
fn rsa_1024_is_refused_in_the_handshake_or_authenticates() {
    // rustls as a client cannot use such a key; openssl can. U-A2 leaves the verdict to the TLS library, but the
    // node must live on and the upload must be answered.
    run(async {
        let fixture = fixture().await;
        let certificate = certificates::rsa(1024);
        fixture
            .api
            .add_certificate(fixture.entity(Role::D1), &certificate.pem)
            .await
            .expect("it is registered");
        fixture.connect(Role::D2).await.fence().await;
    });
}

async fn stored(fixture: &Fixture<'_>) -> Vec<devices::DeviceCertificate> {
    let request = devices::ListDeviceCertificatesRequest { device_id: fixture.id(Role::D1).into() };
    let answer = fixture.api.devices().list_certificates(request).await;
    answer.expect("the list is answered").into_inner().certificates
}

#[test]
fn text_is_returned_byte_for_byte_and_the_first_certificate_counts() {
    run(async {
        let fixture = fixture().await;
        let (first, second) = (certificates::p256(), certificates::p256());
        let text = format!("# a comment\r\n{}\n\n{}  \n", first.pem, second.pem);
        fixture.api.add_certificate(fixture.entity(Role::D1), &text).await.expect("it is registered");
        let list = stored(&fixture).await;
        assert_eq!((list.len(), &list[0].certificate_data), (1, &text), "U-A4");
        assert_eq!(list[0].fingerprint, first.fingerprint());
        Client::connected(fixture.node, &TlsOptions::with(&first), &Connect::new("first")).await;
        let opened = Client::tls(node().address("mqtts"), &node().ca_pem(), &TlsOptions::with(&second)).await;
        assert_eq!(opened.expect("the handshake succeeds").connect(&Connect::new("second")).await, 5);
    });
}

#[test]
fn fingerprint_for_deletion_may_have_capitals() {
    run(async {
        let fixture = fixture().await;
        let device = fixture.entity(Role::D1);
        let plain = fixture.certificate(Role::D1).await.fingerprint();
        // 59 characters with colons exceed the field's limit of 50, so only capitals can be sent here.
        fixture
            .api
            .delete_certificate(device, &plain.to_uppercase())
            .await
            .expect("capitals are accepted (U-A5)");
        assert!(stored(&fixture).await.is_empty());
        let status = fixture.api.delete_certificate(device, &plain).await.expect_err("it is gone");
        assert_eq!(status.code(), tonic::Code::NotFound);
    });
}
