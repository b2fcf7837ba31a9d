//! Who does not hear from a quorum serves nobody.

use rookery_harness::{
    client::{Client, Outcome},
    cluster::Cluster,
    fixture::unique_client_id,
    ops,
    runtime::{run, within},
};

use super::{
    on_three_nodes,
    site::{Site, connect, others},
};

#[test]
fn a_cut_off_follower_is_fenced() {
    on_three_nodes(|cluster| is_fenced(cluster, others(cluster, cluster.leader(0))[0]));
}

#[test]
fn a_cut_off_leader_is_fenced() {
    on_three_nodes(|cluster| is_fenced(cluster, cluster.leader(0)));
}

#[test]
fn of_two_nodes_that_cannot_reach_each_other_one_steps_back() {
    on_three_nodes(|cluster| steps_back(cluster, true));
}

#[test]
fn a_link_that_is_broken_one_way_counts_as_broken() {
    on_three_nodes(|cluster| steps_back(cluster, false));
}

/// Breaks the link between the followers, both ways or one, while the leader reaches both. Nobody may serve who cannot
/// reach all others that serve.
fn steps_back(cluster: &Cluster, both_ways: bool) {
    run(async {
        let leader = cluster.leader(0);
        let [a, b] = others(cluster, leader)[..] else { panic!("there are three nodes") };
        let site = Site::create_at(cluster, leader).await;
        let mut clients = [site.connect(a, &site.broker).await, site.connect(b, &site.broker).await];
        cluster.network().cut(a, b);
        if both_ways {
            cluster.network().cut(b, a);
        }
        let mut serving = Vec::new();
        cluster.wait_until("one of both has stepped back", || {
            serving = [a, b].into_iter().filter(|node| cluster.is_ready(*node)).collect();
            serving.len() == 1 && cluster.is_ready(leader)
        });
        let (stays, goes) = if serving[0] == a { (0, 1) } else { (1, 0) };
        clients[goes].expect_closed().await;
        clients[stays].fence().await;
        for (to, from) in [(leader, serving[0]), (serving[0], leader)] {
            let mut subscriber = site.subscriber(to, &site.broker, "clique/topic").await;
            site.connect(from, &site.broker).await.publish("clique/topic", b"x").await;
            assert_eq!(subscriber.receive().await.text(), "x");
        }
        cluster.network().heal_all();
        cluster.wait_until_all_ready();
        within("everything to work again", site.is_whole()).await;
    });
}

fn is_fenced(cluster: &Cluster, alone: usize) {
    run(async {
        let [a, b] = others(cluster, alone)[..] else { panic!("there are three nodes") };
        let site = Site::create_at(cluster, a).await;
        let mut publisher = site.connect(alone, &site.broker).await;
        let mut idle = site.subscriber(alone, &site.broker, "minority/own").await;

        cluster.network().isolate(&[alone]);
        cluster.wait_until("the node is not ready", || !cluster.is_ready(alone));
        let (code, reason) = ops::get(&cluster.node(alone), "/readyz?verbose");
        assert_eq!(code, 503, "{reason}");
        assert_eq!(ops::get(&cluster.node(alone), "/livez").0, 200, "no reason to restart it");
        let mut newcomer = Client::tcp(cluster.node(alone).address("mqtt")).await;
        assert_eq!(newcomer.connect(&connect(&site.broker, &unique_client_id())).await, 3);
        let written = cluster.api(alone).create_device(&site.registry, &[]).await;
        assert!(written.is_err(), "a write needs a quorum");

        // The others do not wait for it.
        let mut subscriber = site.subscriber(b, &site.broker, "minority/topic").await;
        let mut elsewhere = site.connect(a, &site.broker).await;
        for number in 0..20 {
            elsewhere.publish("minority/topic", number.to_string().as_bytes()).await;
            assert_eq!(subscriber.receive().await.text(), number.to_string());
        }
        cluster.api(a).create_device(&site.registry, &[]).await.expect("the majority takes writes");

        // No PUBACK comes; at last the clients are sent away.
        assert_eq!(publisher.try_publish("minority/topic", b"from the minority").await, Outcome::Closed);
        idle.expect_closed().await;
        subscriber.expect_nothing().await;

        cluster.network().heal_all();
        cluster.wait_until_all_ready();
        within("everything to work again", site.is_whole()).await;
    });
}
