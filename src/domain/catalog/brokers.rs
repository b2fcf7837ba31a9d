//! Changes of brokers: free topic spaces.

use std::sync::Arc;

use smol_str::SmolStr;

use super::command::{CreateBroker, UpdateBroker};
use super::entity::{Broker, Owner, Resource};
use super::event::Event;
use super::operation::{OperationMetadata, OperationResponse};
use super::registries::{Changed, check_count};
use super::rejection::{Limit, Rejection};
use super::state::{Catalog, NameScope, not_found};
use crate::domain::id::BrokerId;
use crate::domain::log_options::LogOptions;
use crate::domain::principal::{Principal, SpaceId};
use crate::domain::timestamp::Timestamp;

impl Catalog {
    pub(super) fn create_broker(
        &mut self,
        at: Timestamp,
        input: CreateBroker,
        events: &mut Vec<Event>,
    ) -> Changed {
        let id = input.id;
        self.check_id_is_free(id.as_str())?;
        check_count(self.brokers.len(), self.limits.brokers_max, Limit::Brokers)?;
        self.check_name_is_free(NameScope::FolderBrokers(input.folder_id.clone()), &input.name, id.as_str())?;
        self.check_new_credentials(&input.credentials)?;

        let log_options = input.log_options.unwrap_or_else(|| LogOptions::default_for(&input.folder_id));
        let broker = Arc::new(Broker {
            id: id.clone(),
            folder_id: input.folder_id,
            created_at: at,
            name: input.name,
            description: input.description,
            labels: input.labels,
            log_options,
        });
        self.insert_broker(&broker);
        self.insert_new_credentials(&Owner::Broker(id.clone()), at, input.credentials);
        events.push(Event::SpaceCreated { space: SpaceId::Broker(id.clone()) });
        Ok((OperationMetadata::CreateBroker { id }, OperationResponse::Broker(broker)))
    }

    /// Puts a broker that is not there into the table and its indices.
    pub(super) fn insert_broker(&mut self, broker: &Arc<Broker>) {
        let id = broker.id.as_str();
        self.index.add_name(NameScope::FolderBrokers(broker.folder_id.clone()), &broker.name, id);
        let entry = (broker.folder_id.clone(), broker.created_at, SmolStr::new(id));
        self.index.brokers_by_folder.insert(entry);
        self.brokers.insert(broker.id.clone(), Arc::clone(broker));
    }

    pub(super) fn update_broker(&mut self, input: UpdateBroker) -> Changed {
        let mut broker = Broker::clone(self.existing_broker(&input.id)?);
        let patch = input.attributes;
        let scope = NameScope::FolderBrokers(broker.folder_id.clone());
        if let Some(name) = patch.name {
            self.check_name_is_free(scope.clone(), &name, input.id.as_str())?;
            self.index.remove_name(scope.clone(), &broker.name);
            self.index.add_name(scope, &name, input.id.as_str());
            broker.name = name;
        }
        if let Some(description) = patch.description {
            broker.description = description;
        }
        if let Some(labels) = patch.labels {
            broker.labels = labels;
        }
        if let Some(log_options) = input.log_options {
            broker.log_options = log_options.unwrap_or_else(|| LogOptions::default_for(&broker.folder_id));
        }
        let broker = Arc::new(broker);
        self.brokers.insert(input.id.clone(), Arc::clone(&broker));
        Ok((OperationMetadata::UpdateBroker { id: input.id }, OperationResponse::Broker(broker)))
    }

    pub(super) fn delete_broker(&mut self, id: BrokerId, events: &mut Vec<Event>) -> Changed {
        let broker = Arc::clone(self.existing_broker(&id)?);
        self.remove_credentials(&Owner::Broker(id.clone()));
        self.index.remove_name(NameScope::FolderBrokers(broker.folder_id.clone()), &broker.name);
        let entry = (broker.folder_id.clone(), broker.created_at, SmolStr::new(id.as_str()));
        self.index.brokers_by_folder.remove(&entry);
        self.brokers.remove(&id);
        let principal = Principal::Broker(id.clone());
        self.end_sessions_of(&principal, events);
        events.push(Event::EntityDeleted { principal });
        Ok((OperationMetadata::DeleteBroker { id }, OperationResponse::Empty))
    }

    fn existing_broker(&self, id: &BrokerId) -> Result<&Arc<Broker>, Rejection> {
        self.brokers.get(id).ok_or_else(|| not_found(Resource::Broker, id.as_str()))
    }
}
