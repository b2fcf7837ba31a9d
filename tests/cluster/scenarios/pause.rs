//! A process that sleeps and wakes up: everything it knows may be old.

use std::time::{Duration, Instant};

use rookery_harness::{client::Outcome, packet::Message, runtime::run};

use super::{
    on_three_nodes,
    site::{Site, others},
};

/// Six leases.
const SLEEP: Duration = Duration::from_secs(30);

#[test]
fn a_node_that_slept_acknowledges_nothing_stale() {
    on_three_nodes(|cluster| {
        let sleeper = others(cluster, cluster.leader(0))[0];
        sleeps(cluster, sleeper);
    });
}

fn sleeps(cluster: &rookery_harness::cluster::Cluster, sleeper: usize) {
    run(async {
        let [a, b] = others(cluster, sleeper)[..] else { panic!("there are three nodes") };
        let site = Site::create_at(cluster, a).await;
        let mut publisher = site.connect(sleeper, &site.broker).await;
        let mut forgotten = site.subscriber(sleeper, &site.broker, "sleep/before").await;
        let mut other = site.connect(a, &site.broker).await;

        cluster.pause(sleeper);
        // The sleeping node knows nothing of this subscription, and its SUBACK does not wait for ever.
        let mut subscriber = site.subscriber(b, &site.broker, "sleep/during").await;
        let message = Message { packet_identifier: 77, ..Message::new("sleep/during", b"stale?", 1) };
        publisher.send(&message.encode()).await;
        let paused_at = Instant::now();
        let mut number = 0;
        while paused_at.elapsed() < SLEEP {
            // The others work on, also with a subscriber on the sleeping node.
            for topic in ["sleep/during", "sleep/before"] {
                other.publish(topic, number.to_string().as_bytes()).await;
            }
            assert_eq!(subscriber.receive().await.text(), number.to_string());
            number += 1;
        }
        cluster.resume(sleeper);

        // Either the stale node does not acknowledge, or it first learns of the subscription.
        let acknowledged = match publisher.next().await {
            None => false,
            Some(packet) => {
                assert_eq!(packet, rookery_harness::packet::Packet::PubAck(77));
                true
            }
        };
        other.publish("sleep/during", b"end").await;
        let first = subscriber.receive().await.text();
        if acknowledged {
            assert_eq!(first, "stale?", "what the node acknowledged has arrived");
        }
        // The session was given up while messages for it were acknowledged: it gets none of them and ends.
        forgotten.expect_closed().await;
        cluster.wait_until_ready(sleeper);
        let mut again = site.connect(sleeper, &site.broker).await;
        assert_eq!(again.try_publish("sleep/during", b"awake").await, Outcome::Acknowledged);
        site.is_whole().await;
    });
}
