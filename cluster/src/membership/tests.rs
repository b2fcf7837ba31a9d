//! Introductions over real connections, with members that only certify.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rookery_proto::rookery::cluster::v1::introduction_client::IntroductionClient;
use rookery_proto::rookery::cluster::v1::{HelloRequest, JoinRequest, JoinResponse};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::service::Routes;
use zeroize::Zeroizing;

use super::bootstrap::{Decision, Label, Myself};
use super::dial::{DialError, Dialer};
use super::introduction::{Host, Introducer};
use super::obtain::obtain_identity;
use super::proof::{JoinSecret, nonce, random};
use super::request;
use crate::formats::Release;
use crate::network::Admission;
use crate::network::dial::introduction_channel;
use crate::network::server::PeerServer;
use crate::peer::BoxFuture;
use crate::pki::{Credentials, NodeKey, PeerIdentity, tls};

const SECRET: &str = "a secret of the cluster";
const LIMIT: Duration = Duration::from_secs(30);

fn secret(text: &str) -> JoinSecret {
    JoinSecret::new(Zeroizing::new(text.as_bytes().to_vec()))
}

/// A listener that answers introductions, and the state behind it.
struct Peer {
    introducer: Introducer,
    dialer: Dialer,
    address: SocketAddr,
    dir: TempDir,
    _server: PeerServer,
}

impl Peer {
    fn start(
        name: &str,
        secret_text: &str,
        listener: std::net::TcpListener,
        join: &[String],
        expect: Option<u8>,
    ) -> Peer {
        let address = listener.local_addr().unwrap();
        let me = Myself {
            label: Label { name: name.to_owned(), address: address.to_string() },
            instance: random(16),
            expect_voters: expect,
            never_votes: false,
            join: join.to_vec(),
        };
        let introducer = Introducer::new(secret(secret_text), me);
        let routes = Routes::new(introducer.service());
        let admission = Arc::new(Admission::default());
        let server = PeerServer::start(listener, tls::unknown_server().unwrap(), admission, routes).unwrap();
        let dialer = Dialer::new(None, secret(secret_text));
        Peer { introducer, dialer, address, dir: tempfile::tempdir().unwrap(), _server: server }
    }

    fn obtain(&self) -> JoinHandle<Credentials> {
        let (introducer, dialer) = (self.introducer.clone(), self.dialer.clone());
        let dir = self.dir.path().to_owned();
        tokio::spawn(async move {
            obtain_identity(&introducer, &dialer, &dir, &Release::default()).await.unwrap()
        })
    }

    /// Becomes a member that admits others.
    fn host(&self, credentials: Credentials) -> Arc<Certifier> {
        let host = Arc::new(Certifier {
            credentials,
            address: self.address.to_string(),
            given: Mutex::default(),
            refuse: Mutex::default(),
        });
        self.introducer.set_host(Arc::clone(&host) as Arc<dyn Host>);
        host
    }
}

fn listener() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Admits everybody, like a leader would, without a log.
struct Certifier {
    credentials: Credentials,
    address: String,
    given: Mutex<BTreeMap<Vec<u8>, u64>>,
    /// The next answer instead of an admission.
    refuse: Mutex<Option<JoinResponse>>,
}

impl Host for Certifier {
    fn cluster_id(&self) -> Option<String> {
        Some(self.credentials.identity().cluster_id.clone())
    }

    fn member_addresses(&self) -> Vec<String> {
        vec![self.address.clone()]
    }

    fn admit(&self, request: JoinRequest) -> BoxFuture<JoinResponse> {
        if let Some(refusal) = self.refuse.lock().take() {
            return Box::pin(std::future::ready(refusal));
        }
        let mut given = self.given.lock();
        let next = given.len() as u64 + 2;
        let node_id = *given.entry(request.request_id.to_vec()).or_insert(next);
        let cluster_id = self.credentials.identity().cluster_id.clone();
        let identity = PeerIdentity { cluster_id: cluster_id.clone(), node_id };
        let authority = self.credentials.authority();
        let response = JoinResponse {
            cluster_id,
            node_id,
            certificate: authority.certify(&request.certificate_request, &identity).unwrap(),
            ca_certificate: authority.certificate_pem().to_owned(),
            ca_key: authority.key_pem().to_string(),
            ..JoinResponse::default()
        };
        Box::pin(std::future::ready(response))
    }
}

