//! Starts the broker under test as fresh processes, makes it ready for a run, and stops it again.
//!
//! A broker is one or more *nodes*, each a process: [`node`] starts, awaits and stops one, [`cluster`] makes a
//! cluster of several and the resources that a run needs, [`fleet`] the devices among them, [`peers`] starts the
//! brokers of others. Only processes started here are ever signalled, by their ids.

mod cluster;
mod fleet;
mod node;
mod peers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::growth::State;
use crate::plan::{Access, Addressing, Made};
use crate::scenario::{KeyKind, Scenario};
use crate::tls::authority::Authority;

use self::node::Node;

/// Makes a registry and devices with certificates on a Rookery that runs already.
pub fn make_fleet(
    api: SocketAddr,
    authority: &str,
    token: &str,
    password: &str,
    devices: u32,
) -> anyhow::Result<Made> {
    let directory = TempDir::new()?;
    let identities = Authority::create(directory.path())?.identities(KeyKind::Ecdsa, devices)?;
    let identities: Vec<_> = identities.into_iter().map(Arc::new).collect();
    let credentials = identities.iter().cloned().map(fleet::Credential::Certificate).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let api = fleet::Api::new(api, authority, token)?;
    Ok(Made { fleet: runtime.block_on(api.create_fleet(credentials, password))?, identities })
}

/// Fills a node of Rookery with devices, each with a certificate, has it make a snapshot, and starts it again.
pub fn fill(program: &Path, devices: u32) -> anyhow::Result<State> {
    let directory = TempDir::with_prefix("rookery-load-")?;
    let authority = Authority::create(directory.path())?;
    cluster::Cluster::new(program, directory.path(), &authority).fill(devices)
}

/// A broker that the suite can start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// This program's relay.
    Relay,
    /// Mosquitto: its server program.
    Mosquitto(PathBuf),
    /// RMQTT: its server program, `rmqttd`.
    Rmqtt(PathBuf),
    /// Rookery: its program.
    Rookery(PathBuf),
}

impl Kind {
    /// Name in the report.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Mosquitto(_) => "mosquitto",
            Self::Rmqtt(_) => "rmqttd",
            Self::Rookery(_) => "rookery",
        }
    }

    /// What the program says about its version.
    pub fn version(&self) -> anyhow::Result<String> {
        let (program, argument) = match self {
            Self::Relay => return Ok(env!("CARGO_PKG_VERSION").to_owned()),
            Self::Mosquitto(program) => (program, "-h"),
            Self::Rookery(program) | Self::Rmqtt(program) => (program, "--version"),
        };
        let output = Command::new(program).arg(argument).output();
        let output = output.with_context(|| format!("cannot run {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Whether it has topics whose messages are stored before they are acknowledged.
    pub fn has_permanent_topics(&self) -> bool {
        matches!(self, Self::Rookery(_))
    }

    /// Whether several nodes of it can be started as one cluster.
    pub fn has_clusters(&self) -> bool {
        matches!(self, Self::Rookery(_))
    }
}

/// A running broker; dropping it stops it.
#[derive(Debug)]
pub struct Broker {
    nodes: Vec<Node>,
    /// The authority that has signed their certificates.
    pub authority: PathBuf,
    /// Topics, logins and certificates for a run.
    pub access: Access,
    /// Holds configuration, data and logs.
    _directory: TempDir,
}

impl Broker {
    /// Starts a broker as the scenario wants it, in a new temporary directory, and waits until it can be used. With
    /// `cpu`, all of it is pinned there.
    pub fn start(kind: &Kind, scenario: &Scenario, cpu: Option<u32>) -> anyhow::Result<Self> {
        ensure!(scenario.nodes == 1 || kind.has_clusters(), "{} has no clusters", kind.name());
        let directory = TempDir::with_prefix("rookery-load-")?;
        let authority = Authority::create(directory.path())?;
        let senders = (scenario.publishers + scenario.connections).max(1);
        let identities = match scenario.certificate {
            None => Vec::new(),
            Some(kind) => authority.identities(kind, senders)?.into_iter().map(Arc::new).collect(),
        };
        let mut access = Access { addressing: Addressing::Free(None), identities };
        let place = peers::Place {
            directory: directory.path(),
            authority: &authority,
            certificates: scenario.certificate.is_some(),
        };
        let nodes = match kind {
            Kind::Relay => {
                let mut command = pinned(&std::env::current_exe()?, cpu);
                command.args(["relay", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"]);
                command.arg("--tls-cert").arg(&authority.server_certificate);
                command.arg("--tls-key").arg(&authority.server_key);
                vec![Node::spawn("relay", command, directory.path())?.wait_until_listening(None)?]
            }
            Kind::Mosquitto(program) => vec![peers::mosquitto(pinned(program, cpu), place)?],
            Kind::Rmqtt(program) => vec![peers::rmqtt(pinned(program, cpu), place)?],
            Kind::Rookery(program) => {
                let cluster = cluster::Cluster::new(program, directory.path(), &authority);
                let nodes = cluster.start(scenario.nodes as usize, || pinned(program, cpu))?;
                access.addressing = cluster.resources(&nodes, scenario, &access.identities)?;
                nodes
            }
        };
        Ok(Self { nodes, authority: authority.certificate, access, _directory: directory })
    }

    /// Process ids of its nodes.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(Node::pid).collect()
    }

    /// Kills one of its nodes, from 0.
    pub fn kill(&self, node: usize) -> anyhow::Result<()> {
        self.nodes.get(node).with_context(|| format!("there is no node {node}"))?.kill();
        Ok(())
    }

    /// Where its nodes take clients, plain or over TLS.
    pub fn addresses(&self, tls: bool) -> anyhow::Result<Vec<SocketAddr>> {
        let name = if tls { "mqtts" } else { "mqtt" };
        self.nodes.iter().map(|node| node.address(name)).collect()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // All are told before the first is awaited: the nodes of a cluster leave side by side.
        self.nodes.iter_mut().for_each(Node::terminate);
    }
}

/// A command that runs `program`, on one core if `cpu` is given.
fn pinned(program: &Path, cpu: Option<u32>) -> Command {
    let Some(cpu) = cpu else { return Command::new(program) };
    let mut taskset = Command::new("taskset");
    taskset.arg("-c").arg(cpu.to_string()).arg(program);
    taskset
}
