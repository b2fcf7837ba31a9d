//! Between wire types and domain types. Wire types are written `pb::…`, domain types by name.

pub mod attributes;
pub mod broker;
pub mod credential;
pub mod device;
pub mod operation;
pub mod registry;
pub mod token;

use prost::{Message, Name};
use prost_types::Any;

use crate::domain::principal::Principal;
use crate::domain::timestamp::Timestamp;

/// A point in time as the API shows it.
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(at.seconds()).unwrap_or(i64::MAX),
        nanos: i32::try_from(at.subsecond_nanoseconds()).unwrap_or_default(),
    }
}

/// The word for what logged in.
pub fn entity_type(principal: &Principal) -> &'static str {
    match principal {
        Principal::Registry(_) => "registry",
        Principal::Device { .. } => "device",
        Principal::Broker(_) => "broker",
    }
}

/// Packs a message with its type URL `type.googleapis.com/<full name>` (`spec/api.md`, Conventions).
pub fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}
