//! The last resort when a quorum is lost for good: one node goes on alone as a new cluster.
//!
//! Everything that this node has on disk is kept, entries included of which it is not known whether they were
//! committed. What only others had is lost. The node gets a cluster identifier, an authority and a Raft
//! identifier that were never used; every old identifier is removed in the log. So a node of the old cluster
//! that comes back is refused by its certificate, and nothing that it held for clients is valid any more. It
//! can join again with an empty data directory.
//!
//! Cut off anywhere, the operation is to be repeated, and a node does not start before: `recover.json` says
//! what it was about to become. The order is snapshot, log, certificates, identity.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use openraft::{CommittedLeaderId, EntryPayload};
use serde::{Deserialize, Serialize};

use crate::disk::{DiskGuard, StatvfsProbe};
use crate::error::StartError;
use crate::identity::{DataDir, Identity, io_error, sync_parent, write_atomically};
use crate::log_store::OfflineLog;
use crate::membership::{new_cluster_id, new_request_id, request};
use crate::nodes::Nodes;
use crate::pki::{Credentials, PeerIdentity};
use crate::raft::{Entry, LogId, Membership, Payload, Peer, Vote};
use crate::record::{AdmitNode, Batch, RemoveNode, SystemChange, SystemCommand};
use crate::replica::SnapshotView;
use crate::snapshot::format::Verified;
use crate::snapshot::store::SnapshotStore;

/// What a node became by [`unsafe_new_cluster`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Identifier of the new cluster.
    pub cluster_id: String,
    /// Identifier of the cluster that was given up.
    pub former_cluster_id: String,
    /// Raft identifier of the only member.
    pub node_id: u64,
    /// Identifiers of the old cluster, this node's own included. They are refused for ever.
    pub removed: Vec<u64>,
    /// The last log entry that was kept.
    pub last_log_index: u64,
}

/// Makes the node of a data directory the only member of a new cluster. The node must not run. Afterwards it
/// is started as usual; what it had replicated is there.
///
/// **This loses every change that was acknowledged without this node, and splits the cluster if its other
/// nodes live.** All other nodes must be stopped and their data directories removed.
///
/// # Errors
/// When a process holds the directory, when it belongs to no cluster, or when its files are damaged. Repeat
/// it after an error.
pub fn unsafe_new_cluster(data_dir: &Path) -> Result<Recovered, StartError> {
    let data_dir = DataDir::lock(data_dir)?;
    let Some(former) = data_dir.read_identity()? else {
        return Err(StartError::NothingToRecover { path: data_dir.path });
    };
    let guard = DiskGuard::new(Arc::new(StatvfsProbe), &data_dir.path, None)
        .map_err(io_error("measure free space of", &data_dir.path))?;
    let guard = Arc::new(guard);
    let plan = match Plan::load(&data_dir.path)? {
        Some(plan) => plan,
        None => Plan::make(&data_dir.path, &former, &guard)?,
    };
    tracing::warn!(
        former_cluster_id = plan.former_cluster_id,
        cluster_id = plan.cluster_id,
        node_id = plan.node_id,
        "this node becomes a new cluster; what only the other nodes had is lost"
    );
    plan.rewrite_snapshot(&data_dir.path, former.node_id, &guard)?;
    plan.extend_log(&data_dir.path)?;
    plan.take_identity(&data_dir, &former)?;
    Ok(Recovered {
        cluster_id: plan.cluster_id,
        former_cluster_id: plan.former_cluster_id,
        node_id: plan.node_id,
        removed: plan.removed,
        last_log_index: plan.last_log_index,
    })
}

/// Refuses a directory in which a recovery has begun and not ended.
pub(crate) fn refuse_unfinished(data_dir: &Path) -> Result<(), StartError> {
    match path(data_dir) {
        unfinished if unfinished.exists() => Err(StartError::RecoveryUnfinished { path: unfinished }),
        _ => Ok(()),
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("recover.json")
}

/// What the node is about to become; on disk before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    cluster_id: String,
    former_cluster_id: String,
    node_id: u64,
    request_id: Vec<u8>,
    removed: Vec<u64>,
    name: String,
    address: String,
    last_log_index: u64,
}

