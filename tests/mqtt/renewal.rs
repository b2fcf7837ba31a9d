//! The server's certificate is renewed while clients publish.

use std::fs;
use std::os::unix::fs::symlink;

use rookery_harness::{
    certificates,
    fixture::{Fixture, Role, unique_client_id},
    janitor,
    node::Node,
    packet::Connect,
    runtime::{run, within},
    tls::TlsOptions,
    wire::Wire,
};

use crate::BINARY;

const CLIENTS: usize = 20;

#[test]
fn a_new_certificate_is_for_new_connections_and_ends_none() {
    let directory = janitor::new_directory("renewal-");
    let path = |name: &str| directory.join(name);
    let (old, new) = (path("old"), path("new"));
    certificates::issue_for_server(&old);
    certificates::issue_for_server(&new);
    let authority =
        |of: &std::path::Path| fs::read_to_string(of.join("ca.pem")).expect("openssl has written it");
    // The clients of the harness trust what is here.
    fs::create_dir_all(path("data/pki")).expect("the directory is writable");
    fs::write(path("data/pki/ca.pem"), authority(&old) + &authority(&new))
        .expect("the directory is writable");
    // As Kubernetes mounts secrets: a link to a directory that is replaced as a whole.
    symlink(&old, path("mounted")).expect("the directory is writable");
    let [certificate, key] =
        ["server.pem", "server.key"].map(|name| path("mounted").join(name).display().to_string());
    let node = Node::start_in(BINARY, &path("data"), &["--tls-cert", &certificate, "--tls-key", &key]);
    run(async {
        let fixture = Fixture::create(&node).await;
        let mut backend = fixture.subscriber(Role::R, "$devices/{D1}/events").await;
        let mut devices = Vec::new();
        for _ in 0..CLIENTS {
            devices.push(fixture.connect_with(Role::D1, &Connect::new(&unique_client_id())).await);
        }
        let topic = fixture.expand("$devices/{D1}/events");
        let (only_old, only_new) = (authority(&old), authority(&new));
        let shows = async |authority: &str| {
            Wire::tls(node.address("mqtts"), authority, &TlsOptions::default()).await.is_ok()
        };
        assert!(shows(&only_old).await && !shows(&only_new).await);
        symlink(&new, path("next")).expect("the directory is writable");
        fs::rename(path("next"), path("mounted")).expect("the link can be replaced");
        within("the new certificate is in use", async {
            while !shows(&only_new).await {
                for device in &mut devices {
                    device.publish(&topic, b"meanwhile").await;
                    backend.receive().await;
                }
            }
        })
        .await;
        assert!(!shows(&only_old).await, "nobody new gets the old one");
        for device in &mut devices {
            device.publish(&topic, b"afterwards").await;
            assert_eq!(backend.receive().await.payload, b"afterwards");
        }
        fixture.connect(Role::D1).await.publish(&topic, b"a new one").await;
        assert_eq!(backend.receive().await.payload, b"a new one");
    });
}
