//! `yandex.cloud.iot.devices.v1.DeviceService`.

use rookery_proto::yandex::cloud::iot::devices::v1::{self as pb, device_service_server::DeviceService};
use rookery_proto::yandex::cloud::operation::Operation;
use smol_str::SmolStr;
use tonic::{Request, Response, Status};

use super::call::{Backend, accept, not_found};
use crate::api::convert::attributes::{attributes_patch, labels, topic_aliases};
use crate::api::convert::credential::{device_certificate, device_password};
use crate::api::convert::device::{device, monitoring_data};
use crate::api::error::ApiError;
use crate::api::update_mask::UpdateMask;
use crate::domain::catalog::{
    Catalog, Change, CreateDevice, Device, Owner, PageRequest, Resource, UpdateDevice,
};
use crate::domain::id::{DeviceId, FolderId, RegistryId};
use crate::store::fresh_id;

/// Most entries of one page of devices.
const DEVICES_PAGE_SIZE_MAX: usize = 20_000;

const UPDATABLE: [&str; 4] = ["name", "description", "topic_aliases", "labels"];

/// The service.
pub struct DeviceApi {
    backend: Backend,
}

impl DeviceApi {
    /// Serves devices of the catalog.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }
}

fn owner(device_id: &str) -> Owner {
    Owner::Device(DeviceId::new(device_id))
}

fn shown(catalog: &Catalog, entry: &Device, view: pb::DeviceView) -> pb::Device {
    let mut shown = device(entry);
    if view == pb::DeviceView::Full {
        let monitoring = catalog.monitoring(&entry.id).map(|record| monitoring_data(record));
        shown.monitoring_data = Some(monitoring.unwrap_or_default());
    }
    shown
}

#[tonic::async_trait]
impl DeviceService for DeviceApi {
    async fn get(&self, request: Request<pb::GetDeviceRequest>) -> Result<Response<pb::Device>, Status> {
        let (_, request) = accept(request)?;
        self.backend.catalog.read(|catalog| {
            let entry = catalog.require_device(&request.device_id).map_err(ApiError::from)?;
            Ok(Response::new(shown(catalog, entry, request.device_view())))
        })
    }

    async fn get_by_name(
        &self,
        request: Request<pb::GetByNameDeviceRequest>,
    ) -> Result<Response<pb::Device>, Status> {
        let (_, request) = accept(request)?;
        self.backend.catalog.read(|catalog| {
            let registry_id = RegistryId::new(&request.registry_id);
            let entry = catalog
                .device_by_name(&registry_id, &request.device_name)
                .ok_or_else(|| not_found(Resource::Device, &request.device_name))?;
            Ok(Response::new(shown(catalog, entry, request.device_view())))
        })
    }

    async fn list(
        &self,
        request: Request<pb::ListDevicesRequest>,
    ) -> Result<Response<pb::ListDevicesResponse>, Status> {
        let (_, request) = accept(request)?;
        let page = PageRequest::parse(request.page_size, DEVICES_PAGE_SIZE_MAX, &request.page_token)
            .map_err(ApiError::from)?;
        // A page may be long: converted from a view, so that no change waits for it.
        let catalog = self.backend.catalog.view();
        let page = match &request.id {
            Some(pb::list_devices_request::Id::RegistryId(id)) => {
                let registry = catalog.require_registry(id).map_err(ApiError::from)?;
                catalog.devices_of_registry(&registry.id, &page)
            }
            Some(pb::list_devices_request::Id::FolderId(id)) => {
                catalog.devices_of_folder(&FolderId::new(id), &page)
            }
            None => return Err(Status::internal("the oneof was checked before")),
        };
        let next_page_token = page.next_token_text();
        let view = request.device_view();
        let devices = page.items.iter().map(|entry| shown(&catalog, entry, view)).collect();
        Ok(Response::new(pb::ListDevicesResponse { devices, next_page_token }))
    }

    async fn create(&self, request: Request<pb::CreateDeviceRequest>) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        let labels = labels(&request.labels).map_err(ApiError::from)?;
        let texts = request.certificates.iter().map(|certificate| certificate.certificate_data.as_str());
        let credentials = self.backend.new_credentials(texts, request.password).await?;
        let change = Change::CreateDevice(CreateDevice {
            id: DeviceId::new(fresh_id()),
            registry_id: RegistryId::new(request.registry_id),
            name: SmolStr::new(request.name),
            description: SmolStr::new(request.description),
            labels,
            topic_aliases: topic_aliases(request.topic_aliases),
            credentials,
        });
        self.backend.mutate(call, change).await
    }

    async fn update(&self, request: Request<pb::UpdateDeviceRequest>) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        let mask = UpdateMask::parse(request.update_mask.as_ref(), &UPDATABLE).map_err(ApiError::from)?;
        let attributes = attributes_patch(&mask, &request.name, &request.description, &request.labels)
            .map_err(ApiError::from)?;
        let aliases = mask.covers("topic_aliases").then(|| topic_aliases(request.topic_aliases));
        let id = DeviceId::new(request.device_id);
        let change = Change::UpdateDevice(UpdateDevice { id, attributes, topic_aliases: aliases });
        self.backend.mutate(call, change).await
    }

    async fn delete(&self, request: Request<pb::DeleteDeviceRequest>) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.mutate(call, Change::DeleteDevice { id: DeviceId::new(request.device_id) }).await
    }

    async fn list_certificates(
        &self,
        request: Request<pb::ListDeviceCertificatesRequest>,
    ) -> Result<Response<pb::ListDeviceCertificatesResponse>, Status> {
        let (_, request) = accept(request)?;
        let certificates = self.backend.certificates(&owner(&request.device_id), device_certificate)?;
        Ok(Response::new(pb::ListDeviceCertificatesResponse { certificates }))
    }

    async fn add_certificate(
        &self,
        request: Request<pb::AddDeviceCertificateRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.add_certificate(call, owner(&request.device_id), &request.certificate_data).await
    }

    async fn delete_certificate(
        &self,
        request: Request<pb::DeleteDeviceCertificateRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.delete_certificate(call, owner(&request.device_id), &request.fingerprint).await
    }

    async fn list_passwords(
        &self,
        request: Request<pb::ListDevicePasswordsRequest>,
    ) -> Result<Response<pb::ListDevicePasswordsResponse>, Status> {
        let (_, request) = accept(request)?;
        let passwords = self.backend.passwords(&owner(&request.device_id), |owner, password| {
            device_password(owner, &password.id, password.created_at)
        })?;
        Ok(Response::new(pb::ListDevicePasswordsResponse { passwords }))
    }

    async fn add_password(
        &self,
        request: Request<pb::AddDevicePasswordRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.add_password(call, owner(&request.device_id), request.password).await
    }

    async fn delete_password(
        &self,
        request: Request<pb::DeleteDevicePasswordRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (call, request) = accept(request)?;
        self.backend.delete_password(call, owner(&request.device_id), &request.password_id).await
    }

    async fn list_operations(
        &self,
        request: Request<pb::ListDeviceOperationsRequest>,
    ) -> Result<Response<pb::ListDeviceOperationsResponse>, Status> {
        let (_, request) = accept(request)?;
        let owner = owner(&request.device_id);
        let (operations, next_page_token) =
            self.backend.operations(&owner, request.page_size, &request.page_token, &request.filter)?;
        Ok(Response::new(pb::ListDeviceOperationsResponse { operations, next_page_token }))
    }
}
