//! Why the catalog refuses a command. A refused command changes nothing.

use std::sync::Arc;

use smol_str::SmolStr;

use super::entity::Resource;
use crate::domain::admission::NotAdmitted;
use crate::domain::alias::{ALIASES_PER_DEVICE_MAX, AliasError};
use crate::domain::credential::Fingerprint;
use crate::domain::id::{DeviceId, RegistryId};
use crate::domain::session::SessionId;

/// Why a command is refused, as a fact about the state (U-D9 gives the status codes).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is no such resource.
    #[error("{resource} {id:?} not found")]
    NotFound {
        /// Its kind.
        resource: Resource,
        /// The id, or the fingerprint of a certificate.
        id: SmolStr,
    },
    /// The id is in use; ids are unique across registries, devices and brokers (U-D2).
    #[error("id {id:?} is already used by another {resource}")]
    IdTaken {
        /// Kind of the resource that has it.
        resource: Resource,
        /// The id.
        id: SmolStr,
    },
    /// Another resource of the kind has the name, in the same folder or registry.
    #[error("name {name:?} is already used by {resource} {id:?}")]
    NameTaken {
        /// Its kind.
        resource: Resource,
        /// The name.
        name: SmolStr,
        /// The resource that has it.
        id: SmolStr,
    },
    /// The certificate belongs to an entity already, possibly to the same (U-A3).
    #[error("certificate {fingerprint} is already added to a registry, device or broker")]
    CertificateTaken {
        /// Which.
        fingerprint: Fingerprint,
    },
    /// An alias is a prefix of another in the registry, or the other way round (U-T17).
    #[error("topic alias {alias:?} conflicts with alias {with:?} of device {device}")]
    AliasConflict {
        /// The new alias.
        alias: SmolStr,
        /// The alias in its way.
        with: SmolStr,
        /// The device that has that.
        device: DeviceId,
    },
    /// An alias or its target breaks a rule of form (U-T13, U-T14).
    #[error("topic_aliases: {0}")]
    InvalidAlias(#[from] AliasError),
    /// More aliases than a device may have (U-T17).
    #[error("topic_aliases: must have at most {ALIASES_PER_DEVICE_MAX} entries (got {entries})")]
    TooManyAliases {
        /// How many were given.
        entries: usize,
    },
    /// A configured limit is reached (U-D7, U-D8).
    #[error("{limit} must be at most {max}")]
    TooMany {
        /// Which limit.
        limit: Limit,
        /// Its value.
        max: u64,
    },
    /// A registry with devices cannot be deleted.
    #[error("registry {id} is not empty: it has {devices} devices")]
    RegistryNotEmpty {
        /// The registry.
        id: RegistryId,
        /// How many devices it has.
        devices: u64,
    },
    /// The registry has an export already.
    #[error("registry {registry} already has a data stream export")]
    ExportExists {
        /// The registry.
        registry: RegistryId,
    },
    /// A token has this secret already.
    #[error("a token with this secret already exists")]
    TokenTaken,
    /// The last administrator's token must not be revoked: nobody could make another.
    #[error("token {id:?} is the last one with role administrator")]
    LastAdministrator {
        /// The token.
        id: SmolStr,
    },
    /// Only topics of kind `state` and `config` of the registry and its devices are stored.
    #[error("topic {topic:?} is not a permanent topic of this topic space")]
    NotPermanent {
        /// The topic.
        topic: Arc<str>,
    },
    /// The epoch of the node, in which the session was to be opened, is over: the node was given up meanwhile.
    #[error("the epoch of node {node} is over")]
    EpochOver {
        /// The node.
        node: u32,
    },
    /// The identity must not have a session.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// The session has ended.
    #[error("session {id} has ended")]
    SessionOver {
        /// The session.
        id: SessionId,
    },
}

/// A limit of [`crate::domain::quota::CatalogLimits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Registries of the server.
    Registries,
    /// Devices of the server.
    Devices,
    /// Brokers of the server.
    Brokers,
    /// Certificates of one entity.
    CertificatesPerEntity,
    /// Passwords of one entity.
    PasswordsPerEntity,
    /// Stored permanent topics of one entity.
    PermanentTopicsPerEntity,
    /// Bytes of all stored messages.
    PermanentBytes,
    /// API tokens.
    Tokens,
    /// Sessions of one broker.
    ClientsPerBroker,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Registries => "number of registries",
            Self::Devices => "number of devices",
            Self::Brokers => "number of brokers",
            Self::CertificatesPerEntity => "number of certificates",
            Self::PasswordsPerEntity => "number of passwords",
            Self::PermanentTopicsPerEntity => "number of stored permanent topics",
            Self::PermanentBytes => "bytes of stored permanent messages",
            Self::Tokens => "number of tokens",
            Self::ClientsPerBroker => "number of clients of the broker",
        })
    }
}
