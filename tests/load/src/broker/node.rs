//! One process of a broker: starting it, knowing where it listens, ending it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;

use crate::children;

/// Longest wait for a node to listen or to serve.
pub(super) const START_MAX: Duration = Duration::from_secs(120);
/// Longest wait for a node to end by itself after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How often a waiting loop looks.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// A process; dropping it ends it.
#[derive(Debug)]
pub(super) struct Node {
    name: String,
    child: Child,
    output: PathBuf,
    listeners: Listeners,
}

impl Node {
    /// Starts `command`, which must become the node. What it says goes to a file in `directory`.
    pub(super) fn spawn(name: &str, mut command: Command, directory: &Path) -> anyhow::Result<Self> {
        let output = directory.join(format!("{name}.txt"));
        command
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(Stdio::from(File::options().append(true).open(&output)?));
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        children::guard(child.id());
        Ok(Self { name: name.to_owned(), child, output, listeners: Listeners::default() })
    }

    /// Waits until it listens: at `ports` if we have chosen them, or until it has told its own.
    pub(super) fn wait_until_listening(mut self, ports: Option<&Listeners>) -> anyhow::Result<Self> {
        let mut found = None;
        self.wait_until("listens", |node| {
            found = match ports {
                Some(ports) => ports.answer().then(|| ports.clone()),
                None => Listeners::parse(&fs::read_to_string(&node.output)?),
            };
            Ok(found.is_some())
        })?;
        self.listeners = found.unwrap_or_default();
        Ok(self)
    }

    /// Waits for a condition, at most [`START_MAX`]; an error has what the node has said.
    pub(super) fn wait_until(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_MAX;
        let error = loop {
            if let Some(status) = self.child.try_wait()? {
                break format!("ended at once: {status}");
            }
            if condition(self)? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                break format!("waited {} s in vain until it {what}", START_MAX.as_secs());
            }
            std::thread::sleep(LOOK);
        };
        let output = fs::read_to_string(&self.output).unwrap_or_default();
        bail!("{} {error}; it said: {}", self.name, output.trim())
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the listener of this name is.
    pub(super) fn address(&self, listener: &str) -> anyhow::Result<SocketAddr> {
        self.listeners.get(listener).with_context(|| format!("{} has no listener {listener}", self.name))
    }

    /// Tells it to end, and returns at once.
    pub(super) fn terminate(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            children::signal(self.child.id(), Signal::TERM);
        }
    }

    /// Ends it at once, as a crash would.
    pub(super) fn kill(&self) {
        children::signal(self.child.id(), Signal::KILL);
    }

    fn wait_for_end(&mut self) {
        let deadline = Instant::now() + STOP_MAX;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        // Fails only when it has ended since.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.terminate();
        self.wait_for_end();
        children::release(self.child.id());
    }
}

/// Listener names and addresses.
#[derive(Debug, Default, Clone)]
pub(super) struct Listeners(Vec<(String, SocketAddr)>);

impl Listeners {
    /// Known ones.
    pub(super) fn new<const N: usize>(listeners: [(&str, SocketAddr); N]) -> Self {
        Self(listeners.into_iter().map(|(name, address)| (name.to_owned(), address)).collect())
    }

    /// The address of one.
    pub(super) fn get(&self, name: &str) -> Option<SocketAddr> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, address)| *address)
    }

    /// Whether all accept connections.
    fn answer(&self) -> bool {
        self.0.iter().all(|(_, address)| TcpStream::connect(address).is_ok())
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

/// A port of the loopback address that is free now.
pub(super) fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
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
