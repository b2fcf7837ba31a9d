//! `yandex.cloud.iot.broker.v1.BrokerService`.

use rookery_proto::yandex::cloud::iot::broker::v1::{self as pb, broker_service_server::BrokerService};
use rookery_proto::yandex::cloud::operation::Operation;
use smol_str::SmolStr;
use tonic::{Request, Response, Status};

use super::call::{Backend, accept};
use crate::api::convert::attributes::{attributes_patch, labels, log_options_of_broker};
use crate::api::convert::broker::broker;
use crate::api::convert::credential::{broker_certificate, broker_password};
use crate::api::error::ApiError;
use crate::api::update_mask::UpdateMask;
use crate::domain::catalog::{Change, CreateBroker, Owner, PageRequest, UpdateBroker};
use crate::domain::id::{BrokerId, FolderId};
use crate::store::fresh_id;

/// Most entries of one page of brokers.
const BROKERS_PAGE_SIZE_MAX: usize = 1000;

const UPDATABLE: [&str; 4] = ["name", "description", "labels", "log_options"];

/// The service.
pub struct BrokerApi {
    backend: Backend,
}

impl BrokerApi {
    /// Serves brokers of the catalog.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }
}

fn owner(broker_id: &str) -> Owner {
    Owner::Broker(BrokerId::new(broker_id))
}

#[tonic::async_trait]
impl BrokerService for BrokerApi {
    async fn get(&self, request: Request<pb::GetBrokerRequest>) -> Result<Response<pb::Broker>, Status> {
        let (_, request) = accept(request)?;
        self.backend.catalog.read(|catalog| {
            let entry = catalog.require_broker(&request.broker_id).map_err(ApiError::from)?;
            Ok(Response::new(broker(entry)))
        })
    }

    async fn list(
        &self,
        request: Request<pb::ListBrokersRequest>,
    ) -> Result<Response<pb::ListBrokersResponse>, Status> {
        let (_, request) = accept(request)?;
        let page = PageRequest::parse(request.page_size, BROKERS_PAGE_SIZE_MAX, &request.page_token)
            .map_err(ApiError::from)?;
        let folder_id = FolderId::new(&request.folder_id);
        let page = self.backend.catalog.read(|catalog| catalog.brokers_of_folder(&folder_id, &page));
        let next_page_token = page.next_token_text();
        let brokers = page.items.iter().map(|entry| broker(entry)).collect();
        Ok(Response::new(pb::ListBrokersResponse { brokers, next_page_token }))
    }

    async fn create(&self, request: Request<pb::CreateBrokerRequest>) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        let labels = labels(&request.labels).map_err(ApiError::from)?;
        let log_options =
            request.log_options.map(log_options_of_broker).transpose().map_err(ApiError::from)?;
        let texts = request.certificates.iter().map(|certificate| certificate.certificate_data.as_str());
        let credentials = self.backend.new_credentials(texts, request.password).await?;
        let change = Change::CreateBroker(CreateBroker {
            id: BrokerId::new(fresh_id()),
            folder_id: FolderId::new(request.folder_id),
            name: SmolStr::new(request.name),
            description: SmolStr::new(request.description),
            labels,
            log_options,
            credentials,
        });
        self.backend.mutate(call, change).await
    }

    async fn update(&self, request: Request<pb::UpdateBrokerRequest>) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        let mask = UpdateMask::parse(request.update_mask.as_ref(), &UPDATABLE).map_err(ApiError::from)?;
        let attributes = attributes_patch(&mask, &request.name, &request.description, &request.labels)
            .map_err(ApiError::from)?;
        let log_options =
            request.log_options.map(log_options_of_broker).transpose().map_err(ApiError::from)?;
        let log_options = mask.covers("log_options").then_some(log_options);
        let id = BrokerId::new(request.broker_id);
        self.backend.mutate(call, Change::UpdateBroker(UpdateBroker { id, attributes, log_options })).await
    }

    async fn delete(&self, request: Request<pb::DeleteBrokerRequest>) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.mutate(call, Change::DeleteBroker { id: BrokerId::new(request.broker_id) }).await
    }

    async fn list_certificates(
        &self,
        request: Request<pb::ListBrokerCertificatesRequest>,
    ) -> Result<Response<pb::ListBrokerCertificatesResponse>, Status> {
        let (_, request) = accept(request)?;
        let certificates = self.backend.certificates(&owner(&request.broker_id), broker_certificate)?;
        Ok(Response::new(pb::ListBrokerCertificatesResponse { certificates }))
    }

    async fn add_certificate(
        &self,
        request: Request<pb::AddBrokerCertificateRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.add_certificate(call, owner(&request.broker_id), &request.certificate_data).await
    }

    async fn delete_certificate(
        &self,
        request: Request<pb::DeleteBrokerCertificateRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.delete_certificate(call, owner(&request.broker_id), &request.fingerprint).await
    }

    async fn list_passwords(
        &self,
        request: Request<pb::ListBrokerPasswordsRequest>,
    ) -> Result<Response<pb::ListBrokerPasswordsResponse>, Status> {
        let (_, request) = accept(request)?;
        let passwords = self.backend.passwords(&owner(&request.broker_id), |owner, password| {
            broker_password(owner, &password.id, password.created_at)
        })?;
        Ok(Response::new(pb::ListBrokerPasswordsResponse { passwords }))
    }

    async fn add_password(
        &self,
        request: Request<pb::AddBrokerPasswordRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.add_password(call, owner(&request.broker_id), request.password).await
    }

    async fn delete_password(
        &self,
        request: Request<pb::DeleteBrokerPasswordRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.delete_password(call, owner(&request.broker_id), &request.password_id).await
    }

    async fn list_operations(
        &self,
        request: Request<pb::ListBrokerOperationsRequest>,
    ) -> Result<Response<pb::ListBrokerOperationsResponse>, Status> {
        let (_, request) = accept(request)?;
        let owner = owner(&request.broker_id);
        let (operations, next_page_token) =
            self.backend.operations(&owner, request.page_size, &request.page_token, &request.filter)?;
        Ok(Response::new(pb::ListBrokerOperationsResponse { operations, next_page_token }))
    }
}
