//! The changes of the management API.

use bytes::Bytes;
use rookery_proto::rookery::storage::v1 as pb;

use super::resource::{
    aliases_from_wire, aliases_to_wire, digest, labels_from_wire, labels_to_wire, log_options_from_wire,
    log_options_to_wire, owner_from_wire, owner_to_wire,
};
use super::{WireError, required};
use crate::domain::catalog::{
    AttributesPatch, Change, CreateBroker, CreateDevice, CreateRegistry, NewCertificate, NewCredentials,
    NewExport, NewPassword, UpdateBroker, UpdateDevice, UpdateRegistry,
};
use crate::domain::credential::Fingerprint;
use crate::domain::id::{BrokerId, DeviceId, ExportId, FolderId, PasswordId, RegistryId};
use crate::domain::log_options::LogOptions;
use pb::mutation::Change as WireChange;

pub(super) fn change_to_wire(change: &Change) -> WireChange {
    match change {
        Change::CreateRegistry(input) => WireChange::CreateRegistry(create_registry_to_wire(input)),
        Change::UpdateRegistry(input) => WireChange::UpdateRegistry(pb::UpdateRegistry {
            id: input.id.to_string(),
            attributes: Some(patch_to_wire(&input.attributes)),
            log_options: log_patch_to_wire(input.log_options.as_ref()),
        }),
        Change::DeleteRegistry { id } => WireChange::DeleteRegistry(id.to_string()),
        Change::DisableRegistry { id } => WireChange::DisableRegistry(id.to_string()),
        Change::EnableRegistry { id } => WireChange::EnableRegistry(id.to_string()),
        Change::CreateDevice(input) => WireChange::CreateDevice(create_device_to_wire(input)),
        Change::UpdateDevice(input) => {
            let pairs = input.topic_aliases.as_ref().map(aliases_to_wire);
            WireChange::UpdateDevice(pb::UpdateDevice {
                id: input.id.to_string(),
                attributes: Some(patch_to_wire(&input.attributes)),
                topic_aliases: pairs.map(|pairs| pb::Pairs { pairs }),
            })
        }
        Change::DeleteDevice { id } => WireChange::DeleteDevice(id.to_string()),
        Change::CreateBroker(input) => WireChange::CreateBroker(create_broker_to_wire(input)),
        Change::UpdateBroker(input) => WireChange::UpdateBroker(pb::UpdateBroker {
            id: input.id.to_string(),
            attributes: Some(patch_to_wire(&input.attributes)),
            log_options: log_patch_to_wire(input.log_options.as_ref()),
        }),
        Change::DeleteBroker { id } => WireChange::DeleteBroker(id.to_string()),
        Change::AddCertificate { owner, certificate } => WireChange::AddCertificate(pb::AddCertificate {
            owner: Some(owner_to_wire(owner)),
            certificate: Some(certificate_to_wire(certificate)),
        }),
        Change::DeleteCertificate { owner, fingerprint } => {
            let fingerprint = fingerprint.to_string();
            WireChange::DeleteCertificate(pb::DeleteCertificate {
                owner: Some(owner_to_wire(owner)),
                fingerprint,
            })
        }
        Change::AddPassword { owner, password } => WireChange::AddPassword(pb::AddPassword {
            owner: Some(owner_to_wire(owner)),
            password: Some(password_to_wire(password)),
        }),
        Change::DeletePassword { owner, id } => {
            let password_id = id.to_string();
            WireChange::DeletePassword(pb::DeletePassword { owner: Some(owner_to_wire(owner)), password_id })
        }
        Change::AddExport(input) => WireChange::AddExport(export_to_wire(input)),
        Change::DeleteExport { registry_id, id } => WireChange::DeleteExport(pb::DeleteExport {
            registry_id: registry_id.to_string(),
            id: id.to_string(),
        }),
    }
}

