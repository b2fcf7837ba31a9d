//! Sessions through the handle: how the connections of this node enter them into the catalog, and who asks about them.
//!
//! Commands about sessions are essential: they may use half of the disk's reserve, so that the clients that a node has
//! come and go while changes of the catalog are refused.

use std::sync::Arc;

use super::catalog::{CatalogHandle, unexpected};
use super::error::StoreError;
use crate::domain::catalog::{
    ChangeSubscriptions, CloseSession, Command, OpenSession, Outcome, Page, PageRequest, SessionFilter,
};
use crate::domain::session::{Session, SessionId};
use crate::mqtt::packet::subscribe::SubackCode;

/// A session that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedSession {
    /// Index of the command in the log. If a session was replaced, the new one may be used when this is in effect on all
    /// nodes.
    pub index: u64,
    /// The older session of the same device and client identifier, which ended.
    pub replaced: Option<SessionId>,
}

/// Subscriptions that were changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedSubscriptions {
    /// Index of the command in the log. The change may be confirmed when this is in effect on all nodes.
    pub index: u64,
    /// For each filter that was to be added, in their order.
    pub codes: Vec<SubackCode>,
}

impl CatalogHandle {
    /// Proposes to open a session without waiting. `on_done` is called as that of [`Self::set_permanent_async`]; errors
    /// that say that the session may have been opened oblige the caller to close it.
    pub fn open_session_async(
        &self,
        session: OpenSession,
        on_done: impl FnOnce(Result<OpenedSession, StoreError>) + Send + 'static,
    ) {
        self.submit_essential(&Command::OpenSession(session), |result| {
            on_done(result.and_then(|outcome| match outcome {
                Outcome::SessionOpened { index, replaced } => Ok(OpenedSession { index, replaced }),
                outcome => Err(unexpected(&outcome)),
            }));
        });
    }

    /// Proposes to change the subscriptions of a session without waiting. `on_done` is called as that of
    /// [`Self::set_permanent_async`].
    pub fn change_subscriptions_async(
        &self,
        change: ChangeSubscriptions,
        on_done: impl FnOnce(Result<ChangedSubscriptions, StoreError>) + Send + 'static,
    ) {
        self.submit_essential(&Command::ChangeSubscriptions(change), |result| {
            on_done(result.and_then(|outcome| match outcome {
                Outcome::SubscriptionsChanged { index, codes } => Ok(ChangedSubscriptions { index, codes }),
                outcome => Err(unexpected(&outcome)),
            }));
        });
    }

    /// Proposes to end a session without waiting. `on_done` is called as that of [`Self::set_permanent_async`]; after an
    /// error the caller tries again, unless the epoch of its node has ended.
    pub fn close_session_async(
        &self,
        session: CloseSession,
        on_done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        self.submit_essential(&Command::CloseSession(session), |result| on_done(result.map(|_| ())));
    }

    fn submit_essential(
        &self,
        command: &Command,
        on_done: impl FnOnce(Result<Outcome, StoreError>) + Send + 'static,
    ) {
        let command = self.encode(command);
        self.proposer().try_submit_essential(command, move |response| {
            on_done(match response {
                Ok(result) => result.map_err(StoreError::from),
                Err(error) => Err(error.into()),
            });
        });
    }

    /// The session with this identifier, while it lasts.
    pub fn session(&self, id: SessionId) -> Option<Arc<Session>> {
        self.read(|catalog| catalog.session(id).cloned())
    }

    /// A page of the sessions that `filter` selects, in order of their identifiers. Works on a view, so it holds nobody
    /// up, but may take a while for a large space.
    pub fn sessions(&self, filter: &SessionFilter, page: &PageRequest) -> Page<Arc<Session>> {
        self.view().sessions(filter, page)
    }

    /// How many sessions a node has, by its Raft identifier.
    pub fn sessions_of_node_count(&self, node: u32) -> u64 {
        self.read(|catalog| catalog.sessions_of_node_count(node))
    }
}
