//! One run of one scenario: open, warm up, measure, drain, judge.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::clients::{Clients, Target};
use crate::clock::{self, SECOND_NS, now_ns, seconds_ns};
use crate::connection::Role;
use crate::pace;
use crate::plan::{Access, ClientPlan, Plan};
use crate::process::{self, CpuSample};
use crate::report::{Measured, Memory, Opening, Report};
use crate::scenario::{Scenario, Shape};
use crate::traffic::{Bounds, Traffic};

/// Time for the broker to come to rest after the last SUBACK, before its memory is read.
const SETTLE_S: f64 = 1.0;
/// A closed loop that delivers nothing for this long gives up on what is on its way.
const STALL_NS: u64 = 2 * SECOND_NS;
/// How often a waiting loop looks at its counters.
const LOOK_NS: u64 = SECOND_NS / 100;

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

/// All that a run needs beside the scenario.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Where the broker is.
    pub target: Target,
    /// Topics, logins and certificates.
    pub access: Access,
    /// The broker's processes, for its costs; may be empty.
    pub broker_pids: Vec<u32>,
    /// How long.
    pub durations: Durations,
}

struct Run<'a> {
    scenario: &'a Scenario,
    setting: &'a Setting,
    clients: Clients,
    traffic: Traffic,
}

/// Runs a scenario.
pub fn run(scenario: &Scenario, setting: &Setting) -> anyhow::Result<Report> {
    scenario.validate()?;
    ensure!(
        scenario.tls == setting.target.tls.is_some(),
        "scenario {} and target differ about TLS",
        scenario.name
    );
    let plan = Plan::new(scenario, &setting.access, setting.target.addresses.len(), "load-");
    let window = scenario.rate_per_s.is_none().then_some(scenario.window);
    let mut run = Run {
        scenario,
        setting,
        clients: Clients::new(setting.target.clone(), scenario.qos)?,
        traffic: Traffic::new(&plan, Bounds { window, inflight: scenario.inflight }),
    };
    let before_bytes = run.resident_bytes()?;
    let opening = run.open(&connections(&plan))?;
    run.advance(seconds_ns(SETTLE_S))?;
    let open_bytes = run.resident_bytes()?;
    let measured = run.measure_all(&plan)?;
    let memory = memory(before_bytes, open_bytes, opening.connections, &setting.broker_pids)?;
    Ok(Report {
        scenario: scenario.clone(),
        opening,
        memory,
        measured,
        counts: run.traffic.counts(),
        lost: run.traffic.missing(),
        unacknowledged: run.traffic.unacknowledged(),
        never_sent: run.traffic.behind(now_ns()),
        stalled_closed: run.clients.stalled_closed(),
    })
}