impl Plan {
    fn load(data_dir: &Path) -> Result<Option<Plan>, StartError> {
        let path = path(data_dir);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                StartError::IdentityInvalid { path, rule: format!("it must be JSON: {error}") }
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    fn make(data_dir: &Path, former: &Identity, guard: &Arc<DiskGuard>) -> Result<Plan, StartError> {
        let (_, snapshot) =
            SnapshotStore::open(data_dir, &former.cluster_id, former.node_id, Arc::clone(guard))?;
        let log = OfflineLog::open(&data_dir.join("log"))?;
        let known = Known::read(data_dir, &log, snapshot.as_ref())?;
        let Some(last_log_index) = known.last_index else {
            return Err(StartError::NothingToRecover { path: data_dir.to_owned() });
        };
        let request_id = new_request_id();
        let mut nodes = known.nodes.clone();
        nodes.apply(last_log_index + 1, &admit(&request_id, ""));
        let node_id = nodes.admitted(&request_id).expect("it was admitted one line before");
        let mut removed: Vec<u64> = known.nodes.all().chain(known.peers.keys().copied()).collect();
        removed.push(former.node_id);
        removed.sort_unstable();
        removed.dedup();
        let own = known.peers.get(&former.node_id).cloned().unwrap_or_default();
        let plan = Plan {
            cluster_id: new_cluster_id(),
            former_cluster_id: former.cluster_id.clone(),
            node_id,
            request_id,
            removed,
            name: own.name,
            address: own.address,
            last_log_index,
        };
        let path = path(data_dir);
        let bytes = serde_json::to_vec_pretty(&plan).expect("a plan is valid JSON");
        write_atomically(&path, &bytes).map_err(io_error("write", &path))?;
        Ok(plan)
    }

    /// Writes the newest snapshot again, as one of the new cluster.
    fn rewrite_snapshot(
        &self,
        data_dir: &Path,
        node_id: u64,
        guard: &Arc<DiskGuard>,
    ) -> Result<(), StartError> {
        if SnapshotStore::open(data_dir, &self.cluster_id, node_id, Arc::clone(guard)).is_ok() {
            // There is none, or it was written before an interruption.
            return Ok(());
        }
        let (_, snapshot) =
            SnapshotStore::open(data_dir, &self.former_cluster_id, node_id, Arc::clone(guard))?;
        let Some(snapshot) = snapshot else { return Ok(()) };
        let store = SnapshotStore::for_cluster(data_dir, &self.cluster_id, self.node_id, Arc::clone(guard))?;
        let written = store.build(snapshot.header.clone(), &Copied(&snapshot));
        written.map(drop).map_err(|error| StartError::SnapshotInvalid {
            path: data_dir.join("snapshots"),
            rule: error.to_string(),
        })
    }

    /// Appends what makes this node the only member, unless that is done.
    fn extend_log(&self, data_dir: &Path) -> Result<(), StartError> {
        let log = OfflineLog::open(&data_dir.join("log"))?;
        let mut is_done = false;
        log.visit(self.last_log_index + 1, |_own| is_done = true)?;
        if is_done {
            return Ok(());
        }
        // A term in which nobody was elected; its leader is an identifier that is given up here.
        let vote_term = log.vote().map_or(0, |vote| vote.leader_id.term);
        let term = vote_term.max(log.last().map_or(0, |id| id.leader_id.term)) + 1;
        let author = self.removed.first().copied().unwrap_or_default();
        let system = |command| {
            let batch = Batch { groups: Vec::new(), system: Some(command) };
            EntryPayload::Normal(Payload(Arc::new(batch)))
        };
        let peer = Peer { name: self.name.clone(), address: self.address.clone(), never_votes: false };
        let alone = Membership::new(vec![[self.node_id].into()], BTreeMap::from([(self.node_id, peer)]));
        let mut payloads = vec![system(admit(&self.request_id, &self.name))];
        payloads.extend(self.removed.iter().map(|node_id| system(remove(*node_id))));
        payloads.push(EntryPayload::Membership(alone));
        let entries: Vec<Entry> = (self.last_log_index + 1..)
            .zip(payloads)
            .map(|(index, payload)| Entry {
                log_id: LogId::new(CommittedLeaderId::new(term, author), index),
                payload,
            })
            .collect();
        log.extend(&entries, &Vote::new(term, author))
    }

    /// New certificates, then the new identity, which ends the old one.
    fn take_identity(&self, data_dir: &DataDir, former: &Identity) -> Result<(), StartError> {
        let identity = PeerIdentity { cluster_id: self.cluster_id.clone(), node_id: self.node_id };
        let credentials = Credentials::found(&identity).map_err(|error| StartError::CredentialsInvalid {
            path: data_dir.path.join("peer"),
            rule: error.to_string(),
        })?;
        credentials.save(&data_dir.path)?;
        let mut identity = Identity::new(&self.cluster_id, self.node_id);
        identity.incarnation = former.incarnation + 1;
        identity.initialized = true;
        identity.certified = true;
        data_dir.save_identity(&identity)?;
        request::discard(&data_dir.path)?;
        let path = path(&data_dir.path);
        std::fs::remove_file(&path).and_then(|()| sync_parent(&path)).map_err(io_error("remove", &path))
    }
}

/// What the files say about the nodes of the cluster.
struct Known {
    nodes: Nodes,
    peers: BTreeMap<u64, Peer>,
    last_index: Option<u64>,
}

impl Known {
    fn read(data_dir: &Path, log: &OfflineLog, snapshot: Option<&Verified>) -> Result<Known, StartError> {
        let header = snapshot.map(|snapshot| &snapshot.header);
        let covered = header.and_then(|header| header.last_log_id).map(|id| id.index);
        if let Some(purged) = log.purged().filter(|purged| covered < Some(purged.index)) {
            let path = data_dir.join("snapshots");
            return Err(StartError::SnapshotMissing { path, purged_index: purged.index });
        }
        let mut known = Known {
            nodes: header
                .and_then(|header| header.nodes.as_ref())
                .map(Nodes::from_record)
                .unwrap_or_default(),
            peers: BTreeMap::new(),
            last_index: log.last().map(|id| id.index).max(covered),
        };
        let listed = header.and_then(|header| header.membership.as_ref());
        for peer in listed.into_iter().flat_map(|membership| &membership.peers) {
            known.peers.insert(peer.node_id, Peer::from(peer.clone()));
        }
        log.visit(covered.map_or(0, |index| index + 1), |entry| known.see(entry))?;
        Ok(known)
    }

