//! Opens one TLS connection to a peer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::{CONNECTION_WINDOW_BYTES, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, STREAM_WINDOW_BYTES};
use crate::pki::{self, SessionBinding, session_binding};

/// Name resolution, TCP and TLS together get this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Where a connection goes, and how.
#[derive(Clone)]
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) address: String,
    /// The name that the other end's certificate must carry.
    pub(crate) name: ServerName<'static>,
    pub(crate) tls: Arc<ClientConfig>,
    /// The address from which to dial.
    pub(crate) source: Option<IpAddr>,
}

/// Opens a connection.
pub(crate) async fn dial(target: Target) -> io::Result<TlsStream<TcpStream>> {
    let connecting = async {
        let stream = connect(&target.address, target.source).await?;
        TlsConnector::from(target.tls).connect(target.name, stream).await
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_elapsed| io::ErrorKind::TimedOut)?
}

async fn connect(address: &str, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in tokio::net::lookup_host(address).await? {
        match connect_to(address, source).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn connect_to(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// A channel that dials when it is used, and again after its connection was lost.
pub(crate) fn lazy_channel(target: Target) -> Channel {
    let connector = tower::service_fn(move |_uri| {
        let target = target.clone();
        async move { dial(target).await.map(TokioIo::new) }
    });
    endpoint().connect_with_connector_lazy(connector)
}

/// A channel to whoever answers at `address`, and what binds the proofs of an introduction to its connection. The channel
/// ends with the connection.
///
/// # Errors
/// When there is no connection within a second.
pub(crate) async fn introduction_channel(
    address: &str,
    source: Option<IpAddr>,
) -> io::Result<(Channel, SessionBinding)> {
    let tls = pki::tls::introduction_client().map_err(io::Error::other)?;
    let name = pki::name::server_name(0);
    let stream = dial(Target { address: address.to_owned(), name, tls, source }).await?;
    let binding = session_binding(stream.get_ref().1).map_err(io::Error::other)?;
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_uri| {
        let stream =
            stream.take().map(TokioIo::new).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(stream)
    });
    let channel = endpoint().connect_with_connector(connector).await.map_err(io::Error::other)?;
    Ok((channel, binding))
}

fn endpoint() -> Endpoint {
    // The authority of the requests; the connectors above know where to go, and speak TLS.
    Endpoint::from_static("http://rookery.peer")
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
}
