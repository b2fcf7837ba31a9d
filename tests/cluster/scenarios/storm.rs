//! All clients of a dead node come at once.

use rookery_harness::{
    client::Client,
    cluster::{Cluster, name},
    fixture::unique_client_id,
    node::Node,
    packet::Connect,
    runtime::run,
};
use tokio::task::JoinSet;

use super::{
    on_three_nodes,
    site::{Site, connect, others},
};

/// Clients of the node that dies, each with two subscriptions.
const CLIENTS: usize = 300;

#[test]
fn a36_all_clients_of_a_dead_node_come_back_at_once() {
    on_three_nodes(|cluster| {
        run(async {
            let leader = cluster.leader(0);
            let victim = others(cluster, leader)[0];
            let [a, b] = others(cluster, victim)[..] else { panic!("there are three nodes") };
            let site = Site::create_at(cluster, a).await;
            let names: Vec<_> = (0..CLIENTS).map(|_| unique_client_id()).collect();
            let come = |node: usize, client_id: &str| {
                come(cluster.node(node), connect(&site.broker, client_id), format!("storm/{client_id}"))
            };
            let mut before: JoinSet<_> = names.iter().map(|name| come(victim, name)).collect();
            let mut clients = Vec::new();
            while let Some(client) = before.join_next().await {
                clients.push(client.expect("a client connects"));
            }
            let mut bystander = site.subscriber(b, &site.broker, "storm/bystander").await;
            let term = term(cluster, leader);

            cluster.kill(victim);
            let numbered = names.iter().enumerate();
            let storm: JoinSet<_> = numbered.map(|(number, name)| come([a, b][number % 2], name)).collect();
            // Who is there already is served meanwhile.
            let serving = async {
                for number in 0..100 {
                    bystander.publish("storm/bystander", number.to_string().as_bytes()).await;
                    assert_eq!(bystander.receive().await.text(), number.to_string());
                }
            };
            let (back, ()) = tokio::join!(storm.join_all(), serving);
            assert_eq!(self::term(cluster, leader), term, "no election");
            let mut publisher = site.connect(a, &site.broker).await;
            publisher.publish("storm/all", b"to all").await;
            for mut client in back {
                assert_eq!(client.receive().await.text(), "to all");
            }
        });
    });
}

/// Connects and subscribes to two filters.
async fn come(node: std::sync::Arc<Node>, connect: Connect, topic: String) -> Client {
    let mut client = Client::connected_tcp(&node, &connect).await;
    assert_eq!(client.subscribe(&[(&topic, 1), ("storm/all", 1)]).await, [1, 1]);
    client
}

/// The term that the leader is in.
fn term(cluster: &Cluster, leader: usize) -> u64 {
    let status = cluster.status(leader).expect("the leader answers");
    status.node(&name(leader)).expect("it knows itself").term
}
