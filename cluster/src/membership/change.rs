//! Changes of the membership, made by the leader: one at a time, each followed to its final configuration.
//!
//! A change may be cut off anywhere by the loss of the leader. What it leaves behind is one of two things,
//! and the next leader finishes either before it does anything else ([`Changer::tidy`]): a configuration of
//! two sets of voters, or a member whose identifier was given up for ever. The removal of a node begins with
//! the latter for this reason.

use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, ServerState};
use rookery_proto::rookery::cluster::v1::{JoinRequest, JoinResponse, SetAddress};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use super::Context;
use super::pause::Pause;
use super::rules::{Refusal, Situation, Warning};
use crate::formats::Formats;
use crate::generation::Metrics;
use crate::network::Channels;
use crate::nodes::Nodes;
use crate::pki::{Credentials, PeerIdentity};
use crate::place::Place;
use crate::raft::{Payload, Peer, Raft};
use crate::record::{AdmitNode, Batch, RemoveNode, SetFormat, SystemChange, SystemCommand};
use crate::view::lost_quorum;

/// A change that takes longer is given up; the next leader or attempt finishes it.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// A leader that was just elected is given this long to apply what it found.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// Only the leader changes the membership.
    #[error("this node is not the leader")]
    NotLeader { leader: Option<u64> },
    /// A rule forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A rule about a joining node forbids it.
    #[error("{0}")]
    NotAdmitted(String),
    /// It could not be completed, and may still take effect.
    #[error("the change was not confirmed: {0}; it may still take effect")]
    Unconfirmed(String),
    /// It could not be begun.
    #[error("{0}")]
    Unavailable(String),
}

impl From<RaftError<u64, ClientWriteError<u64, Peer>>> for ChangeError {
    fn from(error: RaftError<u64, ClientWriteError<u64, Peer>>) -> ChangeError {
        ChangeError::Unconfirmed(error.to_string())
    }
}

/// Makes changes while this node leads.
pub(crate) struct Changer {
    pub(super) place: Arc<OnceLock<Place>>,
    pub(super) raft: watch::Receiver<Option<Raft>>,
    /// The replicated table of nodes, as far as this node has applied the log.
    pub(super) nodes: watch::Receiver<Arc<Nodes>>,
    pub(super) channels: Channels,
    pub(super) proposals: Pause,
    /// Held during a change.
    pub(super) serial: Mutex<()>,
}

/// What a leader works with during one change.
pub(super) struct Leading {
    pub(super) raft: Raft,
    pub(super) situation: Situation,
    peers: BTreeMap<u64, Peer>,
}

impl Changer {
    /// Makes no change before the node has its place in a cluster.
    pub(crate) fn new(context: Context) -> Changer {
        let Context { place, raft, nodes, channels, proposals, release: _ } = context;
        Changer { place, raft, nodes, channels, proposals, serial: Mutex::new(()) }
    }

    /// This node's identifier; 0 while it belongs to no cluster.
    pub(crate) fn node_id(&self) -> u64 {
        self.place.get().map_or(0, |place| place.origin.node_id)
    }

    /// What this node needs to certify others.
    fn credentials(&self) -> Result<&Credentials, ChangeError> {
        let credentials = self.place.get().and_then(|place| place.credentials.as_ref());
        credentials
            .ok_or_else(|| ChangeError::Unavailable("this node has no certificate of a cluster".to_owned()))
    }

    /// Whether this node was removed, as far as it was told.
    pub(crate) fn is_removed(&self) -> bool {
        self.nodes.borrow().is_removed(self.node_id())
    }

    fn nodes(&self) -> Arc<Nodes> {
        Arc::clone(&self.nodes.borrow())
    }

    /// The Raft core, while there is one.
    pub(super) fn raft(&self) -> Result<Raft, ChangeError> {
        let raft = self.raft.borrow().clone();
        raft.ok_or_else(|| ChangeError::Unavailable("the node is not running".to_owned()))
    }

    /// The members with their names and addresses, without those that were removed.
    pub(crate) fn peers(&self) -> BTreeMap<u64, Peer> {
        let Ok(raft) = self.raft() else { return BTreeMap::new() };
        let nodes = self.nodes();
        let mut peers = members(&raft.metrics().borrow());
        peers.retain(|node_id, _| !nodes.is_removed(*node_id));
        peers
    }

