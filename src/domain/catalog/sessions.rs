//! Sessions: how they begin, change and end.

use std::collections::HashMap;
use std::sync::Arc;

use smol_str::SmolStr;

use super::command::{ChangeSubscriptions, CloseSession, OpenSession};
use super::entity::{Owner, Resource};
use super::event::{Event, Outcome};
use super::rejection::{Limit, Rejection};
use super::state::Catalog;
use crate::domain::admission::admitted;
use crate::domain::credential::CredentialReference;
use crate::domain::principal::{Principal, SpaceId};
use crate::domain::session::{CloseCause, Session, SessionId, Subscriptions};
use crate::mqtt::packet::subscribe::SubackCode;
use crate::mqtt::qos::QoS;

/// Most bytes of all topic filters of one session. A limit of the storage's format, far above what the limits of
/// filters per session and of characters per filter allow by default; beyond it filters are refused.
pub const SUBSCRIPTION_BYTES_MAX: usize = 512 * 1024;

impl Catalog {
    /// A node begins an epoch, or serves no longer: sessions of its other epochs end. `index` is the position in the log
    /// of what says so.
    pub fn node_changed(&mut self, index: u64, node: u32, epoch: Option<u64>, events: &mut Vec<Event>) {
        self.applied_index = index;
        self.sessions.set_epoch(node, epoch);
        for id in self.sessions.of_node(node) {
            if self.sessions.get(id).is_some_and(|session| Some(session.epoch) != epoch) {
                self.end_session(id, CloseCause::NodeGone, events);
            }
        }
    }

