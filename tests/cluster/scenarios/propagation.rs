//! SUBACK is a barrier: what is published on any node after it arrives.

use std::{
    hint,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rookery_harness::{
    client::Client,
    cluster::{Cluster, network::Delay},
    fixture::unique_client_id,
    runtime::{WAIT, run},
};
use tokio::{task::JoinSet, time::timeout};

use super::{
    on_three_nodes,
    site::{Site, connect},
    variable,
};

/// Iterations of a default run; the full proof takes 20,000.
const ITERATIONS: u64 = 800;
/// Loops at once.
const LOOPS: usize = 24;

const DELAY: Delay = Delay { fixed: Duration::from_millis(5), random: Duration::from_millis(10) };

/// Keeps the cores busy until it is dropped.
struct Pressure(Arc<AtomicBool>);

impl Pressure {
    fn start() -> Self {
        let is_on = Arc::new(AtomicBool::new(true));
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            let is_on = Arc::clone(&is_on);
            thread::spawn(move || {
                while is_on.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        Self(is_on)
    }
}

impl Drop for Pressure {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn p1_subscribe_then_publish_on_another_node_misses_nothing() {
    on_three_nodes(|cluster| {
        let iterations = variable("ROOKERY_CLUSTER_ITERATIONS", ITERATIONS);
        if !cluster.network().delay(DELAY) {
            eprintln!("links are not delayed: only the proxy can");
        }
        let _pressure = Pressure::start();
        let missed = run(subscribe_then_publish(cluster, iterations));
        assert!(missed.is_empty(), "{} of {iterations} missed: {missed:?}", missed.len());
    });
}

/// Runs all loops and returns the topics whose message did not come.
pub(super) async fn subscribe_then_publish(cluster: &Arc<Cluster>, iterations: u64) -> Vec<String> {
    let site = Site::create(cluster).await;
    let left = Arc::new(AtomicU64::new(iterations));
    let mut loops = JoinSet::new();
    for number in 0..LOOPS {
        let to = number % cluster.size();
        let from = (to + 1 + number / cluster.size() % (cluster.size() - 1)) % cluster.size();
        let connect = |node: usize| {
            let (node, broker) = (cluster.node(node), site.broker.clone());
            async move { Client::connected_tcp(&node, &connect(&broker, &unique_client_id())).await }
        };
        let (subscriber, publisher) = (connect(to).await, connect(from).await);
        loops.spawn(one_loop(subscriber, publisher, number, Arc::clone(&left)));
    }
    loops.join_all().await.into_iter().flatten().collect()
}

async fn one_loop(
    mut subscriber: Client,
    mut publisher: Client,
    number: usize,
    left: Arc<AtomicU64>,
) -> Vec<String> {
    let mut missed = Vec::new();
    for turn in 0.. {
        let is_left = |left: u64| left.checked_sub(1);
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_left).is_err() {
            break;
        }
        let topic = format!("p1/{number}/{turn}");
        assert_eq!(subscriber.subscribe_one(&topic).await, 1, "{topic} is granted");
        publisher.publish(&topic, topic.as_bytes()).await;
        match timeout(WAIT / 2, subscriber.receive()).await {
            Ok(message) => assert_eq!(message.text(), topic, "nothing else comes"),
            Err(_) => missed.push(topic.clone()),
        }
        subscriber.unsubscribe(&topic).await;
    }
    missed
}
