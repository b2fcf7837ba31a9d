//! Tests of the catalog as a whole. The fixture is the one of `spec/topics.md`, section 11.

mod alias_cases;
mod determinism;
mod paging;
mod rules;
mod sessions;
mod stored;

use std::sync::Arc;

use bytes::Bytes;

use super::{
    AttributesPatch, Catalog, Change, Command, CreateBroker, CreateDevice, CreateRegistry, Event, Mutation,
    NewCertificate, NewCredentials, NewPassword, Operation, Origin, Outcome, Owner, Rejection, SetPermanent,
    TopicAliases, UpdateDevice,
};
use crate::domain::credential::Fingerprint;
use crate::domain::id::{BrokerId, DeviceId, FolderId, OperationId, PasswordId, RegistryId};
use crate::domain::labels::Labels;
use crate::domain::principal::SpaceId;
use crate::domain::timestamp::Timestamp;
use crate::mqtt::qos::QoS;

/// A catalog with a counter for time, log index and operation ids.
struct Fixture {
    catalog: Catalog,
    step: u64,
    events: Vec<Event>,
}

impl Fixture {
    fn empty() -> Self {
        Self { catalog: Catalog::new(), step: 0, events: Vec::new() }
    }

    /// Registries `r` (devices `d1`, `d2` with the aliases of section 11) and `r2` (device `d3`), broker `b`.
    fn new() -> Self {
        let mut fixture = Self::empty();
        for registry in ["r", "r2"] {
            fixture.done(create_registry(registry, ""));
        }
        let d1_aliases = aliases(&[
            ("my/alias/", "$devices/{id}/"),
            ("temp", "$devices/{id}/events/temp"),
            ("st", "$devices/d1/state"),
            ("cfg", "$devices/d1/config"),
        ]);
        let d2_aliases = aliases(&[("cmd", "$devices/d2/commands")]);
        fixture.done(Change::CreateDevice(CreateDevice { topic_aliases: d1_aliases, ..device("d1", "r") }));
        fixture.done(Change::CreateDevice(CreateDevice { topic_aliases: d2_aliases, ..device("d2", "r") }));
        fixture.done(Change::CreateDevice(device("d3", "r2")));
        fixture.done(create_broker("b", ""));
        fixture.events.clear();
        fixture
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_nanoseconds(self.step * 1_000)
    }

    fn apply(&mut self, command: Command) -> Result<Outcome, Rejection> {
        self.step += 1;
        let before = self.catalog.clone();
        let events = self.events.len();
        let result = self.catalog.apply(self.step, command, &mut self.events);
        if result.is_err() {
            let unchanged = Catalog { applied_index: self.step, ..before };
            assert_eq!(self.catalog, unchanged, "a refused command must change nothing");
            assert_eq!(self.events.len(), events);
        }
        result
    }

    fn mutate(&mut self, change: Change) -> Result<Arc<Operation>, Rejection> {
        let mutation = Mutation {
            at: self.now(),
            operation_id: OperationId::new(format!("op{}", self.step)),
            subject: "tester".into(),
            idempotency_key: None,
            change,
        };
        match self.apply(Command::Mutate(mutation))? {
            Outcome::Operation(operation) => Ok(operation),
            other => panic!("a mutation must leave an operation, got {other:?}"),
        }
    }

    fn done(&mut self, change: Change) -> Arc<Operation> {
        self.mutate(change).expect("the change is allowed")
    }

    fn set_permanent(&mut self, topic: &str, payload: &'static str) -> Result<Outcome, Rejection> {
        let message = SetPermanent {
            space: SpaceId::Registry(RegistryId::new("r")),
            topic: topic.into(),
            payload: Bytes::from_static(payload.as_bytes()),
            qos: QoS::AtLeastOnce,
            at: self.now(),
            origin: Origin::default(),
        };
        self.apply(Command::SetPermanent(message))
    }

    fn set_aliases(&mut self, device: &str, pairs: &[(&str, &str)]) -> Result<TopicAliases, Rejection> {
        let id = DeviceId::new(device);
        let topic_aliases = Some(aliases(pairs));
        let attributes = AttributesPatch::default();
        self.mutate(Change::UpdateDevice(UpdateDevice { id, attributes, topic_aliases }))?;
        Ok(self.catalog.device(device).expect("just updated").topic_aliases.clone())
    }

    /// What the command line's "add alias" does: read, modify, write the whole map.
    fn add_alias(&mut self, device: &str, alias: &str, target: &str) -> Result<TopicAliases, Rejection> {
        let old = self.catalog.device(device).expect("in the fixture").topic_aliases.clone();
        let mut pairs: Vec<(&str, &str)> =
            old.iter().map(|(alias, target)| (alias.as_str(), target.as_str())).collect();
        pairs.push((alias, target));
        self.set_aliases(device, &pairs)
    }
}

fn aliases(pairs: &[(&str, &str)]) -> TopicAliases {
    pairs.iter().map(|(alias, target)| ((*alias).into(), (*target).into())).collect()
}

fn create_registry(id: &str, name: &str) -> Change {
    Change::CreateRegistry(CreateRegistry {
        id: RegistryId::new(id),
        folder_id: FolderId::new("f"),
        name: name.into(),
        description: "".into(),
        labels: Labels::default(),
        log_options: None,
        credentials: NewCredentials::default(),
    })
}

fn create_broker(id: &str, name: &str) -> Change {
    Change::CreateBroker(CreateBroker {
        id: BrokerId::new(id),
        folder_id: FolderId::new("f"),
        name: name.into(),
        description: "".into(),
        labels: Labels::default(),
        log_options: None,
        credentials: NewCredentials::default(),
    })
}

fn device(id: &str, registry: &str) -> CreateDevice {
    CreateDevice {
        id: DeviceId::new(id),
        registry_id: RegistryId::new(registry),
        name: "".into(),
        description: "".into(),
        labels: Labels::default(),
        topic_aliases: TopicAliases::new(),
        credentials: NewCredentials::default(),
    }
}

fn owner(id: &str) -> Owner {
    match id.as_bytes()[0] {
        b'd' => Owner::Device(DeviceId::new(id)),
        b'b' => Owner::Broker(BrokerId::new(id)),
        _ => Owner::Registry(RegistryId::new(id)),
    }
}

fn certificate(number: u8) -> NewCertificate {
    NewCertificate {
        digest: [number; 32],
        fingerprint: Fingerprint::from_sha1(&[number; 20]),
        certificate_data: format!("-----BEGIN CERTIFICATE-----\r\n{number}\n").into(),
    }
}

fn password(id: &str) -> NewPassword {
    NewPassword { id: PasswordId::new(id), hash: format!("$argon2id${id}").into() }
}

fn add_certificate(to: &str, number: u8) -> Change {
    Change::AddCertificate { owner: owner(to), certificate: certificate(number) }
}

fn add_password(to: &str, id: &str) -> Change {
    Change::AddPassword { owner: owner(to), password: password(id) }
}
