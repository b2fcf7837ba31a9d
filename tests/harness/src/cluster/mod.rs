//! A cluster of real processes, with faults.
//!
//! [`Cluster`] starts nodes on one [`Network`](network::Network), kills, pauses and restarts them, and asks them how
//! they are. Nodes are numbered from 0; node `i` is called `n<i+1>`.

pub mod disk;
pub mod namespaces;
pub mod network;
pub mod proxy;
pub mod status;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use self::{
    disk::SmallDisk,
    network::{Network, Way},
    status::{Session, Status},
};
use crate::{
    api::Api,
    janitor,
    node::{Launch, Node},
    ops,
    runtime::{WAIT, within},
};

/// Port of peers inside a namespace; the product's default.
pub(crate) const PEER_PORT: u16 = 8550;

/// Most nodes of a test cluster, joiners included.
const PLACES: usize = 8;

/// How long a command of the command line may take. A paused node answers nothing.
const COMMAND_WAIT: &str = "20";

/// How long a health check may take.
const CHECK_WAIT: Duration = Duration::from_secs(2);

/// The longest pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(50);

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes that found the cluster together and vote.
    pub voters: usize,
    /// Nodes that join it afterwards.
    pub learners: usize,
    /// How faults are made.
    pub way: Way,
    /// Size of each data directory's file system in mebibytes; `None`: the common one.
    pub disk_mebibytes: Option<u32>,
    /// Further environment variables of the nodes.
    pub environment: Vec<(String, String)>,
}

impl Options {
    /// Three voters, nothing else.
    pub fn three(way: Way) -> Self {
        Self { voters: 3, learners: 0, way, disk_mebibytes: None, environment: Vec::new() }
    }
}

/// A running cluster. Its nodes are killed when it is dropped.
pub struct Cluster {
    binary: PathBuf,
    options: Options,
    directory: PathBuf,
    slots: Mutex<Vec<Arc<Slot>>>,
    // Behind the nodes, so that it goes when they are gone.
    network: Network,
}

/// Place of a node, with all its processes so far; the last may run.
struct Slot {
    launch: Launch,
    disk: Option<SmallDisk>,
    processes: Mutex<Vec<Arc<Node>>>,
}

impl Slot {
    fn processes(&self) -> MutexGuard<'_, Vec<Arc<Node>>> {
        self.processes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn last_process(&self) -> Arc<Node> {
        self.processes().last().map(Arc::clone).expect("every place had a process")
    }
}

impl Cluster {
    /// Starts all nodes and waits until they are ready.
    pub fn start(binary: &str, options: Options) -> Self {
        let directory = janitor::new_directory("cluster-");
        write_secret(&directory.join("admin.token"), "an-administrators-token-of-the-tests");
        write_secret(&directory.join("join.secret"), "a-join-secret-of-the-tests");
        let network = Network::new(options.way, PLACES);
        let (voters, learners) = (options.voters, options.learners);
        let slots = Mutex::default();
        let cluster = Self { binary: PathBuf::from(binary), options, directory, slots, network };
        let founders: Vec<_> = (0..voters).map(|node| cluster.network.advertised(node)).collect();
        let founders = founders.join(",");
        for _ in 0..voters {
            let expected = voters.to_string();
            cluster.add(&["--join", &founders, "--expect-voters", &expected]);
        }
        cluster.wait_until_all_ready();
        for _ in 0..learners {
            let node = cluster.add(&["--join", &founders]);
            cluster.wait_until_ready(node);
        }
        cluster
    }

    /// Starts one more node with further arguments and returns its number at once.
    pub fn add(&self, arguments: &[&str]) -> usize {
        let mut slots = self.lock_slots();
        let node = slots.len();
        assert!(node < self.network.places(), "no place for another node");
        let disk = self.options.disk_mebibytes.map(|mebibytes| {
            SmallDisk::mount(mebibytes).expect("the caller has asked whether mounting is allowed")
        });
        let data_directory =
            disk.as_ref().map_or(self.directory.as_path(), |disk| disk.path()).join(name(node));
        let mut launch = Launch::new(&self.binary, &data_directory);
        launch.through = self.network.through(node);
        launch.host = self.network.host(node);
        launch.token_path = self.token_path();
        let (token, secret) = (self.token_path(), self.directory.join("join.secret"));
        let (token, secret) = (token.display().to_string(), secret.display().to_string());
        let (peer, advertised) = (self.network.peer_listener(node), self.network.advertised(node));
        let own = ["--node-name", &name(node), "--peer", &peer, "--advertise-peer", &advertised];
        let files = ["--admin-token-file", &token, "--join-secret-file", &secret];
        launch.arguments =
            [&own[..], &files[..], arguments].concat().iter().map(|&it| it.to_owned()).collect();
        // A flag that is given twice is refused, so a caller's own file replaces the common one.
        without_repetition(&mut launch.arguments);
        launch.environment.clone_from(&self.options.environment);
        let names = ("ROOKERY_SECURITY__TLS_NAMES".to_owned(), format!("[\"{}\"]", launch.host));
        launch.environment.push(names);
        let process = Arc::new(Node::spawn(launch.clone()));
        slots.push(Arc::new(Slot { launch, disk, processes: Mutex::new(vec![process]) }));
        node
    }

