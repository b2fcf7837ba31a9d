//! Registries and data stream exports.

use rookery_proto::yandex::cloud::iot::devices::v1 as pb;

use super::attributes::{labels_to_pb, log_options_to_registry};
use super::timestamp;
use crate::domain::catalog::{AliasMatch, Export, Registry, RegistryStatus};

/// A registry as the API shows it.
pub fn registry(registry: &Registry) -> pb::Registry {
    let status = match registry.status {
        RegistryStatus::Active => pb::registry::Status::Active,
        RegistryStatus::Disabled => pb::registry::Status::Disabled,
    };
    pb::Registry {
        id: registry.id.to_string(),
        folder_id: registry.folder_id.to_string(),
        created_at: Some(timestamp(registry.created_at)),
        name: registry.name.to_string(),
        description: registry.description.to_string(),
        labels: labels_to_pb(&registry.labels),
        status: status.into(),
        log_group_id: String::new(),
        log_options: Some(log_options_to_registry(&registry.log_options)),
    }
}

/// A topic alias of one of the registry's devices.
pub fn device_alias(alias: &AliasMatch<'_>) -> pb::DeviceAlias {
    pb::DeviceAlias {
        device_id: alias.device.to_string(),
        topic_prefix: alias.target.to_owned(),
        alias: alias.alias.to_owned(),
    }
}

/// A data stream export as the API shows it.
pub fn export(export: &Export) -> pb::DataStreamExport {
    pb::DataStreamExport {
        id: export.id.to_string(),
        name: export.name.to_string(),
        registry_id: export.registry_id.to_string(),
        mqtt_topic_filter: export.mqtt_topic_filter.to_string(),
        database: export.database.to_string(),
        stream: export.stream.to_string(),
        service_account_id: export.service_account_id.to_string(),
        created_at: Some(timestamp(export.created_at)),
    }
}
