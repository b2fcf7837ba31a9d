//! Drives the [`Replica`]: the Raft library's state machine on one side, the caller's on the other.
//!
//! [`Machine`] lives as long as the node and outlives a failure of the storage, so that reads go on and nothing needs
//! to be replayed afterwards. [`StateMachine`] is what one Raft core holds; when a new core takes over, the old one's
//! handle is refused.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageIOError};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::applied::Applied;
use crate::dedup::{self, Admitted, DedupTable};
use crate::error::{CommandOutcome, ProposeError, UnavailableReason};
use crate::formats::WrittenFormat;
use crate::nodes::Nodes;
use crate::place::Place;
use crate::proposer::Origin;
use crate::proposer::pending::Pending;
use crate::raft::{
    Entry, LogId, Peer, Snapshot, SnapshotFile, SnapshotMeta, StorageError, StoredMembership, TypeConfig,
};
use crate::record::{
    self, Batch, GiveUpReason, Group, LogIdRecord, MembershipRecord, SnapshotHeader, SystemChange,
    SystemCommand,
};
use crate::replica::{NodeChange, Replica, RestoreError, SnapshotView};
use crate::snapshot::format::Verified;

/// The replica together with what must change in step with it.
pub(crate) struct Machine<R: Replica> {
    replica: Arc<R>,
    pending: Arc<Pending<R::Response>>,
    place: Arc<OnceLock<Place>>,
    applied: Arc<Applied>,
    /// Held while commands are applied: this makes the applies of two Raft cores follow each other.
    state: Mutex<State>,
    /// Index behind the last entry applied, for those who must not wait for the lock.
    applied_next: AtomicU64,
    /// Bytes of commands applied by this process.
    applied_bytes: AtomicU64,
    /// The same at the moment of the newest snapshot.
    snapshot_bytes: AtomicU64,
}

#[derive(Default)]
struct State {
    last_applied: Option<LogId>,
    membership: StoredMembership,
    dedup: DedupTable,
    nodes: Nodes,
    /// Which Raft core may apply.
    generation: u64,
    /// Why the replica can no longer be trusted.
    fault: Option<String>,
}

/// Why entries were not applied.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error("a newer Raft core has taken over")]
    Superseded,
    #[error("{0}")]
    Fault(String),
}

/// Own commands that were applied, and their responses.
type Answered<T> = (u64, Vec<T>);

/// The new table of nodes, and what this means for the replica.
type ChangedNodes = (Nodes, Option<(NodeChange, GiveUpReason)>);

/// What an entry brought about besides the new state; told to those who wait without the machine's lock.
struct Outcome<T> {
    answered: Vec<Answered<T>>,
    nodes: Option<ChangedNodes>,
}

impl<R: Replica> Machine<R> {
    pub(crate) fn new(
        replica: Arc<R>,
        pending: Arc<Pending<R::Response>>,
        place: Arc<OnceLock<Place>>,
        applied: Arc<Applied>,
    ) -> Machine<R> {
        Machine {
            replica,
            pending,
            place,
            applied,
            state: Mutex::default(),
            applied_next: AtomicU64::new(0),
            applied_bytes: AtomicU64::new(0),
            snapshot_bytes: AtomicU64::new(0),
        }
    }

    /// Index of the last entry applied.
    pub(crate) fn applied_index(&self) -> Option<u64> {
        self.applied_next.load(Ordering::Acquire).checked_sub(1)
    }

    fn place(&self) -> &Place {
        self.place.get().expect("a Raft core runs only on a node that has a place in a cluster")
    }

