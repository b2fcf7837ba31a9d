//! Sessions as the log has them, and connections of a node that must not serve.

use rookery_cluster::{Effects, Lease};

use super::*;
use crate::domain::catalog::Catalog;
use crate::domain::id::BrokerId;
use crate::domain::principal::SpaceId;
use crate::store::ApplyObserver as _;

/// Waits for a condition, ten seconds at most.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let polling = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), polling).await.unwrap_or_else(|_| panic!("{what} in time"));
}

impl World {
    fn sessions(&self) -> usize {
        self.environment.catalog.read(Catalog::session_count)
    }

    fn subscriptions(&self) -> usize {
        let space = self.environment.directory.find(&SpaceId::Broker(BrokerId::new("broker")));
        space.map_or(0, |space| space.subscriptions())
    }

    fn observer(&self) -> Observer {
        Observer {
            lanes: self.environment.lanes.clone(),
            directory: Arc::clone(&self.environment.directory),
            effects: Effects::new(),
            topics: TopicOptions::default(),
        }
    }
}

#[actix_rt::test]
async fn a_session_is_in_the_log_as_long_as_its_connection() {
    let world = World::new().await;
    let mut first = world.subscriber("a/#", QoS::AtLeastOnce).await;
    let second = world.client(None).await;
    assert_eq!((world.sessions(), world.subscriptions()), (2, 1));
    drop(second);
    until("its end is in the log", || world.sessions() == 1).await;
    let mut packet = Vec::new();
    crate::mqtt::client_side::encode_unsubscribe(&mut packet, PacketIdentifier::FIRST, ["a/#", "never"])
        .expect("encodes");
    first.write_all(&packet).await.expect("the server reads");
    assert_eq!(read(&mut first, 4).await, [0xb0, 2, 0, 1], "UNSUBACK");
    assert_eq!(world.subscriptions(), 0);
    first.write_all(&[0xe0, 0]).await.expect("the server reads");
    until("its end is in the log", || world.sessions() == 0).await;
}

/// The session was opened when nobody was left to close it.
#[actix_rt::test]
async fn a_connection_that_ends_while_its_session_is_opened_leaves_none_behind() {
    let world = World::new().await;
    for _ in 0..50 {
        let (mut near, far) = tokio::io::duplex(4096);
        world.accept(Box::new(far));
        near.write_all(&connect(None)).await.expect("the server reads");
        tokio::task::yield_now().await;
    }
    until("all connections have ended", || world.counter(|counters| counters.connections_open.get()) == 0)
        .await;
    let settled = || world.sessions() == 0 && world.environment.tenures.closing_count() == 0;
    until("all sessions have ended", settled).await;
}

#[actix_rt::test]
async fn who_loses_the_right_to_a_session_loses_the_connection() {
    let world = World::new().await;
    let mut client = world.subscriber("a", QoS::AtMostOnce).await;
    let mut delete = create_broker(&world.certificate);
    delete.operation_id = OperationId::new("another");
    delete.change = Change::DeleteBroker { id: BrokerId::new("broker") };
    world.environment.catalog.propose(Command::Mutate(delete)).await.expect("the broker is deleted");
    assert_eq!(client.read(&mut [0; 8]).await.expect("a closed stream"), 0, "its stream is closed");
    assert_eq!((world.sessions(), world.subscriptions()), (0, 0));
}

/// What a fenced node reads it keeps, and what it has to say it keeps too.
#[actix_rt::test]
async fn nothing_is_handled_or_acknowledged_without_a_lease() {
    let world = World::new().await;
    let mut witness = world.subscriber("a", QoS::AtMostOnce).await;
    let mut publisher = world.client(None).await;
    let lane = lane::current();
    let valid = lane.borrow_mut().replace_lease(Lease::default()).expect("there were connections");
    let message = publish("a", b"x", QoS::AtLeastOnce);
    publisher.write_all(&message).await.expect("the stream takes it");
    let received = world.counter(|counters| counters.bytes_received.get());
    until("the lane has noticed", || {
        let read_it = world.counter(|counters| counters.bytes_received.get()) > received;
        lane.borrow().is_fenced() || read_it
    })
    .await;
    assert_eq!(world.counter(|counters| counters.messages_received.get()), 0);
    // An answer that is decided on now goes out with the lease only.
    let slot = world.environment.catalog.read(|catalog| {
        let mut sessions = catalog.all_sessions();
        sessions.find(|session| !session.subscriptions.is_empty()).map(|session| Slot::from(session.id))
    });
    let slot = slot.expect("the witness has subscribed");
    lane.borrow_mut().send_control(slot, encode_pingresp);
    until("the lane has noticed", || lane.borrow().is_fenced()).await;
    let pending = lane.borrow_mut().get(slot.into()).map(|outbox| outbox.output.pending_bytes());
    assert_eq!(pending, Some(2), "nothing is written");

    lane.borrow_mut().replace_lease(valid);
    assert_eq!(read(&mut publisher, 4).await, [0x40, 2, 0, 1], "PUBACK");
    assert_eq!(read(&mut witness, 2).await, [0xd0, 0], "what was kept");
    let expected = publish("a", b"x", QoS::AtMostOnce);
    assert_eq!(read(&mut witness, expected.len()).await, expected);
}

#[actix_rt::test]
async fn a_node_without_a_lease_sends_new_clients_away_with_code_3() {
    let world = World::fenced().await;
    let (mut near, far) = tokio::io::duplex(4096);
    world.accept(Box::new(far));
    near.write_all(&connect(None)).await.expect("the server reads");
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.expect("the stream ends");
    assert_eq!(answer, [0x20, 2, 0, 3], "server unavailable");
    assert_eq!(world.sessions(), 0);
}

#[actix_rt::test]
async fn after_a_snapshot_indices_and_connections_are_those_of_the_new_state() {
    let world = World::new().await;
    let mut client = world.subscriber("a", QoS::AtMostOnce).await;
    let now = world.environment.catalog.view();
    let epochs = world.environment.directory.space(&SpaceId::Broker(BrokerId::new("broker"))).epochs();
    world.observer().restored(&now);
    assert_eq!(world.subscriptions(), 1, "made anew");
    let message = publish("a", b"x", QoS::AtMostOnce);
    client.write_all(&message).await.expect("the server reads");
    assert_eq!(read(&mut client, message.len()).await, message, "it goes on");
    let space = world.environment.directory.space(&SpaceId::Broker(BrokerId::new("broker")));
    assert_ne!(space.epochs(), epochs, "remembered routes are stale");

    world.observer().restored(&Catalog::new());
    assert_eq!(world.subscriptions(), 0);
    assert_eq!(client.read(&mut [0; 8]).await.expect("a closed stream"), 0, "its session is not there");
    until("its end is in the log", || world.sessions() == 0).await;
}