fn connections(plan: &Plan) -> Vec<(Role, &ClientPlan)> {
    let subscribers =
        plan.subscribers.iter().enumerate().map(|(index, it)| (Role::Subscriber(index as u32), &it.client));
    let publishers =
        plan.publishers.iter().enumerate().map(|(index, it)| (Role::Publisher(index as u32), &it.client));
    let idle = plan.idle.iter().map(|client| (Role::Idle, client));
    subscribers.chain(publishers).chain(idle).collect()
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

    fn open(&mut self, connections: &[(Role, &ClientPlan)]) -> anyhow::Result<Opening> {
        let before = self.broker_cpu()?;
        let start_ns = now_ns();
        let deadline_ns = start_ns + seconds_ns(self.setting.durations.open_s);
        self.clients.open(connections, self.scenario.opening, &mut self.traffic, deadline_ns)?;
        let seconds = (now_ns() - start_ns) as f64 / SECOND_NS as f64;
        let cost = before.zip(self.broker_cpu()?).map(|(before, after)| before.until(&after));
        Ok(Opening {
            connections: connections.len(),
            seconds,
            latency: self.clients.open_latency().summary(),
            broker_us_per_connection: cost.map(|cost| cost.on_cpu_ns as f64 / 1e3 / connections.len() as f64),
        })
    }

    fn measure_all(&mut self, plan: &Plan) -> anyhow::Result<Vec<Measured>> {
        if self.scenario.shape == Shape::Idle {
            let measured = self.window("idle")?;
            let open = self.clients.open_now();
            ensure!(
                open == plan.idle.len(),
                "only {open} of {} idle connections are still open",
                plan.idle.len()
            );
            return Ok(vec![measured]);
        }
        if plan.stalled.is_empty() {
            return Ok(vec![self.measure("measured")?]);
        }
        let alone = self.measure("alone")?;
        let stalled: Vec<_> = plan.stalled.iter().map(|client| (Role::Stalled, client)).collect();
        self.open(&stalled).context("subscribers that never read")?;
        Ok(vec![alone, self.measure("disturbed")?])
    }

    /// Starts the traffic, measures one window, stops and drains.
    fn measure(&mut self, label: &str) -> anyhow::Result<Measured> {
        match self.scenario.rate_per_s {
            None => self.traffic.start_saturated(),
            Some(rate) => {
                let publishers = self.scenario.publishers as usize;
                self.traffic.start_paced(pace::spread(now_ns(), rate, publishers));
            }
        }
        self.advance(seconds_ns(self.setting.durations.warmup_s))?;
        let mut measured = self.window(label)?;
        self.traffic.stop(now_ns());
        self.drain()?;
        measured.latency = self.traffic.latency().summary();
        measured.lateness = self.traffic.lateness().summary();
        measured.acknowledge_latency = self.traffic.acknowledge_latency().summary();
        Ok(measured)
    }

    fn window(&mut self, label: &str) -> anyhow::Result<Measured> {
        let length_ns = seconds_ns(self.setting.durations.measure_s);
        let own = [std::process::id()];
        let (own_before, broker_before) = (CpuSample::take(&own)?, self.broker_cpu()?);
        let (before, start_ns) = (self.traffic.counts(), now_ns());
        self.traffic.record(start_ns..start_ns + length_ns);
        self.advance(length_ns)?;
        let (after, end_ns) = (self.traffic.counts(), now_ns());
        let behind = self.traffic.behind(end_ns);
        let (broker_after, own_after) = (self.broker_cpu()?, CpuSample::take(&own)?);
        let seconds = (end_ns - start_ns) as f64 / SECOND_NS as f64;
        let delivered = after.delivered - before.delivered;
        let samples = broker_before.zip(broker_after);
        let broker = samples.as_ref().map(|(before, after)| before.until(after));
        let pids = self.setting.broker_pids.iter();
        let nodes = samples.as_ref().map_or_else(Vec::new, |(before, after)| {
            pids.map(|pid| before.of(*pid).until(&after.of(*pid))).collect()
        });
        Ok(Measured {
            label: label.to_owned(),
            seconds,
            sent: after.sent - before.sent,
            delivered,
            delivered_per_s: delivered as f64 / seconds,
            behind,
            broker_us_per_message: broker
                .filter(|_| delivered > 0)
                .map(|broker| broker.on_cpu_ns as f64 / 1e3 / delivered as f64),
            broker,
            nodes,
            generator: own_before.until(&own_after),
            latency: None,
            acknowledge_latency: None,
            lateness: None,
        })
    }

    /// Runs the loop for a time, and keeps a lossy broker from stopping it.
    fn advance(&mut self, duration_ns: u64) -> anyhow::Result<()> {
        let end_ns = now_ns() + duration_ns;
        let mut moved = (self.traffic.counts().delivered, now_ns());
        loop {
            let now_ns = now_ns();
            if now_ns >= end_ns {
                return Ok(());
            }
            let next_ns = self.traffic.next_due_ns().unwrap_or(end_ns).min(end_ns).min(now_ns + SECOND_NS);
            self.clients.turn(&mut self.traffic, next_ns.saturating_sub(now_ns))?;
            let delivered = self.traffic.counts().delivered;
            if delivered != moved.0 {
                moved = (delivered, now_ns);
            } else if now_ns - moved.1 > STALL_NS {
                self.traffic.give_up();
                moved.1 = now_ns;
            }
        }
    }

    /// Waits until everything due is sent, and everything sent has arrived and is acknowledged, at most the drain time.
    fn drain(&mut self) -> anyhow::Result<()> {
        let end_ns = now_ns() + seconds_ns(self.setting.durations.drain_s);
        while now_ns() < end_ns
            && (self.traffic.behind(now_ns()) > 0
                || self.traffic.missing() > 0
                || self.traffic.unacknowledged() > 0)
        {
            let look_ns = now_ns() + LOOK_NS;
            while now_ns() < look_ns {
                self.clients.turn(&mut self.traffic, LOOK_NS)?;
            }
        }
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
        let tls = scenario.tls.then(|| tls::client(&trust, "localhost").unwrap());
        let setting = Setting {
            target: Target { addresses: vec![address], tls },
            access,
            broker_pids: vec![std::process::id()],
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
