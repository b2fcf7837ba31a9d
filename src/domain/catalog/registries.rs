//! Changes of registries and their data stream exports.

use std::sync::Arc;

use smol_str::SmolStr;

use super::command::{CreateRegistry, NewExport, UpdateRegistry};
use super::entity::{Export, Owner, Registry, RegistryStatus, Resource};
use super::event::Event;
use super::operation::{OperationMetadata, OperationResponse};
use super::rejection::{Limit, Rejection};
use super::state::{Catalog, NameScope, not_found};
use crate::domain::id::{ExportId, RegistryId};
use crate::domain::log_options::LogOptions;
use crate::domain::principal::{Principal, SpaceId};
use crate::domain::timestamp::Timestamp;

/// What a change did and what came out.
pub(super) type Changed = Result<(OperationMetadata, OperationResponse), Rejection>;

impl Catalog {
    pub(super) fn create_registry(
        &mut self,
        at: Timestamp,
        input: CreateRegistry,
        events: &mut Vec<Event>,
    ) -> Changed {
        let id = input.id;
        self.check_id_is_free(id.as_str())?;
        check_count(self.registries.len(), self.limits.registries_max, Limit::Registries)?;
        self.check_name_is_free(
            NameScope::FolderRegistries(input.folder_id.clone()),
            &input.name,
            id.as_str(),
        )?;
        self.check_new_credentials(&input.credentials)?;

        let log_options = input.log_options.unwrap_or_else(|| LogOptions::default_for(&input.folder_id));
        let registry = Arc::new(Registry {
            id: id.clone(),
            folder_id: input.folder_id,
            created_at: at,
            name: input.name,
            description: input.description,
            labels: input.labels,
            status: RegistryStatus::Active,
            log_options,
        });
        self.insert_registry(&registry);
        self.insert_new_credentials(&Owner::Registry(id.clone()), at, input.credentials);
        events.push(Event::SpaceCreated { space: SpaceId::Registry(id.clone()) });
        Ok((OperationMetadata::CreateRegistry { id }, OperationResponse::Registry(registry)))
    }

    /// Puts a registry that is not there into the table and its indices.
    pub(super) fn insert_registry(&mut self, registry: &Arc<Registry>) {
        let id = registry.id.as_str();
        let scope = NameScope::FolderRegistries(registry.folder_id.clone());
        self.index.add_name(scope, &registry.name, id);
        let entry = (registry.folder_id.clone(), registry.created_at, SmolStr::new(id));
        self.index.registries_by_folder.insert(entry);
        self.registries.insert(registry.id.clone(), Arc::clone(registry));
    }

    pub(super) fn update_registry(&mut self, input: UpdateRegistry) -> Changed {
        let mut registry = Registry::clone(self.existing_registry(&input.id)?);
        let patch = input.attributes;
        let scope = NameScope::FolderRegistries(registry.folder_id.clone());
        if let Some(name) = patch.name {
            self.check_name_is_free(scope.clone(), &name, input.id.as_str())?;
            self.index.remove_name(scope.clone(), &registry.name);
            self.index.add_name(scope, &name, input.id.as_str());
            registry.name = name;
        }
        if let Some(description) = patch.description {
            registry.description = description;
        }
        if let Some(labels) = patch.labels {
            registry.labels = labels;
        }
        if let Some(log_options) = input.log_options {
            registry.log_options =
                log_options.unwrap_or_else(|| LogOptions::default_for(&registry.folder_id));
        }
        let registry = Arc::new(registry);
        self.registries.insert(input.id.clone(), Arc::clone(&registry));
        Ok((OperationMetadata::UpdateRegistry { id: input.id }, OperationResponse::Registry(registry)))
    }

    pub(super) fn delete_registry(&mut self, id: RegistryId, events: &mut Vec<Event>) -> Changed {
        let registry = Arc::clone(self.existing_registry(&id)?);
        if let Some(devices) = self.index.device_counts.get(&id).copied().filter(|count| *count > 0) {
            return Err(Rejection::RegistryNotEmpty { id, devices });
        }
        self.remove_credentials(&Owner::Registry(id.clone()));
        if let Some(export_id) = self.index.export_of_registry.get(&id).cloned() {
            self.remove_export(&export_id);
        }
        self.messages.remove_space(&SpaceId::Registry(id.clone()));
        self.index.remove_name(NameScope::FolderRegistries(registry.folder_id.clone()), &registry.name);
        let entry = (registry.folder_id.clone(), registry.created_at, SmolStr::new(id.as_str()));
        self.index.registries_by_folder.remove(&entry);
        self.registries.remove(&id);
        let principal = Principal::Registry(id.clone());
        self.end_sessions_of(&principal, events);
        events.push(Event::EntityDeleted { principal });
        Ok((OperationMetadata::DeleteRegistry { id }, OperationResponse::Empty))
    }

