//! The leader dies under load.

use std::{sync::Arc, time::Instant};

use rookery_harness::{
    client::{Client, Outcome},
    runtime::{run, within},
};

use super::{
    on_three_nodes,
    random::expect_no_violation,
    site::{Site, others},
};
use crate::workload::Workload;

/// Messages that two nodes exchange while the third is dead.
const EXCHANGED: usize = 300;

#[test]
fn others_go_on_when_the_leader_is_killed_and_writes_resume() {
    on_three_nodes(|cluster| {
        run(async {
            let site = Site::create(cluster).await;
            let leader = cluster.leader(0);
            let [a, b] = others(cluster, leader)[..] else { panic!("there are three nodes") };
            let topic = "between/others";
            let mut publisher = site.connect(a, &site.broker).await;
            let mut subscriber = site.subscriber(b, &site.broker, topic).await;
            let mut victim = site.connect(leader, &site.broker).await;
            exchange(&mut publisher, &mut subscriber, topic, 20).await;

            cluster.kill(leader);
            let killed_at = Instant::now();
            let api = cluster.api(a);
            let writing = async {
                // A write that began before the election may fail; the next one is as good.
                while api.create_device(&site.registry, &[]).await.is_err() {}
                killed_at.elapsed()
            };
            let exchanging = exchange(&mut publisher, &mut subscriber, topic, EXCHANGED);
            let (resumed, longest) = tokio::join!(within("a write after the election", writing), exchanging);
            victim.expect_closed().await;
            eprintln!("writes resumed after {resumed:?}; the longest exchange took {longest:?}");
            // A new subscription needs the new leader, too.
            let mut late = site.subscriber(a, &site.broker, topic).await;
            publisher.publish(topic, b"late").await;
            assert_eq!(late.receive().await.text(), "late");
        });
    });
}

/// Exchanges messages one by one and returns the longest time that one took.
async fn exchange(from: &mut Client, to: &mut Client, topic: &str, count: usize) -> std::time::Duration {
    let mut longest = std::time::Duration::ZERO;
    for number in 0..count {
        let sent_at = Instant::now();
        let payload = number.to_string();
        assert_eq!(from.try_publish(topic, payload.as_bytes()).await, Outcome::Acknowledged, "{number}");
        assert_eq!(to.receive().await.text(), payload);
        longest = longest.max(sent_at.elapsed());
    }
    longest
}

#[test]
fn nothing_acknowledged_is_lost_when_the_leader_is_killed() {
    on_three_nodes(|cluster| {
        let workload = run(Workload::start(Arc::clone(cluster), 1));
        run(workload.flows());
        let leader = cluster.leader(0);
        cluster.kill(leader);
        run(workload.flows());
        cluster.heal();
        run(workload.flows());
        expect_no_violation(workload);
    });
}
