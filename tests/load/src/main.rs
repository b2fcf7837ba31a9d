//! `rookery-load`: a load generator and report for MQTT 3.1.1 brokers.
//!
//! Reading order: a [`scenario`] (data) becomes a [`plan`] of connections; [`run`] brings them up, measures and
//! judges. The work is done by one or several drivers ([`crew`], [`driver`]); in each, [`traffic`] knows messages
//! and no sockets, [`clients`] sockets and no statistics. [`process`] asks the operating system what the broker
//! cost. [`suite`] starts brokers and compares them; [`relay`] is the floor.
//!
//! The program shares no code with the product: what it measures and checks, it sees from outside.
//!
//! Exit codes: 0 clean, 1 the run could not be done, 2 wrong arguments, 3 hard stop, 4 messages were lost,
//! duplicated, out of order or wrong.

mod args;
mod broker;
mod children;
mod clients;
mod clock;
mod connection;
mod crew;
mod driver;
mod epoll;
mod exchange;
mod growth;
mod latency;
mod pace;
mod packet;
mod plan;
mod plot;
mod process;
mod publication;
mod relay;
mod report;
mod run;
mod scenario;
mod sequence;
mod stamp;
mod suite;
mod target;
mod tls;
mod traffic;
mod transport;
mod window;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::args::{
    AccessArguments, Arguments, Command, FleetArguments, Overrides, RelayArguments, ReportArguments,
    RunArguments, SuiteArguments,
};
use crate::broker::Kind;
use crate::plan::{Access, Addressing, Login};
use crate::publication::Publication;
use crate::run::{Durations, Setting};
use crate::scenario::{Fault, Scenario};
use crate::suite::Suite;
use crate::target::Target;
use crate::tls::Trust;

/// Exit code of a run that found lost, duplicated, reordered or wrong messages.
const FAULTY: u8 = 4;
/// Descriptors beside the sockets of a run.
const SPARE_DESCRIPTORS: u64 = 64;

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Scenarios => list(),
        Command::Run(arguments) => run_one(&arguments),
        Command::Suite(arguments) => run_suite(&arguments),
        Command::Report(arguments) => publish(&arguments),
        Command::Relay(arguments) => serve_relay(&arguments),
        Command::Fleet(arguments) => make_fleet(&arguments),
        Command::Drive => crew::drive().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("rookery-load: {error:#}");
        ExitCode::FAILURE
    })
}

fn list() -> anyhow::Result<ExitCode> {
    for scenario in scenario::built_in()? {
        println!("{:<20} {}", scenario.name, scenario.about);
    }
    Ok(ExitCode::SUCCESS)
}

fn scenarios(file: Option<&Path>) -> anyhow::Result<Vec<Scenario>> {
    let Some(file) = file else { return scenario::built_in() };
    let text = std::fs::read_to_string(file).with_context(|| format!("scenario file {}", file.display()))?;
    scenario::parse(&text)
}

fn run_one(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let known = scenarios(arguments.scenarios.as_deref())?;
    let mut scenario = scenario::find(&known, &arguments.scenario)?;
    override_figures(&mut scenario, &arguments.overrides)?;
    scenario.tls |= arguments.access.tls;
    let setting = Setting {
        target: Target {
            addresses: arguments.address.clone(),
            tls: tls_of(&arguments.access, scenario.tls)?,
        },
        access: access(&arguments.access)?,
        broker_pids: arguments.broker_pid.clone(),
        kill: None,
        drivers: arguments.drivers,
        durations: arguments.durations.into(),
    };
    prepare_process(&scenario, arguments.drivers, arguments.cpu)?;
    run::hard_stop(arguments.durations.hard_stop, children::kill_all);
    let report = run::run(&scenario, &setting)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.text());
    }
    Ok(if report.faults().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAULTY) })
}

