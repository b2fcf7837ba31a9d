//! Nodes that are nothing but links. A node is known by the address from which it dials.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status};

use crate::barrier::Barrier;
use crate::effects::Effects;
use crate::link::{Equipment, Links, Transport};
use crate::peer::{BoxFuture, LinkSource, PeerService};

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

struct LoopbackTransport {
    source: IpAddr,
    addresses: Mutex<BTreeMap<u64, SocketAddr>>,
}

impl Transport for LoopbackTransport {
    fn connect(&self, node_id: u64) -> BoxFuture<Result<Channel, String>> {
        let address = self.addresses.lock().get(&node_id).copied();
        let source = self.source;
        Box::pin(async move {
            let address = address.ok_or("the node is not known")?;
            let endpoint =
                Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
            Ok(endpoint.local_address(Some(source)).connect_lazy())
        })
    }

    fn caller(&self, request: &Request<()>) -> Result<u64, Status> {
        match request.remote_addr().map(|address| address.ip()) {
            Some(IpAddr::V4(address)) => Ok(u64::from(address.octets()[3])),
            _ => Err(Status::unauthenticated("the caller has no address")),
        }
    }
}

/// A node.
pub(super) struct TestNode {
    pub(super) id: u64,
    pub(super) links: Links,
    pub(super) effects: Arc<Effects>,
    pub(super) barrier: Barrier,
    pub(super) recorder: Arc<Recorder>,
    pub(super) address: SocketAddr,
    transport: Arc<LoopbackTransport>,
    server: JoinHandle<()>,
}

impl TestNode {
    /// A node that takes everything at once.
    pub(super) async fn start(id: u8) -> TestNode {
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 1, id));
        let transport = Arc::new(LoopbackTransport { source, addresses: Mutex::default() });
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let recorder = Arc::new(Recorder { told: Mutex::default(), gate });
        let (links, effects, barrier) = (Links::default(), Effects::new(), Barrier::default());
        links.start(Equipment {
            own_id: u64::from(id),
            version: "1".to_owned(),
            transport: Arc::clone(&transport) as Arc<dyn Transport>,
            effects: Arc::clone(&effects),
            barrier: barrier.clone(),
            service: Arc::clone(&recorder) as Arc<dyn PeerService>,
        });
        let listener = tokio::net::TcpListener::bind((source, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let serving = Server::builder().add_service(links.service());
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tokio::spawn(async move {
            serving.serve_with_incoming(incoming).await.expect("the server runs until it is dropped");
        });
        TestNode { id: u64::from(id), links, effects, barrier, recorder, address, transport, server }
    }

    /// Takes nothing more, except as many as permits are added to its gate.
    pub(super) fn stalls(&self) {
        let gate = &self.recorder.gate;
        gate.forget_permits(gate.available_permits());
    }

    /// Dials `node` at `address` from now on.
    pub(super) fn knows(&self, node: u64, address: SocketAddr) {
        self.transport.addresses.lock().insert(node, address);
    }

    /// The nodes with their epochs have changed.
    pub(super) fn applies(&self, registered: &[(u64, u64)]) {
        let registered: BTreeMap<u64, u64> = registered.iter().copied().collect();
        self.barrier.set_registered(registered.keys().copied().collect());
        self.links.nodes_changed(&registered);
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
        self.server.abort();
    }
}

/// Two nodes, 1 in epoch 11 and 2 in epoch 12, connected both ways.
pub(super) async fn pair() -> (TestNode, TestNode) {
    let (one, two) = (TestNode::start(1).await, TestNode::start(2).await);
    one.knows(2, two.address);
    two.knows(1, one.address);
    for node in [&one, &two] {
        node.applies(&[(1, 11), (2, 12)]);
    }
    until("the links open", || one.is_connected(2) && two.is_connected(1)).await;
    (one, two)
}
