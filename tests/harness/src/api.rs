//! The management API over gRPC with TLS and a bearer token, in the words of the tests.
//!
//! Every function returns the server's `Status` unchanged, so that a test can look at its code.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use prost_types::FieldMask;
use rookery_proto::yandex::cloud::{
    iot::{
        broker::v1::{
            self as brokers, broker_data_service_client::BrokerDataServiceClient,
            broker_service_client::BrokerServiceClient,
        },
        devices::v1::{
            self as devices, device_data_service_client::DeviceDataServiceClient,
            device_service_client::DeviceServiceClient,
            registry_data_service_client::RegistryDataServiceClient,
            registry_service_client::RegistryServiceClient,
        },
    },
    operation::{Operation, operation},
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{node::Node, runtime::WAIT};

/// A channel that adds the bearer token to every call.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// Adds `authorization: Bearer …`, or nothing.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// Who owns a credential or publishes through the API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Entity {
    /// A registry by id.
    Registry(String),
    /// A device by id.
    Device(String),
    /// A broker by id.
    Broker(String),
}

impl Entity {
    /// The id, which is also the MQTT login.
    pub fn id(&self) -> &str {
        match self {
            Self::Registry(id) | Self::Device(id) | Self::Broker(id) => id,
        }
    }
}

/// Clients of all services of one node.
#[derive(Clone)]
pub struct Api {
    channel: Channel,
    bearer: Bearer,
}

impl Api {
    /// Connects with the administrator's token. Must be called inside the test runtime.
    pub fn connect(node: &Node) -> Self {
        Self::with_token(node, Some(&node.admin_token()))
    }