pub(super) fn change_from_wire(change: WireChange) -> Result<Change, WireError> {
    Ok(match change {
        WireChange::CreateRegistry(input) => Change::CreateRegistry(create_registry_from_wire(input)?),
        WireChange::UpdateRegistry(input) => Change::UpdateRegistry(UpdateRegistry {
            id: RegistryId::new(input.id),
            attributes: patch_from_wire(required(input.attributes, "attributes")?),
            log_options: log_patch_from_wire(input.log_options)?,
        }),
        WireChange::DeleteRegistry(id) => Change::DeleteRegistry { id: RegistryId::new(id) },
        WireChange::DisableRegistry(id) => Change::DisableRegistry { id: RegistryId::new(id) },
        WireChange::EnableRegistry(id) => Change::EnableRegistry { id: RegistryId::new(id) },
        WireChange::CreateDevice(input) => Change::CreateDevice(create_device_from_wire(input)?),
        WireChange::UpdateDevice(input) => Change::UpdateDevice(UpdateDevice {
            id: DeviceId::new(input.id),
            attributes: patch_from_wire(required(input.attributes, "attributes")?),
            topic_aliases: input.topic_aliases.map(|aliases| aliases_from_wire(aliases.pairs)),
        }),
        WireChange::DeleteDevice(id) => Change::DeleteDevice { id: DeviceId::new(id) },
        WireChange::CreateBroker(input) => Change::CreateBroker(create_broker_from_wire(input)?),
        WireChange::UpdateBroker(input) => Change::UpdateBroker(UpdateBroker {
            id: BrokerId::new(input.id),
            attributes: patch_from_wire(required(input.attributes, "attributes")?),
            log_options: log_patch_from_wire(input.log_options)?,
        }),
        WireChange::DeleteBroker(id) => Change::DeleteBroker { id: BrokerId::new(id) },
        WireChange::AddCertificate(input) => Change::AddCertificate {
            owner: owner_from_wire(input.owner)?,
            certificate: certificate_from_wire(required(input.certificate, "certificate")?)?,
        },
        WireChange::DeleteCertificate(input) => Change::DeleteCertificate {
            owner: owner_from_wire(input.owner)?,
            fingerprint: Fingerprint::from_checked(input.fingerprint),
        },
        WireChange::AddPassword(input) => Change::AddPassword {
            owner: owner_from_wire(input.owner)?,
            password: password_from_wire(required(input.password, "password")?),
        },
        WireChange::DeletePassword(input) => Change::DeletePassword {
            owner: owner_from_wire(input.owner)?,
            id: PasswordId::new(input.password_id),
        },
        WireChange::AddExport(input) => Change::AddExport(export_from_wire(input)),
        WireChange::DeleteExport(input) => Change::DeleteExport {
            registry_id: RegistryId::new(input.registry_id),
            id: ExportId::new(input.id),
        },
    })
}

fn create_registry_to_wire(input: &CreateRegistry) -> pb::CreateRegistry {
    pb::CreateRegistry {
        id: input.id.to_string(),
        folder_id: input.folder_id.to_string(),
        name: input.name.to_string(),
        description: input.description.to_string(),
        labels: labels_to_wire(&input.labels),
        log_options: input.log_options.as_ref().map(log_options_to_wire),
        credentials: Some(credentials_to_wire(&input.credentials)),
    }
}

fn create_registry_from_wire(input: pb::CreateRegistry) -> Result<CreateRegistry, WireError> {
    Ok(CreateRegistry {
        id: RegistryId::new(input.id),
        folder_id: FolderId::new(input.folder_id),
        name: input.name.into(),
        description: input.description.into(),
        labels: labels_from_wire(input.labels),
        log_options: input.log_options.map(log_options_from_wire).transpose()?,
        credentials: credentials_from_wire(required(input.credentials, "credentials")?)?,
    })
}

fn create_device_to_wire(input: &CreateDevice) -> pb::CreateDevice {
    pb::CreateDevice {
        id: input.id.to_string(),
        registry_id: input.registry_id.to_string(),
        name: input.name.to_string(),
        description: input.description.to_string(),
        labels: labels_to_wire(&input.labels),
        topic_aliases: aliases_to_wire(&input.topic_aliases),
        credentials: Some(credentials_to_wire(&input.credentials)),
    }
}

fn create_device_from_wire(input: pb::CreateDevice) -> Result<CreateDevice, WireError> {
    Ok(CreateDevice {
        id: DeviceId::new(input.id),
        registry_id: RegistryId::new(input.registry_id),
        name: input.name.into(),
        description: input.description.into(),
        labels: labels_from_wire(input.labels),
        topic_aliases: aliases_from_wire(input.topic_aliases),
        credentials: credentials_from_wire(required(input.credentials, "credentials")?)?,
    })
}

