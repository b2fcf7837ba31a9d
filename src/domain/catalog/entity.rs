//! The resources as the catalog keeps them (`spec/domain.md`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

use crate::domain::id::{BrokerId, DeviceId, ExportId, FolderId, RegistryId};
use crate::domain::labels::Labels;
use crate::domain::log_options::LogOptions;
use crate::domain::timestamp::Timestamp;
use crate::mqtt::qos::QoS;

/// Alias to target, ordered by alias. Targets are canonical topic prefixes with the device's id in them (U-T15).
pub type TopicAliases = BTreeMap<SmolStr, SmolStr>;

/// Kind of a thing that the catalog holds; names it in errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// A registry.
    Registry,
    /// A device.
    Device,
    /// A broker: a free topic space.
    Broker,
    /// A certificate of one of the above.
    Certificate,
    /// A password of one of the above.
    Password,
    /// A data stream export.
    Export,
    /// An operation.
    Operation,
    /// An API token.
    Token,
    /// A session of a client.
    Session,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registry => "registry",
            Self::Device => "device",
            Self::Broker => "broker",
            Self::Certificate => "certificate",
            Self::Password => "password",
            Self::Export => "data stream export",
            Self::Operation => "operation",
            Self::Token => "token",
            Self::Session => "session",
        })
    }
}

/// An entity that holds credentials and can log in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// A registry.
    Registry(RegistryId),
    /// A device.
    Device(DeviceId),
    /// A broker.
    Broker(BrokerId),
}

impl Owner {
    /// The id of the entity; the ids of all kinds share one namespace (U-D2).
    pub fn id(&self) -> &str {
        match self {
            Self::Registry(id) => id.as_str(),
            Self::Device(id) => id.as_str(),
            Self::Broker(id) => id.as_str(),
        }
    }

    /// The kind of the entity.
    pub const fn resource(&self) -> Resource {
        match self {
            Self::Registry(_) => Resource::Registry,
            Self::Device(_) => Resource::Device,
            Self::Broker(_) => Resource::Broker,
        }
    }
}

/// Whether a registry lets its clients in. Creation and deletion happen at once, so there are no states for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RegistryStatus {
    /// It does.
    #[default]
    Active,
    /// Neither the registry nor its devices may connect (U-D3).
    Disabled,
}

/// A registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Registry {
    /// Identifier and MQTT login.
    pub id: RegistryId,
    /// The folder that owns it; never changes.
    pub folder_id: FolderId,
    /// When it was created.
    pub created_at: Timestamp,
    /// Unique in the folder unless empty.
    pub name: SmolStr,
    /// Free text.
    pub description: SmolStr,
    /// User labels.
    pub labels: Labels,
    /// Whether its clients may connect.
    pub status: RegistryStatus,
    /// Where its log goes.
    pub log_options: LogOptions,
}

/// A device of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device {
    /// Identifier and MQTT login.
    pub id: DeviceId,
    /// The registry that holds it; never changes.
    pub registry_id: RegistryId,
    /// When it was created.
    pub created_at: Timestamp,
    /// Unique in the registry unless empty.
    pub name: SmolStr,
    /// Free text.
    pub description: SmolStr,
    /// User labels.
    pub labels: Labels,
    /// User-chosen names for beginnings of the device's topics.
    pub topic_aliases: TopicAliases,
}

/// A broker: a free topic space whose clients share its credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Broker {
    /// Identifier and MQTT login.
    pub id: BrokerId,
    /// The folder that owns it; never changes.
    pub folder_id: FolderId,
    /// When it was created.
    pub created_at: Timestamp,
    /// Unique among the brokers of the folder unless empty.
    pub name: SmolStr,
    /// Free text.
    pub description: SmolStr,
    /// User labels.
    pub labels: Labels,
    /// Where its log goes.
    pub log_options: LogOptions,
}

/// A data stream export of a registry. At most one per registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Export {
    /// Identifier.
    pub id: ExportId,
    /// Unique in the folder of the registry unless empty.
    pub name: SmolStr,
    /// The registry whose messages are exported.
    pub registry_id: RegistryId,
    /// Which topics; empty means all that can be exported.
    pub mqtt_topic_filter: SmolStr,
    /// Database of the stream.
    pub database: SmolStr,
    /// Name of the stream.
    pub stream: SmolStr,
    /// Account to write with.
    pub service_account_id: SmolStr,
    /// When it was added.
    pub created_at: Timestamp,
}

/// The last message of a permanent topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredMessage {
    /// The canonical topic.
    pub topic: Arc<str>,
    /// Never empty: an empty payload clears the topic (U-T20).
    pub payload: Bytes,
    /// The QoS it was published with, 0 or 1.
    pub qos: QoS,
    /// Index of the command that stored it. Grows with every message of the server.
    pub index: u64,
    /// When it was published.
    pub at: Timestamp,
}
