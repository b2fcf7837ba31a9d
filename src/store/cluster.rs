//! The cluster that the store belongs to: who is in it, how they are, and changes of both.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rookery_cluster::{
    AskError, Changed, ClusterEvents, Liveness, Member, MembershipError, Recovered, StartError,
};
use tokio::sync::watch;

use super::open::Store;

impl Store {
    /// The members, now and whenever they change.
    pub fn members(&self) -> watch::Receiver<Arc<Vec<Member>>> {
        self.node.members()
    }

    /// How this node stands, and on the leader how the others do.
    pub fn liveness(&self) -> Liveness {
        self.node.liveness()
    }

    /// What happened in the cluster of late, as this node saw it.
    pub fn events(&self) -> ClusterEvents {
        self.node.events()
    }

    /// Asks a node, this one included, a question that its [`rookery_cluster::PeerService`] answers.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&self, node_id: u64, question: Bytes) -> Result<Bytes, AskError> {
        self.node.ask(node_id, question).await
    }

    /// Removes a node for good.
    ///
    /// # Errors
    /// [`MembershipError`], which names the rule.
    pub async fn remove_node(&self, node_id: u64) -> Result<Changed, MembershipError> {
        self.node.remove(node_id).await
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// [`MembershipError`], which names the rule.
    pub async fn promote_node(&self, node_id: u64) -> Result<Changed, MembershipError> {
        self.node.promote(node_id).await
    }

    /// Makes a voter the leader.
    ///
    /// # Errors
    /// [`MembershipError`], which names the rule.
    pub async fn transfer_leader(&self, node_id: u64) -> Result<Changed, MembershipError> {
        self.node.transfer_leader(node_id).await
    }
}

/// Makes a new cluster of one node out of the directory of a store that is not open.
///
/// # Errors
/// [`StartError`]; the work can be repeated.
pub fn recover(data_dir: &Path) -> Result<Recovered, StartError> {
    rookery_cluster::recover::unsafe_new_cluster(data_dir)
}
