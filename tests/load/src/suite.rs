//! The report: every scenario against every broker, in turn, several times; medians in one table.

use std::fmt::Write;

use serde::Serialize;

use crate::broker::{Broker, Kind};
use crate::latency::LatencySummary;
use crate::report::Report;
use crate::run::{self, Durations, Setting};
use crate::scenario::{Scenario, Shape, Topics};
use crate::target::Target;
use crate::tls::Trust;

/// What the suite does.
#[derive(Debug)]
pub struct Suite {
    /// The brokers, in the order of the columns.
    pub brokers: Vec<Kind>,
    /// The scenarios, in the order of the rows.
    pub scenarios: Vec<Scenario>,
    /// Runs of each.
    pub repeats: u32,
    /// Of each run.
    pub durations: Durations,
    /// Driver processes of each run.
    pub drivers: u32,
    /// Core to pin the brokers to.
    pub broker_cpu: Option<u32>,
}

/// All runs of one scenario against one broker.
#[derive(Debug, Serialize)]
pub struct Cell {
    /// Its name.
    pub broker: &'static str,
    /// Name of the scenario.
    pub scenario: String,
    /// The finished runs.
    pub runs: Vec<Report>,
    /// Runs that did not finish, and faults of those that did.
    pub faults: Vec<String>,
}

/// The outcome of a suite.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The machine.
    pub machine: String,
    /// What was done.
    pub method: String,
    /// Name and version of each broker.
    pub versions: Vec<(String, String)>,
    /// All results.
    pub cells: Vec<Cell>,
}

impl Suite {
    /// Runs everything. Repeats are the outer loop, and within each the brokers take turns for each scenario, so
    /// that a slow hour of the machine meets all of them.
    pub fn run(&self) -> anyhow::Result<Outcome> {
        let mut cells = Vec::new();
        for scenario in &self.scenarios {
            let brokers = self.brokers.iter().filter(|broker| takes_part(broker, scenario));
            cells.extend(brokers.map(|broker| Cell {
                broker: broker.name(),
                scenario: scenario.name.clone(),
                runs: Vec::new(),
                faults: Vec::new(),
            }));
        }
        for repeat in 1..=self.repeats {
            for cell in &mut cells {
                eprintln!("[{repeat}/{}] {} on {}", self.repeats, cell.scenario, cell.broker);
                self.run_cell(cell);
            }
        }
        let version = |broker: &Kind| Ok((broker.name().to_owned(), broker.version()?));
        Ok(Outcome {
            machine: machine(),
            method: format!(
                "medians of {}; {} s warm-up, {} s measured; broker and generator on the same machine",
                self.repeats, self.durations.warmup_s, self.durations.measure_s
            ),
            versions: self.brokers.iter().map(version).collect::<anyhow::Result<_>>()?,
            cells,
        })
    }

    fn run_cell(&self, cell: &mut Cell) {
        let broker = self.brokers.iter().find(|broker| broker.name() == cell.broker);
        let scenario = self.scenarios.iter().find(|scenario| scenario.name == cell.scenario);
        let Some((broker, scenario)) = broker.zip(scenario) else { return };
        match self.run_once(broker, scenario) {
            Ok(report) => {
                eprint!("{}", report.text());
                cell.faults.extend(report.faults());
                cell.runs.push(report);
            }
            Err(error) => {
                eprintln!("  FAILED      {error:#}");
                cell.faults.push(format!("{error:#}"));
            }
        }
    }

    /// Starts a broker and runs a scenario against it, once.
    pub fn run_once(&self, kind: &Kind, scenario: &Scenario) -> anyhow::Result<Report> {
        let broker = Broker::start(kind, scenario, self.broker_cpu)?;
        let trust = Trust::Authority(broker.authority.clone());
        let setting = Setting {
            target: Target {
                addresses: broker.addresses(scenario.tls)?,
                tls: scenario.tls.then(|| (trust, "localhost".to_owned())),
            },
            access: broker.access.clone(),
            broker_pids: broker.pids(),
            kill: Some(&|node| broker.kill(node)),
            durations: self.durations,
            drivers: self.drivers,
        };
        run::run(scenario, &setting)
    }
}

/// One reader that stalls stops all of the relay.
fn takes_part(broker: &Kind, scenario: &Scenario) -> bool {
    (scenario.nodes == 1 || broker.has_clusters())
        && (scenario.topics != Topics::State || broker.has_permanent_topics())
        && (scenario.stalled == 0 || *broker != Kind::Relay)
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let models = || {
        cpuinfo
            .lines()
            .filter_map(|line| line.strip_prefix("model name"))
            .map(|it| it.trim_start_matches(['\t', ' ', ':']))
    };
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{} x {}, Linux {}", models().count(), models().next().unwrap_or("unknown CPU"), kernel.trim())
}

/// The median; of an even number, the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

