//! What the catalog can be told to do. One command is one indivisible change.
//!
//! The form of every field (length, pattern) is checked before a command is made, by the functions of
//! [`crate::domain::name`], [`crate::domain::labels`] and their neighbours; whatever depends on the state is checked
//! when the command is applied.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

use super::entity::{Owner, TopicAliases};
use super::operation::IdempotencyKey;
use crate::domain::credential::{CertificateDigest, CredentialReference, Fingerprint};
use crate::domain::id::{
    BrokerId, DeviceId, ExportId, FolderId, OperationId, PasswordId, RegistryId, TokenId,
};
use crate::domain::labels::Labels;
use crate::domain::log_options::LogOptions;
use crate::domain::monitoring::MonitoringRecord;
use crate::domain::principal::{Principal, SpaceId};
use crate::domain::quota::CatalogLimits;
use crate::domain::session::SessionId;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::ApiToken;
use crate::mqtt::qos::QoS;

/// One step of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "commands are moved a few times and never kept in numbers")]
pub enum Command {
    /// A change made through the management API; leaves an operation behind.
    Mutate(Mutation),
    /// Makes an API token.
    CreateToken(NewToken),
    /// Makes an API token useless.
    RevokeToken {
        /// The token.
        id: TokenId,
    },
    /// Stores or clears the message of a permanent topic.
    SetPermanent(SetPermanent),
    /// Notes when devices were last heard of. Unknown devices are skipped.
    LastSeen(Vec<LastSeen>),
    /// Replaces the limits.
    SetLimits(CatalogLimits),
    /// Opens a session, in place of the older one of the same device and client identifier (U-M6).
    OpenSession(OpenSession),
    /// Ends a session. Unknown ones are skipped.
    CloseSession(CloseSession),
    /// Changes the subscriptions of a session.
    ChangeSubscriptions(ChangeSubscriptions),
}

/// A change made through the management API, with everything that must not be decided by each node for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// When; becomes `created_at` of what the change creates.
    pub at: Timestamp,
    /// Id of the operation that the change leaves behind.
    pub operation_id: OperationId,
    /// Who; becomes `created_by` of the operation.
    pub subject: SmolStr,
    /// If the subject used this key before, the first operation is the answer and nothing changes (U-P9).
    pub idempotency_key: Option<IdempotencyKey>,
    /// What.
    pub change: Change,
}

/// What a mutation does. Ids of new resources are chosen by the proposer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Creates a registry.
    CreateRegistry(CreateRegistry),
    /// Changes fields of a registry.
    UpdateRegistry(UpdateRegistry),
    /// Deletes an empty registry with its credentials, export and stored messages.
    DeleteRegistry {
        /// The registry.
        id: RegistryId,
    },
    /// Stops the registry and its devices from connecting (U-D3). No change if it is disabled already.
    DisableRegistry {
        /// The registry.
        id: RegistryId,
    },
    /// Undoes `DisableRegistry`. No change if it is active already.
    EnableRegistry {
        /// The registry.
        id: RegistryId,
    },
    /// Creates a device.
    CreateDevice(CreateDevice),
    /// Changes fields of a device.
    UpdateDevice(UpdateDevice),
    /// Deletes a device with its credentials, aliases, stored messages and monitoring data.
    DeleteDevice {
        /// The device.
        id: DeviceId,
    },
    /// Creates a broker.
    CreateBroker(CreateBroker),
    /// Changes fields of a broker.
    UpdateBroker(UpdateBroker),
    /// Deletes a broker with its credentials.
    DeleteBroker {
        /// The broker.
        id: BrokerId,
    },
    /// Adds a certificate to an entity.
    AddCertificate {
        /// The entity.
        owner: Owner,
        /// The certificate.
        certificate: NewCertificate,
    },
    /// Removes a certificate from an entity.
    DeleteCertificate {
        /// The entity.
        owner: Owner,
        /// Which.
        fingerprint: Fingerprint,
    },
    /// Adds a password to an entity.
    AddPassword {
        /// The entity.
        owner: Owner,
        /// The password.
        password: NewPassword,
    },
    /// Removes a password from an entity.
    DeletePassword {
        /// The entity.
        owner: Owner,
        /// Which.
        id: PasswordId,
    },
    /// Adds the data stream export of a registry.
    AddExport(NewExport),
    /// Removes the data stream export of a registry.
    DeleteExport {
        /// The registry.
        registry_id: RegistryId,
        /// Its export.
        id: ExportId,
    },
}

/// A certificate to add; `digest` and `fingerprint` were computed from the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCertificate {
    /// SHA-256 of the DER form of the first certificate in the text (U-A4).
    pub digest: CertificateDigest,
    /// Its public identifier.
    pub fingerprint: Fingerprint,
    /// The text as uploaded.
    pub certificate_data: Arc<str>,
}

/// A password to add, hashed by the proposer.
#[derive(Clone, PartialEq, Eq)]
pub struct NewPassword {
    /// Its id.
    pub id: PasswordId,
    /// Its hash in PHC string format.
    pub hash: Arc<str>,
}

impl std::fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewPassword").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Credentials given while creating an entity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewCredentials {
    /// Its certificates.
    pub certificates: Vec<NewCertificate>,
    /// Its password, if any.
    pub password: Option<NewPassword>,
}

/// A registry to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRegistry {
    /// Its id.
    pub id: RegistryId,
    /// Its folder.
    pub folder_id: FolderId,
    /// Its name, possibly empty.
    pub name: SmolStr,
    /// Its description, possibly empty.
    pub description: SmolStr,
    /// Its labels.
    pub labels: Labels,
    /// Its log options; `None` means the default for the folder.
    pub log_options: Option<LogOptions>,
    /// Its first credentials.
    pub credentials: NewCredentials,
}

