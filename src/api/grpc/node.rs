//! `rookery.admin.v1.NodeService`.

use rookery_proto::rookery::admin::v1::{self as pb, node_service_server::NodeService};
use rookery_proto::rookery::node::v1::{CreateSnapshot, Details, Undrain, answer, question};
use tonic::{Request, Response, Status};

use super::call::{Backend, accept};
use super::cluster::role;
use crate::api::operators::{ask, find_member};

/// The service.
pub struct NodeApi {
    backend: Backend,
}

impl NodeApi {
    /// Serves the nodes of this node's cluster.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }

    async fn ask(&self, node: &str, question: question::Question) -> Result<answer::Answer, Status> {
        let node_id = find_member(&self.backend.operators.overview(), node)?;
        ask(&*self.backend.operators, node_id, question).await
    }
}

/// The node answered another question than the one that it was asked.
fn mismatch() -> Status {
    Status::internal("the node gave an answer that does not belong to the question")
}

#[tonic::async_trait]
impl NodeService for NodeApi {
    async fn get_status(
        &self,
        request: Request<pb::GetNodeStatusRequest>,
    ) -> Result<Response<pb::NodeDetails>, Status> {
        let (_, request) = accept(request)?;
        let overview = self.backend.operators.overview();
        let node_id = find_member(&overview, &request.node)?;
        let question = question::Question::Details(Details {});
        let answer::Answer::Details(mut details) = ask(&*self.backend.operators, node_id, question).await?
        else {
            return Err(mismatch());
        };
        // Name, address and role are what the log says, not what the node remembers.
        let member = overview.members.iter().find(|member| member.node_id == node_id);
        if let (Some(status), Some(member)) = (details.status.as_mut(), member) {
            status.name.clone_from(&member.name);
            status.address.clone_from(&member.address);
            role(member.role).clone_into(&mut status.role);
        }
        Ok(Response::new(details))
    }

    async fn drain(
        &self,
        request: Request<pb::DrainNodeRequest>,
    ) -> Result<Response<pb::DrainNodeResponse>, Status> {
        let (call, request) = accept(request)?;
        let node = request.node.clone();
        tracing::info!(node, subject = %call.caller.subject, "Drain node");
        match self.ask(&node, question::Question::Drain(request)).await? {
            answer::Answer::Drain(progress) => Ok(Response::new(progress)),
            _ => Err(mismatch()),
        }
    }

    async fn shed(
        &self,
        request: Request<pb::ShedNodeRequest>,
    ) -> Result<Response<pb::ShedNodeResponse>, Status> {
        let (call, request) = accept(request)?;
        let (node, sessions) = (request.node.clone(), request.sessions);
        tracing::info!(node, sessions, subject = %call.caller.subject, "Shed sessions");
        match self.ask(&node, question::Question::Shed(request)).await? {
            answer::Answer::Shed(answer) => Ok(Response::new(answer)),
            _ => Err(mismatch()),
        }
    }

    async fn undrain(
        &self,
        request: Request<pb::UndrainNodeRequest>,
    ) -> Result<Response<pb::UndrainNodeResponse>, Status> {
        let (call, request) = accept(request)?;
        tracing::info!(node = request.node, subject = %call.caller.subject, "Undrain node");
        self.ask(&request.node, question::Question::Undrain(Undrain {})).await?;
        Ok(Response::new(pb::UndrainNodeResponse {}))
    }

    async fn create_snapshot(
        &self,
        request: Request<pb::CreateSnapshotRequest>,
    ) -> Result<Response<pb::CreateSnapshotResponse>, Status> {
        let (_, request) = accept(request)?;
        match self.ask(&request.node, question::Question::CreateSnapshot(CreateSnapshot {})).await? {
            answer::Answer::SnapshotIndex(index) => Ok(Response::new(pb::CreateSnapshotResponse { index })),
            _ => Err(mismatch()),
        }
    }

    async fn set_log_filter(
        &self,
        request: Request<pb::SetLogFilterRequest>,
    ) -> Result<Response<pb::SetLogFilterResponse>, Status> {
        let (call, request) = accept(request)?;
        let node = request.node;
        tracing::info!(node, filter = request.filter, subject = %call.caller.subject, "Set log filter");
        self.ask(&node, question::Question::LogFilter(request.filter)).await?;
        Ok(Response::new(pb::SetLogFilterResponse {}))
    }
}