    fn see(&mut self, entry: &Entry) {
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(payload) => {
                if let Some(system) = &payload.0.system {
                    // What it means for the replica comes when the node starts.
                    let _change = self.nodes.apply(entry.log_id.index, system);
                }
            }
            // Those of former memberships as well: they were members.
            EntryPayload::Membership(membership) => {
                self.peers.extend(membership.nodes().map(|(node_id, peer)| (*node_id, peer.clone())));
            }
        }
    }
}

fn admit(request_id: &[u8], name: &str) -> SystemCommand {
    let admit = AdmitNode { request_id: Bytes::copy_from_slice(request_id), name: name.to_owned() };
    SystemCommand { change: Some(SystemChange::Admit(admit)) }
}

fn remove(node_id: u64) -> SystemCommand {
    SystemCommand { change: Some(SystemChange::Remove(RemoveNode { node_id, is_dead: true })) }
}

/// The replica's bytes of another snapshot.
pub(crate) struct Copied<'a>(pub(crate) &'a Verified);

impl SnapshotView for Copied<'_> {
    fn write(&self, sink: &mut dyn std::io::Write) -> std::io::Result<()> {
        let mut body = self.0.body()?;
        let mut bytes = vec![0; 64 * 1024];
        loop {
            match body.read(&mut bytes)? {
                0 => return Ok(()),
                count => sink.write_all(&bytes[..count])?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::TypeConfig;
    use crate::record::SnapshotHeader;

    const FORMER: &str = "former";

    struct State;

    impl SnapshotView for State {
        fn write(&self, sink: &mut dyn std::io::Write) -> std::io::Result<()> {
            sink.write_all(b"the state")
        }
    }

    fn entry(index: u64, payload: EntryPayload<TypeConfig>) -> Entry {
        Entry { log_id: LogId::new(CommittedLeaderId::new(3, 1), index), payload }
    }

    /// What node 2 of nodes 1, 2 and 3 has: a snapshot up to entry 4, and entries 5 and 6 behind it, one of
    /// which admits node 4.
    fn member(dir: &Path) -> Arc<DiskGuard> {
        let data_dir = DataDir::lock(dir).unwrap();
        let mut identity = Identity::new(FORMER, 2);
        identity.initialized = true;
        data_dir.save_identity(&identity).unwrap();
        let guard = Arc::new(DiskGuard::new(Arc::new(StatvfsProbe), dir, Some(0)).unwrap());
        let peers =
            [1, 2, 3].map(|node_id| (node_id, Peer { name: format!("n{node_id}"), ..Peer::default() }));
        let membership = Membership::new(vec![[1, 2, 3].into()], BTreeMap::from(peers));
        let log_id = LogId::new(CommittedLeaderId::new(3, 1), 4);
        let mut nodes = Nodes::default();
        for request in [b"two", b"tre"] {
            nodes.apply(1, &admit(request, ""));
        }
        let header = SnapshotHeader {
            last_log_id: Some((&log_id).into()),
            membership: Some((&membership).into()),
            membership_log_id: Some((&log_id).into()),
            nodes: Some(nodes.to_record()),
            ..SnapshotHeader::default()
        };
        let store = SnapshotStore::for_cluster(dir, FORMER, 2, Arc::clone(&guard)).unwrap();
        store.build(header, &State).unwrap();
        let admitted = Batch { groups: Vec::new(), system: Some(admit(b"four", "n4")) };
        let mut entries: Vec<Entry> = (0..=4).map(|index| entry(index, EntryPayload::Blank)).collect();
        entries.push(entry(5, EntryPayload::Normal(Payload(Arc::new(admitted)))));
        entries.push(entry(6, EntryPayload::Blank));
        OfflineLog::open(&dir.join("log")).unwrap().extend(&entries, &Vote::new(3, 1)).unwrap();
        guard
    }

    #[test]
    fn a_recovery_that_is_cut_off_anywhere_is_finished_by_the_next() {
        for steps in 0..=3 {
            let dir = tempfile::tempdir().unwrap();
            let guard = member(dir.path());
            let former = DataDir::lock(dir.path()).unwrap().read_identity().unwrap().unwrap();
            let plan = Plan::make(dir.path(), &former, &guard).unwrap();
            if steps >= 1 {
                plan.rewrite_snapshot(dir.path(), 2, &guard).unwrap();
            }
            if steps >= 2 {
                plan.extend_log(dir.path()).unwrap();
            }
            if steps >= 3 {
                let identity = PeerIdentity { cluster_id: plan.cluster_id.clone(), node_id: plan.node_id };
                Credentials::found(&identity).unwrap().save(dir.path()).unwrap();
            }
            let refused = DataDir::lock(dir.path()).unwrap().open_identity().unwrap_err();
            assert!(matches!(refused, StartError::RecoveryUnfinished { .. }), "{refused}");

            let recovered = unsafe_new_cluster(dir.path()).unwrap();
            assert_eq!(recovered.cluster_id, plan.cluster_id);
            assert_eq!((recovered.node_id, recovered.last_log_index), (5, 6));
            assert_eq!(recovered.removed, vec![1, 2, 3, 4]);
            check_new_cluster(dir.path(), &recovered, guard);
        }
    }

    fn check_new_cluster(dir: &Path, recovered: &Recovered, guard: Arc<DiskGuard>) {
        let identity = DataDir::lock(dir).unwrap().open_identity().unwrap().unwrap();
        assert_eq!((&identity.cluster_id, identity.node_id), (&recovered.cluster_id, 5));
        assert!(identity.initialized && identity.certified && identity.incarnation > 1);
        let credentials = Credentials::load(dir).unwrap().unwrap();
        assert_eq!(credentials.identity().node_id, 5);
        let (_, snapshot) = SnapshotStore::open(dir, &recovered.cluster_id, 5, guard).unwrap();
        let snapshot = snapshot.unwrap();
        let mut body = String::new();
        snapshot.body().unwrap().read_to_string(&mut body).unwrap();
        assert_eq!(body, "the state");
        let log = OfflineLog::open(&dir.join("log")).unwrap();
        let known = Known::read(dir, &log, Some(&snapshot)).unwrap();
        assert_eq!(known.nodes.removed(), [1, 2, 3, 4].into());
        let mut memberships = Vec::new();
        let mut terms = Vec::new();
        log.visit(0, |entry| {
            terms.push(entry.log_id.leader_id.term);
            if let EntryPayload::Membership(membership) = &entry.payload {
                memberships.push(membership.clone());
            }
        })
        .unwrap();
        assert!(terms.is_sorted() && log.vote().unwrap().leader_id.term >= *terms.last().unwrap());
        assert_eq!(memberships.len(), 1, "extended once");
        assert_eq!(memberships[0].voter_ids().collect::<Vec<_>>(), vec![5]);
        assert_eq!(memberships[0].get_node(&5).unwrap().name, "n2");
    }

    #[test]
    fn a_directory_without_a_cluster_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = unsafe_new_cluster(dir.path()).unwrap_err();
        assert!(matches!(error, StartError::NothingToRecover { .. }), "{error}");
        let data_dir = DataDir::lock(dir.path()).unwrap();
        data_dir.save_identity(&Identity::found()).unwrap();
        drop(data_dir);
        let error = unsafe_new_cluster(dir.path()).unwrap_err();
        assert!(matches!(error, StartError::NothingToRecover { .. }), "never written to: {error}");
    }
}
