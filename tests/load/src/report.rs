//! What a run found, as data and as text.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::latency::LatencySummary;
use crate::process::CpuUsed;
use crate::scenario::{Fault, Scenario};
use crate::traffic::Counts;

/// CPU of the generator from which on it is called the bottleneck.
const GENERATOR_CORES_MAX: f64 = 0.95;

/// One part in this many of the messages may be behind without the rate being called not sustained.
const BEHIND_PART_MAX: u64 = 100;

/// The opening of all connections.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opening {
    /// Connections opened.
    pub connections: usize,
    /// From the first connect to the last SUBACK.
    pub seconds: f64,
    /// Of each connection, from connect to CONNACK or SUBACK.
    pub latency: Option<LatencySummary>,
    /// CPU of the broker for each connection, in microseconds.
    pub broker_us_per_connection: Option<f64>,
}

/// Memory of the broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memory {
    /// Resident before the first connection, in bytes.
    pub before_bytes: u64,
    /// Resident with all connections open and no traffic yet, in bytes.
    pub open_bytes: u64,
    /// The growth for each connection, in bytes.
    pub bytes_per_connection: f64,
    /// Largest ever, in bytes.
    pub peak_bytes: u64,
}

/// One measured window.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Which window, where a scenario has several.
    pub label: String,
    /// Its length.
    pub seconds: f64,
    /// Messages written in it.
    pub sent: u64,
    /// Messages received in it.
    pub delivered: u64,
    /// Messages received for each second.
    pub delivered_per_s: f64,
    /// Paced messages that were due and not sent when the window ended: the broker did not keep up.
    pub behind: u64,
    /// CPU of the broker, all nodes together.
    pub broker: Option<CpuUsed>,
    /// The same for each node, in the order of the processes.
    pub nodes: Vec<CpuUsed>,
    /// CPU of the broker for each message received, in microseconds.
    pub broker_us_per_message: Option<f64>,
    /// CPU of all drivers.
    pub generator: CpuUsed,
    /// Of the driver that used most: each has one thread, so near 1 core it is the bottleneck.
    pub busiest_driver_cores: f64,
    /// End to end, of the messages due in the window.
    pub latency: Option<LatencySummary>,
    /// To PUBACK, of the messages due in the window.
    pub acknowledge_latency: Option<LatencySummary>,
    /// From due to sent, in a paced run: the part of the latency that lies before the broker.
    pub lateness: Option<LatencySummary>,
}

/// What the end of a node meant for its clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Away {
    /// Times from losing the connection to being open at another node (subscribed, where there are filters).
    pub latency: Option<LatencySummary>,
    /// Clients that never came back.
    pub never_back: usize,
    /// Messages that did not arrive because publisher or subscriber had lost its connection.
    pub missed: u64,
    /// Messages of them that were not acknowledged when the connection ended.
    pub abandoned: u64,
}

/// A whole run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What was run.
    pub scenario: Scenario,
    /// Opening the connections.
    pub opening: Opening,
    /// Memory of the broker, where its process is known.
    pub memory: Option<Memory>,
    /// The measured windows.
    pub measured: Vec<Measured>,
    /// Opening the storm.
    pub storm: Option<Opening>,
    /// The clients of a node that was killed.
    pub away: Option<Away>,
    /// Counters of the whole run.
    pub counts: Counts,
    /// Messages that never arrived.
    pub lost: u64,
    /// Messages that arrived and that no publisher had sent.
    pub surplus: u64,
    /// QoS 1 messages that were never acknowledged.
    pub unacknowledged: u64,
    /// Paced messages that could not even be sent within the drain time.
    pub never_sent: u64,
    /// Connections that never read and were ended by the broker.
    pub stalled_closed: u32,
}

impl Report {
    /// Every reason to call the run a failure.
    pub fn faults(&self) -> Vec<String> {
        let counts = &self.counts;
        let allowed = |fault| self.scenario.allow.contains(&fault);
        let checks = [
            (self.lost, "messages lost", allowed(Fault::Loss)),
            (counts.duplicates, "duplicates", allowed(Fault::Duplicate)),
            (counts.reordered, "messages out of order", allowed(Fault::Reorder)),
            (self.unacknowledged, "messages never acknowledged", allowed(Fault::Loss)),
            (self.never_sent, "messages never sent", allowed(Fault::Loss)),
            (counts.misrouted, "messages to the wrong subscriber", false),
            (counts.corrupt, "corrupt messages", false),
            (self.surplus, "messages that nobody has sent", false),
            (
                self.away.as_ref().map_or(0, |away| away.never_back as u64),
                "clients that never came back",
                false,
            ),
            (counts.stray_acknowledgements, "stray or reordered acknowledgements", false),
        ];
        let faults = checks.iter().filter(|(count, _, allowed)| *count > 0 && !allowed);
        faults.map(|(count, what, _)| format!("{count} {what}")).collect()
    }

