//! Connections over streams in memory, against a real catalog in a temporary directory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rookery_cluster::Lease;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::*;

mod forwarding;
mod sessions;

use crate::actors::authenticator::Authenticator;
use crate::actors::directory::Directory;
use crate::actors::environment::{Settings, Standing};
use crate::actors::forward::BACKLOG_BYTES_MAX;
use crate::actors::forward::fixture::FakeLinks;
use crate::actors::forward::wire::ChunkWriter;
use crate::actors::lane::OutboxLimits;
use crate::actors::observer::Observer;
use crate::actors::own_node::OwnNode;
use crate::actors::peer::Peers;
use crate::actors::registry::StoredDelivery;
use crate::clock;
use crate::domain::catalog::{Change, Command, CreateBroker, Mutation, NewCertificate, NewCredentials};
use crate::domain::credential::Fingerprint;
use crate::domain::id::{BrokerId, FolderId, OperationId};
use crate::domain::labels::Labels;
use crate::domain::resolve::TopicOptions;
use crate::domain::window::WindowLimits;
use crate::mqtt::client_side::{encode_connect, encode_publish, encode_subscribe};
use crate::mqtt::packet::connect::{ConnectRef, WillRef};
use crate::mqtt::packet::publish::PublishRef;
use crate::mqtt::packet::subscribe::SubscribeRequest;
use crate::mqtt::qos::{PacketIdentifier, QoS};
use crate::observe::connection_log::ConnectionLog;
use crate::store::{self, StoreOptions};
use crate::verify::password::{PasswordVerifier, VerifierSettings};
use crate::verify::pool::PoolSettings;
use crate::verify::throttle::{Throttle, ThrottleSettings};

const LIMITS: OutboxLimits = OutboxLimits {
    plain_bytes_max: 64 * 1024,
    window: WindowLimits { in_flight_messages_max: 2, messages_max: 4, bytes_max: 64 * 1024 },
    lane_bytes_max: 1024 * 1024,
    overloaded_bytes_max: 1024,
    redelivery_ticks: 1,
};