    /// Removes a member for good.
    pub(crate) async fn remove(&self, node_id: u64) -> Result<(), ChangeError> {
        self.change(async {
            let mut leading = self.leading().await?;
            leading.situation.removal(node_id)?;
            // Who died a moment ago is still registered, and its vote would be counted on.
            self.drop_silent(&mut leading.situation).await;
            leading.situation.removal(node_id)?;
            self.remove_now(&leading, node_id).await
        })
        .await
    }

    /// Makes a learner a voter.
    pub(crate) async fn promote(&self, node_id: u64) -> Result<Option<Warning>, ChangeError> {
        self.change(async {
            let mut leading = self.leading().await?;
            leading.situation.promotion(node_id)?;
            self.drop_silent(&mut leading.situation).await;
            let warning = leading.situation.promotion(node_id)?;
            if let Some(warning) = &warning {
                tracing::warn!(node_id, "{warning}");
            }
            self.promote_now(&leading, node_id).await?;
            Ok(warning)
        })
        .await
    }

    /// Asks the voters whether they live; those who do not answer do not count as registered.
    async fn drop_silent(&self, situation: &mut Situation) {
        let own_id = self.node_id();
        let asked = situation.voters.iter().copied().filter(|node_id| *node_id != own_id);
        let answered = join_all(asked.map(async |node_id| (node_id, self.answers(node_id).await))).await;
        for (node_id, _) in answered.into_iter().filter(|(_, answers)| !answers) {
            situation.registered.remove(&node_id);
        }
    }

    /// Gives a member a new name or address.
    pub(crate) async fn set_address(&self, change: SetAddress) -> Result<(), ChangeError> {
        self.change(async {
            let leading = self.leading().await?;
            let SetAddress { node_id, name, address, never_votes } = change;
            if !leading.peers.contains_key(&node_id) {
                return Err(Refusal::Unknown(node_id).into());
            }
            leading.refuse_taken(&name, &address, Some(node_id))?;
            let peer = Peer { name, address, never_votes };
            if leading.peers.get(&node_id) == Some(&peer) {
                return Ok(());
            }
            tracing::info!(
                node_id,
                name = peer.name,
                address = peer.address,
                "a member has a new name or address"
            );
            let changed = ChangeMembers::SetNodes(BTreeMap::from([(node_id, peer)]));
            leading.raft.change_membership(changed, true).await?;
            Ok(())
        })
        .await
    }

    /// Lets the cluster write this format, provided that the members are exactly those of which it is known that they can.
    pub(crate) async fn set_format(&self, format: u32, of_these: &BTreeSet<u64>) -> Result<(), ChangeError> {
        self.change(async {
            let leading = self.leading().await?;
            if !leading.peers.keys().eq(of_these) {
                return Err(ChangeError::Unavailable("the members have changed".to_owned()));
            }
            self.system(&leading.raft, SystemChange::SetFormat(SetFormat { format })).await
        })
        .await
    }

    /// Finishes what an earlier leader has begun, and makes one learner a voter if there should be `wanted`.
    pub(crate) async fn tidy(&self, wanted: usize) -> Result<(), ChangeError> {
        self.change(async {
            let leading = self.leading().await?;
            let removed = leading.peers.keys().copied().find(|id| leading.situation.removed.contains(id));
            if let Some(node_id) = removed {
                return self.expel(&leading, node_id).await;
            }
            match leading.situation.next_promotion(wanted) {
                Some(node_id) => self.promote_now(&leading, node_id).await,
                None => Ok(()),
            }
        })
        .await
    }

    /// Whether [`Self::tidy`] would find anything to do.
    pub(crate) fn is_untidy(&self, wanted: usize) -> bool {
        let Ok(raft) = self.raft() else { return false };
        let metrics = raft.metrics().borrow().clone();
        let situation = self.situation(&metrics);
        let removed = members(&metrics).keys().any(|node_id| situation.removed.contains(node_id));
        is_leading(&metrics) && (removed || is_joint(&metrics) || situation.next_promotion(wanted).is_some())
    }

