//! Resources and the small values they are made of.

use std::net::IpAddr;

use bytes::Bytes;
use rookery_proto::rookery::storage::v1 as pb;
use smol_str::SmolStr;

use super::{WireError, required};
use crate::domain::catalog::{
    Broker, Device, Export, IdempotencyKey, IdempotencyRecord, Owner, Registry, RegistryStatus,
    StoredMessage, TopicAliases,
};
use crate::domain::credential::{Certificate, Fingerprint, Password};
use crate::domain::id::{
    BrokerId, DeviceId, ExportId, FolderId, OperationId, PasswordId, RegistryId, TokenId,
};
use crate::domain::labels::Labels;
use crate::domain::log_options::{LogDestination, LogLevel, LogOptions};
use crate::domain::monitoring::MonitoringRecord;
use crate::domain::principal::SpaceId;
use crate::domain::quota::CatalogLimits;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::{ApiToken, Role};
use crate::mqtt::qos::QoS;

pub(super) fn time(nanoseconds: u64) -> Timestamp {
    Timestamp::from_nanoseconds(nanoseconds)
}

pub(super) fn digest(bytes: &Bytes, field: &'static str) -> Result<[u8; 32], WireError> {
    <[u8; 32]>::try_from(bytes.as_ref()).map_err(|_| WireError::Malformed { field })
}

fn pair(key: &str, value: &str) -> pb::Pair {
    pb::Pair { key: key.to_owned(), value: value.to_owned() }
}

pub(super) fn labels_to_wire(labels: &Labels) -> Vec<pb::Pair> {
    labels.iter().map(|(key, value)| pair(key, value)).collect()
}

pub(super) fn labels_from_wire(pairs: Vec<pb::Pair>) -> Labels {
    Labels::from_checked(pairs.into_iter().map(|pair| (pair.key.into(), pair.value.into())))
}

pub(super) fn aliases_to_wire(aliases: &TopicAliases) -> Vec<pb::Pair> {
    aliases.iter().map(|(alias, target)| pair(alias, target)).collect()
}

pub(super) fn aliases_from_wire(pairs: Vec<pb::Pair>) -> TopicAliases {
    pairs.into_iter().map(|pair| (pair.key.into(), pair.value.into())).collect()
}

pub(super) fn owner_to_wire(owner: &Owner) -> pb::Owner {
    let id = owner.id().to_owned();
    pb::Owner {
        kind: Some(match owner {
            Owner::Registry(_) => pb::owner::Kind::RegistryId(id),
            Owner::Device(_) => pb::owner::Kind::DeviceId(id),
            Owner::Broker(_) => pb::owner::Kind::BrokerId(id),
        }),
    }
}

pub(super) fn owner_from_wire(owner: Option<pb::Owner>) -> Result<Owner, WireError> {
    Ok(match required(owner.and_then(|owner| owner.kind), "owner")? {
        pb::owner::Kind::RegistryId(id) => Owner::Registry(RegistryId::new(id)),
        pb::owner::Kind::DeviceId(id) => Owner::Device(DeviceId::new(id)),
        pb::owner::Kind::BrokerId(id) => Owner::Broker(BrokerId::new(id)),
    })
}

pub(super) fn space_to_wire(space: &SpaceId) -> pb::Space {
    let id = space.as_str().to_owned();
    pb::Space {
        kind: Some(match space {
            SpaceId::Registry(_) => pb::space::Kind::RegistryId(id),
            SpaceId::Broker(_) => pb::space::Kind::BrokerId(id),
        }),
    }
}

pub(super) fn space_from_wire(space: Option<pb::Space>) -> Result<SpaceId, WireError> {
    Ok(match required(space.and_then(|space| space.kind), "space")? {
        pb::space::Kind::RegistryId(id) => SpaceId::Registry(RegistryId::new(id)),
        pb::space::Kind::BrokerId(id) => SpaceId::Broker(BrokerId::new(id)),
    })
}

pub(super) fn log_options_to_wire(options: &LogOptions) -> pb::LogOptions {
    let destination = options.destination.as_ref().map(|destination| match destination {
        LogDestination::LogGroup(id) => pb::log_options::Destination::LogGroupId(id.to_string()),
        LogDestination::Folder(id) => pb::log_options::Destination::FolderId(id.to_string()),
    });
    pb::LogOptions { disabled: options.disabled, destination, min_level: options.min_level.number() }
}

