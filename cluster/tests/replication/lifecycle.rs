//! Starting, proposing, snapshots, restarting, and refusing what is damaged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rookery_cluster::{
    CommandOutcome, Effects, NoPeers, Node, NodeState, ProposeError, StartError, UnavailableReason,
};
use tokio::sync::oneshot;

use crate::register::{POISON, Register, command, options, start, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_applied_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (node, register) = start(options(dir.path())).await;
    assert_eq!(node.propose(command(7, 8)).await, Ok(0));
    assert_eq!(node.propose(command(8, 8)).await, Ok(1));
    assert!(register.contains(7));
    let first = until(&node, |status| status.state == NodeState::Leader).await;
    node.shutdown().await;
    assert_eq!(node.propose(command(9, 8)).await, Err(ProposeError::Closing));

    let (node, register) = start(options(dir.path())).await;
    assert!(register.contains(7) && register.contains(8) && !register.contains(9));
    assert_eq!(node.propose(command(9, 8)).await, Ok(2));
    let second = until(&node, |status| status.state == NodeState::Leader).await;
    assert_eq!(first.cluster_id, second.cluster_id);
    assert_eq!(second.leader_id, Some(second.node_id));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_callers_commands_are_applied_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let (node, register) = start(options(dir.path())).await;
    let mut callers = Vec::new();
    for caller in 0..4_u64 {
        let proposer = node.proposer();
        callers.push(tokio::task::spawn_blocking(move || {
            let places = Arc::new(Mutex::new(Vec::new()));
            let (last, all) = oneshot::channel();
            let mut last = Some(last);
            for number in 0..5_000 {
                let places = Arc::clone(&places);
                let last = if number == 4_999 { last.take() } else { None };
                proposer.try_submit(command(caller * 10_000 + number, 40), move |place| {
                    places.lock().push(place.unwrap());
                    last.map(|last| last.send(()));
                });
            }
            all.blocking_recv().unwrap();
            let places = places.lock().clone();
            assert_eq!(places.len(), 5_000);
            assert!(places.is_sorted());
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(register.len(), 20_000);
    let status = until(&node, |status| status.applied_index == status.log_index).await;
    assert!(status.log_index.unwrap() < 10_000, "commands share log entries: {status:?}");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_continues_from_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let small = |dir: &Path| {
        let mut options = options(dir);
        options.kept_entries = 0;
        options
    };
    let (node, _) = start(small(dir.path())).await;
    for number in 0..20 {
        node.propose(command(number, 8)).await.unwrap();
    }
    let covered = node.snapshot_now().await.unwrap();
    assert_eq!(node.snapshot_now().await, Ok(covered), "nothing new, nothing to do");
    until(&node, |status| status.snapshot_index == Some(covered)).await;
    for number in 20..30 {
        node.propose(command(number, 8)).await.unwrap();
    }
    node.shutdown().await;

    let (node, register) = start(small(dir.path())).await;
    assert_eq!(register.len(), 30);
    assert!(register.repeated().is_empty());
    assert_eq!(node.status().borrow().snapshot_index, Some(covered));
    assert_eq!(node.propose(command(30, 8)).await, Ok(30));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_made_by_entries_and_by_bytes_and_two_are_kept() {
    for by_bytes in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let limited = || {
            let mut limited = options(dir.path());
            limited.kept_entries = 5;
            match by_bytes {
                true => limited.snapshot_log_bytes = 10_000,
                false => limited.snapshot_entries = 20,
            }
            limited
        };
        let (node, _) = start(limited()).await;
        let mut seen = Vec::new();
        for number in 0.. {
            node.propose(command(number, 1_000)).await.unwrap();
            let snapshot = node.status().borrow().snapshot_index;
            if snapshot != seen.last().copied().flatten() {
                seen.push(snapshot);
            }
            if seen.len() == 4 {
                break;
            }
        }
        node.shutdown().await;
        assert!(snapshots(dir.path()).len() <= 2);
        let (node, register) = start(limited()).await;
        assert!(register.len() > 30 && register.repeated().is_empty());
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = start(options(dir.path())).await;
    let error = refused(dir.path()).await;
    assert!(matches!(error, StartError::Locked { .. }), "{error}");
    node.shutdown().await;
    start(options(dir.path())).await.0.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_newest_snapshot_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = start(options(dir.path())).await;
    node.propose(command(1, 8)).await.unwrap();
    node.snapshot_now().await.unwrap();
    node.shutdown().await;
    let newest = snapshots(dir.path()).pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&newest, &bytes).unwrap();

    let error = refused(dir.path()).await;
    assert!(matches!(&error, StartError::SnapshotInvalid { path, .. } if *path == newest), "{error}");
    bytes[middle] ^= 0x10;
    std::fs::write(&newest, &bytes).unwrap();
    let (node, register) = start(options(dir.path())).await;
    assert!(register.contains(1), "nothing was changed by the refused start");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_files_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut short = options(dir.path());
    short.kept_entries = 0;
    let (node, _) = start(short).await;
    for number in 0..10 {
        node.propose(command(number, 8)).await.unwrap();
    }
    node.snapshot_now().await.unwrap();
    node.propose(command(10, 8)).await.unwrap();
    // The log is cut behind the answer to the first, but before the second begins.
    node.snapshot_now().await.unwrap();
    node.shutdown().await;

    std::fs::rename(data.join("snapshots"), data.join("elsewhere")).unwrap();
    let error = refused(dir.path()).await;
    assert!(matches!(error, StartError::SnapshotMissing { .. }), "{error}");
    std::fs::remove_dir_all(data.join("snapshots")).unwrap();
    std::fs::rename(data.join("elsewhere"), data.join("snapshots")).unwrap();

    std::fs::rename(data.join("log"), data.join("elsewhere")).unwrap();
    let mark = std::fs::read(data.join("log.mark")).unwrap();
    let error = refused(dir.path()).await;
    assert!(matches!(error, StartError::LogTruncated { .. }), "{error}");
    std::fs::remove_file(data.join("log.mark")).unwrap();
    let error = refused(dir.path()).await;
    assert!(matches!(error, StartError::LogMissing { .. }), "{error}");
    std::fs::remove_dir_all(data.join("log")).unwrap();
    std::fs::rename(data.join("elsewhere"), data.join("log")).unwrap();
    std::fs::write(data.join("log.mark"), mark).unwrap();

    let (node, register) = start(options(dir.path())).await;
    assert_eq!(register.len(), 11);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_log_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = start(options(dir.path())).await;
    for number in 0..50 {
        node.propose(command(number, 300)).await.unwrap();
    }
    node.shutdown().await;
    let journal = dir.path().join("data/log/0.jnl");
    let whole = std::fs::read(&journal).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for step in 1..20 {
        let mut damaged = whole.clone();
        damaged[used * step / 20] ^= 1;
        std::fs::write(&journal, &damaged).unwrap();
        match Node::start(
            options(dir.path()),
            Arc::new(Register::default()),
            Effects::new(),
            Arc::new(NoPeers),
        )
        .await
        {
            Err(StartError::Log { .. } | StartError::LogTruncated { .. } | StartError::LogMissing { .. }) => {
            }
            Err(other) => panic!("byte {}: unexpected {other}", used * step / 20),
            Ok(_) => panic!("byte {}: started with a damaged log", used * step / 20),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_too_large_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut limited = options(dir.path());
    limited.command_bytes_max = 1_000;
    let (node, _) = start(limited).await;
    let error = node.propose(command(1, 1_001)).await.unwrap_err();
    assert_eq!(error, ProposeError::CommandTooLarge { bytes: 1_001, max: 1_000 });
    assert_eq!(node.propose(command(1, 1_000)).await, Ok(0));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_panics_stops_the_node_but_not_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (node, register) = start(options(dir.path())).await;
    node.propose(command(1, 8)).await.unwrap();
    let error = node.propose(command(POISON, 8)).await.unwrap_err();
    assert!(error.may_have_applied(), "{error}");
    let status = until(&node, |status| status.state == NodeState::ReplicaFailed).await;
    assert!(status.failure.unwrap().contains("panicked"));
    let refused = node.propose(command(2, 8)).await.unwrap_err();
    let (reason, outcome) = (UnavailableReason::ReplicaFailed, CommandOutcome::NotApplied);
    assert_eq!(refused, ProposeError::Unavailable { reason, outcome });
    assert!(register.contains(1));
    node.shutdown().await;
    assert_eq!(node.status().borrow().state, NodeState::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_queued_at_the_end_are_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = start(options(dir.path())).await;
    let answers = Arc::new(Mutex::new(Vec::new()));
    for number in 0..3_000 {
        let answers = Arc::clone(&answers);
        node.proposer().try_submit(command(number, 200), move |answer| answers.lock().push(answer));
    }
    node.shutdown().await;
    assert_eq!(answers.lock().len(), 3_000);
    assert!(answers.lock().iter().all(Result::is_ok));
    let (node, register) = start(options(dir.path())).await;
    assert_eq!(register.len(), 3_000);
    node.shutdown().await;
}

async fn refused(dir: &Path) -> StartError {
    match Node::start(options(dir), Arc::new(Register::default()), Effects::new(), Arc::new(NoPeers)).await {
        Ok(_) => panic!("the node started"),
        Err(error) => error,
    }
}

fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("data/snapshots")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
