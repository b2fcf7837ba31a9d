//! A node whose disk refuses a write; the full disk and the kill are tested from outside, in `tests/replication`.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::error::{CommandOutcome, UnavailableReason};
use crate::peer::NoPeers;
use crate::replica::{NodeChange, RestoreError, SnapshotView};

/// Counts commands and answers with the count.
#[derive(Default)]
pub(super) struct Counter(pub(super) AtomicU64);

struct Count(u64);

impl Replica for Counter {
    type Response = u64;

    fn node_changed(&self, _index: u64, _change: NodeChange) {}

    fn apply(&self, _index: u64, commands: &[Bytes]) -> Vec<u64> {
        commands.iter().map(|_| self.0.fetch_add(1, Ordering::SeqCst) + 1).collect()
    }

    fn view(&self, _format: u32) -> Box<dyn SnapshotView> {
        Box::new(Count(self.0.load(Ordering::SeqCst)))
    }

    fn restore(&self, source: &mut dyn Read) -> Result<(), RestoreError> {
        let mut bytes = [0; 8];
        source.read_exact(&mut bytes)?;
        self.0.store(u64::from_le_bytes(bytes), Ordering::SeqCst);
        Ok(())
    }
}

impl SnapshotView for Count {
    fn write(&self, sink: &mut dyn Write) -> std::io::Result<()> {
        sink.write_all(&self.0.to_le_bytes())
    }
}

async fn start(dir: &std::path::Path) -> (Node<Counter>, Arc<Counter>) {
    let mut options = NodeOptions::new(dir);
    options.reserve_bytes = Some(0);
    let counter = Arc::new(Counter::default());
    (Node::start(options, Arc::clone(&counter), Effects::new(), Arc::new(NoPeers)).await.unwrap(), counter)
}

async fn until(node: &Node<Counter>, state: NodeState) -> NodeStatus {
    node.status().wait_for(|status| status.state == state).await.unwrap().clone()
}

/// Proposes until the injected failure strikes and returns the commands acknowledged before and the error.
async fn propose_until_failure(node: &Node<Counter>) -> (u64, ProposeError) {
    let mut acknowledged = 0;
    loop {
        match node.propose(Bytes::from_static(b"one")).await {
            Ok(_) => acknowledged += 1,
            Err(error) => return (acknowledged, error),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_is_answered_and_the_node_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (node, counter) = start(dir.path()).await;
    let mut acknowledged = 0;
    for _round in 0..3 {
        node.fail_next_write().await;
        let (before, error) = propose_until_failure(&node).await;
        acknowledged += before;
        let (reason, outcome) = (UnavailableReason::StorageFailed, CommandOutcome::Unknown);
        assert_eq!(error, ProposeError::Unavailable { reason, outcome });
        assert!(node.lease().is_valid(), "there can be no other leader, so what needs no disk goes on");
        assert!(counter.0.load(Ordering::SeqCst) >= acknowledged, "the replica is still there");
        until(&node, NodeState::Leader).await;
        // Whoever meets the gate before the node is back is refused, which is an answer too.
        while node.propose(Bytes::from_static(b"two")).await.is_err() {}
        acknowledged += 1;
    }
    node.shutdown().await;
    let in_memory = counter.0.load(Ordering::SeqCst);
    let (node, counter) = start(dir.path()).await;
    assert_eq!(counter.0.load(Ordering::SeqCst), in_memory, "the log holds what the replica held");
    assert!(in_memory >= acknowledged);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_in_the_queue_are_all_answered_when_the_storage_fails() {
    let dir = tempfile::tempdir().unwrap();
    let (node, counter) = start(dir.path()).await;
    let proposer = node.proposer();
    node.fail_next_write().await;
    let mut answers = Vec::new();
    for _ in 0..5_000 {
        let (answer, answered) = tokio::sync::oneshot::channel();
        proposer.try_submit(Bytes::from(vec![0; 100]), move |result| drop(answer.send(result)));
        answers.push(answered);
    }
    let mut acknowledged = 0;
    let mut refused = 0;
    for answer in answers {
        match answer.await.expect("every caller is answered") {
            Ok(_) => acknowledged += 1,
            Err(ProposeError::Unavailable { .. }) => refused += 1,
            Err(other) => panic!("unexpected {other}"),
        }
    }
    assert_eq!(acknowledged + refused, 5_000);
    until(&node, NodeState::Leader).await;
    assert!(counter.0.load(Ordering::SeqCst) >= acknowledged);
    node.shutdown().await;
}
