//! Clients spread over the nodes again.

use rookery_harness::{client::Client, cluster::name, runtime::run};

use super::{on_three_nodes, site::Site};

const CLIENTS: usize = 30;

#[test]
fn a_node_with_too_many_clients_gives_away_what_is_above_its_share() {
    on_three_nodes(|cluster| {
        run(async {
            let site = Site::create(cluster).await;
            let mut clients = Vec::new();
            for _ in 0..CLIENTS {
                clients.push(site.connect(1, &site.registry).await);
            }
            let sessions = |node: usize| {
                let status = cluster.status(0).ok()?;
                status.node(&name(node)).map(|node| node.sessions)
            };
            cluster.wait_until("all clients are on one node", || {
                [0, 1, 2].map(sessions) == [Some(0), Some(CLIENTS as u64), Some(0)]
            });
            let plan = cluster.run(0, &["cluster", "rebalance", "--dry-run", "--format", "json"]);
            let plan: serde_json::Value = serde_json::from_str(&plan).expect("it is JSON");
            let to_move = |node: usize| {
                let mut rows = plan.as_array().expect("a list").iter();
                rows.find(|row| row["name"] == name(node).as_str()).and_then(|row| row["to_move"].as_u64())
            };
            assert_eq!([0, 1, 2].map(to_move), [Some(0), Some(20), Some(0)], "{plan}");
            assert_eq!(sessions(1), Some(CLIENTS as u64), "it was only shown");

            let said = cluster.run(0, &["cluster", "rebalance", "--rate", "40"]);
            assert!(said.contains("TO MOVE") && said.contains("20"), "{said}");
            cluster.wait_until("the rest is gone", || sessions(1) == Some(10));
            assert!(cluster.is_ready(1), "it stayed in service");
            let ended = futures::future::join_all(clients.iter_mut().map(is_ended)).await;
            assert_eq!(ended.iter().filter(|ended| **ended).count(), 20);
            site.connect(1, &site.registry).await.fence().await;
        });
    });
}

/// Whether the server has closed the connection, and if not, that it works.
async fn is_ended(client: &mut Client) -> bool {
    client.send(&rookery_harness::packet::PINGREQ).await;
    client.next().await.is_none()
}
