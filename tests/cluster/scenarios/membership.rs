//! Nodes come and go by command.

use rookery_harness::{
    cluster::{Cluster, Options, name, network::Way},
    runtime::run,
};

use serde_json::Value;

use super::{on_own_nodes, site::Site};

#[test]
fn nodes_join_are_promoted_lead_and_are_removed() {
    on_own_nodes(Options::three(Way::of_choice()), |cluster| {
        let joiner = join(cluster);
        assert_eq!(role(cluster, joiner).as_deref(), Some("learner"), "three voters are enough");
        run(async { Site::create_at(cluster, joiner).await.is_whole().await });

        cluster.run(1, &["cluster", "promote", &name(joiner)]);
        cluster.wait_until("the joiner votes", || role(cluster, joiner).as_deref() == Some("voter"));

        cluster.run(0, &["cluster", "transfer-leader", &name(joiner)]);
        cluster.wait_until("the joiner leads", || {
            cluster.status(0).is_ok_and(|status| status.leader == name(joiner))
        });

        refuses(cluster, &["cluster", "remove", &name(joiner)], "leader");
        cluster.run(0, &["cluster", "transfer-leader", &name(1)]);
        cluster.wait_until("another one leads", || {
            cluster.status(0).is_ok_and(|status| status.leader == name(1))
        });

        // A removed node is out for good.
        cluster.run(2, &["cluster", "remove", &name(joiner)]);
        cluster.wait_until("the joiner is gone", || {
            cluster.status(0).is_ok_and(|status| status.node(&name(joiner)).is_none())
        });
        cluster.wait_until("the removed node serves nobody", || !cluster.is_ready(joiner));
        cluster.kill(joiner);
        for node in 0..3 {
            cluster.wait_until_ready(node);
        }

        // Of three with one dead, no living one can go.
        cluster.kill(2);
        let leader = cluster.leader(0);
        let follower = 1 - leader;
        cluster.wait_until("the dead node is given up", || !is_registered(cluster, leader, 2));
        refuses(cluster, &["cluster", "remove", &name(follower)], "of 2 voters");
        cluster.restart(2);
        cluster.wait_until_ready(2);
        cluster.run(0, &["cluster", "members"]);
    });
}

#[test]
fn a_cluster_grows_to_five_voters_and_back_and_who_left_joins_anew() {
    let environment = vec![("ROOKERY_CLUSTER__VOTERS".to_owned(), "5".to_owned())];
    on_own_nodes(Options { environment, ..Options::three(Way::of_choice()) }, |cluster| {
        let fourth = join(cluster);
        assert_eq!(role(cluster, fourth).as_deref(), Some("learner"), "four voters are no better than three");
        let fifth = join(cluster);
        for node in [fourth, fifth] {
            cluster.wait_until("all five vote", || role(cluster, node).as_deref() == Some("voter"));
        }
        // The leader is among those that go.
        cluster.run(0, &["cluster", "transfer-leader", &name(fifth)]);
        let id = node_id(cluster, fifth);
        for node in [fifth, fourth] {
            let data_dir = cluster.node(node).data_directory().display().to_string();
            cluster.run(node, &["node", "leave", "--data-dir", &data_dir]);
            cluster.wait_until("it is gone", || role(cluster, node).is_none());
        }
        for node in 0..3 {
            cluster.wait_until_ready(node);
            assert_eq!(role(cluster, node).as_deref(), Some("voter"));
        }
        cluster.stop(fifth);
        cluster.restart(fifth);
        cluster.wait_until_ready(fifth);
        assert_eq!(role(cluster, fifth).as_deref(), Some("learner"));
        assert_ne!(node_id(cluster, fifth), id, "a new node in all but its name");
        run(async { Site::create_at(cluster, fifth).await.is_whole().await });
    });
}

/// Whether a node serves, as the log says.
fn is_registered(cluster: &Cluster, asked: usize, node: usize) -> bool {
    let printed = cluster.run(asked, &["cluster", "members", "--format", "json"]);
    let members: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    let rows = members.as_array().expect("a list of members");
    rows.iter().any(|row| row["name"] == name(node) && row["registered"] == true)
}

/// The command fails and says why.
fn refuses(cluster: &Cluster, arguments: &[&str], reason: &str) {
    let refused = cluster.command(0, arguments);
    let complaint = String::from_utf8_lossy(&refused.stderr).to_lowercase();
    assert!(!refused.status.success() && complaint.contains(reason), "{arguments:?}: {complaint}");
}

/// Starts one more node and waits until it serves.
fn join(cluster: &Cluster) -> usize {
    let door = cluster.network().advertised(0);
    let node = cluster.add(&["--join", &door]);
    cluster.wait_until_ready(node);
    node
}

fn role(cluster: &Cluster, node: usize) -> Option<String> {
    let status = cluster.status(0).ok()?;
    status.node(&name(node)).map(|row| row.role.clone())
}

fn node_id(cluster: &Cluster, node: usize) -> Option<u64> {
    let status = cluster.status(0).ok()?;
    status.node(&name(node)).map(|row| row.id)
}
