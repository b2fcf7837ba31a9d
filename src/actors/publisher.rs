//! The API's way into the message path: the same resolution, permission, storage and delivery as a PUBLISH (U-P6).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::environment::Environment;
use super::routes::Route;
use super::{permanent, routes};
use crate::domain::principal::Principal;
use crate::domain::resolve::PublishRefusal;
use crate::mqtt::qos::QoS;
use crate::store::StoreError;
use crate::store::now_ns;

/// Why a publish from outside of MQTT was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    /// The topic resolves to nothing, or is not allowed.
    #[error(transparent)]
    Refused(#[from] PublishRefusal),
    /// The topic is permanent and the message could not be stored.
    #[error("message could not be stored: {0}")]
    NotStored(StoreError),
    /// Too much is on the way to another node with subscribers already, or the broker exceeds its rate.
    #[error("too many messages wait for another node, or come at once")]
    Congested,
    /// The node has no part in its cluster now, or lost it before the message was known to be with all its subscribers'
    /// sessions. They may get it all the same.
    #[error("the node has lost its cluster")]
    Fenced,
    /// Another node did not take the message in time. Its sessions may get it all the same.
    #[error("another node did not take the message within {} s", TAKEN_WITHIN.as_secs())]
    NotTaken,
    /// The node stops.
    #[error("the node is shutting down")]
    Closing,
}

/// How long the API waits for other nodes. A node that is silent for longer is given up by the cluster, which ends the
/// waiting too.
const TAKEN_WITHIN: Duration = Duration::from_secs(15);

/// Publishes on behalf of an existing principal, as with QoS 1: answers when the message is with its subscribers'
/// sessions on all nodes, and on disk if its topic is permanent.
///
/// # Errors
/// [`PublisherError`]; nothing was delivered then, unless the error says so.
pub async fn publish(
    environment: &Arc<Environment>,
    principal: &Principal,
    topic: &str,
    payload: Bytes,
) -> Result<(), PublisherError> {
    // Before the route is looked up: what was found under no lease may be old.
    let epoch = environment.lease.epoch().ok_or(PublisherError::Fenced)?;
    let space = environment.directory.space(&principal.space());
    let route = routes::compute(environment, &space, principal, topic)?;
    if let (Principal::Broker(_), Some(rate)) = (principal, environment.settings.broker_rate)
        && !space.admits(rate, now_ns())
    {
        return Err(PublisherError::Congested);
    }
    if !route.topic.is_permanent() {
        deliver(environment, route, &payload).await?;
        // As with PUBACK: only a node that was a part of the cluster all along knows who should have got the message.
        let is_same = environment.lease.epoch() == Some(epoch);
        return if is_same { Ok(()) } else { Err(PublisherError::Fenced) };
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

async fn deliver(environment: &Environment, route: Route, payload: &[u8]) -> Result<(), PublisherError> {
    if environment.forwarding.is_congested(&route) {
        return Err(PublisherError::Congested);
    }
    let tickets = routes::deliver_from_outside(environment, &route, payload, QoS::AtLeastOnce);
    drop(route);
    let taken = environment.forwarding.wait_for(&tickets);
    tokio::time::timeout(TAKEN_WITHIN, taken).await.map_err(|_| PublisherError::NotTaken)
}
