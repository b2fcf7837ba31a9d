//! `rookery.admin.v1.ConnectionLogService`.

use futures::future::join_all;
use rookery_proto::rookery::admin::v1::{self as pb, connection_log_service_server::ConnectionLogService};
use rookery_proto::rookery::node::v1::{answer, question};
use tonic::{Request, Response, Status};

use super::call::{Backend, accept};
use crate::api::operators::ask;

/// Records of one answer, if nothing is said.
const RECORDS_DEFAULT: usize = 100;

/// The service.
pub struct ConnectionLogApi {
    backend: Backend,
}

impl ConnectionLogApi {
    /// Asks all nodes of this node's cluster.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }
}

#[tonic::async_trait]
impl ConnectionLogService for ConnectionLogApi {
    async fn list(
        &self,
        request: Request<pb::ListConnectionLogRequest>,
    ) -> Result<Response<pb::ListConnectionLogResponse>, Status> {
        let (_, mut request) = accept(request)?;
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(RECORDS_DEFAULT);
        request.limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let overview = self.backend.operators.overview();
        let asked = join_all(overview.members.iter().map(|member| {
            let question = question::Question::ConnectionLog(request.clone());
            let operators = &*self.backend.operators;
            async move { (&member.name, ask(operators, member.node_id, question).await) }
        }));
        let mut response = pb::ListConnectionLogResponse::default();
        for (name, answer) in asked.await {
            match answer {
                Ok(answer::Answer::ConnectionLog(found)) => {
                    response.records.extend(found.records.into_iter().map(|mut record| {
                        record.node.clone_from(name);
                        record
                    }));
                }
                _ => response.silent_nodes.push(name.clone()),
            }
        }
        response.records.sort_by_key(|record| record.at.map(|at| (at.seconds, at.nanos)));
        response.records.drain(..response.records.len().saturating_sub(limit));
        Ok(Response::new(response))
    }
}
