//! `rookery.admin.v1.SpaceService`.

use rookery_proto::rookery::admin::v1::{self as pb, space_service_server::SpaceService};
use tonic::{Request, Response, Status};

use super::call::{Backend, accept};
use crate::api::error::ApiError;
use crate::api::operators::member_name;
use crate::domain::catalog::{Catalog, PageRequest};
use crate::domain::id::{BrokerId, RegistryId};
use crate::domain::principal::SpaceId;
use crate::domain::resolve::{self, PublishRefusal};

/// Most entries of one page of spaces.
const SPACES_PAGE_SIZE_MAX: usize = 1000;

/// Most targets in an answer about routes.
const TARGETS_MAX: usize = 1000;

/// The service.
pub struct SpaceApi {
    backend: Backend,
}

impl SpaceApi {
    /// Serves the spaces of the catalog.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }
}

const REGISTRY: &str = "registry";
const BROKER: &str = "broker";

fn kind(id: &SpaceId) -> &'static str {
    match id {
        SpaceId::Registry(_) => REGISTRY,
        SpaceId::Broker(_) => BROKER,
    }
}

/// The space that a page ended with, as text for a client.
fn page_token(id: &SpaceId) -> String {
    format!("{}/{}", kind(id), id.as_str())
}

fn parse_page_token(text: &str) -> Result<Option<SpaceId>, Status> {
    match text.split_once('/') {
        None if text.is_empty() => Ok(None),
        Some((REGISTRY, id)) => Ok(Some(SpaceId::Registry(RegistryId::new(id)))),
        Some((BROKER, id)) => Ok(Some(SpaceId::Broker(BrokerId::new(id)))),
        _ => Err(Status::invalid_argument("page_token: is not a token of this listing")),
    }
}

fn space(catalog: &Catalog, id: &SpaceId, sessions: u64, subscriptions: u64) -> pb::Space {
    let (name, devices) = match id {
        SpaceId::Registry(id) => (
            catalog.registry(id.as_str()).map(|registry| registry.name.to_string()),
            catalog.device_count(id),
        ),
        SpaceId::Broker(id) => (catalog.broker(id.as_str()).map(|broker| broker.name.to_string()), 0),
    };
    pb::Space {
        id: id.as_str().to_owned(),
        r#type: kind(id).to_owned(),
        name: name.unwrap_or_default(),
        sessions,
        subscriptions,
        devices,
    }
}

fn refused(refusal: &PublishRefusal) -> Status {
    match refusal {
        refusal if refusal.is_malformed() => Status::invalid_argument(format!("topic: {refusal}")),
        refusal => Status::permission_denied(format!("topic: {refusal}")),
    }
}

#[tonic::async_trait]
impl SpaceService for SpaceApi {
    async fn list(
        &self,
        request: Request<pb::ListSpacesRequest>,
    ) -> Result<Response<pb::ListSpacesResponse>, Status> {
        let (_, request) = accept(request)?;
        let page = PageRequest::parse(request.page_size, SPACES_PAGE_SIZE_MAX, "").map_err(ApiError::from)?;
        let after = parse_page_token(&request.page_token)?;
        let catalog = self.backend.catalog.view();
        let found = catalog.spaces_with_sessions(after.as_ref(), page.size);
        let last = found.last().filter(|_| found.len() == page.size);
        let next_page_token = last.map(|(id, _)| page_token(id)).unwrap_or_default();
        let spaces = found
            .iter()
            .map(|(id, sessions)| space(&catalog, id, *sessions, self.backend.operators.subscriptions(id)));
        Ok(Response::new(pb::ListSpacesResponse { spaces: spaces.collect(), next_page_token }))
    }

    async fn get_routes(
        &self,
        request: Request<pb::GetRoutesRequest>,
    ) -> Result<Response<pb::GetRoutesResponse>, Status> {
        let (_, request) = accept(request)?;
        let catalog = self.backend.catalog.view();
        let unknown = || Status::not_found(format!("entity_id: there is no {:?}", request.entity_id));
        let publisher = catalog.principal(&request.entity_id).ok_or_else(unknown)?;
        let topic =
            resolve::publish(&publisher, &request.topic, &catalog).map_err(|refusal| refused(&refusal))?;
        let matches = self.backend.operators.matches(&publisher.space(), &topic, &catalog);
        let overview = self.backend.operators.overview();
        let targets = matches.iter().take(TARGETS_MAX).map(|found| {
            let session = catalog.session(found.session);
            pb::RouteTarget {
                node: member_name(&overview, found.session.node.into()),
                session_id: found.session.to_string(),
                entity_id: session.map(|session| session.principal.id().to_owned()).unwrap_or_default(),
                client_id: session.map(|session| session.client_id.to_string()).unwrap_or_default(),
                topic: found.name.to_string(),
                qos: u32::from(found.qos.bits()),
            }
        });
        Ok(Response::new(pb::GetRoutesResponse {
            canonical_topic: topic.as_str().to_owned(),
            permanent: topic.is_permanent(),
            targets: targets.collect(),
            total: matches.len() as u64,
        }))
    }
}