pub(super) fn log_options_from_wire(options: pb::LogOptions) -> Result<LogOptions, WireError> {
    let destination = options.destination.map(|destination| match destination {
        pb::log_options::Destination::LogGroupId(id) => LogDestination::LogGroup(id.into()),
        pb::log_options::Destination::FolderId(id) => LogDestination::Folder(id.into()),
    });
    let value = options.min_level;
    let min_level = LogLevel::try_from(value)
        .map_err(|_| WireError::UnknownValue { field: "min_level", value: value.into() })?;
    Ok(LogOptions { disabled: options.disabled, destination, min_level })
}

pub(super) fn registry_to_wire(registry: &Registry) -> pb::Registry {
    pb::Registry {
        id: registry.id.to_string(),
        folder_id: registry.folder_id.to_string(),
        created_at: registry.created_at.nanoseconds,
        name: registry.name.to_string(),
        description: registry.description.to_string(),
        labels: labels_to_wire(&registry.labels),
        disabled: registry.status == RegistryStatus::Disabled,
        log_options: Some(log_options_to_wire(&registry.log_options)),
    }
}

pub(super) fn registry_from_wire(registry: pb::Registry) -> Result<Registry, WireError> {
    let status = if registry.disabled { RegistryStatus::Disabled } else { RegistryStatus::Active };
    Ok(Registry {
        id: RegistryId::new(registry.id),
        folder_id: FolderId::new(registry.folder_id),
        created_at: time(registry.created_at),
        name: registry.name.into(),
        description: registry.description.into(),
        labels: labels_from_wire(registry.labels),
        status,
        log_options: log_options_from_wire(required(registry.log_options, "log_options")?)?,
    })
}

pub(super) fn device_to_wire(device: &Device) -> pb::Device {
    pb::Device {
        id: device.id.to_string(),
        registry_id: device.registry_id.to_string(),
        created_at: device.created_at.nanoseconds,
        name: device.name.to_string(),
        description: device.description.to_string(),
        labels: labels_to_wire(&device.labels),
        topic_aliases: aliases_to_wire(&device.topic_aliases),
    }
}

pub(super) fn device_from_wire(device: pb::Device) -> Device {
    Device {
        id: DeviceId::new(device.id),
        registry_id: RegistryId::new(device.registry_id),
        created_at: time(device.created_at),
        name: device.name.into(),
        description: device.description.into(),
        labels: labels_from_wire(device.labels),
        topic_aliases: aliases_from_wire(device.topic_aliases),
    }
}

pub(super) fn broker_to_wire(broker: &Broker) -> pb::Broker {
    pb::Broker {
        id: broker.id.to_string(),
        folder_id: broker.folder_id.to_string(),
        created_at: broker.created_at.nanoseconds,
        name: broker.name.to_string(),
        description: broker.description.to_string(),
        labels: labels_to_wire(&broker.labels),
        log_options: Some(log_options_to_wire(&broker.log_options)),
    }
}

pub(super) fn broker_from_wire(broker: pb::Broker) -> Result<Broker, WireError> {
    Ok(Broker {
        id: BrokerId::new(broker.id),
        folder_id: FolderId::new(broker.folder_id),
        created_at: time(broker.created_at),
        name: broker.name.into(),
        description: broker.description.into(),
        labels: labels_from_wire(broker.labels),
        log_options: log_options_from_wire(required(broker.log_options, "log_options")?)?,
    })
}

pub(super) fn certificate_to_wire(certificate: &Certificate) -> pb::Certificate {
    pb::Certificate {
        digest: Bytes::copy_from_slice(&certificate.digest),
        fingerprint: certificate.fingerprint.to_string(),
        certificate_data: certificate.certificate_data.to_string(),
        created_at: certificate.created_at.nanoseconds,
    }
}

pub(super) fn certificate_from_wire(certificate: pb::Certificate) -> Result<Certificate, WireError> {
    Ok(Certificate {
        digest: digest(&certificate.digest, "certificate digest")?,
        fingerprint: Fingerprint::from_checked(certificate.fingerprint),
        certificate_data: certificate.certificate_data.into(),
        created_at: time(certificate.created_at),
    })
}

