//! Permanent topics and monitoring are of the cluster, not of a node.

use rookery_harness::runtime::{run, within};
use serde_json::Value;

use super::{
    on_three_nodes,
    site::{Site, others},
};

#[test]
fn stored_messages_and_monitoring_are_read_everywhere_also_without_their_writer() {
    on_three_nodes(|cluster| {
        run(async {
            let site = Site::create(cluster).await;
            let (state, monitoring) = (site.topic("state"), format!("$monitoring/{}/json", site.device.id()));
            let writer = 1;
            let mut device = site.connect(writer, &site.device).await;
            device.publish(&state, b"first").await;
            device.publish(&state, b"last").await;
            for node in 0..cluster.size() {
                reads(&site, node, &state, &monitoring).await;
            }
            cluster.kill(writer);
            for node in others(cluster, writer) {
                reads(&site, node, &state, &monitoring).await;
            }
            cluster.restart(writer);
            cluster.wait_until_ready(writer);
            reads(&site, writer, &state, &monitoring).await;
        });
    });
}

/// A new subscriber gets the stored message, and the device's report with its last login.
async fn reads(site: &Site<'_>, node: usize, state: &str, monitoring: &str) {
    let mut reader = site.subscriber(node, &site.registry, state).await;
    assert_eq!(reader.receive_exactly(1).await[0].text(), "last", "at node {node}");
    // Last-seen times reach the catalog in batches, so a report is looked for until it has the login.
    let report = async {
        let mut watcher = site.connect(node, &site.registry).await;
        loop {
            assert_ne!(watcher.subscribe_one(monitoring).await, 0x80);
            let report: Value = serde_json::from_slice(&watcher.receive().await.payload).expect("it is JSON");
            if report.get("last_auth_time").is_some() {
                return report;
            }
            watcher.unsubscribe(monitoring).await;
        }
    };
    let report = within("a report with the last login", report).await;
    assert_eq!(report["device_id"], site.device.id(), "at node {node}");
}

/// What was stored through any node is what a subscriber on another gets right after: a barrier as well.
#[test]
fn p1_a_stored_message_is_seen_by_the_next_subscriber_on_another_node() {
    on_three_nodes(|cluster| {
        run(async {
            let site = Site::create(cluster).await;
            let state = site.topic("state/counter");
            for number in 0..60 {
                let (writer, reader) = (number % 3, (number + 1 + number / 3 % 2) % 3);
                let mut device = site.connect(writer, &site.device).await;
                device.publish(&state, number.to_string().as_bytes()).await;
                let mut reader = site.subscriber(reader, &site.registry, &state).await;
                assert_eq!(reader.receive().await.text(), number.to_string());
            }
        });
    });
}