    /// The last window, which is the one that counts.
    pub fn last(&self) -> Option<&Measured> {
        self.measured.last()
    }

    /// The report for a terminal.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.scenario.name, self.scenario.about);
        self.opening.text(&mut text);
        if let Some(memory) = &self.memory {
            memory.text(&mut text);
        }
        if let Some(storm) = &self.storm {
            storm.text(&mut text);
        }
        if let Some(away) = &self.away {
            let _ = writeln!(
                text,
                "  node killed {} messages unacknowledged, {} missed by clients that were away",
                away.abandoned, away.missed
            );
            latency_text(&mut text, "away", away.latency.as_ref());
        }
        for measured in &self.measured {
            measured.text(&mut text);
        }
        let counts = &self.counts;
        let _ = writeln!(
            text,
            "  checked     sent {}, delivered {}, acknowledged {}, lost {}, duplicates {}, out of order {}",
            counts.sent,
            counts.delivered,
            counts.acknowledged,
            self.lost,
            counts.duplicates,
            counts.reordered
        );
        if self.scenario.stalled > 0 {
            let _ = writeln!(
                text,
                "  stalled     {} of {} ended by the broker",
                self.stalled_closed, self.scenario.stalled
            );
        }
        for fault in self.faults() {
            let _ = writeln!(text, "  FAILED      {fault}");
        }
        text
    }
}

impl Opening {
    fn text(&self, text: &mut String) {
        let _ = write!(text, "  opened      {} connections in {:.2} s", self.connections, self.seconds);
        if let Some(latency) = &self.latency {
            let _ = write!(
                text,
                ", p50 {:.1} ms, p99 {:.1} ms",
                latency.p50_us as f64 / 1e3,
                latency.p99_us as f64 / 1e3
            );
        }
        if let Some(cost) = self.broker_us_per_connection {
            let _ = write!(text, ", broker {cost:.0} us CPU each");
        }
        text.push('\n');
    }
}

impl Memory {
    fn text(&self, text: &mut String) {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let _ = writeln!(
            text,
            "  memory      {:.1} MiB empty, {:.1} MiB open ({:.2} KiB per connection), {:.1} MiB at most",
            mib(self.before_bytes),
            mib(self.open_bytes),
            self.bytes_per_connection / 1024.0,
            mib(self.peak_bytes)
        );
    }
}

impl Measured {
    fn text(&self, text: &mut String) {
        let _ = write!(
            text,
            "  {:<11} {:.0} msg/s delivered ({} in {:.2} s)",
            self.label, self.delivered_per_s, self.delivered, self.seconds
        );
        if let Some(cost) = self.broker_us_per_message {
            let _ = write!(text, ", broker {cost:.3} us CPU per message");
        }
        text.push('\n');
        if self.behind > self.sent / BEHIND_PART_MAX {
            let _ = writeln!(text, "              not sustained: {} messages behind at the end", self.behind);
        }
        if let Some(broker) = &self.broker {
            let _ = writeln!(
                text,
                "              broker {:.2} cores ({:.0} % kernel), generator {:.2} cores",
                broker.cores,
                broker.kernel_share * 100.0,
                self.generator.cores
            );
        }
        if self.nodes.len() > 1 {
            let cores: Vec<_> = self.nodes.iter().map(|node| format!("{:.2}", node.cores)).collect();
            let _ = writeln!(text, "              cores of each node: {}", cores.join(", "));
        }
        if self.busiest_driver_cores > GENERATOR_CORES_MAX {
            let _ =
                writeln!(text, "              the generator is the bottleneck of this run: try --drivers");
        }
        latency_text(text, "end to end", self.latency.as_ref());
        latency_text(text, "due to sent", self.lateness.as_ref());
        latency_text(text, "to PUBACK", self.acknowledge_latency.as_ref());
    }
}

fn latency_text(text: &mut String, label: &str, latency: Option<&LatencySummary>) {
    let Some(latency) = latency else { return };
    let _ = writeln!(
        text,
        "              {label}: p50 {} us, p90 {} us, p99 {} us, p99.9 {} us, max {} us",
        latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us
    );
}
