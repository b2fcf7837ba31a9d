//! What the Raft core's metrics mean for everybody else: pure.

use std::collections::BTreeMap;

use openraft::ServerState;

use crate::generation::Metrics;
use crate::nodes::Nodes;
use crate::peer::{Member, MemberRole};
use crate::proposer::lane::Route;
use crate::raft::{Membership, Raft};
use crate::status::{NodeState, NodeStatus};

/// A leader that has heard from no quorum for so long commits nothing at the moment.
const QUORUM_LOST_MS: u64 = 2000;

/// Who commits, as far as this node knows.
pub(crate) fn route(metrics: &Metrics, raft: &Raft, number: u64) -> Route {
    let term = metrics.current_term;
    match metrics.current_leader {
        Some(leader_id) if leader_id != metrics.id => Route::Remote { leader_id, term },
        Some(_) if metrics.state == ServerState::Leader && !lost_quorum(metrics) => {
            Route::Local { raft: raft.clone(), key: (number, term) }
        }
        _ => Route::None,
    }
}

/// Whether a leader has heard from no quorum for so long that it commits nothing at the moment.
pub(crate) fn lost_quorum(metrics: &Metrics) -> bool {
    let has_peers = metrics.membership_config.membership().voter_ids().nth(1).is_some();
    has_peers && metrics.millis_since_quorum_ack.is_some_and(|silence| silence > QUORUM_LOST_MS)
}

/// Where the members are.
pub(crate) fn addresses(membership: &Membership) -> BTreeMap<u64, String> {
    membership.nodes().map(|(node_id, peer)| (*node_id, peer.address.clone())).collect()
}

/// The members with their epochs.
pub(crate) fn members(membership: &Membership, nodes: &Nodes) -> Vec<Member> {
    let member = |(node_id, peer): (&u64, &crate::raft::Peer)| Member {
        node_id: *node_id,
        name: peer.name.clone(),
        address: peer.address.clone(),
        role: role(membership, *node_id),
        epoch: nodes.epoch(*node_id),
    };
    membership.nodes().map(member).collect()
}

fn role(membership: &Membership, node_id: u64) -> MemberRole {
    match membership.voter_ids().any(|voter| voter == node_id) {
        true => MemberRole::Voter,
        false => MemberRole::Learner,
    }
}

/// Renews a status from the metrics.
pub(crate) fn update(status: &mut NodeStatus, metrics: &Metrics, is_full: bool) {
    let membership = metrics.membership_config.membership();
    status.state = match metrics.state {
        _ if is_full => NodeState::StorageFull,
        ServerState::Leader => NodeState::Leader,
        ServerState::Follower => NodeState::Follower,
        ServerState::Candidate => NodeState::Candidate,
        ServerState::Learner => NodeState::Learner,
        ServerState::Shutdown => NodeState::Closed,
    };
    status.failure = None;
    status.role = membership.get_node(&metrics.id).map(|_| role(membership, metrics.id));
    status.leader_id = metrics.current_leader;
    status.term = metrics.current_term;
    status.log_index = metrics.last_log_index;
    status.applied_index = metrics.last_applied.map(|id| id.index);
    status.replicated.clear();
    if let Some(replication) = &metrics.replication {
        let others = replication.iter().filter(|(node_id, _)| **node_id != metrics.id);
        let matched = others.map(|(node_id, matched)| (*node_id, matched.map_or(0, |id| id.index)));
        status.replicated.extend(matched);
    }
}
