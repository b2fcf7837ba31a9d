//! From a topic as published to the outboxes and other nodes that get it, and the cache of that step.
//!
//! A route is computed from the catalog (names) and the space's index (subscriptions) and kept per thread while the
//! space's epochs stand still. On a hit a publish costs one comparison and two atomic loads; nothing is locked.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::environment::Environment;
use super::forward::Ticket;
use super::forward::outgoing::{OwedPlace, Remote};
use super::lane::frame::{self, AcknowledgedFrame, OutgoingPayload, SharedPayload};
use super::lane::inbox::Batch;
use super::lane::{LaneState, Lanes, Target};
use super::slot::Slot;
use super::space::{Epochs, Space};
use crate::domain::address::CanonicalTopic;
use crate::domain::alias::Names;
use crate::domain::index::Matches;
use crate::domain::principal::{Principal, SpaceId};
use crate::domain::resolve::{self, PublishRefusal};
use crate::domain::session::SessionId;
use crate::mqtt::qos::QoS;

/// Routes that a thread keeps; at the limit all are forgotten, and computed again as they are needed.
const CACHED_ROUTES_MAX: usize = 16_384;

/// The subscribers of one lane that get a message under one name.
#[derive(Debug, Default)]
struct LaneTargets {
    lane: u16,
    /// Granted QoS 0.
    plain: Option<Arc<[Target]>>,
    /// Granted QoS 1.
    acknowledged: Option<Arc<[Target]>>,
}

/// Everybody on this node who gets a message under one name.
#[derive(Debug)]
struct NameTargets {
    name: Arc<str>,
    lanes: Vec<LaneTargets>,
}

/// Where a publish goes.
#[derive(Debug)]
pub struct Route {
    /// The topic as the publisher wrote it.
    published_as: Box<str>,
    space: SpaceId,
    epochs: Epochs,
    /// What it stands for.
    pub topic: CanonicalTopic,
    names: Vec<NameTargets>,
    /// The other nodes with sessions that subscribe, each once, with the highest QoS that one of them was granted. A node
    /// is sent the canonical topic and finds the names itself.
    remotes: Box<[Remote]>,
}

impl Route {
    /// Whether the route is (still) that of `topic` in `space`.
    pub fn is_current(&self, topic: &str, space: &Space) -> bool {
        &*self.published_as == topic && self.epochs == space.epochs()
    }

    /// Whether nobody subscribes, on any node.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.remotes.is_empty()
    }

    /// The space of the topic.
    pub fn space(&self) -> &SpaceId {
        &self.space
    }

    /// A route to other nodes alone.
    #[cfg(test)]
    pub fn to_nodes(space: SpaceId, topic: &str, nodes: &[(u64, QoS)]) -> Self {
        let remotes = nodes.iter().map(|(node_id, granted)| Remote::new(*node_id, *granted)).collect();
        let (epochs, topic) = (Epochs { index: 0, names: 0 }, CanonicalTopic::free(topic));
        Self { published_as: topic.as_str().into(), space, epochs, topic, names: Vec::new(), remotes }
    }

    /// The other nodes that get what is published here.
    pub fn remotes(&self) -> &[Remote] {
        &self.remotes
    }
}

thread_local! {
    static CACHE: RefCell<HashMap<RouteKey, Rc<Route>>> = RefCell::new(HashMap::new());
}

/// The publisher implies its space. An entry of a space that is gone fails its epochs.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RouteKey {
    publisher: Principal,
    topic: Box<str>,
}

/// The route of a publish of `principal` to `topic`, from the cache or computed.
///
/// # Errors
/// [`PublishRefusal`] if the topic resolves to nothing or the principal may not publish there.
pub fn find(
    environment: &Environment,
    lane: &LaneState,
    space: &Space,
    principal: &Principal,
    topic: &str,
) -> Result<Rc<Route>, PublishRefusal> {
    let key = RouteKey { publisher: principal.clone(), topic: topic.into() };
    let cached = CACHE.with_borrow(|cache| cache.get(&key).cloned());
    if let Some(route) = cached.filter(|route| route.is_current(topic, space)) {
        return Ok(route);
    }
    lane.handle().counters.route_misses.add(1);
    let route = Rc::new(compute(environment, space, principal, topic)?);
    CACHE.with_borrow_mut(|cache| {
        if cache.len() >= CACHED_ROUTES_MAX {
            cache.clear();
        }
        cache.insert(key, Rc::clone(&route));
    });
    Ok(route)
}

