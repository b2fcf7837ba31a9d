//! The gRPC server: all services behind one access check, with every limit set.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use rookery_proto::FILE_DESCRIPTOR_SET;
use rookery_proto::rookery::admin::v1::backup_service_server::BackupServiceServer;
use rookery_proto::rookery::admin::v1::cluster_service_server::ClusterServiceServer;
use rookery_proto::rookery::admin::v1::connection_log_service_server::ConnectionLogServiceServer;
use rookery_proto::rookery::admin::v1::node_service_server::NodeServiceServer;
use rookery_proto::rookery::admin::v1::session_service_server::SessionServiceServer;
use rookery_proto::rookery::admin::v1::space_service_server::SpaceServiceServer;
use rookery_proto::rookery::admin::v1::token_service_server::TokenServiceServer;
use rookery_proto::yandex::cloud::iot::broker::v1::broker_data_service_server::BrokerDataServiceServer;
use rookery_proto::yandex::cloud::iot::broker::v1::broker_service_server::BrokerServiceServer;
use rookery_proto::yandex::cloud::iot::devices::v1::device_data_service_server::DeviceDataServiceServer;
use rookery_proto::yandex::cloud::iot::devices::v1::device_service_server::DeviceServiceServer;
use rookery_proto::yandex::cloud::iot::devices::v1::registry_data_service_server::RegistryDataServiceServer;
use rookery_proto::yandex::cloud::iot::devices::v1::registry_service_server::RegistryServiceServer;
use rookery_proto::yandex::cloud::operation::operation_service_server::OperationServiceServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tonic::service::Routes;
use tonic::transport::Server;

use super::access::{AccessLayer, Caller, FindCaller};
use super::connection::Connection;
use super::grpc::backup::BackupApi;
use super::grpc::broker::BrokerApi;
use super::grpc::broker_data::BrokerDataApi;
use super::grpc::call::Backend;
use super::grpc::cluster::ClusterApi;
use super::grpc::connection_log::ConnectionLogApi;
use super::grpc::device::DeviceApi;
use super::grpc::device_data::DeviceDataApi;
use super::grpc::node::NodeApi;
use super::grpc::operation::OperationApi;
use super::grpc::registry::RegistryApi;
use super::grpc::registry_data::RegistryDataApi;
use super::grpc::session::SessionApi;
use super::grpc::space::SpaceApi;
use super::grpc::token::TokenApi;
use super::tracing::TraceLayer;
use crate::store::CatalogHandle;

/// Limits of the API server. Connections as such are limited where they are accepted.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Calls in progress on one connection; further ones wait. Default: 64.
    pub calls_per_connection_max: usize,
    /// Open HTTP/2 streams of one connection; further ones are refused. Default: 256.
    pub streams_per_connection_max: u32,
    /// Size of a request; a larger one is answered OUT_OF_RANGE. Default: 4 MiB.
    pub request_bytes_max: usize,
    /// Size of the headers of a request; larger ones are refused. Default: 16 KiB.
    pub header_bytes_max: u32,
    /// Time for one call; a slower one is answered CANCELLED. Default: 30 s.
    pub call_timeout: Duration,
    /// A silent connection is pinged this often. Default: 30 s.
    pub keep_alive_interval: Duration,
    /// A connection that does not answer a ping for this long is closed. Default: 20 s.
    pub keep_alive_timeout: Duration,
    /// Streams that a client may reset before they are accepted; beyond it the connection is closed. Default: 20.
    pub reset_streams_max: usize,
    /// How long calls in progress may go on after the shutdown signal. Default: 5 s.
    pub shutdown_grace: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            calls_per_connection_max: 64,
            streams_per_connection_max: 256,
            request_bytes_max: 4 * 1024 * 1024,
            header_bytes_max: 16 * 1024,
            call_timeout: Duration::from_secs(30),
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(20),
            reset_streams_max: 20,
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// Why the server ends early or cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The embedded descriptors are not usable for reflection.
    #[error("server reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("API server: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves the API on the given byte streams until `shutdown` completes; then no more streams are taken, and calls in
/// progress have [`ServerLimits::shutdown_grace`] to end. A stream that failed to be accepted is skipped.
///
/// # Errors
/// [`ServeError`] if the server cannot be built or its transport fails.
pub async fn serve<S>(
    incoming: impl Stream<Item = io::Result<S>>,
    backend: Backend,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let routes = routes(&backend, &limits).await?;
    let server = Server::builder()
        .concurrency_limit_per_connection(limits.calls_per_connection_max)
        .max_concurrent_streams(limits.streams_per_connection_max)
        .timeout(limits.call_timeout)
        .http2_keepalive_interval(Some(limits.keep_alive_interval))
        .http2_keepalive_timeout(Some(limits.keep_alive_timeout))
        .http2_max_header_list_size(limits.header_bytes_max)
        .http2_max_pending_accept_reset_streams(Some(limits.reset_streams_max))
        .layer(AccessLayer::new(find_caller(backend.catalog)))
        .layer(TraceLayer)
        .add_routes(routes);
    let incoming =
        incoming.filter_map(async |stream| stream.ok().map(|stream| io::Result::Ok(Connection(stream))));
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server.serve_with_incoming_shutdown(incoming, async move {
        shutdown.await;
        drop(stopping);
    });
    tokio::pin!(serving);
    tokio::select! {
        result = &mut serving => return Ok(result?),
        _ = stopped => {}
    }
    // At the end of the grace period the connections are dropped with the server.
    match timeout(limits.shutdown_grace, serving).await {
        Ok(result) => Ok(result?),
        Err(_) => Ok(()),
    }
}

fn find_caller(catalog: CatalogHandle) -> FindCaller {
    Arc::new(move |hash| {
        catalog.read(|catalog| {
            let token = catalog.token_by_hash(hash)?;
            Some(Caller { subject: token.id.clone(), role: token.role })
        })
    })
}

async fn routes(backend: &Backend, limits: &ServerLimits) -> Result<Routes, ServeError> {
    macro_rules! limited {
        ($server:ident, $api:expr) => {
            $server::new($api).max_decoding_message_size(limits.request_bytes_max)
        };
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
    };
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let mut routes = Routes::builder();
    routes
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(limited!(RegistryServiceServer, RegistryApi::new(backend.clone())))
        .add_service(limited!(DeviceServiceServer, DeviceApi::new(backend.clone())))
        .add_service(limited!(BrokerServiceServer, BrokerApi::new(backend.clone())))
        .add_service(limited!(RegistryDataServiceServer, RegistryDataApi::new(backend.clone())))
        .add_service(limited!(DeviceDataServiceServer, DeviceDataApi::new(backend.clone())))
        .add_service(limited!(BrokerDataServiceServer, BrokerDataApi::new(backend.clone())))
        .add_service(limited!(OperationServiceServer, OperationApi::new(backend.clone())))
        .add_service(limited!(TokenServiceServer, TokenApi::new(backend.clone())))
        .add_service(limited!(ClusterServiceServer, ClusterApi::new(backend.clone())))
        .add_service(limited!(NodeServiceServer, NodeApi::new(backend.clone())))
        .add_service(limited!(SessionServiceServer, SessionApi::new(backend.clone())))
        .add_service(limited!(SpaceServiceServer, SpaceApi::new(backend.clone())))
        .add_service(limited!(BackupServiceServer, BackupApi::new(backend.clone())))
        .add_service(limited!(ConnectionLogServiceServer, ConnectionLogApi::new(backend.clone())));
    Ok(routes.routes())
}
