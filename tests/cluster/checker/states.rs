//! Equal state at equal index, and each client once.

use std::collections::HashMap;

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

/// Finds clients that are listed more than once; each is named with its node.
pub fn check_connected_once(sessions: &[(String, String)]) -> Vec<Violation> {
    let mut nodes: HashMap<_, Vec<_>> = HashMap::new();
    for (client, node) in sessions {
        nodes.entry(client).or_default().push(node);
    }
    let several = nodes.into_iter().filter(|(_, nodes)| nodes.len() > 1);
    several
        .map(|(client, nodes)| Violation {
            rule: Rule::TwoLive,
            text: format!("client {client} has sessions on {nodes:?}"),
            sessions: Vec::new(),
            messages: Vec::new(),
        })
        .collect()
}

fn difference(first: usize, hash: &str, node: usize, other: &str, index: u64) -> Violation {
    let text = format!("at index {index} node {first} has {hash}, node {node} has {other}");
    Violation { rule: Rule::State, text, sessions: Vec::new(), messages: Vec::new() }
}
