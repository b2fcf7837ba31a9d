//! One run of one scenario: open, warm up, measure, drain, judge.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::clock::{self, SECOND_NS, now_ns, seconds_ns};
use crate::crew::Crew;
use crate::driver::{Command, Status};
use crate::plan::Access;
use crate::process::{self, CpuSample};
use crate::report::{Away, Measured, Memory, Opening, Report};
use crate::scenario::{Group, Scenario, Shape};
use crate::target::Target;

/// Time for the broker to come to rest after the last SUBACK, before its memory is read.
const SETTLE_S: f64 = 1.0;
/// How often a waiting loop looks at its counters.
const LOOK_NS: u64 = SECOND_NS / 50;

/// Durations of a run, all bounded.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Durations {
    /// Traffic before the measured window.
    pub warmup_s: f64,
    /// The measured window.
    pub measure_s: f64,
    /// Longest wait for what is on its way at the end.
    pub drain_s: f64,
    /// Longest time for opening all connections.
    pub open_s: f64,
}

/// Ends a node of the broker at once, by its number.
pub type KillNode<'a> = &'a dyn Fn(usize) -> anyhow::Result<()>;

/// All that a run needs beside the scenario.
pub struct Setting<'a> {
    /// Where the broker is.
    pub target: Target,
    /// Topics, logins and certificates.
    pub access: Access,
    /// The broker's processes, for its costs; may be empty.
    pub broker_pids: Vec<u32>,
    /// How to end one of its nodes, if that is allowed.
    pub kill: Option<KillNode<'a>>,
    /// How long.
    pub durations: Durations,
    /// Driver processes; with one, this process is it.
    pub drivers: u32,
}

struct Run<'a> {
    scenario: &'a Scenario,
    setting: &'a Setting<'a>,
    crew: Crew,
}

/// Costs at the beginning of a window.
struct Before {
    drivers: CpuSample,
    broker: Option<CpuSample>,
    status: Status,
    start_ns: u64,
}

/// Runs a scenario.
pub fn run(scenario: &Scenario, setting: &Setting<'_>) -> anyhow::Result<Report> {
    scenario.validate()?;
    ensure!(
        scenario.kill_node.is_none() || setting.kill.is_some(),
        "scenario {} kills a node, which only the suite does, with nodes that it has started",
        scenario.name
    );
    let crew = Crew::start(scenario, &setting.target, &setting.access, setting.drivers)?;
    let mut run = Run { scenario, setting, crew };
    let before_bytes = run.resident_bytes()?;
    let opening = run.open(Group::First)?;
    run.advance(seconds_ns(SETTLE_S))?;
    let open_bytes = run.resident_bytes()?;
    let mut storm = None;
    let mut measured = if scenario.storm { run.storm(&mut storm)? } else { run.measure_all(&opening)? };
    let memory = memory(before_bytes, open_bytes, opening.connections, &setting.broker_pids)?;
    let end = run.crew.all(Command::Finish)?;
    for (measured, recording) in measured.iter_mut().zip(&end.recordings) {
        measured.latency = recording.delivery.summary();
        measured.lateness = recording.lateness.summary();
        measured.acknowledge_latency = recording.acknowledgement.summary();
    }
    let status = end.status;
    Ok(Report {
        scenario: scenario.clone(),
        opening,
        memory,
        measured,
        storm,
        away: scenario.kill_node.map(|_| Away {
            latency: end.away.and_then(|away| away.summary()),
            never_back: status.away_now,
            missed: status.excused,
            abandoned: status.counts.abandoned,
        }),
        counts: status.counts,
        lost: status.missing(),
        surplus: status.surplus(),
        unacknowledged: status.unacknowledged,
        never_sent: status.behind,
        stalled_closed: status.stalled_closed,
    })
}

fn memory(
    before: Option<u64>,
    open: Option<u64>,
    connections: usize,
    pids: &[u32],
) -> anyhow::Result<Option<Memory>> {
    let (Some(before_bytes), Some(open_bytes)) = (before, open) else { return Ok(None) };
    Ok(Some(Memory {
        before_bytes,
        open_bytes,
        bytes_per_connection: (open_bytes as f64 - before_bytes as f64) / connections.max(1) as f64,
        peak_bytes: process::peak_resident_bytes(pids)?,
    }))
}

