//! Everything that is written to disk or sent to a peer, as versioned protobuf records.
//!
//! The Raft library's own types are never encoded directly, so that a new version of it cannot change a file. Field
//! numbers are never reused. Each stored value starts with one byte, [`RECORD_FORMAT`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use openraft::{CommittedLeaderId, EntryPayload};
use prost::Message;

use crate::raft::{Entry, LogId, Membership, Payload, Peer, StoredMembership, Vote};

/// The format of every record this version writes; also the newest it reads.
pub(crate) const RECORD_FORMAT: u8 = 1;

/// Position of a log entry.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct LogIdRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) leader_id: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) index: u64,
}

/// A vote.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct VoteRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) node_id: u64,
    #[prost(bool, tag = "3")]
    pub(crate) committed: bool,
}

/// A node of the membership.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PeerRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) node_id: u64,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, tag = "3")]
    pub(crate) address: String,
    #[prost(bool, tag = "4")]
    pub(crate) never_votes: bool,
}

impl From<PeerRecord> for Peer {
    fn from(record: PeerRecord) -> Peer {
        Peer { name: record.name, address: record.address, never_votes: record.never_votes }
    }
}

/// One set of voters; two of them while the membership changes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct VotersRecord {
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) node_ids: Vec<u64>,
}

/// Voters and learners.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MembershipRecord {
    #[prost(message, repeated, tag = "1")]
    pub(crate) voters: Vec<VotersRecord>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) peers: Vec<PeerRecord>,
}

/// Commands of one process, in the order in which it submitted them.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Group {
    /// The node that submitted them.
    #[prost(uint64, tag = "1")]
    pub(crate) node_id: u64,
    /// Which start of that node's process.
    #[prost(uint64, tag = "2")]
    pub(crate) incarnation: u64,
    /// Sequence of the first command; the others follow without gaps.
    #[prost(uint64, tag = "3")]
    pub(crate) first_sequence: u64,
    /// The commands.
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub(crate) commands: Vec<Bytes>,
    /// The group takes effect only if the process's command of this sequence did, or a later one; 0 demands nothing.
    #[prost(uint64, tag = "5")]
    pub(crate) after_sequence: u64,
}

/// The commands of one log entry.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Batch {
    /// One group per submitting process.
    #[prost(message, repeated, tag = "1")]
    pub(crate) groups: Vec<Group>,
    /// A command of this package; applied before the groups.
    #[prost(message, optional, tag = "2")]
    pub(crate) system: Option<SystemCommand>,
}

/// A change of what the cluster knows about its nodes. Applied by `nodes`; each is harmless when repeated.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SystemCommand {
    #[prost(oneof = "SystemChange", tags = "1, 2, 3, 4, 5")]
    pub(crate) change: Option<SystemChange>,
}

/// What a [`SystemCommand`] does.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum SystemChange {
    /// A process of the node serves from now on: a new epoch begins.
    #[prost(message, tag = "1")]
    Register(RegisterNode),
    /// The node is given up: its epoch ends.
    #[prost(message, tag = "2")]
    GiveUp(GiveUpNode),
    /// A new node gets a Raft identifier that was never used before.
    #[prost(message, tag = "3")]
    Admit(AdmitNode),
    /// The identifier is never heard again.
    #[prost(message, tag = "4")]
    Remove(RemoveNode),
    /// The cluster writes a newer format from here on.
    #[prost(message, tag = "5")]
    SetFormat(SetFormat),
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct RegisterNode {
    #[prost(uint64, tag = "1")]
    pub(crate) node_id: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) incarnation: u64,
    /// The epoch that the node knows of, 0 if none: a late repetition must not end an epoch that it began itself.
    #[prost(uint64, tag = "3")]
    pub(crate) after_epoch: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct GiveUpNode {
    #[prost(uint64, tag = "1")]
    pub(crate) node_id: u64,
    /// Only this epoch is ended.
    #[prost(uint64, tag = "2")]
    pub(crate) epoch: u64,
    /// For operators.
    #[prost(enumeration = "GiveUpReason", tag = "3")]
    pub(crate) reason: i32,
    /// The term of the leader that decided so, 0 if the node ends itself. The decision counts only in an entry of that
    /// leader: another one may have let the node serve on.
    #[prost(uint64, tag = "4")]
    pub(crate) decided_in_term: u64,
    /// Its Raft identifier.
    #[prost(uint64, tag = "5")]
    pub(crate) decided_by: u64,
}