    /// The network between the nodes.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// How many nodes were started, dead ones included.
    pub fn size(&self) -> usize {
        self.lock_slots().len()
    }

    /// The last process of a node.
    pub fn node(&self, node: usize) -> Arc<Node> {
        self.slot(node).last_process()
    }

    /// File with the administrator's token.
    pub fn token_path(&self) -> PathBuf {
        self.directory.join("admin.token")
    }

    /// Ends a node with SIGKILL.
    pub fn kill(&self, node: usize) {
        self.node(node).kill();
    }

    /// Ends a node with SIGTERM and waits for it.
    pub fn stop(&self, node: usize) {
        let process = self.node(node);
        process.terminate();
        process.wait();
    }

    /// Starts a node that has ended again on the same directory, and waits until it listens.
    pub fn restart(&self, node: usize) {
        let slot = self.slot(node);
        self.take_up(node, slot.launch.clone());
    }

    /// Like [`Cluster::restart`], as another program.
    pub fn restart_as(&self, node: usize, binary: &str) {
        self.take_up(node, self.launch_as(node, binary));
    }

    /// Starts another program on the directory of a node that has ended. Nobody is told of it.
    pub fn try_as(&self, node: usize, binary: &str) -> Node {
        Node::spawn(self.launch_as(node, binary))
    }

    fn launch_as(&self, node: usize, binary: &str) -> Launch {
        Launch { binary: PathBuf::from(binary), ..self.slot(node).launch.clone() }
    }

    fn take_up(&self, node: usize, launch: Launch) {
        self.node(node).wait();
        let process = Arc::new(Node::spawn(launch));
        // Only now do clients find it: they need its addresses.
        process.wait_until_listening();
        self.slot(node).processes().push(process);
    }

    /// Stops a node's process (SIGSTOP) without ending it.
    pub fn pause(&self, node: usize) {
        self.node(node).signal("STOP");
    }

    /// Lets a paused node go on.
    pub fn resume(&self, node: usize) {
        self.node(node).signal("CONT");
    }

    /// The file system of a node's own, if the options asked for it.
    pub fn with_disk<T>(&self, node: usize, use_disk: impl FnOnce(&SmallDisk) -> T) -> Option<T> {
        self.slot(node).disk.as_ref().map(use_disk)
    }

    /// Whether the node says so on `/readyz`.
    pub fn is_ready(&self, node: usize) -> bool {
        let process = self.node(node);
        process.is_running()
            && ops::try_get(&process, "/readyz", CHECK_WAIT).is_ok_and(|(code, _)| code == 200)
    }

    /// Waits until a node is ready.
    pub fn wait_until_ready(&self, node: usize) {
        self.node(node).wait_until_listening();
        self.wait_until(&format!("{} is ready", name(node)), || self.is_ready(node));
    }

    /// Waits until all nodes are ready.
    pub fn wait_until_all_ready(&self) {
        for node in 0..self.size() {
            self.wait_until_ready(node);
        }
    }

    /// Waits for a condition; fails the test with the nodes' last words if it does not come true.
    pub fn wait_until(&self, what: &str, condition: impl FnMut() -> bool) {
        if !holds_within(WAIT, condition) {
            let logs =
                (0..self.size()).map(|node| format!("{}:\n{}", name(node), self.node(node).log().tail(15)));
            panic!(
                "waited {} s in vain until {what}\n{}",
                WAIT.as_secs(),
                logs.collect::<Vec<_>>().join("\n")
            );
        }
    }

