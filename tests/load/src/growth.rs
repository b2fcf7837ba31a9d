//! How costs grow: the same thing at several sizes, a curve for each figure.
//!
//! Curves are data as scenarios are: `growth.json` beside this crate's manifest. Those over the size of the stored
//! state need a node that is filled, and started again ([`State`]).

use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::broker::{self, Kind};
use crate::report::Report;
use crate::scenario::{self, Scenario};
use crate::suite::Suite;

/// The curves that come with the program.
const BUILT_IN: &str = include_str!("../growth.json");

/// What is read off a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Broker CPU per delivered message.
    MessageCost,
    /// Broker CPU for opening, per subscription.
    SubscribeCost,
    /// Resident memory per subscription of the connections without traffic.
    SubscriptionMemory,
    /// Broker CPU for opening, per connection.
    ConnectionCost,
    /// Resident memory per connection.
    ConnectionMemory,
    /// Resident memory per device, after a restart.
    DeviceMemory,
    /// Time until a snapshot of the state is on the disk.
    SnapshotTime,
    /// Time from starting the process until it serves.
    RestartTime,
}

impl Figure {
    /// What it is, with its unit.
    pub fn label(self) -> &'static str {
        match self {
            Self::MessageCost => "CPU µs per delivered message",
            Self::SubscribeCost => "CPU µs per subscription",
            Self::SubscriptionMemory => "resident bytes per subscription",
            Self::ConnectionCost => "CPU µs per connection",
            Self::ConnectionMemory => "resident bytes per connection",
            Self::DeviceMemory => "resident bytes per device",
            Self::SnapshotTime => "seconds for a snapshot",
            Self::RestartTime => "seconds from start to ready",
        }
    }

    /// As a part of a file name.
    pub fn slug(self) -> &'static str {
        match self {
            Self::MessageCost => "message-cost",
            Self::SubscribeCost => "subscribe-cost",
            Self::SubscriptionMemory => "subscription-memory",
            Self::ConnectionCost => "connection-cost",
            Self::ConnectionMemory => "connection-memory",
            Self::DeviceMemory => "device-memory",
            Self::SnapshotTime => "snapshot-time",
            Self::RestartTime => "restart-time",
        }
    }

    fn of(self, report: &Report) -> Option<f64> {
        let opening = &report.opening;
        let idle = f64::from(report.scenario.connections);
        let subscriptions = idle * f64::from(report.scenario.subscriptions);
        let memory = report.memory.as_ref();
        let opening_us = || Some(opening.broker_us_per_connection? * opening.connections as f64);
        match self {
            Self::MessageCost => report.last()?.broker_us_per_message,
            Self::SubscribeCost => Some(opening_us()? / subscriptions),
            Self::SubscriptionMemory => {
                memory.map(|it| it.bytes_per_connection * opening.connections as f64 / subscriptions)
            }
            Self::ConnectionCost => opening.broker_us_per_connection,
            Self::ConnectionMemory => memory.map(|it| it.bytes_per_connection),
            Self::DeviceMemory | Self::SnapshotTime | Self::RestartTime => None,
        }
    }
}

/// A point of a curve before it is measured: a built-in scenario at another size.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    x: f64,
    scenario: String,
    connections: Option<u32>,
    subscriptions: Option<u32>,
    nodes: Option<u32>,
    /// Takes long; only in a full report.
    #[serde(default)]
    full: bool,
}

impl Step {
    fn scenario(&self, known: &[Scenario]) -> anyhow::Result<Scenario> {
        let mut scenario = scenario::find(known, &self.scenario)?;
        scenario.connections = self.connections.unwrap_or(scenario.connections);
        scenario.subscriptions = self.subscriptions.unwrap_or(scenario.subscriptions);
        scenario.nodes = self.nodes.unwrap_or(scenario.nodes);
        scenario.validate()?;
        Ok(scenario)
    }
}

/// Curves over one size, before they are measured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Growth {
    name: String,
    title: String,
    x: String,
    figures: Vec<Figure>,
    steps: Vec<Step>,
}

