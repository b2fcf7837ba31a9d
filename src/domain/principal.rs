//! Who acts: the authenticated identity of an MQTT connection or of an API publish, and its topic space.

use super::id::{BrokerId, DeviceId, RegistryId};

/// An authenticated identity (`spec/auth.md`). Its id is the MQTT login.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Principal {
    /// A registry: the back-end side of its devices.
    Registry(RegistryId),
    /// A device of a registry.
    Device {
        /// The device itself.
        device: DeviceId,
        /// The registry that holds it.
        registry: RegistryId,
    },
    /// Any client of a broker; a broker has no resources per client.
    Broker(BrokerId),
}

impl Principal {
    /// The id of the entity itself, as used for login.
    pub fn id(&self) -> &str {
        match self {
            Self::Registry(id) => id.as_str(),
            Self::Device { device, .. } => device.as_str(),
            Self::Broker(id) => id.as_str(),
        }
    }

    /// The topic space in which everything that this principal says or hears happens.
    pub fn space(&self) -> SpaceId {
        match self {
            Self::Registry(id) | Self::Device { registry: id, .. } => SpaceId::Registry(id.clone()),
            Self::Broker(id) => SpaceId::Broker(id.clone()),
        }
    }

    /// The device, if the principal is one.
    pub fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::Device { device, .. } => Some(device),
            Self::Registry(_) | Self::Broker(_) => None,
        }
    }
}

/// A topic space: a registry with its devices, or one broker. No message ever crosses two spaces
/// (`spec/domain.md`, Hierarchy), so the space is the unit of routing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SpaceId {
    /// The space of a registry and its devices.
    Registry(RegistryId),
    /// The free topic space of a broker.
    Broker(BrokerId),
}

impl SpaceId {
    /// The id of the resource that owns the space.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Registry(id) => id.as_str(),
            Self::Broker(id) => id.as_str(),
        }
    }
}
