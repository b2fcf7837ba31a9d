//! The state as a sequence of records: what a snapshot holds and what the state's hash is computed from.

use std::sync::Arc;

use super::entity::{Broker, Device, Export, Owner, Registry, Resource, StoredMessage};
use super::operation::{IdempotencyRecord, Operation};
use super::rejection::Rejection;
use super::state::{Catalog, NameScope};
use crate::domain::credential::{Certificate, Password};
use crate::domain::id::DeviceId;
use crate::domain::monitoring::MonitoringRecord;
use crate::domain::principal::SpaceId;
use crate::domain::quota::CatalogLimits;
use crate::domain::session::Session;
use crate::domain::token::ApiToken;

/// One item of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The limits in force.
    Limits(CatalogLimits),
    /// A registry.
    Registry(Arc<Registry>),
    /// A device.
    Device(Arc<Device>),
    /// A broker.
    Broker(Arc<Broker>),
    /// A certificate.
    Certificate {
        /// Whose.
        owner: Owner,
        /// The certificate.
        certificate: Arc<Certificate>,
    },
    /// A password.
    Password {
        /// Whose.
        owner: Owner,
        /// The password.
        password: Arc<Password>,
    },
    /// A data stream export.
    Export(Arc<Export>),
    /// An operation.
    Operation(Arc<Operation>),
    /// An idempotency key.
    Idempotency(Arc<IdempotencyRecord>),
    /// An API token.
    Token(Arc<ApiToken>),
    /// A stored message.
    Message {
        /// The topic space.
        space: SpaceId,
        /// The message.
        message: Arc<StoredMessage>,
    },
    /// When a device was last heard of.
    Monitoring {
        /// The device.
        device: DeviceId,
        /// The times.
        monitoring: Arc<MonitoringRecord>,
    },
    /// The epoch of a node that serves.
    Epoch {
        /// The node's Raft identifier.
        node: u32,
        /// The epoch.
        epoch: u64,
    },
    /// A session.
    Session(Arc<Session>),
}

/// Records that do not make a valid state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// A record contradicts the ones before it, for example a device without its registry.
    #[error("record {position}: {rule}")]
    Invalid {
        /// Its position, from 0.
        position: u64,
        /// What it contradicts.
        rule: Rejection,
    },
}

