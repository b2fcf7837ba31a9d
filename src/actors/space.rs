//! The shared part of a topic space on this node: the subscriptions of the whole cluster in it, and the epochs by which
//! cached routes are known to be current.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use super::own_node::OwnNode;
use super::traffic::Traffic;
use crate::clock;
use crate::domain::address::CanonicalTopic;
use crate::domain::catalog::Catalog;
use crate::domain::index::{Matches, SubscriptionIndex};
use crate::domain::interest::Interest;
use crate::domain::principal::SpaceId;
use crate::domain::rate::Rate;
use crate::domain::session::SessionId;
use crate::mqtt::qos::QoS;

/// What a cached route depends on. It is current while both numbers are unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epochs {
    /// Changes with every change of the subscription index.
    pub index: u64,
    /// Changes whenever a device or alias of the space comes, changes or goes.
    pub names: u64,
}

/// Longer than news wait before they are proposed to the catalog.
const RETOLD_S: u64 = 10;

/// The state of the catalog at the moment in which a change took effect; empty until then.
pub type Moment = Arc<OnceLock<Catalog>>;

/// A topic space on this node. The observer of the catalog is the only writer of its index, while entries are applied;
/// connections only read.
#[derive(Debug)]
pub struct Space {
    /// Whose space it is.
    pub id: SpaceId,
    /// What its clients on this node do.
    pub traffic: Arc<Traffic>,
    own_node: OwnNode,
    index: RwLock<SubscriptionIndex<SessionId>>,
    index_epoch: AtomicU64,
    names_epoch: AtomicU64,
    /// Subscriptions to monitoring topics, of the whole cluster.
    monitoring: AtomicUsize,
    /// Until when the news that the catalog stores are told again on this node, in seconds of the time of day.
    retold_until_s: AtomicU64,
    /// When its clients together may publish at full speed again, see [`Rate`].
    full_at_ns: AtomicU64,
    /// Sessions of this node that wait for a change of their subscriptions, and will be sent stored messages.
    moments: Mutex<HashMap<SessionId, Moment>>,
}

impl Space {
    /// A space without subscriptions, on the given node.
    pub fn new(id: SpaceId, own_node: OwnNode) -> Self {
        Self {
            id,
            traffic: Arc::default(),
            own_node,
            index: RwLock::new(SubscriptionIndex::default()),
            index_epoch: AtomicU64::new(0),
            names_epoch: AtomicU64::new(0),
            monitoring: AtomicUsize::new(0),
            retold_until_s: AtomicU64::new(0),
            full_at_ns: AtomicU64::new(0),
            moments: Mutex::default(),
        }
    }

    /// Whether one more message of its clients is within `rate`.
    pub fn admits(&self, rate: Rate, now_ns: u64) -> bool {
        let take = |full_at_ns| rate.admit(full_at_ns, now_ns);
        self.full_at_ns.try_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// The node that this is, if it is known.
    pub fn own_node(&self) -> Option<u32> {
        self.own_node.get()
    }

    /// The epochs now. A route computed after this call is at least as new as they say.
    pub fn epochs(&self) -> Epochs {
        Epochs {
            index: self.index_epoch.load(Ordering::Acquire),
            names: self.names_epoch.load(Ordering::Acquire),
        }
    }

    /// Changes the subscriptions of a session: first those that go, then those that come. For the observer only, which
    /// holds the catalog's lock; whoever holds that may call this, never the other way round.
    pub fn change(&self, session: SessionId, removed: &[Interest], added: &[(Interest, QoS)]) {
        // Every change makes all cached routes of the space stale: no client may cause that by asking for nothing.
        if removed.is_empty() && added.is_empty() {
            return;
        }
        let mut index = self.index.write();
        let mut monitoring = self.monitoring.load(Ordering::Relaxed);
        for interest in removed {
            let was_there = index.remove(interest, session);
            monitoring -= usize::from(was_there && interest.is_monitoring());
        }
        for (interest, granted) in added {
            let is_new = index.insert(interest, session, *granted);
            monitoring += usize::from(is_new && interest.is_monitoring());
        }
        self.monitoring.store(monitoring, Ordering::Relaxed);
        self.index_epoch.fetch_add(1, Ordering::Release);
    }

    /// Replaces all subscriptions, after the whole catalog was replaced. For the observer only.
    pub fn replace(&self, subscriptions: impl Iterator<Item = (SessionId, Interest, QoS)>) {
        let mut fresh = SubscriptionIndex::default();
        let mut monitoring = 0;
        for (session, interest, granted) in subscriptions {
            let is_new = fresh.insert(&interest, session, granted);
            monitoring += usize::from(is_new && interest.is_monitoring());
        }
        let mut index = self.index.write();
        let old = std::mem::replace(&mut *index, fresh);
        self.monitoring.store(monitoring, Ordering::Relaxed);
        self.index_epoch.fetch_add(1, Ordering::Release);
        self.names_changed();
        drop(index);
        drop(old);
    }

    /// The names of the space have changed; called while the change is applied to the catalog.
    pub fn names_changed(&self) {
        self.names_epoch.fetch_add(1, Ordering::Release);
    }

    /// Who subscribes to the topic, on any node, under which names.
    pub fn matches(&self, topic: &CanonicalTopic, aliases: &[(&str, &str)], found: &mut Matches<SessionId>) {
        self.index.read().matches(topic, aliases, found);
    }

    /// Subscriptions in the index, for metrics.
    pub fn subscriptions(&self) -> usize {
        self.index.read().len()
    }

    /// Whether anybody in the cluster subscribes to monitoring topics of the space.
    pub fn is_monitored(&self) -> bool {
        self.monitoring.load(Ordering::Relaxed) > 0
    }

    /// A session of this node has just subscribed to monitoring topics. What other nodes told before, and propose to the
    /// catalog only now and then, is told again for that long.
    pub fn retell(&self) {
        self.retold_until_s.store(clock::now().seconds() + RETOLD_S, Ordering::Relaxed);
    }

    /// Whether news that the catalog stores are to be told again.
    pub fn retells(&self) -> bool {
        let until_s = self.retold_until_s.load(Ordering::Relaxed);
        until_s != 0 && clock::now().seconds() <= until_s
    }

    /// Asks for the state of the catalog at the moment in which the next change of the session's subscriptions is
    /// applied. A session makes one change at a time; an earlier request is forgotten.
    pub fn watch_for(&self, session: SessionId) -> Moment {
        let moment = Moment::default();
        self.moments.lock().insert(session, Arc::clone(&moment));
        moment
    }

    /// The change that was watched for has been answered, one way or the other.
    pub fn forget(&self, session: SessionId) {
        self.moments.lock().remove(&session);
    }

    /// The session's subscriptions have just changed to this state. For the observer only.
    pub fn has_changed(&self, session: SessionId, catalog: &Catalog) {
        if let Some(moment) = self.moments.lock().get(&session) {
            // Only the first change after the request is the one that was asked for.
            let _ = moment.set(catalog.clone());
        }
    }
}
