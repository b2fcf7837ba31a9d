//! What can be asked of the catalog. All answers come from one state; nothing here changes it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Bound;
use std::sync::Arc;

use smol_str::SmolStr;

use super::aliases::AliasMatch;
use super::entity::{Broker, Device, Export, Owner, Registry, RegistryStatus, Resource};
use super::operation::Operation;
use super::page::{Page, PageRequest, PageToken};
use super::rejection::Rejection;
use super::state::{Catalog, Listing, NameScope, not_found};
use crate::domain::credential::{Certificate, CertificateDigest, Fingerprint, Password};
use crate::domain::id::{DeviceId, FolderId, OperationId, RegistryId, TokenId};
use crate::domain::log_options::LogOptions;
use crate::domain::monitoring::MonitoringRecord;
use crate::domain::principal::Principal;
use crate::domain::principal::SpaceId;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::{ApiToken, TokenHash};

/// Whose certificate was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateMatch {
    /// The entity.
    pub principal: Principal,
    /// What the API calls the certificate.
    pub fingerprint: Fingerprint,
}

/// What a login must be checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login<'a> {
    /// The entity that the id names.
    pub principal: Principal,
    /// Its passwords; any of them lets it in.
    pub passwords: &'a [Arc<Password>],
}

/// Why a known principal must not have a session (`spec/auth.md`, decision procedure).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its registry is disabled (U-D3).
    #[error("registry is disabled")]
    RegistryDisabled,
    /// It was deleted.
    #[error("entity does not exist any more")]
    Deleted,
}

impl Catalog {
    /// The registry with this id.
    pub fn registry(&self, id: &str) -> Option<&Arc<Registry>> {
        self.registries.get(id)
    }

    /// The device with this id.
    pub fn device(&self, id: &str) -> Option<&Arc<Device>> {
        self.devices.get(id)
    }

    /// The broker with this id.
    pub fn broker(&self, id: &str) -> Option<&Arc<Broker>> {
        self.brokers.get(id)
    }

    /// The log options of a registry or broker, or of the registry of a device; `None` if nobody has this id.
    pub fn log_options_of(&self, id: &str) -> Option<&LogOptions> {
        match self.principal(id)?.space() {
            SpaceId::Registry(id) => self.registry(id.as_str()).map(|registry| &registry.log_options),
            SpaceId::Broker(id) => self.broker(id.as_str()).map(|broker| &broker.log_options),
        }
    }

    /// The operation with this id, unless it was forgotten (U-D6).
    pub fn operation(&self, id: &OperationId) -> Option<&Arc<Operation>> {
        self.operations.get(id)
    }

    /// The token with this id.
    pub fn token(&self, id: &TokenId) -> Option<&Arc<ApiToken>> {
        self.tokens.get(id)
    }

    /// The token whose secret has this hash.
    pub fn token_by_hash(&self, hash: &TokenHash) -> Option<&Arc<ApiToken>> {
        self.tokens.get(self.index.tokens_by_hash.get(hash)?)
    }

    /// When a device was last heard of; `None` if never.
    pub fn monitoring(&self, device: &DeviceId) -> Option<&Arc<MonitoringRecord>> {
        self.monitoring.get(device)
    }

    /// Every registry, in order of the id.
    pub fn all_registries(&self) -> impl Iterator<Item = &Arc<Registry>> {
        self.registries.values()
    }

