//! The workloads. Each does the same work in every round; what their names mean stands beside them.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use rookery::actors::forward::wire::ChunkWriter;
use rookery::domain::id::BrokerId;
use rookery::domain::principal::SpaceId;
use rookery::mqtt::qos::QoS;
use rookery_cluster::{LinkSource, PeerService as _};

use crate::client::{Client, PAYLOAD, publish};
use crate::world::{OTHER_NODE, World};

/// A boxed future of this thread.
type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A workload that is ready to run.
pub trait Round {
    /// Does the work once; what it leaves behind is what it found.
    fn round(&mut self) -> Local<'_, anyhow::Result<()>>;
}

/// Makes a workload ready on a new node.
type Prepare = fn(World) -> Local<'static, anyhow::Result<Box<dyn Round>>>;

/// One workload.
pub struct Workload {
    /// What it is asked for by.
    pub name: &'static str,
    /// Messages delivered (or forwarded) in one round.
    pub messages: usize,
    /// Makes it ready on a new node.
    pub prepare: Prepare,
}

/// All workloads.
pub const WORKLOADS: &[Workload] = &[
    // Full buffers from one publisher to one subscriber of the same thread.
    Workload {
        name: "pair-qos0",
        messages: 2000,
        prepare: |world| Box::pin(exchange(world, QoS::AtMostOnce, 1, 40, 50)),
    },
    // The same with a window of 20 on both sides.
    Workload {
        name: "pair-qos1",
        messages: 2000,
        prepare: |world| Box::pin(exchange(world, QoS::AtLeastOnce, 1, 100, 20)),
    },
    // One message at a time: nothing to batch, as with real devices.
    Workload {
        name: "one-by-one-qos1",
        messages: 500,
        prepare: |world| Box::pin(exchange(world, QoS::AtLeastOnce, 1, 500, 1)),
    },
    // One message to many subscribers.
    Workload {
        name: "fan-out-qos0",
        messages: 5000,
        prepare: |world| Box::pin(exchange(world, QoS::AtMostOnce, 50, 5, 20)),
    },
    Workload {
        name: "fan-out-qos1",
        messages: 5000,
        prepare: |world| Box::pin(exchange(world, QoS::AtLeastOnce, 50, 5, 20)),
    },
    // Every message to a topic that nobody has published to since the last change of subscriptions.
    Workload { name: "new-topics", messages: 1000, prepare: |world| Box::pin(new_topics(world)) },
    // To a subscriber on another node.
    Workload { name: "forward-qos1", messages: 2000, prepare: |world| Box::pin(forward(world)) },
    // From another node to a subscriber here.
    Workload { name: "from-node-qos0", messages: 2000, prepare: |world| Box::pin(from_node(world)) },
];

/// A publisher and its subscribers.
struct Exchange {
    _world: World,
    qos: QoS,
    publisher: Client,
    subscribers: Vec<Client>,
    /// So many times in a round …
    repeats: usize,
    /// … so many messages at once.
    at_once: usize,
    packets: Vec<u8>,
}

const TOPIC: &str = "plant/7/line/3/state";

async fn exchange(
    world: World,
    qos: QoS,
    subscribers: usize,
    repeats: usize,
    at_once: u16,
) -> anyhow::Result<Box<dyn Round>> {
    let publisher = world.client().await?;
    let mut connected = Vec::new();
    for _ in 0..subscribers {
        connected.push(world.subscriber(TOPIC, qos).await?);
    }
    let packets = publish(TOPIC, qos, at_once)?;
    let at_once = usize::from(at_once);
    Ok(Box::new(Exchange {
        _world: world,
        qos,
        publisher,
        subscribers: connected,
        repeats,
        at_once,
        packets,
    }))
}

impl Exchange {
    async fn run(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.repeats {
            self.publisher.send(&self.packets).await?;
            for subscriber in &mut self.subscribers {
                if self.qos == QoS::AtMostOnce {
                    subscriber.receive(self.packets.len()).await?;
                } else {
                    subscriber.receive_and_acknowledge(TOPIC, self.at_once).await?;
                }
            }
            if self.qos != QoS::AtMostOnce {
                self.publisher.receive_pubacks(self.at_once).await?;
            }
        }
        Ok(())
    }
}

