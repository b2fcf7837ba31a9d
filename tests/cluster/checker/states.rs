//! Equal state at equal index, and each client once.

use std::collections::{BTreeMap, HashMap};

use rookery_harness::cluster::status::Session;

use super::{Rule, Violation};
use crate::history::{History, What};

/// Compares all states that were told during the run.
pub fn check(history: &History) -> Vec<Violation> {
    let mut states = HashMap::new();
    let mut violations = Vec::new();
    for event in &history.events {
        let What::State { node, index, hash } = &event.what else { continue };
        let (first, other) = states.entry(*index).or_insert((*node, hash));
        if *other != hash {
            violations.push(difference(*first, other, *node, hash, *index));
        }
    }
    violations
}

/// Compares the last states of all nodes, which must be at one index.
pub fn check_last(states: &[(usize, u64, String)]) -> Vec<Violation> {
    let Some((first, index, hash)) = states.first() else { return Vec::new() };
    let differs = |(_, other_index, other): &&(usize, u64, String)| (other_index, other) != (index, hash);
    states
        .iter()
        .filter(differs)
        .map(|(node, _, other)| difference(*first, hash, *node, other, *index))
        .collect()
}

/// Finds clients that are listed more than once.
pub fn check_connected_once(sessions: &[Session]) -> Vec<Violation> {
    let mut nodes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for session in sessions {
        nodes.entry((&session.entity_id, &session.client_id)).or_default().push(&session.node);
    }
    let several = nodes.into_iter().filter(|(_, nodes)| nodes.len() > 1);
    several
        .map(|((entity, client_id), nodes)| Violation {
            rule: Rule::TwoLive,
            text: format!("client {client_id} of {entity} has sessions on {nodes:?}"),
            sessions: Vec::new(),
            messages: Vec::new(),
        })
        .collect()
}

fn difference(first: usize, hash: &str, node: usize, other: &str, index: u64) -> Violation {
    let text = format!("at index {index} node {first} has {hash}, node {node} has {other}");
    Violation { rule: Rule::State, text, sessions: Vec::new(), messages: Vec::new() }
}
