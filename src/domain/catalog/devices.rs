//! Changes of devices.

use std::sync::Arc;

use smol_str::SmolStr;

use super::command::{CreateDevice, UpdateDevice};
use super::entity::{Device, Owner, Resource, TopicAliases};
use super::event::Event;
use super::operation::{OperationMetadata, OperationResponse};
use super::registries::{Changed, check_count};
use super::rejection::{Limit, Rejection};
use super::state::{Catalog, NameScope, not_found};
use crate::domain::id::DeviceId;
use crate::domain::principal::Principal;
use crate::domain::timestamp::Timestamp;

impl Catalog {
    pub(super) fn create_device(
        &mut self,
        at: Timestamp,
        input: CreateDevice,
        events: &mut Vec<Event>,
    ) -> Changed {
        let id = input.id;
        self.existing_registry(&input.registry_id)?;
        self.check_id_is_free(id.as_str())?;
        check_count(self.devices.len(), self.limits.devices_max, Limit::Devices)?;
        self.check_name_is_free(
            NameScope::RegistryDevices(input.registry_id.clone()),
            &input.name,
            id.as_str(),
        )?;
        let topic_aliases = self.check_aliases(&input.registry_id, &id, &input.topic_aliases)?;
        self.check_new_credentials(&input.credentials)?;

        let device = Arc::new(Device {
            id: id.clone(),
            registry_id: input.registry_id,
            created_at: at,
            name: input.name,
            description: input.description,
            labels: input.labels,
            topic_aliases,
        });
        self.insert_device(&device);
        self.insert_new_credentials(&Owner::Device(id.clone()), at, input.credentials);
        events.push(Event::NamesChanged { registry: device.registry_id.clone() });
        Ok((OperationMetadata::CreateDevice { id }, OperationResponse::Device(device)))
    }

    /// Puts a device that is not there into the table and its indices. Its registry exists.
    pub(super) fn insert_device(&mut self, device: &Arc<Device>) {
        let registry_id = &device.registry_id;
        let id = SmolStr::new(device.id.as_str());
        self.index.add_name(NameScope::RegistryDevices(registry_id.clone()), &device.name, &id);
        self.replace_aliases(registry_id, &device.id, &TopicAliases::new(), &device.topic_aliases);
        self.index.devices_by_registry.insert((registry_id.clone(), device.created_at, id));
        *self.index.device_counts.entry(registry_id.clone()).or_insert(0) += 1;
        self.devices.insert(device.id.clone(), Arc::clone(device));
    }

    pub(super) fn update_device(&mut self, input: UpdateDevice, events: &mut Vec<Event>) -> Changed {
        let mut device = Device::clone(self.existing_device(&input.id)?);
        let registry_id = device.registry_id.clone();
        let patch = input.attributes;
        let scope = NameScope::RegistryDevices(registry_id.clone());
        if let Some(name) = &patch.name {
            self.check_name_is_free(scope.clone(), name, input.id.as_str())?;
        }
        let topic_aliases = match &input.topic_aliases {
            Some(aliases) => Some(self.check_aliases(&registry_id, &input.id, aliases)?),
            None => None,
        };

        if let Some(name) = patch.name {
            self.index.remove_name(scope.clone(), &device.name);
            self.index.add_name(scope, &name, input.id.as_str());
            device.name = name;
        }
        if let Some(description) = patch.description {
            device.description = description;
        }
        if let Some(labels) = patch.labels {
            device.labels = labels;
        }
        if let Some(topic_aliases) = topic_aliases.filter(|new| *new != device.topic_aliases) {
            self.replace_aliases(&registry_id, &input.id, &device.topic_aliases, &topic_aliases);
            device.topic_aliases = topic_aliases;
            events.push(Event::NamesChanged { registry: registry_id });
        }
        let device = Arc::new(device);
        self.devices.insert(input.id.clone(), Arc::clone(&device));
        Ok((OperationMetadata::UpdateDevice { id: input.id }, OperationResponse::Device(device)))
    }

    pub(super) fn delete_device(&mut self, id: DeviceId, events: &mut Vec<Event>) -> Changed {
        let device = Arc::clone(self.existing_device(&id)?);
        let registry_id = device.registry_id.clone();
        let id_text = SmolStr::new(id.as_str());
        self.remove_credentials(&Owner::Device(id.clone()));
        self.replace_aliases(&registry_id, &id, &device.topic_aliases, &TopicAliases::new());
        self.messages.remove_device(&registry_id, &id);
        self.monitoring.remove(&id);
        self.index.remove_name(NameScope::RegistryDevices(registry_id.clone()), &device.name);
        self.index.devices_by_registry.remove(&(registry_id.clone(), device.created_at, id_text));
        match self.index.device_counts.get(&registry_id).copied() {
            Some(count) if count > 1 => self.index.device_counts.insert(registry_id.clone(), count - 1),
            _ => self.index.device_counts.remove(&registry_id),
        };
        self.devices.remove(&id);
        let principal = Principal::Device { device: id.clone(), registry: registry_id.clone() };
        self.end_sessions_of(&principal, events);
        events.push(Event::EntityDeleted { principal });
        events.push(Event::NamesChanged { registry: registry_id });
        Ok((OperationMetadata::DeleteDevice { id }, OperationResponse::Empty))
    }

    fn existing_device(&self, id: &DeviceId) -> Result<&Arc<Device>, Rejection> {
        self.devices.get(id).ok_or_else(|| not_found(Resource::Device, id.as_str()))
    }
}
