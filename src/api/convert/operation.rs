//! Operations: the envelope, and which wire types go into it (`spec/api.md`, the method tables).

use prost_types::Any;
use rookery_proto::yandex::cloud::iot::broker::v1 as brokers;
use rookery_proto::yandex::cloud::iot::devices::v1 as devices;
use rookery_proto::yandex::cloud::operation as pb;

use super::credential::{
    broker_certificate, broker_password, device_certificate, device_password, registry_certificate,
    registry_password,
};
use super::{any, timestamp};
use crate::domain::catalog::{Operation, OperationMetadata, OperationResponse, Owner};

/// An operation as the API shows it: always finished (U-P1).
pub fn operation(operation: &Operation) -> pb::Operation {
    pb::Operation {
        id: operation.id.to_string(),
        description: operation.metadata.description().to_owned(),
        created_at: Some(timestamp(operation.created_at)),
        created_by: operation.created_by.to_string(),
        modified_at: Some(timestamp(operation.created_at)),
        done: true,
        metadata: Some(metadata(&operation.metadata)),
        result: Some(pb::operation::Result::Response(response(&operation.response))),
    }
}

fn metadata(metadata: &OperationMetadata) -> Any {
    use OperationMetadata as M;
    match metadata {
        M::CreateRegistry { id } => any(&devices::CreateRegistryMetadata { registry_id: id.to_string() }),
        M::UpdateRegistry { id } => any(&devices::UpdateRegistryMetadata { registry_id: id.to_string() }),
        M::DeleteRegistry { id } => any(&devices::DeleteRegistryMetadata { registry_id: id.to_string() }),
        M::DisableRegistry { id } => any(&devices::DisableRegistryMetadata { registry_id: id.to_string() }),
        M::EnableRegistry { id } => any(&devices::EnableRegistryMetadata { registry_id: id.to_string() }),
        M::CreateDevice { id } => any(&devices::CreateDeviceMetadata { device_id: id.to_string() }),
        M::UpdateDevice { id } => any(&devices::UpdateDeviceMetadata { device_id: id.to_string() }),
        M::DeleteDevice { id } => any(&devices::DeleteDeviceMetadata { device_id: id.to_string() }),
        M::CreateBroker { id } => any(&brokers::CreateBrokerMetadata { broker_id: id.to_string() }),
        M::UpdateBroker { id } => any(&brokers::UpdateBrokerMetadata { broker_id: id.to_string() }),
        M::DeleteBroker { id } => any(&brokers::DeleteBrokerMetadata { broker_id: id.to_string() }),
        M::AddCertificate { owner, fingerprint } => add_certificate(owner, fingerprint.to_string()),
        M::DeleteCertificate { owner, fingerprint } => delete_certificate(owner, fingerprint.to_string()),
        M::AddPassword { owner, id } => add_password(owner, id.to_string()),
        M::DeletePassword { owner, id } => delete_password(owner, id.to_string()),
        M::AddExport { registry_id, id } => any(&devices::AddDataStreamExportMetadata {
            registry_id: registry_id.to_string(),
            data_stream_export_id: id.to_string(),
        }),
        M::DeleteExport { registry_id, id } => any(&devices::DeleteDataStreamExportMetadata {
            registry_id: registry_id.to_string(),
            data_stream_export_id: id.to_string(),
        }),
    }
}

fn add_certificate(owner: &Owner, fingerprint: String) -> Any {
    match owner {
        Owner::Registry(id) => {
            any(&devices::AddRegistryCertificateMetadata { registry_id: id.to_string(), fingerprint })
        }
        Owner::Device(id) => {
            any(&devices::AddDeviceCertificateMetadata { device_id: id.to_string(), fingerprint })
        }
        Owner::Broker(id) => {
            any(&brokers::AddBrokerCertificateMetadata { broker_id: id.to_string(), fingerprint })
        }
    }
}

fn delete_certificate(owner: &Owner, fingerprint: String) -> Any {
    match owner {
        Owner::Registry(id) => {
            any(&devices::DeleteRegistryCertificateMetadata { registry_id: id.to_string(), fingerprint })
        }
        Owner::Device(id) => {
            any(&devices::DeleteDeviceCertificateMetadata { device_id: id.to_string(), fingerprint })
        }
        Owner::Broker(id) => {
            any(&brokers::DeleteBrokerCertificateMetadata { broker_id: id.to_string(), fingerprint })
        }
    }
}

fn add_password(owner: &Owner, password_id: String) -> Any {
    match owner {
        Owner::Registry(id) => {
            any(&devices::AddRegistryPasswordMetadata { registry_id: id.to_string(), password_id })
        }
        Owner::Device(id) => {
            any(&devices::AddDevicePasswordMetadata { device_id: id.to_string(), password_id })
        }
        Owner::Broker(id) => {
            any(&brokers::AddBrokerPasswordMetadata { broker_id: id.to_string(), password_id })
        }
    }
}

fn delete_password(owner: &Owner, password_id: String) -> Any {
    match owner {
        Owner::Registry(id) => {
            any(&devices::DeleteRegistryPasswordMetadata { registry_id: id.to_string(), password_id })
        }
        Owner::Device(id) => {
            any(&devices::DeleteDevicePasswordMetadata { device_id: id.to_string(), password_id })
        }
        Owner::Broker(id) => {
            any(&brokers::DeleteBrokerPasswordMetadata { broker_id: id.to_string(), password_id })
        }
    }
}

fn response(response: &OperationResponse) -> Any {
    match response {
        OperationResponse::Empty => any(&()),
        OperationResponse::Registry(registry) => any(&super::registry::registry(registry)),
        OperationResponse::Device(device) => any(&super::device::device(device)),
        OperationResponse::Broker(broker) => any(&super::broker::broker(broker)),
        OperationResponse::Certificate { owner, certificate } => match owner {
            Owner::Registry(id) => any(&registry_certificate(id.as_str(), certificate)),
            Owner::Device(id) => any(&device_certificate(id.as_str(), certificate)),
            Owner::Broker(id) => any(&broker_certificate(id.as_str(), certificate)),
        },
        OperationResponse::Password { owner, id: password, created_at } => match owner {
            Owner::Registry(id) => any(&registry_password(id.as_str(), password, *created_at)),
            Owner::Device(id) => any(&device_password(id.as_str(), password, *created_at)),
            Owner::Broker(id) => any(&broker_password(id.as_str(), password, *created_at)),
        },
        OperationResponse::Export(export) => any(&super::registry::export(export)),
    }
}
