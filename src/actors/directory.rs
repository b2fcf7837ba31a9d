//! The table of running registry actors, one per topic space in use on this node.

use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::{Actor, Addr};
use actix_rt::ArbiterHandle;
use parking_lot::RwLock;

use super::environment::Environment;
use super::post::post_always;
use super::registry::{CatalogEvent, RegistryActor};
use super::space::Space;
use crate::domain::catalog::event::Event;
use crate::domain::id::RegistryId;
use crate::domain::principal::SpaceId;

/// A topic space and its actor.
#[derive(Clone)]
pub struct RunningRegistry {
    /// The shared part.
    pub space: Arc<Space>,
    /// The actor.
    pub address: Addr<RegistryActor>,
}

/// Who runs for which space. Entries are made when a space is first used and stay: a space without sessions costs
/// about a kilobyte.
pub struct Directory {
    running: RwLock<HashMap<SpaceId, RunningRegistry>>,
    arbiters: Vec<ArbiterHandle>,
}

impl Directory {
    /// An empty directory that starts registry actors on `arbiters`, at least one, spread by the id of the space.
    pub fn new(arbiters: Vec<ArbiterHandle>) -> Self {
        Self { running: RwLock::new(HashMap::new()), arbiters }
    }

    /// The registry actor of a space, started if it does not run (any more).
    pub fn registry_of(&self, id: &SpaceId, environment: &Arc<Environment>) -> RunningRegistry {
        if let Some(running) = self.find(id) {
            return running;
        }
        let mut running = self.running.write();
        if let Some(known) = running.get(id).filter(|known| known.address.connected()) {
            return known.clone();
        }
        // A successor gets a space of its own: sessions of the old one are being closed.
        let space = Arc::new(Space::new(id.clone()));
        let actor = RegistryActor::new(Arc::clone(&space), Arc::clone(environment));
        let arbiter = &self.arbiters[spread(id) % self.arbiters.len()];
        let address = RegistryActor::start_in_arbiter(arbiter, move |_| actor);
        let started = RunningRegistry { space, address };
        running.insert(id.clone(), started.clone());
        started
    }

    /// The registry actor of a space, if it runs.
    pub fn find(&self, id: &SpaceId) -> Option<RunningRegistry> {
        self.running.read().get(id).filter(|known| known.address.connected()).cloned()
    }

    /// All that run.
    pub fn all(&self) -> Vec<RunningRegistry> {
        self.running.read().values().cloned().collect()
    }

    /// Passes on what was applied to the catalog, to the actor of the space that it concerns.
    pub fn notify(&self, event: &Event, registry_of_owner: impl FnOnce() -> Option<SpaceId>) {
        let space = match event {
            Event::NamesChanged { registry } => {
                if let Some(running) = self.find(&SpaceId::Registry(registry.clone())) {
                    running.space.names_changed();
                }
                return;
            }
            Event::RegistryDisabled { id } => Some(of_registry(id)),
            Event::EntityDeleted { principal } => Some(principal.space()),
            Event::CredentialRemoved { .. } => registry_of_owner(),
            Event::SpaceCreated { .. }
            | Event::PermanentSet { .. }
            | Event::SessionOpened { .. }
            | Event::SubscriptionsChanged { .. }
            | Event::SessionClosed { .. }
            | Event::MonitoringChanged { .. } => None,
        };
        if let Some(running) = space.and_then(|space| self.find(&space)) {
            post_always(&running.address, CatalogEvent(event.clone()));
        }
    }
}

fn of_registry(id: &RegistryId) -> SpaceId {
    SpaceId::Registry(id.clone())
}

/// A number that spreads spaces over arbiters: FNV-1a of the id.
fn spread(id: &SpaceId) -> usize {
    let hash = id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash >> 33).unwrap_or(0)
}
