//! Clusters of nodes in one process: founding, joining, changes of the membership.

use std::path::Path;
use std::sync::atomic::Ordering;

use tempfile::TempDir;
use zeroize::Zeroizing;

use super::tests::Counter;
use super::*;
use crate::formats::Formats;
use crate::lease::{REMOVED, Standing};
use crate::peer::{MemberRole, NoPeers};
use crate::recover::unsafe_new_cluster;

const LIMIT: Duration = Duration::from_secs(60);

/// A running node with its directory, which outlives it.
pub(super) struct Peer {
    pub(super) node: Node<Counter>,
    counter: Arc<Counter>,
    name: String,
}

pub(super) fn listener() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

async fn start(
    name: &str,
    dir: &Path,
    listener: std::net::TcpListener,
    join: &[String],
    expect_voters: Option<u8>,
) -> Peer {
    start_with(name, dir, settings(listener, join, expect_voters)).await
}

pub(super) fn settings(
    listener: std::net::TcpListener,
    join: &[String],
    expect_voters: Option<u8>,
) -> PeerOptions {
    PeerOptions {
        listener,
        advertise: String::new(),
        join: join.to_vec(),
        expect_voters,
        voters: None,
        never_votes: false,
        join_secret: Zeroizing::new(b"the secret of the tests".to_vec()),
        lease: Duration::from_secs(5),
    }
}

async fn start_with(name: &str, dir: &Path, listen: PeerOptions) -> Peer {
    start_release(name, dir, listen, Formats::new(1, 1)).await
}

pub(super) async fn start_release(name: &str, dir: &Path, listen: PeerOptions, formats: Formats) -> Peer {
    let mut options = NodeOptions::new(dir);
    options.node_name = name.to_owned();
    options.reserve_bytes = Some(0);
    options.peers = Some(listen);
    options.release.formats = formats;
    let counter = Arc::new(Counter::default());
    let node = Node::start(options, Arc::clone(&counter), Effects::new(), Arc::new(NoPeers)).await.unwrap();
    Peer { node, counter, name: name.to_owned() }
}

impl Peer {
    pub(super) fn id(&self) -> u64 {
        self.node.status().borrow().node_id
    }

    pub(super) async fn end(self) {
        self.node.shutdown().await;
    }

    /// Voters and learners, as this node knows them.
    fn roles(&self) -> (Vec<u64>, Vec<u64>) {
        let members = self.node.members().borrow().clone();
        let of =
            |role| members.iter().filter(|member| member.role == role).map(|member| member.node_id).collect();
        (of(MemberRole::Voter), of(MemberRole::Learner))
    }

    async fn has_roles(&self, voters: &[u64], learners: &[u64]) {
        until(&format!("{} sees voters {voters:?}, learners {learners:?}", self.name), || {
            self.roles() == (voters.to_vec(), learners.to_vec())
        })
        .await;
    }

    pub(super) async fn is_member(&self) {
        until(&format!("{} is a member", self.name), || {
            let status = self.node.status().borrow().clone();
            status.role.is_some() && status.leader_id.is_some()
        })
        .await;
    }

    fn leader(&self) -> Option<u64> {
        self.node.status().borrow().leader_id
    }

    pub(super) async fn propose(&self) {
        self.node.propose(Bytes::from_static(b"one")).await.unwrap();
    }

    fn count(&self) -> u64 {
        self.counter.0.load(Ordering::SeqCst)
    }

    /// Waits until the others have given the node up.
    async fn gives_up(&self, node_id: u64) {
        let is_gone = || self.node.shared.machine.nodes().epoch(node_id).is_none();
        until(&format!("{node_id} is given up"), is_gone).await;
    }
}

pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        while !holds() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Three voters, started at the same moment. The first is the founder, with identifier 1.
pub(super) async fn three() -> (Vec<Peer>, Vec<TempDir>) {
    let (sockets, addresses): (Vec<_>, Vec<_>) = (0..3).map(|_| listener()).unzip();
    let dirs: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let names = ["a", "b", "c"].into_iter();
    let starting = names.zip(&dirs).zip(sockets);
    let starting = starting.map(|((name, dir), socket)| start(name, dir.path(), socket, &addresses, Some(3)));
    let peers = futures::future::join_all(starting).await;
    for peer in &peers {
        peer.is_member().await;
    }
    for peer in &peers {
        peer.has_roles(&[1, 2, 3], &[]).await;
    }
    assert_eq!(peers[0].id(), 1, "the lowest name founds");
    (peers, dirs)
}

