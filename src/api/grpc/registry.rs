//! `yandex.cloud.iot.devices.v1.RegistryService`.

use rookery_proto::yandex::cloud::iot::devices::v1::{self as pb, registry_service_server::RegistryService};
use rookery_proto::yandex::cloud::operation::Operation;
use smol_str::SmolStr;
use tonic::{Request, Response, Status};

use super::call::{Backend, accept, not_found};
use crate::api::convert::attributes::{attributes_patch, labels, log_options_of_registry};
use crate::api::convert::credential::{registry_certificate, registry_password};
use crate::api::convert::registry::{device_alias, export, registry};
use crate::api::error::ApiError;
use crate::api::update_mask::UpdateMask;
use crate::domain::catalog::{
    Change, CreateRegistry, NewExport, Owner, PageRequest, Resource, UpdateRegistry,
};
use crate::domain::id::{ExportId, FolderId, RegistryId};
use crate::store::fresh_id;

/// Most entries of one page of registries.
const REGISTRIES_PAGE_SIZE_MAX: usize = 1000;

/// Most entries of one page of topic aliases.
const ALIASES_PAGE_SIZE_MAX: usize = 1000;

const UPDATABLE: [&str; 4] = ["name", "description", "labels", "log_options"];

/// The service.
pub struct RegistryApi {
    backend: Backend,
}

impl RegistryApi {
    /// Serves registries of the catalog.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }
}

fn owner(registry_id: &str) -> Owner {
    Owner::Registry(RegistryId::new(registry_id))
}

#[tonic::async_trait]
impl RegistryService for RegistryApi {
    async fn get(&self, request: Request<pb::GetRegistryRequest>) -> Result<Response<pb::Registry>, Status> {
        let (_, request) = accept(request)?;
        self.backend.catalog.read(|catalog| {
            let entry = catalog.require_registry(&request.registry_id).map_err(ApiError::from)?;
            Ok(Response::new(registry(entry)))
        })
    }

    async fn get_by_name(
        &self,
        request: Request<pb::GetByNameRegistryRequest>,
    ) -> Result<Response<pb::Registry>, Status> {
        let (_, request) = accept(request)?;
        self.backend.catalog.read(|catalog| {
            let folder_id = FolderId::new(&request.folder_id);
            let entry = catalog
                .registry_by_name(&folder_id, &request.registry_name)
                .ok_or_else(|| not_found(Resource::Registry, &request.registry_name))?;
            Ok(Response::new(registry(entry)))
        })
    }

    async fn list(
        &self,
        request: Request<pb::ListRegistriesRequest>,
    ) -> Result<Response<pb::ListRegistriesResponse>, Status> {
        let (_, request) = accept(request)?;
        let page = PageRequest::parse(request.page_size, REGISTRIES_PAGE_SIZE_MAX, &request.page_token)
            .map_err(ApiError::from)?;
        let folder_id = FolderId::new(&request.folder_id);
        let page = self.backend.catalog.read(|catalog| catalog.registries_of_folder(&folder_id, &page));
        let next_page_token = page.next_token_text();
        let registries = page.items.iter().map(|entry| registry(entry)).collect();
        Ok(Response::new(pb::ListRegistriesResponse { registries, next_page_token }))
    }

    async fn create(
        &self,
        request: Request<pb::CreateRegistryRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        let labels = labels(&request.labels).map_err(ApiError::from)?;
        let log_options =
            request.log_options.map(log_options_of_registry).transpose().map_err(ApiError::from)?;
        let texts = request.certificates.iter().map(|certificate| certificate.certificate_data.as_str());
        let credentials = self.backend.new_credentials(texts, request.password).await?;
        let change = Change::CreateRegistry(CreateRegistry {
            id: RegistryId::new(fresh_id()),
            folder_id: FolderId::new(request.folder_id),
            name: SmolStr::new(request.name),
            description: SmolStr::new(request.description),
            labels,
            log_options,
            credentials,
        });
        self.backend.mutate(call, change).await
    }

    async fn update(
        &self,
        request: Request<pb::UpdateRegistryRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        let mask = UpdateMask::parse(request.update_mask.as_ref(), &UPDATABLE).map_err(ApiError::from)?;
        let attributes = attributes_patch(&mask, &request.name, &request.description, &request.labels)
            .map_err(ApiError::from)?;
        let log_options =
            request.log_options.map(log_options_of_registry).transpose().map_err(ApiError::from)?;
        let log_options = mask.covers("log_options").then_some(log_options);
        let id = RegistryId::new(request.registry_id);
        self.backend
            .mutate(call, Change::UpdateRegistry(UpdateRegistry { id, attributes, log_options }))
            .await
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteRegistryRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.mutate(call, Change::DeleteRegistry { id: RegistryId::new(request.registry_id) }).await
    }