/// Why a node is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum GiveUpReason {
    /// An older version did not say.
    Unspecified = 0,
    /// Its lease has run out.
    Silent = 1,
    /// It and another node that serves cannot talk to each other.
    Unreachable = 2,
    /// It is behind and makes no progress.
    Stalled = 3,
    /// It ended in order.
    Left = 4,
}

impl std::fmt::Display for GiveUpReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            GiveUpReason::Unspecified => "for an unknown reason",
            GiveUpReason::Silent => "it asked for no lease in time",
            GiveUpReason::Unreachable => "it and another node cannot reach each other",
            GiveUpReason::Stalled => "it is behind and makes no progress",
            GiveUpReason::Left => "it has ended in order",
        })
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AdmitNode {
    /// Random; the same request gets the same identifier.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) request_id: Bytes,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct RemoveNode {
    #[prost(uint64, tag = "1")]
    pub(crate) node_id: u64,
    /// No process of the node lives: its epoch ends here. Otherwise it ends when its lease has run out.
    #[prost(bool, tag = "2")]
    pub(crate) is_dead: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct SetFormat {
    /// See [`crate::formats`].
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
}

/// What the cluster knows about one node, in a snapshot.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct NodeRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) node_id: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) incarnation: u64,
    /// 0 while it is not registered.
    #[prost(uint64, tag = "3")]
    pub(crate) epoch: u64,
    /// Index of the entry that began or ended its last epoch.
    #[prost(uint64, tag = "4")]
    pub(crate) changed_index: u64,
    #[prost(bool, tag = "5")]
    pub(crate) removed: bool,
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) request_id: Bytes,
    #[prost(string, tag = "7")]
    pub(crate) name: String,
}

/// The table of nodes in a snapshot.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct NodesRecord {
    #[prost(message, repeated, tag = "1")]
    pub(crate) nodes: Vec<NodeRecord>,
    /// The next identifier to give away.
    #[prost(uint64, tag = "2")]
    pub(crate) next_node_id: u64,
    /// The format that the cluster writes; 0 if none is on record.
    #[prost(uint32, tag = "3")]
    pub(crate) format: u32,
}

/// A log entry. With neither commands nor membership it is blank: a new leader's first entry.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EntryRecord {
    #[prost(message, optional, tag = "1")]
    pub(crate) log_id: Option<LogIdRecord>,
    #[prost(message, optional, tag = "2")]
    pub(crate) batch: Option<Batch>,
    #[prost(message, optional, tag = "3")]
    pub(crate) membership: Option<MembershipRecord>,
}

/// The last command applied of one node.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct DedupRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) node_id: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) sequence: u64,
}

/// What a snapshot says about itself before the replica's bytes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SnapshotHeader {
    /// Last entry that the snapshot covers; absent for the empty state.
    #[prost(message, optional, tag = "1")]
    pub(crate) last_log_id: Option<LogIdRecord>,
    #[prost(message, optional, tag = "2")]
    pub(crate) membership: Option<MembershipRecord>,
    /// The entry that set the membership.
    #[prost(message, optional, tag = "3")]
    pub(crate) membership_log_id: Option<LogIdRecord>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) dedup: Vec<DedupRecord>,
    /// Identifier of the cluster the snapshot belongs to.
    #[prost(string, tag = "5")]
    pub(crate) cluster_id: String,
    /// Identifier of the snapshot, unique on the node that made it.
    #[prost(string, tag = "6")]
    pub(crate) snapshot_id: String,
    /// What the cluster knows about its nodes.
    #[prost(message, optional, tag = "7")]
    pub(crate) nodes: Option<NodesRecord>,
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("record is empty")]
    Empty,
    #[error("record has format {0}, newest known format is {RECORD_FORMAT}")]
    UnknownFormat(u8),
    #[error("record is not valid: {0}")]
    Invalid(#[from] prost::DecodeError),
    #[error("record has no log position")]
    NoLogId,
    #[error("record names voter {0} but no such node")]
    UnknownVoter(u64),
}

