//! Scenarios are data: `scenarios.json` beside this crate's manifest holds the ones that the report is made of.

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::stamp::STAMP_BYTES;

/// The scenarios that come with the program.
const BUILT_IN: &str = include_str!("../scenarios.json");

/// Who sends to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Publisher `i` to subscriber `i`, a topic each.
    Pairs,
    /// All publishers to every subscriber, a topic for each publisher.
    FanIn,
    /// One topic, every subscriber gets all of it.
    FanOut,
    /// Connections with subscriptions and no traffic.
    Idle,
}

/// What a device's key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// ECDSA on P-256.
    Ecdsa,
    /// RSA with 2048 bits.
    Rsa,
}

/// What topics are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topics {
    /// `bench/<i>`, which mean nothing to the broker.
    #[default]
    Free,
    /// `$devices/<id>/events`: publishers are devices, subscribers are back ends of their registry. A broker
    /// without devices runs the scenario with free topics.
    Events,
    /// `$devices/<id>/state`, which the broker must store before it acknowledges a message.
    State,
}

/// What subscribers with traffic subscribe to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filters {
    /// The topics of their publishers, one filter each.
    #[default]
    Exact,
    /// One filter with wildcards for all topics of the run.
    Wildcard,
}

/// Which node of a cluster a connection goes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// To all nodes in turn, so that publisher and subscriber meet in every combination of nodes.
    #[default]
    Spread,
    /// Publishers at the first node, subscribers at the second.
    Apart,
}

/// Connections that are opened together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Group {
    /// Subscribers, publishers, and those without traffic unless they are a storm.
    First,
    /// Subscribers that never read.
    Stalled,
    /// Connections without traffic that come beside the traffic.
    Storm,
}

/// What may go wrong in a run without failing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A message that never came.
    Loss,
    /// A message that came twice.
    Duplicate,
    /// A message overtaken by a later one of the same publisher.
    Reorder,
}

/// One scenario. All figures can be overridden on the command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name on the command line and in the report.
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// Who sends to whom.
    pub shape: Shape,
    /// Publishing connections.
    #[serde(default)]
    pub publishers: u32,
    /// Subscribing connections that read.
    #[serde(default)]
    pub subscribers: u32,
    /// Subscribers to *all* topics that never read, added after a first measurement without them.
    #[serde(default)]
    pub stalled: u32,
    /// Connections of an idle scenario.
    #[serde(default)]
    pub connections: u32,
    /// Subscriptions of each idle connection.
    #[serde(default = "one")]
    pub subscriptions: u32,
    /// QoS of publishing and subscribing.
    #[serde(default)]
    pub qos: u8,
    /// Payload size in bytes.
    #[serde(default = "payload_bytes")]
    pub payload_bytes: usize,
    /// Messages per publisher on their way end to end (closed loop).
    #[serde(default = "window")]
    pub window: u32,
    /// Unacknowledged QoS 1 messages per publisher.
    #[serde(default = "inflight")]
    pub inflight: u32,
    /// Messages per second of all publishers together (open loop); without it the loop is closed.
    #[serde(default)]
    pub rate_per_s: Option<f64>,
    /// Connections being opened at a time.
    #[serde(default = "opening")]
    pub opening: usize,
    /// Over TLS.
    #[serde(default)]
    pub tls: bool,
    /// Publishers and idle connections show a certificate with such a key instead of a password.
    #[serde(default)]
    pub certificate: Option<KeyKind>,
    /// Nodes of the broker; more than one make a cluster.
    #[serde(default = "one")]
    pub nodes: u32,
    /// Which of them the connections go to.
    #[serde(default)]
    pub placement: Placement,
    /// What topics are.
    #[serde(default)]
    pub topics: Topics,
    /// What subscribers subscribe to.
    #[serde(default)]
    pub filters: Filters,
    /// The connections without traffic come all at once beside the traffic, instead of before it.
    #[serde(default)]
    pub storm: bool,
    /// The node, from 0, that is killed when the storm begins. Its clients go to the others.
    #[serde(default)]
    pub kill_node: Option<u32>,
    /// Faults that do not fail the run.
    #[serde(default)]
    pub allow: Vec<Fault>,
    /// Part of the `suite` command's default list.
    #[serde(default)]
    pub suite: bool,
}

