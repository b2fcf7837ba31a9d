//! Writers of the catalog, and reading it back from every node.

use std::{sync::Arc, time::Duration};

use rookery_harness::{
    api::Entity,
    client::Client,
    fixture::{PASSWORD, unique_client_id},
    packet::{Connect, Message, Packet},
    runtime::within,
    wire::Wire,
};
use tokio::{
    task::JoinSet,
    time::{interval, timeout},
};

use super::{Register, Shared, fleet::Entities};
use crate::{
    checker::catalog::Reading,
    history::{Key, What},
};

/// Between two writes of a writer.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a write may take before its outcome is called unknown.
const WRITE_WAIT: Duration = Duration::from_secs(15);
/// How long a stored message may take after the SUBACK.
const STORED_WAIT: Duration = Duration::from_secs(10);
/// Devices that one writer creates at most; reading them back takes time.
const CREATED_MAX: u64 = 300;

/// Starts writers at every node.
pub fn spawn(shared: &Arc<Shared>, entities: &Entities) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for node in 0..shared.cluster.size() {
        tasks.spawn(create(Arc::clone(shared), entities.registry.clone(), node));
        let device = &entities.devices[node % entities.devices.len()];
        tasks.spawn(store(Arc::clone(shared), device.clone(), node));
        if node < entities.devices.len() {
            tasks.spawn(rename(Arc::clone(shared), device.clone(), node));
        }
    }
    tasks
}

/// Creates devices.
async fn create(shared: Arc<Shared>, registry: Entity, node: usize) {
    let mut turns = interval(PAUSE);
    let mut created = 0;
    while shared.is_running() && created < CREATED_MAX {
        turns.tick().await;
        let api = shared.cluster.api(node);
        if let Ok(Ok(device)) = timeout(WRITE_WAIT, api.create_device(&registry, &[])).await {
            // A device without an answer has no id to look for.
            let key = shared.key(Register::Device(Entity::Device(device.id)));
            shared.recorder.note(What::Writing { key, value: 1 });
            shared.recorder.note(What::Written { key, value: 1 });
            created += 1;
        }
    }
}

/// Changes a device's alias again and again.
async fn rename(shared: Arc<Shared>, device: Entity, node: usize) {
    let key = shared.key(Register::Alias(device.clone()));
    let mut turns = interval(PAUSE);
    for value in 1.. {
        turns.tick().await;
        if !shared.is_running() {
            break;
        }
        let api = shared.cluster.api(node);
        let topic = format!("$devices/{{id}}/events/{value}");
        shared.recorder.note(What::Writing { key, value });
        let alias = [("last", topic.as_str())];
        if let Ok(Ok(_)) = timeout(WRITE_WAIT, api.set_aliases(&device, &alias)).await {
            shared.recorder.note(What::Written { key, value });
        }
    }
}

/// Publishes to a permanent topic again and again.
async fn store(shared: Arc<Shared>, device: Entity, node: usize) {
    let topic = format!("$devices/{}/state/{node}", device.id());
    let key = shared.key(Register::Permanent(topic.clone()));
    let (mut turns, mut wire, mut node) = (interval(PAUSE), None, node);
    for value in 1.. {
        turns.tick().await;
        if !shared.is_running() {
            break;
        }
        if wire.is_none() {
            wire = connect(&shared, &device, node).await;
        }
        let Some(open) = &mut wire else {
            node = (node + 1) % shared.cluster.size();
            continue;
        };
        let mut message = Message::new(&topic, value.to_string().as_bytes(), 1);
        message.packet_identifier = 1;
        shared.recorder.note(What::Writing { key, value });
        let stored = async {
            open.send(&message.encode()).await.ok()?;
            (open.next().await? == Packet::PubAck(1)).then_some(())
        };
        match timeout(WRITE_WAIT, stored).await {
            Ok(Some(())) => {
                shared.recorder.note(What::Written { key, value });
            }
            _ => wire = None,
        }
    }
}

async fn connect(shared: &Shared, device: &Entity, node: usize) -> Option<Wire> {
    let connecting = async {
        let mut wire = Wire::tcp(shared.cluster.node(node).address("mqtt")).await.ok()?;
        let connect = Connect::new(&unique_client_id()).keep_alive_s(0).login(device.id(), PASSWORD);
        wire.send(&connect.encode()).await.ok()?;
        matches!(wire.next().await?, Packet::ConnAck { code: 0, .. }).then_some(wire)
    };
    timeout(WRITE_WAIT, connecting).await.ok().flatten()
}

/// Reads every register on every node.
pub async fn read_all(shared: &Shared, registry: &Entity) -> Vec<Reading> {
    let registers = shared.registers().clone();
    let mut readings = Vec::new();
    for node in 0..shared.cluster.size() {
        let api = shared.cluster.api(node);
        let devices = api.device_ids(registry).await.expect("the healed node lists devices");
        for (key, register) in registers.iter().enumerate() {
            let value = match register {
                Register::Device(device) => devices.contains(device.id()).then_some(1),
                Register::Alias(device) => {
                    let device = api.device(device).await.expect("the healed node reads a device");
                    let topic = device.topic_aliases.get("last");
                    topic.and_then(|topic| topic.rsplit('/').next()?.parse().ok())
                }
                Register::Permanent(topic) => stored(shared, registry, node, topic).await,
            };
            readings.push(Reading { node, key: Key::try_from(key).expect("there are few"), value });
        }
    }
    readings
}

/// The stored message of a topic, as a new subscriber on a node gets it.
async fn stored(shared: &Shared, registry: &Entity, node: usize, topic: &str) -> Option<u64> {
    let connect = Connect::new(&unique_client_id()).login(registry.id(), PASSWORD);
    let mut reader = Client::connected_tcp(&shared.cluster.node(node), &connect).await;
    let code = within("a SUBACK of the healed node", reader.subscribe_one(topic)).await;
    assert_eq!(code, 1, "the healed node grants {topic}");
    let message = timeout(STORED_WAIT, reader.receive()).await.ok()?;
    message.text().parse().ok()
}
