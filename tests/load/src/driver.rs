//! A driver: its share of a run's connections and messages, moved by commands.
//!
//! With one driver the commands are calls. With several, each is a process that reads them from standard input and
//! answers on standard output, a line of JSON each: see [`crate::crew`].

use std::collections::VecDeque;
use std::path::PathBuf;

use anyhow::{bail, ensure};
use serde::{Deserialize, Serialize};

use crate::clients::Clients;
use crate::clock::{SECOND_NS, now_ns};
use crate::connection::Role;
use crate::exchange::Exchange;
use crate::latency::Latency;
use crate::pace;
use crate::plan::{Access, ClientPlan, Plan};
use crate::scenario::{Group, Scenario};
use crate::target::{Endpoint, Recovery, Target};
use crate::traffic::{Bounds, Counts, Recording, Share, Traffic};

/// A closed loop in which nothing arrives for this long gives up on what is on its way.
const STALL_NS: u64 = 2 * SECOND_NS;
/// Longest wait of a turn in which nothing is due.
const TURN_NS: u64 = SECOND_NS / 10;

/// All that a driver must know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// What is run.
    pub scenario: Scenario,
    /// Where the broker is.
    pub target: Target,
    /// Topics and credentials.
    pub access: Access,
    /// Which part.
    pub share: Share,
    /// Directory for the sockets of all drivers, where there are several.
    pub directory: PathBuf,
}

/// What a driver can be told. Times are those of [`now_ns`], which all processes share.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Command {
    /// Open the share of a group and answer when all of it is open.
    Open {
        /// Which connections.
        group: Group,
        /// How many at a time, of all drivers together.
        opening: usize,
        /// Fail when it is not done by then.
        deadline_ns: u64,
    },
    /// Start the traffic: paced from `start_ns` on, or saturated.
    Start {
        /// When the first message is due.
        start_ns: u64,
    },
    /// Begin a measured window; the end may be [`u64::MAX`].
    Record {
        /// The first due time in it.
        from_ns: u64,
        /// The first one behind it.
        until_ns: u64,
    },
    /// End the measured window.
    EndRecord {
        /// The first due time behind it.
        at_ns: u64,
    },
    /// Go on until then.
    Run {
        /// When to answer.
        until_ns: u64,
    },
    /// Send nothing new that is due later.
    Stop {
        /// When.
        at_ns: u64,
    },
    /// Hand over the histograms.
    Finish,
}

/// How a driver stands.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Counters so far.
    pub counts: Counts,
    /// Messages of its publishers, once for each subscriber of the run.
    pub expected: u64,
    /// Messages that have not arrived because of a lost connection.
    pub excused: u64,
    /// Paced messages that were due and are not sent.
    pub behind: u64,
    /// QoS 1 messages that wait for their PUBACK.
    pub unacknowledged: u64,
    /// Open connections.
    pub open_now: usize,
    /// Clients that have lost their connection and are not back.
    pub away_now: usize,
    /// Connections that never read and were ended by the broker.
    pub stalled_closed: u32,
}

impl Status {
    /// Adds that of another driver.
    pub fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.expected += other.expected;
        self.excused += other.excused;
        self.behind += other.behind;
        self.unacknowledged += other.unacknowledged;
        self.open_now += other.open_now;
        self.away_now += other.away_now;
        self.stalled_closed += other.stalled_closed;
    }

    /// Messages that should have arrived and have not.
    pub fn missing(&self) -> u64 {
        self.expected.saturating_sub(self.counts.delivered + self.excused)
    }

    /// Messages that have arrived and that nobody has sent.
    pub fn surplus(&self) -> u64 {
        (self.counts.delivered + self.excused).saturating_sub(self.expected)
    }

    /// Whether everything due is sent, has arrived and is acknowledged.
    pub fn is_settled(&self) -> bool {
        self.behind == 0 && self.missing() == 0 && self.unacknowledged == 0 && self.away_now == 0
    }
}

/// What a driver answers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// How it stands.
    pub status: Status,
    /// After [`Command::Open`]: times until the connections were open.
    pub opened: Option<Latency>,
    /// After [`Command::Finish`]: the windows, in order.
    pub recordings: Vec<Recording>,
    /// After [`Command::Finish`]: times without a connection.
    pub away: Option<Latency>,
}

impl Answer {
    /// Adds that of another driver to the same command.
    pub fn add(&mut self, other: Self) {
        self.status.add(&other.status);
        add_latency(&mut self.opened, other.opened);
        add_latency(&mut self.away, other.away);
        let recordings = other.recordings;
        self.recordings.resize_with(self.recordings.len().max(recordings.len()), Recording::default);
        for (mine, other) in self.recordings.iter_mut().zip(&recordings) {
            mine.merge(other);
        }
    }
}

fn add_latency(mine: &mut Option<Latency>, other: Option<Latency>) {
    match (mine, other) {
        (Some(mine), Some(other)) => mine.merge(&other),
        (mine @ None, other) => *mine = other,
        (Some(_), None) => {}
    }
}

/// The driver.
pub struct Driver {
    job: Job,
    plan: Plan,
    clients: Clients,
    traffic: Traffic,
}

