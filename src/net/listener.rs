//! The accept loop of one listener, TCP or TLS.
//!
//! Accepts, applies socket options, shakes hands (TLS) in its own task, and hands the finished
//! connection to an [`Accept`]. Run it on a multi-thread runtime that serves neither connections nor
//! consensus: a storm of handshakes keeps its threads busy.
//!
//! Limits: open connections ([`ListenerSettings::connections`]; at the limit a newcomer is closed at
//! once), unfinished handshakes ([`super::pending`]), time to shake hands ([`super::tls`]). All are
//! counted in [`ListenerCounters`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::pending::{PendingHandshakes, Slot};
use super::socket::{self, SocketSettings};
use super::tls::{self, HandshakeError, ServerTls};
use super::transport::{Socket, Transport};
use crate::clock;
use crate::observe::histogram::Histogram;

/// First pause after an accept error that will not pass by itself (out of descriptors or memory).
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);

/// Longest pause between two such attempts; the pause doubles up to it.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// A connection that is ready to be served.
#[derive(Debug)]
pub struct Accepted {
    /// The byte stream; attach it on the thread that will serve it. It holds the connection's place
    /// in the limit of open connections until it is dropped.
    pub transport: Transport,
    /// The address of the peer.
    pub peer: SocketAddr,
    /// The address of this server that the peer connected to.
    pub local: SocketAddr,
    /// The leaf certificate (DER) whose key the peer holds; `None` on plain TCP and without one.
    pub certificate: Option<CertificateDer<'static>>,
}

/// Takes over finished connections. Called from the listener's tasks: it must not block.
pub trait Accept: Send + Sync + 'static {
    /// Takes one connection; dropping it closes it.
    fn accepted(&self, connection: Accepted);
}

impl<F: Fn(Accepted) + Send + Sync + 'static> Accept for F {
    fn accepted(&self, connection: Accepted) {
        self(connection);
    }
}

/// The number of open connections permitted, shared by the listeners of a node.
#[derive(Clone, Debug)]
pub struct ConnectionLimit {
    free: Arc<Semaphore>,
    connections_max: usize,
}

impl ConnectionLimit {
    /// A limit of `connections_max` open connections. The process also needs that many descriptors.
    pub fn new(connections_max: usize) -> Self {
        let connections_max = connections_max.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(connections_max)), connections_max }
    }

    /// Connections that are open now, those that still shake hands included.
    pub fn open(&self) -> usize {
        self.connections_max - self.free.available_permits()
    }

    fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }
}

/// What a listener needs beside its address.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// The name in logs, `mqtts` or `mqtt`.
    pub name: &'static str,
    /// Options of accepted sockets.
    pub socket: SocketSettings,
    /// The limit of open connections.
    pub connections: ConnectionLimit,
    /// Most connections that shake hands at a time. Default 8192; one costs about 10 kB. Policy at
    /// the limit: see [`super::pending`].
    pub pending_handshakes_max: usize,
    /// Age from which a pending handshake may be closed for a newcomer. Default 3 s.
    pub pending_patience: Duration,
}

impl ListenerSettings {
    /// Defaults for a listener with this name.
    pub fn new(name: &'static str, connections: ConnectionLimit) -> Self {
        Self {
            name,
            socket: SocketSettings::default(),
            connections,
            pending_handshakes_max: 8192,
            pending_patience: Duration::from_secs(3),
        }
    }
}

/// Totals since the start of the listener.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    /// Connections handed to [`Accept`].
    pub accepted: AtomicU64,
    /// Connections closed because the limit of open connections was reached.
    pub refused: AtomicU64,
    /// Errors of the `accept` call.
    pub accept_errors: AtomicU64,
    /// Handshakes that failed: not TLS, no common ground, bad proof of possession, peer gone.
    pub handshakes_failed: AtomicU64,
    /// Handshakes that took too long.
    pub handshakes_timed_out: AtomicU64,
    /// Slow handshakes closed for newcomers.
    pub handshakes_evicted: AtomicU64,
    /// Handshakes that resumed an earlier session.
    pub handshakes_resumed: AtomicU64,
    /// How long the handshakes took that succeeded, from accept to end.
    pub handshake_times: Histogram,
}

/// A bound listener; [`Listener::run`] accepts.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local: SocketAddr,
    settings: ListenerSettings,
    tls: Option<Arc<ServerTls>>,
    pending: Arc<PendingHandshakes>,
    counters: Arc<ListenerCounters>,
}

impl Listener {
    /// Binds the address (port 0: any free port); with `tls` connections are encrypted. Must be called
    /// within the runtime that will [`run`](Self::run) it.
    pub fn bind(
        address: SocketAddr,
        settings: ListenerSettings,
        tls: Option<Arc<ServerTls>>,
    ) -> io::Result<Self> {
        let socket = socket::listen(address)?;
        let local = socket.local_addr()?;
        let pending = PendingHandshakes::new(settings.pending_handshakes_max, settings.pending_patience);
        Ok(Self { socket, local, settings, tls, pending, counters: Arc::default() })
    }

