//! The door through which the API's Publish enters the message path (U-P6).
//!
//! The path itself lives in rooms that this one does not see, so whoever builds the server hands in a [`Publisher`].

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::domain::principal::Principal;

/// Publishes messages with the rules of an inbound MQTT publish of QoS 1.
pub trait Publisher: Send + Sync {
    /// Publishes on behalf of a principal that existed a moment ago. The same names, permissions and storage apply as over MQTT,
    /// except that monitoring data does not change. Answers once the message is accepted, and stored if its topic
    /// is permanent.
    fn publish<'a>(
        &'a self,
        principal: Principal,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>>;
}

/// Why a message was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The topic is no topic name: with a wildcard, a forbidden character or too many levels.
    #[error("topic: {rule} (got {topic:?})")]
    InvalidTopic {
        /// The topic as given.
        topic: String,
        /// The rule that it breaks.
        rule: String,
    },
    /// The topic resolves to nothing, or the principal may not publish there.
    #[error("publish to topic {topic:?} not allowed")]
    NotAllowed {
        /// The topic as given.
        topic: String,
    },
    /// The registry is disabled (U-D3).
    #[error("registry {registry_id} is disabled")]
    RegistryDisabled {
        /// The registry.
        registry_id: String,
    },
    /// The principal was deleted meanwhile.
    #[error("{id} does not exist")]
    NotFound {
        /// Its id.
        id: String,
    },
    /// The store of permanent messages has no room for this one.
    #[error("permanent messages: {limit}")]
    StorageFull {
        /// Which limit is reached.
        limit: String,
    },
    /// Too much work is waiting; worth another try.
    #[error("too many messages are waiting")]
    Overloaded,
    /// The node is stopping or not part of a quorum; worth another try, perhaps elsewhere.
    #[error("the node is not serving")]
    Unavailable,
}
