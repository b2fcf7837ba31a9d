//! Devices and their monitoring data.

use rookery_proto::yandex::cloud::iot::devices::v1 as pb;

use super::attributes::{labels_to_pb, topic_aliases_to_pb};
use super::timestamp;
use crate::domain::catalog::Device;
use crate::domain::monitoring::MonitoringRecord;

/// A device as the API shows it in the BASIC view.
pub fn device(device: &Device) -> pb::Device {
    pb::Device {
        id: device.id.to_string(),
        registry_id: device.registry_id.to_string(),
        created_at: Some(timestamp(device.created_at)),
        name: device.name.to_string(),
        description: device.description.to_string(),
        topic_aliases: topic_aliases_to_pb(&device.topic_aliases),
        status: pb::device::Status::Active.into(),
        monitoring_data: None,
        labels: labels_to_pb(&device.labels),
    }
}

/// What the FULL view adds. Unset times are absent.
pub fn monitoring_data(monitoring: &MonitoringRecord) -> pb::DeviceMonitoringData {
    pb::DeviceMonitoringData {
        last_auth_ip: monitoring.last_auth_ip.map(|address| address.to_string()).unwrap_or_default(),
        last_auth_time: monitoring.last_auth_time.map(timestamp),
        last_pub_activity_time: monitoring.last_pub_activity_time.map(timestamp),
        last_sub_activity_time: monitoring.last_sub_activity_time.map(timestamp),
        last_online_time: monitoring.last_online_time.map(timestamp),
        last_disconnect_time: monitoring.last_disconnect_time.map(timestamp),
    }
}