    /// Every broker, in order of the id.
    pub fn all_brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    /// How many registries, devices and brokers there are.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.registries.len(), self.devices.len(), self.brokers.len())
    }

    /// How many devices a registry has.
    pub fn device_count(&self, registry: &RegistryId) -> u64 {
        self.index.device_counts.get(registry).copied().unwrap_or_default()
    }

    /// The registry of a folder with this name; the empty name names none.
    pub fn registry_by_name(&self, folder: &FolderId, name: &str) -> Option<&Arc<Registry>> {
        self.registry(self.named(NameScope::FolderRegistries(folder.clone()), name)?)
    }

    /// The device of a registry with this name; the empty name names none.
    pub fn device_by_name(&self, registry: &RegistryId, name: &str) -> Option<&Arc<Device>> {
        self.device(self.named(NameScope::RegistryDevices(registry.clone()), name)?)
    }

    /// The broker of a folder with this name; the empty name names none.
    pub fn broker_by_name(&self, folder: &FolderId, name: &str) -> Option<&Arc<Broker>> {
        self.broker(self.named(NameScope::FolderBrokers(folder.clone()), name)?)
    }

    fn named(&self, scope: NameScope, name: &str) -> Option<&SmolStr> {
        self.index.names.get(&(scope, SmolStr::new(name)))
    }

    /// The registries of a folder, by creation time then id.
    pub fn registries_of_folder(&self, folder: &FolderId, page: &PageRequest) -> Page<Arc<Registry>> {
        list(&self.index.registries_by_folder, folder, page, |id| self.registry(id))
    }

    /// The brokers of a folder, by creation time then id.
    pub fn brokers_of_folder(&self, folder: &FolderId, page: &PageRequest) -> Page<Arc<Broker>> {
        list(&self.index.brokers_by_folder, folder, page, |id| self.broker(id))
    }

    /// The devices of a registry, by creation time then id.
    pub fn devices_of_registry(&self, registry: &RegistryId, page: &PageRequest) -> Page<Arc<Device>> {
        list(&self.index.devices_by_registry, registry, page, |id| self.device(id))
    }

    /// The devices of all registries of a folder, by creation time then id.
    pub fn devices_of_folder(&self, folder: &FolderId, page: &PageRequest) -> Page<Arc<Device>> {
        // There are many devices, so they have no index by folder: the lists of its registries are merged.
        let first = (folder.clone(), Timestamp::default(), SmolStr::default());
        let registries =
            self.index.registries_by_folder.range(first..).take_while(|entry| entry.0 == *folder);
        let mut lists: Vec<_> = registries
            .map(|(_, _, registry)| {
                let registry = RegistryId::new(registry);
                let from = page_start(&registry, page);
                let entries = self.index.devices_by_registry.range((from, Bound::Unbounded));
                entries.take_while(move |entry| entry.0 == registry).map(|(_, at, id)| (*at, id))
            })
            .collect();
        let heads = lists.iter_mut().enumerate();
        let mut heads: BinaryHeap<_> =
            heads.filter_map(|(place, list)| Some(Reverse((list.next()?, place)))).collect();
        let merged = std::iter::from_fn(|| {
            let Reverse((entry, place)) = heads.pop()?;
            heads.extend(lists[place].next().map(|next| Reverse((next, place))));
            Some(entry)
        });
        collect_page(merged.filter_map(|(at, id)| Some((at, id, self.device(id)?))), page.size)
    }

    /// The operations of a registry, device or broker, oldest first; also after its deletion.
    pub fn operations_of(&self, owner: &Owner, page: &PageRequest) -> Page<Arc<Operation>> {
        let entity = SmolStr::new(owner.id());
        list(&self.index.operations_by_entity, &entity, page, |id| self.operations.get(id))
    }

    /// All tokens, by creation time then id.
    pub fn tokens(&self, page: &PageRequest) -> Page<Arc<ApiToken>> {
        let after = page.after.as_ref().map(|token| (token.created_at, token.id.clone()));
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let positions = self.index.tokens_by_time.range((from, Bound::Unbounded));
        let tokens = positions.filter_map(|(at, id)| Some((*at, id, self.tokens.get(id.as_str())?)));
        collect_page(tokens, page.size)
    }

    /// The aliases of the devices of a registry: by creation time and id of the device, then by alias.
    pub fn aliases_page(&self, registry: &RegistryId, page: &PageRequest) -> Page<AliasMatch<'_>> {
        let (from, skip) = match &page.after {
            None => ((registry.clone(), Timestamp::default(), SmolStr::default()), 0),
            Some(token) => {
                ((registry.clone(), token.created_at, token.id.clone()), usize::from(token.ordinal) + 1)
            }
        };
        let first_id = from.2.clone();
        let devices = self.index.devices_by_registry.range(from..).take_while(|entry| entry.0 == *registry);
        let devices = devices.filter_map(|(_, _, id)| self.device(id));
        let mut aliases = devices.flat_map(|device| {
            let done = if device.id.as_str() == first_id { skip } else { 0 };
            let aliases = device.topic_aliases.iter().enumerate().skip(done);
            aliases.map(move |(ordinal, (alias, target))| {
                (device, ordinal, AliasMatch { alias, target, device: &device.id })
            })
        });
        let mut items = Vec::new();
        let mut last = None;
        for (device, ordinal, alias) in aliases.by_ref().take(page.size) {
            items.push(alias);
            last = Some((device, ordinal));
        }
        let more = aliases.next().is_some();
        let next = last.filter(|_| more).map(|(device, ordinal)| PageToken {
            ordinal: u8::try_from(ordinal).unwrap_or(u8::MAX),
            ..PageToken::new(device.created_at, device.id.as_str())
        });
        Page { items, next }
    }

    /// The certificates of an entity, in the order in which they were added.
    ///
    /// # Errors
    /// [`Rejection::NotFound`] if there is no such entity.
    pub fn certificates_of(&self, owner: &Owner) -> Result<&[Arc<Certificate>], Rejection> {
        self.check_exists(owner)?;
        Ok(self.credentials.get(owner).map(|held| held.certificates.as_slice()).unwrap_or_default())
    }

    /// The passwords of an entity, in the order in which they were added.
    ///
    /// # Errors
    /// [`Rejection::NotFound`] if there is no such entity.
    pub fn passwords_of(&self, owner: &Owner) -> Result<&[Arc<Password>], Rejection> {
        self.check_exists(owner)?;
        Ok(self.credentials.get(owner).map(|held| held.passwords.as_slice()).unwrap_or_default())
    }

    /// The data stream export of a registry, if it has one.
    ///
    /// # Errors
    /// [`Rejection::NotFound`] if there is no such registry.
    pub fn export_of(&self, registry: &RegistryId) -> Result<Option<&Arc<Export>>, Rejection> {
        self.existing_registry(registry)?;
        let id = self.index.export_of_registry.get(registry);
        Ok(id.and_then(|id| self.exports.get(id)))
    }

    /// The entity that a certificate belongs to (U-A5).
    pub fn by_certificate(&self, digest: &CertificateDigest) -> Option<CertificateMatch> {
        let owner = self.index.certificates.get(digest)?;
        let principal = self.principal(owner.id())?;
        let certificates = &self.credentials.get(owner)?.certificates;
        let certificate = certificates.iter().find(|certificate| certificate.digest == *digest)?;
        Some(CertificateMatch { principal, fingerprint: certificate.fingerprint.clone() })
    }

    /// The entity that a user name names, with its passwords (U-A7).
    pub fn login(&self, id: &str) -> Option<Login<'_>> {
        let principal = self.principal(id)?;
        let held = self.credentials.get(&owner_of(&principal));
        let passwords = held.map(|held| held.passwords.as_slice()).unwrap_or_default();
        Some(Login { principal, passwords })
    }

    /// Whether a principal may have sessions now.
    ///
    /// # Errors
    /// [`Refused`] with the reason.
    pub fn admits(&self, principal: &Principal) -> Result<(), Refused> {
        let registry = match principal {
            Principal::Broker(id) => {
                return self.brokers.get(id).map(|_| ()).ok_or(Refused::Deleted);
            }
            Principal::Device { device, registry } => {
                self.device_of_registry(registry, device.as_str()).ok_or(Refused::Deleted)?;
                registry
            }
            Principal::Registry(id) => id,
        };
        match self.registries.get(registry).map(|registry| registry.status) {
            Some(RegistryStatus::Active) => Ok(()),
            Some(RegistryStatus::Disabled) => Err(Refused::RegistryDisabled),
            None => Err(Refused::Deleted),
        }
    }

    /// The device with this id, or the error that says that there is none.
    ///
    /// # Errors
    /// [`Rejection::NotFound`].
    pub fn require_device(&self, id: &str) -> Result<&Arc<Device>, Rejection> {
        self.device(id).ok_or_else(|| not_found(Resource::Device, id))
    }

    /// The registry with this id, or the error that says that there is none.
    ///
    /// # Errors
    /// [`Rejection::NotFound`].
    pub fn require_registry(&self, id: &str) -> Result<&Arc<Registry>, Rejection> {
        self.registry(id).ok_or_else(|| not_found(Resource::Registry, id))
    }

    /// The broker with this id, or the error that says that there is none.
    ///
    /// # Errors
    /// [`Rejection::NotFound`].
    pub fn require_broker(&self, id: &str) -> Result<&Arc<Broker>, Rejection> {
        self.broker(id).ok_or_else(|| not_found(Resource::Broker, id))
    }
}