/// Looks again and again, until the condition holds.
async fn until(mut holds: impl FnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    within(async {
        while !holds() {
            tick.tick().await;
        }
    })
    .await;
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

fn member(name: &str) -> (Peer, Arc<Certifier>) {
    let (listener, _) = listener();
    let peer = Peer::start(name, SECRET, listener, &[], None);
    let identity = PeerIdentity { cluster_id: "c1".to_owned(), node_id: 1 };
    let host = peer.host(Credentials::found(&identity).unwrap());
    (peer, host)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_found_one_cluster_also_when_one_is_late() {
    let (sockets, addresses): (Vec<_>, Vec<_>) = (0..3).map(|_| listener()).unzip();
    let mut sockets = sockets.into_iter();
    let mut start = |name: &str| Peer::start(name, SECRET, sockets.next().unwrap(), &addresses, Some(3));
    let (c, b) = (start("c"), start("b"));
    let (joins_c, joins_b) = (c.obtain(), b.obtain());
    // Both see each other and wait for the third.
    let sees = |peer: &Peer| peer.introducer.board(|board| board.sees().len());
    until(|| sees(&b) == 2 && sees(&c) == 2).await;
    assert!(!joins_b.is_finished() && !joins_c.is_finished());
    let a = start("a");
    let founded = within(a.obtain()).await.unwrap();
    assert_eq!(founded.identity().node_id, 1);
    let cluster_id = founded.identity().cluster_id.clone();
    let _host = a.host(founded);
    for joins in [joins_b, joins_c] {
        let joined = within(joins).await.unwrap();
        assert_ne!(joined.identity().node_id, 1);
        assert_eq!(joined.identity().cluster_id, cluster_id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_founds_while_the_founder_is_away() {
    let (sockets, addresses): (Vec<_>, Vec<_>) = (0..3).map(|_| listener()).unzip();
    let mut sockets = sockets.into_iter();
    let mut start = |name: &str| Peer::start(name, SECRET, sockets.next().unwrap(), &addresses, Some(3));
    let (a, b, c) = (start("a"), start("b"), start("c"));
    let (joins_b, joins_c) = (b.obtain(), c.obtain());
    let founded = within(a.obtain()).await.unwrap();
    // The founder dies before anybody could ask it, and comes back with what it has on disk.
    founded.save(a.dir.path()).unwrap();
    let address = a.address;
    drop(a);
    let waits = |peer: &Peer| {
        let decision = peer.introducer.board(|board| board.decide(tokio::time::Instant::now()));
        matches!(decision, Decision::Wait(reason) if reason.contains("no answer any more from a"))
    };
    until(|| waits(&b) && waits(&c)).await;
    assert!(!joins_b.is_finished() && !joins_c.is_finished());
    let mut again = None;
    until(|| {
        again = std::net::TcpListener::bind(address).ok();
        again.is_some()
    })
    .await;
    let back = Peer::start("a", SECRET, again.unwrap(), &addresses, Some(3));
    let dir = tempfile::tempdir().unwrap();
    founded.save(dir.path()).unwrap();
    let credentials = Credentials::load(dir.path()).unwrap().unwrap();
    let cluster_id = credentials.identity().cluster_id.clone();
    let _host = back.host(credentials);
    for joins in [joins_b, joins_c] {
        assert_eq!(within(joins).await.unwrap().identity().cluster_id, cluster_id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_gets_the_same_identifier_until_it_is_used() {
    let (one, host) = member("one");
    let (socket, _) = listener();
    let joiner = Peer::start("two", SECRET, socket, &[one.address.to_string()], None);
    let id = |obtained: Credentials| obtained.identity().node_id;
    assert_eq!(id(within(joiner.obtain()).await.unwrap()), 2);
    assert_eq!(id(within(joiner.obtain()).await.unwrap()), 2, "its answer was lost");
    *host.refuse.lock() =
        Some(JoinResponse { refused: "used".to_owned(), request_used: true, ..JoinResponse::default() });
    assert_eq!(id(within(joiner.obtain()).await.unwrap()), 3);
    request::discard(joiner.dir.path()).unwrap();
    assert_eq!(id(within(joiner.obtain()).await.unwrap()), 4, "another directory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joining_node_is_sent_on_to_the_leader() {
    let (leader, _certifier) = member("leader");
    let (follower, host) = member("follower");
    *host.refuse.lock() = Some(JoinResponse {
        refused: "not the leader".to_owned(),
        ask_address: leader.address.to_string(),
        ..JoinResponse::default()
    });
    let (socket, _) = listener();
    let joiner = Peer::start("two", SECRET, socket, &[follower.address.to_string()], None);
    assert_eq!(within(joiner.obtain()).await.unwrap().identity().node_id, 2);
    assert!(host.given.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_secret_gets_nothing() {
    let (one, host) = member("one");
    let stranger = Dialer::new(None, secret("some other secret of 24 bytes"));
    let hello = HelloRequest { nonce: nonce(), ..HelloRequest::default() };
    let refused = within(stranger.hello(one.address, hello)).await.unwrap_err();
    assert!(matches!(refused, DialError::Secret(_)), "{refused}");
    let join = JoinRequest {
        nonce: nonce(),
        name: "evil".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        request_id: random(16).into(),
        certificate_request: NodeKey::generate().unwrap().request().unwrap().into(),
        ..JoinRequest::default()
    };
    let refused = within(stranger.join(one.address, join)).await.unwrap_err();
    assert_eq!(refused.to_string(), "join secret differs");
    assert!(host.given.lock().is_empty());
}

/// Calls without the proofs that [`Dialer`] makes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_on_one_connection_is_worthless_on_another() {
    let (one, host) = member("one");
    let ours = secret(SECRET);
    let address = one.address.to_string();
    let (channel, binding) = introduction_channel(&address, None).await.unwrap();
    let mut join = JoinRequest {
        nonce: nonce(),
        name: "two".to_owned(),
        address: "127.0.0.1:2".to_owned(),
        request_id: random(16).into(),
        certificate_request: NodeKey::generate().unwrap().request().unwrap().into(),
        ..JoinRequest::default()
    };
    ours.sign_join_request(binding, &mut join);
    let mut hello = HelloRequest { nonce: nonce(), ..HelloRequest::default() };
    ours.sign_hello_request(binding, &mut hello);
    let mut client = IntroductionClient::new(channel);
    assert!(client.hello(hello.clone()).await.is_ok());
    let answer = client.join(join.clone()).await.unwrap().into_inner();
    assert!(ours.verify_join_response(binding, &join.nonce, &answer).is_ok());
    assert!(ours.verify_join_response([7; 32], &join.nonce, &answer).is_err(), "passed on to somebody else");

    let (channel, other) = introduction_channel(&address, None).await.unwrap();
    assert_ne!(binding, other);
    let mut client = IntroductionClient::new(channel);
    assert_eq!(within(client.hello(hello)).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(within(client.join(join.clone())).await.unwrap_err().code(), Code::Unauthenticated);
    // Altered on the way.
    let mut forged = JoinRequest { nonce: nonce(), ..join };
    ours.sign_join_request(other, &mut forged);
    forged.certificate_request = NodeKey::generate().unwrap().request().unwrap().into();
    assert_eq!(within(client.join(forged)).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(host.given.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_introduction_is_limited_in_size() {
    let (one, _host) = member("one");
    let (channel, binding) = introduction_channel(&one.address.to_string(), None).await.unwrap();
    let mut hello = HelloRequest { nonce: nonce(), name: "x".repeat(64 * 1024), ..HelloRequest::default() };
    secret(SECRET).sign_hello_request(binding, &mut hello);
    let refused = within(IntroductionClient::new(channel).hello(hello)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
}
