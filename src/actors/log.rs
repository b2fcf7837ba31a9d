//! The connection log: one line per event, with exactly the documented texts (`spec/integrations.md` section 3;
//! U-I8: ours where none is documented).

use std::fmt;
use std::net::SocketAddr;

use super::authenticator::{Identity, Login, Refusal};
use super::close::CloseReason;

/// The log target of all lines of the connection log.
pub const TARGET: &str = "rookery::connections";

/// Of the filters that were refused at once so many are named.
const FILTERS_NAMED_MAX: usize = 100;

/// Texts of clients may hold line feeds; a line of the log stays one line, so that nobody forges another.
fn one_line(text: impl fmt::Display) -> String {
    let text = text.to_string();
    if !text.contains(char::is_control) {
        return text;
    }
    let escape = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(escape).collect()
}

/// CONNACK 0 was given.
pub fn connected(identity: &Identity, peer: SocketAddr, client_id: &str) {
    let (entity, client_id) = (identity.principal.id(), one_line(client_id));
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
    let (entity, text) = (identity.principal.id(), one_line(reason));
    match reason {
        CloseReason::PublishNotAllowed { .. } => {
            tracing::error!(target: TARGET, entity, client_id, %peer, "disconnected: {text}");
        }
        CloseReason::Disconnected | CloseReason::StreamEnded => {
            tracing::info!(target: TARGET, entity, client_id, %peer, "disconnected: {text}");
        }
        _ => tracing::warn!(target: TARGET, entity, client_id, %peer, "disconnected: {text}"),
    }
}

/// Filters were answered with 0x80.
pub fn subscriptions_refused(identity: &Identity, client_id: &str, filters: &[&str]) {
    let entity = identity.principal.id();
    let quoted = |filter: &&str| format!("\"{}\"", one_line(filter));
    let mut list = filters.iter().take(FILTERS_NAMED_MAX).map(quoted).collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = filters.len().checked_sub(FILTERS_NAMED_MAX) {
        list.push_str(&format!(", and {more} more"));
    }
    tracing::warn!(
        target: TARGET, entity, client_id,
        "some of subscriptions failed: not allowed to subscribe: [{list}]"
    );
}

/// Stored messages did not fit into the queue of a session that subscribed to them.
pub fn stored_messages_left_out(identity: &Identity, client_id: &str, count: usize) {
    let entity = identity.principal.id();
    tracing::warn!(target: TARGET, entity, client_id, "{count} stored messages left out: the queue is full");
}

/// A will was dropped because its topic is not allowed.
pub fn will_refused(identity: &Identity, topic: &str) {
    let (entity, topic) = (identity.principal.id(), one_line(topic));
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
    tracing::debug!(target: TARGET, %peer, "disconnected before CONNECT was accepted: {}", one_line(reason));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client identifier with a line feed wrote a second line of its own choice into the log.
    #[test]
    fn texts_of_clients_stay_within_their_line() {
        assert_eq!(one_line("Test_Device_Client"), "Test_Device_Client");
        assert_eq!(one_line("a\nINFO connected, login: \"b\""), "a\\nINFO connected, login: \"b\"");
        assert_eq!(one_line("день\u{7f}\u{1b}[31m"), "день\\u{7f}\\u{1b}[31m");
    }
}