/// Resolves a publish and finds its subscribers.
///
/// # Errors
/// [`PublishRefusal`].
pub fn compute(
    environment: &Environment,
    space: &Space,
    principal: &Principal,
    topic: &str,
) -> Result<Route, PublishRefusal> {
    environment.catalog.read(|catalog| {
        let canonical = resolve::publish(principal, topic, catalog)?;
        Ok(matching(space, canonical, topic, catalog))
    })
}

/// The route of a canonical topic; the caller holds the catalog lock that `names` comes from.
pub fn matching(space: &Space, topic: CanonicalTopic, published_as: &str, names: &impl Names) -> Route {
    // Read before the index: a change in between makes the route look older than it is, never newer.
    let epochs = space.epochs();
    let aliases = topic.device().map(|device| names.aliases_of(device)).unwrap_or_default();
    let mut found = Matches::default();
    space.matches(&topic, &aliases, &mut found);
    let mut names = Vec::with_capacity(found.groups.len());
    let mut remotes = BTreeMap::new();
    for group in &found.groups {
        let lanes = by_lane(&group.targets, space.own_node(), &mut remotes);
        if !lanes.is_empty() {
            names.push(NameTargets { name: Arc::clone(&group.name), lanes });
        }
    }
    let remotes = remotes.into_iter().map(|(node, granted)| Remote::new(u64::from(node), granted)).collect();
    Route { published_as: published_as.into(), space: space.id.clone(), epochs, topic, names, remotes }
}

/// The subscribers on this node by lane; those on others are counted in `remotes`.
fn by_lane(
    targets: &[(SessionId, QoS)],
    own_node: Option<u32>,
    remotes: &mut BTreeMap<u32, QoS>,
) -> Vec<LaneTargets> {
    let mut lanes: HashMap<u16, (Vec<Target>, Vec<Target>)> = HashMap::new();
    for (session, qos) in targets {
        if Some(session.node) != own_node {
            let granted = remotes.entry(session.node).or_insert(*qos);
            *granted = (*granted).max(*qos);
            continue;
        }
        let (plain, acknowledged) = lanes.entry(session.lane).or_default();
        let target = Target::from(Slot::from(*session));
        if *qos == QoS::AtMostOnce { plain } else { acknowledged }.push(target);
    }
    let shared = |targets: Vec<Target>| (!targets.is_empty()).then(|| Arc::from(targets));
    let lanes = lanes.into_iter().map(|(lane, (plain, acknowledged))| LaneTargets {
        lane,
        plain: shared(plain),
        acknowledged: shared(acknowledged),
    });
    lanes.collect()
}

/// A message under one name, encoded at most once for each QoS.
struct Encoder<'a> {
    name: &'a str,
    payload: &'a OutgoingPayload<'a>,
    retain: bool,
    plain: Option<SharedPayload>,
    acknowledged: Option<AcknowledgedFrame>,
}

impl<'a> Encoder<'a> {
    fn new(name: &'a str, payload: &'a OutgoingPayload<'a>, retain: bool) -> Self {
        Self { name, payload, retain, plain: None, acknowledged: None }
    }

    /// Leaves the QoS 0 packet in `scratch`.
    fn plain(&mut self, scratch: &mut Vec<u8>) -> SharedPayload {
        if let Some(payload) = &self.plain {
            return payload.clone();
        }
        let payload = frame::encode_plain(scratch, self.name, self.payload, self.retain);
        self.plain = Some(payload.clone());
        payload
    }

    fn acknowledged(&mut self, scratch: &mut Vec<u8>) -> AcknowledgedFrame {
        if self.acknowledged.is_none() {
            self.acknowledged =
                Some(frame::encode_acknowledged(scratch, self.name, self.payload, self.retain));
            // The working space now holds something else.
            self.plain = None;
        }
        self.acknowledged.clone().expect("it was just encoded")
    }
}

/// Sends a message along its route, from a lane: into the outboxes of this node, and into the buffers for the others.
///
/// Returns how many other nodes have still to take it; `owed`, if any, is settled once by each of them.
pub fn deliver(
    lane: &mut LaneState,
    route: &Route,
    payload: &OutgoingPayload<'_>,
    qos: QoS,
    owed: Option<OwedPlace>,
) -> u16 {
    if route.is_empty() {
        lane.handle().counters.messages_unmatched.add(1);
        return 0;
    }
    deliver_here(lane, route, payload, qos);
    lane.forward(route, payload.bytes(), qos, owed)
}

