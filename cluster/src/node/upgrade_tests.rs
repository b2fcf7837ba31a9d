//! Clusters of nodes of two releases.

use std::path::Path;

use super::membership_tests::{Peer, listener, settings, start_release, three, until};
use super::*;
use crate::formats::Formats;

const OLD: Formats = Formats::new(1, 1);
const NEW: Formats = Formats::new(1, 2);

impl Peer {
    fn format(&self) -> u32 {
        self.node.proposer().format()
    }

    fn recorded(&self) -> u32 {
        self.node.shared.machine.nodes().format()
    }
}

/// Starts a member again as another release.
async fn exchange(peer: Peer, name: &str, dir: &Path, formats: Formats) -> Peer {
    let node_id = peer.id();
    peer.end().await;
    let peer = start_release(name, dir, settings(listener().0, &[], None), formats).await;
    peer.is_member().await;
    until("it serves again", || peer.node.shared.machine.nodes().epoch(node_id).is_some()).await;
    peer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_writes_the_newer_format_when_the_last_member_can() {
    let (peers, dirs) = three().await;
    until("the first format is on record", || peers.iter().all(|peer| peer.recorded() == 1)).await;
    let mut peers = peers.into_iter();
    let (a, b, c) = (peers.next().unwrap(), peers.next().unwrap(), peers.next().unwrap());
    let c = exchange(c, "c", dirs[2].path(), NEW).await;
    let b = exchange(b, "b", dirs[1].path(), NEW).await;
    // The way back is open as long as one of the old release is there.
    let c = exchange(c, "c", dirs[2].path(), OLD).await;
    let c = exchange(c, "c", dirs[2].path(), NEW).await;
    c.propose().await;
    assert_eq!([&a, &b, &c].map(Peer::recorded), [1; 3]);

    let a = exchange(a, "a", dirs[0].path(), NEW).await;
    until("all write the newer format", || [&a, &b, &c].iter().all(|peer| peer.format() == 2)).await;
    a.propose().await;

    // A node of the old release is not let in any more, and one that comes back says why it cannot.
    let dir = tempfile::tempdir().unwrap();
    let through = [a.node.peer_address().unwrap().to_string()];
    let late = start_release("d", dir.path(), settings(listener().0, &through, None), OLD).await;
    c.end().await;
    let refused = refusal(dirs[2].path()).await;
    assert!(refused.contains("the cluster writes format 2, this release writes 1"), "{refused}");
    assert!(late.node.status().borrow().role.is_none(), "it was not admitted");
    // Nothing is lost by that: the new release goes on with the same directory.
    let c = start_release("c", dirs[2].path(), settings(listener().0, &[], None), NEW).await;
    c.is_member().await;
    c.propose().await;
    assert_eq!(c.format(), 2);
    for peer in [a, b, c, late] {
        peer.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_writes_the_newest_format_and_keeps_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let start = |formats| start_release("a", dir.path(), settings(listener().0, &[], None), formats);
    let node = start(OLD).await;
    until("the first format is on record", || node.recorded() == 1).await;
    node.end().await;
    let node = start(NEW).await;
    until("the newer format is on record", || node.recorded() == 2).await;
    node.node.snapshot_now().await.unwrap();
    node.end().await;
    let refused = refusal(dir.path()).await;
    assert!(refused.contains("the cluster writes format 2, this release writes 1"), "{refused}");
    let node = start(NEW).await;
    assert_eq!(node.format(), 2);
    node.end().await;
}

/// Why the old release does not work on this directory, whether it finds out at once or from the other nodes.
async fn refusal(dir: &Path) -> String {
    let mut options = NodeOptions::new(dir);
    options.reserve_bytes = Some(0);
    options.peers = Some(settings(listener().0, &[], None));
    let counter = Arc::new(super::tests::Counter::default());
    match Node::start(options, counter, Effects::new(), Arc::new(crate::peer::NoPeers)).await {
        Err(error) => with_causes(&error),
        Ok(node) => {
            let failure = || node.status().borrow().failure.clone();
            until("the old release cannot go on", || failure().is_some()).await;
            let failure = failure().unwrap_or_default();
            node.shutdown().await;
            failure
        }
    }
}

/// The error with its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
