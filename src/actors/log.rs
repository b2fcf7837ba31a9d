//! The connection log: one line per event, with exactly the documented texts (`spec/integrations.md` section 3).

use std::net::SocketAddr;

use super::authenticator::{Identity, Login, Refusal};
use super::close::CloseReason;

/// The log target of all lines of the connection log.
pub const TARGET: &str = "rookery::connections";

/// CONNACK 0 was given.
pub fn connected(identity: &Identity, peer: SocketAddr, client_id: &str) {
    let entity = identity.principal.id();
    match &identity.login {
        Login::Certificate(fingerprint) => tracing::info!(
            target: TARGET, entity,
            "connected, cert: \"{fingerprint}\", address: \"{peer}\", clientID: \"{client_id}\""
        ),
        // U-A12.
        Login::Password(_) => tracing::info!(
            target: TARGET, entity,
            "connected, login: \"{entity}\", address: \"{peer}\", clientID: \"{client_id}\""
        ),
    }
}

/// A session ended.
pub fn disconnected(identity: &Identity, client_id: &str, peer: SocketAddr, reason: &CloseReason) {
    let entity = identity.principal.id();
    match reason {
        CloseReason::PublishNotAllowed { .. } => {
            tracing::error!(target: TARGET, entity, client_id, %peer, "disconnected: {reason}");
        }
        CloseReason::Disconnected | CloseReason::StreamEnded => {
            tracing::info!(target: TARGET, entity, client_id, %peer, "disconnected: {reason}");
        }
        _ => tracing::warn!(target: TARGET, entity, client_id, %peer, "disconnected: {reason}"),
    }
}

/// Filters were answered with 0x80.
pub fn subscriptions_refused(identity: &Identity, client_id: &str, filters: &[&str]) {
    let entity = identity.principal.id();
    let quoted: Vec<String> = filters.iter().map(|filter| format!("\"{filter}\"")).collect();
    let list = quoted.join(", ");
    tracing::warn!(
        target: TARGET, entity, client_id,
        "some of subscriptions failed: not allowed to subscribe: [{list}]"
    );
}

/// A will was dropped because its topic is not allowed.
pub fn will_refused(identity: &Identity, topic: &str) {
    let entity = identity.principal.id();
    tracing::warn!(target: TARGET, entity, "will dropped: publish to topic \"{topic}\" not allowed");
}

/// CONNECT was refused. The password, of course, is not shown, and an id that nobody has is not either.
pub fn refused(refusal: &Refusal, peer: SocketAddr) {
    let reason = refusal.reason;
    match &refusal.known_entity {
        Some(entity) => {
            tracing::warn!(target: TARGET, entity = &**entity, "authentication failed: {reason}, address: \"{peer}\"");
        }
        None => tracing::debug!(target: TARGET, "authentication failed: {reason}, address: \"{peer}\""),
    }
}

/// A connection ended without a session.
pub fn ended_before_connect(peer: SocketAddr, reason: &CloseReason) {
    tracing::debug!(target: TARGET, %peer, "disconnected before CONNECT was accepted: {reason}");
}