    /// Admits a node that has proven the join secret: gives it an identifier and a certificate, and sends it
    /// the log.
    pub(crate) async fn admit(&self, request: JoinRequest) -> Result<JoinResponse, ChangeError> {
        self.change(async {
            let leading = self.leading().await?;
            leading.situation.can_commit()?;
            let nodes = self.nodes();
            check_formats(&request, &nodes)?;
            let admitted = nodes.admitted(&request.request_id);
            if let Some(node_id) = admitted.filter(|node_id| has_run(&nodes, *node_id)) {
                let refused =
                    format!("this request was answered before, with identifier {node_id}, which was used");
                return Ok(JoinResponse { refused, request_used: true, ..JoinResponse::default() });
            }
            leading.refuse_taken(&request.name, &request.address, admitted)?;
            let leading = self.replace_namesakes(leading, &request.name, admitted).await?;
            let admit = AdmitNode { request_id: request.request_id.clone(), name: request.name.clone() };
            self.system(&leading.raft, SystemChange::Admit(admit)).await?;
            let node_id = self.nodes().admitted(&request.request_id);
            let node_id = node_id.ok_or_else(|| unconfirmed("the identifier is not known yet"))?;
            let certificate = self.certify(&request, node_id)?;
            let JoinRequest { name, address, never_votes, .. } = request;
            let peer = Peer { name, address, never_votes };
            tracing::info!(
                node_id,
                name = peer.name,
                address = peer.address,
                version = request.version,
                "a node joins"
            );
            let added = ChangeMembers::SetNodes(BTreeMap::from([(node_id, peer)]));
            leading.raft.change_membership(added, true).await?;
            self.admission(node_id, certificate)
        })
        .await
    }

    /// Removes members that are gone and whose name the joining node has: an empty directory under an old
    /// name.
    async fn replace_namesakes(
        &self,
        leading: Leading,
        name: &str,
        admitted: Option<u64>,
    ) -> Result<Leading, ChangeError> {
        let namesake = |(node_id, peer): (&u64, &Peer)| (peer.name == name).then_some(*node_id);
        let namesakes = leading.peers.iter().filter_map(namesake);
        let old: Vec<u64> = namesakes.filter(|node_id| Some(*node_id) != admitted).collect();
        let mut leading = leading;
        for node_id in old {
            if self.answers(node_id).await {
                let reason =
                    format!("node {node_id}, which is alive, has the name {name}; each node needs its own");
                return Err(ChangeError::NotAdmitted(reason));
            }
            leading.situation.removal(node_id).map_err(|refusal| {
                let reason = format!(
                    "node {node_id}, which is gone, has the name {name} and cannot be removed: {refusal}"
                );
                ChangeError::NotAdmitted(reason)
            })?;
            tracing::warn!(
                node_id,
                name,
                "a node without data joins under the name of a member that is gone, which is removed"
            );
            self.remove_now(&leading, node_id).await?;
            leading = self.leading().await?;
        }
        Ok(leading)
    }

    fn certify(&self, request: &JoinRequest, node_id: u64) -> Result<String, ChangeError> {
        let credentials = self.credentials()?;
        let cluster_id = credentials.identity().cluster_id.clone();
        let identity = PeerIdentity { cluster_id, node_id };
        let certificate = credentials.authority().certify(&request.certificate_request, &identity);
        certificate.map_err(|error| ChangeError::NotAdmitted(error.to_string()))
    }

    fn admission(&self, node_id: u64, certificate: String) -> Result<JoinResponse, ChangeError> {
        let credentials = self.credentials()?;
        let authority = credentials.authority();
        Ok(JoinResponse {
            cluster_id: credentials.identity().cluster_id.clone(),
            node_id,
            certificate,
            ca_certificate: authority.certificate_pem().to_owned(),
            ca_key: authority.key_pem().to_string(),
            ..JoinResponse::default()
        })
    }

