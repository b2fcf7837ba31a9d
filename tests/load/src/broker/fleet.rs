//! A registry and its devices, made through the published management API.
//!
//! The messages of that API are the one thing that this program has in common with the product: they are generated
//! from the published files. A command line for each device would take longer than the run.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use prost::Message;
use rookery_proto::yandex::cloud::iot::devices::v1::{
    CreateDeviceRequest, CreateRegistryRequest, Device, GetDeviceRequest, Registry,
    create_device_request::Certificate as NewCertificate, device_service_client::DeviceServiceClient,
    registry_service_client::RegistryServiceClient,
};
use rookery_proto::yandex::cloud::operation::{Operation, operation};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::{Interceptor, interceptor::InterceptedService};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::plan::{Fleet, Login};
use crate::tls::authority::Identity;

use super::node::{LOOK, START_MAX};

/// Calls under way at a time.
const CALLS_MAX: usize = 64;

/// What a device logs in with.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    /// The password of the registry.
    Password,
    /// A certificate.
    Certificate(Arc<Identity>),
}

/// Adds the token to every call.
#[derive(Debug, Clone)]
struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The API of one node.
#[derive(Debug, Clone)]
pub(super) struct Api {
    channel: Channel,
    bearer: Bearer,
}

impl Api {
    /// The API at `address`, whose certificate `authority` (PEM) has signed. Connects at the first call.
    pub(super) fn new(address: SocketAddr, authority: &str, token: &str) -> anyhow::Result<Self> {
        let tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority)).domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?.timeout(START_MAX);
        Ok(Self {
            channel: endpoint.tls_config(tls)?.connect_lazy(),
            bearer: Bearer(format!("Bearer {token}").parse().context("the token is no header value")?),
        })
    }

    fn devices(&self) -> DeviceServiceClient<InterceptedService<Channel, Bearer>> {
        DeviceServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Makes a registry, with `password`, and its devices.
    pub(super) async fn create_fleet(
        &self,
        devices: Vec<Credential>,
        password: &str,
    ) -> anyhow::Result<Fleet> {
        let mut registries =
            RegistryServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone());
        let request = CreateRegistryRequest {
            folder_id: "load".to_owned(),
            password: password.to_owned(),
            ..Default::default()
        };
        let created = registries.create(request).await.context("creating a registry")?;
        let registry: Registry = outcome(created.into_inner())?;
        let login = |id: String| Login { username: id, password: password.to_owned() };
        let create = |credential| {
            let mut client = self.devices();
            let mut request = CreateDeviceRequest { registry_id: registry.id.clone(), ..Default::default() };
            match credential {
                Credential::Password => password.clone_into(&mut request.password),
                Credential::Certificate(identity) => request
                    .certificates
                    .push(NewCertificate { certificate_data: identity.certificate.clone() }),
            }
            async move {
                let created = client.create(request).await.context("creating a device")?;
                outcome::<Device>(created.into_inner()).map(|device| login(device.id))
            }
        };
        let created = stream::iter(devices).map(create).buffered(CALLS_MAX);
        Ok(Fleet { devices: created.try_collect().await?, registry: login(registry.id) })
    }

    /// Waits until this node knows a device: it may be a moment behind the one that has answered.
    pub(super) async fn wait_for_device(&self, id: &str) -> anyhow::Result<()> {
        let known = async {
            let request = || GetDeviceRequest { device_id: id.to_owned(), ..Default::default() };
            while self.devices().get(request()).await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(START_MAX, known).await.with_context(|| format!("a node never got to know {id}"))
    }
}

/// What an operation has made; it is done when it is answered.
fn outcome<T: Message + Default>(operation: Operation) -> anyhow::Result<T> {
    match operation.result {
        Some(operation::Result::Response(any)) => Ok(T::decode(any.value.as_slice())?),
        Some(operation::Result::Error(status)) => bail!("operation failed: {}", status.message),
        None => bail!("operation {} is not done", operation.id),
    }
}
