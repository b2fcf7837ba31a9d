//! Leases between real nodes: who is fenced, given up and comes back, when nodes die, are cut off, or end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::proxies::{Proxies, home};
use super::testbed::{CLUSTER, Journal, certify, command, peers, until};
use super::*;
use crate::lease::Standing;
use crate::liveness::events::ClusterEventKind;
use crate::peer::NoPeers;
use crate::pki::PeerIdentity;
use crate::raft::Peer;

struct Running {
    node: Node<Journal>,
    effects: Arc<Effects>,
}

/// Three nodes behind proxies that serve.
struct Cluster {
    _dir: TempDir,
    proxies: Proxies,
    running: BTreeMap<u64, Running>,
    reports: JoinHandle<()>,
}

impl Cluster {
    async fn three(lease: Duration) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let founder =
            Credentials::found(&PeerIdentity { cluster_id: CLUSTER.to_owned(), node_id: 1 }).unwrap();
        let mut listeners = BTreeMap::new();
        for node_id in 1..=3 {
            listeners.insert(node_id, std::net::TcpListener::bind((home(node_id), 0)).unwrap());
        }
        let targets: BTreeMap<u64, SocketAddr> =
            listeners.iter().map(|(node_id, listener)| (*node_id, listener.local_addr().unwrap())).collect();
        let proxies = Proxies::before(&targets).await;
        let mut running = BTreeMap::new();
        for (node_id, listener) in listeners {
            let path = dir.path().join(node_id.to_string());
            let data_dir = DataDir::lock(&path).unwrap();
            place::settle(&data_dir, &certify(&founder, CLUSTER, node_id)).unwrap();
            drop(data_dir);
            let mut options = NodeOptions::new(path);
            options.reserve_bytes = Some(0);
            options.release.version = "test".to_owned();
            let settings = peers("127.0.0.1:0");
            let advertise = proxies.address(node_id);
            options.peers = Some(PeerOptions { listener, advertise, lease, ..settings });
            let effects = Effects::new();
            let started = Node::start(options, Arc::default(), Arc::clone(&effects), Arc::new(NoPeers));
            running.insert(node_id, Running { node: started.await.unwrap(), effects });
        }
        let reports = tokio::spawn(carry_reports(&running));
        let cluster = Cluster { _dir: dir, proxies, running, reports };
        let raft = cluster.node(1).shared.raft.borrow().clone().unwrap();
        for node_id in 2..=3 {
            let peer = Peer {
                name: format!("n{node_id}"),
                address: cluster.proxies.address(node_id),
                ..Peer::default()
            };
            raft.add_learner(node_id, peer, true).await.unwrap();
        }
        // The node keeps its membership in order by itself and may come first with the second half of the change.
        while raft.change_membership([1, 2, 3], false).await.is_err() {}
        cluster.all_serve().await;
        cluster
    }

    fn node(&self, node_id: u64) -> &Node<Journal> {
        &self.running[&node_id].node
    }

    fn epoch(&self, node_id: u64) -> Option<u64> {
        self.node(node_id).lease().epoch()
    }

    /// Waits until all nodes serve in the epochs that they know of each other.
    async fn all_serve(&self) -> BTreeMap<u64, u64> {
        let serve = || {
            let epochs: BTreeMap<u64, u64> =
                self.running.keys().filter_map(|node_id| Some((*node_id, self.epoch(*node_id)?))).collect();
            let known = |node_id: &u64| {
                let nodes = self.node(*node_id).shared.machine.nodes();
                epochs.iter().all(|(other, epoch)| nodes.epoch(*other) == Some(*epoch))
            };
            (epochs.len() == self.running.len() && epochs.keys().all(known)).then_some(epochs)
        };
        until("epoch of everybody", serve).await
    }

    async fn leader(&self) -> u64 {
        let leads = |node_id: &&u64| self.node(**node_id).status().borrow().state == NodeState::Leader;
        until("leader", || self.running.keys().find(leads).copied()).await
    }

    /// Waits until `node_id` sees `subject` given up after `epoch`, and returns what was told to operators.
    async fn given_up(&self, node_id: u64, subject: u64, epoch: u64) -> String {
        let events = self.node(node_id).events();
        let is_it = |event: &&Arc<crate::ClusterEvent>| {
            event.kind == ClusterEventKind::NodeGivenUp
                && event.node_id == subject
                && event.index > Some(epoch)
        };
        until("end of the epoch", || events.since(0).iter().find(is_it).map(|event| event.text.clone())).await
    }

    /// Waits until the node is fenced for a reason that contains `part`.
    async fn fenced(&self, node_id: u64, part: &str) -> String {
        let standing = self.node(node_id).lease().standing();
        let reason = || match &*standing.borrow() {
            Standing::Fenced { reason, .. } if reason.contains(part) => Some(reason.clone()),
            _ => None,
        };
        until(&format!("fence of node {node_id} with '{part}'"), reason).await
    }

    /// Waits until the node serves in a later epoch.
    async fn serves_again(&self, node_id: u64, after: u64) -> u64 {
        until("later epoch", || self.epoch(node_id).filter(|epoch| *epoch > after)).await
    }

    async fn shutdown(self) {
        for running in self.running.values() {
            running.node.shutdown().await;
        }
        self.reports.abort();
    }
}

