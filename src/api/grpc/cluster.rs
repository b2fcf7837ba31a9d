//! `rookery.admin.v1.ClusterService`.

use std::pin::Pin;

use futures::future::join_all;
use futures::{Stream, StreamExt as _, stream};
use rookery_proto::rookery::admin::v1::{self as pb, cluster_service_server::ClusterService};
use rookery_proto::rookery::node::v1::{Details, answer, question};
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

use super::call::{Backend, accept};
use crate::api::operators::{MemberChange, Overview, ask, find_member, member_name};
use crate::store::{Member, MemberRole};

/// The service.
pub struct ClusterApi {
    backend: Backend,
}

impl ClusterApi {
    /// Serves the cluster of this node.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }

    /// What a member says about itself, or that it says nothing.
    async fn status_of(&self, overview: &Overview, member: &Member) -> pb::NodeStatus {
        let question = question::Question::Details(Details {});
        let known = pb::NodeStatus {
            name: member.name.clone(),
            id: member.node_id,
            address: member.address.clone(),
            role: role(member.role).to_owned(),
            ..pb::NodeStatus::default()
        };
        match ask(&*self.backend.operators, member.node_id, question).await {
            Ok(answer::Answer::Details(pb::NodeDetails { status: Some(status), .. })) => {
                pb::NodeStatus { name: known.name, address: known.address, role: known.role, ..status }
            }
            Ok(_) => unreachable_node(known, "it gave no answer that this version understands"),
            Err(status) if overview.own_id == member.node_id => unreachable_node(known, status.message()),
            Err(status) => unreachable_node(known, status.message()),
        }
    }

    async fn change(&self, change: MemberChange) -> Result<(), Status> {
        self.backend.operators.change(change).await.map_err(Status::failed_precondition)
    }
}

/// The word for a member's part in decisions.
pub fn role(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Voter => "voter",
        MemberRole::Learner => "learner",
    }
}

fn unreachable_node(known: pb::NodeStatus, reason: &str) -> pb::NodeStatus {
    pb::NodeStatus { state: "unreachable".to_owned(), reason: reason.to_owned(), ..known }
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<pb::ClusterEvent, Status>> + Send>>;

    async fn get_status(
        &self,
        request: Request<pb::GetClusterStatusRequest>,
    ) -> Result<Response<pb::ClusterStatus>, Status> {
        accept(request)?;
        let overview = self.backend.operators.overview();
        let asked = overview.members.iter().map(|member| self.status_of(&overview, member));
        let mut nodes = join_all(asked).await;
        let furthest = nodes.iter().map(|node| node.log_index).max().unwrap_or_default();
        for node in nodes.iter_mut().filter(|node| node.state != "unreachable") {
            node.lag = furthest.saturating_sub(node.applied_index);
        }
        let leader = overview.leader_id.map(|id| member_name(&overview, id)).unwrap_or_default();
        Ok(Response::new(pb::ClusterStatus {
            cluster_id: overview.cluster_id,
            leader,
            lease_ms: overview.lease_ms,
            fenced_drop_ms: overview.fenced_drop_ms,
            nodes,
            format: overview.format,
        }))
    }

    async fn list_members(
        &self,
        request: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        accept(request)?;
        let members = self.backend.operators.overview().members.into_iter().map(|member| pb::Member {
            id: member.node_id,
            name: member.name,
            address: member.address,
            role: role(member.role).to_owned(),
            registered: member.epoch.is_some(),
        });
        Ok(Response::new(pb::ListMembersResponse { members: members.collect() }))
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        let (call, request) = accept(request)?;
        let node_id = find_member(&self.backend.operators.overview(), &request.node)?;
        self.change(MemberChange::Remove(node_id)).await?;
        tracing::info!(node_id, node = request.node, subject = %call.caller.subject, "Remove member");
        Ok(Response::new(pb::RemoveMemberResponse {}))
    }

    async fn promote_member(
        &self,
        request: Request<pb::PromoteMemberRequest>,
    ) -> Result<Response<pb::PromoteMemberResponse>, Status> {
        let (call, request) = accept(request)?;
        let node_id = find_member(&self.backend.operators.overview(), &request.node)?;
        self.change(MemberChange::Promote(node_id)).await?;
        tracing::info!(node_id, node = request.node, subject = %call.caller.subject, "Promote member");
        Ok(Response::new(pb::PromoteMemberResponse {}))
    }

    async fn transfer_leadership(
        &self,
        request: Request<pb::TransferLeadershipRequest>,
    ) -> Result<Response<pb::TransferLeadershipResponse>, Status> {
        let (call, request) = accept(request)?;
        let overview = self.backend.operators.overview();
        let candidates: Vec<u64> = match request.node.as_str() {
            "" => other_voters(&overview),
            node => vec![find_member(&overview, node)?],
        };
        let mut refusal = Status::failed_precondition("there is no other voter that serves");
        for node_id in candidates {
            match self.change(MemberChange::TransferLeadership(node_id)).await {
                Ok(()) => {
                    tracing::info!(node_id, subject = %call.caller.subject, "Transfer leadership");
                    let leader = member_name(&overview, node_id);
                    return Ok(Response::new(pb::TransferLeadershipResponse { leader }));
                }
                Err(status) => refusal = status,
            }
        }
        Err(refusal)
    }

    async fn watch_events(
        &self,
        request: Request<pb::WatchClusterEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        accept(request)?;
        let (past, future) = self.backend.operators.events();
        let future = BroadcastStream::new(future).map(|event| {
            event.map_err(|missed| Status::data_loss(format!("the caller reads too slowly: {missed}")))
        });
        Ok(Response::new(Box::pin(stream::iter(past.into_iter().map(Ok)).chain(future))))
    }
}

/// Registered voters other than the leader.
fn other_voters(overview: &Overview) -> Vec<u64> {
    let serves = |member: &&Member| {
        member.role == MemberRole::Voter
            && member.epoch.is_some()
            && Some(member.node_id) != overview.leader_id
    };
    overview.members.iter().filter(serves).map(|member| member.node_id).collect()
}
