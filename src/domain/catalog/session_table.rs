//! The table of sessions, the epochs that they live in, and what is derived from them.
//!
//! Every node holds the sessions of all nodes, so memory counts here. The indices hold hashes instead of texts; whoever
//! looks something up compares with the session itself. The hash may differ between versions of the server, so nothing
//! that others see may depend on the order in which it sorts.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::domain::principal::{Principal, SpaceId};
use crate::domain::session::{Session, SessionId};

/// All sessions of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sessions {
    /// Of each node that serves. All sessions of the node were opened in it.
    epochs: OrdMap<u32, u64>,
    table: OrdMap<SessionId, Arc<Session>>,
    /// By hash of the space, then of the entity, then of the client identifier.
    by_owner: OrdSet<(u32, u32, u32, SessionId)>,
    counts_by_space: OrdMap<SpaceId, u64>,
    counts_by_node: OrdMap<u32, u64>,
}

const FIRST: SessionId = SessionId::first_of(0);
const LAST: SessionId = SessionId::last_of(u32::MAX);

impl Sessions {
    pub(super) fn epoch(&self, node: u32) -> Option<u64> {
        self.epochs.get(&node).copied()
    }

    pub(super) fn set_epoch(&mut self, node: u32, epoch: Option<u64>) {
        match epoch {
            Some(epoch) => self.epochs.insert(node, epoch),
            None => self.epochs.remove(&node),
        };
    }

    /// The nodes that serve with their epochs, in order of the node.
    pub(super) fn epochs(&self) -> impl Iterator<Item = (u32, u64)> {
        self.epochs.iter().map(|(node, epoch)| (*node, *epoch))
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Arc<Session>> {
        self.table.get(&id)
    }

    /// All sessions in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.table.values()
    }

    /// The sessions from `first` to `last` in order.
    pub(super) fn range(&self, first: SessionId, last: SessionId) -> impl Iterator<Item = &Arc<Session>> {
        self.table.range(first..=last).map(|(_, session)| session)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The session of a device with a client identifier that is not empty: there is at most one. Registries and brokers
    /// may have several (U-M6).
    pub(super) fn of_client(&self, principal: &Principal, client_id: &str) -> Option<SessionId> {
        if client_id.is_empty() || principal.device().is_none() {
            return None;
        }
        let (space, entity) = (hash(&principal.space()), hash(principal.id()));
        let client = hash(client_id);
        let same_hash = self.by_owner.range((space, entity, client, FIRST)..=(space, entity, client, LAST));
        same_hash.map(|(.., id)| *id).find(|id| {
            self.table
                .get(id)
                .is_some_and(|session| session.client_id == client_id && session.principal == *principal)
        })
    }

    /// The sessions of one registry, device or broker itself, in order.
    pub(super) fn of_entity(&self, principal: &Principal) -> Vec<SessionId> {
        let (space, entity) = (hash(&principal.space()), hash(principal.id()));
        let same_hash = self.by_owner.range((space, entity, 0, FIRST)..=(space, entity, u32::MAX, LAST));
        self.sorted(same_hash.map(|(.., id)| *id), |found| found == principal)
    }

    /// The sessions in a space, in order. Takes a number of steps in the order of their number.
    pub(super) fn of_space(&self, space: &SpaceId) -> Vec<SessionId> {
        let hash = hash(space);
        let same_hash = self.by_owner.range((hash, 0, 0, FIRST)..=(hash, u32::MAX, u32::MAX, LAST));
        self.sorted(same_hash.map(|(.., id)| *id), |found| found.space() == *space)
    }

    /// The sessions of principals that pass `check`, in order.
    fn sorted(
        &self,
        ids: impl Iterator<Item = SessionId>,
        check: impl Fn(&Principal) -> bool,
    ) -> Vec<SessionId> {
        let passes = |id: &SessionId| self.table.get(id).is_some_and(|session| check(&session.principal));
        let mut found: Vec<SessionId> = ids.filter(passes).collect();
        found.sort_unstable();
        found
    }

    /// The sessions of a node in order.
    pub(super) fn of_node(&self, node: u32) -> Vec<SessionId> {
        self.range(SessionId::first_of(node), SessionId::last_of(node)).map(|session| session.id).collect()
    }

    pub(super) fn count_of_space(&self, space: &SpaceId) -> u64 {
        self.counts_by_space.get(space).copied().unwrap_or_default()
    }

    /// The spaces behind `after` that have sessions, in order, with the count of each.
    pub(super) fn spaces(&self, after: Option<&SpaceId>) -> impl Iterator<Item = (&SpaceId, u64)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.counts_by_space
            .range::<_, SpaceId>((start, Bound::Unbounded))
            .map(|(space, count)| (space, *count))
    }

    pub(super) fn count_of_node(&self, node: u32) -> u64 {
        self.counts_by_node.get(&node).copied().unwrap_or_default()
    }

    /// Adds a session whose identifier is free.
    pub(super) fn insert(&mut self, session: Arc<Session>) {
        let id = session.id;
        self.by_owner.insert(owner_key(&session));
        *self.counts_by_space.entry(session.principal.space()).or_insert(0) += 1;
        *self.counts_by_node.entry(id.node).or_insert(0) += 1;
        self.table.insert(id, session);
    }

    /// Puts a session in place of its former self, which differs in its subscriptions at most.
    pub(super) fn update(&mut self, session: Arc<Session>) {
        self.table.insert(session.id, session);
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Arc<Session>> {
        let session = self.table.remove(&id)?;
        self.by_owner.remove(&owner_key(&session));
        count_down(&mut self.counts_by_space, session.principal.space());
        count_down(&mut self.counts_by_node, id.node);
        Some(session)
    }
}

fn count_down<Key: Ord + Clone>(counts: &mut OrdMap<Key, u64>, key: Key) {
    match counts.get(&key).copied() {
        Some(count) if count > 1 => counts.insert(key, count - 1),
        _ => counts.remove(&key),
    };
}

fn owner_key(session: &Session) -> (u32, u32, u32, SessionId) {
    let principal = &session.principal;
    (hash(&principal.space()), hash(principal.id()), hash(session.client_id.as_str()), session.id)
}

fn hash(value: &(impl Hash + ?Sized)) -> u32 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    (hasher.finish() >> 32) as u32
}