impl Cell {
    fn median(&self, value: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
        median(self.runs.iter().filter_map(value).collect())
    }

    /// By how much a figure exceeds the same one of the relay.
    fn ratio(&self, floor: Option<&Self>, value: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
        Some(self.median(&value)? / floor?.median(&value)?)
    }

    fn mark(&self) -> &'static str {
        if self.faults.is_empty() { "" } else { " (!)" }
    }
}

impl Outcome {
    /// Whether every run finished without a fault.
    pub fn is_clean(&self) -> bool {
        self.cells.iter().all(|cell| cell.faults.is_empty())
    }

    /// Broker CPU per delivered message of a scenario, in µs.
    pub fn message_cost(&self, scenario: &str, broker: &str) -> Option<f64> {
        let mut cells = self.cells.iter();
        let cell = cells.find(|cell| cell.scenario == scenario && cell.broker == broker)?;
        cell.median(|report| report.last()?.broker_us_per_message)
    }

    /// The report in Markdown.
    pub fn markdown(&self, suite: &Suite) -> String {
        let mut text = format!("Machine: {}. Method: {}.\n\n", self.machine, self.method);
        for (name, version) in &self.versions {
            let _ = writeln!(text, "- {name}: {version}");
        }
        let traffic = |scenario: &&Scenario| scenario.shape != Shape::Idle && !scenario.storm;
        self.table(&mut text, suite, "Messages", traffic, &message_columns(), message_cells);
        let idle = |scenario: &&Scenario| scenario.shape == Shape::Idle;
        self.table(&mut text, suite, "Connections", idle, &connection_columns(), connection_cells);
        let stalled = |scenario: &&Scenario| scenario.stalled > 0;
        self.table(
            &mut text,
            suite,
            "A subscriber that never reads",
            stalled,
            &stalled_columns(),
            stalled_cells,
        );
        let storm = |scenario: &&Scenario| scenario.storm;
        self.table(
            &mut text,
            suite,
            "A storm of connects beside traffic",
            storm,
            &storm_columns(),
            storm_cells,
        );
        for cell in self.cells.iter().filter(|cell| !cell.faults.is_empty()) {
            let _ = writeln!(text, "\n(!) {} on {}: {}", cell.scenario, cell.broker, cell.faults.join("; "));
        }
        text
    }

    fn table(
        &self,
        text: &mut String,
        suite: &Suite,
        title: &str,
        wanted: impl Fn(&&Scenario) -> bool,
        columns: &[&str],
        cells: impl Fn(&Cell, Option<&Cell>) -> Vec<String>,
    ) {
        let mut rows = String::new();
        for scenario in suite.scenarios.iter().filter(wanted) {
            let of_scenario = || self.cells.iter().filter(|cell| cell.scenario == scenario.name);
            let floor = of_scenario().find(|cell| cell.broker == Kind::Relay.name());
            for cell in of_scenario() {
                let _ = writeln!(
                    rows,
                    "| {} | {}{} | {} |",
                    cell.scenario,
                    cell.broker,
                    cell.mark(),
                    cells(cell, floor).join(" | ")
                );
            }
        }
        if rows.is_empty() {
            return;
        }
        let rule = vec!["---"; columns.len() + 2].join(" | ");
        let _ = writeln!(
            text,
            "\n### {title}\n\n| scenario | broker | {} |\n| {rule} |\n{rows}",
            columns.join(" | ")
        );
    }
}

fn show(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

fn message_columns() -> Vec<&'static str> {
    vec![
        "broker CPU us/message",
        "to relay",
        "delivered/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "PUBACK p99 us",
        "broker cores",
        "generator cores",
    ]
}

fn message_cells(cell: &Cell, floor: Option<&Cell>) -> Vec<String> {
    let latency = |pick: fn(&LatencySummary) -> u64| {
        cell.median(|report| report.last()?.latency.as_ref().map(|latency| pick(latency) as f64))
    };
    let cost = |report: &Report| report.last()?.broker_us_per_message;
    let acknowledged =
        |report: &Report| report.last()?.acknowledge_latency.as_ref().map(|latency| latency.p99_us as f64);
    vec![
        show(cell.median(cost), 3),
        show(cell.ratio(floor, cost), 2),
        show(cell.median(|report| report.last().map(|measured| measured.delivered_per_s)), 0),
        show(latency(|latency| latency.p50_us), 0),
        show(latency(|latency| latency.p99_us), 0),
        show(latency(|latency| latency.p999_us), 0),
        show(cell.median(acknowledged), 0),
        show(cell.median(|report| report.last()?.broker.map(|broker| broker.cores)), 2),
        show(cell.median(|report| report.last().map(|measured| measured.generator.cores)), 2),
    ]
}

fn connection_columns() -> Vec<&'static str> {
    vec![
        "connections",
        "opened in s",
        "p99 ms",
        "broker CPU us/connection",
        "to relay",
        "resident KiB/connection",
        "idle cores",
    ]
}