fn deliver_here(lane: &mut LaneState, route: &Route, payload: &OutgoingPayload<'_>, qos: QoS) {
    let mut scratch = std::mem::take(&mut lane.scratch);
    for group in &route.names {
        let mut encoder = Encoder::new(&group.name, payload, false);
        for targets in &group.lanes {
            let (plain, acknowledged) = split(targets, qos);
            for list in plain.into_iter().flatten() {
                let shared = encoder.plain(&mut scratch);
                deliver_plain(lane, targets.lane, list, &scratch, &shared);
            }
            if let Some(list) = acknowledged {
                let frame = encoder.acknowledged(&mut scratch);
                deliver_acknowledged(lane, targets.lane, list, &frame);
            }
        }
    }
    lane.scratch = scratch;
}

/// Who gets a message with QoS 0 (two lists), and who with QoS 1.
type ByQos<'a> = ([Option<&'a Arc<[Target]>>; 2], Option<&'a Arc<[Target]>>);

/// Delivery QoS = min(publish QoS, granted QoS) (`spec/mqtt.md`, QoS and delivery).
fn split(targets: &LaneTargets, qos: QoS) -> ByQos<'_> {
    if qos == QoS::AtMostOnce {
        ([targets.plain.as_ref(), targets.acknowledged.as_ref()], None)
    } else {
        ([targets.plain.as_ref(), None], targets.acknowledged.as_ref())
    }
}

fn deliver_plain(
    lane: &mut LaneState,
    to: u16,
    targets: &Arc<[Target]>,
    head: &[u8],
    payload: &SharedPayload,
) {
    if to == lane.number {
        for target in targets.iter() {
            lane.deliver_plain(*target, head, payload);
        }
    } else {
        lane.transfer_plain(to, head, payload, targets);
    }
}

fn deliver_acknowledged(lane: &mut LaneState, to: u16, targets: &Arc<[Target]>, frame: &AcknowledgedFrame) {
    if to == lane.number {
        for target in targets.iter() {
            lane.deliver_acknowledged(*target, frame);
        }
    } else {
        lane.transfer_acknowledged(to, frame, targets);
    }
}

/// Collects a message for the sessions of its route on this node, by lane: `batches` has one for each.
pub fn collect(route: &Route, payload: &[u8], qos: QoS, batches: &mut [Batch], scratch: &mut Vec<u8>) {
    let payload = OutgoingPayload::new(payload);
    for group in &route.names {
        let mut encoder = Encoder::new(&group.name, &payload, false);
        for targets in &group.lanes {
            // Sessions of an earlier process of this node are in the index until the node registers again, and may name a
            // lane that this process does not have.
            let Some(batch) = batches.get_mut(usize::from(targets.lane)) else { continue };
            let (plain, acknowledged) = split(targets, qos);
            for list in plain.into_iter().flatten() {
                let shared = encoder.plain(scratch);
                batch.push_plain(scratch, &shared, list);
            }
            if let Some(list) = acknowledged {
                batch.push_acknowledged(&encoder.acknowledged(scratch), list);
            }
        }
    }
}

/// Hands a message to the lanes of its route on this node only, from a thread that is no lane. The caller bounds its own
/// rate.
pub fn deliver_on_this_node(lanes: &Lanes, route: &Route, payload: &[u8], qos: QoS) {
    if route.names.is_empty() {
        return;
    }
    let mut batches: Vec<Batch> = lanes.iter().map(|_| Batch::default()).collect();
    collect(route, payload, qos, &mut batches, &mut Vec::new());
    for (lane, batch) in lanes.iter().zip(batches) {
        if !batch.is_empty() {
            lane.push(batch);
        }
    }
}

/// As [`deliver_on_this_node`], and sends the message to the other nodes of its route. The tickets tell what can be waited
/// for with [`super::forward::Forwarding::wait_for`].
pub fn deliver_from_outside(
    environment: &Environment,
    route: &Route,
    payload: &[u8],
    qos: QoS,
) -> Vec<Ticket> {
    deliver_on_this_node(&environment.lanes, route, payload, qos);
    environment.forwarding.send_message(route, payload, qos)
}