/// A node without listeners: one lane, one broker whose clients log in with one certificate.
struct World {
    environment: Arc<Environment>,
    certificate: PeerCertificate,
    /// The links to other nodes.
    links: FakeLinks,
    /// This node as others see it.
    peers: Peers,
    _store: store::Store,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with_passwords(VerifierSettings::default()).await
    }

    /// A node that has lost its cluster.
    async fn fenced() -> Self {
        Self::with(VerifierSettings::default(), Some(Lease::default())).await
    }

    async fn with_passwords(passwords: VerifierSettings) -> Self {
        Self::with(passwords, None).await
    }

    async fn with(passwords: VerifierSettings, lease: Option<Lease>) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let lanes = lane::lanes(1);
        let links = FakeLinks::default();
        let forwarding = links.forwarding(BACKLOG_BYTES_MAX);
        lane::install(0, &lanes, LIMITS, Arc::clone(&forwarding));
        let own_node = OwnNode::default();
        let directory = Arc::new(Directory::new(own_node.clone(), vec![actix_rt::Arbiter::current()]));
        let effects = store::Effects::new();
        let observer = Observer {
            lanes: lanes.clone(),
            directory: Arc::clone(&directory),
            effects: Arc::clone(&effects),
            topics: TopicOptions::default(),
        };
        let options = StoreOptions::new(temporary.path().join("raft"), "test".to_owned());
        let store = store::open(options, Arc::new(observer), effects, Arc::new(store::NoPeers))
            .await
            .expect("an empty store opens");
        own_node.set(u32::try_from(store.status().borrow().node_id).expect("a small number"));
        let catalog = store.catalog();
        let certificate = PeerCertificate { digest: [7; 32], fingerprint: Fingerprint::from_sha1(&[7; 20]) };
        catalog.propose(Command::Mutate(create_broker(&certificate))).await.expect("the broker is created");
        let verifier = Arc::new(PasswordVerifier::start(passwords).expect("threads"));
        let throttle = Arc::new(Throttle::new(ThrottleSettings::default()));
        let authenticator = Authenticator::new(catalog.clone(), verifier, throttle);
        let settings = Settings {
            connect_timeout: Duration::from_secs(30),
            connect_bytes_max: 4096,
            payload_bytes_max: 4096,
            subscriptions_max: 10,
            storing_messages_max: 10,
            stored_messages_per_subscribe_max: 10,
            device_rate: None,
            broker_rate: None,
            retain_flag_on_stored: true,
            topics: TopicOptions::default(),
        };
        let standing = Standing { lease: lease.unwrap_or_else(|| store.lease()), barrier: store.barrier() };
        let environment = Arc::new(Environment::new(
            (lanes, forwarding),
            catalog,
            directory,
            authenticator,
            settings,
            standing,
            ConnectionLog::default(),
        ));
        let peers = Peers::new(Arc::clone(&environment.lanes), Arc::clone(&environment.forwarding));
        peers.serve(&environment);
        Self { environment, certificate, links, peers, _store: store, _directory: temporary }
    }

    fn accept(&self, transport: Box<dyn crate::actors::lane::buffer::Transport>) {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        start(&self.environment, transport, peer, Some(self.certificate.clone()));
    }

    /// A connected client; `will` is its will topic.
    async fn client(&self, will: Option<&str>) -> DuplexStream {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        self.accept(Box::new(far));
        near.write_all(&connect(will)).await.expect("the server reads");
        assert_eq!(read(&mut near, 4).await, [0x20, 2, 0, 0], "CONNACK 0");
        near
    }

    async fn subscriber(&self, filter: &str, qos: QoS) -> DuplexStream {
        let mut client = self.client(None).await;
        subscribe(&mut client, filter, qos).await;
        client
    }

    fn counter(&self, read: fn(&lane::counters::LaneCounters) -> u64) -> u64 {
        read(&self.environment.lanes[0].counters)
    }
}

fn create_broker(certificate: &PeerCertificate) -> Mutation {
    Mutation {
        at: clock::now(),
        operation_id: OperationId::new("operation"),
        subject: "test".into(),
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

fn connect(will: Option<&str>) -> Vec<u8> {
    let will = will.map(|topic| WillRef { topic, payload: b"gone", qos: QoS::AtMostOnce, retain: false });
    connect_with(will, None)
}

fn connect_with(will: Option<WillRef<'_>>, login: Option<(&str, &[u8])>) -> Vec<u8> {
    let mut packet = Vec::new();
    let connect = ConnectRef {
        protocol_level: 4,
        clean_session: true,
        keep_alive_s: 0,
        client_id: "",
        will,
        username: login.map(|(name, _)| name),
        password: login.map(|(_, password)| password),
    };
    encode_connect(&mut packet, &connect).expect("encodes");
    packet
}

fn publish(topic: &str, payload: &[u8], qos: QoS) -> Vec<u8> {
    let mut packet = Vec::new();
    let packet_identifier = qos.has_packet_identifier().then_some(PacketIdentifier::FIRST);
    let publish = PublishRef { topic, payload, qos, retain: false, dup: false, packet_identifier };
    encode_publish(&mut packet, &publish).expect("encodes");
    packet
}

async fn subscribe(client: &mut DuplexStream, filter: &str, qos: QoS) {
    let mut packet = Vec::new();
    encode_subscribe(&mut packet, PacketIdentifier::FIRST, [SubscribeRequest { filter, qos }])
        .expect("encodes");
    client.write_all(&packet).await.expect("the server reads");
    assert_eq!(read(client, 5).await, [0x90, 3, 0, 1, qos.bits()], "SUBACK");
}

async fn read(stream: &mut DuplexStream, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    stream.read_exact(&mut buffer).await.expect("the connection stays open");
    buffer
}

/// Panics when it is read for the second time, like a defect somewhere below a connection.
struct Faulty(DuplexStream, usize);

/// Panics when a PUBLISH is written.
struct FaultyWriter(DuplexStream);

impl AsyncRead for FaultyWriter {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(task, buffer)
    }
}

impl AsyncWrite for FaultyWriter {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        assert!(bytes[0] >> 4 != 3, "a defect for the test");
        Pin::new(&mut self.0).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(task)
    }
}

