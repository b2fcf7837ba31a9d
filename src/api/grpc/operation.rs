//! `yandex.cloud.operation.OperationService`.

use rookery_proto::yandex::cloud::operation::{self as pb, operation_service_server::OperationService};
use tonic::{Request, Response, Status};

use super::call::{Backend, accept, not_found};
use crate::api::convert;
use crate::api::error::ApiError;
use crate::domain::catalog::Resource;
use crate::domain::id::OperationId;

/// The service.
pub struct OperationApi {
    backend: Backend,
}

impl OperationApi {
    /// Serves operations of the catalog.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }

    fn find(&self, operation_id: &str) -> Result<pb::Operation, ApiError> {
        self.backend.catalog.read(|catalog| {
            let operation = catalog
                .operation(&OperationId::new(operation_id))
                .ok_or_else(|| not_found(Resource::Operation, operation_id))?;
            Ok(convert::operation::operation(operation))
        })
    }
}

#[tonic::async_trait]
impl OperationService for OperationApi {
    async fn get(
        &self,
        request: Request<pb::GetOperationRequest>,
    ) -> Result<Response<pb::Operation>, Status> {
        let (_, request) = accept(request)?;
        Ok(Response::new(self.find(&request.operation_id)?))
    }

    /// Every operation is done when it becomes visible, so there is nothing to cancel (U-P8).
    async fn cancel(
        &self,
        request: Request<pb::CancelOperationRequest>,
    ) -> Result<Response<pb::Operation>, Status> {
        let (_, request) = accept(request)?;
        let id = self.find(&request.operation_id)?.id;
        Err(ApiError::OperationDone { id }.into())
    }
}