    async fn list_certificates(
        &self,
        request: Request<pb::ListRegistryCertificatesRequest>,
    ) -> Result<Response<pb::ListRegistryCertificatesResponse>, Status> {
        let (_, request) = accept(request)?;
        let certificates = self.backend.certificates(&owner(&request.registry_id), registry_certificate)?;
        Ok(Response::new(pb::ListRegistryCertificatesResponse { certificates }))
    }

    async fn add_certificate(
        &self,
        request: Request<pb::AddRegistryCertificateRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.add_certificate(call, owner(&request.registry_id), &request.certificate_data).await
    }

    async fn delete_certificate(
        &self,
        request: Request<pb::DeleteRegistryCertificateRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.delete_certificate(call, owner(&request.registry_id), &request.fingerprint).await
    }

    async fn list_passwords(
        &self,
        request: Request<pb::ListRegistryPasswordsRequest>,
    ) -> Result<Response<pb::ListRegistryPasswordsResponse>, Status> {
        let (_, request) = accept(request)?;
        let passwords = self.backend.passwords(&owner(&request.registry_id), |owner, password| {
            registry_password(owner, &password.id, password.created_at)
        })?;
        Ok(Response::new(pb::ListRegistryPasswordsResponse { passwords }))
    }

    async fn add_password(
        &self,
        request: Request<pb::AddRegistryPasswordRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.add_password(call, owner(&request.registry_id), request.password).await
    }

    async fn delete_password(
        &self,
        request: Request<pb::DeleteRegistryPasswordRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.delete_password(call, owner(&request.registry_id), &request.password_id).await
    }

    async fn list_device_topic_aliases(
        &self,
        request: Request<pb::ListDeviceTopicAliasesRequest>,
    ) -> Result<Response<pb::ListDeviceTopicAliasesResponse>, Status> {
        let (_, request) = accept(request)?;
        let page = PageRequest::parse(request.page_size, ALIASES_PAGE_SIZE_MAX, &request.page_token)
            .map_err(ApiError::from)?;
        // Looks at every device, also at a million without aliases: in a view, so that no change waits for it.
        let catalog = self.backend.catalog.view();
        let registry = catalog.require_registry(&request.registry_id).map_err(ApiError::from)?;
        let page = catalog.aliases_page(&registry.id, &page);
        let next_page_token = page.next_token_text();
        let aliases = page.items.iter().map(device_alias).collect();
        Ok(Response::new(pb::ListDeviceTopicAliasesResponse { aliases, next_page_token }))
    }

    async fn list_data_stream_exports(
        &self,
        request: Request<pb::ListDataStreamExportsRequest>,
    ) -> Result<Response<pb::ListDataStreamExportsResponse>, Status> {
        let (_, request) = accept(request)?;
        self.backend.catalog.read(|catalog| {
            let found = catalog.export_of(&RegistryId::new(&request.registry_id)).map_err(ApiError::from)?;
            let data_stream_exports = found.into_iter().map(|entry| export(entry)).collect();
            Ok(Response::new(pb::ListDataStreamExportsResponse { data_stream_exports }))
        })
    }

    async fn add_data_stream_export(
        &self,
        request: Request<pb::AddDataStreamExportRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        let change = Change::AddExport(NewExport {
            id: ExportId::new(fresh_id()),
            name: SmolStr::new(request.name),
            registry_id: RegistryId::new(request.registry_id),
            mqtt_topic_filter: SmolStr::new(request.mqtt_topic_filter),
            database: SmolStr::new(request.database),
            stream: SmolStr::new(request.stream),
            service_account_id: SmolStr::new(request.service_account_id),
        });
        self.backend.mutate(call, change).await
    }

    async fn delete_data_stream_export(
        &self,
        request: Request<pb::DeleteDataStreamExportRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        let registry_id = RegistryId::new(request.registry_id);
        let id = ExportId::new(request.data_stream_export_id);
        self.backend.mutate(call, Change::DeleteExport { registry_id, id }).await
    }

    async fn disable(
        &self,
        request: Request<pb::DisableRegistryRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.mutate(call, Change::DisableRegistry { id: RegistryId::new(request.registry_id) }).await
    }

    async fn enable(
        &self,
        request: Request<pb::EnableRegistryRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.mutate(call, Change::EnableRegistry { id: RegistryId::new(request.registry_id) }).await
    }

    async fn list_operations(
        &self,
        request: Request<pb::ListRegistryOperationsRequest>,
    ) -> Result<Response<pb::ListRegistryOperationsResponse>, Status> {
        let (_, request) = accept(request)?;
        let owner = owner(&request.registry_id);
        let (operations, next_page_token) =
            self.backend.operations(&owner, request.page_size, &request.page_token, &request.filter)?;
        Ok(Response::new(pb::ListRegistryOperationsResponse { operations, next_page_token }))
    }
}