impl Round for Exchange {
    fn round(&mut self) -> Local<'_, anyhow::Result<()>> {
        Box::pin(self.run())
    }
}

/// Publishes to many topics, each of them new to the node, among many other subscriptions.
struct NewTopics {
    _world: World,
    publisher: Client,
    subscriber: Client,
    _others: Client,
    rounds: usize,
}

/// Subscriptions that match nothing of what is published, on other topics.
const OTHER_FILTERS: usize = 100;

async fn new_topics(world: World) -> anyhow::Result<Box<dyn Round>> {
    let publisher = world.client().await?;
    let subscriber = world.subscriber("plant/+/line/#", QoS::AtMostOnce).await?;
    let mut others = world.client().await?;
    for number in 0..OTHER_FILTERS {
        others.subscribe(&format!("other/{number}/+"), QoS::AtMostOnce).await?;
    }
    Ok(Box::new(NewTopics { _world: world, publisher, subscriber, _others: others, rounds: 0 }))
}

impl NewTopics {
    async fn run(&mut self) -> anyhow::Result<()> {
        self.rounds += 1;
        let mut packets = Vec::new();
        for part in 0..10 {
            packets.clear();
            for number in 0..100 {
                let topic = format!("plant/{}-{part}-{number:02}/line/3", self.rounds);
                packets.extend(publish(&topic, QoS::AtMostOnce, 1)?);
            }
            self.publisher.send(&packets).await?;
            self.subscriber.receive(packets.len()).await?;
        }
        Ok(())
    }
}

impl Round for NewTopics {
    fn round(&mut self) -> Local<'_, anyhow::Result<()>> {
        Box::pin(self.run())
    }
}

/// Publishes to a subscriber on another node.
struct Forward {
    world: World,
    publisher: Client,
    packets: Vec<u8>,
}

async fn forward(world: World) -> anyhow::Result<Box<dyn Round>> {
    world.subscribe_elsewhere(TOPIC, QoS::AtLeastOnce)?;
    let publisher = world.client().await?;
    Ok(Box::new(Forward { world, publisher, packets: publish(TOPIC, QoS::AtLeastOnce, 20)? }))
}

impl Forward {
    async fn run(&mut self) -> anyhow::Result<()> {
        let before = self.world.messages_forwarded();
        for _ in 0..100 {
            self.publisher.send(&self.packets).await?;
            self.publisher.receive_pubacks(20).await?;
        }
        let forwarded = self.world.messages_forwarded() - before;
        anyhow::ensure!(forwarded == 2000, "{forwarded} of 2,000 messages were forwarded");
        Ok(())
    }
}

impl Round for Forward {
    fn round(&mut self) -> Local<'_, anyhow::Result<()>> {
        Box::pin(self.run())
    }
}

/// Takes chunks of another node for a subscriber here.
struct FromNode {
    world: World,
    subscriber: Client,
    chunk: Bytes,
    bytes: usize,
}

async fn from_node(world: World) -> anyhow::Result<Box<dyn Round>> {
    let subscriber = world.subscriber(TOPIC, QoS::AtMostOnce).await?;
    let mut chunk = ChunkWriter::default();
    let number = chunk.topic(&SpaceId::Broker(BrokerId::new("broker")), TOPIC);
    for _ in 0..50 {
        chunk.message(number, QoS::AtMostOnce, &PAYLOAD);
    }
    let bytes = publish(TOPIC, QoS::AtMostOnce, 50)?.len();
    Ok(Box::new(FromNode { world, subscriber, chunk: chunk.take().into(), bytes }))
}

impl FromNode {
    async fn run(&mut self) -> anyhow::Result<()> {
        let source = LinkSource { node_id: OTHER_NODE, epoch: 1 };
        for _ in 0..40 {
            self.world.peers.deliver(source, self.chunk.clone()).await;
            self.subscriber.receive(self.bytes).await?;
        }
        Ok(())
    }
}

impl Round for FromNode {
    fn round(&mut self) -> Local<'_, anyhow::Result<()>> {
        Box::pin(self.run())
    }
}