impl Driver {
    /// A driver with nothing open yet.
    pub fn new(job: Job) -> anyhow::Result<Self> {
        job.scenario.validate()?;
        ensure!(job.share.driver < job.share.drivers, "driver {} of {}", job.share.driver, job.share.drivers);
        let scenario = &job.scenario;
        ensure!(
            scenario.tls == job.target.tls.is_some(),
            "scenario {} and target differ about TLS",
            scenario.name
        );
        let endpoint = Endpoint::new(&job.target)?;
        let plan = Plan::new(scenario, &job.access, endpoint.nodes(), "load-");
        let exchange = match job.share.drivers {
            1 => None,
            _ => Some(Exchange::open(&job.directory, job.share)?),
        };
        let recovery = scenario.kill_node.map(|node| Recovery { killed: node as usize });
        let window = scenario.rate_per_s.is_none().then_some(scenario.window);
        let bounds = Bounds { window, inflight: scenario.inflight };
        Ok(Self {
            clients: Clients::new(endpoint, scenario.qos, recovery, exchange)?,
            traffic: Traffic::new(&plan, bounds, job.share),
            plan,
            job,
        })
    }

    /// Does what it is told.
    pub fn execute(&mut self, command: Command) -> anyhow::Result<Answer> {
        let mut answer = Answer::default();
        match command {
            Command::Open { group, opening, deadline_ns } => {
                let drivers = self.job.share.drivers as usize;
                self.open(group, opening.div_ceil(drivers), deadline_ns)?;
                answer.opened = Some(self.clients.take_open_latency());
            }
            Command::Start { start_ns } => match self.job.scenario.rate_per_s {
                None => self.traffic.start_saturated(),
                Some(rate) => {
                    let publishers = self.plan.publishers.len();
                    self.traffic.start_paced(pace::spread(start_ns, rate, publishers));
                }
            },
            Command::Record { from_ns, until_ns } => self.traffic.record(from_ns..until_ns),
            Command::EndRecord { at_ns } => self.traffic.end_record(at_ns),
            Command::Run { until_ns } => self.advance(until_ns)?,
            Command::Stop { at_ns } => self.traffic.stop(at_ns),
            Command::Finish => {
                answer.recordings = self.traffic.take_recordings();
                let mut away = Latency::default();
                away.merge(self.clients.away_latency());
                answer.away = Some(away);
            }
        }
        answer.status = self.status();
        Ok(answer)
    }

    fn status(&self) -> Status {
        Status {
            counts: self.traffic.counts(),
            expected: self.traffic.expected(),
            excused: self.traffic.excused(),
            behind: self.traffic.behind(now_ns()),
            unacknowledged: self.traffic.unacknowledged(),
            open_now: self.clients.open_now(),
            away_now: self.clients.away_now(),
            stalled_closed: self.clients.stalled_closed(),
        }
    }

    fn open(&mut self, group: Group, opening_max: usize, deadline_ns: u64) -> anyhow::Result<()> {
        let connections = connections(&self.plan, group, self.job.scenario.storm);
        let mine = |(index, role, plan): (u32, Role, &ClientPlan)| {
            self.job.share.has(index).then(|| (role, plan.clone()))
        };
        let mut waiting: VecDeque<_> = connections.into_iter().filter_map(mine).collect();
        while !waiting.is_empty() || self.clients.opening() > 0 {
            while self.clients.opening() < opening_max
                && let Some((role, plan)) = waiting.pop_front()
            {
                self.clients.start(role, &plan)?;
            }
            if now_ns() >= deadline_ns {
                let late = waiting.len() + self.clients.opening();
                bail!("{late} connections were not open at the deadline");
            }
            self.turn(deadline_ns)?;
        }
        Ok(())
    }

    /// Goes on until a time, and keeps a lossy broker from stopping the closed loop.
    fn advance(&mut self, until_ns: u64) -> anyhow::Result<()> {
        let mut moved = (self.traffic.arrivals(), now_ns());
        loop {
            let now_ns = now_ns();
            if now_ns >= until_ns {
                return Ok(());
            }
            self.turn(until_ns)?;
            let arrivals = self.traffic.arrivals();
            if arrivals != moved.0 {
                moved = (arrivals, now_ns);
            } else if now_ns - moved.1 > STALL_NS {
                self.traffic.give_up();
                moved.1 = now_ns;
            }
        }
    }

    fn turn(&mut self, until_ns: u64) -> anyhow::Result<()> {
        let now_ns = now_ns();
        let next_ns = self.traffic.next_due_ns().unwrap_or(u64::MAX).min(until_ns).min(now_ns + TURN_NS);
        self.clients.turn(&mut self.traffic, next_ns.saturating_sub(now_ns))
    }
}

/// The connections of a group, each with its index among those of its kind.
fn connections(plan: &Plan, group: Group, storm: bool) -> Vec<(u32, Role, &ClientPlan)> {
    let idle = || plan.idle.iter().zip(0..).map(|(client, index)| (index, Role::Idle, client));
    match group {
        Group::First => {
            let subscribers = plan.subscribers.iter().zip(0..);
            let publishers = plan.publishers.iter().zip(0..);
            let mut all: Vec<_> =
                subscribers.map(|(it, index)| (index, Role::Subscriber(index), &it.client)).collect();
            all.extend(publishers.map(|(it, index)| (index, Role::Publisher(index), &it.client)));
            if !storm {
                all.extend(idle());
            }
            all
        }
        Group::Stalled => {
            plan.stalled.iter().zip(0..).map(|(it, index)| (index, Role::Stalled, it)).collect()
        }
        Group::Storm => idle().collect(),
    }
}
