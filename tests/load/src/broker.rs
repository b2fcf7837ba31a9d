//! Starts the broker under test as a fresh process, makes it ready for a run, and stops it again.
//!
//! Only a process started here is ever signalled, by its id.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::plan::{Addressing, Login};
use crate::tls::ServerFiles;

/// Longest wait for a broker to listen.
const START_MAX: Duration = Duration::from_secs(30);
/// Longest wait for a broker to end by itself after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How often a waiting loop looks.
const LOOK: Duration = Duration::from_millis(20);
/// Password of the *broker* resource that is made in Rookery for a run. It guards nothing.
const PASSWORD: &str = "Load-Test-Password-1";

/// The process that runs now, for [`stop_current`]; 0 when none does.
static CURRENT: AtomicI32 = AtomicI32::new(0);

/// A broker that the suite can start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// This program's relay.
    Relay,
    /// Mosquitto: its server program.
    Mosquitto(PathBuf),
    /// Rookery: its program.
    Rookery(PathBuf),
}

impl Kind {
    /// Name in the report.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Mosquitto(_) => "mosquitto",
            Self::Rookery(_) => "rookery",
        }
    }

    /// What the program says about its version.
    pub fn version(&self) -> anyhow::Result<String> {
        let (program, argument) = match self {
            Self::Relay => return Ok(env!("CARGO_PKG_VERSION").to_owned()),
            Self::Mosquitto(program) => (program, "-h"),
            Self::Rookery(program) => (program, "--version"),
        };
        let output = Command::new(program).arg(argument).output();
        let output = output.with_context(|| format!("cannot run {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Whether it has a TLS listener.
    pub fn has_tls(&self) -> bool {
        *self != Self::Relay
    }
}

/// A running broker; dropping it stops it.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    /// Plain listener.
    pub mqtt: SocketAddr,
    /// TLS listener.
    pub mqtts: Option<SocketAddr>,
    /// Files of the TLS listener.
    pub tls: ServerFiles,
    /// Topics and login for a run.
    pub addressing: Addressing,
    /// Holds configuration, data and logs.
    _directory: TempDir,
}

impl Broker {
    /// Starts it in a new temporary directory and waits until it can be used. With `cpu`, it is pinned there.
    pub fn start(kind: &Kind, cpu: Option<u32>) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("rookery-load-")?;
        let tls = ServerFiles::create(directory.path())?;
        let output = directory.path().join("output.txt");
        let Prepared { mut program, ports } = command(kind, directory.path(), &tls, cpu)?;
        program
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(Stdio::from(File::options().append(true).open(&output)?));
        let mut child = program.spawn().with_context(|| format!("cannot start {}", kind.name()))?;
        CURRENT.store(child.id() as i32, Ordering::SeqCst);
        let started = wait_until_ready(&mut child, &output, ports.as_ref()).and_then(|listeners| {
            let addressing = match kind {
                Kind::Rookery(program) => rookery_login(program, directory.path(), &listeners)?,
                _ => Addressing::Free(None),
            };
            Ok((listeners, addressing))
        });
        let (listeners, addressing) = match started {
            Ok(started) => started,
            Err(error) => {
                stop(&mut child);
                let output = fs::read_to_string(&output).unwrap_or_default();
                return Err(error.context(format!("{} said: {}", kind.name(), output.trim())));
            }
        };
        let mqtt = listeners.get("mqtt").context("no plain MQTT listener")?;
        Ok(Self { child, mqtt, mqtts: listeners.get("mqtts"), tls, addressing, _directory: directory })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Ends the running broker at once, for a program that is about to exit without unwinding.
pub fn stop_current() {
    if let Some(pid) = Pid::from_raw(CURRENT.swap(0, Ordering::SeqCst)) {
        // It may have ended by itself; then there is nothing to signal.
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn stop(child: &mut Child) {
    end(child);
    CURRENT.store(0, Ordering::SeqCst);
}

fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    if let Some(pid) = Pid::from_raw(child.id() as i32) {
        // It may have ended since; then there is nothing to signal.
        let _ = kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + STOP_MAX;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        std::thread::sleep(LOOK);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Listener names and addresses.
#[derive(Debug, Default)]
struct Listeners(Vec<(String, SocketAddr)>);

impl Listeners {
    fn get(&self, name: &str) -> Option<SocketAddr> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, address)| *address)
    }

    /// Reads `serve`'s lines: one for each listener with its name and address, then `ready`.
    fn parse(text: &str) -> Option<Self> {
        let mut listeners = Self::default();
        for line in text.lines() {
            if line.trim() == "ready" {
                return Some(listeners);
            }
            let mut words = line.split([' ', '\t', '=', ',']).filter(|word| !word.is_empty());
            let name = words.next().unwrap_or_default().trim_end_matches(':').to_owned();
            let address =
                words.find_map(|word| word.rsplit_once("//").map_or(word, |(_, rest)| rest).parse().ok());
            if let Some(address) = address {
                listeners.0.push((name, address));
            }
        }
        None
    }
}

struct Prepared {
    program: Command,
    /// Ports chosen by us, for a broker that does not tell its own.
    ports: Option<Listeners>,
}

fn command(kind: &Kind, directory: &Path, tls: &ServerFiles, cpu: Option<u32>) -> anyhow::Result<Prepared> {
    let program = match kind {
        Kind::Relay => std::env::current_exe()?,
        Kind::Mosquitto(program) | Kind::Rookery(program) => program.clone(),
    };
    let mut command = match cpu {
        None => Command::new(program),
        Some(cpu) => {
            let mut taskset = Command::new("taskset");
            taskset.arg("-c").arg(cpu.to_string()).arg(program);
            taskset
        }
    };
    let mut ports = None;
    match kind {
        Kind::Relay => {
            command.args(["relay", "--listen", "127.0.0.1:0"]);
        }
        Kind::Mosquitto(_) => {
            let listeners =
                Listeners(vec![("mqtt".to_owned(), free_port()?), ("mqtts".to_owned(), free_port()?)]);
            let path = directory.join("mosquitto.conf");
            fs::write(&path, mosquitto_configuration(&listeners, tls))?;
            command.arg("-c").arg(path);
            ports = Some(listeners);
        }
        Kind::Rookery(_) => {
            command.arg("serve").arg("--data-dir").arg(directory.join("data"));
            for listener in ["--mqtt", "--mqtts", "--api", "--ops", "--peer"] {
                command.args([listener, "127.0.0.1:0"]);
            }
            command.arg("--tls-cert").arg(&tls.certificate).arg("--tls-key").arg(&tls.key);
        }
    }
    Ok(Prepared { program: command, ports })
}

/// The fair settings: nothing written to disk, no limits that the other brokers do not have, no delay of small
/// packets.
fn mosquitto_configuration(listeners: &Listeners, tls: &ServerFiles) -> String {
    let port = |name| listeners.get(name).map_or(0, |address| address.port());
    format!(
        "user root\nper_listener_settings false\nallow_anonymous true\npersistence false\nlog_type none\n\
         max_inflight_messages 100\nmax_queued_messages 0\nmax_queued_bytes 0\nset_tcp_nodelay true\n\
         listener {} 127.0.0.1\n\
         listener {} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
        port("mqtt"),
        port("mqtts"),
        tls.certificate.display(),
        tls.key.display()
    )
}

fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn wait_until_ready(
    child: &mut Child,
    output: &Path,
    ports: Option<&Listeners>,
) -> anyhow::Result<Listeners> {
    let deadline = Instant::now() + START_MAX;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            bail!("ended at once: {status}");
        }
        match ports {
            Some(ports) => {
                if ports.0.iter().all(|(_, address)| TcpStream::connect(address).is_ok()) {
                    return Ok(Listeners(ports.0.clone()));
                }
            }
            None => {
                if let Some(listeners) = Listeners::parse(&fs::read_to_string(output)?) {
                    return Ok(listeners);
                }
            }
        }
        std::thread::sleep(LOOK);
    }
    bail!("not ready after {} s", START_MAX.as_secs())
}

