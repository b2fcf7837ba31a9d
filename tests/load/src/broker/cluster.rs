//! Rookery: one node or a cluster of several on the loopback address, and the resources of a run.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::runtime::Runtime;

use crate::clock::{SECOND_NS, now_ns};
use crate::growth::State;
use crate::plan::{Addressing, Login};
use crate::process;
use crate::scenario::{KeyKind, Scenario, Topics};
use crate::tls::authority::{Authority, Identity};

use super::fleet::{Api, Credential};
use super::node::{LOOK, Node, START_MAX, free_port};

/// Password of the resources that are made for a run. It guards nothing.
const PASSWORD: &str = "Load-Test-Password-1";
/// Token and join secret of the nodes. They guard nothing either.
const SECRET: &str = "a-secret-of-the-load-test-that-guards-nothing";
/// Longest wait for an answer of a health check.
const CHECK_MAX: Duration = Duration::from_secs(2);

/// Time for a node to come to rest before its memory is read.
const REST: Duration = Duration::from_secs(2);

fn seconds_since(then_ns: u64) -> f64 {
    (now_ns() - then_ns) as f64 / SECOND_NS as f64
}

/// What all nodes have in common.
#[derive(Debug)]
pub(super) struct Cluster<'a> {
    program: &'a Path,
    directory: &'a Path,
    authority: &'a Authority,
}

impl<'a> Cluster<'a> {
    /// A cluster of `program` with its files in `directory`; nothing runs yet.
    pub(super) fn new(program: &'a Path, directory: &'a Path, authority: &'a Authority) -> Self {
        Self { program, directory, authority }
    }

    fn secret_file(&self) -> PathBuf {
        self.directory.join("secret")
    }

    /// Starts the nodes, all of them voters, and waits until all serve. `program` makes the bare command.
    pub(super) fn start(&self, nodes: usize, program: impl Fn() -> Command) -> anyhow::Result<Vec<Node>> {
        fs::write(self.secret_file(), SECRET)?;
        let peers = (0..nodes).map(|_| free_port()).collect::<anyhow::Result<Vec<_>>>()?;
        let spawn = |(index, peer): (usize, &SocketAddr)| {
            let mut command = program();
            self.serve(&mut command, index, *peer);
            if nodes > 1 {
                let join: Vec<_> = peers.iter().map(SocketAddr::to_string).collect();
                command.arg("--join").arg(join.join(",")).arg("--expect-voters").arg(nodes.to_string());
            }
            Node::spawn(&format!("n{}", index + 1), command, self.directory)
        };
        // All are started before the first is awaited, because they wait for each other.
        let spawned = peers.iter().enumerate().map(spawn).collect::<anyhow::Result<Vec<_>>>()?;
        let mut nodes = Vec::new();
        for node in spawned {
            nodes.push(node.wait_until_listening(None)?);
        }
        for node in &mut nodes {
            let operations = node.address("ops")?;
            node.wait_until("serves", |_| Ok(serves(operations)))?;
        }
        Ok(nodes)
    }