pub(super) fn password_to_wire(password: &Password) -> pb::Password {
    pb::Password {
        id: password.id.to_string(),
        hash: password.hash.to_string(),
        created_at: password.created_at.nanoseconds,
    }
}

pub(super) fn password_from_wire(password: pb::Password) -> Password {
    Password {
        id: PasswordId::new(password.id),
        hash: password.hash.into(),
        created_at: time(password.created_at),
    }
}

pub(super) fn export_to_wire(export: &Export) -> pb::Export {
    pb::Export {
        id: export.id.to_string(),
        name: export.name.to_string(),
        registry_id: export.registry_id.to_string(),
        mqtt_topic_filter: export.mqtt_topic_filter.to_string(),
        database: export.database.to_string(),
        stream: export.stream.to_string(),
        service_account_id: export.service_account_id.to_string(),
        created_at: export.created_at.nanoseconds,
    }
}

pub(super) fn export_from_wire(export: pb::Export) -> Export {
    Export {
        id: ExportId::new(export.id),
        name: export.name.into(),
        registry_id: RegistryId::new(export.registry_id),
        mqtt_topic_filter: export.mqtt_topic_filter.into(),
        database: export.database.into(),
        stream: export.stream.into(),
        service_account_id: export.service_account_id.into(),
        created_at: time(export.created_at),
    }
}

pub(super) fn token_to_wire(token: &ApiToken) -> pb::ApiToken {
    let role = match token.role {
        Role::Viewer => pb::api_token::Role::Viewer,
        Role::Editor => pb::api_token::Role::Editor,
        Role::Administrator => pb::api_token::Role::Administrator,
    };
    pb::ApiToken {
        id: token.id.to_string(),
        name: token.name.to_string(),
        role: role.into(),
        hash: Bytes::copy_from_slice(&token.hash),
        created_at: token.created_at.nanoseconds,
        created_by: token.created_by.to_string(),
    }
}

pub(super) fn token_from_wire(token: pb::ApiToken) -> Result<ApiToken, WireError> {
    let role = match token.role() {
        pb::api_token::Role::Viewer => Role::Viewer,
        pb::api_token::Role::Editor => Role::Editor,
        pb::api_token::Role::Administrator => Role::Administrator,
        pb::api_token::Role::Unspecified => {
            return Err(WireError::UnknownValue { field: "role", value: token.role.into() });
        }
    };
    Ok(ApiToken {
        id: TokenId::new(token.id),
        name: token.name.into(),
        role,
        hash: digest(&token.hash, "token hash")?,
        created_at: time(token.created_at),
        created_by: token.created_by.into(),
    })
}

pub(super) fn qos_from_wire(qos: u32) -> Result<QoS, WireError> {
    match qos {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        _ => Err(WireError::UnknownValue { field: "qos", value: qos.into() }),
    }
}

pub(super) fn message_to_wire(message: &StoredMessage) -> pb::StoredMessage {
    pb::StoredMessage {
        topic: message.topic.to_string(),
        payload: message.payload.clone(),
        qos: message.qos.bits().into(),
        index: message.index,
        at: message.at.nanoseconds,
    }
}

pub(super) fn message_from_wire(message: pb::StoredMessage) -> Result<StoredMessage, WireError> {
    if message.payload.is_empty() {
        return Err(WireError::Malformed { field: "payload" });
    }
    Ok(StoredMessage {
        topic: message.topic.into(),
        payload: own(&message.payload),
        qos: qos_from_wire(message.qos)?,
        index: message.index,
        at: time(message.at),
    })
}

/// A copy of its own: decoded bytes share the memory of the whole entry that they came in, and would keep it.
pub(super) fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(super) fn monitoring_to_wire(monitoring: &MonitoringRecord) -> pb::Monitoring {
    let nanoseconds = |time: Option<Timestamp>| time.map(|time| time.nanoseconds);
    pb::Monitoring {
        last_auth_ip: monitoring.last_auth_ip.map(|address| address.to_string()),
        last_auth_time: nanoseconds(monitoring.last_auth_time),
        last_pub_activity_time: nanoseconds(monitoring.last_pub_activity_time),
        last_sub_activity_time: nanoseconds(monitoring.last_sub_activity_time),
        last_online_time: nanoseconds(monitoring.last_online_time),
        last_disconnect_time: nanoseconds(monitoring.last_disconnect_time),
    }
}

