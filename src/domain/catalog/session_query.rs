//! What can be asked about sessions.

use std::sync::Arc;

use smol_str::SmolStr;

use super::page::{Page, PageRequest, PageToken};
use super::state::Catalog;
use crate::domain::principal::{Principal, SpaceId};
use crate::domain::session::{Session, SessionId};
use crate::domain::timestamp::Timestamp;

/// Which sessions to list. What is absent selects all; what is given must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionFilter {
    /// Those of a registry and its devices, or of a broker.
    pub space: Option<SpaceId>,
    /// Those of one registry, device or broker itself, by its id.
    pub entity: Option<SmolStr>,
    /// Those on one node, by its Raft identifier.
    pub node: Option<u32>,
    /// Those whose client identifier begins so.
    pub client_id_prefix: SmolStr,
}

impl SessionFilter {
    fn selects(&self, session: &Session) -> bool {
        self.space.as_ref().is_none_or(|space| session.principal.space() == *space)
            && self.entity.as_ref().is_none_or(|entity| session.principal.id() == entity)
            && self.node.is_none_or(|node| session.id.node == node)
            && session.client_id.starts_with(self.client_id_prefix.as_str())
    }
}

impl Catalog {
    /// The session with this identifier, while it lasts.
    pub fn session(&self, id: SessionId) -> Option<&Arc<Session>> {
        self.sessions.get(id)
    }

    /// The session that a new one of this identity with this client identifier would end (U-M6).
    pub fn session_of_client(&self, principal: &Principal, client_id: &str) -> Option<&Arc<Session>> {
        self.sessions.get(self.sessions.of_client(principal, client_id)?)
    }

    /// All sessions, in order of their identifiers.
    pub fn all_sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions.iter()
    }

    /// The sessions that `filter` selects, in order of their identifiers. Takes a number of steps in the order of the
    /// sessions of the entity, else of the space, else of the node that is asked for, so do this on a view.
    pub fn sessions(&self, filter: &SessionFilter, page: &PageRequest) -> Page<Arc<Session>> {
        let after = page.after.as_ref().and_then(|token| SessionId::parse(&token.id));
        let is_later = |id: SessionId| after.is_none_or(|after| id > after);
        match (&filter.entity, &filter.space) {
            (Some(entity), _) => {
                let ids = self.principal(entity).map(|principal| self.sessions.of_entity(&principal));
                self.collect_sessions(ids.unwrap_or_default(), is_later, filter, page.size)
            }
            (None, Some(space)) => {
                self.collect_sessions(self.sessions.of_space(space), is_later, filter, page.size)
            }
            (None, None) => {
                let first = SessionId::first_of(filter.node.unwrap_or(0));
                let last = SessionId::last_of(filter.node.unwrap_or(u32::MAX));
                let first = after.map_or(first, |after| after.max(first));
                if first > last {
                    return Page { items: Vec::new(), next: None };
                }
                let sessions = self.sessions.range(first, last).filter(|session| is_later(session.id));
                collect_page(sessions.filter(|session| filter.selects(session)), page.size)
            }
        }
    }

    fn collect_sessions(
        &self,
        ids: Vec<SessionId>,
        is_later: impl Fn(SessionId) -> bool,
        filter: &SessionFilter,
        size: usize,
    ) -> Page<Arc<Session>> {
        let later = ids.into_iter().filter(|id| is_later(*id));
        let sessions = later.filter_map(|id| self.sessions.get(id));
        collect_page(sessions.filter(|session| filter.selects(session)), size)
    }

    /// How many sessions there are in the cluster.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many sessions a registry with its devices has, or a broker.
    pub fn sessions_of_space_count(&self, space: &SpaceId) -> u64 {
        self.sessions.count_of_space(space)
    }

    /// Up to `size` spaces behind `after` that have sessions, in order, with how many.
    pub fn spaces_with_sessions(&self, after: Option<&SpaceId>, size: usize) -> Vec<(SpaceId, u64)> {
        self.sessions.spaces(after).take(size).map(|(space, count)| (space.clone(), count)).collect()
    }

    /// How many sessions a node has.
    pub fn sessions_of_node_count(&self, node: u32) -> u64 {
        self.sessions.count_of_node(node)
    }

    /// The epoch of a node, while it serves.
    pub fn epoch_of_node(&self, node: u32) -> Option<u64> {
        self.sessions.epoch(node)
    }

    /// The nodes that serve with their epochs, in order of the node.
    pub fn epochs(&self) -> impl Iterator<Item = (u32, u64)> {
        self.sessions.epochs()
    }
}

fn collect_page<'a>(mut sessions: impl Iterator<Item = &'a Arc<Session>>, size: usize) -> Page<Arc<Session>> {
    let items: Vec<Arc<Session>> = sessions.by_ref().take(size).cloned().collect();
    let more = sessions.next().is_some();
    let last = items.last().filter(|_| more);
    let next = last.map(|session| PageToken::new(Timestamp::default(), &session.id.to_string()));
    Page { items, next }
}