fn connection_cells(cell: &Cell, floor: Option<&Cell>) -> Vec<String> {
    let cost = |report: &Report| report.opening.broker_us_per_connection;
    let per_connection =
        |report: &Report| report.memory.as_ref().map(|memory| memory.bytes_per_connection / 1024.0);
    vec![
        show(cell.median(|report| Some(report.opening.connections as f64)), 0),
        show(cell.median(|report| Some(report.opening.seconds)), 2),
        show(
            cell.median(|report| report.opening.latency.as_ref().map(|latency| latency.p99_us as f64 / 1e3)),
            1,
        ),
        show(cell.median(cost), 0),
        show(cell.ratio(floor, cost), 2),
        show(cell.median(per_connection), 2),
        show(cell.median(|report| report.last()?.broker.map(|broker| broker.cores)), 3),
    ]
}

fn stalled_columns() -> Vec<&'static str> {
    vec!["delivered/s alone", "delivered/s beside it", "ratio", "ended by the broker", "peak MiB"]
}

fn stalled_cells(cell: &Cell, _: Option<&Cell>) -> Vec<String> {
    let rate = |index: usize| {
        move |report: &Report| report.measured.get(index).map(|measured| measured.delivered_per_s)
    };
    let ratio = |report: &Report| Some(rate(1)(report)? / rate(0)(report)?);
    let peak =
        |report: &Report| report.memory.as_ref().map(|memory| memory.peak_bytes as f64 / f64::from(1 << 20));
    vec![
        show(cell.median(rate(0)), 0),
        show(cell.median(rate(1)), 0),
        show(cell.median(ratio), 2),
        show(cell.median(|report| Some(f64::from(report.stalled_closed))), 0),
        show(cell.median(peak), 1),
    ]
}

fn storm_columns() -> Vec<&'static str> {
    vec![
        "connects",
        "all in s",
        "p99 ms",
        "p99 ms before",
        "p99 ms beside it",
        "max ms beside it",
        "p99 ms after",
        "away, p50 s",
        "away, max s",
    ]
}

fn storm_cells(cell: &Cell, _: Option<&Cell>) -> Vec<String> {
    let window = |index: usize, pick: fn(&LatencySummary) -> u64| {
        cell.median(|report| Some(pick(report.measured.get(index)?.latency.as_ref()?) as f64 / 1e3))
    };
    let away = |pick: fn(&LatencySummary) -> u64| {
        cell.median(|report| Some(pick(report.away.as_ref()?.latency.as_ref()?) as f64 / 1e6))
    };
    let storm_p99 = |report: &Report| Some(report.storm.as_ref()?.latency.as_ref()?.p99_us as f64 / 1e3);
    vec![
        show(cell.median(|report| Some(report.storm.as_ref()?.connections as f64)), 0),
        show(cell.median(|report| Some(report.storm.as_ref()?.seconds)), 2),
        show(cell.median(storm_p99), 0),
        show(window(0, |latency| latency.p99_us), 2),
        show(window(1, |latency| latency.p99_us), 1),
        show(window(1, |latency| latency.max_us), 1),
        show(window(2, |latency| latency.p99_us), 2),
        show(away(|latency| latency.p50_us), 2),
        show(away(|latency| latency.max_us), 2),
    ]
}

#[cfg(test)]
impl Outcome {
    /// One scenario on one broker, at a cost.
    pub fn fixed(scenario: &str, broker: &'static str, broker_us_per_message: f64) -> Self {
        let known = crate::scenario::built_in().unwrap();
        let used = serde_json::json!({"on_cpu_ns": 1, "kernel_share": 0.5, "cores": 1.0, "threads_ended": 0});
        let report = serde_json::json!({
            "scenario": crate::scenario::find(&known, scenario).unwrap(),
            "opening": {"connections": 100, "seconds": 1.0, "latency": null, "broker_us_per_connection": 50.0},
            "memory": null,
            "measured": [{
                "label": "measured", "seconds": 1.0, "sent": 10, "delivered": 10, "delivered_per_s": 10.0, "behind": 0,
                "broker": used, "nodes": [], "broker_us_per_message": broker_us_per_message, "generator": used,
                "busiest_driver_cores": 1.0, "latency": null, "acknowledge_latency": null, "lateness": null,
            }],
            "storm": null, "away": null, "counts": crate::traffic::Counts::default(), "lost": 0, "surplus": 0,
            "unacknowledged": 0, "never_sent": 0, "stalled_closed": 0,
        });
        let cell = Cell {
            broker,
            scenario: scenario.to_owned(),
            runs: vec![serde_json::from_value(report).unwrap()],
            faults: Vec::new(),
        };
        Self {
            machine: "a machine".to_owned(),
            method: "by hand".to_owned(),
            versions: vec![(broker.to_owned(), "1.0".to_owned())],
            cells: vec![cell],
        }
    }
}
