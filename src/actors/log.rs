//! The connection log: one line per event, with exactly the documented texts (`spec/integrations.md` section 3;
//! U-I8: ours where none is documented).

use std::fmt;
use std::net::SocketAddr;

use super::authenticator::{Identity, Login, Refusal};
use super::close::CloseReason;
use super::environment::Environment;
use crate::clock;
use crate::domain::log_options::LogLevel;
use crate::observe::connection_log::Level;

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

/// Writes one event down, for the operator and for the entity, unless the options of its registry or broker say otherwise.
fn note(environment: &Environment, level: Level, entity: &str, message: String) {
    match level {
        Level::Info => tracing::info!(target: TARGET, entity, "{message}"),
        Level::Warn => tracing::warn!(target: TARGET, entity, "{message}"),
        Level::Error => tracing::error!(target: TARGET, entity, "{message}"),
    }
    let level_of_options = match level {
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    };
    let is_kept = environment.catalog.read(|catalog| {
        // Of an entity that was deleted meanwhile nobody can say otherwise.
        catalog.log_options_of(entity).is_none_or(|options| options.admits(level_of_options))
    });
    if is_kept {
        environment.connection_log.write(clock::now().nanoseconds, level, entity, message);
    }
}

/// CONNACK 0 was given.
pub fn connected(environment: &Environment, identity: &Identity, peer: SocketAddr, client_id: &str) {
    let (entity, client_id) = (identity.principal.id(), one_line(client_id));
    let credential = match &identity.login {
        Login::Certificate(fingerprint) => format!("cert: \"{fingerprint}\""),
        // U-A12.
        Login::Password(_) => format!("login: \"{entity}\""),
    };
    let message = format!("connected, {credential}, address: \"{peer}\", clientID: \"{client_id}\"");
    note(environment, Level::Info, entity, message);
}

/// A session ended.
pub fn disconnected(environment: &Environment, identity: &Identity, reason: &CloseReason) {
    let level = match reason {
        CloseReason::PublishNotAllowed { .. } => Level::Error,
        CloseReason::Disconnected | CloseReason::StreamEnded => Level::Info,
        _ => Level::Warn,
    };
    note(environment, level, identity.principal.id(), format!("disconnected: {}", one_line(reason)));
}

/// Filters were answered with 0x80.
pub fn subscriptions_refused(environment: &Environment, identity: &Identity, filters: &[&str]) {
    let quoted = |filter: &&str| format!("\"{}\"", one_line(filter));
    let mut list = filters.iter().take(FILTERS_NAMED_MAX).map(quoted).collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = filters.len().checked_sub(FILTERS_NAMED_MAX) {
        list.push_str(&format!(", and {more} more"));
    }
    let message = format!("some of subscriptions failed: not allowed to subscribe: [{list}]");
    note(environment, Level::Warn, identity.principal.id(), message);
}

/// Stored messages did not fit into the queue of a session that subscribed to them.
pub fn stored_messages_left_out(environment: &Environment, identity: &Identity, count: usize) {
    let message = format!("{count} stored messages left out: the queue is full");
    note(environment, Level::Warn, identity.principal.id(), message);
}

/// A will was dropped because its topic is not allowed.
pub fn will_refused(environment: &Environment, identity: &Identity, topic: &str) {
    let message = format!("will dropped: publish to topic \"{}\" not allowed", one_line(topic));
    note(environment, Level::Warn, identity.principal.id(), message);
}

/// CONNECT was refused. The password, of course, is not shown, and an id that nobody has is not either.
pub fn refused(environment: &Environment, refusal: &Refusal, peer: SocketAddr) {
    let message = format!("authentication failed: {}, address: \"{peer}\"", refusal.reason);
    match &refusal.known_entity {
        Some(entity) => note(environment, Level::Warn, entity, message),
        None => tracing::debug!(target: TARGET, "{message}"),
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
