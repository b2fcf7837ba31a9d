//! The tables of the catalog and the indices over them.
//!
//! A table holds what is stored; an index is derived from the tables and is rebuilt when a snapshot is read. All are
//! persistent maps, so that a clone of the whole catalog takes the same short time at any size.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use smol_str::SmolStr;

use super::entity::{Broker, Device, Export, Owner, Registry, Resource};
use super::messages::Messages;
use super::operation::{IdempotencyKey, IdempotencyRecord, Operation};
use super::rejection::Rejection;
use super::session_table::Sessions;
use crate::domain::credential::{Certificate, CertificateDigest, Password};
use crate::domain::id::{BrokerId, DeviceId, ExportId, FolderId, OperationId, RegistryId, TokenId};
use crate::domain::monitoring::MonitoringRecord;
use crate::domain::principal::Principal;
use crate::domain::quota::CatalogLimits;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::{ApiToken, TokenHash};

/// Everything that the server remembers, as one value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    pub(super) applied_index: u64,
    pub(super) limits: CatalogLimits,
    pub(super) registries: OrdMap<RegistryId, Arc<Registry>>,
    pub(super) devices: OrdMap<DeviceId, Arc<Device>>,
    pub(super) brokers: OrdMap<BrokerId, Arc<Broker>>,
    /// An owner without credentials is absent.
    pub(super) credentials: OrdMap<Owner, Credentials>,
    pub(super) exports: OrdMap<ExportId, Arc<Export>>,
    pub(super) operations: OrdMap<OperationId, Arc<Operation>>,
    pub(super) idempotency: OrdMap<(SmolStr, IdempotencyKey), Arc<IdempotencyRecord>>,
    pub(super) tokens: OrdMap<TokenId, Arc<ApiToken>>,
    pub(super) messages: Messages,
    pub(super) monitoring: OrdMap<DeviceId, Arc<MonitoringRecord>>,
    pub(super) sessions: Sessions,
    pub(super) index: Indices,
}

/// The credentials of one entity, in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Credentials {
    pub(super) certificates: Vec<Arc<Certificate>>,
    pub(super) passwords: Vec<Arc<Password>>,
}

/// Position of a resource in a listing: by creation time, then id (U-P3).
pub(super) type Position = (Timestamp, SmolStr);

/// Resources of one kind in one container, in listing order.
pub(super) type Listing<Container> = OrdSet<(Container, Timestamp, SmolStr)>;

/// Where a name must be unique, and for what kind of resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum NameScope {
    FolderRegistries(FolderId),
    RegistryDevices(RegistryId),
    FolderBrokers(FolderId),
    FolderExports(FolderId),
}

impl NameScope {
    fn resource(&self) -> Resource {
        match self {
            Self::FolderRegistries(_) => Resource::Registry,
            Self::RegistryDevices(_) => Resource::Device,
            Self::FolderBrokers(_) => Resource::Broker,
            Self::FolderExports(_) => Resource::Export,
        }
    }
}

/// What is derived from the tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Indices {
    pub(super) certificates: OrdMap<CertificateDigest, Owner>,
    pub(super) names: OrdMap<(NameScope, SmolStr), SmolStr>,
    /// Per registry: alias to device. No alias is a prefix of another in the same registry.
    pub(super) aliases: OrdMap<RegistryId, OrdMap<SmolStr, DeviceId>>,
    pub(super) registries_by_folder: Listing<FolderId>,
    pub(super) brokers_by_folder: Listing<FolderId>,
    pub(super) devices_by_registry: Listing<RegistryId>,
    pub(super) device_counts: OrdMap<RegistryId, u64>,
    pub(super) export_of_registry: OrdMap<RegistryId, ExportId>,
    pub(super) operations_by_entity: Listing<SmolStr>,
    pub(super) operations_by_time: OrdSet<(Timestamp, OperationId)>,
    pub(super) idempotency_by_time: OrdSet<(Timestamp, SmolStr, IdempotencyKey)>,
    pub(super) tokens_by_time: OrdSet<Position>,
    pub(super) tokens_by_hash: OrdMap<TokenHash, TokenId>,
}

impl Catalog {
    /// An empty catalog with default limits: the state before the first command.
    pub fn new() -> Self {
        Self::default()
    }

    /// Index of the last applied command.
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    /// The limits in force.
    pub fn limits(&self) -> &CatalogLimits {
        &self.limits
    }

    /// The same without sessions and the nodes that hold them: what outlives its cluster.
    #[must_use]
    pub fn without_sessions(&self) -> Self {
        Self { sessions: Sessions::default(), ..self.clone() }
    }

    /// Who logs in with this id, if anyone (U-D2, U-A7).
    pub fn principal(&self, id: &str) -> Option<Principal> {
        if let Some(device) = self.devices.get(id) {
            return Some(Principal::Device {
                device: device.id.clone(),
                registry: device.registry_id.clone(),
            });
        }
        if let Some(registry) = self.registries.get(id) {
            return Some(Principal::Registry(registry.id.clone()));
        }
        self.brokers.get(id).map(|broker| Principal::Broker(broker.id.clone()))
    }

    pub(super) fn check_exists(&self, owner: &Owner) -> Result<(), Rejection> {
        let exists = match owner {
            Owner::Registry(id) => self.registries.contains_key(id),
            Owner::Device(id) => self.devices.contains_key(id),
            Owner::Broker(id) => self.brokers.contains_key(id),
        };
        if exists { Ok(()) } else { Err(not_found(owner.resource(), owner.id())) }
    }

    pub(super) fn check_id_is_free(&self, id: &str) -> Result<(), Rejection> {
        let resource = match self.principal(id) {
            None => return Ok(()),
            Some(Principal::Registry(_)) => Resource::Registry,
            Some(Principal::Device { .. }) => Resource::Device,
            Some(Principal::Broker(_)) => Resource::Broker,
        };
        Err(Rejection::IdTaken { resource, id: SmolStr::new(id) })
    }

    /// Refuses a name that another resource of the scope has. Empty names are exempt (U-D4).
    pub(super) fn check_name_is_free(&self, scope: NameScope, name: &str, id: &str) -> Result<(), Rejection> {
        if name.is_empty() {
            return Ok(());
        }
        let resource = scope.resource();
        let key = (scope, SmolStr::new(name));
        match self.index.names.get(&key) {
            Some(holder) if holder != id => {
                Err(Rejection::NameTaken { resource, name: key.1, id: holder.clone() })
            }
            _ => Ok(()),
        }
    }
}

impl Indices {
    pub(super) fn add_name(&mut self, scope: NameScope, name: &SmolStr, id: &str) {
        if !name.is_empty() {
            self.names.insert((scope, name.clone()), SmolStr::new(id));
        }
    }

    pub(super) fn remove_name(&mut self, scope: NameScope, name: &SmolStr) {
        if !name.is_empty() {
            self.names.remove(&(scope, name.clone()));
        }
    }
}

pub(super) fn not_found(resource: Resource, id: &str) -> Rejection {
    Rejection::NotFound { resource, id: SmolStr::new(id) }
}