    /// Connects with the given token, or with none.
    pub fn with_token(node: &Node, token: Option<&str>) -> Self {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(node.ca_pem()))
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://{}", node.address("api")))
            .and_then(|endpoint| endpoint.timeout(WAIT).tls_config(tls))
            .expect("the address and the authority are valid");
        let bearer = token.map(|token| format!("Bearer {token}").parse().expect("a token is visible ASCII"));
        Self { channel: endpoint.connect_lazy(), bearer: Bearer(bearer) }
    }

    /// The registry service.
    pub fn registries(&self) -> RegistryServiceClient<Authorized> {
        RegistryServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// The device service.
    pub fn devices(&self) -> DeviceServiceClient<Authorized> {
        DeviceServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// The broker service.
    pub fn brokers(&self) -> BrokerServiceClient<Authorized> {
        BrokerServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Creates a registry without a name in the folder `tests`.
    pub async fn create_registry(&self) -> Result<Entity, Status> {
        let request = devices::CreateRegistryRequest { folder_id: "tests".into(), ..Default::default() };
        let operation = self.registries().create(request).await?.into_inner();
        Ok(Entity::Registry(result::<devices::Registry>(operation).id))
    }

    /// Creates a device without a name and returns all of it.
    pub async fn create_device(
        &self,
        registry: &Entity,
        aliases: &[(&str, &str)],
    ) -> Result<devices::Device, Status> {
        let request = devices::CreateDeviceRequest {
            registry_id: registry.id().into(),
            topic_aliases: alias_map(aliases),
            ..Default::default()
        };
        Ok(result(self.devices().create(request).await?.into_inner()))
    }

    /// Creates a broker without a name in the folder `tests`.
    pub async fn create_broker(&self) -> Result<Entity, Status> {
        let request = brokers::CreateBrokerRequest { folder_id: "tests".into(), ..Default::default() };
        let operation = self.brokers().create(request).await?.into_inner();
        Ok(Entity::Broker(result::<brokers::Broker>(operation).id))
    }

    /// Reads a device with the full view.
    pub async fn device(&self, device: &Entity) -> Result<devices::Device, Status> {
        let device_view = devices::DeviceView::Full.into();
        let request = devices::GetDeviceRequest { device_id: device.id().into(), device_view };
        Ok(self.devices().get(request).await?.into_inner())
    }

    /// The ids of all devices of a registry.
    pub async fn device_ids(&self, registry: &Entity) -> Result<BTreeSet<String>, Status> {
        let request = devices::ListDevicesRequest {
            id: Some(devices::list_devices_request::Id::RegistryId(registry.id().into())),
            page_size: 20_000,
            ..Default::default()
        };
        let answer = self.devices().list(request).await?.into_inner();
        assert!(answer.next_page_token.is_empty(), "all devices fit on one page");
        Ok(answer.devices.into_iter().map(|device| device.id).collect())
    }

    /// Replaces all aliases of a device.
    pub async fn set_aliases(
        &self,
        device: &Entity,
        aliases: &[(&str, &str)],
    ) -> Result<devices::Device, Status> {
        let request = devices::UpdateDeviceRequest {
            device_id: device.id().into(),
            update_mask: Some(FieldMask { paths: vec!["topic_aliases".into()] }),
            topic_aliases: alias_map(aliases),
            ..Default::default()
        };
        Ok(result(self.devices().update(request).await?.into_inner()))
    }

    /// Renames a device and changes nothing else.
    pub async fn rename_device(&self, device: &Entity, name: &str) -> Result<devices::Device, Status> {
        let request = devices::UpdateDeviceRequest {
            device_id: device.id().into(),
            update_mask: Some(FieldMask { paths: vec!["name".into()] }),
            name: name.into(),
            ..Default::default()
        };
        Ok(result(self.devices().update(request).await?.into_inner()))
    }

    /// Deletes a registry, device or broker.
    pub async fn delete(&self, entity: &Entity) -> Result<(), Status> {
        let id = entity.id().to_owned();
        match entity {
            Entity::Registry(_) => {
                self.registries().delete(devices::DeleteRegistryRequest { registry_id: id }).await
            }
            Entity::Device(_) => self.devices().delete(devices::DeleteDeviceRequest { device_id: id }).await,
            Entity::Broker(_) => self.brokers().delete(brokers::DeleteBrokerRequest { broker_id: id }).await,
        }
        .map(drop)
    }

    /// Disables a registry.
    pub async fn disable(&self, registry: &Entity) -> Result<(), Status> {
        let request = devices::DisableRegistryRequest { registry_id: registry.id().into() };
        self.registries().disable(request).await.map(drop)
    }

    /// Enables a registry.
    pub async fn enable(&self, registry: &Entity) -> Result<(), Status> {
        let request = devices::EnableRegistryRequest { registry_id: registry.id().into() };
        self.registries().enable(request).await.map(drop)
    }

    /// Registers a certificate and returns its fingerprint.
    pub async fn add_certificate(&self, entity: &Entity, pem: &str) -> Result<String, Status> {
        let (id, certificate_data) = (entity.id().to_owned(), pem.to_owned());
        Ok(match entity {
            Entity::Registry(_) => {
                let request = devices::AddRegistryCertificateRequest { registry_id: id, certificate_data };
                let operation = self.registries().add_certificate(request).await?.into_inner();
                result::<devices::RegistryCertificate>(operation).fingerprint
            }
            Entity::Device(_) => {
                let request = devices::AddDeviceCertificateRequest { device_id: id, certificate_data };
                let operation = self.devices().add_certificate(request).await?.into_inner();
                result::<devices::DeviceCertificate>(operation).fingerprint
            }
            Entity::Broker(_) => {
                let request = brokers::AddBrokerCertificateRequest { broker_id: id, certificate_data };
                let operation = self.brokers().add_certificate(request).await?.into_inner();
                result::<brokers::BrokerCertificate>(operation).fingerprint
            }
        })
    }

    /// Removes a certificate by fingerprint.
    pub async fn delete_certificate(&self, entity: &Entity, fingerprint: &str) -> Result<(), Status> {
        let (id, fingerprint) = (entity.id().to_owned(), fingerprint.to_owned());
        match entity {
            Entity::Registry(_) => {
                let request = devices::DeleteRegistryCertificateRequest { registry_id: id, fingerprint };
                self.registries().delete_certificate(request).await
            }
            Entity::Device(_) => {
                let request = devices::DeleteDeviceCertificateRequest { device_id: id, fingerprint };
                self.devices().delete_certificate(request).await
            }
            Entity::Broker(_) => {
                let request = brokers::DeleteBrokerCertificateRequest { broker_id: id, fingerprint };
                self.brokers().delete_certificate(request).await
            }
        }
        .map(drop)
    }

    /// Adds a password and returns its id.
    pub async fn add_password(&self, entity: &Entity, password: &str) -> Result<String, Status> {
        let (id, password) = (entity.id().to_owned(), password.to_owned());
        Ok(match entity {
            Entity::Registry(_) => {
                let request = devices::AddRegistryPasswordRequest { registry_id: id, password };
                let operation = self.registries().add_password(request).await?.into_inner();
                result::<devices::RegistryPassword>(operation).id
            }
            Entity::Device(_) => {
                let request = devices::AddDevicePasswordRequest { device_id: id, password };
                let operation = self.devices().add_password(request).await?.into_inner();
                result::<devices::DevicePassword>(operation).id
            }
            Entity::Broker(_) => {
                let request = brokers::AddBrokerPasswordRequest { broker_id: id, password };
                let operation = self.brokers().add_password(request).await?.into_inner();
                result::<brokers::BrokerPassword>(operation).id
            }
        })
    }

    /// Removes a password by id.
    pub async fn delete_password(&self, entity: &Entity, password_id: &str) -> Result<(), Status> {
        let (id, password_id) = (entity.id().to_owned(), password_id.to_owned());
        match entity {
            Entity::Registry(_) => {
                let request = devices::DeleteRegistryPasswordRequest { registry_id: id, password_id };
                self.registries().delete_password(request).await
            }
            Entity::Device(_) => {
                let request = devices::DeleteDevicePasswordRequest { device_id: id, password_id };
                self.devices().delete_password(request).await
            }
            Entity::Broker(_) => {
                let request = brokers::DeleteBrokerPasswordRequest { broker_id: id, password_id };
                self.brokers().delete_password(request).await
            }
        }
        .map(drop)
    }

    /// Publishes through the data service of the entity's kind.
    pub async fn publish(&self, entity: &Entity, topic: &str, data: &[u8]) -> Result<(), Status> {
        let (id, topic, data) = (entity.id().to_owned(), topic.to_owned(), Bytes::copy_from_slice(data));
        let (channel, bearer) = (self.channel.clone(), self.bearer.clone());
        match entity {
            Entity::Registry(_) => {
                let request = devices::PublishRegistryDataRequest { registry_id: id, topic, data };
                RegistryDataServiceClient::with_interceptor(channel, bearer).publish(request).await.map(drop)
            }
            Entity::Device(_) => {
                let request = devices::PublishDeviceDataRequest { device_id: id, topic, data };
                DeviceDataServiceClient::with_interceptor(channel, bearer).publish(request).await.map(drop)
            }
            Entity::Broker(_) => {
                let request = brokers::PublishBrokerDataRequest { broker_id: id, topic, data };
                BrokerDataServiceClient::with_interceptor(channel, bearer).publish(request).await.map(drop)
            }
        }
    }
}

fn alias_map(aliases: &[(&str, &str)]) -> HashMap<String, String> {
    aliases.iter().map(|&(alias, prefix)| (alias.to_owned(), prefix.to_owned())).collect()
}

/// The response inside a finished operation (U-P1: every operation is done when it is answered).
pub fn result<T: prost::Message + Default>(operation: Operation) -> T {
    assert!(operation.done, "operation {} is done when answered", operation.id);
    match operation.result {
        Some(operation::Result::Response(any)) => {
            T::decode(any.value.as_slice()).expect("the response has the type of the method")
        }
        other => panic!("the operation carries no response: {other:?}"),
    }
}
