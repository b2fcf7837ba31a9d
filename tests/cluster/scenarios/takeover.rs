//! One client has one session, wherever it connects.

use rookery_harness::{
    client::Client,
    cluster::{Cluster, name},
    fixture::unique_client_id,
    packet::{self, Packet},
    runtime::{run, within},
};

use super::{
    on_three_nodes,
    site::{Site, connect},
};

/// Connections of each side of the war.
const BATTLES: usize = 100;
/// Of these at once.
const AT_ONCE: usize = 10;

#[test]
fn a_newer_session_ends_the_older_one_on_another_node() {
    on_three_nodes(|cluster| {
        run(async {
            let site = Site::create(cluster).await;
            let client_id = unique_client_id();
            let topic = site.topic("commands");
            let mut older: Option<Client> = None;
            for turn in 0..2 * cluster.size() {
                let mut newer = site.connect_as(turn % cluster.size(), &site.device, &client_id).await;
                if let Some(mut older) = older.take() {
                    // The CONNACK of the newer one was sent when this one was closed.
                    older.send(&packet::PINGREQ).await;
                    older.expect_closed().await;
                }
                assert_eq!(newer.subscribe_one(&topic).await, 1);
                older = Some(newer);
            }
            let mut last = older.expect("there were turns");
            site.connect(0, &site.registry).await.publish(&topic, b"once").await;
            assert_eq!(last.receive_exactly(1).await[0].text(), "once");
            cluster.wait_until("one session is left", || sessions(cluster, 1, &client_id).len() == 1);
            let other = site.connect_as(0, &site.other, &client_id).await;
            last.fence().await;
            drop(other);
        });
    });
}

#[test]
fn a21_takeover_war_over_two_nodes_ends_with_one_session() {
    on_three_nodes(|cluster| {
        run(async {
            let site = Site::create(cluster).await;
            let client_id = unique_client_id();
            let mut bystander = site.connect(2, &site.broker).await;
            assert_eq!(bystander.subscribe_one("war/peace").await, 1);
            let side = |node: usize| {
                let (process, connect) = (cluster.node(node), connect(&site.device, &client_id));
                async move {
                    let (mut refused, mut held) = (0, Vec::new());
                    for _ in 0..BATTLES / AT_ONCE {
                        // An attacker does not wait for its defeat, and leaves only when it is thrown out.
                        let mut rivals = Vec::new();
                        for _ in 0..AT_ONCE {
                            let mut rival = Client::tcp(process.address("mqtt")).await;
                            rival.send(&connect.encode()).await;
                            rivals.push(rival);
                        }
                        for rival in &mut rivals {
                            match rival.next().await {
                                Some(Packet::ConnAck { code: 3, .. }) => refused += 1,
                                None | Some(Packet::ConnAck { code: 0, .. }) => {}
                                other => panic!("a CONNACK or the end, not {other:?}"),
                            }
                        }
                        held.extend(rivals);
                    }
                    refused
                }
            };
            let peace = async {
                for number in 0..BATTLES {
                    bystander.publish("war/peace", number.to_string().as_bytes()).await;
                    assert_eq!(bystander.receive().await.text(), number.to_string());
                }
            };
            let (first, second, ()) = tokio::join!(side(0), side(1), peace);
            assert!(first + second > 0, "an identifier that changes hands so often is refused for a moment");
            // The moment passes.
            let accepted = async {
                loop {
                    let mut client = Client::tcp(cluster.node(2).address("mqtt")).await;
                    if client.connect(&connect(&site.device, &client_id)).await == 0 {
                        return client;
                    }
                }
            };
            let mut last = within("the identifier to be free again", accepted).await;
            last.fence().await;
            cluster.wait_until("one session is left", || sessions(cluster, 0, &client_id) == [name(2)]);
        });
    });
}

/// The nodes of all sessions of devices with the client identifier, as a node lists them.
fn sessions(cluster: &Cluster, asked: usize, client_id: &str) -> Vec<String> {
    let listed = cluster.device_sessions(asked).into_iter();
    listed.filter(|session| session.client_id == client_id).map(|session| session.node).collect()
}
