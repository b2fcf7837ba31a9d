//! The actor of a topic space: one per registry (with its devices) or broker on this node.
//!
//! It is the only writer of the space's subscription index and the keeper of its sessions: it admits them, ends older
//! ones (U-M6), closes those whose credential or entity is gone (U-A11), and sends the monitoring messages. No message
//! of a client ever passes through it.

mod monitoring;
mod sessions;
mod subscriptions;
mod waiting;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{Actor, Addr, AsyncContext, Context, Handler, Message};
use bytes::Bytes;

use super::authenticator::{Identity, Refusal};
use super::close::CloseReason;
use super::connection::ConnectionActor;
use super::environment::Environment;
use super::lane::Control;
use super::slot::Slot;
use super::space::Space;
use crate::domain::catalog::event::Event;
use crate::domain::id::DeviceId;
use crate::domain::timestamp::Timestamp;
use crate::mqtt::packet::subscribe::SubackCode;
use crate::mqtt::qos::{PacketIdentifier, QoS};
use monitoring::MonitoringTable;
use sessions::Sessions;
use waiting::Waiting;

/// Messages that wait in the mailbox of a registry actor, at most; beyond it CONNECT is answered with code 3 and
/// SUBSCRIBE with 0x80.
const MAILBOX_MESSAGES_MAX: usize = 65_536;

/// How often monitoring data is looked through: at most one message per device and second (U-T23).
const TICK: Duration = Duration::from_secs(1);

/// Begin a session.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Attach {
    /// The outbox of the connection.
    pub slot: Slot,
    /// The client identifier, possibly empty.
    pub client_id: Box<str>,
    /// Who it is.
    pub identity: Identity,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The connection.
    pub reply_to: Addr<ConnectionActor>,
}

/// The answer to [`Attach`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct Attached {
    /// The space, or why the session may not begin.
    pub result: Result<Arc<Space>, Refusal>,
    /// The registry actor itself.
    pub registry: Addr<RegistryActor>,
}

/// A session has ended. Must follow every [`Attach`] that was answered with a space.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Detach {
    /// The outbox of the connection, not in use any more.
    pub slot: Slot,
}

/// Add subscriptions.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Subscribe {
    /// The session.
    pub slot: Slot,
    /// Of the SUBSCRIBE.
    pub packet_identifier: PacketIdentifier,
    /// Filters with the QoS to grant, in the order of the packet.
    pub requests: Vec<(Box<str>, QoS)>,
    /// The connection.
    pub reply_to: Addr<ConnectionActor>,
}

/// The answer to [`Subscribe`]: the index has the subscriptions.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Subscribed {
    /// Of the SUBSCRIBE.
    pub packet_identifier: PacketIdentifier,
    /// As asked.
    pub requests: Vec<(Box<str>, QoS)>,
    /// One code per request.
    pub codes: Vec<SubackCode>,
    /// What to send right after the SUBACK.
    pub stored: Vec<StoredDelivery>,
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
    pub slot: Slot,
    /// Of the UNSUBSCRIBE.
    pub packet_identifier: PacketIdentifier,
    /// The filters as they were subscribed.
    pub filters: Vec<Box<str>>,
    /// The connection.
    pub reply_to: Addr<ConnectionActor>,
}

/// The answer to [`Unsubscribe`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unsubscribed {
    /// Of the UNSUBSCRIBE.
    pub packet_identifier: PacketIdentifier,
}

/// Something was applied to the catalog that concerns this space.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CatalogEvent(pub Event);

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

/// A snapshot of a registry actor, for tests and the admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegistryState {
    /// Live sessions.
    pub sessions: usize,
    /// Subscriptions in the index.
    pub subscriptions: usize,
}

/// Asks for a [`RegistryState`].
#[derive(Message)]
#[rtype(result = "RegistryState")]
pub struct Observe;

/// The actor of a topic space.
pub struct RegistryActor {
    space: Arc<Space>,
    environment: Arc<Environment>,
    sessions: Sessions,
    monitoring: MonitoringTable,
    waiting: Waiting,
}

impl RegistryActor {
    /// An actor without sessions.
    pub fn new(space: Arc<Space>, environment: Arc<Environment>) -> Self {
        Self {
            space,
            environment,
            sessions: Sessions::default(),
            monitoring: MonitoringTable::default(),
            waiting: Waiting::default(),
        }
    }

    fn close_session(&self, slot: Slot, reason: CloseReason) {
        self.environment.lanes[usize::from(slot.lane)].control(Control::Close(slot.into(), reason));
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
    /// Without its actor a space has no writer. Sessions end, so that they begin again with the next one.
    fn drop(&mut self) {
        for slot in self.sessions.slots().into_iter().chain(self.waiting.slots()) {
            self.close_session(slot, CloseReason::Internal);
        }
    }
}

impl Handler<CatalogEvent> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: CatalogEvent, _context: &mut Self::Context) {
        match message.0 {
            Event::CredentialRemoved { owner, credential } => {
                let used = |session: &sessions::Entry| {
                    session.identity.principal.id() == owner.id() && session.identity.credential == credential
                };
                self.close_where(used);
            }
            Event::EntityDeleted { principal } => {
                if let Some(device) = principal.device() {
                    self.monitoring.forget(device);
                }
                self.close_where(|session| session.identity.principal == principal);
            }
            Event::RegistryDisabled { .. } => self.close_where(|_| true),
            Event::SpaceCreated { .. }
            | Event::NamesChanged { .. }
            | Event::PermanentSet { .. }
            | Event::SessionOpened { .. }
            | Event::SubscriptionsChanged { .. }
            | Event::SessionClosed { .. }
            | Event::MonitoringChanged { .. } => {}
        }
    }
}

impl RegistryActor {
    fn close_where(&self, concerned: impl Fn(&sessions::Entry) -> bool) {
        for slot in self.sessions.slots_where(concerned) {
            self.close_session(slot, CloseReason::CredentialsRevoked);
        }
    }
}

impl Handler<Observe> for RegistryActor {
    type Result = actix::MessageResult<Observe>;

    fn handle(&mut self, _message: Observe, _context: &mut Self::Context) -> Self::Result {
        actix::MessageResult(RegistryState {
            sessions: self.sessions.len(),
            subscriptions: self.space.subscriptions(),
        })
    }
}