pub(super) fn monitoring_from_wire(
    monitoring: Option<pb::Monitoring>,
) -> Result<MonitoringRecord, WireError> {
    let monitoring = required(monitoring, "monitoring")?;
    let last_auth_ip = match monitoring.last_auth_ip {
        Some(address) => {
            let address = address.parse::<IpAddr>();
            Some(address.map_err(|_| WireError::Malformed { field: "last_auth_ip" })?)
        }
        None => None,
    };
    Ok(MonitoringRecord {
        last_auth_ip,
        last_auth_time: monitoring.last_auth_time.map(time),
        last_pub_activity_time: monitoring.last_pub_activity_time.map(time),
        last_sub_activity_time: monitoring.last_sub_activity_time.map(time),
        last_online_time: monitoring.last_online_time.map(time),
        last_disconnect_time: monitoring.last_disconnect_time.map(time),
    })
}

pub(super) fn key_to_wire(key: &IdempotencyKey) -> pb::IdempotencyKey {
    pb::IdempotencyKey { method: key.method.to_string(), key: key.key.to_string() }
}

pub(super) fn key_from_wire(key: pb::IdempotencyKey) -> IdempotencyKey {
    IdempotencyKey { method: key.method.into(), key: key.key.into() }
}

pub(super) fn idempotency_to_wire(record: &IdempotencyRecord) -> pb::IdempotencyRecord {
    pb::IdempotencyRecord {
        subject: record.subject.to_string(),
        key: Some(key_to_wire(&record.key)),
        operation_id: record.operation_id.to_string(),
        at: record.at.nanoseconds,
    }
}

pub(super) fn idempotency_from_wire(record: pb::IdempotencyRecord) -> Result<IdempotencyRecord, WireError> {
    Ok(IdempotencyRecord {
        subject: SmolStr::new(record.subject),
        key: key_from_wire(required(record.key, "idempotency key")?),
        operation_id: OperationId::new(record.operation_id),
        at: time(record.at),
    })
}

pub(super) fn limits_to_wire(limits: &CatalogLimits) -> pb::Limits {
    pb::Limits {
        registries_max: limits.registries_max,
        devices_max: limits.devices_max,
        brokers_max: limits.brokers_max,
        certificates_per_entity_max: limits.certificates_per_entity_max,
        passwords_per_entity_max: limits.passwords_per_entity_max,
        permanent_topics_per_entity_max: limits.permanent_topics_per_entity_max,
        permanent_bytes_max: limits.permanent_bytes_max,
        tokens_max: limits.tokens_max,
        operations_per_resource_max: limits.operations_per_resource_max,
        operations_max: limits.operations_max,
        operation_retention_s: limits.operation_retention_s,
        idempotency_keys_max: limits.idempotency_keys_max,
        idempotency_retention_s: limits.idempotency_retention_s,
        clients_per_broker_max: limits.clients_per_broker_max,
    }
}

pub(super) fn limits_from_wire(limits: pb::Limits) -> CatalogLimits {
    CatalogLimits {
        registries_max: limits.registries_max,
        devices_max: limits.devices_max,
        brokers_max: limits.brokers_max,
        clients_per_broker_max: limits.clients_per_broker_max,
        certificates_per_entity_max: limits.certificates_per_entity_max,
        passwords_per_entity_max: limits.passwords_per_entity_max,
        permanent_topics_per_entity_max: limits.permanent_topics_per_entity_max,
        permanent_bytes_max: limits.permanent_bytes_max,
        tokens_max: limits.tokens_max,
        operations_per_resource_max: limits.operations_per_resource_max,
        operations_max: limits.operations_max,
        operation_retention_s: limits.operation_retention_s,
        idempotency_keys_max: limits.idempotency_keys_max,
        idempotency_retention_s: limits.idempotency_retention_s,
    }
}
