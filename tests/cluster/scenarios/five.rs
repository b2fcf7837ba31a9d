//! Three voters and two learners: learners carry clients like all others.

use std::time::Duration;

use rookery_harness::{
    cluster::{Options, name, network::Way},
    runtime::run,
};

use super::{
    on_own_nodes,
    propagation::subscribe_then_publish,
    random::{faults, seed},
    site::{Site, others},
};

/// Iterations of subscribe-then-publish.
const ITERATIONS: u64 = 200;
/// Time of random faults.
const FAULTS: Duration = Duration::from_secs(20);

#[test]
fn five_nodes_keep_the_promises() {
    on_own_nodes(Options { learners: 2, ..Options::three(Way::of_nature()) }, |cluster| {
        let status = cluster.status(4).expect("the fifth node answers");
        let roles: Vec<_> =
            (0..5).map(|node| status.node(&name(node)).map(|row| row.role.as_str())).collect();
        let (voter, learner) = (Some("voter"), Some("learner"));
        assert_eq!(roles, [voter, voter, voter, learner, learner]);
        assert_eq!(run(subscribe_then_publish(cluster, ITERATIONS)), [""; 0], "missed topics");

        let leader = cluster.leader(3);
        cluster.kill(leader);
        run(async {
            let site = Site::create_at(cluster, 3).await;
            let mut subscriber = site.subscriber(4, &site.broker, "learners/topic").await;
            for node in others(cluster, leader) {
                site.connect(node, &site.broker).await.publish("learners/topic", b"x").await;
                subscriber.receive().await;
            }
        });
        cluster.heal();
        faults(cluster, seed(), FAULTS, false);
    });
}
