//! What was acknowledged is readable afterwards.
//!
//! Each key has one writer, which writes one value after the other. A write without an answer may take effect at any
//! later time; a write with an answer ends all before it, except those without an answer.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rule, Violation};
use crate::history::{History, Key, What};

/// What a node said about a key after the end; `None`: it has nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Which node.
    pub node: usize,
    /// Which key.
    pub key: Key,
    /// What it has.
    pub value: Option<u64>,
}

#[derive(Default)]
struct Register {
    /// The last value that was acknowledged.
    acknowledged: Option<u64>,
    /// Values without an answer.
    open: BTreeSet<u64>,
}

/// Compares what each of `nodes` nodes reads with what was written.
pub fn check(history: &History, nodes: usize, readings: &[Reading]) -> Vec<Violation> {
    let mut registers: BTreeMap<Key, Register> = BTreeMap::new();
    for event in &history.events {
        match event.what {
            What::Writing { key, value } => {
                registers.entry(key).or_default().open.insert(value);
            }
            What::Written { key, value } => {
                let register = registers.entry(key).or_default();
                register.open.remove(&value);
                register.acknowledged = Some(value);
            }
            _ => {}
        }
    }
    let found: BTreeMap<_, _> =
        readings.iter().map(|reading| ((reading.key, reading.node), reading.value)).collect();
    let mut violations = Vec::new();
    for (key, register) in &registers {
        for node in 0..nodes {
            let value = found.get(&(*key, node)).copied().flatten();
            let is_open = value.is_some_and(|value| register.open.contains(&value));
            if value != register.acknowledged && !is_open {
                let text = format!(
                    "node {node} has {value:?} for key {key}, but {:?} was acknowledged last",
                    register.acknowledged
                );
                let (sessions, messages) = (Vec::new(), Vec::new());
                violations.push(Violation { rule: Rule::Lost, text, sessions, messages });
            }
        }
    }
    violations
}
