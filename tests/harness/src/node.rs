//! A running node: the real binary with its own data directory.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, OnceLock},
    time::{Duration, Instant},
};

use crate::{janitor, log::Lines, runtime::WAIT};

/// The listeners that a test node opens on free ports of the loopback address.
const LISTENERS: [&str; 4] = ["mqtts", "mqtt", "api", "ops"];

/// How a node is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub binary: PathBuf,
    /// Where the node keeps its data.
    pub data_directory: PathBuf,
    /// A command that the program is started through and that becomes it, such as `nsenter`; empty for none.
    pub through: Vec<String>,
    /// Address of the listeners for clients, API and operators; ports are free ones.
    pub host: IpAddr,
    /// Further arguments of `serve`.
    pub arguments: Vec<String>,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
    /// File with the administrator's token.
    pub token_path: PathBuf,
}

impl Launch {
    /// A node on the loopback address that makes its own token.
    pub fn new(binary: &Path, data_directory: &Path) -> Self {
        Self {
            binary: binary.to_path_buf(),
            data_directory: data_directory.to_path_buf(),
            through: Vec::new(),
            host: Ipv4Addr::LOCALHOST.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            token_path: data_directory.join("admin.token"),
        }
    }

    /// The command with its output as pipes.
    fn command(&self) -> Command {
        let program = self.binary.display().to_string();
        let mut words = self.through.iter().chain([&program]);
        let mut command = Command::new(words.next().expect("there is at least the program"));
        command.args(words).arg("serve").arg("--data-dir").arg(&self.data_directory);
        for listener in LISTENERS {
            command.arg(format!("--{listener}")).arg(SocketAddr::new(self.host, 0).to_string());
        }
        // The way between connection threads is tested on every machine, also where the default is one.
        command.env("ROOKERY_NODE__CONNECTION_THREADS", "2");
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A `rookery serve` process. Killed by its process id when dropped, or when the test process ends.
pub struct Node {
    launch: Launch,
    child: Mutex<Child>,
    listeners: OnceLock<BTreeMap<String, SocketAddr>>,
    output: Lines,
    log: Lines,
}

impl Node {
    /// Starts `binary` on a fresh data directory and waits until it is ready.
    pub fn start(binary: &str) -> Self {
        Self::start_in(binary, &janitor::new_directory("node-"), &[])
    }

    /// Starts `binary` on the given data directory with further arguments.
    pub fn start_in(binary: &str, data_directory: &Path, extra: &[&str]) -> Self {
        let mut launch = Launch::new(Path::new(binary), data_directory);
        launch.arguments = extra.iter().map(|&argument| argument.to_owned()).collect();
        Self::launch(launch)
    }

    /// The command line of a test node, for tests that expect it to fail.
    pub fn command(binary: &Path, data_directory: &Path) -> Command {
        Launch::new(binary, data_directory).command()
    }

    /// Starts a node and waits until it has said `ready`.
    pub fn launch(launch: Launch) -> Self {
        let node = Self::spawn(launch);
        node.wait_until_listening();
        node
    }

    /// Starts a node and returns at once; see [`Node::wait_until_listening`].
    pub fn spawn(launch: Launch) -> Self {
        let mut child = launch
            .command()
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", launch.binary.display()));
        janitor::guard(child.id());
        let log = Lines::collect(child.stderr.take().expect("standard error was asked for"));
        let output = Lines::collect(child.stdout.take().expect("standard output was asked for"));
        Self { launch, child: Mutex::new(child), listeners: OnceLock::new(), output, log }
    }

    /// Waits for the line `ready`, before which all listeners are printed.
    pub fn wait_until_listening(&self) {
        if self.output.wait_for(|line| line.trim() == "ready").is_none() {
            panic!(
                "the node did not get ready; output:\n{}\nlog:\n{}",
                self.output.tail(20),
                self.log.tail(40)
            );
        }
        let listeners = self.output.all().iter().filter_map(|line| listener(line)).collect();
        // Another waiter may have been quicker with the same result.
        let _ = self.listeners.set(listeners);
    }

    /// Ends the process with SIGKILL and starts it again on the same data directory.
    pub fn kill_and_restart(self) -> Self {
        self.kill();
        self.restart()
    }

    /// Starts the node, which must have ended, again on the same data directory.
    pub fn restart(self) -> Self {
        self.wait();
        Self::launch(self.launch.clone())
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&self) {
        let mut child = self.child();
        // Fails only when the process has ended already.
        let _ = child.kill();
        let _ = child.wait();
        janitor::release(child.id());
    }

    /// Sends SIGTERM and returns at once.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "kill", name, &self.process_id().to_string()])
            .status()
            .expect("sh can be started");
        assert!(status.success(), "the node has ended before it could be signalled");
    }

    /// Waits for the process to end by itself.
    pub fn wait(&self) -> ExitStatus {
        let deadline = Instant::now() + WAIT;
        loop {
            let ended = self.child().try_wait().expect("the process is our child");
            if let Some(status) = ended {
                janitor::release(self.process_id());
                return status;
            }
            assert!(Instant::now() < deadline, "the node does not end; log:\n{}", self.log.tail(40));
            // There is no portable wait with a deadline; this polls a condition, bounded by the deadline.
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Whether the process still runs.
    pub fn is_running(&self) -> bool {
        self.child().try_wait().expect("the process is our child").is_none()
    }

    /// The operating system's process id.
    pub fn process_id(&self) -> u32 {
        self.child().id()
    }

    /// Resident memory in bytes, from the operating system's accounting.
    pub fn resident_bytes(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process_id())).expect("the node runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel reports VmRSS");
        let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
        kilobytes.expect("VmRSS is a number of kB") * 1024
    }

    /// Address of a listener by its name in the command line: `mqtts`, `mqtt`, `api`, `ops` or `peer`.
    pub fn address(&self, listener: &str) -> SocketAddr {
        *self
            .listeners
            .get()
            .and_then(|listeners| listeners.get(listener))
            .unwrap_or_else(|| panic!("no address of {listener} in the output:\n{}", self.output.tail(20)))
    }

    /// Where the node keeps its data.
    pub fn data_directory(&self) -> &Path {
        &self.launch.data_directory
    }

    /// File with the certificate authority that signed the node's server certificate.
    pub fn ca_path(&self) -> PathBuf {
        self.launch.data_directory.join("pki/ca.pem")
    }

    /// The certificate authority in PEM.
    pub fn ca_pem(&self) -> String {
        fs::read_to_string(self.ca_path()).expect("the node has written pki/ca.pem before it was ready")
    }

    /// The administrator's token.
    pub fn admin_token(&self) -> String {
        let token = fs::read_to_string(&self.launch.token_path);
        token.expect("the token was given, or written before the node was ready").trim().to_owned()
    }

    /// Standard error, line by line.
    pub fn log(&self) -> &Lines {
        &self.log
    }

    /// Standard output, line by line.
    pub fn output(&self) -> &Lines {
        &self.output
    }

    /// Waits for a log line and fails the test if none comes.
    pub fn wait_for_log(&self, wanted: impl Fn(&str) -> bool, what: &str) -> String {
        let found = self.log.wait_for(wanted);
        found
            .unwrap_or_else(|| panic!("no log line with {what}; the last lines were:\n{}", self.log.tail(40)))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Takes name and address out of a line such as `mqtts 127.0.0.1:40123`.
fn listener(line: &str) -> Option<(String, SocketAddr)> {
    let trim = |token: &str| token.trim_matches(|character: char| ",;\"()=".contains(character)).to_owned();
    let tokens: Vec<String> = line.split([' ', '\t', '=']).map(trim).collect();
    let address = tokens.iter().rev().find_map(|token| token.parse().ok())?;
    let name = tokens.iter().map(|token| token.trim_end_matches(':').to_lowercase());
    let name = name.into_iter().find(|token| LISTENERS.contains(&token.as_str()) || token == "peer")?;
    Some((name, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_lines_may_be_worded_freely() {
        let expected = Some(("mqtts".to_owned(), "127.0.0.1:4".parse().unwrap()));
        for line in
            ["mqtts 127.0.0.1:4", "listening: mqtts (TLS) 127.0.0.1:4", "listener=mqtts address=127.0.0.1:4"]
        {
            assert_eq!(listener(line), expected, "{line}");
        }
        assert_eq!(listener("ready"), None);
    }
}
