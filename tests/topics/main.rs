//! The numbered cases of spec/topics.md section 11, one test each, over TLS sockets against the real binary.
//!
//! One node serves all tests of this suite; each test has its own registries, devices and brokers.

mod aliases;
mod choices;
mod delivery;
mod permanent;
mod publish;
mod subscribe;

use std::sync::OnceLock;

use rookery_harness::{
    api::Entity,
    certificates,
    client::Client,
    fixture::{Fixture, Role, unique_client_id},
    node::Node,
    packet::Connect,
    tls::TlsOptions,
};

const BINARY: &str = env!("CARGO_BIN_EXE_rookery");

fn node() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(|| Node::start(BINARY))
}

async fn fixture() -> Fixture<'static> {
    Fixture::create(node()).await
}

/// The role that may read a canonical topic of the fixture.
fn reader(canonical: &str) -> Role {
    let from_device = canonical.contains("/events") || canonical.contains("/state");
    match canonical {
        _ if !canonical.starts_with('$') => Role::B,
        _ if from_device => Role::R,
        _ if canonical.contains("{D2}") => Role::D2,
        _ => Role::D1,
    }
}

/// Whether the last message of a canonical topic is kept.
fn is_permanent(canonical: &str) -> bool {
    canonical.starts_with('$') && (canonical.contains("/state") || canonical.contains("/config"))
}

/// Connects as an entity that is not in the fixture, with a new certificate.
async fn connect_new(fixture: &Fixture<'_>, entity: &Entity) -> Client {
    let certificate = certificates::p256();
    let added = fixture.api.add_certificate(entity, &certificate.pem).await;
    added.expect("the certificate is registered");
    Client::connected(fixture.node, &TlsOptions::with(&certificate), &Connect::new(&unique_client_id())).await
}
