//! `yandex.cloud.iot.devices.v1.RegistryDataService`.

use rookery_proto::yandex::cloud::iot::devices::v1::{
    self as pb, registry_data_service_server::RegistryDataService,
};
use tonic::{Request, Response, Status};

use super::call::{Backend, accept};
use crate::api::error::ApiError;
use crate::domain::principal::Principal;

/// The service.
pub struct RegistryDataApi {
    backend: Backend,
}

impl RegistryDataApi {
    /// Publishes through the message path.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }
}

#[tonic::async_trait]
impl RegistryDataService for RegistryDataApi {
    /// Publishes on behalf of the registry (U-P6).
    async fn publish(
        &self,
        request: Request<pb::PublishRegistryDataRequest>,
    ) -> Result<Response<pb::PublishRegistryDataResponse>, Status> {
        let (_, request) = accept(request)?;
        let principal = self.backend.catalog.read(|catalog| {
            let entry = catalog.require_registry(&request.registry_id)?;
            Ok::<_, ApiError>(Principal::Registry(entry.id.clone()))
        })?;
        self.backend.publish(principal, &request.topic, request.data).await?;
        Ok(Response::new(pb::PublishRegistryDataResponse {}))
    }
}