impl Catalog {
    /// The whole state, each item once, in an order that depends on the state only. What an item needs stands before
    /// it: a registry before its devices, a device before its credentials, an epoch before its sessions.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let certificates = self.credentials.iter().flat_map(|(owner, held)| {
            held.certificates.iter().map(|certificate| Record::Certificate {
                owner: owner.clone(),
                certificate: Arc::clone(certificate),
            })
        });
        let passwords = self.credentials.iter().flat_map(|(owner, held)| {
            held.passwords
                .iter()
                .map(|password| Record::Password { owner: owner.clone(), password: Arc::clone(password) })
        });
        let messages = self
            .messages
            .iter()
            .map(|(space, message)| Record::Message { space: space.clone(), message: Arc::clone(message) });
        let monitoring = self.monitoring.iter().map(|(device, monitoring)| Record::Monitoring {
            device: device.clone(),
            monitoring: Arc::clone(monitoring),
        });
        std::iter::once(Record::Limits(self.limits.clone()))
            .chain(self.registries.values().cloned().map(Record::Registry))
            .chain(self.devices.values().cloned().map(Record::Device))
            .chain(self.brokers.values().cloned().map(Record::Broker))
            .chain(certificates)
            .chain(passwords)
            .chain(self.exports.values().cloned().map(Record::Export))
            .chain(self.operations.values().cloned().map(Record::Operation))
            .chain(self.idempotency.values().cloned().map(Record::Idempotency))
            .chain(self.tokens.values().cloned().map(Record::Token))
            .chain(messages)
            .chain(monitoring)
            .chain(self.sessions.epochs().map(|(node, epoch)| Record::Epoch { node, epoch }))
            .chain(self.sessions.iter().cloned().map(Record::Session))
    }

    /// Puts a state together from the records of [`Self::records`]. `applied_index` is the index at which they were
    /// taken.
    ///
    /// # Errors
    /// [`ImportError`] if a record contradicts an earlier one; limits are not applied.
    pub fn from_records(
        applied_index: u64,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Self, ImportError> {
        let mut catalog = Self { applied_index, ..Self::new() };
        for (position, record) in (0..).zip(records) {
            catalog.insert(record).map_err(|rule| ImportError::Invalid { position, rule })?;
        }
        Ok(catalog)
    }

    fn insert(&mut self, record: Record) -> Result<(), Rejection> {
        match record {
            Record::Limits(limits) => self.limits = limits,
            Record::Registry(registry) => {
                self.check_id_is_free(registry.id.as_str())?;
                let scope = NameScope::FolderRegistries(registry.folder_id.clone());
                self.check_name_is_free(scope, &registry.name, registry.id.as_str())?;
                self.insert_registry(&registry);
            }
            Record::Device(device) => self.insert_checked_device(&device)?,
            Record::Broker(broker) => {
                self.check_id_is_free(broker.id.as_str())?;
                let scope = NameScope::FolderBrokers(broker.folder_id.clone());
                self.check_name_is_free(scope, &broker.name, broker.id.as_str())?;
                self.insert_broker(&broker);
            }
            Record::Certificate { owner, certificate } => {
                self.check_exists(&owner)?;
                if self.index.certificates.contains_key(&certificate.digest) {
                    let fingerprint = certificate.fingerprint.clone();
                    return Err(Rejection::CertificateTaken { fingerprint });
                }
                self.insert_certificate(&owner, certificate);
            }
            Record::Password { owner, password } => {
                let mut held = self.passwords_of(&owner)?.iter();
                check_new(held.all(|held| held.id != password.id), Resource::Password, password.id.as_str())?;
                self.insert_password(&owner, password);
            }
            Record::Export(export) => self.insert_checked_export(&export)?,
            Record::Operation(operation) => {
                let is_new = !self.operations.contains_key(&operation.id);
                check_new(is_new, Resource::Operation, operation.id.as_str())?;
                self.insert_operation(&operation);
            }
            Record::Idempotency(record) => {
                let is_new = !self.idempotency.contains_key(&(record.subject.clone(), record.key.clone()));
                check_new(is_new, Resource::Operation, record.operation_id.as_str())?;
                self.insert_key(record);
            }
            Record::Token(token) => {
                check_new(!self.tokens.contains_key(&token.id), Resource::Token, token.id.as_str())?;
                if self.token_by_hash(&token.hash).is_some() {
                    return Err(Rejection::TokenTaken);
                }
                self.insert_token(&token);
            }
            Record::Message { space, message } => {
                self.insert_message(&space, Arc::unwrap_or_clone(message))?;
            }
            Record::Monitoring { device, monitoring } => {
                self.require_device(device.as_str())?;
                self.monitoring.insert(device, monitoring);
            }
            Record::Epoch { node, epoch } => self.insert_epoch(node, epoch)?,
            Record::Session(session) => self.insert_session(session)?,
        }
        Ok(())
    }

    fn insert_checked_device(&mut self, device: &Arc<Device>) -> Result<(), Rejection> {
        self.check_id_is_free(device.id.as_str())?;
        self.existing_registry(&device.registry_id)?;
        let scope = NameScope::RegistryDevices(device.registry_id.clone());
        self.check_name_is_free(scope, &device.name, device.id.as_str())?;
        self.check_alias_conflicts(&device.registry_id, &device.id, &device.topic_aliases)?;
        self.insert_device(device);
        Ok(())
    }

    fn insert_checked_export(&mut self, export: &Arc<Export>) -> Result<(), Rejection> {
        let folder = self.existing_registry(&export.registry_id)?.folder_id.clone();
        self.check_name_is_free(NameScope::FolderExports(folder), &export.name, export.id.as_str())?;
        let is_new = !self.index.export_of_registry.contains_key(&export.registry_id)
            && !self.exports.contains_key(&export.id);
        check_new(is_new, Resource::Export, export.id.as_str())?;
        self.insert_export(export);
        Ok(())
    }
}

fn check_new(is_new: bool, resource: Resource, id: &str) -> Result<(), Rejection> {
    if is_new { Ok(()) } else { Err(Rejection::IdTaken { resource, id: id.into() }) }
}