    /// Why the replica can no longer be trusted, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        self.state.lock().fault.clone()
    }

    /// Bytes of commands applied since the newest snapshot.
    pub(crate) fn bytes_since_snapshot(&self) -> u64 {
        let applied = self.applied_bytes.load(Ordering::Relaxed);
        applied.saturating_sub(self.snapshot_bytes.load(Ordering::Relaxed))
    }

    /// The handle for a new Raft core. That of the core before is refused from now on.
    pub(crate) fn next_generation(self: &Arc<Self>) -> StateMachine<R> {
        let mut state = self.state.lock();
        state.generation += 1;
        StateMachine { machine: Arc::clone(self), generation: state.generation }
    }

    /// Replaces the state by that of a verified snapshot. `generation` is the Raft core that asks for it; `None` before
    /// there is one.
    pub(crate) fn restore(&self, snapshot: &Verified, generation: Option<u64>) -> Result<(), RestoreError> {
        let header = &snapshot.header;
        let membership = record::stored_membership(header)
            .map_err(|error| RestoreError::Invalid { rule: error.to_string() })?;
        let nodes = header.nodes.as_ref().map(Nodes::from_record).unwrap_or_default();
        self.applied
            .formats
            .check(nodes.format())
            .map_err(|error| RestoreError::Invalid { rule: error.to_string() })?;
        let mut state = self.state.lock();
        if generation.is_some_and(|asking| asking != state.generation) {
            return Err(RestoreError::Invalid { rule: ApplyError::Superseded.to_string() });
        }
        self.replica.restore(&mut snapshot.body()?)?;
        state.last_applied = header.last_log_id.map(LogId::from);
        let applied_next = state.last_applied.map_or(0, |id| id.index + 1);
        self.applied_next.store(applied_next, Ordering::Release);
        state.membership = membership;
        state.dedup = DedupTable::from_records(&header.dedup);
        state.nodes = nodes;
        let Origin { node_id, incarnation } = self.place().origin;
        let applied_unseen = state.dedup.last(node_id, incarnation);
        let (nodes, last) = (state.nodes.clone(), state.last_applied);
        drop(state);
        self.applied.nodes_changed(last.map_or(0, |id| id.index), &nodes, None);
        self.applied.advance(last);
        // The snapshot of another node holds the effects of own commands, but not their responses.
        self.pending.applied_unseen(applied_unseen, &UNKNOWN);
        Ok(())
    }

    fn apply(&self, generation: u64, entries: Vec<Entry>) -> Result<(), ApplyError> {
        for entry in entries {
            let log_id = entry.log_id;
            let Outcome { answered, nodes } = self.apply_entry(generation, entry)?;
            if let Some((nodes, change)) = nodes {
                self.applied.nodes_changed(log_id.index, &nodes, change);
            }
            self.applied.advance(Some(log_id));
            for (first_sequence, responses) in answered {
                self.pending.complete(first_sequence, responses);
            }
        }
        Ok(())
    }

    fn apply_entry(&self, generation: u64, entry: Entry) -> Result<Outcome<R::Response>, ApplyError> {
        let mut state = self.state.lock();
        if state.generation != generation {
            return Err(ApplyError::Superseded);
        }
        if let Some(fault) = &state.fault {
            return Err(ApplyError::Fault(fault.clone()));
        }
        let mut outcome = Outcome { answered: Vec::new(), nodes: None };
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(payload) => {
                self.apply_batch(&mut state, entry.log_id, &payload.0, &mut outcome)?;
            }
            EntryPayload::Membership(membership) => {
                state.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
        }
        state.last_applied = Some(entry.log_id);
        self.applied_next.store(entry.log_id.index + 1, Ordering::Release);
        Ok(outcome)
    }

    fn apply_batch(
        &self,
        state: &mut State,
        log_id: LogId,
        batch: &Batch,
        outcome: &mut Outcome<R::Response>,
    ) -> Result<(), ApplyError> {
        let index = log_id.index;
        let bytes = batch.command_bytes() as u64;
        self.applied_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(system) = &batch.system {
            outcome.nodes = self.apply_system(state, log_id, system)?;
        }
        // Of each group the part that was not applied before: where it starts, its sequence, whose it is.
        let mut fresh: Vec<(&[Bytes], u64, bool)> = Vec::with_capacity(batch.groups.len());
        for group in &batch.groups {
            let Group { node_id, incarnation, first_sequence, after_sequence, .. } = *group;
            let own = Origin { node_id, incarnation } == self.place().origin;
            let place = dedup::Place { node_id, incarnation, after_sequence, first_sequence };
            match state.dedup.admit(place, group.commands.len()) {
                Admitted::Gap if own => self.pending.gap(),
                Admitted::Gap => {}
                Admitted::Except(repeated) => {
                    if own && repeated > 0 {
                        // Normally answered when they were applied; whoever still waits can learn no more.
                        self.pending.applied_unseen(first_sequence + repeated as u64 - 1, &UNKNOWN);
                    }
                    if repeated < group.commands.len() {
                        fresh.push((&group.commands[repeated..], first_sequence + repeated as u64, own));
                    }
                }
            }
        }
        let mut responses = match fresh.as_slice() {
            [] => return Ok(()),
            [(commands, _, _)] => self.apply_commands(state, index, commands)?,
            several => {
                let commands: Vec<Bytes> =
                    several.iter().flat_map(|(commands, _, _)| commands.iter().cloned()).collect();
                self.apply_commands(state, index, &commands)?
            }
        };
        for (commands, sequence, own) in fresh {
            let rest = responses.split_off(commands.len());
            let of_group = std::mem::replace(&mut responses, rest);
            if own {
                outcome.answered.push((sequence, of_group));
            }
        }
        Ok(())
    }

    /// Changes the table of nodes and tells the replica, which drops what a node held in an epoch that is over.
    fn apply_system(
        &self,
        state: &mut State,
        log_id: LogId,
        command: &SystemCommand,
    ) -> Result<Option<ChangedNodes>, ApplyError> {
        let index = log_id.index;
        if is_foreign_decision(command, log_id) {
            return Ok(None);
        }
        let change = state.nodes.apply(index, command);
        if let Err(error) = self.applied.formats.check(state.nodes.format()) {
            let fault = format!("log entry {index} cannot be applied: {error}");
            tracing::error!(%fault, "this release cannot be a member of the cluster any more");
            state.fault = Some(fault.clone());
            return Err(ApplyError::Fault(fault));
        }
        let Some(change) = change else {
            return Ok(Some((state.nodes.clone(), None)));
        };
        let told = catch_unwind(AssertUnwindSafe(|| self.replica.node_changed(index, change)));
        if told.is_err() {
            let fault = format!("the replica panicked in log entry {index}");
            tracing::error!(%fault, "the replicated state can no longer be trusted");
            state.fault = Some(fault.clone());
            return Err(ApplyError::Fault(fault));
        }
        let reason = match &command.change {
            Some(SystemChange::GiveUp(given_up)) => given_up.reason(),
            _ => GiveUpReason::Unspecified,
        };
        Ok(Some((state.nodes.clone(), Some((change, reason)))))
    }

    /// What follows the log besides the replica.
    pub(crate) fn applied(&self) -> &Arc<Applied> {
        &self.applied
    }

    /// What the cluster writes, as far as this node has applied the log.
    pub(crate) fn format(&self) -> WrittenFormat {
        self.applied.format.clone()
    }

    /// What the cluster knows about its nodes, as far as this node has applied the log.
    pub(crate) fn nodes(&self) -> Arc<Nodes> {
        self.applied.nodes()
    }

    /// [`Self::nodes`], now and whenever it changes.
    pub(crate) fn watch_nodes(&self) -> watch::Receiver<Arc<Nodes>> {
        self.applied.watch_nodes()
    }

    /// Calls the replica and notes a fault when it breaks its contract.
    fn apply_commands(
        &self,
        state: &mut State,
        index: u64,
        commands: &[Bytes],
    ) -> Result<Vec<R::Response>, ApplyError> {
        // The replica is not used again after a panic, so what it left half done is never seen by an apply.
        let fault = match catch_unwind(AssertUnwindSafe(|| self.replica.apply(index, commands))) {
            Ok(responses) if responses.len() == commands.len() => return Ok(responses),
            Ok(responses) => {
                format!(
                    "the replica gave {} responses to {} commands of log entry {index}",
                    responses.len(),
                    commands.len()
                )
            }
            Err(_panic) => format!("the replica panicked in log entry {index}"),
        };
        tracing::error!(%fault, "the replicated state can no longer be trusted");
        state.fault = Some(fault.clone());
        Err(ApplyError::Fault(fault))
    }

    /// The header and view of a snapshot of this moment, and the applied bytes it covers.
    fn freeze(&self) -> (SnapshotHeader, Box<dyn SnapshotView>, u64) {
        let state = self.state.lock();
        let header = SnapshotHeader {
            last_log_id: state.last_applied.as_ref().map(LogIdRecord::from),
            membership: Some(MembershipRecord::from(state.membership.membership())),
            membership_log_id: state.membership.log_id().as_ref().map(LogIdRecord::from),
            dedup: state.dedup.to_records(),
            cluster_id: String::new(),
            snapshot_id: String::new(),
            nodes: Some(state.nodes.to_record()),
        };
        (header, self.replica.view(self.applied.format.get()), self.applied_bytes.load(Ordering::Relaxed))
    }
}

