//! Operations.

use std::sync::Arc;

use rookery_proto::rookery::storage::v1 as pb;

use super::resource::{
    broker_from_wire, broker_to_wire, certificate_from_wire, certificate_to_wire, device_from_wire,
    device_to_wire, export_from_wire, export_to_wire, owner_from_wire, owner_to_wire, registry_from_wire,
    registry_to_wire, time,
};
use super::{WireError, required};
use crate::domain::catalog::{Operation, OperationMetadata, OperationResponse, Owner};
use crate::domain::credential::Fingerprint;
use crate::domain::id::{BrokerId, DeviceId, ExportId, OperationId, PasswordId, RegistryId};
use pb::operation::{Kind, Response};

pub(super) fn operation_to_wire(operation: &Operation) -> pb::Operation {
    let (kind, part) = kind_to_wire(&operation.metadata);
    pb::Operation {
        id: operation.id.to_string(),
        created_at: operation.created_at.nanoseconds,
        created_by: operation.created_by.to_string(),
        kind: kind.into(),
        entity: Some(owner_to_wire(&operation.metadata.listed_under())),
        part: part.to_owned(),
        response: Some(response_to_wire(&operation.response)),
    }
}

pub(super) fn operation_from_wire(operation: pb::Operation) -> Result<Operation, WireError> {
    let kind = operation.kind();
    let entity = owner_from_wire(operation.entity)?;
    let response = required(operation.response, "operation response")?;
    let response = response_from_wire(response, &entity, &operation.part)?;
    Ok(Operation {
        id: OperationId::new(operation.id),
        created_at: time(operation.created_at),
        created_by: operation.created_by.into(),
        metadata: metadata_from_wire(kind, operation.kind, entity, &operation.part)?,
        response,
    })
}

fn kind_to_wire(metadata: &OperationMetadata) -> (Kind, &str) {
    match metadata {
        OperationMetadata::CreateRegistry { .. } => (Kind::CreateRegistry, ""),
        OperationMetadata::UpdateRegistry { .. } => (Kind::UpdateRegistry, ""),
        OperationMetadata::DeleteRegistry { .. } => (Kind::DeleteRegistry, ""),
        OperationMetadata::DisableRegistry { .. } => (Kind::DisableRegistry, ""),
        OperationMetadata::EnableRegistry { .. } => (Kind::EnableRegistry, ""),
        OperationMetadata::CreateDevice { .. } => (Kind::CreateDevice, ""),
        OperationMetadata::UpdateDevice { .. } => (Kind::UpdateDevice, ""),
        OperationMetadata::DeleteDevice { .. } => (Kind::DeleteDevice, ""),
        OperationMetadata::CreateBroker { .. } => (Kind::CreateBroker, ""),
        OperationMetadata::UpdateBroker { .. } => (Kind::UpdateBroker, ""),
        OperationMetadata::DeleteBroker { .. } => (Kind::DeleteBroker, ""),
        OperationMetadata::AddCertificate { fingerprint, .. } => (Kind::AddCertificate, fingerprint.as_str()),
        OperationMetadata::DeleteCertificate { fingerprint, .. } => {
            (Kind::DeleteCertificate, fingerprint.as_str())
        }
        OperationMetadata::AddPassword { id, .. } => (Kind::AddPassword, id.as_str()),
        OperationMetadata::DeletePassword { id, .. } => (Kind::DeletePassword, id.as_str()),
        OperationMetadata::AddExport { id, .. } => (Kind::AddExport, id.as_str()),
        OperationMetadata::DeleteExport { id, .. } => (Kind::DeleteExport, id.as_str()),
    }
}

