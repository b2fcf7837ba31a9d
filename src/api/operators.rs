//! What the operators' services need of the node beside its catalog. The composition root provides it.

use std::sync::Arc;

use rookery_proto::rookery::admin::v1::ClusterEvent;
use rookery_proto::rookery::node::v1::{Answer, answer, question};
use tokio::sync::broadcast;
use tonic::{Status, async_trait};

use crate::domain::address::CanonicalTopic;
use crate::domain::catalog::Catalog;
use crate::domain::principal::SpaceId;
use crate::domain::session::SessionId;
use crate::mqtt::qos::QoS;
use crate::store::Member;

/// The cluster as this node knows it, without asking anybody.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Identifier of the cluster; empty while the node belongs to none.
    pub cluster_id: String,
    /// The answering node.
    pub own_id: u64,
    /// The leader that it knows.
    pub leader_id: Option<u64>,
    /// How long a node may serve without hearing from a quorum, in milliseconds.
    pub lease_ms: u32,
    /// How long a node keeps its clients while it is fenced, in milliseconds.
    pub fenced_drop_ms: u32,
    /// The format that the cluster writes.
    pub format: u32,
    /// The members, by identifier.
    pub members: Vec<Member>,
}

/// Somebody who would get a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The session.
    pub session: SessionId,
    /// The topic as it would be delivered.
    pub name: Arc<str>,
    /// Granted QoS.
    pub qos: QoS,
}

/// A change of who belongs to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChange {
    /// Removes the node for good.
    Remove(u64),
    /// Makes the learner a voter.
    Promote(u64),
    /// Makes the voter the leader.
    TransferLeadership(u64),
}

/// The node and, through it, the cluster.
#[async_trait]
pub trait Operators: Send + Sync + 'static {
    /// The cluster as this node knows it.
    fn overview(&self) -> Overview;

    /// Asks a node, this one included. Ends within five seconds.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn ask(&self, node_id: u64, question: question::Question) -> Result<Answer, String>;

    /// Changes the membership.
    ///
    /// # Errors
    /// The rule that forbids it, or why it could not be done.
    async fn change(&self, change: MemberChange) -> Result<(), String>;

    /// The subscriptions that a message to `topic` would reach, on all nodes; one entry for each delivered copy.
    fn matches(&self, space: &SpaceId, topic: &CanonicalTopic, catalog: &Catalog) -> Vec<Match>;

    /// Subscriptions of a space, on all nodes.
    fn subscriptions(&self, space: &SpaceId) -> u64;

    /// A backup: the last log entry that it covers, and its file.
    ///
    /// # Errors
    /// Why there is none.
    async fn backup(&self) -> Result<(u64, std::fs::File), String>;

    /// The last events, and those to come. Who reads too slowly misses some.
    fn events(&self) -> (Vec<ClusterEvent>, broadcast::Receiver<ClusterEvent>);
}

/// Asks a node and takes the answer apart: a refusal becomes the status that it names.
///
/// # Errors
/// The refusal, or UNAVAILABLE if there is no answer.
pub async fn ask(
    operators: &dyn Operators,
    node_id: u64,
    question: question::Question,
) -> Result<answer::Answer, Status> {
    let answer = operators.ask(node_id, question).await.map_err(Status::unavailable)?;
    match answer.answer {
        Some(answer::Answer::Refused(text)) => Err(refusal(&text)),
        Some(answer) => Ok(answer),
        None => Err(Status::unimplemented("the node does not know this question; its version may be older")),
    }
}

fn refusal(text: &str) -> Status {
    match text.split_once(':') {
        Some(("NOT_FOUND", reason)) => Status::not_found(reason.trim()),
        Some(("INVALID_ARGUMENT", reason)) => Status::invalid_argument(reason.trim()),
        Some(("UNAVAILABLE", reason)) => Status::unavailable(reason.trim()),
        _ => Status::internal(text),
    }
}

/// Finds a member by name or identifier; empty means the answering node.
///
/// # Errors
/// NOT_FOUND.
pub fn find_member(overview: &Overview, node: &str) -> Result<u64, Status> {
    if node.is_empty() {
        return Ok(overview.own_id);
    }
    let by_name = overview.members.iter().find(|member| member.name == node);
    let by_id = || {
        let id: u64 = node.parse().ok()?;
        overview.members.iter().find(|member| member.node_id == id)
    };
    let found = by_name.or_else(by_id).map(|member| member.node_id);
    found.ok_or_else(|| Status::not_found(format!("node: the cluster has no member {node:?}")))
}

/// The name of a member; its identifier if it is no member any more.
pub fn member_name(overview: &Overview, node_id: u64) -> String {
    let member = overview.members.iter().find(|member| member.node_id == node_id);
    member.map_or_else(|| node_id.to_string(), |member| member.name.clone())
}