/// Encodes a record behind its format byte.
pub(crate) fn encode<M: Message>(record: &M) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + record.encoded_len());
    bytes.put_u8(RECORD_FORMAT);
    record.encode(&mut bytes).expect("a vector grows as needed");
    bytes
}

/// Decodes a record behind its format byte.
pub(crate) fn decode<M: Message + Default>(mut bytes: Bytes) -> Result<M, RecordError> {
    if bytes.is_empty() {
        return Err(RecordError::Empty);
    }
    match bytes.get_u8() {
        RECORD_FORMAT => Ok(M::decode(bytes)?),
        other => Err(RecordError::UnknownFormat(other)),
    }
}

impl From<&LogId> for LogIdRecord {
    fn from(id: &LogId) -> LogIdRecord {
        LogIdRecord { term: id.leader_id.term, leader_id: id.leader_id.node_id, index: id.index }
    }
}

impl From<LogIdRecord> for LogId {
    fn from(record: LogIdRecord) -> LogId {
        LogId::new(CommittedLeaderId::new(record.term, record.leader_id), record.index)
    }
}

impl From<&Vote> for VoteRecord {
    fn from(vote: &Vote) -> VoteRecord {
        VoteRecord { term: vote.leader_id.term, node_id: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl From<VoteRecord> for Vote {
    fn from(record: VoteRecord) -> Vote {
        if record.committed {
            Vote::new_committed(record.term, record.node_id)
        } else {
            Vote::new(record.term, record.node_id)
        }
    }
}

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> MembershipRecord {
        let voters = membership
            .get_joint_config()
            .iter()
            .map(|ids| VotersRecord { node_ids: ids.iter().copied().collect() })
            .collect();
        let peers = membership
            .nodes()
            .map(|(id, peer)| PeerRecord {
                node_id: *id,
                name: peer.name.clone(),
                address: peer.address.clone(),
                never_votes: peer.never_votes,
            })
            .collect();
        MembershipRecord { voters, peers }
    }
}

impl TryFrom<MembershipRecord> for Membership {
    type Error = RecordError;

    fn try_from(record: MembershipRecord) -> Result<Membership, RecordError> {
        let peers: BTreeMap<u64, Peer> =
            record.peers.into_iter().map(|peer| (peer.node_id, Peer::from(peer))).collect();
        let voters: Vec<BTreeSet<u64>> =
            record.voters.into_iter().map(|set| set.node_ids.into_iter().collect()).collect();
        if let Some(id) = voters.iter().flatten().find(|id| !peers.contains_key(id)) {
            return Err(RecordError::UnknownVoter(*id));
        }
        Ok(Membership::new(voters, peers))
    }
}

/// Encodes a log entry.
pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut record =
        EntryRecord { log_id: Some(LogIdRecord::from(&entry.log_id)), batch: None, membership: None };
    match &entry.payload {
        EntryPayload::Blank => {}
        EntryPayload::Normal(payload) => record.batch = Some(Batch::clone(&payload.0)),
        EntryPayload::Membership(membership) => record.membership = Some(membership.into()),
    }
    encode(&record)
}

/// Bytes of commands in an entry; entries without commands count as a few.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(payload) => payload.0.command_bytes(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 64,
    }
}

impl Batch {
    /// Bytes of all commands.
    pub(crate) fn command_bytes(&self) -> usize {
        self.groups.iter().flat_map(|group| &group.commands).map(Bytes::len).sum()
    }
}

/// Decodes a log entry.
pub(crate) fn decode_entry(bytes: Bytes) -> Result<Entry, RecordError> {
    let record: EntryRecord = decode(bytes)?;
    let log_id = record.log_id.ok_or(RecordError::NoLogId)?.into();
    let payload = match (record.batch, record.membership) {
        (Some(batch), _) => EntryPayload::Normal(Payload(Arc::new(batch))),
        (None, Some(membership)) => EntryPayload::Membership(membership.try_into()?),
        (None, None) => EntryPayload::Blank,
    };
    Ok(Entry { log_id, payload })
}

/// The membership of a snapshot header.
pub(crate) fn stored_membership(header: &SnapshotHeader) -> Result<StoredMembership, RecordError> {
    let membership = match &header.membership {
        Some(record) => record.clone().try_into()?,
        None => Membership::default(),
    };
    Ok(StoredMembership::new(header.membership_log_id.map(LogId::from), membership))
}
