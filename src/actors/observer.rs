//! What happens on this node when a command has been applied to the catalog.
//!
//! Called under the catalog's write lock, in the order of the log. That is what makes a stored message reach a
//! subscriber exactly once (see `registry::subscriptions`).

use std::sync::Arc;

use super::directory::Directory;
use super::lane::Lanes;
use super::routes;
use crate::domain::catalog::Catalog;
use crate::domain::catalog::entity::Owner;
use crate::domain::catalog::event::Event;
use crate::domain::principal::SpaceId;
use crate::store::replica::ApplyObserver;

/// Delivers permanent messages and tells registry actors of changes that concern them.
pub struct Observer {
    /// The lanes.
    pub lanes: Lanes,
    /// The running registry actors.
    pub directory: Arc<Directory>,
}

impl ApplyObserver for Observer {
    fn applied(&self, catalog: &Catalog, _index: u64, event: &Event) {
        if let Event::PermanentSet { space, topic, payload, qos, .. } = event {
            let Some(running) = self.directory.find(space) else { return };
            let route = routes::matching(&running.space, topic.clone(), topic.as_str(), catalog);
            routes::deliver_on_this_node(&self.lanes, &route, payload, *qos);
            return;
        }
        self.directory.notify(event, || match event {
            Event::CredentialRemoved { owner: Owner::Device(id), .. } => {
                let device = catalog.device(id.as_str())?;
                Some(SpaceId::Registry(device.registry_id.clone()))
            }
            Event::CredentialRemoved { owner: Owner::Registry(id), .. } => {
                Some(SpaceId::Registry(id.clone()))
            }
            Event::CredentialRemoved { owner: Owner::Broker(id), .. } => Some(SpaceId::Broker(id.clone())),
            _ => None,
        });
    }
}
