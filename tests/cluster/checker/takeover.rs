//! Of one client, one session lives.
//!
//! A session lives after a moment if something that it sent after that moment was answered.

use std::collections::BTreeMap;

use super::{
    Rule, Violation,
    view::{Session, View},
};
use crate::history::{SessionNumber, Time};

/// Looks at every pair of sessions of a client.
pub fn check(view: &View) -> Vec<Violation> {
    let mut clients: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (&number, session) in &view.sessions {
        if let Some(connected_at) = session.connected_at {
            clients.entry(session.client).or_default().push((connected_at, number, session));
        }
    }
    let mut violations = Vec::new();
    for sessions in clients.values_mut() {
        sessions.sort_by_key(|(connected_at, number, _)| (*connected_at, *number));
        for (at, (_, number, session)) in sessions.iter().enumerate() {
            for (_, older_number, older) in &sessions[..at] {
                violations.extend(pair((*older_number, older), (*number, session)));
            }
        }
    }
    violations
}

/// `older` is the one whose CONNACK was read first. Which of both the log has opened first is known only if one was
/// begun after the other was connected.
fn pair(older: (SessionNumber, &Session), newer: (SessionNumber, &Session)) -> Option<Violation> {
    let moment = newer.1.connected_at?;
    let is_replaced = older.1.connected_at.is_some_and(|connected_at| newer.1.begun_at > connected_at);
    if !lives_after(older.1, moment) || !(is_replaced || lives_after(newer.1, moment)) {
        return None;
    }
    let text = format!(
        "session {} on node {} was answered after session {} on node {} of the same client was accepted",
        older.0, older.1.node, newer.0, newer.1.node
    );
    Some(Violation { rule: Rule::TwoLive, text, sessions: vec![older.0, newer.0], messages: Vec::new() })
}

fn lives_after(session: &Session, moment: Time) -> bool {
    session.answered.iter().any(|asked_at| *asked_at > moment)
}