impl AsyncRead for Faulty {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.0).poll_read(task, buffer);
        if buffer.filled().len() > before {
            self.1 += 1;
            assert!(self.1 < 2, "a defect for the test");
        }
        result
    }
}

impl AsyncWrite for Faulty {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(task)
    }
}

/// U-A9: a client whose login cannot be checked now is told to come back, and a certificate needs no check.
#[actix_rt::test]
async fn a25_a_full_queue_of_the_password_threads_answers_return_code_3() {
    let pool = PoolSettings { threads: 1, queue_max: 0 };
    let world = World::with_passwords(VerifierSettings { pool, ..VerifierSettings::default() }).await;
    let (mut near, far) = tokio::io::duplex(4096);
    world.accept(Box::new(far));
    let login = connect_with(None, Some(("broker", b"Passw0rdForDevice")));
    near.write_all(&login).await.expect("the server reads");
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.expect("the stream ends");
    assert_eq!(answer, [0x20, 2, 0, 3], "server unavailable");
    world.client(None).await;
}

#[actix_rt::test]
async fn a37_a_panic_in_one_connection_ends_that_one_only_and_fires_its_will() {
    let world = World::new().await;
    let mut witness = world.subscriber("wills/#", QoS::AtMostOnce).await;
    let (mut near, far) = tokio::io::duplex(4096);
    world.accept(Box::new(Faulty(far, 0)));
    near.write_all(&connect(Some("wills/faulty"))).await.expect("the server reads");
    assert_eq!(read(&mut near, 4).await, [0x20, 2, 0, 0]);
    near.write_all(&[0xc0, 0]).await.expect("the server reads");

    let expected = publish("wills/faulty", b"gone", QoS::AtMostOnce);
    assert_eq!(read(&mut witness, expected.len()).await, expected, "the will of the one that panicked");
    assert_eq!(near.read(&mut [0; 8]).await.expect("a closed stream"), 0, "its stream is closed");
    assert_eq!(world.counter(|counters| counters.panics.get()), 1);
    assert_eq!(world.counter(|counters| counters.connections_open.get()), 1, "its place is free");

    let mut other = world.client(None).await;
    let message = publish("wills/other", b"alive", QoS::AtMostOnce);
    other.write_all(&message).await.expect("the server reads");
    assert_eq!(read(&mut witness, message.len()).await, message, "the others go on");
}

#[actix_rt::test]
async fn an_unacknowledged_message_is_sent_again_with_dup_and_an_acknowledged_one_is_not() {
    let world = World::new().await;
    let mut subscriber = world.subscriber("a", QoS::AtLeastOnce).await;
    let mut publisher = world.client(None).await;
    let message = publish("a", b"x", QoS::AtLeastOnce);
    publisher.write_all(&message).await.expect("the server reads");
    assert_eq!(read(&mut publisher, 4).await, [0x40, 2, 0, 1], "PUBACK");
    assert_eq!(read(&mut subscriber, message.len()).await, message);
    let mut again = message.clone();
    again[0] |= 0x08;
    assert_eq!(read(&mut subscriber, again.len()).await, again, "sent again with DUP (MQTT-3.3.1-1)");
    subscriber.write_all(&[0x40, 2, 0, 1]).await.expect("the server reads");
    // The next message comes right behind, whatever was sent again before the PUBACK was seen.
    publisher.write_all(&publish("a", b"y", QoS::AtLeastOnce)).await.expect("the server reads");
    loop {
        let next = read(&mut subscriber, message.len()).await;
        if next[next.len() - 1] == b'y' {
            assert_eq!(next[0] & 0x08, 0, "a new message has no DUP");
            break;
        }
        assert_eq!(next, again);
    }
}

