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
