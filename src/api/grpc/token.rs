//! `rookery.admin.v1.TokenService`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rookery_proto::rookery::admin::v1::{self as pb, token_service_server::TokenService};
use smol_str::SmolStr;
use tonic::{Request, Response, Status};

use super::call::{Backend, accept};
use crate::api::access::hash_secret;
use crate::api::convert::token::{role, token};
use crate::api::error::ApiError;
use crate::domain::catalog::PageRequest;
use crate::domain::id::TokenId;
use crate::store::fresh_id;

/// Most entries of one page of tokens.
const TOKENS_PAGE_SIZE_MAX: usize = 1000;

/// Makes a secret of the shape `t1.<public part>.<secret part>`, which official clients take for a ready token
/// (`spec/api.md`, 8.3). The secret part holds 256 random bits.
pub fn fresh_secret(public_part: &str) -> String {
    format!("t1.{public_part}.{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

/// The service.
pub struct TokenApi {
    backend: Backend,
}

impl TokenApi {
    /// Serves tokens of the catalog.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }
}

#[tonic::async_trait]
impl TokenService for TokenApi {
    async fn create(
        &self,
        request: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenResponse>, Status> {
        let (call, request) = accept(request)?;
        let role = role(request.role).map_err(ApiError::from)?;
        let secret = fresh_secret(&fresh_id());
        let hash = hash_secret(secret.as_bytes());
        let created_by = SmolStr::new(call.caller.subject.as_str());
        let made = self.backend.catalog.create_token(SmolStr::new(request.name), role, hash, created_by);
        let made = made.await.map_err(ApiError::from)?;
        tracing::info!(token = %made.id, role = %made.role, subject = %made.created_by, "Create token");
        Ok(Response::new(pb::CreateTokenResponse { token: Some(token(&made)), secret }))
    }

    async fn list(
        &self,
        request: Request<pb::ListTokensRequest>,
    ) -> Result<Response<pb::ListTokensResponse>, Status> {
        let (_, request) = accept(request)?;
        let page = PageRequest::parse(request.page_size, TOKENS_PAGE_SIZE_MAX, &request.page_token)
            .map_err(ApiError::from)?;
        self.backend.catalog.read(|catalog| {
            let page = catalog.tokens(&page);
            let next_page_token = page.next_token_text();
            let tokens = page.items.iter().map(|entry| token(entry)).collect();
            Ok(Response::new(pb::ListTokensResponse { tokens, next_page_token }))
        })
    }

    async fn revoke(
        &self,
        request: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::RevokeTokenResponse>, Status> {
        let (call, request) = accept(request)?;
        let revoked = self.backend.catalog.revoke_token(TokenId::new(request.token_id)).await;
        let revoked = revoked.map_err(ApiError::from)?;
        tracing::info!(token = %revoked.id, subject = %call.caller.subject, "Revoke token");
        Ok(Response::new(pb::RevokeTokenResponse {}))
    }
}