fn one() -> u32 {
    1
}

fn payload_bytes() -> usize {
    256
}

fn window() -> u32 {
    100
}

fn inflight() -> u32 {
    20
}

fn opening() -> usize {
    64
}

impl Scenario {
    /// Refuses figures that make no run.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!(self.qos <= 1, "qos must be 0 or 1 (got {})", self.qos);
        ensure!(
            (STAMP_BYTES..=256 * 1024).contains(&self.payload_bytes),
            "payload_bytes must be {STAMP_BYTES}..=262144 (got {})",
            self.payload_bytes
        );
        ensure!(self.window > 0, "window must be at least 1");
        ensure!((1..=65_535).contains(&self.inflight), "inflight must be 1..=65535 (got {})", self.inflight);
        ensure!(self.opening > 0, "opening must be at least 1");
        ensure!(self.rate_per_s.is_none_or(|rate| rate > 0.0), "rate_per_s must be more than 0");
        ensure!(self.tls || self.certificate.is_none(), "certificates need tls");
        ensure!(
            self.topics != Topics::Free || self.certificate.is_none(),
            "only devices have certificates: topics must be events or state"
        );
        ensure!(matches!(self.nodes, 1 | 3 | 5), "nodes must be 1, 3 or 5 (got {})", self.nodes);
        match self.shape {
            Shape::Idle => ensure!(self.connections > 0, "connections must be at least 1"),
            Shape::Pairs if self.publishers != self.subscribers => {
                bail!(
                    "pairs need as many publishers as subscribers (got {}, {})",
                    self.publishers,
                    self.subscribers
                )
            }
            _ => ensure!(self.publishers > 0, "publishers must be at least 1"),
        }
        ensure!(
            !self.storm || (self.shape == Shape::Pairs && self.rate_per_s.is_some() && self.stalled == 0),
            "a storm needs pairs with a rate, and no stalled subscribers"
        );
        ensure!(
            self.kill_node.is_none_or(|node| self.storm && self.nodes > 1 && node < self.nodes),
            "kill_node needs a storm and must be one of several nodes"
        );
        // A subscriber that gets the messages of others as well could not tell them from misrouted ones.
        ensure!(
            self.filters == Filters::Exact || matches!(self.shape, Shape::FanIn | Shape::FanOut),
            "only fan_in and fan_out can have wildcards"
        );
        Ok(())
    }

    /// Connections of a group.
    pub fn connections_of(&self, group: Group) -> usize {
        let traffic = self.publishers + self.subscribers;
        let connections = match group {
            Group::First if self.storm => traffic,
            Group::First => traffic + self.connections,
            Group::Stalled => self.stalled,
            Group::Storm => self.connections,
        };
        connections as usize
    }

    /// Sockets that a run opens.
    pub fn sockets(&self) -> u32 {
        self.publishers + self.subscribers + self.stalled + self.connections
    }
}

/// All scenarios that come with the program.
pub fn built_in() -> anyhow::Result<Vec<Scenario>> {
    parse(BUILT_IN)
}

/// Reads a list of scenarios and validates each.
pub fn parse(json: &str) -> anyhow::Result<Vec<Scenario>> {
    let scenarios: Vec<Scenario> = serde_json::from_str(json).context("scenarios")?;
    for scenario in &scenarios {
        scenario.validate().with_context(|| format!("scenario {}", scenario.name))?;
    }
    Ok(scenarios)
}

/// Finds a scenario by name.
pub fn find(scenarios: &[Scenario], name: &str) -> anyhow::Result<Scenario> {
    let found = scenarios.iter().find(|scenario| scenario.name == name).cloned();
    found.with_context(|| {
        let names: Vec<_> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
        format!("no scenario {name}; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_scenarios_are_valid_and_their_names_unique() {
        let scenarios = built_in().unwrap();
        let mut names: Vec<_> = scenarios.iter().map(|scenario| &scenario.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), scenarios.len());
        for name in ["pairs", "fanin", "fanout", "idle", "connect", "slow", "rate1"] {
            find(&scenarios, name).unwrap();
        }
    }
}