/// A device to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateDevice {
    /// Its id.
    pub id: DeviceId,
    /// Its registry.
    pub registry_id: RegistryId,
    /// Its name, possibly empty.
    pub name: SmolStr,
    /// Its description, possibly empty.
    pub description: SmolStr,
    /// Its labels.
    pub labels: Labels,
    /// Its aliases; targets may contain `{id}`.
    pub topic_aliases: TopicAliases,
    /// Its first credentials.
    pub credentials: NewCredentials,
}

/// A broker to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateBroker {
    /// Its id.
    pub id: BrokerId,
    /// Its folder.
    pub folder_id: FolderId,
    /// Its name, possibly empty.
    pub name: SmolStr,
    /// Its description, possibly empty.
    pub description: SmolStr,
    /// Its labels.
    pub labels: Labels,
    /// Its log options; `None` means the default for the folder.
    pub log_options: Option<LogOptions>,
    /// Its first credentials.
    pub credentials: NewCredentials,
}

/// Changes of the fields that every entity has. `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttributesPatch {
    /// The new name.
    pub name: Option<SmolStr>,
    /// The new description.
    pub description: Option<SmolStr>,
    /// The new set of labels.
    pub labels: Option<Labels>,
}

/// Changes of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateRegistry {
    /// The registry.
    pub id: RegistryId,
    /// The common fields.
    pub attributes: AttributesPatch,
    /// `None` leaves the log options as they are; `Some(None)` resets them to the default for the folder.
    pub log_options: Option<Option<LogOptions>>,
}

/// Changes of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateDevice {
    /// The device.
    pub id: DeviceId,
    /// The common fields.
    pub attributes: AttributesPatch,
    /// The new set of aliases; targets may contain `{id}`. `None` leaves them as they are.
    pub topic_aliases: Option<TopicAliases>,
}

/// Changes of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateBroker {
    /// The broker.
    pub id: BrokerId,
    /// The common fields.
    pub attributes: AttributesPatch,
    /// `None` leaves the log options as they are; `Some(None)` resets them to the default for the folder.
    pub log_options: Option<Option<LogOptions>>,
}

/// A data stream export to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewExport {
    /// Its id.
    pub id: ExportId,
    /// Its name, possibly empty.
    pub name: SmolStr,
    /// The registry to export from.
    pub registry_id: RegistryId,
    /// Which topics; empty means all that can be exported.
    pub mqtt_topic_filter: SmolStr,
    /// Database of the stream.
    pub database: SmolStr,
    /// Name of the stream.
    pub stream: SmolStr,
    /// Account to write with.
    pub service_account_id: SmolStr,
}

/// An API token to make, and when to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// The token.
    pub token: ApiToken,
    /// When it is made; otherwise the existing token is the outcome.
    pub condition: TokenCondition,
}

/// On what condition a token is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenCondition {
    /// Always; a token with the same secret is a conflict.
    Always,
    /// Only if no token has the role [`crate::domain::token::Role::Administrator`]: for the first start of a server.
    NoAdministrator,
    /// Only if no token has this secret: for a secret that the operator gives in a file on every start.
    NewSecret,
}

/// A publish to a permanent topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetPermanent {
    /// The topic space.
    pub space: SpaceId,
    /// The canonical topic, of kind `state` or `config`.
    pub topic: Arc<str>,
    /// The message; an empty one clears the topic (U-T20).
    pub payload: Bytes,
    /// 0 or 1.
    pub qos: QoS,
    /// When it was published.
    pub at: Timestamp,
    /// Who published it, for the one who delivers it.
    pub origin: Origin,
}

/// A mark that the proposer puts on a publish and finds again on the event. Means nothing to the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Origin {
    /// The node that proposed.
    pub node: u64,
    /// A number of that node's choice, for example that of a connection.
    pub number: u64,
}

/// What was last seen of one device. Each time replaces the stored one only if it is later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastSeen {
    /// The device.
    pub device_id: DeviceId,
    /// The news; absent fields stay as they are.
    pub monitoring: MonitoringRecord,
}

/// A session to open for a proven identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// Where its connection is.
    pub id: SessionId,
    /// The epoch of its node; in another the command is refused.
    pub epoch: u64,
    /// Who it is.
    pub principal: Principal,
    /// The client identifier as sent.
    pub client_id: SmolStr,
    /// What the identity was proven with.
    pub credential: CredentialReference,
    /// The address of the client, if known.
    pub peer: Option<IpAddr>,
    /// When.
    pub at: Timestamp,
}

/// A session to end because its connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseSession {
    /// The session.
    pub id: SessionId,
    /// The epoch in which it was opened; a session of another is left alone.
    pub epoch: u64,
    /// When.
    pub at: Timestamp,
}

/// Subscriptions to remove and to add, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSubscriptions {
    /// The session.
    pub id: SessionId,
    /// The epoch in which it was opened.
    pub epoch: u64,
    /// Filters that the proposer found valid for the session, with the QoS to grant: 0 or 1. One that the session has
    /// already gets the new QoS.
    pub added: Vec<(SmolStr, QoS)>,
    /// Filters to remove; unknown ones are skipped.
    pub removed: Vec<SmolStr>,
    /// Most subscriptions that the session may have (U-M12); beyond it filters are refused one by one.
    pub subscriptions_max: u32,
}
