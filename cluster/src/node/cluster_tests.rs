//! Replication between nodes: elections, forwarding, snapshots, restarts. Commands are acknowledged once and applied once.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::testbed::{Journal, Machines, command, patiently, peers, until};
use super::*;
use crate::error::{CommandOutcome, UnavailableReason};
use crate::peer::NoPeers;
use crate::proposer::Proposer;
use crate::record::{GiveUpNode, RegisterNode, SystemChange};

/// What one proposer submitted, in order, and how each was answered.
type Answers = Vec<(u64, Result<usize, ProposeError>)>;

/// Submits numbered commands without waiting for each, until told to stop.
fn propose_steadily(
    proposer: Proposer<Journal>,
    name: u64,
    mut stop: watch::Receiver<bool>,
) -> JoinHandle<Answers> {
    tokio::spawn(async move {
        let (answers, mut answered) = mpsc::unbounded_channel();
        let mut submitted = 0;
        let mut seen = Answers::new();
        while !*stop.borrow_and_update() {
            // A few dozen on their way at a time, over several batches.
            while submitted < seen.len() as u64 + 50 {
                let (number, answers) = (submitted, answers.clone());
                proposer.try_submit(command(name, number, 64), move |answer| {
                    answers.send((number, answer)).unwrap();
                });
                submitted += 1;
            }
            seen.extend(answered.recv().await);
        }
        while (seen.len() as u64) < submitted {
            seen.extend(answered.recv().await);
        }
        seen
    })
}