    async fn promote_now(&self, leading: &Leading, node_id: u64) -> Result<(), ChangeError> {
        tracing::info!(node_id, "a learner becomes a voter");
        let added = ChangeMembers::AddVoterIds(BTreeSet::from([node_id]));
        leading.raft.change_membership(added, true).await?;
        let voters = self.final_voters(&leading.raft).await?;
        if voters.contains(&node_id) { Ok(()) } else { Err(unconfirmed("the node is not a voter")) }
    }

    /// From the first entry on, the identifier is never heard again, whatever becomes of this leader.
    async fn remove_now(&self, leading: &Leading, node_id: u64) -> Result<(), ChangeError> {
        tracing::info!(node_id, "a member is removed");
        self.system(&leading.raft, SystemChange::Remove(RemoveNode { node_id, is_dead: false })).await?;
        self.expel(leading, node_id).await
    }

    /// Takes a node whose identifier was given up out of the membership: first its vote, then the rest.
    async fn expel(&self, leading: &Leading, node_id: u64) -> Result<(), ChangeError> {
        let raft = &leading.raft;
        if leading.situation.voters.contains(&node_id) {
            raft.change_membership(ChangeMembers::RemoveVoters(BTreeSet::from([node_id])), true).await?;
            if self.final_voters(raft).await?.contains(&node_id) {
                return Err(unconfirmed("the node is still a voter"));
            }
        }
        raft.change_membership(ChangeMembers::RemoveNodes(BTreeSet::from([node_id])), true).await?;
        let is_gone = !members(&raft.metrics().borrow()).contains_key(&node_id);
        if is_gone { Ok(()) } else { Err(unconfirmed("the node is still a member")) }
    }

    /// The voters, after a configuration of two sets was brought to its end.
    async fn final_voters(&self, raft: &Raft) -> Result<BTreeSet<u64>, ChangeError> {
        let joint = {
            let metrics = raft.metrics().borrow().clone();
            is_joint(&metrics).then(|| voters(&metrics))
        };
        if let Some(last) = joint {
            raft.change_membership(ChangeMembers::ReplaceAllVoters(last), true).await?;
        }
        let metrics = raft.metrics().borrow().clone();
        if is_joint(&metrics) {
            return Err(unconfirmed("two sets of voters are in force"));
        }
        Ok(voters(&metrics))
    }

    /// Commits a change of the table of nodes.
    async fn system(&self, raft: &Raft, change: SystemChange) -> Result<(), ChangeError> {
        let batch = Batch { groups: Vec::new(), system: Some(SystemCommand { change: Some(change) }) };
        raft.client_write(Payload(Arc::new(batch))).await?;
        Ok(())
    }

    /// Runs one change at a time, for a bounded time.
    pub(super) async fn change<T>(
        &self,
        change: impl Future<Output = Result<T, ChangeError>>,
    ) -> Result<T, ChangeError> {
        let serialised = async {
            let _alone = self.serial.lock().await;
            timeout(CHANGE_TIMEOUT, change).await
        };
        match timeout(CHANGE_TIMEOUT * 2, serialised).await {
            Ok(Ok(result)) => result,
            Ok(Err(_elapsed)) => {
                Err(unconfirmed(&format!("no quorum confirmed it within {} s", CHANGE_TIMEOUT.as_secs())))
            }
            Err(_elapsed) => Err(ChangeError::Unavailable("another change is under way".to_owned())),
        }
    }

    /// What this node may decide as the leader, in a final configuration.
    pub(super) async fn leading(&self) -> Result<Leading, ChangeError> {
        let raft = self.raft()?;
        // Of what a new leader decides, the base is everything that was committed before it.
        let seen = wait_for(&raft, SETTLE_TIMEOUT, |seen| !is_leader(seen) || is_leading(seen)).await;
        let seen = seen.ok_or_else(|| {
            ChangeError::Unavailable("the leader was elected a moment ago and is not ready yet".to_owned())
        })?;
        if !is_leader(&seen) {
            let leader = seen.current_leader.filter(|leader| *leader != self.node_id());
            return Err(ChangeError::NotLeader { leader });
        }
        if lost_quorum(&seen) {
            // Who is registered says nothing then: nobody can be given up any more.
            return Err(ChangeError::Unavailable("the leader hears from no quorum of voters".to_owned()));
        }
        self.final_voters(&raft).await?;
        let seen = raft.metrics().borrow().clone();
        Ok(Leading { raft, situation: self.situation(&seen), peers: members(&seen) })
    }