    fn serve(&self, command: &mut Command, index: usize, peer: SocketAddr) {
        let name = format!("n{}", index + 1);
        command.arg("serve").arg("--data-dir").arg(self.directory.join(format!("data-{name}")));
        command.arg("--node-name").arg(name).arg("--peer").arg(peer.to_string());
        for listener in ["--mqtt", "--mqtts", "--api", "--ops"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        for file in ["--admin-token-file", "--join-secret-file"] {
            command.arg(file).arg(self.secret_file());
        }
        command.arg("--tls-cert").arg(&self.authority.server_certificate);
        command.arg("--tls-key").arg(&self.authority.server_key);
    }

    /// Runs a command of Rookery's own command line against a node; standard output, if it succeeds.
    fn call(&self, node: &Node, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(self.program)
            .args(arguments)
            .env("ROOKERY_ENDPOINT", node.address("api")?.to_string())
            .env("ROOKERY_TOKEN_FILE", self.secret_file())
            .env("ROOKERY_CA_FILE", &self.authority.certificate)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rookery {} failed: {}", arguments[..2].join(" "), said.trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// See [`super::fill`].
    pub(super) fn fill(&self, devices: u32) -> anyhow::Result<State> {
        let start = || {
            let started_ns = now_ns();
            let node = self.start(1, || Command::new(self.program))?.pop().context("one was started")?;
            anyhow::Ok((node, seconds_since(started_ns)))
        };
        let resident = |node: &Node| {
            std::thread::sleep(REST);
            process::resident_bytes(&[node.pid()])
        };
        let (node, _) = start()?;
        let empty_bytes = resident(&node)?;
        let made_ns = now_ns();
        let authority = fs::read_to_string(&self.authority.certificate)?;
        let identities = self.authority.identities(KeyKind::Ecdsa, devices)?;
        let credentials = identities.into_iter().map(|it| Credential::Certificate(Arc::new(it))).collect();
        let address = node.address("api")?;
        Runtime::new()?.block_on(async {
            Api::new(address, &authority, SECRET)?.create_fleet(credentials, PASSWORD).await
        })?;
        let made_s = seconds_since(made_ns);
        let snapshot_ns = now_ns();
        self.call(&node, &["node", "snapshot", "n1"])?;
        let snapshot_s = seconds_since(snapshot_ns);
        drop(node);
        let (node, restart_s) = start()?;
        Ok(State { devices, made_s, empty_bytes, resident_bytes: resident(&node)?, snapshot_s, restart_s })
    }

    /// Makes the resources of a scenario and waits until all nodes know them.
    pub(super) fn resources(
        &self,
        nodes: &[Node],
        scenario: &Scenario,
        identities: &[Arc<Identity>],
    ) -> anyhow::Result<Addressing> {
        match scenario.topics {
            Topics::Free => self.free_topics(nodes),
            Topics::Events | Topics::State => self.fleet(nodes, scenario, identities),
        }
    }

    /// Makes a registry with a device for each connection that is one. They have passwords, or the certificates.
    fn fleet(
        &self,
        nodes: &[Node],
        scenario: &Scenario,
        identities: &[Arc<Identity>],
    ) -> anyhow::Result<Addressing> {
        let authority = fs::read_to_string(&self.authority.certificate)?;
        let api = |node: &Node| Api::new(node.address("api")?, &authority, SECRET);
        Runtime::new()?.block_on(async {
            let (first, others) = nodes.split_first().context("a cluster has a node")?;
            let devices: Vec<_> = match identities {
                [] => {
                    vec![Credential::Password; (scenario.publishers + scenario.connections).max(1) as usize]
                }
                identities => identities.iter().cloned().map(Credential::Certificate).collect(),
            };
            let fleet = api(first)?.create_fleet(devices, PASSWORD).await?;
            for node in others {
                for device in &fleet.devices {
                    api(node)?.wait_for_device(&device.username).await?;
                }
            }
            Ok(Addressing::Fleet(fleet))
        })
    }

    /// Makes a *broker* resource with a password; its topics are free.
    fn free_topics(&self, nodes: &[Node]) -> anyhow::Result<Addressing> {
        let first = nodes.first().context("a cluster has a node")?;
        let created = self.call(first, &["broker", "create", "load", "--format", "json"])?;
        let created: serde_json::Value = serde_json::from_str(&created).context("output of broker create")?;
        let id = created["id"].as_str().context("broker create printed no id")?;
        self.call(first, &["broker", "password", "add", "--broker-id", id, "--password", PASSWORD])?;
        // A node may be a moment behind the one that has answered.
        let list = ["broker", "password", "list", "--broker-id", id, "--format", "json"];
        let deadline = Instant::now() + START_MAX;
        for node in &nodes[1..] {
            while !self.call(node, &list).is_ok_and(|list| list.contains(id)) {
                ensure!(Instant::now() < deadline, "the nodes do not agree about broker {id}");
                std::thread::sleep(LOOK);
            }
        }
        Ok(Addressing::Free(Some(Login { username: id.to_owned(), password: PASSWORD.to_owned() })))
    }
}

/// Whether the node says so on `/readyz`.
fn serves(operations: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&operations, CHECK_MAX)?;
        stream.set_read_timeout(Some(CHECK_MAX))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer)?;
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
