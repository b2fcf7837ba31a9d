//! `rookery.admin.v1.SessionService`.

use std::sync::Arc;

use rookery_proto::rookery::admin::v1::{self as pb, session_service_server::SessionService};
use rookery_proto::rookery::node::v1::{answer, question};
use smol_str::SmolStr;
use tonic::{Request, Response, Status};

use super::call::{Backend, accept};
use crate::api::convert;
use crate::api::error::ApiError;
use crate::api::operators::{Overview, ask, find_member, member_name};
use crate::domain::catalog::{PageRequest, SessionFilter};
use crate::domain::session::{Session, SessionId};

/// Most entries of one page of sessions.
const SESSIONS_PAGE_SIZE_MAX: usize = 1000;

/// The service.
pub struct SessionApi {
    backend: Backend,
}

impl SessionApi {
    /// Serves the sessions of the catalog.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }

    fn find(&self, id: &str) -> Result<Arc<Session>, Status> {
        let not_found = || Status::not_found(format!("session_id: there is no session {id:?}"));
        let id = SessionId::parse(id).ok_or_else(not_found)?;
        self.backend.catalog.session(id).ok_or_else(not_found)
    }
}

fn message(session: &Session, overview: &Overview) -> pb::Session {
    pb::Session {
        id: session.id.to_string(),
        node: member_name(overview, session.id.node.into()),
        space_id: session.principal.space().as_str().to_owned(),
        entity_id: session.principal.id().to_owned(),
        entity_type: convert::entity_type(&session.principal).to_owned(),
        client_id: session.client_id.to_string(),
        connected_at: Some(convert::timestamp(session.opened_at)),
        address: session.peer.map(|address| address.to_string()).unwrap_or_default(),
        subscriptions: u32::try_from(session.subscriptions.len()).unwrap_or(u32::MAX),
    }
}

#[tonic::async_trait]
impl SessionService for SessionApi {
    async fn list(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let (_, request) = accept(request)?;
        let overview = self.backend.operators.overview();
        let node = match request.node.as_str() {
            "" => None,
            node => Some(find_member(&overview, node)?),
        };
        let page = PageRequest::parse(request.page_size, SESSIONS_PAGE_SIZE_MAX, &request.page_token)
            .map_err(ApiError::from)?;
        let catalog = self.backend.catalog.view();
        let space = |id: &str| catalog.principal(id).map(|principal| principal.space());
        let space = match request.space_id.as_str() {
            "" => None,
            id => Some(space(id).filter(|space| space.as_str() == id).ok_or_else(|| {
                Status::not_found(format!("space_id: there is no registry or broker {id:?}"))
            })?),
        };
        let filter = SessionFilter {
            space,
            entity: (!request.entity_id.is_empty()).then(|| SmolStr::new(&request.entity_id)),
            client_id_prefix: SmolStr::new(&request.client_id_prefix),
            node: node.map(|id| u32::try_from(id).unwrap_or(u32::MAX)),
        };
        // May walk all sessions of the cluster; the threads of this runtime also renew leases.
        let listing = tokio::task::spawn_blocking(move || catalog.sessions(&filter, &page));
        let found = listing.await.map_err(|_| Status::internal("the listing failed"))?;
        Ok(Response::new(pb::ListSessionsResponse {
            sessions: found.items.iter().map(|session| message(session, &overview)).collect(),
            next_page_token: found.next_token_text(),
        }))
    }

    async fn get(
        &self,
        request: Request<pb::GetSessionRequest>,
    ) -> Result<Response<pb::SessionDetails>, Status> {
        let (_, request) = accept(request)?;
        let session = self.find(&request.session_id)?;
        let question = question::Question::SessionQueues(request.session_id);
        // What the log knows is worth showing also when the node does not answer.
        let queues = match ask(&*self.backend.operators, session.id.node.into(), question).await {
            Ok(answer::Answer::SessionQueues(queues)) => Some(queues),
            _ => None,
        };
        let subscriptions = session
            .subscriptions
            .iter()
            .map(|(filter, qos)| pb::Subscription { filter: filter.to_owned(), qos: u32::from(qos.bits()) });
        Ok(Response::new(pb::SessionDetails {
            subscriptions: subscriptions.collect(),
            session: Some(message(&session, &self.backend.operators.overview())),
            queues,
        }))
    }

    async fn kick(
        &self,
        request: Request<pb::KickSessionRequest>,
    ) -> Result<Response<pb::KickSessionResponse>, Status> {
        let (call, request) = accept(request)?;
        let session = self.find(&request.session_id)?;
        tracing::info!(session = %session.id, subject = %call.caller.subject, "Kick session");
        let question = question::Question::Kick(request.session_id);
        ask(&*self.backend.operators, session.id.node.into(), question).await?;
        Ok(Response::new(pb::KickSessionResponse {}))
    }
}