impl Run<'_> {
    fn resident_bytes(&self) -> anyhow::Result<Option<u64>> {
        let pids = &self.setting.broker_pids;
        if pids.is_empty() { Ok(None) } else { process::resident_bytes(pids).map(Some) }
    }

    fn broker_cpu(&self) -> anyhow::Result<Option<CpuSample>> {
        let pids = &self.setting.broker_pids;
        if pids.is_empty() { Ok(None) } else { CpuSample::take(pids).map(Some) }
    }

    fn open(&mut self, group: Group) -> anyhow::Result<Opening> {
        let connections = self.scenario.connections_of(group);
        let before = self.broker_cpu()?;
        let start_ns = now_ns();
        let deadline_ns = start_ns + seconds_ns(self.setting.durations.open_s);
        let opening = self.scenario.opening;
        let answer = self.crew.all(Command::Open { group, opening, deadline_ns })?;
        let seconds = (now_ns() - start_ns) as f64 / SECOND_NS as f64;
        let cost = before.zip(self.broker_cpu()?).map(|(before, after)| before.until(&after));
        Ok(Opening {
            connections,
            seconds,
            latency: answer.opened.and_then(|opened| opened.summary()),
            broker_us_per_connection: cost
                .map(|cost| cost.on_cpu_ns as f64 / 1e3 / connections.max(1) as f64),
        })
    }

    fn measure_all(&mut self, opening: &Opening) -> anyhow::Result<Vec<Measured>> {
        if self.scenario.shape == Shape::Idle {
            let before = self.begin(Some(self.measure_ns()))?;
            self.advance(self.measure_ns())?;
            let measured = self.end("idle", &before)?;
            let open = self.advance(0)?.open_now;
            ensure!(
                open == opening.connections,
                "only {open} of {} idle connections are still open",
                opening.connections
            );
            return Ok(vec![measured]);
        }
        if self.scenario.stalled == 0 {
            return Ok(vec![self.measure("measured")?]);
        }
        let alone = self.measure("alone")?;
        self.open(Group::Stalled).context("subscribers that never read")?;
        Ok(vec![alone, self.measure("disturbed")?])
    }

    fn measure_ns(&self) -> u64 {
        seconds_ns(self.setting.durations.measure_s)
    }

    /// Starts the traffic, measures one window, stops and drains.
    fn measure(&mut self, label: &str) -> anyhow::Result<Measured> {
        self.start()?;
        let before = self.begin(Some(self.measure_ns()))?;
        self.advance(self.measure_ns())?;
        let measured = self.end(label, &before)?;
        self.stop()?;
        Ok(measured)
    }

    /// Measures a window of quiet traffic, one from the beginning of the storm until all of it is connected, and
    /// one after it.
    fn storm(&mut self, opening: &mut Option<Opening>) -> anyhow::Result<Vec<Measured>> {
        self.start()?;
        let quiet = self.begin(Some(self.measure_ns()))?;
        self.advance(self.measure_ns())?;
        let quiet = self.end("before", &quiet)?;
        let storm = self.begin(None)?;
        if let (Some(node), Some(kill)) = (self.scenario.kill_node, self.setting.kill) {
            kill(node as usize)?;
        }
        *opening = Some(self.open(Group::Storm)?);
        // Clients of a killed node may be longer away than the storm lasts.
        let deadline_ns = storm.start_ns + seconds_ns(self.setting.durations.open_s);
        while self.advance(LOOK_NS)?.away_now > 0 && now_ns() < deadline_ns {}
        self.crew.all(Command::EndRecord { at_ns: now_ns() })?;
        let storm = self.end("storm", &storm)?;
        let after = self.begin(Some(self.measure_ns()))?;
        self.advance(self.measure_ns())?;
        let after = self.end("after", &after)?;
        self.stop()?;
        Ok(vec![quiet, storm, after])
    }

    fn start(&mut self) -> anyhow::Result<()> {
        self.crew.all(Command::Start { start_ns: now_ns() })?;
        self.advance(seconds_ns(self.setting.durations.warmup_s))?;
        Ok(())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        self.crew.all(Command::Stop { at_ns: now_ns() })?;
        self.drain()
    }

    /// Begins a window of a length, or one that is ended by [`Command::EndRecord`].
    fn begin(&mut self, length_ns: Option<u64>) -> anyhow::Result<Before> {
        let (drivers, broker) = (CpuSample::take(&self.crew.pids())?, self.broker_cpu()?);
        let start_ns = now_ns();
        let until_ns = length_ns.map_or(u64::MAX, |length_ns| start_ns + length_ns);
        let answer = self.crew.all(Command::Record { from_ns: start_ns, until_ns })?;
        Ok(Before { drivers, broker, status: answer.status, start_ns })
    }

    /// The costs of a window and the messages in it; the latencies come at the end of the run.
    fn end(&mut self, label: &str, before: &Before) -> anyhow::Result<Measured> {
        let status = self.advance(0)?;
        let end_ns = now_ns();
        let (broker_after, drivers_after) = (self.broker_cpu()?, CpuSample::take(&self.crew.pids())?);
        let seconds = (end_ns - before.start_ns) as f64 / SECOND_NS as f64;
        let (after, before_counts) = (status.counts, before.status.counts);
        let delivered = after.delivered - before_counts.delivered;
        let samples = before.broker.as_ref().zip(broker_after.as_ref());
        let broker = samples.map(|(before, after)| before.until(after));
        let nodes = samples
            .map_or_else(Vec::new, |(before, after)| before.each_until(after, &self.setting.broker_pids));
        let drivers = before.drivers.each_until(&drivers_after, &self.crew.pids());
        Ok(Measured {
            label: label.to_owned(),
            seconds,
            sent: after.sent - before_counts.sent,
            delivered,
            delivered_per_s: delivered as f64 / seconds,
            behind: status.behind,
            broker_us_per_message: broker
                .filter(|_| delivered > 0)
                .map(|broker| broker.on_cpu_ns as f64 / 1e3 / delivered as f64),
            broker,
            nodes,
            generator: before.drivers.until(&drivers_after),
            busiest_driver_cores: drivers.iter().map(|driver| driver.cores).fold(0.0, f64::max),
            latency: None,
            acknowledge_latency: None,
            lateness: None,
        })
    }

    /// Lets the drivers go on for a time.
    fn advance(&mut self, duration_ns: u64) -> anyhow::Result<Status> {
        Ok(self.crew.all(Command::Run { until_ns: now_ns() + duration_ns })?.status)
    }

    /// Waits until everything due is sent, and everything sent has arrived and is acknowledged, at most the drain time.
    fn drain(&mut self) -> anyhow::Result<()> {
        let end_ns = now_ns() + seconds_ns(self.setting.durations.drain_s);
        while !self.advance(LOOK_NS)?.is_settled() && now_ns() < end_ns {}
        Ok(())
    }
}

