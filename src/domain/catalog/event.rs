//! What an applied command means to the rest of the server.

use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

use super::command::Origin;
use super::entity::Owner;
use super::operation::Operation;
use crate::domain::address::CanonicalTopic;
use crate::domain::credential::CredentialReference;
use crate::domain::id::{DeviceId, RegistryId};
use crate::domain::principal::{Principal, SpaceId};
use crate::domain::session::{CloseCause, Session, SessionId};
use crate::domain::timestamp::Timestamp;
use crate::domain::token::ApiToken;
use crate::mqtt::packet::subscribe::SubackCode;
use crate::mqtt::qos::QoS;

/// What the proposer of a command gets back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of a mutation: its operation, or the first one if the idempotency key was used before.
    Operation(Arc<Operation>),
    /// Of making or revoking a token: that token, or the one that made a new one unnecessary.
    Token(Arc<ApiToken>),
    /// Of opening a session.
    SessionOpened {
        /// Index of the command.
        index: u64,
        /// The older session of the same device and client identifier, which this command ended.
        replaced: Option<SessionId>,
    },
    /// Of changing subscriptions.
    SubscriptionsChanged {
        /// Index of the command.
        index: u64,
        /// For each filter that was to be added, in their order: the granted QoS, or failure if there were too many.
        codes: Vec<SubackCode>,
    },
    /// Of everything else.
    Done,
}

/// A consequence that others must act upon, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A registry or broker came to be, so its topic space exists.
    SpaceCreated {
        /// The space.
        space: SpaceId,
    },
    /// The names of a registry's space changed: a device was created or deleted, or an alias changed.
    NamesChanged {
        /// The registry.
        registry: RegistryId,
    },
    /// A certificate or password was removed from a living entity; sessions that used it must end (U-A11).
    CredentialRemoved {
        /// The entity.
        owner: Owner,
        /// The credential.
        credential: CredentialReference,
    },
    /// A registry, device or broker is gone; all its sessions must end (U-A11).
    EntityDeleted {
        /// What it was.
        principal: Principal,
    },
    /// All sessions of a registry and its devices must end (U-D3).
    RegistryDisabled {
        /// The registry.
        id: RegistryId,
    },
    /// A message was published to a permanent topic and is stored, or cleared if the payload is empty.
    PermanentSet {
        /// The topic space.
        space: SpaceId,
        /// The canonical topic.
        topic: CanonicalTopic,
        /// The message.
        payload: Bytes,
        /// 0 or 1.
        qos: QoS,
        /// Index of the command; the same as in the stored message.
        index: u64,
        /// When it was published.
        at: Timestamp,
        /// The mark of the publisher.
        origin: Origin,
    },
    /// A session was opened, on any node.
    SessionOpened {
        /// The session, without subscriptions.
        session: Arc<Session>,
    },
    /// The subscriptions of a session changed.
    SubscriptionsChanged {
        /// The session after the change.
        session: Arc<Session>,
        /// What it has newly, also what replaces a subscription to the same filter.
        added: Vec<(SmolStr, QoS)>,
        /// What it has no longer, also what was replaced; to be acted upon before `added`.
        removed: Vec<(SmolStr, QoS)>,
    },
    /// A session ended, on any node, with the subscriptions that it had.
    SessionClosed {
        /// The session as it was.
        session: Arc<Session>,
        /// Why.
        cause: CloseCause,
    },
    /// The monitoring data of a device changed.
    MonitoringChanged {
        /// The registry that holds the device.
        registry: RegistryId,
        /// The device.
        device: DeviceId,
    },
}