    pub(super) fn open_session(
        &mut self,
        index: u64,
        input: OpenSession,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, Rejection> {
        let OpenSession { id, epoch, principal, client_id, credential, peer, at } = input;
        self.check_epoch(id, epoch)?;
        admitted(self, &principal, &credential)?;
        // A node that uses a place again has ended the session before; if it could not say so, this does.
        self.end_session(id, CloseCause::Closed, events);
        self.check_clients(&principal)?;
        let replaced = self.sessions.of_client(&principal, &client_id);
        if let Some(older) = replaced {
            self.end_session(older, CloseCause::TakenOver { by: id }, events);
        }
        let subscriptions = Subscriptions::default();
        let session =
            Session { id, epoch, principal, client_id, credential, peer, opened_at: at, subscriptions };
        let session = Arc::new(session);
        self.sessions.insert(Arc::clone(&session));
        events.push(Event::SessionOpened { session });
        Ok(Outcome::SessionOpened { index, replaced })
    }

    fn check_clients(&self, principal: &Principal) -> Result<(), Rejection> {
        let (Principal::Broker(_), Some(max)) = (principal, self.limits.clients_per_broker_max) else {
            return Ok(());
        };
        match self.sessions.count_of_space(&principal.space()) < max {
            true => Ok(()),
            false => Err(Rejection::TooMany { limit: Limit::ClientsPerBroker, max }),
        }
    }

    pub(super) fn close_session(&mut self, input: &CloseSession, events: &mut Vec<Event>) {
        if self.sessions.get(input.id).is_some_and(|session| session.epoch == input.epoch) {
            self.end_session(input.id, CloseCause::Closed, events);
        }
    }

    pub(super) fn change_subscriptions(
        &mut self,
        index: u64,
        input: &ChangeSubscriptions,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, Rejection> {
        let session = self.sessions.get(input.id).filter(|session| session.epoch == input.epoch);
        let before = Arc::clone(session.ok_or(Rejection::SessionOver { id: input.id })?);
        let mut edit = Edit::new(&before.subscriptions);
        for filter in &input.removed {
            edit.remove(filter);
        }
        let max = usize::try_from(input.subscriptions_max).unwrap_or(usize::MAX);
        let codes = input.added.iter().map(|(filter, qos)| edit.add(filter, *qos, max)).collect();
        let Edit { list, added, removed, .. } = edit;
        if !added.is_empty() || !removed.is_empty() {
            let list = list.into_iter().flatten();
            let subscriptions = Subscriptions::new(list).expect("filters with U+0000 were refused");
            let session = Arc::new(Session { subscriptions, ..Session::clone(&before) });
            self.sessions.update(Arc::clone(&session));
            events.push(Event::SubscriptionsChanged { session, added, removed });
        }
        Ok(Outcome::SubscriptionsChanged { index, codes })
    }

    /// Ends the sessions of an entity itself.
    pub(super) fn end_sessions_of(&mut self, principal: &Principal, events: &mut Vec<Event>) {
        for id in self.sessions.of_entity(principal) {
            self.end_session(id, CloseCause::Revoked, events);
        }
    }

    /// Ends the sessions in a space: of a registry and of its devices.
    pub(super) fn end_sessions_of_space(&mut self, space: &SpaceId, events: &mut Vec<Event>) {
        for id in self.sessions.of_space(space) {
            self.end_session(id, CloseCause::Revoked, events);
        }
    }

    /// Ends the sessions that logged in with a credential of a living entity.
    pub(super) fn end_sessions_of_credential(
        &mut self,
        owner: &Owner,
        credential: &CredentialReference,
        events: &mut Vec<Event>,
    ) {
        let Some(principal) = self.principal(owner.id()) else { return };
        for id in self.sessions.of_entity(&principal) {
            if self.sessions.get(id).is_some_and(|session| session.credential == *credential) {
                self.end_session(id, CloseCause::Revoked, events);
            }
        }
    }

    /// Puts back an epoch of a snapshot.
    pub(super) fn insert_epoch(&mut self, node: u32, epoch: u64) -> Result<(), Rejection> {
        if self.sessions.epoch(node).is_some() {
            return Err(Rejection::EpochOver { node });
        }
        self.sessions.set_epoch(node, Some(epoch));
        Ok(())
    }

    /// Puts back a session of a snapshot.
    pub(super) fn insert_session(&mut self, session: Arc<Session>) -> Result<(), Rejection> {
        self.check_epoch(session.id, session.epoch)?;
        admitted(self, &session.principal, &session.credential)?;
        let is_new = self.sessions.get(session.id).is_none()
            && self.sessions.of_client(&session.principal, &session.client_id).is_none();
        if !is_new {
            let id = SmolStr::new(session.id.to_string());
            return Err(Rejection::IdTaken { resource: Resource::Session, id });
        }
        self.sessions.insert(session);
        Ok(())
    }

    fn check_epoch(&self, id: SessionId, epoch: u64) -> Result<(), Rejection> {
        if self.sessions.epoch(id.node) == Some(epoch) {
            Ok(())
        } else {
            Err(Rejection::EpochOver { node: id.node })
        }
    }

    fn end_session(&mut self, id: SessionId, cause: CloseCause, events: &mut Vec<Event>) {
        if let Some(session) = self.sessions.remove(id) {
            events.push(Event::SessionClosed { session, cause });
        }
    }
}

/// The subscriptions of one session while a command changes them.
struct Edit<'a> {
    /// In order; what was removed leaves a gap.
    list: Vec<Option<(&'a str, QoS)>>,
    places: HashMap<&'a str, Place>,
    bytes: usize,
    added: Vec<(SmolStr, QoS)>,
    removed: Vec<(SmolStr, QoS)>,
}

/// Where a filter is.
#[derive(Clone, Copy)]
struct Place {
    in_list: usize,
    /// If this command has added it.
    in_added: Option<usize>,
}

impl<'a> Edit<'a> {
    fn new(subscriptions: &'a Subscriptions) -> Self {
        let list: Vec<_> = subscriptions.iter().map(Some).collect();
        let filters = list.iter().flatten().map(|(filter, _)| *filter).enumerate();
        let places: HashMap<_, _> =
            filters.map(|(in_list, filter)| (filter, Place { in_list, in_added: None })).collect();
        let bytes = places.keys().map(|filter| filter.len()).sum();
        Self { list, places, bytes, added: Vec::new(), removed: Vec::new() }
    }

    fn remove(&mut self, filter: &str) {
        let place = self.places.remove(filter);
        if let Some((filter, qos)) = place.and_then(|place| self.list[place.in_list].take()) {
            self.bytes -= filter.len();
            self.removed.push((SmolStr::new(filter), qos));
        }
    }

    fn add(&mut self, filter: &'a SmolStr, qos: QoS, max: usize) -> SubackCode {
        let qos = qos.min(QoS::AtLeastOnce);
        let in_list = match self.places.get(filter.as_str()).copied() {
            Some(Place { in_list, in_added: Some(in_added) }) => {
                self.list[in_list] = Some((filter, qos));
                self.added[in_added].1 = qos;
                return SubackCode::Granted(qos);
            }
            Some(Place { in_list, in_added: None }) => {
                let before = self.list[in_list].replace((filter, qos));
                self.removed.extend(before.map(|(filter, qos)| (SmolStr::new(filter), qos)));
                in_list
            }
            None => {
                let has_room = self.places.len() < max && self.bytes + filter.len() <= SUBSCRIPTION_BYTES_MAX;
                if !has_room || filter.contains('\0') {
                    return SubackCode::Failure;
                }
                self.bytes += filter.len();
                self.list.push(Some((filter, qos)));
                self.list.len() - 1
            }
        };
        self.places.insert(filter, Place { in_list, in_added: Some(self.added.len()) });
        self.added.push((filter.clone(), qos));
        SubackCode::Granted(qos)
    }
}
