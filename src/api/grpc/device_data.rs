//! `yandex.cloud.iot.devices.v1.DeviceDataService`.

use rookery_proto::yandex::cloud::iot::devices::v1::{
    self as pb, device_data_service_server::DeviceDataService,
};
use tonic::{Request, Response, Status};

use super::call::{Backend, accept};
use crate::api::error::ApiError;
use crate::domain::principal::Principal;

/// The service.
pub struct DeviceDataApi {
    backend: Backend,
}

impl DeviceDataApi {
    /// Publishes through the message path.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }
}

#[tonic::async_trait]
impl DeviceDataService for DeviceDataApi {
    /// Publishes on behalf of the device (U-P6).
    async fn publish(
        &self,
        request: Request<pb::PublishDeviceDataRequest>,
    ) -> Result<Response<pb::PublishDeviceDataResponse>, Status> {
        let (_, request) = accept(request)?;
        let principal = self.backend.catalog.read(|catalog| {
            let entry = catalog.require_device(&request.device_id)?;
            Ok::<_, ApiError>(Principal::Device {
                device: entry.id.clone(),
                registry: entry.registry_id.clone(),
            })
        })?;
        self.backend.publish(principal, &request.topic, request.data).await?;
        Ok(Response::new(pb::PublishDeviceDataResponse {}))
    }
}
