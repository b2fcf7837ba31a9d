//! The fixture of spec/topics.md section 11: a registry R with devices D1 and D2, a registry R2 with device D3,
//! brokers B and B2, and the aliases. Each test makes its own, so tests run side by side on one node.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;

use crate::{
    api::{Api, Entity},
    certificates::{self, Certificate},
    client::Client,
    node::Node,
    packet::Connect,
    runtime::within,
    tls::TlsOptions,
};

/// An identity of the fixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The first device of [`Role::R`].
    D1,
    /// The second device of [`Role::R`].
    D2,
    /// The device of [`Role::R2`].
    D3,
    /// The registry under test.
    R,
    /// Another registry.
    R2,
    /// A broker.
    B,
    /// Another broker.
    B2,
}

/// Every role with its placeholder in topic templates.
const ROLES: [(Role, &str); 7] = [
    (Role::D1, "{D1}"),
    (Role::D2, "{D2}"),
    (Role::D3, "{D3}"),
    (Role::R, "{R}"),
    (Role::R2, "{R2}"),
    (Role::B, "{B}"),
    (Role::B2, "{B2}"),
];

/// The aliases of D1; `{id}` is replaced by the server.
pub const ALIASES_OF_D1: [(&str, &str); 4] = [
    ("my/alias/", "$devices/{id}/"),
    ("temp", "$devices/{id}/events/temp"),
    ("st", "$devices/{id}/state"),
    ("cfg", "$devices/{id}/config"),
];

/// The aliases of D2.
pub const ALIASES_OF_D2: [(&str, &str); 1] = [("cmd", "$devices/{id}/commands")];

/// A password that satisfies the rules; tests that need several append to it.
pub const PASSWORD: &str = "Passw0rdForDevice";

/// The entities of one test.
pub struct Fixture<'node> {
    /// The node that holds them.
    pub node: &'node Node,
    /// Its management API with the administrator's token.
    pub api: Api,
    entities: [Entity; 7],
    certificates: [OnceCell<Certificate>; 7],
}

impl<'node> Fixture<'node> {
    /// Creates all entities through the API.
    pub async fn create(node: &'node Node) -> Self {
        let api = Api::connect(node);
        let registry = api.create_registry().await.expect("a registry is created");
        let other = api.create_registry().await.expect("a registry is created");
        let (d1, d2, d3, b, b2) = tokio::join!(
            api.create_device(&registry, &ALIASES_OF_D1),
            api.create_device(&registry, &ALIASES_OF_D2),
            api.create_device(&other, &[]),
            api.create_broker(),
            api.create_broker(),
        );
        let [d1, d2, d3] = [d1, d2, d3].map(|device| Entity::Device(device.expect("a device is created").id));
        let [b, b2] = [b, b2].map(|broker| broker.expect("a broker is created"));
        let entities = [d1, d2, d3, registry, other, b, b2];
        Self { node, api, entities, certificates: Default::default() }
    }

    /// The entity behind a role.
    pub fn entity(&self, role: Role) -> &Entity {
        &self.entities[Self::index(role)]
    }

    /// The id behind a role.
    pub fn id(&self, role: Role) -> &str {
        self.entity(role).id()
    }

    /// Replaces `{D1}` and so on in a topic by the ids.
    pub fn expand(&self, template: &str) -> String {
        let expand = |text: String, (role, name): &(Role, &str)| text.replace(name, self.id(*role));
        ROLES.iter().fold(template.to_owned(), expand)
    }

    /// The certificate of a role, made and registered when first asked for.
    pub async fn certificate(&self, role: Role) -> &Certificate {
        let make = || async {
            let certificate =
                tokio::task::spawn_blocking(certificates::p256).await.expect("openssl made a certificate");
            let added = self.api.add_certificate(self.entity(role), &certificate.pem).await;
            added.expect("the certificate is registered");
            certificate
        };
        within("a registered certificate", self.certificates[Self::index(role)].get_or_init(make)).await
    }

    /// Connects over TLS with the role's certificate and a client identifier of its own.
    pub async fn connect(&self, role: Role) -> Client {
        self.connect_with(role, &Connect::new(&unique_client_id())).await
    }

    /// Connects over TLS with the role's certificate and the given CONNECT.
    pub async fn connect_with(&self, role: Role, connect: &Connect) -> Client {
        let options = TlsOptions::with(self.certificate(role).await);
        Client::connected(self.node, &options, connect).await
    }

    /// Connects and subscribes with QoS 1; the filter must be granted.
    pub async fn subscriber(&self, role: Role, filter: &str) -> Client {
        let mut client = self.connect(role).await;
        let code = client.subscribe_one(&self.expand(filter)).await;
        assert_ne!(code, 0x80, "{role:?} subscribes to {filter}");
        client
    }

    fn index(role: Role) -> usize {
        ROLES.iter().position(|(candidate, _)| *candidate == role).expect("every role is listed")
    }
}

/// A client identifier that no other test uses.
pub fn unique_client_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