/// Checks what was applied against what the proposers were told.
fn check(applied: &Journal, name: u64, answers: &Answers) {
    let of_proposer = applied.of(name);
    assert!(of_proposer.is_sorted_by(|one, next| one < next), "in order, each at most once: {of_proposer:?}");
    for (number, answer) in answers {
        let is_applied = of_proposer.binary_search(number).is_ok();
        match answer {
            Ok(_) => assert!(is_applied, "{number} of {name} was acknowledged and is lost"),
            Err(error) => assert!(!is_applied || error.may_have_applied(), "{number} of {name}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_proposes_and_hears_the_result_of_its_own_replica() {
    let mut machines = Machines::three().await;
    for node_id in 1..=3 {
        let place = patiently(machines.node(node_id).propose(command(node_id, 7, 16))).await.unwrap();
        assert_eq!(machines.journal(node_id).entries()[place], (node_id, 7));
    }
    assert_eq!(machines.agreed(3).await.len(), 3);
    let leader = machines.leader().await;
    let status = machines.node(leader).status().borrow().clone();
    assert_eq!(
        (status.state, status.leader_id, status.role),
        (NodeState::Leader, Some(leader), Some(crate::MemberRole::Voter))
    );
    assert_eq!(status.replicated.len(), 2, "the leader knows how far the others are");
    let members = machines.node(leader).members().borrow().clone();
    assert_eq!(members.iter().map(|member| member.node_id).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(members[1].address, machines.address(2));
    machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn acknowledged_commands_survive_the_death_of_leaders() {
    let mut machines = Machines::three().await;
    let (stop, stopped) = watch::channel(false);
    let mut told: Vec<(u64, Answers)> = Vec::new();
    for round in 0..3 {
        let leader = machines.leader().await;
        let proposers: Vec<_> = (1..=3)
            .map(|node_id| {
                // A process has a name of its own: its commands are ordered among themselves.
                let name = round * 10 + node_id;
                let proposer = machines.node(node_id).proposer();
                (name, propose_steadily(proposer, name, stopped.clone()))
            })
            .collect();
        let progress = machines.journal(leader).entries().len() + 300;
        until("progress", || (machines.journal(leader).entries().len() > progress).then_some(())).await;
        machines.kill(leader).await;
        let next = machines.leader().await;
        let progress = machines.journal(next).entries().len() + 300;
        until("progress", || (machines.journal(next).entries().len() > progress).then_some(())).await;
        stop.send_replace(true);
        for (name, proposer) in proposers {
            told.push((name, patiently(proposer).await.unwrap()));
        }
        stop.send_replace(false);
        machines.start(leader).await;
    }
    let acknowledged: usize =
        told.iter().map(|(_, answers)| answers.iter().filter(|(_, answer)| answer.is_ok()).count()).sum();
    machines.leader().await;
    assert!(machines.agreed(acknowledged).await.len() >= acknowledged);
    for (name, answers) in &told {
        check(&machines.journal(1), *name, answers);
    }
    machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_loses_no_command_when_its_leader_dies() {
    let mut machines = Machines::three().await;
    let leader = machines.leader().await;
    let follower = leader % 3 + 1;
    let (stop, stopped) = watch::channel(false);
    let proposer = propose_steadily(machines.node(follower).proposer(), follower, stopped);
    until("progress", || (machines.journal(follower).of(follower).len() > 300).then_some(())).await;
    machines.kill(leader).await;
    machines.leader().await;
    let progress = machines.journal(follower).of(follower).len() + 300;
    until("progress", || (machines.journal(follower).of(follower).len() > progress).then_some(())).await;
    stop.send_replace(true);
    let answers = patiently(proposer).await.unwrap();
    let failed: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_err()).collect();
    assert!(failed.is_empty(), "an election is shorter than the patience of a command: {failed:?}");
    check(&machines.journal(follower), follower, &answers);
    machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lags_gets_a_snapshot() {
    let mut machines = Machines::three().await;
    let leader = machines.leader().await;
    let lagging = leader % 3 + 1;
    machines.write(lagging, 0).await;
    machines.kill(lagging).await;
    machines.kept_entries = 0;
    // Restarted so that they keep no entries behind their snapshots.
    for node_id in (1..=3).filter(|node_id| *node_id != lagging) {
        machines.kill(node_id).await;
        machines.start(node_id).await;
    }
    let leader = machines.leader().await;
    for number in 1..=20 {
        machines.write(leader, number).await;
    }
    for node_id in (1..=3).filter(|node_id| *node_id != lagging) {
        let covered = machines.node(node_id).snapshot_now().await.unwrap();
        let raft = machines.raft(node_id);
        until("a short log", || {
            let purged = raft.metrics().borrow().purged.map(|id| id.index);
            (purged >= Some(covered)).then_some(())
        })
        .await;
    }
    let term = machines.raft(leader).metrics().borrow().current_term;
    // Longer than the silence of a leader for which a node asks for votes.
    machines.restore_time = Duration::from_secs(4);
    machines.start(lagging).await;
    assert_eq!(machines.agreed(21).await.len(), 21);
    until("the snapshot of another node", || machines.node(lagging).status().borrow().snapshot_index).await;
    let found = machines.raft(leader).metrics().borrow().clone();
    assert_eq!((found.current_term, found.current_leader), (term, Some(leader)), "nobody asked for votes");
    patiently(machines.node(lagging).propose(command(lagging, 99, 16))).await.unwrap();
    machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_without_a_quorum_and_serves_what_it_knows() {
    let mut machines = Machines::three().await;
    for number in 0..10 {
        machines.write(1, number).await;
    }
    machines.agreed(10).await;
    machines.shutdown().await;
    machines.start(2).await;
    assert!(machines.journal(2).entries().len() >= 9, "what was known to be committed is applied");
    let term = machines.raft(2).metrics().borrow().current_term;
    let error = patiently(machines.node(2).propose(command(2, 1, 16))).await.unwrap_err();
    // If it led when it ended, it goes on in its term, takes the command, and waits for the others in vain.
    let is_expected = matches!(
        error,
        ProposeError::Unavailable { reason: UnavailableReason::NoLeader | UnavailableReason::TimedOut, .. }
    );
    assert!(is_expected, "{error}");
    let metrics = machines.raft(2).metrics().borrow().clone();
    assert_eq!(metrics.current_term, term, "it asks for no votes that it cannot get");
    machines.start(3).await;
    machines.leader().await;
    machines.write(2, 2).await;
    machines.start(1).await;
    assert_eq!(machines.agreed(11).await.last(), Some(&(2, 2)));
    machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_restart_at_once() {
    let mut machines = Machines::three().await;
    for number in 0..5 {
        machines.write(3, number).await;
    }
    for node_id in 1..=3 {
        machines.kill(node_id).await;
    }
    for node_id in 1..=3 {
        machines.start(node_id).await;
    }
    machines.leader().await;
    machines.write(1, 0).await;
    let applied = machines.agreed(6).await;
    assert_eq!(applied, [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (1, 0)]);
    machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_register_themselves_through_the_leader() {
    let mut machines = Machines::three().await;
    let leader = machines.leader().await;
    let follower = leader % 3 + 1;
    let register =
        |node_id| SystemChange::Register(RegisterNode { node_id, incarnation: u64::MAX, after_epoch: 0 });
    let system = machines.node(follower).shared.system_proposer();
    let epoch = system.propose_system(register(follower)).await.unwrap();
    let known = |node_id: u64| machines.node(follower).members().borrow()[node_id as usize - 1].epoch;
    until("the epoch", || (known(follower) == Some(epoch)).then_some(())).await;
    let give_up = SystemChange::GiveUp(GiveUpNode { node_id: follower, epoch, ..GiveUpNode::default() });
    machines.node(leader).shared.system_proposer().propose_system(give_up).await.unwrap();
    until("the end of the epoch", || known(follower).is_none().then_some(())).await;
    machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_ask_each_other() {
    let mut machines = Machines::three().await;
    machines.leader().await;
    let node = machines.node(2);
    until("the members", || (node.members().borrow().len() == 3).then_some(())).await;
    assert_eq!(node.ask(3, Bytes::from_static(b"q")).await.unwrap().as_ref(), b"q\x02");
    assert_eq!(node.ask(2, Bytes::from_static(b"q")).await.unwrap().as_ref(), b"q\x02");
    let refused = AskError::Refused { node_id: 1, reason: "not this".to_owned() };
    assert_eq!(node.ask(1, Bytes::from_static(b"refuse")).await, Err(refused));
    assert_eq!(node.ask(9, Bytes::new()).await, Err(AskError::UnknownNode { node_id: 9 }));
    machines.kill(3).await;
    let error = machines.node(2).ask(3, Bytes::new()).await.unwrap_err();
    assert!(matches!(error, AskError::Unreachable { .. } | AskError::TimedOut { .. }), "{error}");
    machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_cluster_runs_and_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::new(dir.path().join("data"));
    options.reserve_bytes = Some(0);
    options.peers = Some(PeerOptions { expect_voters: Some(3), ..peers("127.0.0.1:0") });
    let node = Node::start(options, Arc::new(Journal::default()), Effects::new(), Arc::new(NoPeers));
    let node = node.await.unwrap();
    let status = node.status().wait_for(|status| status.state == NodeState::Joining).await.unwrap().clone();
    assert_eq!((status.node_id, status.cluster_id.as_str()), (0, ""));
    let (reason, outcome) = (UnavailableReason::Starting, CommandOutcome::NotApplied);
    let refused = node.propose(command(1, 1, 16)).await;
    assert_eq!(refused, Err(ProposeError::Unavailable { reason, outcome }));
    assert_eq!(node.snapshot_now().await, Err(SnapshotError::Unavailable { state: NodeState::Joining }));
    assert!(node.ask(1, Bytes::new()).await.is_err());
    node.shutdown().await;
    assert_eq!(node.status().borrow().state, NodeState::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ran_alone_gets_peers_later() {
    let dir = tempfile::tempdir().unwrap();
    let options = |peers| {
        let mut options = NodeOptions::new(dir.path().join("data"));
        options.reserve_bytes = Some(0);
        options.peers = peers;
        options
    };
    let start =
        |options| Node::start(options, Arc::new(Journal::default()), Effects::new(), Arc::new(NoPeers));
    let node = start(options(None)).await.unwrap();
    node.propose(command(1, 1, 16)).await.unwrap();
    node.shutdown().await;
    let node = start(options(Some(peers("127.0.0.1:0")))).await.unwrap();
    assert_eq!(node.propose(command(1, 2, 16)).await, Ok(1));
    node.shutdown().await;
    std::fs::remove_dir_all(dir.path().join("data/peer")).unwrap();
    let error = start(options(Some(peers("127.0.0.1:0")))).await.err().unwrap();
    assert!(matches!(error, StartError::CredentialsInvalid { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_hears_that_its_leaders_disk_is_full() {
    let mut machines = Machines::three().await;
    let leader = machines.leader().await;
    let follower = leader % 3 + 1;
    machines.write(follower, 1).await;
    machines.set_free(leader, 0);
    let mut status = machines.node(leader).status();
    patiently(status.wait_for(|status| status.state == NodeState::StorageFull)).await.unwrap();
    let refused = patiently(machines.node(follower).propose(command(follower, 2, 16))).await;
    let (reason, outcome) = (UnavailableReason::DiskFull, CommandOutcome::NotApplied);
    assert_eq!(refused, Err(ProposeError::Unavailable { reason, outcome }));
    machines.set_free(leader, u64::MAX);
    machines.write(follower, 3).await;
    assert_eq!(machines.journal(follower).of(follower), [1, 3]);
    machines.shutdown().await;
}