fn override_figures(scenario: &mut Scenario, overrides: &Overrides) -> anyhow::Result<()> {
    fn set<T: Copy>(figure: &mut T, value: Option<T>) {
        *figure = value.unwrap_or(*figure);
    }
    set(&mut scenario.qos, overrides.qos);
    set(&mut scenario.publishers, overrides.publishers);
    set(&mut scenario.subscribers, overrides.subscribers);
    set(&mut scenario.connections, overrides.connections);
    set(&mut scenario.subscriptions, overrides.subscriptions);
    set(&mut scenario.stalled, overrides.stalled);
    set(&mut scenario.payload_bytes, overrides.payload);
    set(&mut scenario.window, overrides.window);
    set(&mut scenario.inflight, overrides.inflight);
    set(&mut scenario.opening, overrides.opening);
    scenario.rate_per_s = overrides.rate.or(scenario.rate_per_s);
    for name in &overrides.allow {
        scenario.allow.push(match name.as_str() {
            "loss" => Fault::Loss,
            "duplicate" => Fault::Duplicate,
            "reorder" => Fault::Reorder,
            _ => bail!("unknown fault {name}"),
        });
    }
    scenario.validate()
}

fn tls_of(access: &AccessArguments, wanted: bool) -> anyhow::Result<Option<(Trust, String)>> {
    if !wanted {
        return Ok(None);
    }
    let trust = match &access.ca {
        Some(path) => Trust::Authority(path.clone()),
        None if access.insecure => Trust::Anyone,
        None => bail!("TLS needs --ca FILE or --insecure"),
    };
    Ok(Some((trust, access.server_name.clone())))
}

fn access(arguments: &AccessArguments) -> anyhow::Result<Access> {
    if let Some(path) = &arguments.fleet {
        return Access::load_fleet(path);
    }
    let Some((username, path)) = arguments.username.as_ref().zip(arguments.password_file.as_ref()) else {
        return Ok(Access::by_password(Addressing::Free(None)));
    };
    let password =
        std::fs::read_to_string(path).with_context(|| format!("password file {}", path.display()))?;
    let login = Login { username: username.clone(), password: password.trim_end().to_owned() };
    Ok(Access::by_password(Addressing::Free(Some(login))))
}

/// Raises the limit of open descriptors as far as allowed, and returns it.
fn raise_descriptor_limit() -> anyhow::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// Sees that there are descriptors enough, and pins the process.
fn prepare_process(scenario: &Scenario, drivers: u32, cpu: Option<usize>) -> anyhow::Result<()> {
    let limit = raise_descriptor_limit()?;
    let needed = u64::from(scenario.sockets().div_ceil(drivers)) + SPARE_DESCRIPTORS;
    ensure!(limit >= needed, "scenario {} needs {needed} descriptors, the limit is {limit}", scenario.name);
    if let Some(cpu) = cpu {
        let mut cpus = CpuSet::new();
        cpus.set(cpu);
        sched_setaffinity(None, &cpus)?;
    }
    Ok(())
}

fn run_suite(arguments: &SuiteArguments) -> anyhow::Result<ExitCode> {
    let known = scenarios(arguments.scenarios.as_deref())?;
    let chosen = if arguments.only.is_empty() {
        known.into_iter().filter(|scenario| scenario.suite).collect()
    } else {
        let chosen = arguments.only.iter().map(|name| scenario::find(&known, name));
        chosen.collect::<anyhow::Result<Vec<_>>>()?
    };
    let brokers = [
        arguments.rookery.clone().map(Kind::Rookery),
        arguments.mosquitto.clone().map(Kind::Mosquitto),
        arguments.rmqttd.clone().map(Kind::Rmqtt),
        arguments.relay.then_some(Kind::Relay),
    ];
    let brokers: Vec<_> = brokers.into_iter().flatten().collect();
    ensure!(
        !brokers.is_empty(),
        "name a broker: --rookery PROGRAM, --mosquitto PROGRAM, --rmqttd PROGRAM or --relay"
    );
    for scenario in &chosen {
        prepare_process(scenario, arguments.drivers, arguments.cpu)?;
    }
    run::hard_stop(arguments.durations.hard_stop, children::kill_all);
    let suite = Suite {
        brokers,
        scenarios: chosen,
        repeats: arguments.repeats,
        durations: arguments.durations.into(),
        drivers: arguments.drivers,
        broker_cpu: arguments.broker_cpu,
    };
    let outcome = suite.run()?;
    let markdown = outcome.markdown(&suite);
    println!("{markdown}");
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, &markdown).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&outcome)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if outcome.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(FAULTY) })
}

