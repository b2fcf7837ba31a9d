//! The API's way into the message path: the same resolution, permission, storage and delivery as a PUBLISH (U-P6).

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::environment::Environment;
use super::{permanent, routes};
use crate::domain::principal::Principal;
use crate::domain::resolve::PublishRefusal;
use crate::mqtt::qos::QoS;
use crate::store::StoreError;

/// Why a publish from outside of MQTT was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    /// The topic resolves to nothing, or is not allowed.
    #[error(transparent)]
    Refused(#[from] PublishRefusal),
    /// The topic is permanent and the message could not be stored.
    #[error("message could not be stored: {0}")]
    NotStored(StoreError),
    /// The node has lost its cluster, and can say of nothing that all subscribers get it.
    #[error("the node does not serve")]
    Fenced,
    /// The node stops.
    #[error("the node is shutting down")]
    Closing,
}

/// Publishes on behalf of an existing principal, as with QoS 1: answers when the message is with its subscribers'
/// sessions, and on disk if its topic is permanent.
///
/// # Errors
/// [`PublisherError`]; nothing was delivered then, or too little, if the node lost its lease meanwhile.
pub async fn publish(
    environment: &Arc<Environment>,
    principal: &Principal,
    topic: &str,
    payload: Bytes,
) -> Result<(), PublisherError> {
    if !environment.lease.is_valid() {
        return Err(PublisherError::Fenced);
    }
    let space = environment.directory.space(&principal.space());
    let route = routes::compute(environment, &space, principal, topic)?;
    if !route.topic.is_permanent() {
        routes::deliver_from_outside(&environment.lanes, &route, &payload, QoS::AtLeastOnce);
        return if environment.lease.is_valid() { Ok(()) } else { Err(PublisherError::Fenced) };
    }
    let (sender, receiver) = oneshot::channel();
    permanent::store(environment, &space, &route.topic, payload, QoS::AtLeastOnce, move |result| {
        // The caller may have gone away; the message is stored all the same.
        let _ = sender.send(result);
    });
    match receiver.await {
        Ok(result) => result.map_err(PublisherError::NotStored),
        Err(_) => Err(PublisherError::Closing),
    }
}
