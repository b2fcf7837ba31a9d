//! Three nodes in one process, over loopback and real TLS. Their identities are made here instead of being asked for.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::ServerState;
use tempfile::TempDir;
use tokio::time::{Instant, interval, timeout};
use zeroize::Zeroizing;

use super::Node;
use crate::disk::{DiskProbe, DiskSpace};
use crate::effects::Effects;
use crate::identity::DataDir;
use crate::options::NodeOptions;
use crate::options::PeerOptions;
use crate::peer::BoxFuture;
use crate::peer::LinkSource;
use crate::peer::PeerService;
use crate::pki::Credentials;
use crate::pki::{Authority, NodeKey, PeerIdentity};
use crate::place;
use crate::raft::{Peer, Raft};
use crate::replica::Replica;
use crate::replica::{NodeChange, RestoreError, SnapshotView};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

pub(super) const CLUSTER: &str = "0123456789abcdef0123456789abcdef";
/// Longer than anything here may take, on a busy machine too.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Remembers every command in the order of the log: who proposed it, and its number.
#[derive(Default)]
pub(super) struct Journal {
    entries: Mutex<Vec<(u64, u64)>>,
    /// How long it takes to take in a snapshot.
    restore_time: Duration,
}

struct Frozen(Vec<(u64, u64)>, usize);

/// A command of `bytes` bytes.
pub(super) fn command(proposer: u64, number: u64, bytes: usize) -> Bytes {
    let mut command = [proposer.to_le_bytes(), number.to_le_bytes()].concat();
    command.resize(bytes.max(16), b'x');
    command.into()
}

impl Journal {
    pub(super) fn entries(&self) -> Vec<(u64, u64)> {
        self.entries.lock().clone()
    }

    /// The numbers of one proposer in the order in which they were applied.
    pub(super) fn of(&self, proposer: u64) -> Vec<u64> {
        self.entries.lock().iter().filter(|(who, _)| *who == proposer).map(|(_, number)| *number).collect()
    }
}

impl Replica for Journal {
    /// How many commands were applied before.
    type Response = usize;

    fn node_changed(&self, _index: u64, _change: NodeChange) {}

    fn apply(&self, _index: u64, commands: &[Bytes]) -> Vec<usize> {
        let mut entries = self.entries.lock();
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        let apply = |command: &Bytes| {
            entries.push((number(&command[..8]), number(&command[8..16])));
            entries.len() - 1
        };
        commands.iter().map(apply).collect()
    }

    fn view(&self, _format: u32) -> Box<dyn SnapshotView> {
        // Filled up, so that it takes several messages.
        Box::new(Frozen(self.entries(), 3 * 1024 * 1024))
    }

    fn restore(&self, source: &mut dyn Read) -> Result<(), RestoreError> {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes)?;
        let count = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let number =
            |place: usize| u64::from_le_bytes(bytes[8 + place * 8..16 + place * 8].try_into().unwrap());
        std::thread::sleep(self.restore_time);
        *self.entries.lock() = (0..count).map(|entry| (number(entry * 2), number(entry * 2 + 1))).collect();
        Ok(())
    }
}

impl SnapshotView for Frozen {
    fn write(&self, sink: &mut dyn Write) -> std::io::Result<()> {
        sink.write_all(&(self.0.len() as u64).to_le_bytes())?;
        for (proposer, number) in &self.0 {
            sink.write_all(&[proposer.to_le_bytes(), number.to_le_bytes()].concat())?;
        }
        sink.write_all(&vec![b'x'; self.1])
    }
}

/// Answers questions with the question and who asked.
struct Echo;

impl PeerService for Echo {
    fn deliver(&self, _from: LinkSource, _chunk: Bytes) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }

    fn acknowledged(&self, _node_id: u64, _sequence: u64) {}

    fn link_ended(&self, _node_id: u64) {}

    fn link_changed(&self, _node_id: u64) {}

    fn answer(&self, from: u64, question: Bytes) -> BoxFuture<Result<Bytes, String>> {
        let answer = match question.as_ref() {
            b"refuse" => Err("not this".to_owned()),
            _ => Ok(Bytes::from([question.as_ref(), &[from as u8]].concat())),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// A listener. A port that a node had before may be taken for a moment by a connection that somebody makes.
fn bind(address: &str) -> TcpListener {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            bound => return bound.unwrap(),
        }
    }
}

/// Peer settings on a listener of `address`.
pub(super) fn peers(address: &str) -> PeerOptions {
    PeerOptions {
        listener: bind(address),
        advertise: String::new(),
        join: Vec::new(),
        expect_voters: None,
        voters: None,
        never_votes: false,
        join_secret: Zeroizing::new(b"0123456789abcdef".to_vec()),
        lease: Duration::from_secs(5),
    }
}

/// The credentials of another node of the cluster of `founder`.
pub(super) fn certify(founder: &Credentials, cluster_id: &str, node_id: u64) -> Credentials {
    let authority = founder.authority();
    let authority = Authority::from_pem(authority.certificate_pem(), authority.key_pem()).unwrap();
    let key = NodeKey::generate().unwrap();
    let identity = PeerIdentity { cluster_id: cluster_id.to_owned(), node_id };
    let certificate = authority.certify(&key.request().unwrap(), &identity).unwrap();
    Credentials::new(authority, &certificate, key.pem()).unwrap()
}

/// A disk with as much space as the test says.
#[derive(Clone)]
struct Told(Arc<AtomicU64>);

impl DiskProbe for Told {
    fn measure(&self, _path: &Path) -> std::io::Result<DiskSpace> {
        Ok(DiskSpace { free_bytes: self.0.load(Ordering::SeqCst), total_bytes: u64::MAX })
    }
}

