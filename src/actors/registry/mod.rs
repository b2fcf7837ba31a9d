//! The actor of a topic space: one per registry (with its devices) or broker on this node.
//!
//! It has sessions opened and subscriptions changed in the log, answers the connections that asked for it, and sends the
//! monitoring messages. It keeps no session and no subscription: those are the catalog's, and the space's index follows
//! the catalog ([`super::observer`]). No message of a client ever passes through it.

mod monitoring;
mod sessions;
mod subscriptions;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::{Actor, Addr, AsyncContext, Context, Handler, Message};
use bytes::Bytes;
use smol_str::SmolStr;
use tracing::Span;

use super::authenticator::{Identity, Refusal};
use super::close::CloseReason;
use super::environment::Environment;
use super::lane::Control;
use super::reply::Reply;
use super::slot::Slot;
use super::space::Space;
use super::tenure::Tenure;
use crate::domain::catalog::{PageRequest, SessionFilter};
use crate::domain::id::DeviceId;
use crate::domain::timestamp::Timestamp;
use crate::mqtt::packet::subscribe::SubackCode;
use crate::mqtt::qos::{PacketIdentifier, QoS};
use monitoring::MonitoringTable;
pub use sessions::TAKEN_OVER_TOO_OFTEN;
pub use subscriptions::Changed;

/// Messages that wait in the mailbox of a registry actor, at most; beyond it CONNECT is answered with code 3 and
/// SUBSCRIBE with 0x80.
const MAILBOX_MESSAGES_MAX: usize = 65_536;

/// How often monitoring data is looked through: at most one message per device and second (U-T23).
const TICK: Duration = Duration::from_secs(1);

/// Begin a session.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Attach {
    /// The session that is asked for.
    pub tenure: Arc<Tenure>,
    /// The client identifier, possibly empty.
    pub client_id: SmolStr,
    /// Who it is.
    pub identity: Identity,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// For [`Attached`].
    pub reply: Reply,
}

/// The answer to [`Attach`]: the session is open, and any that it replaces has ended; or there is none.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Attached {
    /// The space, or why the session may not begin.
    pub result: Result<Arc<Space>, Refusal>,
    /// The registry actor itself.
    pub registry: Addr<RegistryActor>,
}

/// A device has a new session.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DeviceConnected {
    /// The device.
    pub device: DeviceId,
    /// Where it comes from.
    pub peer: IpAddr,
    /// When.
    pub at: Timestamp,
}

/// A session of a device has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DeviceDisconnected {
    /// The device.
    pub device: DeviceId,
}

/// A device does not exist any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DeviceDeleted(pub DeviceId);

/// The catalog has stored news of a device.
#[derive(Message)]
#[rtype(result = "()")]
pub struct MonitoringStored(pub DeviceId);

/// Add subscriptions.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Subscribe {
    /// The session.
    pub tenure: Arc<Tenure>,
    /// Of the SUBSCRIBE.
    pub packet_identifier: PacketIdentifier,
    /// Filters with the QoS to grant, in the order of the packet.
    pub requests: Vec<(SmolStr, QoS)>,
    /// When it came.
    pub at: Instant,
    /// Ends with the SUBACK.
    pub span: Span,
    /// For [`Subscribed`].
    pub reply: Reply,
}

/// The answer to [`Subscribe`]: all nodes that serve have the subscriptions.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Subscribed {
    /// Of the SUBSCRIBE.
    pub packet_identifier: PacketIdentifier,
    /// As asked.
    pub requests: Vec<(SmolStr, QoS)>,
    /// One code per request.
    pub codes: Vec<SubackCode>,
    /// What to send right after the SUBACK.
    pub stored: Vec<StoredDelivery>,
    /// When the SUBSCRIBE came.
    pub at: Instant,
    /// Ends with the SUBACK.
    pub span: Span,
}

/// A stored message on its way to a new subscription.
#[derive(Debug, Clone)]
pub struct StoredDelivery {
    /// The name under which it is delivered.
    pub name: Arc<str>,
    /// The message.
    pub payload: Bytes,
    /// min(stored QoS, granted QoS).
    pub qos: QoS,
    /// U-T19.
    pub retain: bool,
}

/// End subscriptions.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unsubscribe {
    /// The session.
    pub tenure: Arc<Tenure>,
    /// Of the UNSUBSCRIBE.
    pub packet_identifier: PacketIdentifier,
    /// The filters as they were subscribed.
    pub filters: Vec<SmolStr>,
    /// For [`Unsubscribed`].
    pub reply: Reply,
}

/// The answer to [`Unsubscribe`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unsubscribed {
    /// Of the UNSUBSCRIBE.
    pub packet_identifier: PacketIdentifier,
}

/// What devices did lately.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ActivityReport {
    /// One entry per device connection.
    pub activities: Vec<DeviceActivity>,
}

/// What one device connection did since its last report.
#[derive(Debug, Clone)]
pub struct DeviceActivity {
    /// The device.
    pub device: DeviceId,
    /// Its last PUBLISH.
    pub published: Option<Timestamp>,
    /// Its last SUBSCRIBE or UNSUBSCRIBE.
    pub subscribed: Option<Timestamp>,
    /// Its last packet.
    pub online: Option<Timestamp>,
}

/// The actor of a topic space.
pub struct RegistryActor {
    space: Arc<Space>,
    environment: Arc<Environment>,
    monitoring: MonitoringTable,
}

impl RegistryActor {
    /// The actor of `space`.
    pub fn new(space: Arc<Space>, environment: Arc<Environment>) -> Self {
        Self { space, environment, monitoring: MonitoringTable::default() }
    }
}

impl Actor for RegistryActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
        context.run_interval(TICK, |actor, _| actor.flush_monitoring());
    }
}

impl Drop for RegistryActor {
    /// The connections of the space on this node know this actor, and would ask it in vain. They are closed, so that they
    /// find its successor when they come again.
    fn drop(&mut self) {
        let Some(own_node) = self.space.own_node() else { return };
        let filter = SessionFilter {
            space: Some(self.space.id.clone()),
            node: Some(own_node),
            ..SessionFilter::default()
        };
        for session in self.environment.catalog.sessions(&filter, &PageRequest::first(usize::MAX)).items {
            let slot = Slot::from(session.id);
            if let Some(lane) = self.environment.lanes.get(usize::from(slot.lane)) {
                lane.control(Control::Close(slot.into(), CloseReason::Internal));
            }
        }
    }
}

impl Handler<DeviceDeleted> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: DeviceDeleted, _context: &mut Self::Context) {
        self.monitoring.forget(&message.0);
    }
}