    pub(super) fn disable_registry(&mut self, id: RegistryId, events: &mut Vec<Event>) -> Changed {
        let (registry, changed) = self.set_registry_status(&id, RegistryStatus::Disabled)?;
        if changed {
            self.end_sessions_of_space(&SpaceId::Registry(id.clone()), events);
            events.push(Event::RegistryDisabled { id: id.clone() });
        }
        Ok((OperationMetadata::DisableRegistry { id }, OperationResponse::Registry(registry)))
    }

    pub(super) fn enable_registry(&mut self, id: RegistryId) -> Changed {
        let (registry, _) = self.set_registry_status(&id, RegistryStatus::Active)?;
        Ok((OperationMetadata::EnableRegistry { id }, OperationResponse::Registry(registry)))
    }

    fn set_registry_status(
        &mut self,
        id: &RegistryId,
        status: RegistryStatus,
    ) -> Result<(Arc<Registry>, bool), Rejection> {
        let registry = self.existing_registry(id)?;
        if registry.status == status {
            return Ok((Arc::clone(registry), false));
        }
        let registry = Arc::new(Registry { status, ..Registry::clone(registry) });
        self.registries.insert(id.clone(), Arc::clone(&registry));
        Ok((registry, true))
    }

    pub(super) fn existing_registry(&self, id: &RegistryId) -> Result<&Arc<Registry>, Rejection> {
        self.registries.get(id).ok_or_else(|| not_found(Resource::Registry, id.as_str()))
    }

    pub(super) fn add_export(&mut self, at: Timestamp, input: NewExport) -> Changed {
        let folder_id = self.existing_registry(&input.registry_id)?.folder_id.clone();
        if self.index.export_of_registry.contains_key(&input.registry_id) {
            return Err(Rejection::ExportExists { registry: input.registry_id });
        }
        if self.exports.contains_key(&input.id) {
            let id = SmolStr::new(input.id.as_str());
            return Err(Rejection::IdTaken { resource: Resource::Export, id });
        }
        self.check_name_is_free(NameScope::FolderExports(folder_id), &input.name, input.id.as_str())?;
        let export = Arc::new(Export {
            id: input.id,
            name: input.name,
            registry_id: input.registry_id,
            mqtt_topic_filter: input.mqtt_topic_filter,
            database: input.database,
            stream: input.stream,
            service_account_id: input.service_account_id,
            created_at: at,
        });
        self.insert_export(&export);
        let metadata =
            OperationMetadata::AddExport { registry_id: export.registry_id.clone(), id: export.id.clone() };
        Ok((metadata, OperationResponse::Export(export)))
    }

    /// Puts an export that is not there into the table and its indices. Its registry exists.
    pub(super) fn insert_export(&mut self, export: &Arc<Export>) {
        if let Some(registry) = self.registries.get(&export.registry_id) {
            let scope = NameScope::FolderExports(registry.folder_id.clone());
            self.index.add_name(scope, &export.name, export.id.as_str());
        }
        self.index.export_of_registry.insert(export.registry_id.clone(), export.id.clone());
        self.exports.insert(export.id.clone(), Arc::clone(export));
    }

    pub(super) fn delete_export(&mut self, registry_id: RegistryId, id: ExportId) -> Changed {
        self.existing_registry(&registry_id)?;
        if self.index.export_of_registry.get(&registry_id) != Some(&id) {
            return Err(not_found(Resource::Export, id.as_str()));
        }
        self.remove_export(&id);
        Ok((OperationMetadata::DeleteExport { registry_id, id }, OperationResponse::Empty))
    }

    fn remove_export(&mut self, id: &ExportId) {
        let Some(export) = self.exports.remove(id) else { return };
        if let Some(registry) = self.registries.get(&export.registry_id) {
            self.index.remove_name(NameScope::FolderExports(registry.folder_id.clone()), &export.name);
        }
        self.index.export_of_registry.remove(&export.registry_id);
    }
}

/// Refuses one more of something when `count` reached the maximum.
pub(super) fn check_count(count: usize, max: Option<u64>, limit: Limit) -> Result<(), Rejection> {
    match max {
        Some(max) if count as u64 >= max => Err(Rejection::TooMany { limit, max }),
        _ => Ok(()),
    }
}
