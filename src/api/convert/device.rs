//! Devices and their monitoring data.

use rookery_proto::yandex::cloud::iot::devices::v1 as pb;

use super::attributes::{labels_to_pb, topic_aliases_to_pb};
use super::timestamp;
use crate::domain::catalog::{Device, Monitoring};

/// A device as the API shows it; monitoring data belongs to the FULL view only.
pub fn device(device: &Device, monitoring: Option<&Monitoring>) -> pb::Device {
    pb::Device {
        id: device.id.to_string(),
        registry_id: device.registry_id.to_string(),
        created_at: Some(timestamp(device.created_at)),
        name: device.name.to_string(),
        description: device.description.to_string(),
        topic_aliases: topic_aliases_to_pb(&device.topic_aliases),
        status: pb::device::Status::Active.into(),
        monitoring_data: monitoring.map(monitoring_data),
        labels: labels_to_pb(&device.labels),
    }
}

fn monitoring_data(monitoring: &Monitoring) -> pb::DeviceMonitoringData {
    pb::DeviceMonitoringData {
        last_auth_ip: monitoring.last_auth_ip.as_deref().unwrap_or_default().to_owned(),
        last_auth_time: monitoring.last_auth_time.map(timestamp),
        last_pub_activity_time: monitoring.last_pub_activity_time.map(timestamp),
        last_sub_activity_time: monitoring.last_sub_activity_time.map(timestamp),
        last_online_time: monitoring.last_online_time.map(timestamp),
        last_disconnect_time: monitoring.last_disconnect_time.map(timestamp),
    }
}