    /// What is known about the members.
    pub(super) fn situation(&self, metrics: &Metrics) -> Situation {
        let nodes = self.nodes();
        let voters = voters(metrics);
        let all = members(metrics);
        let last = metrics.last_log_index.unwrap_or_default();
        let lag = metrics.replication.iter().flatten();
        let lag = lag.filter_map(|(id, matched)| Some((*id, last.saturating_sub(matched.as_ref()?.index))));
        Situation {
            leader: self.node_id(),
            learners: all.keys().copied().filter(|node_id| !voters.contains(node_id)).collect(),
            registered: nodes.registered(),
            removed: nodes.removed(),
            lag: lag.collect(),
            never_vote: all
                .iter()
                .filter(|(_, peer)| peer.never_votes)
                .map(|(node_id, _)| *node_id)
                .collect(),
            voters,
        }
    }
}

impl Leading {
    /// Refuses a name or an address that a member has that is alive.
    fn refuse_taken(&self, name: &str, address: &str, own: Option<u64>) -> Result<(), ChangeError> {
        let alive =
            |node_id: &u64| *node_id == self.situation.leader || self.situation.registered.contains(node_id);
        let others = self.peers.iter().filter(|(node_id, _)| Some(**node_id) != own && alive(node_id));
        for (node_id, peer) in others {
            let taken = if peer.name == name {
                format!("the name {name}")
            } else if peer.address == address {
                format!("the address {address}")
            } else {
                continue;
            };
            let reason = format!("node {node_id}, which is alive, has {taken}; each node needs its own");
            return Err(ChangeError::NotAdmitted(reason));
        }
        Ok(())
    }
}

/// Waits until the Raft core's view of itself is as wanted. `None` if that takes too long, or the core ends.
pub(super) async fn wait_for(
    raft: &Raft,
    limit: Duration,
    wanted: impl FnMut(&Metrics) -> bool + Send,
) -> Option<Metrics> {
    let mut metrics = raft.metrics();
    let seen = timeout(limit, async { metrics.wait_for(wanted).await.ok().map(|seen| seen.clone()) }).await;
    seen.ok().flatten()
}

/// A node that could not write what the cluster writes is not admitted.
fn check_formats(request: &JoinRequest, nodes: &Nodes) -> Result<(), ChangeError> {
    let (oldest, newest) = (request.oldest_format, request.newest_format);
    let formats = Formats::told(oldest, newest).ok_or_else(|| {
        ChangeError::NotAdmitted(format!(
            "the formats {oldest} to {newest} that the node writes make no sense"
        ))
    })?;
    formats.check(nodes.format()).map_err(|error| ChangeError::NotAdmitted(error.to_string()))
}

/// Whether a process has run under the identifier, or none ever may.
fn has_run(nodes: &Nodes, node_id: u64) -> bool {
    nodes.is_removed(node_id) || nodes.get(node_id).is_some_and(|node| node.incarnation != 0)
}

pub(super) fn unconfirmed(reason: &str) -> ChangeError {
    ChangeError::Unconfirmed(reason.to_owned())
}

fn is_leader(metrics: &Metrics) -> bool {
    metrics.state == ServerState::Leader
}

/// Whether the node leads and has applied an entry of its own term, and so everything committed before.
pub(super) fn is_leading(metrics: &Metrics) -> bool {
    is_leader(metrics) && metrics.last_applied.is_some_and(|id| id.leader_id.term == metrics.current_term)
}

fn is_joint(metrics: &Metrics) -> bool {
    metrics.membership_config.membership().get_joint_config().len() > 1
}

/// The voters; of two sets, those that will be.
pub(super) fn voters(metrics: &Metrics) -> BTreeSet<u64> {
    metrics.membership_config.membership().get_joint_config().last().cloned().unwrap_or_default()
}

pub(super) fn members(metrics: &Metrics) -> BTreeMap<u64, Peer> {
    metrics.membership_config.membership().nodes().map(|(id, peer)| (*id, peer.clone())).collect()
}