/// Makes a *broker* resource with a password through Rookery's own command line; its topics are free.
fn rookery_login(program: &Path, directory: &Path, listeners: &Listeners) -> anyhow::Result<Addressing> {
    let data = directory.join("data");
    let api = listeners.get("api").context("no API listener")?;
    // The API shows our certificate or one of the node's own authority; either is fine here.
    let own_authority = fs::read_to_string(data.join("pki/ca.pem")).unwrap_or_default();
    let authority = directory.join("authorities.pem");
    fs::write(&authority, fs::read_to_string(directory.join("ca.pem"))? + &own_authority)?;
    let call = |arguments: &[&str]| -> anyhow::Result<String> {
        let output = Command::new(program)
            .args(arguments)
            .env("ROOKERY_ENDPOINT", api.to_string())
            .env("ROOKERY_TOKEN_FILE", data.join("admin.token"))
            .env("ROOKERY_CA_FILE", &authority)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rookery {} failed: {}", arguments[..2].join(" "), said.trim());
        Ok(String::from_utf8(output.stdout)?)
    };
    let created = call(&["broker", "create", "load", "--format", "json"])?;
    let created: serde_json::Value = serde_json::from_str(&created).context("output of broker create")?;
    let id = created["id"].as_str().context("broker create printed no id")?;
    call(&["broker", "password", "add", "--broker-id", id, "--password", PASSWORD])?;
    Ok(Addressing::Free(Some(Login { username: id.to_owned(), password: PASSWORD.to_owned() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_are_read_when_all_are_bound() {
        let lines = "mqtts 127.0.0.1:1\nmqtt: 127.0.0.1:2\napi https://127.0.0.1:3\nops addr=127.0.0.1:4\n";
        assert!(Listeners::parse(lines).is_none());
        let listeners = Listeners::parse(&format!("{lines}ready\n")).unwrap();
        let ports = ["mqtts", "mqtt", "api", "ops"].map(|name| listeners.get(name).unwrap().port());
        assert_eq!(ports, [1, 2, 3, 4]);
    }
}