pub(super) struct Machines {
    dir: TempDir,
    disks: BTreeMap<u64, Told>,
    pub(super) founder: Credentials,
    addresses: BTreeMap<u64, String>,
    running: BTreeMap<u64, (Node<Journal>, Arc<Journal>)>,
    pub(super) kept_entries: u64,
    /// How long the nodes that start take to take in a snapshot.
    pub(super) restore_time: Duration,
}

impl Machines {
    /// Nodes 1, 2 and 3, all voters, with a leader.
    pub(super) async fn three() -> Machines {
        let founder =
            Credentials::found(&PeerIdentity { cluster_id: CLUSTER.to_owned(), node_id: 1 }).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (addresses, running) = (BTreeMap::new(), BTreeMap::new());
        let disks = BTreeMap::new();
        let mut machines = Machines {
            dir,
            disks,
            founder,
            addresses,
            running,
            kept_entries: 256,
            restore_time: Duration::ZERO,
        };
        for node_id in 1..=3 {
            let credentials = certify(&machines.founder, CLUSTER, node_id);
            let data_dir = DataDir::lock(&machines.dir.path().join(node_id.to_string())).unwrap();
            place::settle(&data_dir, &credentials).unwrap();
            drop(data_dir);
            machines.addresses.insert(node_id, "127.0.0.1:0".to_owned());
            machines.start(node_id).await;
        }
        let raft = machines.raft(1);
        for node_id in 2..=3 {
            let peer = Peer {
                name: format!("n{node_id}"),
                address: machines.addresses[&node_id].clone(),
                ..Peer::default()
            };
            raft.add_learner(node_id, peer, true).await.unwrap();
        }
        // The node keeps its membership in order by itself and may come first with the second half of the change.
        while raft.change_membership([1, 2, 3], false).await.is_err() {}
        machines
    }

    /// Starts a node that does not run; it keeps its address.
    pub(super) async fn start(&mut self, node_id: u64) {
        let mut options = NodeOptions::new(self.dir.path().join(node_id.to_string()));
        options.reserve_bytes = Some(1024);
        let disk = self.disks.entry(node_id).or_insert_with(|| Told(Arc::new(AtomicU64::new(u64::MAX))));
        options.disk_probe = Arc::new(disk.clone());
        options.node_name = format!("n{node_id}");
        options.kept_entries = self.kept_entries;
        options.peers = Some(peers(&self.addresses[&node_id]));
        let journal = Arc::new(Journal { restore_time: self.restore_time, ..Journal::default() });
        let node = Node::start(options, Arc::clone(&journal), Effects::new(), Arc::new(Echo)).await.unwrap();
        self.addresses.insert(node_id, node.peer_address().unwrap().to_string());
        self.running.insert(node_id, (node, journal));
    }

    /// Says how much space the disk of a node has.
    pub(super) fn set_free(&self, node_id: u64, bytes: u64) {
        self.disks[&node_id].0.store(bytes, Ordering::SeqCst);
    }

    pub(super) async fn kill(&mut self, node_id: u64) {
        let (node, _) = self.running.remove(&node_id).unwrap();
        node.die().await;
    }

    pub(super) async fn shutdown(&mut self) {
        for (node, _) in std::mem::take(&mut self.running).into_values() {
            node.shutdown().await;
        }
    }

    pub(super) fn node(&self, node_id: u64) -> &Node<Journal> {
        &self.running[&node_id].0
    }

    pub(super) fn journal(&self, node_id: u64) -> Arc<Journal> {
        Arc::clone(&self.running[&node_id].1)
    }

    pub(super) fn address(&self, node_id: u64) -> &str {
        &self.addresses[&node_id]
    }

    pub(super) fn raft(&self, node_id: u64) -> Raft {
        self.node(node_id).shared.raft.borrow().clone().unwrap()
    }

    /// Waits until one of the running nodes leads and all of them follow it.
    pub(super) async fn leader(&self) -> u64 {
        let agreed = || {
            let mut leaders = self.running.keys().map(|node_id| {
                let metrics = self.raft(*node_id).metrics().borrow().clone();
                let leads = metrics.state == ServerState::Leader;
                metrics.current_leader.filter(|leader| leads == (leader == node_id))
            });
            let first = leaders.next().flatten()?;
            (leaders.all(|leader| leader == Some(first)) && self.running.contains_key(&first))
                .then_some(first)
        };
        until("a leader that all follow", agreed).await
    }

    /// Waits until the running nodes have applied the same, at least `count` commands, and returns it.
    pub(super) async fn agreed(&self, count: usize) -> Vec<(u64, u64)> {
        let agreed = || {
            let mut journals = self.running.values().map(|(_, journal)| journal.entries());
            let first = journals.next()?;
            (first.len() >= count && journals.all(|other| other == first)).then_some(first)
        };
        until("equal replicas", agreed).await
    }

    /// Proposes on a node until it is acknowledged; returns how often that had to be tried.
    pub(super) async fn write(&self, node_id: u64, number: u64) -> usize {
        for attempt in 1.. {
            if self.node(node_id).propose(command(node_id, number, 16)).await.is_ok() {
                return attempt;
            }
        }
        unreachable!()
    }
}

/// Polls for a condition.
pub(super) async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut poll = interval(Duration::from_millis(20));
    loop {
        if let Some(met) = condition() {
            return met;
        }
        assert!(Instant::now() < deadline, "no {what} in time");
        poll.tick().await;
    }
}

/// Waits, but not for ever.
pub(super) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it comes in time")
}