fn create_broker_to_wire(input: &CreateBroker) -> pb::CreateBroker {
    pb::CreateBroker {
        id: input.id.to_string(),
        folder_id: input.folder_id.to_string(),
        name: input.name.to_string(),
        description: input.description.to_string(),
        labels: labels_to_wire(&input.labels),
        log_options: input.log_options.as_ref().map(log_options_to_wire),
        credentials: Some(credentials_to_wire(&input.credentials)),
    }
}

fn create_broker_from_wire(input: pb::CreateBroker) -> Result<CreateBroker, WireError> {
    Ok(CreateBroker {
        id: BrokerId::new(input.id),
        folder_id: FolderId::new(input.folder_id),
        name: input.name.into(),
        description: input.description.into(),
        labels: labels_from_wire(input.labels),
        log_options: input.log_options.map(log_options_from_wire).transpose()?,
        credentials: credentials_from_wire(required(input.credentials, "credentials")?)?,
    })
}

fn patch_to_wire(patch: &AttributesPatch) -> pb::AttributesPatch {
    pb::AttributesPatch {
        name: patch.name.as_ref().map(ToString::to_string),
        description: patch.description.as_ref().map(ToString::to_string),
        labels: patch.labels.as_ref().map(|labels| pb::Pairs { pairs: labels_to_wire(labels) }),
    }
}

fn patch_from_wire(patch: pb::AttributesPatch) -> AttributesPatch {
    AttributesPatch {
        name: patch.name.map(Into::into),
        description: patch.description.map(Into::into),
        labels: patch.labels.map(|labels| labels_from_wire(labels.pairs)),
    }
}

fn log_patch_to_wire(patch: Option<&Option<LogOptions>>) -> Option<pb::LogOptionsPatch> {
    patch.map(|options| pb::LogOptionsPatch { log_options: options.as_ref().map(log_options_to_wire) })
}

fn log_patch_from_wire(patch: Option<pb::LogOptionsPatch>) -> Result<Option<Option<LogOptions>>, WireError> {
    patch.map(|patch| patch.log_options.map(log_options_from_wire).transpose()).transpose()
}

fn certificate_to_wire(certificate: &NewCertificate) -> pb::NewCertificate {
    pb::NewCertificate {
        digest: Bytes::copy_from_slice(&certificate.digest),
        fingerprint: certificate.fingerprint.to_string(),
        certificate_data: certificate.certificate_data.to_string(),
    }
}

fn certificate_from_wire(certificate: pb::NewCertificate) -> Result<NewCertificate, WireError> {
    Ok(NewCertificate {
        digest: digest(&certificate.digest, "certificate digest")?,
        fingerprint: Fingerprint::from_checked(certificate.fingerprint),
        certificate_data: certificate.certificate_data.into(),
    })
}

fn password_to_wire(password: &NewPassword) -> pb::NewPassword {
    pb::NewPassword { id: password.id.to_string(), hash: password.hash.to_string() }
}

fn password_from_wire(password: pb::NewPassword) -> NewPassword {
    NewPassword { id: PasswordId::new(password.id), hash: password.hash.into() }
}

fn credentials_to_wire(credentials: &NewCredentials) -> pb::NewCredentials {
    pb::NewCredentials {
        certificates: credentials.certificates.iter().map(certificate_to_wire).collect(),
        password: credentials.password.as_ref().map(password_to_wire),
    }
}

fn credentials_from_wire(credentials: pb::NewCredentials) -> Result<NewCredentials, WireError> {
    let certificates = credentials.certificates.into_iter().map(certificate_from_wire);
    Ok(NewCredentials {
        certificates: certificates.collect::<Result<_, _>>()?,
        password: credentials.password.map(password_from_wire),
    })
}

fn export_to_wire(export: &NewExport) -> pb::AddExport {
    pb::AddExport {
        id: export.id.to_string(),
        name: export.name.to_string(),
        registry_id: export.registry_id.to_string(),
        mqtt_topic_filter: export.mqtt_topic_filter.to_string(),
        database: export.database.to_string(),
        stream: export.stream.to_string(),
        service_account_id: export.service_account_id.to_string(),
    }
}

fn export_from_wire(export: pb::AddExport) -> NewExport {
    NewExport {
        id: ExportId::new(export.id),
        name: export.name.into(),
        registry_id: RegistryId::new(export.registry_id),
        mqtt_topic_filter: export.mqtt_topic_filter.into(),
        database: export.database.into(),
        stream: export.stream.into(),
        service_account_id: export.service_account_id.into(),
    }
}