#[actix_rt::test]
async fn a_session_that_never_acknowledges_is_closed_when_its_queue_is_full() {
    let world = World::new().await;
    let mut subscriber = world.subscriber("a", QoS::AtLeastOnce).await;
    let mut publisher = world.client(None).await;
    // Many more than fit, at once: the session was counted for each of them.
    publisher.write_all(&publish("a", b"x", QoS::AtLeastOnce).repeat(20)).await.expect("the server reads");
    assert_eq!(read(&mut publisher, 80).await, [0x40, 2, 0, 1].repeat(20), "PUBACKs");
    let mut received = Vec::new();
    subscriber.read_to_end(&mut received).await.expect("the stream ends");
    assert_eq!(world.counter(|counters| counters.sessions_closed_slow.get()), 1);
    publisher.write_all(&[0xc0, 0]).await.expect("the server reads");
    assert_eq!(read(&mut publisher, 2).await, [0xd0, 0], "the publisher is not concerned");
}

#[actix_rt::test]
async fn packets_in_one_segment_and_packets_in_single_bytes_are_the_same() {
    let world = World::new().await;
    let mut witness = world.subscriber("t/#", QoS::AtMostOnce).await;
    let mut bytes = connect(None);
    for topic in ["t/1", "t/2"] {
        bytes.extend(publish(topic, b"m", QoS::AtMostOnce));
    }
    let (mut at_once, far) = tokio::io::duplex(4096);
    world.accept(Box::new(far));
    at_once.write_all(&bytes).await.expect("the server reads");
    let (mut dribbling, far) = tokio::io::duplex(1);
    world.accept(Box::new(far));
    for byte in &bytes {
        dribbling.write_all(&[*byte]).await.expect("the server reads");
    }
    let one = publish("t/1", b"m", QoS::AtMostOnce).len();
    let mut topics = Vec::new();
    for _ in 0..4 {
        topics.push(read(&mut witness, one).await[6]);
    }
    topics.sort_unstable();
    assert_eq!(topics, b"1122");
}

/// The connections behind it in the list of the turn were never written again.
#[actix_rt::test]
async fn a_panic_while_one_connection_is_written_costs_the_others_nothing() {
    let world = World::new().await;
    let (mut near, far) = tokio::io::duplex(4096);
    world.accept(Box::new(FaultyWriter(far)));
    near.write_all(&connect(None)).await.expect("the server reads");
    assert_eq!(read(&mut near, 4).await, [0x20, 2, 0, 0]);
    subscribe(&mut near, "a", QoS::AtMostOnce).await;
    let mut witness = world.subscriber("a", QoS::AtMostOnce).await;
    let mut publisher = world.client(None).await;
    let message = publish("a", b"x", QoS::AtMostOnce);
    for _ in 0..2 {
        publisher.write_all(&message).await.expect("the server reads");
        assert_eq!(read(&mut witness, message.len()).await, message);
    }
    assert_eq!(near.read(&mut [0; 8]).await.expect("a closed stream"), 0, "its stream is closed");
    assert_eq!(world.counter(|counters| counters.panics.get()), 1);
    assert_eq!(world.counter(|counters| counters.connections_open.get()), 2, "its place is free");
}

/// Sends as long as the server reads, and reads nothing itself.
async fn flood(mut client: DuplexStream, bytes: &[u8]) {
    for _ in 0..100_000 {
        if client.write_all(bytes).await.is_err() {
            return;
        }
    }
    panic!("the server takes everything and has nowhere to put the answers");
}

