//! The record of a change made through the management API (`spec/api.md`, section 6). Every operation is finished
//! when it becomes visible (U-P1), and a refused change leaves none (U-P2).

use std::sync::Arc;

use smol_str::SmolStr;

use super::entity::{Broker, Device, Export, Owner, Registry};
use crate::domain::credential::{Certificate, Fingerprint};
use crate::domain::id::{BrokerId, DeviceId, ExportId, OperationId, PasswordId, RegistryId};
use crate::domain::timestamp::Timestamp;

/// A finished change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Operation {
    /// Identifier.
    pub id: OperationId,
    /// When the change was made; also when the operation was last modified.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: SmolStr,
    /// What it did to which resource.
    pub metadata: OperationMetadata,
    /// What came out.
    pub response: OperationResponse,
}

/// What an operation did, to which resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(
    missing_docs,
    reason = "each variant is named after its API method, and its fields after its metadata"
)]
pub enum OperationMetadata {
    CreateRegistry { id: RegistryId },
    UpdateRegistry { id: RegistryId },
    DeleteRegistry { id: RegistryId },
    DisableRegistry { id: RegistryId },
    EnableRegistry { id: RegistryId },
    CreateDevice { id: DeviceId },
    UpdateDevice { id: DeviceId },
    DeleteDevice { id: DeviceId },
    CreateBroker { id: BrokerId },
    UpdateBroker { id: BrokerId },
    DeleteBroker { id: BrokerId },
    AddCertificate { owner: Owner, fingerprint: Fingerprint },
    DeleteCertificate { owner: Owner, fingerprint: Fingerprint },
    AddPassword { owner: Owner, id: PasswordId },
    DeletePassword { owner: Owner, id: PasswordId },
    AddExport { registry_id: RegistryId, id: ExportId },
    DeleteExport { registry_id: RegistryId, id: ExportId },
}

impl OperationMetadata {
    /// The description of the operation (U-D5).
    pub const fn description(&self) -> &'static str {
        match self {
            Self::CreateRegistry { .. } => "Create device registry",
            Self::UpdateRegistry { .. } => "Update device registry",
            Self::DeleteRegistry { .. } => "Delete device registry",
            Self::DisableRegistry { .. } => "Disable device registry",
            Self::EnableRegistry { .. } => "Enable device registry",
            Self::CreateDevice { .. } => "Create device",
            Self::UpdateDevice { .. } => "Update device",
            Self::DeleteDevice { .. } => "Delete device",
            Self::CreateBroker { .. } => "Create broker",
            Self::UpdateBroker { .. } => "Update broker",
            Self::DeleteBroker { .. } => "Delete broker",
            Self::AddCertificate { .. } => "Add certificate",
            Self::DeleteCertificate { .. } => "Delete certificate",
            Self::AddPassword { .. } => "Add password",
            Self::DeletePassword { .. } => "Delete password",
            Self::AddExport { .. } => "Add data stream export",
            Self::DeleteExport { .. } => "Delete data stream export",
        }
    }

    /// The registry, device or broker under which the operation is listed.
    pub fn listed_under(&self) -> Owner {
        match self {
            Self::CreateRegistry { id }
            | Self::UpdateRegistry { id }
            | Self::DeleteRegistry { id }
            | Self::DisableRegistry { id }
            | Self::EnableRegistry { id }
            | Self::AddExport { registry_id: id, .. }
            | Self::DeleteExport { registry_id: id, .. } => Owner::Registry(id.clone()),
            Self::CreateDevice { id } | Self::UpdateDevice { id } | Self::DeleteDevice { id } => {
                Owner::Device(id.clone())
            }
            Self::CreateBroker { id } | Self::UpdateBroker { id } | Self::DeleteBroker { id } => {
                Owner::Broker(id.clone())
            }
            Self::AddCertificate { owner, .. }
            | Self::DeleteCertificate { owner, .. }
            | Self::AddPassword { owner, .. }
            | Self::DeletePassword { owner, .. } => owner.clone(),
        }
    }
}

/// The result of an operation: the resource as it was right after the change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OperationResponse {
    /// Of a deletion.
    Empty,
    /// A registry.
    Registry(Arc<Registry>),
    /// A device, without monitoring data.
    Device(Arc<Device>),
    /// A broker.
    Broker(Arc<Broker>),
    /// An added certificate.
    Certificate {
        /// Whose.
        owner: Owner,
        /// The certificate.
        certificate: Arc<Certificate>,
    },
    /// An added password, without anything secret.
    Password {
        /// Whose.
        owner: Owner,
        /// Its id.
        id: PasswordId,
        /// When it was added.
        created_at: Timestamp,
    },
    /// An added export.
    Export(Arc<Export>),
}

/// A client's mark on a request, so that a retry does not act twice (U-P9).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey {
    /// The API method; a key used with another method is another key.
    pub method: SmolStr,
    /// The text that the client chose.
    pub key: SmolStr,
}

/// A remembered [`IdempotencyKey`] of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyRecord {
    /// Who used it.
    pub subject: SmolStr,
    /// The key.
    pub key: IdempotencyKey,
    /// The operation that it led to.
    pub operation_id: OperationId,
    /// When.
    pub at: Timestamp,
}
