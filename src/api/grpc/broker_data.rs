//! `yandex.cloud.iot.broker.v1.BrokerDataService`.

use rookery_proto::yandex::cloud::iot::broker::v1::{
    self as pb, broker_data_service_server::BrokerDataService,
};
use tonic::{Request, Response, Status};

use super::call::{Backend, accept};
use crate::api::error::ApiError;
use crate::domain::principal::Principal;

/// The service.
pub struct BrokerDataApi {
    backend: Backend,
}

impl BrokerDataApi {
    /// Publishes through the message path.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }
}

#[tonic::async_trait]
impl BrokerDataService for BrokerDataApi {
    /// Publishes on behalf of the broker (U-P6).
    async fn publish(
        &self,
        request: Request<pb::PublishBrokerDataRequest>,
    ) -> Result<Response<pb::PublishBrokerDataResponse>, Status> {
        let (_, request) = accept(request)?;
        let principal = self.backend.catalog.read(|catalog| {
            let entry = catalog.require_broker(&request.broker_id)?;
            Ok::<_, ApiError>(Principal::Broker(entry.id.clone()))
        })?;
        self.backend.publish(principal, &request.topic, request.data).await?;
        Ok(Response::new(pb::PublishBrokerDataResponse {}))
    }
}
