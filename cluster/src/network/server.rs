//! The peer listener: TLS connections, from which it takes who calls, handed to the gRPC services.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use super::admission::{Admission, PeerInfo};
use super::{CONNECTION_WINDOW_BYTES, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, STREAM_WINDOW_BYTES};
use crate::pki::PeerIdentity;
use crate::pki::tls::ServerTls;

/// A handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes under way at the same time; further connections are closed at once.
const HANDSHAKES_MAX: usize = 256;
/// Connections of members; further ones are closed at once. A member needs two.
const MEMBER_CONNECTIONS_MAX: usize = 256;
/// Connections without a certificate; further ones are closed at once, so they never take the place of a member.
const UNKNOWN_CONNECTIONS_MAX: usize = 64;
/// A connection without a certificate ends after this long: an introduction is short.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60);
/// Calls of one connection at the same time.
const CALLS_MAX: u32 = 256;
/// After the system refused a connection, out of file descriptors for example.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A running peer listener. Dropping it ends the listener and its connections.
pub(crate) struct PeerServer {
    tls: Arc<RwLock<ServerTls>>,
    admission: Arc<Admission>,
    address: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl PeerServer {
    /// Serves `routes` on `listener`.
    ///
    /// # Errors
    /// When the system refuses to hand the listener over.
    pub(crate) fn start(
        listener: std::net::TcpListener,
        tls: ServerTls,
        admission: Arc<Admission>,
        routes: Routes,
    ) -> io::Result<PeerServer> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let tls = Arc::new(RwLock::new(tls));
        let (accepted, incoming) = mpsc::channel(1);
        let acceptor = Acceptor {
            tls: Arc::clone(&tls),
            admission: Arc::clone(&admission),
            accepted,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            members: Arc::new(Semaphore::new(MEMBER_CONNECTIONS_MAX)),
            unknown: Arc::new(Semaphore::new(UNKNOWN_CONNECTIONS_MAX)),
        };
        let server = Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(CALLS_MAX)
            .add_routes(routes);
        let incoming = ReceiverStream::new(incoming).map(Ok::<PeerStream, io::Error>);
        let serving = tokio::spawn(async move {
            if let Err(error) = server.serve_with_incoming(incoming).await {
                tracing::error!(%error, "the peer listener ended");
            }
        });
        let accepting = tokio::spawn(accept(listener, Arc::new(acceptor)));
        Ok(PeerServer { tls, admission, address, tasks: [accepting, serving] })
    }

    /// The certificate to present to connections that come from now on, and whom to believe.
    pub(crate) fn set_tls(&self, tls: ServerTls) {
        *self.tls.write() = tls;
    }

    /// Where the listener listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for PeerServer {
    fn drop(&mut self) {
        self.admission.close();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct Acceptor {
    tls: Arc<RwLock<ServerTls>>,
    admission: Arc<Admission>,
    accepted: mpsc::Sender<PeerStream>,
    handshakes: Arc<Semaphore>,
    members: Arc<Semaphore>,
    unknown: Arc<Semaphore>,
}

async fn accept(listener: TcpListener, acceptor: Arc<Acceptor>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let Ok(slot) = Arc::clone(&acceptor.handshakes).try_acquire_owned() else {
                    tracing::warn!(%remote, "too many peers connect at the same time");
                    continue;
                };
                tokio::spawn(greet(Arc::clone(&acceptor), stream, remote, slot));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of a peer");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn greet(acceptor: Arc<Acceptor>, stream: TcpStream, remote: SocketAddr, slot: OwnedSemaphorePermit) {
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.handshake(stream, remote)).await;
    match handshake.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())) {
        // The receiver is gone when the node ends.
        Ok(stream) => drop(acceptor.accepted.send(stream).await),
        Err(error) => tracing::debug!(%remote, %error, "a peer was not let in"),
    }
    drop(slot);
}

impl Acceptor {
    async fn handshake(&self, stream: TcpStream, remote: SocketAddr) -> io::Result<PeerStream> {
        stream.set_nodelay(true)?;
        let ServerTls { config, presented } = self.tls.read().clone();
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let identity = certificate.map(PeerIdentity::of_certificate).transpose().map_err(io::Error::other)?;
        let slots = if identity.is_some() { &self.members } else { &self.unknown };
        let slot = Arc::clone(slots).try_acquire_owned().map_err(io::Error::other)?;
        let refused = self.admission.until_refused(identity.as_ref().map(|identity| identity.node_id));
        let lifetime = if identity.is_some() { Duration::MAX } else { UNKNOWN_LIFETIME };
        let refused = Box::pin(async move {
            // Over by time or by refusal.
            let _over = tokio::time::timeout(lifetime, refused).await;
        });
        let info = PeerInfo { identity, presented, remote, admission: Arc::clone(&self.admission) };
        Ok(PeerStream { stream, info, refused, _slot: slot })
    }
}

/// A connection of a peer. It breaks when the peer is removed or the node ends.
struct PeerStream {
    stream: TlsStream<TcpStream>,
    info: PeerInfo,
    refused: Pin<Box<dyn Future<Output = ()> + Send>>,
    _slot: OwnedSemaphorePermit,
}

impl Connected for PeerStream {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.info.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.refused.as_mut().poll(cx).is_ready() {
            // The future must not be polled again.
            self.refused = Box::pin(std::future::ready(()));
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
