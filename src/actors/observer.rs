//! What happens on this node when a command has been applied to the catalog, wherever it came from.
//!
//! Called under the catalog's write lock, in the order of the log. That is what makes a stored message reach a
//! subscriber exactly once (see `registry::subscriptions`).
//!
//! The observer is the only writer of the subscription indices. What stands in an index is not kept a second time: the
//! patterns of a subscription are computed from its principal, its filter and the options of this process when it comes
//! and again when it goes. These three never change while it lasts, and nothing else has a part in it
//! ([`resolve::granted`]), so both times give the same. Nodes with different options differ in the permanent kinds of
//! wildcards at most, and messages of these are never sent from node to node.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rookery_cluster::Effects;

use super::close::CloseReason;
use super::directory::Directory;
use super::lane::{Control, Lanes};
use super::post::post_always;
use super::registry::{DeviceDeleted, MonitoringStored};
use super::routes;
use super::slot::Slot;
use super::space::Space;
use crate::domain::catalog::Catalog;
use crate::domain::catalog::event::Event;
use crate::domain::interest::Interest;
use crate::domain::principal::{Principal, SpaceId};
use crate::domain::resolve::{self, TopicOptions};
use crate::domain::session::{CloseCause, Session, SessionId};
use crate::mqtt::qos::QoS;
use crate::store::replica::ApplyObserver;

/// Keeps the indices, delivers permanent messages to the sessions of this node, and closes its connections whose session
/// has ended.
pub struct Observer {
    /// The lanes.
    pub lanes: Lanes,
    /// The spaces.
    pub directory: Arc<Directory>,
    /// Holds an entry back until the connections that it ends are closed.
    pub effects: Arc<Effects>,
    /// Switches of the topic rules.
    pub topics: TopicOptions,
}

impl ApplyObserver for Observer {
    fn applied(&self, catalog: &Catalog, index: u64, event: &Event) {
        match event {
            Event::PermanentSet { space, topic, payload, qos, .. } => {
                let Some(space) = self.directory.find(space) else { return };
                let route = routes::matching(&space, topic.clone(), topic.as_str(), catalog);
                routes::deliver_on_this_node(&self.lanes, &route, payload, *qos);
            }
            Event::NamesChanged { registry } => {
                if let Some(space) = self.directory.find(&SpaceId::Registry(registry.clone())) {
                    space.names_changed();
                }
            }
            Event::SubscriptionsChanged { session, added, removed } => {
                let space = self.directory.space(&session.principal.space());
                let gone: Vec<Interest> = removed
                    .iter()
                    .filter_map(|(filter, _)| self.interest(&session.principal, filter))
                    .collect();
                let new: Vec<(Interest, QoS)> = added
                    .iter()
                    .filter_map(|(filter, qos)| Some((self.interest(&session.principal, filter)?, *qos)))
                    .collect();
                space.change(session.id, &gone, &new);
                if self.is_own(session.id) {
                    space.has_changed(session.id, catalog);
                }
            }
            Event::SessionClosed { session, cause } => self.session_closed(index, session, *cause),
            Event::EntityDeleted { principal } => {
                if let Some(device) = principal.device()
                    && let Some(registry) = self.directory.running(&principal.space())
                {
                    post_always(&registry, DeviceDeleted(device.clone()));
                }
            }
            Event::MonitoringChanged { registry, device } => {
                let id = SpaceId::Registry(registry.clone());
                if let Some(space) = self.directory.find(&id).filter(|space| space.retells())
                    && let Some(actor) = self.directory.running(&space.id)
                {
                    post_always(&actor, MonitoringStored(device.clone()));
                }
            }
            Event::SessionOpened { .. }
            | Event::SpaceCreated { .. }
            | Event::CredentialRemoved { .. }
            | Event::RegistryDisabled { .. } => {}
        }
    }

    fn restored(&self, catalog: &Catalog) {
        self.directory.note_end(catalog.applied_index());
        self.rebuild(catalog);
        self.close_what_has_ended(catalog);
    }
}

impl Observer {
    fn interest(&self, principal: &Principal, filter: &str) -> Option<Interest> {
        resolve::granted(principal, filter, self.topics)
    }

    fn is_own(&self, session: SessionId) -> bool {
        Some(session.node) == self.directory.own_node().get()
    }

    fn session_closed(&self, index: u64, session: &Session, cause: CloseCause) {
        if !session.subscriptions.is_empty()
            && let Some(space) = self.directory.find(&session.principal.space())
        {
            let interests = session.subscriptions.iter();
            let gone: Vec<Interest> =
                interests.filter_map(|(filter, _)| self.interest(&session.principal, filter)).collect();
            space.change(session.id, &gone, &[]);
        }
        if cause != CloseCause::Closed {
            self.directory.note_end(index);
        }
        let reason = match cause {
            // The connection has ended: that is why the session did.
            CloseCause::Closed => return,
            CloseCause::TakenOver { .. } => CloseReason::TakenOver,
            CloseCause::Revoked => CloseReason::CredentialsRevoked,
            CloseCause::NodeGone => CloseReason::NodeGone,
        };
        // A session of an earlier process of this node may name a lane that this one does not have.
        if self.is_own(session.id)
            && let Some(lane) = self.lanes.get(usize::from(session.id.lane))
        {
            let target = Slot::from(session.id).into();
            let guard = self.effects.hold(index);
            lane.control(Control::End { target, epoch: session.epoch, reason, guard });
        }
    }

    /// Makes all indices anew.
    fn rebuild(&self, catalog: &Catalog) {
        let mut by_space: HashMap<SpaceId, Vec<(SessionId, Interest, QoS)>> = HashMap::new();
        for session in catalog.all_sessions().filter(|session| !session.subscriptions.is_empty()) {
            let subscriptions = by_space.entry(session.principal.space()).or_default();
            subscriptions.extend(session.subscriptions.iter().filter_map(|(filter, qos)| {
                Some((session.id, self.interest(&session.principal, filter)?, qos))
            }));
        }
        let unused: Vec<Arc<Space>> =
            self.directory.spaces().into_iter().filter(|space| !by_space.contains_key(&space.id)).collect();
        for space in unused {
            space.replace(std::iter::empty());
        }
        for (id, subscriptions) in by_space {
            self.directory.space(&id).replace(subscriptions.into_iter());
        }
    }

    /// Closes connections of this node whose session is not in the new state. So it does with those whose session is
    /// and receives permanent messages: the entries that the snapshot stands for may have delivered some, which are lost
    /// to them, and a session gets everything while it lasts.
    fn close_what_has_ended(&self, catalog: &Catalog) {
        let Some(own_node) = self.directory.own_node().get() else { return };
        let is_kept = |session: &Session| {
            let mut interests = session.subscriptions.iter();
            !interests.any(|(filter, _)| {
                self.interest(&session.principal, filter).is_some_and(|interest| interest.covers_permanent())
            })
        };
        let own = catalog.all_sessions().filter(|session| session.id.node == own_node);
        let kept: BTreeMap<Slot, u64> = own
            .filter(|session| is_kept(session))
            .map(|session| (Slot::from(session.id), session.epoch))
            .collect();
        let kept = Arc::new(kept);
        // The snapshot stands for every entry behind the last one in effect here: none may count before this is done.
        let first = self.effects.effective() + 1;
        for lane in self.lanes.iter() {
            let guard = self.effects.hold(first);
            lane.control(Control::Keep { kept: Arc::clone(&kept), guard: Arc::new(guard) });
        }
    }
}