    /// Runs a command of the command line against a node's API.
    pub fn command(&self, node: usize, arguments: &[&str]) -> Output {
        let process = self.node(node);
        // Bounded from outside: the command itself may wait for an answer for a minute.
        Command::new("timeout")
            .args(["--kill-after=1", COMMAND_WAIT])
            .arg(&self.binary)
            .args(arguments)
            .args(["--retry", "1"])
            .env("ROOKERY_ENDPOINT", process.address("api").to_string())
            .env("ROOKERY_TOKEN_FILE", self.token_path())
            .env("ROOKERY_CA_FILE", process.ca_path())
            .stdin(Stdio::null())
            .output()
            .expect("the timeout command is installed (coreutils)")
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub fn run(&self, node: usize, arguments: &[&str]) -> String {
        let output = self.command(node, arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?} at {}: {complaint}", name(node));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The cluster as a node sees it; an error if the node does not answer.
    ///
    /// # Errors
    /// What the command has complained about.
    pub fn status(&self, node: usize) -> Result<Status, String> {
        let output = self.command(node, &["cluster", "status", "--format", "json"]);
        // The command may fail to say that the cluster is unhealthy; what it printed counts.
        let printed = String::from_utf8_lossy(&output.stdout);
        if printed.trim().is_empty() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Status::parse(&printed)
    }

    /// All sessions with a client identifier that are bound to be the only one: those of devices.
    pub fn device_sessions(&self, asked: usize) -> Vec<Session> {
        let printed = self.run(asked, &["session", "list", "--format", "json"]);
        let listed = Session::parse_list(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
        listed
            .into_iter()
            .filter(|session| session.entity_type == "device" && !session.client_id.is_empty())
            .collect()
    }

    /// Number, log index and hash of the state of every node, once all have applied the same entries.
    pub fn equal_states(&self) -> Vec<(usize, u64, String)> {
        let mut states = Vec::new();
        self.wait_until("all nodes have applied the same entries", || {
            let Ok(status) = self.status(0) else { return false };
            let state = |node| {
                let (hash, index) = status.node(&name(node))?.state_hash.clone()?;
                Some((node, index, hash))
            };
            states = (0..self.size()).filter_map(state).collect();
            states.len() == self.size() && states.iter().all(|(_, index, _)| *index == states[0].1)
        });
        states
    }

    /// The leader as `asked` sees it; waits until there is one that runs.
    pub fn leader(&self, asked: usize) -> usize {
        let mut leader = None;
        self.wait_until("there is a leader", || {
            let name_of_leader = self.status(asked).map(|status| status.leader).unwrap_or_default();
            leader = (0..self.size()).find(|node| name(*node) == name_of_leader);
            leader.is_some_and(|leader| self.node(leader).is_running())
        });
        leader.expect("the condition has come true")
    }

    /// The management API of a node.
    pub fn api(&self, node: usize) -> Api {
        Api::connect(&self.node(node))
    }

    /// Waits until every ready node has applied what was answered through `api` before. A node may be a moment behind
    /// the one that answered a change.
    pub async fn wait_until_applied(&self, api: &Api) {
        let marker = api.create_registry().await.expect("a registry is created");
        for node in (0..self.size()).filter(|node| self.is_ready(*node)) {
            let own = self.api(node);
            within("the node to follow", async { while own.device_ids(&marker).await.is_err() {} }).await;
        }
    }

    /// Ends all faults: heals the network, resumes and restarts, and waits until all are ready.
    pub fn heal(&self) {
        self.network.heal_all();
        for node in 0..self.size() {
            self.with_disk(node, SmallDisk::free);
            if self.node(node).is_running() {
                self.resume(node);
            } else {
                self.restart(node);
            }
        }
        self.wait_until_all_ready();
    }

    /// Writes what all processes of all nodes have logged into `directory`.
    pub fn save_logs(&self, directory: &Path) {
        fs::create_dir_all(directory).expect("a directory for logs can be made");
        for (number, slot) in self.lock_slots().iter().enumerate() {
            for (life, process) in slot.processes().iter().enumerate() {
                let path = directory.join(format!("{}-{}.log", name(number), life + 1));
                fs::write(path, process.log().all().join("\n")).expect("a log can be written");
            }
        }
    }

    fn slot(&self, node: usize) -> Arc<Slot> {
        Arc::clone(&self.lock_slots()[node])
    }

    fn lock_slots(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The name of a node.
pub fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

/// Looks at a condition until it is true; `false` after `patience`.
pub fn holds_within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        // A look costs a process or a connection, so they are not taken without a pause.
        std::thread::park_timeout(LOOK);
    }
}

/// Keeps the last value of each flag.
fn without_repetition(arguments: &mut Vec<String>) {
    let mut kept: Vec<[String; 2]> = Vec::new();
    for pair in arguments.chunks_exact(2) {
        kept.retain(|[flag, _]| *flag != pair[0]);
        kept.push([pair[0].clone(), pair[1].clone()]);
    }
    *arguments = kept.into_iter().flatten().collect();
}

fn write_secret(path: &Path, secret: &str) {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(secret.as_bytes())).expect("the directory is writable");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_flag_counts() {
        let mut arguments = ["--a", "1", "--b", "2", "--a", "3"].map(str::to_owned).to_vec();
        without_repetition(&mut arguments);
        assert_eq!(arguments, ["--b", "2", "--a", "3"]);
    }
}