async fn join(name: &str, dir: &Path, through: &Peer) -> Peer {
    let peer =
        start(name, dir, listener().0, &[through.node.peer_address().unwrap().to_string()], None).await;
    peer.is_member().await;
    peer
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_form_one_cluster_and_a_fourth_learns() {
    let (peers, _dirs) = three().await;
    let cluster_id = peers[0].node.status().borrow().cluster_id.clone();
    for peer in &peers {
        assert_eq!(peer.node.status().borrow().cluster_id, cluster_id);
        peer.propose().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let fourth = join("d", dir.path(), &peers[1]).await;
    assert_eq!(fourth.id(), 4);
    fourth.has_roles(&[1, 2, 3], &[4]).await;
    fourth.propose().await;
    for peer in peers.iter().chain([&fourth]) {
        until("all nodes hold all", || peer.count() == 4).await;
    }
    // There are enough voters; more are made by hand, through any node.
    until("it serves", || fourth.node.shared.machine.nodes().epoch(4).is_some()).await;
    let changed = fourth.node.promote(4).await.unwrap();
    assert!(changed.warning.unwrap().contains("4 voters"), "an even number");
    peers[0].has_roles(&[1, 2, 3, 4], &[]).await;
    let refused = peers[2].node.promote(4).await.unwrap_err();
    assert!(refused.to_string().contains("a voter already"), "{refused}");
    let refused = peers[2].node.promote(9).await.unwrap_err();
    assert!(refused.to_string().contains("node 9 is not a member"), "{refused}");

    // Its request to join, shown again by an empty directory: the identifier has voted and is not given a
    // second time.
    let used = fourth.node.shared.machine.nodes().get(4).unwrap().request_id.clone();
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join("join.request"), &used).unwrap();
    let fifth = join("e", empty.path(), &peers[0]).await;
    assert_eq!(fifth.id(), 5);
    // Its own removal is the last thing that it is told.
    fifth.node.remove(5).await.unwrap();
    fifth.end().await;

    // It is away when it is removed, so the entry that says so never reaches it.
    fourth.end().await;
    peers[2].node.remove(4).await.unwrap();
    for peer in &peers {
        peer.has_roles(&[1, 2, 3], &[]).await;
    }
    let refused = peers[1].node.remove(4).await.unwrap_err();
    assert!(refused.to_string().contains("node 4 was removed"), "{refused}");
    // It comes back with all that it had, is told why nobody hears it, and is not heard by anybody.
    let again = start("d", dir.path(), listener().0, &[], None).await;
    assert_eq!(again.id(), 4);
    let standing = again.node.lease().standing();
    let why = || match &*standing.borrow() {
        Standing::Serving { .. } => String::new(),
        Standing::Fenced { reason, .. } => reason.clone(),
    };
    until("it is told", || why() == REMOVED).await;
    assert!(!again.node.shared.machine.nodes().is_removed(4), "its own log does not say so");
    let error = again.node.propose(Bytes::from_static(b"lost")).await.unwrap_err();
    assert!(matches!(error, ProposeError::Unavailable { .. }), "{error}");
    assert!(peers.iter().all(|peer| peer.count() == 4));
    again.end().await;
    for peer in peers {
        peer.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_votes_is_no_founder_and_stays_a_learner() {
    let (mut sockets, addresses): (Vec<_>, Vec<_>) = (0..2).map(|_| listener()).unzip();
    let dirs: Vec<TempDir> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    // Of all names the lowest, and there before the others.
    let never = PeerOptions { never_votes: true, ..settings(listener().0, &addresses, None) };
    let edge = start_with("0", dirs[3].path(), never).await;
    let first = start("a", dirs[0].path(), sockets.remove(0), &addresses[..1], Some(1)).await;
    first.is_member().await;
    edge.is_member().await;
    edge.has_roles(&[1], &[2]).await;
    until("it serves", || first.node.shared.machine.nodes().epoch(2).is_some()).await;
    let refused = edge.node.promote(2).await.unwrap_err();
    assert!(refused.to_string().contains("stays a learner"), "{refused}");
    let second = join("b", dirs[1].path(), &edge).await;
    second.has_roles(&[1, 3], &[2]).await;
    // It has thought better of it.
    edge.end().await;
    let edge = start("0", dirs[3].path(), listener().0, &addresses, None).await;
    edge.has_roles(&[1, 2, 3], &[]).await;
    for peer in [first, second, edge] {
        peer.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_dies_at_once_is_joined_when_it_comes_back() {
    let (mut sockets, addresses): (Vec<_>, Vec<_>) = (0..3).map(|_| listener()).unzip();
    let dirs: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let c = start("c", dirs[2].path(), sockets.pop().unwrap(), &addresses, Some(3)).await;
    let b = start("b", dirs[1].path(), sockets.pop().unwrap(), &addresses, Some(3)).await;
    // The third comes late, and is the one that founds.
    let a = start("a", dirs[0].path(), sockets.pop().unwrap(), &addresses, Some(3)).await;
    // Its place is on disk, and it has not served yet.
    until("it has founded", || {
        let status = a.node.status().borrow().clone();
        status.node_id == 1 && status.state != NodeState::Joining
    })
    .await;
    a.node.die().await;
    drop(a);
    let mut again = None;
    until("its address is free", || {
        again = std::net::TcpListener::bind(&addresses[0]).ok();
        again.is_some()
    })
    .await;
    let a = start("a", dirs[0].path(), again.unwrap(), &addresses, Some(3)).await;
    let peers = [a, b, c];
    for peer in &peers {
        peer.has_roles(&[1, 2, 3], &[]).await;
        assert_eq!(peer.node.status().borrow().cluster_id, peers[0].node.status().borrow().cluster_id);
    }
    peers[2].propose().await;
    for peer in peers {
        peer.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_while_commands_flow_and_the_old_leader_can_be_removed() {
    let (mut peers, _dirs) = three().await;
    let first = peers[0].leader().unwrap();
    let by_id = |node_id: u64| peers.iter().find(|peer| peer.id() == node_id).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let flows: Vec<_> = peers
        .iter()
        .map(|peer| {
            let (proposer, stop) = (peer.node.proposer(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut done = 0;
                while !stop.load(Ordering::SeqCst) {
                    proposer.propose(Bytes::from_static(b"one")).await.unwrap();
                    done += 1;
                }
                done
            })
        })
        .collect();
    until("commands flow", || peers[0].count() > 100).await;
    let mut leader = first;
    for _ in 0..4 {
        let next = [1, 2, 3].into_iter().find(|node_id| *node_id > leader).unwrap_or(1);
        let asked = [1, 2, 3].into_iter().find(|node_id| *node_id != leader && *node_id != next).unwrap();
        by_id(asked).node.transfer_leader(next).await.unwrap();
        until("all follow the new leader", || peers.iter().all(|peer| peer.leader() == Some(next))).await;
        leader = next;
    }
    stop.store(true, Ordering::SeqCst);
    let mut done = 0;
    for flow in flows {
        done += flow.await.unwrap();
    }
    for peer in &peers {
        until("each command took effect once", || peer.count() == done).await;
    }

    by_id(leader).node.transfer_leader(leader).await.unwrap();
    let refused = by_id(leader).node.remove(leader).await.unwrap_err();
    assert!(refused.to_string().contains("transfer leadership"), "{refused}");
    let heir = [1, 2, 3].into_iter().find(|node_id| *node_id != leader).unwrap();
    by_id(leader).node.transfer_leader(heir).await.unwrap();
    let other = [1, 2, 3].into_iter().find(|node_id| ![leader, heir].contains(node_id)).unwrap();
    let place = peers.iter().position(|peer| peer.id() == other).unwrap();
    peers.remove(place).end().await;
    let by_id = |node_id: u64| peers.iter().find(|peer| peer.id() == node_id).unwrap();
    by_id(heir).gives_up(other).await;
    // Of three voters one is gone: the second must stay, and the one that is gone leads nobody.
    let refused = by_id(leader).node.remove(leader).await.unwrap_err();
    assert!(refused.to_string().contains("only 1 of 2 voters would be reachable"), "{refused}");
    let refused = by_id(leader).node.transfer_leader(other).await.unwrap_err();
    assert!(refused.to_string().contains("does not serve"), "{refused}");
    by_id(leader).node.remove(other).await.unwrap();
    by_id(heir).node.remove(leader).await.unwrap();
    by_id(heir).has_roles(&[heir], &[]).await;
    by_id(heir).propose().await;
    let refused = by_id(heir).node.remove(heir).await.unwrap_err();
    assert!(refused.to_string().contains("the last voter"), "{refused}");
    let refused = by_id(heir).node.transfer_leader(leader).await.unwrap_err();
    assert!(refused.to_string().contains("was removed"), "{refused}");
    for peer in peers {
        peer.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_directory_under_an_old_name_is_a_new_node() {
    let (mut peers, _dirs) = three().await;
    let third = peers.pop().unwrap();
    let (old, name) = (third.id(), third.name.clone());
    let through = [peers[0].node.peer_address().unwrap().to_string()];
    let dir = tempfile::tempdir().unwrap();
    let new = start(&name, dir.path(), listener().0, &through, None).await;
    // The old one is alive: the name is taken, and nobody is removed for it.
    until("the new node was refused", || dir.path().join("join.request").exists()).await;
    third.propose().await;
    peers[0].has_roles(&[1, 2, 3], &[]).await;
    assert_eq!(new.id(), 0);
    peers[0].node.transfer_leader(peers[0].id()).await.unwrap();
    third.end().await;
    peers[0].gives_up(old).await;
    new.is_member().await;
    assert_eq!(new.id(), 4);
    assert!(!dir.path().join("join.request").exists());
    let mut voters: Vec<u64> = peers.iter().map(Peer::id).chain([4]).collect();
    voters.sort_unstable();
    for peer in peers.iter().chain([&new]) {
        peer.has_roles(&voters, &[]).await;
    }
    assert!(peers[0].node.shared.machine.nodes().is_removed(old));
    for peer in peers.into_iter().chain([new]) {
        peer.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_moves_is_found_again_and_start_options_do_no_harm() {
    let (mut peers, mut dirs) = three().await;
    let (moving, dir) = (peers.pop().unwrap(), dirs.pop().unwrap());
    let id = moving.id();
    moving.end().await;
    let (socket, address) = listener();
    let nowhere = ["127.0.0.1:1".to_owned()];
    let moved = start("c2", dir.path(), socket, &nowhere, Some(5)).await;
    assert_eq!(moved.id(), id);
    let found = |peer: &Peer| {
        let members = peer.node.members().borrow().clone();
        members.iter().any(|member| member.node_id == id && member.address == address && member.name == "c2")
    };
    until("all know the new address", || found(&peers[0]) && found(&peers[1]) && found(&moved)).await;
    moved.propose().await;
    for peer in peers.into_iter().chain([moved]) {
        peer.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_survivor_becomes_a_new_cluster_that_shuts_the_old_one_out() {
    let (mut peers, mut dirs) = three().await;
    for _ in 0..10 {
        peers[0].propose().await;
    }
    let all = peers[0].count();
    until("the third holds all", || peers[2].count() == all).await;
    peers[2].node.snapshot_now().await.unwrap();
    for _ in 0..10 {
        peers[0].propose().await;
    }
    let all = peers[0].count();
    until("the third holds all", || peers[2].count() == all).await;
    let old_cluster = peers[0].node.status().borrow().cluster_id.clone();
    let (survivor, dir) = (peers.pop().unwrap(), dirs.pop().unwrap());
    let old_id = survivor.id();
    let refused = unsafe_new_cluster(dir.path()).unwrap_err();
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    survivor.end().await;

    let recovered = unsafe_new_cluster(dir.path()).unwrap();
    assert_eq!(recovered.node_id, 4);
    assert_eq!(recovered.removed, vec![1, 2, 3]);
    assert_ne!(recovered.cluster_id, old_cluster);
    assert_eq!(recovered.former_cluster_id, old_cluster);
    let alone = start("c", dir.path(), listener().0, &[], None).await;
    alone.is_member().await;
    alone.has_roles(&[4], &[]).await;
    assert_eq!(alone.count(), all);
    alone.propose().await;
    assert_eq!(alone.id(), 4);
    assert_eq!(alone.node.status().borrow().cluster_id, recovered.cluster_id);
    let nodes = alone.node.shared.machine.nodes();
    assert!(nodes.is_removed(1) && nodes.is_removed(2) && nodes.is_removed(old_id));
    // The others go on as the old cluster; an empty directory joins the new one with an identifier of its
    // own.
    assert!(peers[0].count() == all);
    let empty = tempfile::tempdir().unwrap();
    let joined = join("d", empty.path(), &alone).await;
    assert_eq!(joined.id(), 5);
    alone.has_roles(&[4, 5], &[]).await;
    until("it holds all", || joined.count() == all + 1).await;
    for peer in peers.into_iter().chain([alone, joined]) {
        peer.end().await;
    }
}