/// The entity of a principal, as the owner of its credentials.
pub(super) fn owner_of(principal: &Principal) -> Owner {
    match principal {
        Principal::Registry(id) => Owner::Registry(id.clone()),
        Principal::Device { device, .. } => Owner::Device(device.clone()),
        Principal::Broker(id) => Owner::Broker(id.clone()),
    }
}

/// One page of the resources of `container`, after the token's position.
fn list<'a, Container: Ord + Clone, T: 'a>(
    listing: &'a Listing<Container>,
    container: &Container,
    page: &PageRequest,
    get: impl Fn(&'a str) -> Option<&'a Arc<T>>,
) -> Page<Arc<T>> {
    let positions = listing
        .range((page_start(container, page), Bound::Unbounded))
        .take_while(|entry| entry.0 == *container);
    let resources = positions.filter_map(|(_, at, id)| Some((*at, id, get(id)?)));
    collect_page(resources, page.size)
}

/// Where a page of a container begins.
fn page_start<Container: Clone>(
    container: &Container,
    page: &PageRequest,
) -> Bound<(Container, Timestamp, SmolStr)> {
    match &page.after {
        None => Bound::Included((container.clone(), Timestamp::default(), SmolStr::default())),
        Some(token) => Bound::Excluded((container.clone(), token.created_at, token.id.clone())),
    }
}

fn collect_page<'a, T: 'a>(
    mut resources: impl Iterator<Item = (Timestamp, &'a SmolStr, &'a Arc<T>)>,
    size: usize,
) -> Page<Arc<T>> {
    let mut items = Vec::new();
    let mut last = None;
    for (at, id, resource) in resources.by_ref().take(size) {
        items.push(Arc::clone(resource));
        last = Some((at, id));
    }
    let more = resources.next().is_some();
    let next = last.filter(|_| more).map(|(at, id)| PageToken::new(at, id));
    Page { items, next }
}
