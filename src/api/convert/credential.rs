//! Certificates and passwords, which exist once per kind of owner on the wire.

use rookery_proto::yandex::cloud::iot::{broker, devices};

use super::timestamp;
use crate::domain::credential::Certificate;
use crate::domain::id::PasswordId;
use crate::domain::timestamp::Timestamp;

/// A certificate of a registry.
pub fn registry_certificate(
    registry_id: &str,
    certificate: &Certificate,
) -> devices::v1::RegistryCertificate {
    devices::v1::RegistryCertificate {
        registry_id: registry_id.to_owned(),
        fingerprint: certificate.fingerprint.to_string(),
        certificate_data: certificate.certificate_data.to_string(),
        created_at: Some(timestamp(certificate.created_at)),
    }
}

/// A certificate of a device.
pub fn device_certificate(device_id: &str, certificate: &Certificate) -> devices::v1::DeviceCertificate {
    devices::v1::DeviceCertificate {
        device_id: device_id.to_owned(),
        fingerprint: certificate.fingerprint.to_string(),
        certificate_data: certificate.certificate_data.to_string(),
        created_at: Some(timestamp(certificate.created_at)),
    }
}

/// A certificate of a broker.
pub fn broker_certificate(broker_id: &str, certificate: &Certificate) -> broker::v1::BrokerCertificate {
    broker::v1::BrokerCertificate {
        broker_id: broker_id.to_owned(),
        fingerprint: certificate.fingerprint.to_string(),
        certificate_data: certificate.certificate_data.to_string(),
        created_at: Some(timestamp(certificate.created_at)),
    }
}

/// A password of a registry.
pub fn registry_password(registry_id: &str, id: &PasswordId, at: Timestamp) -> devices::v1::RegistryPassword {
    devices::v1::RegistryPassword {
        registry_id: registry_id.to_owned(),
        id: id.to_string(),
        created_at: Some(timestamp(at)),
    }
}

/// A password of a device.
pub fn device_password(device_id: &str, id: &PasswordId, at: Timestamp) -> devices::v1::DevicePassword {
    devices::v1::DevicePassword {
        device_id: device_id.to_owned(),
        id: id.to_string(),
        created_at: Some(timestamp(at)),
    }
}

/// A password of a broker.
pub fn broker_password(broker_id: &str, id: &PasswordId, at: Timestamp) -> broker::v1::BrokerPassword {
    broker::v1::BrokerPassword {
        broker_id: broker_id.to_owned(),
        id: id.to_string(),
        created_at: Some(timestamp(at)),
    }
}