/// Sets a limit to the whole program: past it the process calls `clean_up` and ends with exit code 3, whatever it
/// is waiting for.
pub fn hard_stop(after_s: f64, clean_up: fn()) {
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_nanos(clock::seconds_ns(after_s)));
        eprintln!("rookery-load: not finished after {after_s} s, giving up");
        clean_up();
        std::process::exit(3);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Addressing;
    use crate::relay::Relay;
    use crate::scenario::{built_in, find};
    use crate::tls::{self, Trust, authority::Authority};
    use std::sync::Arc;

    /// A short run of a built-in scenario over real sockets against the relay.
    fn run_against_relay(change: impl Fn(&mut Scenario), name: &str) -> Report {
        let mut scenario = find(&built_in().unwrap(), name).unwrap();
        change(&mut scenario);
        let directory = tempfile::TempDir::new().unwrap();
        let authority = Authority::create(directory.path()).unwrap();
        let served = scenario
            .tls
            .then(|| tls::server::server(&authority.server_certificate, &authority.server_key).unwrap());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut relay = Relay::new().unwrap();
            sender.send(relay.listen("127.0.0.1:0".parse().unwrap(), served).unwrap()).unwrap();
            relay.serve()
        });
        let address = receiver.recv().unwrap();
        let mut access = Access::by_password(Addressing::Free(None));
        if let Some(kind) = scenario.certificate {
            let identities = authority.identities(kind, scenario.connections).unwrap();
            access.identities = identities.into_iter().map(Arc::new).collect();
        }
        let trust = Trust::Authority(authority.certificate);
        let tls = scenario.tls.then(|| (trust, "localhost".to_owned()));
        let setting = Setting {
            target: Target { addresses: vec![address], tls },
            access,
            broker_pids: vec![std::process::id()],
            kill: None,
            drivers: 1,
            durations: Durations { warmup_s: 0.05, measure_s: 0.2, drain_s: 20.0, open_s: 20.0 },
        };
        run(&scenario, &setting).unwrap()
    }

    #[test]
    fn a_saturated_run_loses_nothing_and_is_accounted_for() {
        for name in ["pairs-qos1", "fanin", "fanout", "pairs-tls-qos1"] {
            let report = run_against_relay(|_| {}, name);
            assert_eq!(report.faults(), Vec::<String>::new(), "{name}");
            let measured = report.last().unwrap();
            assert!(measured.delivered > 0 && measured.broker_us_per_message.unwrap() > 0.0, "{name}");
            assert!(measured.latency.is_some(), "{name}");
        }
    }

    #[test]
    fn a_paced_run_delivers_what_was_due() {
        let report = run_against_relay(|scenario| scenario.rate_per_s = Some(1000.0), "rate1");
        assert_eq!(report.faults(), Vec::<String>::new());
        assert!(report.counts.sent > 0);
        assert_eq!(report.counts.sent, report.counts.delivered);
    }

    #[test]
    fn idle_connections_are_opened_and_stay() {
        let report = run_against_relay(|scenario| scenario.connections = 200, "idle");
        assert_eq!(report.faults(), Vec::<String>::new());
        assert_eq!(report.opening.connections, 200);
        assert_eq!(report.opening.latency.unwrap().count, 200);
    }

    #[test]
    fn devices_shake_hands_with_certificates_of_their_own() {
        for name in ["connect-tls-ecdsa", "connect-tls-rsa"] {
            let report = run_against_relay(|scenario| scenario.connections = 5, name);
            assert_eq!((report.faults(), report.opening.connections), (Vec::new(), 5), "{name}");
        }
    }
}