fn metadata_from_wire(
    kind: Kind,
    number: i32,
    entity: Owner,
    part: &str,
) -> Result<OperationMetadata, WireError> {
    let fingerprint = || Fingerprint::from_checked(part);
    let password = || PasswordId::new(part);
    let export = || ExportId::new(part);
    Ok(match kind {
        Kind::Unspecified => {
            return Err(WireError::UnknownValue { field: "operation kind", value: number.into() });
        }
        Kind::CreateRegistry => OperationMetadata::CreateRegistry { id: registry(entity)? },
        Kind::UpdateRegistry => OperationMetadata::UpdateRegistry { id: registry(entity)? },
        Kind::DeleteRegistry => OperationMetadata::DeleteRegistry { id: registry(entity)? },
        Kind::DisableRegistry => OperationMetadata::DisableRegistry { id: registry(entity)? },
        Kind::EnableRegistry => OperationMetadata::EnableRegistry { id: registry(entity)? },
        Kind::CreateDevice => OperationMetadata::CreateDevice { id: device(entity)? },
        Kind::UpdateDevice => OperationMetadata::UpdateDevice { id: device(entity)? },
        Kind::DeleteDevice => OperationMetadata::DeleteDevice { id: device(entity)? },
        Kind::CreateBroker => OperationMetadata::CreateBroker { id: broker(entity)? },
        Kind::UpdateBroker => OperationMetadata::UpdateBroker { id: broker(entity)? },
        Kind::DeleteBroker => OperationMetadata::DeleteBroker { id: broker(entity)? },
        Kind::AddCertificate => {
            OperationMetadata::AddCertificate { owner: entity, fingerprint: fingerprint() }
        }
        Kind::DeleteCertificate => {
            OperationMetadata::DeleteCertificate { owner: entity, fingerprint: fingerprint() }
        }
        Kind::AddPassword => OperationMetadata::AddPassword { owner: entity, id: password() },
        Kind::DeletePassword => OperationMetadata::DeletePassword { owner: entity, id: password() },
        Kind::AddExport => OperationMetadata::AddExport { registry_id: registry(entity)?, id: export() },
        Kind::DeleteExport => {
            OperationMetadata::DeleteExport { registry_id: registry(entity)?, id: export() }
        }
    })
}

const WRONG_ENTITY: WireError = WireError::Malformed { field: "operation entity" };

fn registry(entity: Owner) -> Result<RegistryId, WireError> {
    if let Owner::Registry(id) = entity { Ok(id) } else { Err(WRONG_ENTITY) }
}

fn device(entity: Owner) -> Result<DeviceId, WireError> {
    if let Owner::Device(id) = entity { Ok(id) } else { Err(WRONG_ENTITY) }
}

fn broker(entity: Owner) -> Result<BrokerId, WireError> {
    if let Owner::Broker(id) = entity { Ok(id) } else { Err(WRONG_ENTITY) }
}

fn response_to_wire(response: &OperationResponse) -> Response {
    match response {
        OperationResponse::Empty => Response::Empty(pb::operation::Empty {}),
        OperationResponse::Registry(registry) => Response::Registry(registry_to_wire(registry)),
        OperationResponse::Device(device) => Response::Device(device_to_wire(device)),
        OperationResponse::Broker(broker) => Response::Broker(broker_to_wire(broker)),
        OperationResponse::Certificate { certificate, .. } => {
            Response::Certificate(certificate_to_wire(certificate))
        }
        OperationResponse::Password { created_at, .. } => {
            Response::Password(pb::operation::AddedPassword { created_at: created_at.nanoseconds })
        }
        OperationResponse::Export(export) => Response::Export(export_to_wire(export)),
    }
}

fn response_from_wire(
    response: Response,
    entity: &Owner,
    part: &str,
) -> Result<OperationResponse, WireError> {
    Ok(match response {
        Response::Empty(_) => OperationResponse::Empty,
        Response::Registry(registry) => OperationResponse::Registry(Arc::new(registry_from_wire(registry)?)),
        Response::Device(device) => OperationResponse::Device(Arc::new(device_from_wire(device))),
        Response::Broker(broker) => OperationResponse::Broker(Arc::new(broker_from_wire(broker)?)),
        Response::Certificate(certificate) => {
            let certificate = Arc::new(certificate_from_wire(certificate)?);
            OperationResponse::Certificate { owner: entity.clone(), certificate }
        }
        Response::Password(password) => OperationResponse::Password {
            owner: entity.clone(),
            id: PasswordId::new(part),
            created_at: time(password.created_at),
        },
        Response::Export(export) => OperationResponse::Export(Arc::new(export_from_wire(export))),
    })
}