/// Whether a leader decided to give a node up, but another one wrote the decision to the log: the first was replaced while
/// it was proposing, and the node may have got a lease since.
fn is_foreign_decision(command: &SystemCommand, log_id: LogId) -> bool {
    match &command.change {
        Some(SystemChange::GiveUp(given_up)) if given_up.decided_in_term != 0 => {
            let leader = log_id.leader_id;
            (leader.term, leader.node_id) != (given_up.decided_in_term, given_up.decided_by)
        }
        _ => false,
    }
}

const UNKNOWN: ProposeError =
    ProposeError::Unavailable { reason: UnavailableReason::StorageFailed, outcome: CommandOutcome::Unknown };

/// One Raft core's handle to the machine.
pub(crate) struct StateMachine<R: Replica> {
    machine: Arc<Machine<R>>,
    generation: u64,
}

impl<R: Replica> RaftStateMachine<TypeConfig> for StateMachine<R> {
    type SnapshotBuilder = SnapshotBuilder<R>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let state = self.machine.state.lock();
        Ok((state.last_applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let count = entries.len();
        self.machine
            .apply(self.generation, entries)
            .map_err(|error| StorageIOError::write_state_machine(AnyError::new(&error)))?;
        Ok(vec![(); count])
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<R> {
        let (header, view, bytes) = self.machine.freeze();
        SnapshotBuilder {
            machine: Arc::clone(&self.machine),
            bytes,
            frozen: Mutex::new(Some((header, view))),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFile>, StorageError> {
        let file = self
            .machine
            .place()
            .snapshots
            .begin_receiving()
            .map_err(|error| StorageIOError::write_snapshot(None, AnyError::new(&error)))?;
        Ok(Box::new(file))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<SnapshotFile>,
    ) -> Result<(), StorageError> {
        let (machine, generation) = (Arc::clone(&self.machine), self.generation);
        let meta_for_task = meta.clone();
        let installed =
            tokio::task::spawn_blocking(move || machine.install(generation, &meta_for_task, &snapshot));
        let result = installed.await.unwrap_or_else(|panic| Err(panic.to_string()));
        result.map_err(|reason| {
            StorageIOError::write_snapshot(Some(meta.signature()), AnyError::error(reason)).into()
        })
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        Ok(self.machine.place().snapshots.current())
    }
}

impl<R: Replica> Machine<R> {
    /// Takes over a snapshot received from a peer: checked, kept, restored, in this order, so that a crash in between
    /// starts from it.
    fn install(&self, generation: u64, meta: &SnapshotMeta, file: &SnapshotFile) -> Result<(), String> {
        let verified = self.place().snapshots.verify_received(meta, file)?;
        if self.state.lock().generation != generation {
            return Err(ApplyError::Superseded.to_string());
        }
        self.place().snapshots.adopt(meta, file).map_err(|error| error.to_string())?;
        self.restore(&verified, Some(generation)).map_err(|error| error.to_string())?;
        self.snapshot_bytes.store(self.applied_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(())
    }
}

/// A frozen view that is about to be written.
pub(crate) struct SnapshotBuilder<R: Replica> {
    machine: Arc<Machine<R>>,
    /// Applied bytes at the moment of the view.
    bytes: u64,
    /// Behind a lock only because the Raft library asks for a type that could be shared.
    frozen: Mutex<Option<(SnapshotHeader, Box<dyn SnapshotView>)>>,
}

impl<R: Replica> RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder<R> {
    /// A snapshot that cannot be written is no reason to stop: the Raft core is told of the previous one again, which
    /// it ignores, and the attempt is repeated later.
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let machine = Arc::clone(&self.machine);
        let frozen = self.frozen.lock().take();
        let bytes = self.bytes;
        let built = tokio::task::spawn_blocking(move || {
            let (header, view) = frozen?;
            let snapshot = machine.place().snapshots.build(header, view.as_ref()).ok()?;
            machine.snapshot_bytes.fetch_max(bytes, Ordering::Relaxed);
            Some(snapshot)
        });
        let built = built.await.ok().flatten().or_else(|| self.machine.place().snapshots.current());
        Ok(built.unwrap_or_else(|| Snapshot {
            meta: openraft::SnapshotMeta::<u64, Peer>::default(),
            snapshot: Box::new(SnapshotFile { path: std::path::PathBuf::new() }),
        }))
    }
}