/// Carries the nodes' reports to each other, as the links do.
fn carry_reports(running: &BTreeMap<u64, Running>) -> impl Future<Output = ()> + use<> {
    let nodes: Vec<_> = running
        .iter()
        .map(|(node_id, running)| (*node_id, Arc::clone(&running.effects), running.node.barrier()))
        .collect();
    async move {
        let mut poll = tokio::time::interval(Duration::from_millis(10));
        loop {
            poll.tick().await;
            for (node_id, effects, _) in &nodes {
                nodes.iter().for_each(|(_, _, barrier)| barrier.report(*node_id, effects.effective()));
            }
        }
    }
}

/// Becomes true when the barrier lets through what waits for everything that the node has applied.
fn waiter(node: &Node<Journal>, index: u64) -> Arc<AtomicBool> {
    let passed = Arc::new(AtomicBool::new(false));
    let passing = Arc::clone(&passed);
    node.barrier().wait(index, move || passing.store(true, Ordering::SeqCst));
    passed
}

const SHORT: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn when_the_leader_dies_the_others_wait_for_its_lease_and_serve_on() {
    let mut cluster = Cluster::three(Duration::from_secs(5)).await;
    let epochs = cluster.all_serve().await;
    let leader = cluster.leader().await;
    let survivor = leader % 3 + 1;
    let dead = cluster.running.remove(&leader).unwrap();
    let dead_lease = dead.node.lease();
    dead.node.die().await;
    // Committed by the survivors; the dead node cannot have it in effect, and its reports come from nobody.
    cluster.node(survivor).propose(command(1, 1, 16)).await.unwrap();
    let index = cluster.node(survivor).shared.machine.applied_index().unwrap();
    let passed = waiter(cluster.node(survivor), index);
    let given_up_under_lease = {
        let lease = dead_lease.clone();
        let mut nodes = cluster.node(survivor).shared.machine.watch_nodes();
        nodes.wait_for(|nodes| nodes.epoch(leader).is_none()).await.unwrap();
        lease.is_valid()
    };
    assert!(!given_up_under_lease);
    until("passage of the barrier", || passed.load(Ordering::SeqCst).then_some(())).await;
    assert!(cluster.given_up(survivor, leader, epochs[&leader]).await.contains("no lease in time"));
    let now = cluster.all_serve().await;
    assert!(now.iter().all(|(node_id, epoch)| epochs[node_id] == *epoch), "the others were never given up");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_is_cut_off_is_fenced_and_comes_back_in_a_new_epoch() {
    let cluster = Cluster::three(SHORT).await;
    let epochs = cluster.all_serve().await;
    let lonely = cluster.leader().await % 3 + 1;
    let other = (1..=3).find(|node_id| *node_id != lonely).unwrap();
    let own = cluster.node(lonely);
    let passed = waiter(own, u64::MAX - 1);
    cluster.proxies.isolate(lonely);
    cluster.fenced(lonely, "no leader heard for").await;
    assert!(!own.lease().is_valid());
    assert_eq!(own.liveness().epoch, Some(epochs[&lonely]), "it does not know yet that it was given up");
    assert!(!passed.load(Ordering::SeqCst));
    cluster.given_up(other, lonely, epochs[&lonely]).await;
    assert!(!own.lease().is_valid());
    // As long as a connection of its last epoch is not closed, it must not begin the next.
    let held = cluster.running[&lonely].effects.hold(own.shared.machine.applied_index().unwrap() + 1);
    cluster.proxies.heal();
    cluster.fenced(lonely, "still being closed").await;
    assert!(passed.load(Ordering::SeqCst), "nobody waits on behalf of a node that was given up");
    assert_eq!(own.liveness().epoch, None);
    drop(held);
    cluster.serves_again(lonely, epochs[&lonely]).await;
    let kinds: BTreeSet<_> = own.events().since(0).iter().map(|event| event.kind.as_str()).collect();
    assert!(kinds.is_superset(&BTreeSet::from(["fenced", "unfenced", "node given up", "node registered"])));
    let epochs = cluster.all_serve().await;
    assert_eq!(epochs.len(), 3);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_follower_that_was_cut_off_does_not_depose_the_leader_when_it_returns() {
    let cluster = Cluster::three(SHORT).await;
    cluster.all_serve().await;
    let leader = cluster.leader().await;
    let (cut_off, other) = (cluster.node(leader % 3 + 1), cluster.node((leader + 1) % 3 + 1));
    until("leader everywhere", || (cut_off.status().borrow().leader_id == Some(leader)).then_some(())).await;
    let written = cut_off.propose(command(1, 1, 16)).await.unwrap();
    let term = cut_off.status().borrow().term;
    cluster.proxies.isolate(cut_off.status().borrow().node_id);
    // For longer than the others need to elect.
    until("end of the leader", || cut_off.status().borrow().leader_id.is_none().then_some(())).await;
    assert_eq!(cut_off.status().borrow().term, term);
    let led = other.status().borrow().leader_id;
    cluster.proxies.heal();
    until("a leader again", || cut_off.status().borrow().leader_id.is_some().then_some(())).await;
    assert!(cut_off.propose(command(1, 2, 16)).await.unwrap() > written);
    assert_eq!(cut_off.status().borrow().leader_id, led);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_hears_the_leader_but_is_not_heard_is_fenced_too() {
    let cluster = Cluster::three(SHORT).await;
    let epochs = cluster.all_serve().await;
    let leader = cluster.leader().await;
    let mute = leader % 3 + 1;
    cluster.proxies.cut(mute, leader);
    cluster.given_up(leader, mute, epochs[&mute]).await;
    assert!(!cluster.node(mute).lease().is_valid());
    // It hears from the leader that it was given up.
    cluster.fenced(mute, "given up by the cluster at index").await;
    assert_eq!(cluster.epoch(leader), Some(epochs[&leader]));
    cluster.proxies.heal();
    cluster.serves_again(mute, epochs[&mute]).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_without_a_quorum_fences_itself() {
    let cluster = Cluster::three(SHORT).await;
    let epochs = cluster.all_serve().await;
    let leader = cluster.leader().await;
    let other = leader % 3 + 1;
    cluster.proxies.isolate(leader);
    let reason = cluster.fenced(leader, "no").await;
    assert!(reason.contains("quorum") || reason.contains("no leader heard"), "{reason}");
    let text = cluster.given_up(other, leader, epochs[&leader]).await;
    assert!(text.contains("no lease in time"), "{text}");
    cluster.proxies.heal();
    cluster.serves_again(leader, epochs[&leader]).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_cannot_reach_each_other_one_goes_until_they_can() {
    let cluster = Cluster::three(SHORT).await;
    let epochs = cluster.all_serve().await;
    let leader = cluster.leader().await;
    let pair: Vec<u64> = (1..=3).filter(|node_id| *node_id != leader).collect();
    let says = |node_id: u64, unreachable: &[u64]| {
        let control = &cluster.node(node_id).shared.liveness;
        control.unreachable().send_replace(unreachable.iter().copied().collect());
    };
    says(pair[0], &[pair[1]]);
    says(pair[1], &[pair[0]]);
    let text = cluster.given_up(leader, pair[1], epochs[&pair[1]]).await;
    assert!(text.contains("cannot reach each other"), "{text}");
    says(pair[1], &[]);
    let reason = cluster.fenced(pair[1], "joining again").await;
    assert!(cluster.epoch(pair[1]).is_none(), "the other still cannot reach it: {reason}");
    assert_eq!(cluster.epoch(pair[0]), Some(epochs[&pair[0]]));
    let rows = cluster.node(leader).liveness().nodes;
    let row = rows.iter().find(|row| row.node_id == pair[0]).unwrap();
    assert_eq!(row.unreachable, BTreeSet::from([pair[1]]));
    assert_eq!(row.formats, Some(crate::Formats::new(1, 1)));
    assert!(row.is_reachable && row.version == "test" && row.epoch == Some(epochs[&pair[0]]));
    says(pair[0], &[]);
    cluster.serves_again(pair[1], epochs[&pair[1]]).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_makes_no_progress_is_given_up() {
    let cluster = Cluster::three(SHORT).await;
    let epochs = cluster.all_serve().await;
    let leader = cluster.leader().await;
    let stuck = leader % 3 + 1;
    let next = cluster.node(stuck).shared.machine.applied_index().unwrap() + 1;
    let held = cluster.running[&stuck].effects.hold(next);
    cluster.node(leader).propose(command(1, 1, 16)).await.unwrap();
    let passed = waiter(cluster.node(leader), cluster.node(leader).shared.machine.applied_index().unwrap());
    let text = cluster.given_up(leader, stuck, epochs[&stuck]).await;
    assert!(text.contains("makes no progress"), "{text}");
    until("passage of the barrier", || passed.load(Ordering::SeqCst).then_some(())).await;
    drop(held);
    cluster.serves_again(stuck, epochs[&stuck]).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_ends_in_order_keeps_nobody_waiting() {
    // Nobody could wait so long.
    let mut cluster = Cluster::three(Duration::from_secs(3600)).await;
    let epochs = cluster.all_serve().await;
    let leaving = cluster.leader().await % 3 + 1;
    let other = (1..=3).find(|node_id| *node_id != leaving).unwrap();
    let ended = cluster.running.remove(&leaving).unwrap();
    ended.node.shutdown().await;
    assert!(!ended.node.lease().is_valid());
    let text = cluster.given_up(other, leaving, epochs[&leaving]).await;
    assert!(text.contains("ended in order"), "{text}");
    cluster.shutdown().await;
}
