//! The topic spaces in use on this node, and the registry actors that run for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::prelude::{Actor, Addr};
use actix_rt::ArbiterHandle;
use parking_lot::RwLock;

use super::environment::Environment;
use super::own_node::OwnNode;
use super::registry::RegistryActor;
use super::space::Space;
use crate::domain::principal::SpaceId;

/// A topic space and its actor.
#[derive(Clone)]
pub struct RunningRegistry {
    /// The shared part.
    pub space: Arc<Space>,
    /// The actor.
    pub address: Addr<RegistryActor>,
}

/// The spaces, and who runs for which. Spaces are made when they are first used, by a session on any node, and stay: one
/// without sessions costs about a kilobyte. They do not depend on their actors: an actor that ends by a defect takes no
/// subscription with it, and its successor goes on with the same space.
pub struct Directory {
    own_node: OwnNode,
    /// Index of the last entry that ended a session whose connection may still be there.
    last_end: AtomicU64,
    spaces: RwLock<HashMap<SpaceId, Arc<Space>>>,
    actors: RwLock<HashMap<SpaceId, Addr<RegistryActor>>>,
    arbiters: Vec<ArbiterHandle>,
}

impl Directory {
    /// An empty directory of node `own_node` that starts registry actors on `arbiters`, at least one, spread by the id of
    /// the space.
    pub fn new(own_node: OwnNode, arbiters: Vec<ArbiterHandle>) -> Self {
        Self {
            own_node,
            last_end: AtomicU64::new(0),
            spaces: RwLock::default(),
            actors: RwLock::default(),
            arbiters,
        }
    }

    /// Which node this is.
    pub fn own_node(&self) -> &OwnNode {
        &self.own_node
    }

    /// An entry has ended a session against the will of its connection. For the observer only.
    pub fn note_end(&self, index: u64) {
        self.last_end.fetch_max(index, Ordering::AcqRel);
    }

    /// The last entry that did so, of those that are applied here; 0 if none.
    pub fn last_end(&self) -> u64 {
        self.last_end.load(Ordering::Acquire)
    }

    /// The space with this id, made if it is not in use yet.
    pub fn space(&self, id: &SpaceId) -> Arc<Space> {
        if let Some(space) = self.find(id) {
            return space;
        }
        let mut spaces = self.spaces.write();
        let made = || Arc::new(Space::new(id.clone(), self.own_node.clone()));
        Arc::clone(spaces.entry(id.clone()).or_insert_with(made))
    }

    /// The space with this id, if it is in use.
    pub fn find(&self, id: &SpaceId) -> Option<Arc<Space>> {
        self.spaces.read().get(id).cloned()
    }

    /// All spaces in use.
    pub fn spaces(&self) -> Vec<Arc<Space>> {
        self.spaces.read().values().cloned().collect()
    }

    /// The registry actor of a space, started if it does not run (any more).
    pub fn registry_of(&self, id: &SpaceId, environment: &Arc<Environment>) -> RunningRegistry {
        let space = self.space(id);
        if let Some(address) = self.running(id) {
            return RunningRegistry { space, address };
        }
        let mut actors = self.actors.write();
        if let Some(address) = actors.get(id).filter(|known| known.connected()) {
            return RunningRegistry { space, address: address.clone() };
        }
        let actor = RegistryActor::new(Arc::clone(&space), Arc::clone(environment));
        let arbiter = &self.arbiters[spread(id) % self.arbiters.len()];
        let address = RegistryActor::start_in_arbiter(arbiter, move |_| actor);
        actors.insert(id.clone(), address.clone());
        RunningRegistry { space, address }
    }

    /// The registry actor of a space, if it runs.
    pub fn running(&self, id: &SpaceId) -> Option<Addr<RegistryActor>> {
        self.actors.read().get(id).filter(|known| known.connected()).cloned()
    }
}

/// A number that spreads spaces over arbiters: FNV-1a of the id.
fn spread(id: &SpaceId) -> usize {
    let hash = id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash >> 33).unwrap_or(0)
}
