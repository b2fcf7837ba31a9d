//! A full disk refuses writes, serves reads, loses nothing, and recovers by itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rookery_cluster::{DiskProbe, DiskSpace, NodeState, ProposeError, SnapshotError};

use crate::register::{command, options, start, until};

const MIB: u64 = 1024 * 1024;

/// Says what the test tells it to.
struct Told(AtomicU64);

impl DiskProbe for Told {
    fn measure(&self, _path: &Path) -> std::io::Result<DiskSpace> {
        Ok(DiskSpace { free_bytes: self.0.load(Ordering::SeqCst), total_bytes: 1024 * MIB })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_reserve_writes_are_refused_until_space_returns() {
    let dir = tempfile::tempdir().unwrap();
    let probe = Arc::new(Told(AtomicU64::new(500 * MIB)));
    let mut guarded = options(dir.path());
    guarded.reserve_bytes = None;
    guarded.disk_probe = Arc::clone(&probe) as Arc<dyn DiskProbe>;
    let (node, register) = start(guarded).await;
    let reserve_bytes = node.status().borrow().disk_reserve_bytes;
    assert_eq!(reserve_bytes, 1024 * MIB / 100 * 5, "five percent, being less than 64 MiB");
    node.propose(command(1, 8)).await.unwrap();

    let free_bytes = reserve_bytes - 1;
    probe.0.store(free_bytes, Ordering::SeqCst);
    until(&node, |status| status.state == NodeState::StorageFull).await;
    let refused = node.propose(command(2, 8)).await;
    assert_eq!(refused, Err(ProposeError::StorageFull { free_bytes, reserve_bytes }));
    assert_eq!(node.snapshot_now().await, Err(SnapshotError::StorageFull { free_bytes, reserve_bytes }));
    assert!(register.contains(1) && !register.contains(2), "reads go on");
    let (done, answered) = tokio::sync::oneshot::channel();
    node.proposer().try_submit_essential(command(4, 8), |result| {
        let _gone = done.send(result.is_ok());
    });
    assert_eq!(answered.await, Ok(true), "an essential command may use half of the reserve");
    assert!(register.contains(4));

    probe.0.store(500 * MIB, Ordering::SeqCst);
    node.propose(command(3, 8)).await.unwrap();
    until(&node, |status| status.state == NodeState::Leader).await;
    assert!(node.snapshot_now().await.is_ok());
    node.shutdown().await;
}

/// A small file system that ends with the value.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount(mebibytes: u64) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(SmallDisk { dir })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = std::process::Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_is_survived() {
    let Some(disk) = SmallDisk::mount(48) else {
        println!("mounting is not allowed here; the injected failures cover this");
        return;
    };
    let (node, register) = start(options(disk.dir.path())).await;
    let ballast = disk.dir.path().join("ballast");
    std::fs::write(&ballast, vec![1; 36 * MIB as usize]).unwrap();

    let mut acknowledged = Vec::new();
    let mut refused = Vec::new();
    for number in 0_u64.. {
        match node.propose(command(number, 200_000)).await {
            Ok(_) => acknowledged.push(number),
            Err(error) => {
                println!("after {} commands: {error}", acknowledged.len());
                refused.push(number);
                break;
            }
        }
    }
    let failed = until(&node, |status| status.state == NodeState::StorageFailed).await;
    println!("failure: {:?}", failed.failure);
    assert!(acknowledged.iter().all(|number| register.contains(*number)), "reads go on");
    assert!(node.propose(command(1_000_000, 8)).await.is_err());

    std::fs::remove_file(&ballast).unwrap();
    until(&node, |status| status.state == NodeState::Leader).await;
    node.propose(command(1_000_001, 8)).await.unwrap();
    assert!(acknowledged.iter().all(|number| register.contains(*number)));
    assert!(register.repeated().is_empty());
    node.shutdown().await;

    let (node, register) = start(options(disk.dir.path())).await;
    assert!(acknowledged.iter().all(|number| register.contains(*number)), "still there after a restart");
    assert!(register.contains(1_000_001) && !register.contains(1_000_000));
    assert!(register.repeated().is_empty());
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_disk_is_never_filled_when_a_reserve_is_kept() {
    let Some(disk) = SmallDisk::mount(64) else {
        println!("mounting is not allowed here; the injected probe covers this");
        return;
    };
    let mut guarded = options(disk.dir.path());
    guarded.reserve_bytes = Some(16 * MIB);
    guarded.snapshot_log_bytes = u64::MAX;
    let (node, register) = start(guarded).await;
    let mut acknowledged = 0;
    let error = loop {
        match node.propose(command(acknowledged, 200_000)).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ProposeError::StorageFull { .. }), "{error}");
    until(&node, |status| status.state == NodeState::StorageFull).await;
    assert_eq!(register.len() as u64, acknowledged);
    node.shutdown().await;
}