/// A measured curve.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Curve {
    /// For file names.
    pub name: String,
    /// What was measured.
    pub title: String,
    /// What grows.
    pub x: String,
    /// What it costs.
    pub figure: Figure,
    /// Size and figure, sizes ascending.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// The last figure as a multiple of the first.
    pub fn growth(&self) -> Option<f64> {
        Some(self.points.last()?.1 / self.points.first()?.1)
    }
}

/// The built-in ones.
pub fn built_in() -> anyhow::Result<Vec<Growth>> {
    serde_json::from_str(BUILT_IN).context("growth.json")
}

impl Growth {
    /// Runs every step against a broker, with the repeats and durations of `suite`. Steps that take long are left out
    /// unless `full`.
    pub fn measure(&self, kind: &Kind, suite: &Suite, full: bool) -> anyhow::Result<Vec<Curve>> {
        let known = scenario::built_in()?;
        let curve = |figure: &Figure| Curve {
            name: format!("{}-{}", self.name, figure.slug()),
            title: self.title.clone(),
            x: self.x.clone(),
            figure: *figure,
            points: Vec::new(),
        };
        let mut curves: Vec<_> = self.figures.iter().map(curve).collect();
        for step in self.steps.iter().filter(|step| full || !step.full) {
            let scenario = step.scenario(&known)?;
            eprintln!("[growth] {}: {} {}", self.name, step.x, self.x);
            let reports = (0..suite.repeats).map(|_| suite.run_once(kind, &scenario));
            let reports = reports.collect::<anyhow::Result<Vec<_>>>()?;
            for report in &reports {
                eprint!("{}", report.text());
                let faults = report.faults();
                ensure!(faults.is_empty(), "{} at {}: {}", self.name, step.x, faults.join("; "));
            }
            for curve in &mut curves {
                let figures = reports.iter().filter_map(|report| curve.figure.of(report)).collect();
                curve.points.extend(crate::suite::median(figures).map(|figure| (step.x, figure)));
            }
        }
        Ok(curves)
    }
}

/// What a node costs that knows so many devices, each with a certificate.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct State {
    /// Devices.
    pub devices: u32,
    /// Time for making them through the API, in seconds.
    pub made_s: f64,
    /// Resident memory of a node without devices.
    pub empty_bytes: u64,
    /// Resident memory after the restart.
    pub resident_bytes: u64,
    /// Time for a snapshot, in seconds.
    pub snapshot_s: f64,
    /// Time from starting the process again until it serves, in seconds.
    pub restart_s: f64,
}

/// Fills a node with so many devices, and starts it again. Curves over the number of devices.
pub fn state(program: &Path, sizes: &[u32]) -> anyhow::Result<Vec<Curve>> {
    let measure = |devices: &u32| {
        eprintln!("[growth] state: {devices} devices");
        let state = broker::fill(program, *devices)?;
        eprintln!("  {state:?}");
        anyhow::Ok(state)
    };
    let states = sizes.iter().map(measure).collect::<anyhow::Result<Vec<_>>>()?;
    let curve = |figure: Figure, pick: fn(&State) -> f64| Curve {
        name: format!("state-{}", figure.slug()),
        title: "One node with devices, each with a certificate".to_owned(),
        x: "devices".to_owned(),
        figure,
        points: states.iter().map(|state| (f64::from(state.devices), pick(state))).collect(),
    };
    Ok(vec![
        curve(Figure::DeviceMemory, |state| {
            state.resident_bytes.saturating_sub(state.empty_bytes) as f64 / f64::from(state.devices)
        }),
        curve(Figure::SnapshotTime, |state| state.snapshot_s),
        curve(Figure::RestartTime, |state| state.restart_s),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_is_made_of_scenarios_that_exist() {
        let known = scenario::built_in().unwrap();
        let growth = built_in().unwrap();
        assert!(!growth.is_empty());
        for growth in growth {
            assert!(!growth.figures.is_empty() && growth.steps.len() > 2, "{}", growth.name);
            assert!(growth.steps.windows(2).all(|pair| pair[0].x < pair[1].x), "{}", growth.name);
            for step in &growth.steps {
                step.scenario(&known).unwrap();
            }
        }
    }
}