    /// The address really bound.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The totals, for metrics; they stay readable after the listener is gone.
    pub fn counters(&self) -> Arc<ListenerCounters> {
        Arc::clone(&self.counters)
    }

    /// The table of pending handshakes, for metrics.
    pub fn pending(&self) -> Arc<PendingHandshakes> {
        Arc::clone(&self.pending)
    }

    /// Accepts until the future is dropped, which closes the listening socket and the connections
    /// that still shake hands, and nothing else.
    pub async fn run(self, accept: Arc<dyn Accept>) {
        let mut handshakes = JoinSet::new();
        let mut pause = ACCEPT_PAUSE_MIN;
        loop {
            // A TLS connection needs a slot; waiting for one leaves newcomers in the kernel's backlog.
            let slot = match self.tls {
                Some(_) => Some(self.pending.enter().await),
                None => None,
            };
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    pause = ACCEPT_PAUSE_MIN;
                    self.admit(stream, peer, slot.map(Slot::begin), &accept, &mut handshakes);
                }
                Err(error) => self.recover(&error, &mut pause).await,
            }
            while handshakes.try_join_next().is_some() {}
        }
    }

    /// Sets a fresh socket up and serves it or starts its handshake.
    fn admit(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        slot: Option<Slot>,
        accept: &Arc<dyn Accept>,
        handshakes: &mut JoinSet<()>,
    ) {
        let Some(permit) = self.settings.connections.enter() else {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(listener = self.settings.name, %peer, "connection refused: limit of open connections");
            return;
        };
        let local = match socket::configure(&stream, &self.settings.socket).and_then(|()| stream.local_addr())
        {
            Ok(local) => local,
            Err(error) => {
                // The peer is gone already; there is nothing to serve.
                tracing::debug!(listener = self.settings.name, %peer, %error, "connection lost at accept");
                return;
            }
        };
        let counters = Arc::clone(&self.counters);
        let accept = Arc::clone(accept);
        let fresh = Fresh { stream, peer, local, permit, counters, accept };
        match (&self.tls, slot) {
            (Some(tls), Some(slot)) => {
                handshakes.spawn(fresh.encrypt(Arc::clone(tls), slot, self.settings.name));
            }
            _ => fresh.serve_plain(),
        }
    }

    /// Counts and logs an accept error, and pauses where trying again at once would only spin.
    async fn recover(&self, error: &io::Error, pause: &mut Duration) {
        self.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
        let transient = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        );
        if transient {
            return;
        }
        tracing::warn!(listener = self.settings.name, %error, pause_ms = pause.as_millis() as u64,
            "cannot accept connections; raise the limit of open files if this persists");
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(ACCEPT_PAUSE_MAX);
    }
}

/// A connection that was accepted and not handed over yet.
struct Fresh {
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    permit: OwnedSemaphorePermit,
    counters: Arc<ListenerCounters>,
    accept: Arc<dyn Accept>,
}

impl Fresh {
    fn serve_plain(self) {
        if let Ok(transport) = Transport::plain(self.stream) {
            self.counters.accepted.fetch_add(1, Ordering::Relaxed);
            let transport = transport.with_permit(self.permit);
            self.accept.accepted(Accepted {
                transport,
                peer: self.peer,
                local: self.local,
                certificate: None,
            });
        }
    }

    async fn encrypt(self, tls: Arc<ServerTls>, mut slot: Slot, listener: &'static str) {
        let peer = self.peer;
        let begun = clock::monotonic();
        let handshake = tls::handshake(Socket::new(self.stream), &tls);
        let outcome = tokio::select! {
            outcome = handshake => outcome,
            () = slot.evicted() => {
                self.counters.handshakes_evicted.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(listener, %peer, "slow TLS handshake closed for newer connections");
                return;
            }
        };
        let (stream, certificate) = match outcome {
            Ok(finished) => finished,
            Err(error) => {
                let counter = match error {
                    HandshakeError::HelloTimeout(_) | HandshakeError::Timeout(_) => {
                        &self.counters.handshakes_timed_out
                    }
                    HandshakeError::Protocol(_) | HandshakeError::Connection(_) => {
                        &self.counters.handshakes_failed
                    }
                };
                counter.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(listener, %peer, %error, "TLS handshake refused");
                return;
            }
        };
        self.counters.handshake_times.record(begun.elapsed());
        if stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
            self.counters.handshakes_resumed.fetch_add(1, Ordering::Relaxed);
        }
        if let Ok(transport) = Transport::tls(stream) {
            self.counters.accepted.fetch_add(1, Ordering::Relaxed);
            let transport = transport.with_permit(self.permit);
            self.accept.accepted(Accepted { transport, peer, local: self.local, certificate });
        }
    }
}
