//! Brokers.

use rookery_proto::yandex::cloud::iot::broker::v1 as pb;

use super::attributes::{labels_to_pb, log_options_to_broker};
use super::timestamp;
use crate::domain::catalog::Broker;

/// A broker as the API shows it.
pub fn broker(broker: &Broker) -> pb::Broker {
    pb::Broker {
        id: broker.id.to_string(),
        folder_id: broker.folder_id.to_string(),
        created_at: Some(timestamp(broker.created_at)),
        name: broker.name.to_string(),
        description: broker.description.to_string(),
        labels: labels_to_pb(&broker.labels),
        status: pb::broker::Status::Active.into(),
        log_options: Some(log_options_to_broker(&broker.log_options)),
    }
}