fn publish(arguments: &ReportArguments) -> anyhow::Result<ExitCode> {
    let known = scenario::built_in()?;
    let scenarios = known.into_iter().filter(|scenario| scenario.suite || !arguments.quick).collect();
    let brokers = [
        Some(Kind::Rookery(arguments.rookery.clone())),
        arguments.mosquitto.clone().map(Kind::Mosquitto),
        arguments.rmqttd.clone().map(Kind::Rmqtt),
        Some(Kind::Relay),
    ];
    let (repeats, measure_s) = if arguments.quick { (1, 1.0) } else { (3, 3.0) };
    let suite = Suite {
        brokers: brokers.into_iter().flatten().collect(),
        scenarios,
        repeats,
        durations: Durations { warmup_s: 1.0, measure_s, drain_s: 20.0, open_s: 240.0 },
        drivers: 1,
        broker_cpu: None,
    };
    for scenario in &suite.scenarios {
        prepare_process(scenario, 1, None)?;
    }
    run::hard_stop(arguments.hard_stop, children::kill_all);
    let outcome = suite.run()?;
    let mut curves = Vec::new();
    for growth in growth::built_in()? {
        curves.extend(growth.measure(&suite.brokers[0], &suite, arguments.full)?);
    }
    let sizes: &[u32] = match (arguments.quick, arguments.full) {
        (true, _) => &[1000, 10_000],
        (_, false) => &[1000, 10_000, 100_000],
        (_, true) => &[10_000, 100_000, 1_000_000],
    };
    curves.extend(growth::state(&arguments.rookery, sizes)?);
    let publication = Publication { outcome, curves };
    publication.write(&arguments.out, &suite)?;
    println!("{}", arguments.out.join("report.md").display());
    Ok(if publication.outcome.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(FAULTY) })
}

fn make_fleet(arguments: &FleetArguments) -> anyhow::Result<ExitCode> {
    let read = |path: &Path| {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::Ok(text.trim_end().to_owned())
    };
    let (authority, token) = (read(&arguments.ca)?, read(&arguments.token_file)?);
    let password = read(&arguments.password_file)?;
    let started_ns = clock::now_ns();
    let made = broker::make_fleet(arguments.api, &authority, &token, &password, arguments.devices)?;
    let seconds = (clock::now_ns() - started_ns) as f64 / clock::SECOND_NS as f64;
    let count = made.fleet.devices.len();
    println!("registry {} with {count} devices, made in {seconds:.1} s", made.fleet.registry.username);
    made.write(&arguments.output, arguments.certificates.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

fn serve_relay(arguments: &RelayArguments) -> anyhow::Result<ExitCode> {
    raise_descriptor_limit()?;
    let mut relay = relay::Relay::new()?;
    println!("mqtt {}", relay.listen(arguments.listen, None)?);
    let files = arguments.tls_cert.as_ref().zip(arguments.tls_key.as_ref());
    if let (Some(listen), Some((certificate, key))) = (arguments.tls_listen, files) {
        let tls = tls::server::server(certificate, key)?;
        println!("mqtts {}", relay.listen(listen, Some(tls))?);
    }
    println!("ready");
    std::io::stdout().flush()?;
    relay.serve()?;
    Ok(ExitCode::SUCCESS)
}
