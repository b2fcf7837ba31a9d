//! One client has one session, wherever it connects.

use rookery_harness::{
    client::Client,
    cluster::{Cluster, name},
    fixture::unique_client_id,
    packet::{self, Packet},
    runtime::run,
};
use serde_json::Value;

use super::{
    on_three_nodes,
    site::{Site, connect},
};

/// Connections of each side of the war.
const BATTLES: usize = 60;

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
            assert_eq!(sessions(cluster, 1, &client_id).len(), 1);
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
                    for _ in 0..BATTLES {
                        // As fast as answers come; an attacker does not wait for its defeat.
                        let mut client = Client::tcp(process.address("mqtt")).await;
                        client.send(&connect.encode()).await;
                        let answer = client.next().await;
                        let is_answer = matches!(answer, None | Some(Packet::ConnAck { .. }));
                        assert!(is_answer, "{answer:?}");
                    }
                }
            };
            let peace = async {
                for number in 0..BATTLES {
                    bystander.publish("war/peace", number.to_string().as_bytes()).await;
                    assert_eq!(bystander.receive().await.text(), number.to_string());
                }
            };
            tokio::join!(side(0), side(1), peace);
            let mut last = site.connect_as(2, &site.device, &client_id).await;
            last.fence().await;
            let left = sessions(cluster, 0, &client_id);
            assert_eq!(left, [name(2)], "one session is left");
        });
    });
}

/// The nodes of all sessions with the client identifier, as a node lists them.
pub(super) fn sessions(cluster: &Cluster, asked: usize, client_id: &str) -> Vec<String> {
    let listed = all_sessions(cluster, asked);
    listed
        .into_iter()
        .filter(|(client, _)| client.ends_with(&format!("/{client_id}")))
        .map(|(_, node)| node)
        .collect()
}

/// All sessions as `entity/client identifier`, with their nodes.
pub(super) fn all_sessions(cluster: &Cluster, asked: usize) -> Vec<(String, String)> {
    let printed = cluster.run(asked, &["session", "list", "--format", "json"]);
    let listed: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    let rows = listed.as_array().or_else(|| listed["sessions"].as_array()).expect("a list of sessions");
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let named = rows.iter().filter(|row| !text(row, "client_id").is_empty());
    named
        .map(|row| (format!("{}/{}", text(row, "entity_id"), text(row, "client_id")), text(row, "node")))
        .collect()
}
