//! The Raft library's own storage conformance suite, run against the log and the state machine together.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::LogStore;
use crate::applied::Applied;
use crate::disk::{DiskGuard, StatvfsProbe};
use crate::place::Place;
use crate::proposer::Origin;
use crate::raft::{StorageError, TypeConfig};
use crate::replica::{Replica, RestoreError, SnapshotView};
use crate::snapshot::store::SnapshotStore;
use crate::state_machine::{Machine, StateMachine};

/// A replica without state: the suite's entries carry no commands.
struct Empty;

impl Replica for Empty {
    fn node_changed(&self, _index: u64, _change: crate::NodeChange) {}

    type Response = ();

    fn apply(&self, _index: u64, commands: &[Bytes]) -> Vec<()> {
        vec![(); commands.len()]
    }

    fn view(&self, _format: u32) -> Box<dyn SnapshotView> {
        Box::new(Empty)
    }

    fn restore(&self, source: &mut dyn Read) -> Result<(), RestoreError> {
        let mut rest = Vec::new();
        source.read_to_end(&mut rest)?;
        assert!(rest.is_empty());
        Ok(())
    }
}

impl SnapshotView for Empty {
    fn write(&self, _sink: &mut dyn Write) -> std::io::Result<()> {
        Ok(())
    }
}

struct Builder;

/// Closes the log before its directory goes.
struct Guard {
    log: LogStore,
    _dir: TempDir,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.log.close();
    }
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine<Empty>, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, StateMachine<Empty>), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let log = LogStore::open(&dir.path().join("log"), Arc::new(|_| {})).unwrap();
        let guard = DiskGuard::new(Arc::new(StatvfsProbe), dir.path(), Some(0)).unwrap();
        let (snapshots, _none) = SnapshotStore::open(dir.path(), "suite", 1, Arc::new(guard)).unwrap();
        let origin = Origin { node_id: 1, incarnation: 1 };
        let place = Place {
            cluster_id: "suite".to_owned(),
            origin,
            snapshots: Arc::new(snapshots),
            credentials: None,
        };
        let place = Arc::new(OnceLock::from(place));
        let applied = Applied::new(
            Arc::clone(&place),
            crate::Formats::new(1, 1),
            crate::Effects::new(),
            Arc::default(),
            crate::Links::default(),
        );
        let machine = Machine::new(Arc::new(Empty), Arc::default(), place, applied);
        let machine = Arc::new(machine).next_generation();
        Ok((Guard { log: log.clone(), _dir: dir }, log, machine))
    }
}

#[test]
fn storage_conforms_to_the_raft_library() {
    Suite::test_all(Builder).unwrap();
}