/// Answers had no limit: whoever pings and never reads filled the memory of the node.
#[actix_rt::test]
async fn a31_a_client_that_asks_and_never_reads_the_answers_is_closed() {
    let world = World::new().await;
    flood(world.client(None).await, &[0xc0, 0].repeat(1024)).await;
    assert_eq!(world.counter(|counters| counters.sessions_closed_slow.get()), 1);
    assert_eq!(world.counter(|counters| counters.connections_open.get()), 0);
}

/// A PUBACK makes room in the window whether or not its message has left the server.
#[actix_rt::test]
async fn a31_a_client_that_acknowledges_blindly_and_never_reads_is_closed() {
    let world = World::new().await;
    let mut subscriber = world.subscriber("a", QoS::AtLeastOnce).await;
    let mut publisher = world.client(None).await;
    let message = publish("a", &[7; 4000], QoS::AtLeastOnce);
    for packet_identifier in 1..=100_u8 {
        publisher.write_all(&message).await.expect("the server reads");
        assert_eq!(read(&mut publisher, 4).await, [0x40, 2, 0, 1], "PUBACK");
        if subscriber.write_all(&[0x40, 2, 0, packet_identifier]).await.is_err() {
            break;
        }
    }
    assert_eq!(world.counter(|counters| counters.sessions_closed_slow.get()), 1);
}

/// Everything that followed a CONNECT in its segment was kept while the password was checked: 128 KiB for each of those
/// who had yet to show that they are clients at all.
#[actix_rt::test]
async fn a1_little_is_read_from_a_client_that_is_not_logged_in() {
    let world = World::new().await;
    let (mut near, far) = tokio::io::duplex(1024 * 1024);
    world.accept(Box::new(far));
    let mut packet = Vec::new();
    let connect = ConnectRef {
        protocol_level: 4,
        clean_session: true,
        keep_alive_s: 0,
        client_id: "",
        will: None,
        username: Some("nobody"),
        password: Some(b"wrong"),
    };
    encode_connect(&mut packet, &connect).expect("encodes");
    packet.extend([0xc0, 0].repeat(50 * 1024));
    near.write_all(&packet).await.expect("the stream takes it");
    assert_eq!(read(&mut near, 4).await, [0x20, 2, 0, 4], "CONNACK 4");
    let received = world.counter(|counters| counters.bytes_received.get());
    assert!(received <= 4096, "{received} bytes were read before the answer");
}

/// The beginning of an unfinished packet was counted again with each of its parts.
#[actix_rt::test]
async fn every_byte_received_is_counted_once() {
    let world = World::new().await;
    let (mut near, far) = tokio::io::duplex(1);
    world.accept(Box::new(far));
    for byte in connect(None) {
        near.write_all(&[byte]).await.expect("the server reads");
    }
    assert_eq!(read(&mut near, 4).await, [0x20, 2, 0, 0]);
    let sent = connect(None).len() as u64;
    assert_eq!(world.counter(|counters| counters.bytes_received.get()), sent);
}

/// A session that subscribed to more than its queue holds was closed, asked again, and was closed again, for ever.
#[tokio::test]
async fn stored_messages_that_do_not_fit_are_left_out_and_leave_room_for_live_ones() {
    let mut lane =
        LaneState::new(0, lane::lanes(1), LIMITS, FakeLinks::default().forwarding(BACKLOG_BYTES_MAX));
    let (_near, far) = tokio::io::duplex(64);
    let link = Rc::new(Link::new(Box::new(far)));
    let slot = lane.insert(Rc::clone(&link));
    lane.hold(slot);
    let message = StoredDelivery {
        name: Arc::from("a"),
        payload: bytes::Bytes::from_static(b"stored"),
        qos: QoS::AtLeastOnce,
        retain: true,
    };
    assert_eq!(lane.send_stored(slot, &vec![message; 10]), 8, "half of the queue is filled");
    lane.release(slot);
    assert_eq!(link.take_close(), None);
    assert_eq!(lane.get(slot.into()).expect("it is there").held.as_ref().map(Vec::len), None);
}
