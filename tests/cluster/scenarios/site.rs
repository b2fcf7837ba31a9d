//! Entities of one test, and clients of them at any node.

use rookery_harness::{
    api::Entity,
    client::Client,
    cluster::Cluster,
    fixture::{PASSWORD, unique_client_id},
    packet::Connect,
};

/// A registry with devices and a broker, all with [`PASSWORD`].
pub struct Site<'a> {
    pub cluster: &'a Cluster,
    pub registry: Entity,
    pub device: Entity,
    pub other: Entity,
    pub broker: Entity,
    /// Id of the device's password.
    pub password_id: String,
}

impl<'a> Site<'a> {
    /// Creates them through node 0.
    pub async fn create(cluster: &'a Cluster) -> Self {
        Self::create_at(cluster, 0).await
    }

    /// Creates them through a node.
    pub async fn create_at(cluster: &'a Cluster, node: usize) -> Self {
        let api = cluster.api(node);
        let registry = api.create_registry().await.expect("a registry is created");
        let broker = api.create_broker().await.expect("a broker is created");
        let device = api.create_device(&registry, &[]).await.expect("a device is created");
        let other = api.create_device(&registry, &[]).await.expect("a device is created");
        let (device, other) = (Entity::Device(device.id), Entity::Device(other.id));
        let mut password_id = String::new();
        for entity in [&registry, &broker, &other, &device] {
            password_id = api.add_password(entity, PASSWORD).await.expect("a password is added");
        }
        cluster.wait_until_applied(&api).await;
        Self { cluster, registry, device, other, broker, password_id }
    }

    /// A client with an identifier of its own.
    pub async fn connect(&self, node: usize, entity: &Entity) -> Client {
        self.connect_as(node, entity, &unique_client_id()).await
    }

    /// A client with this identifier.
    pub async fn connect_as(&self, node: usize, entity: &Entity, client_id: &str) -> Client {
        Client::connected_tcp(&self.cluster.node(node), &connect(entity, client_id)).await
    }

    /// A client that has subscribed with QoS 1.
    pub async fn subscriber(&self, node: usize, entity: &Entity, filter: &str) -> Client {
        let mut client = self.connect(node, entity).await;
        assert_eq!(client.subscribe_one(filter).await, 1, "{filter} is granted");
        client
    }

    /// A topic of the device.
    pub fn topic(&self, kind: &str) -> String {
        format!("$devices/{}/{kind}", self.device.id())
    }

    /// A message goes from each ready node to each ready node. Everything works.
    pub async fn is_whole(&self) {
        let ready: Vec<_> = (0..self.cluster.size()).filter(|node| self.cluster.is_ready(*node)).collect();
        for &to in &ready {
            let topic = format!("whole/{}", unique_client_id());
            let mut subscriber = self.subscriber(to, &self.broker, &topic).await;
            for &from in &ready {
                let mut publisher = self.connect(from, &self.broker).await;
                publisher.publish(&topic, from.to_string().as_bytes()).await;
                assert_eq!(subscriber.receive().await.text(), from.to_string(), "from {from} to {to}");
            }
        }
    }
}

/// A CONNECT with the password of all.
pub fn connect(entity: &Entity, client_id: &str) -> Connect {
    Connect::new(client_id).login(entity.id(), PASSWORD)
}

/// All nodes but one.
pub fn others(cluster: &Cluster, node: usize) -> Vec<usize> {
    (0..cluster.size()).filter(|other| *other != node).collect()
}
