//! A node without listeners and with one lane: everything of the message path runs on the thread that made it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use rookery::actors::authenticator::Authenticator;
use rookery::actors::connection::{self, PeerCertificate};
use rookery::actors::directory::Directory;
use rookery::actors::environment::{Environment, Settings, Standing};
use rookery::actors::forward::{Forwarding, PeerLinks};
use rookery::actors::lane::{self, OutboxLimits};
use rookery::actors::observer::Observer;
use rookery::actors::own_node::OwnNode;
use rookery::actors::peer::Peers;
use rookery::clock;
use rookery::domain::catalog::{Change, Command, CreateBroker, Mutation, NewCertificate, NewCredentials};
use rookery::domain::credential::Fingerprint;
use rookery::domain::id::{BrokerId, FolderId, OperationId};
use rookery::domain::labels::Labels;
use rookery::domain::principal::Principal;
use rookery::domain::resolve::{self, TopicOptions};
use rookery::domain::session::SessionId;
use rookery::domain::window::WindowLimits;
use rookery::mqtt::qos::QoS;
use rookery::observe::connection_log::ConnectionLog;
use rookery::store::{self, StoreOptions};
use rookery::verify::password::{PasswordVerifier, VerifierSettings};
use rookery::verify::throttle::{Throttle, ThrottleSettings};
use rookery_cluster::LinkLoad;

use crate::client::Client;

/// The node that [`World::subscribe_elsewhere`] subscribes on.
pub const OTHER_NODE: u64 = 7;

/// Room between a client and the node in each direction, in bytes.
const STREAM_BYTES: usize = 256 * 1024;

/// Links to nodes that have no sessions any more: what is sent to them is given up at once, and waited for by nobody.
struct Sink;

impl PeerLinks for Sink {
    fn send(&self, _node_id: u64, chunk: Bytes) -> Option<u64> {
        drop(chunk);
        None
    }

    fn load(&self, _node_id: u64) -> LinkLoad {
        LinkLoad { backlog_bytes: 0, is_connected: true }
    }
}

/// A node whose clients log in with one certificate to one broker.
pub struct World {
    environment: Arc<Environment>,
    certificate: PeerCertificate,
    /// This node as others see it.
    pub peers: Peers,
    /// Dropped last.
    _kept: (store::Store, tempfile::TempDir),
}

impl World {
    /// A running node. Called once per process.
    pub async fn new() -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let lanes = lane::lanes(1);
        let forwarding = Arc::new(Forwarding::new(usize::MAX));
        forwarding.connect(Sink);
        lane::install(0, &lanes, limits(), Arc::clone(&forwarding));
        let own_node = OwnNode::default();
        let directory = Arc::new(Directory::new(own_node.clone(), vec![actix_rt::Arbiter::current()]));
        let effects = store::Effects::new();
        let observer = Observer {
            lanes: lanes.clone(),
            directory: Arc::clone(&directory),
            effects: Arc::clone(&effects),
            topics: TopicOptions::default(),
        };
        let options = StoreOptions::new(data.path().join("raft"), "instructions".to_owned());
        let store = store::open(options, Arc::new(observer), effects, Arc::new(store::NoPeers)).await?;
        own_node.set(u32::try_from(store.status().borrow().node_id)?);
        let catalog = store.catalog();
        let certificate = PeerCertificate { digest: [7; 32], fingerprint: Fingerprint::from_sha1(&[7; 20]) };
        catalog
            .propose(Command::Mutate(create_broker(&certificate)))
            .await
            .map_err(|error| anyhow::anyhow!("the broker cannot be created: {error:?}"))?;
        let verifier = Arc::new(PasswordVerifier::start(VerifierSettings::default())?);
        let throttle = Arc::new(Throttle::new(ThrottleSettings::default()));
        let authenticator = Authenticator::new(catalog.clone(), verifier, throttle);
        let standing = Standing { lease: store.lease(), barrier: store.barrier() };
        let environment = Arc::new(Environment::new(
            (lanes, forwarding),
            catalog,
            directory,
            authenticator,
            settings(),
            standing,
            ConnectionLog::default(),
        ));
        let peers = Peers::new(Arc::clone(&environment.lanes), Arc::clone(&environment.forwarding));
        peers.serve(&environment);
        Ok(Self { environment, certificate, peers, _kept: (store, data) })
    }

    /// A client that has received CONNACK 0.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let (near, far) = tokio::io::duplex(STREAM_BYTES);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        connection::start(&self.environment, Box::new(far), peer, Some(self.certificate.clone()));
        Client::connect(near).await.context("CONNECT")
    }

    /// A client that has subscribed.
    pub async fn subscriber(&self, filter: &str, qos: QoS) -> anyhow::Result<Client> {
        let mut client = self.client().await?;
        client.subscribe(filter, qos).await.with_context(|| format!("SUBSCRIBE {filter}"))?;
        Ok(client)
    }

    /// A session on another node subscribes.
    pub fn subscribe_elsewhere(&self, filter: &str, qos: QoS) -> anyhow::Result<()> {
        let principal = Principal::Broker(BrokerId::new("broker"));
        let interest = resolve::granted(&principal, filter, TopicOptions::default())
            .with_context(|| format!("{filter} is refused"))?;
        let session = SessionId { node: u32::try_from(OTHER_NODE)?, lane: 0, index: 0, generation: 0 };
        self.environment.directory.space(&principal.space()).change(session, &[], &[(interest, qos)]);
        Ok(())
    }

    /// Messages sent to other nodes so far.
    pub fn messages_forwarded(&self) -> u64 {
        self.environment.lanes[0].counters.messages_forwarded.get()
    }
}

fn limits() -> OutboxLimits {
    let (messages_max, bytes_max) = (10_000, 16 * 1024 * 1024);
    OutboxLimits {
        plain_bytes_max: bytes_max,
        window: WindowLimits { in_flight_messages_max: 100, messages_max, bytes_max },
        lane_bytes_max: usize::MAX,
        overloaded_bytes_max: bytes_max,
        redelivery_ticks: 0,
    }
}

fn settings() -> Settings {
    Settings {
        connect_timeout: Duration::from_secs(600),
        connect_bytes_max: 4096,
        payload_bytes_max: 4096,
        subscriptions_max: 10_000,
        storing_messages_max: 1000,
        stored_messages_per_subscribe_max: 10,
        device_rate: None,
        broker_rate: None,
        retain_flag_on_stored: true,
        topics: TopicOptions::default(),
    }
}

fn create_broker(certificate: &PeerCertificate) -> Mutation {
    Mutation {
        at: clock::now(),
        operation_id: OperationId::new("operation"),
        subject: "instructions".into(),
        idempotency_key: None,
        change: Change::CreateBroker(CreateBroker {
            id: BrokerId::new("broker"),
            folder_id: FolderId::new("folder"),
            name: "".into(),
            description: "".into(),
            labels: Labels::default(),
            log_options: None,
            credentials: NewCredentials {
                certificates: vec![NewCertificate {
                    digest: certificate.digest,
                    fingerprint: certificate.fingerprint.clone(),
                    certificate_data: Arc::from("text"),
                }],
                password: None,
            },
        }),
    }
}
