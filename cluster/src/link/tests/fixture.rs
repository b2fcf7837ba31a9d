//! Nodes that are nothing but links, over the real transport.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tonic::service::Routes;
use zeroize::Zeroizing;

use crate::barrier::Barrier;
use crate::effects::Effects;
use crate::formats::{Release, WrittenFormat};
use crate::link::{Equipment, Links};
use crate::network::server::PeerServer;
use crate::network::{Admission, Channels};
use crate::peer::{BoxFuture, LinkSource, PeerService};
use crate::pki::tls::{member_client, member_server};
use crate::pki::{Authority, Credentials, NodeKey, PeerIdentity};

const CLUSTER: &str = "links";

/// Nobody waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(2);

/// Waits until `condition` holds.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(POLL);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        ticks.tick().await;
    }
}

/// Everything that a node was told by its links.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) delivered: Vec<(LinkSource, Bytes)>,
    pub(super) acknowledged: BTreeMap<u64, u64>,
    pub(super) ended: Vec<u64>,
    pub(super) changed: usize,
}

/// Notes everything.
pub(super) struct Recorder {
    pub(super) told: Mutex<Told>,
    /// A permit is taken for each delivery.
    pub(super) gate: Arc<Semaphore>,
}

impl Default for Recorder {
    fn default() -> Recorder {
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Recorder { told: Mutex::default(), gate }
    }
}

impl PeerService for Recorder {
    fn deliver(&self, from: LinkSource, chunk: Bytes) -> BoxFuture<()> {
        let gate = Arc::clone(&self.gate);
        self.told.lock().delivered.push((from, chunk));
        Box::pin(async move {
            gate.acquire().await.expect("it is never closed").forget();
        })
    }

    fn acknowledged(&self, node_id: u64, sequence: u64) {
        let before = self.told.lock().acknowledged.insert(node_id, sequence);
        assert!(before.is_none_or(|before| before < sequence), "acknowledgements grow");
    }

    fn link_ended(&self, node_id: u64) {
        self.told.lock().ended.push(node_id);
    }

    fn link_changed(&self, _node_id: u64) {
        self.told.lock().changed += 1;
    }

    fn answer(&self, from: u64, question: Bytes) -> BoxFuture<Result<Bytes, String>> {
        let answer = format!("{from} asks {}", String::from_utf8_lossy(&question));
        Box::pin(std::future::ready(Ok(Bytes::from(answer))))
    }
}

/// What the node with this identifier can prove, in the cluster of the tests.
fn credentials(id: u8) -> Credentials {
    static AUTHORITY: OnceLock<(String, Zeroizing<String>)> = OnceLock::new();
    let (certificate, key) = AUTHORITY.get_or_init(|| {
        let authority = Authority::generate(CLUSTER).unwrap();
        (authority.certificate_pem().to_owned(), authority.key_pem().clone())
    });
    let authority = Authority::from_pem(certificate, key).unwrap();
    let key = NodeKey::generate().unwrap();
    let identity = PeerIdentity { cluster_id: CLUSTER.to_owned(), node_id: u64::from(id) };
    let certificate = authority.certify(&key.request().unwrap(), &identity).unwrap();
    Credentials::new(authority, &certificate, key.pem()).unwrap()
}

/// Dials as the node with this identifier.
pub(super) fn channels(id: u8) -> Channels {
    let channels = Channels::new(None);
    channels.set_identity(member_client(&credentials(id)).unwrap());
    channels
}

/// A node.
pub(super) struct TestNode {
    pub(super) id: u64,
    pub(super) links: Links,
    pub(super) effects: Arc<Effects>,
    pub(super) barrier: Barrier,
    pub(super) recorder: Arc<Recorder>,
    pub(super) address: SocketAddr,
    channels: Channels,
    addresses: Mutex<BTreeMap<u64, String>>,
    _server: PeerServer,
}

impl TestNode {
    /// A node that takes everything at once.
    pub(super) fn start(id: u8) -> TestNode {
        let recorder = Arc::new(Recorder::default());
        let service = Arc::clone(&recorder) as Arc<dyn PeerService>;
        TestNode::start_with(id, recorder, service)
    }

    /// A node whose chunks and acknowledgements go to `service`.
    pub(super) fn start_with(id: u8, recorder: Arc<Recorder>, service: Arc<dyn PeerService>) -> TestNode {
        let (links, effects, barrier, channels) =
            (Links::default(), Effects::new(), Barrier::default(), channels(id));
        links.start(Equipment {
            own_id: u64::from(id),
            release: Release::default(),
            format: WrittenFormat::new(Release::default().formats),
            channels: channels.clone(),
            effects: Arc::clone(&effects),
            barrier: barrier.clone(),
            service,
        });
        let admission = Arc::new(Admission::default());
        admission.set_cluster(CLUSTER);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let tls = member_server(&credentials(id)).unwrap();
        let server = PeerServer::start(listener, tls, admission, Routes::new(links.service())).unwrap();
        let address = server.address();
        TestNode {
            id: u64::from(id),
            links,
            effects,
            barrier,
            recorder,
            address,
            channels,
            addresses: Mutex::default(),
            _server: server,
        }
    }

    /// Takes nothing more, except as many as permits are added to its gate.
    pub(super) fn stalls(&self) {
        let gate = &self.recorder.gate;
        gate.forget_permits(gate.available_permits());
    }

    /// Dials `node` at `address` from now on.
    pub(super) fn knows(&self, node: u64, address: SocketAddr) {
        let mut addresses = self.addresses.lock();
        addresses.insert(node, address.to_string());
        self.channels.set_addresses(addresses.clone());
    }

    /// The nodes with their epochs have changed.
    pub(super) fn applies(&self, epochs: &[(u64, u64)]) {
        let registered = epochs.iter().filter(|(_, epoch)| *epoch != 0).map(|(node_id, _)| *node_id);
        let index = epochs.iter().map(|(_, epoch)| *epoch).max().unwrap_or(0);
        self.barrier.set_registered(index, registered.collect(), true);
        self.links.nodes_changed(&epochs.iter().copied().collect());
    }

    /// Sends one chunk.
    pub(super) fn send(&self, to: u64, chunk: impl Into<Bytes>) -> u64 {
        self.links.send(to, chunk.into()).expect("both nodes are registered")
    }

    /// What came from a node in an epoch.
    pub(super) fn delivered(&self, node_id: u64, epoch: u64) -> Vec<Bytes> {
        let told = self.recorder.told.lock();
        let from = LinkSource { node_id, epoch };
        told.delivered.iter().filter(|(source, _)| *source == from).map(|(_, chunk)| chunk.clone()).collect()
    }

    /// The last chunk that a node has acknowledged.
    pub(super) fn acknowledged(&self, node_id: u64) -> u64 {
        self.recorder.told.lock().acknowledged.get(&node_id).copied().unwrap_or_default()
    }

    /// Whether there is a link to the node.
    pub(super) fn is_connected(&self, node_id: u64) -> bool {
        self.links.load(node_id).is_connected
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.links.close();
    }
}

/// Two nodes, 1 in epoch 11 and 2 in epoch 12, connected both ways.
pub(super) async fn pair() -> (TestNode, TestNode) {
    let (one, two) = (TestNode::start(1), TestNode::start(2));
    one.knows(2, two.address);
    two.knows(1, one.address);
    for node in [&one, &two] {
        node.applies(&[(1, 11), (2, 12)]);
    }
    until("the links open", || one.is_connected(2) && two.is_connected(1)).await;
    (one, two)
}
