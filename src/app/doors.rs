//! Opening the listeners, after everything behind them is ready; and closing them, before anything else stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_rt::{Arbiter, ArbiterHandle};
use futures::stream;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::certificates::{CertificateStanding, CertificateWatch};
use super::operators::ClusterOperators;
use super::publisher::MessagePath;
use super::{StartError, descriptors, first_start, samples};
use crate::actors::connection::{self, PeerCertificate};
use crate::actors::environment::Environment;
use crate::api::{self, Backend, ServerLimits};
use crate::config::Config;
use crate::domain::credential::Fingerprint;
use crate::net::listener::{Accepted, ConnectionLimit, Listener, ListenerCounters, ListenerSettings};
use crate::net::tls::{ServerTls, TlsSettings};
use crate::net::transport::Stream;
use crate::ops;
use crate::store::Store;
use crate::verify::certificate;
use crate::verify::password::PasswordVerifier;

/// API connections that wait for the server to take them; further ones wait in the kernel.
const API_BACKLOG: usize = 64;

/// API connections open at a time; further ones are closed at once.
const API_CONNECTIONS_MAX: usize = 1024;

/// What stands behind the doors.
pub struct Parts<'a> {
    /// The message path.
    pub environment: &'a Arc<Environment>,
    /// The storage.
    pub store: &'a Store,
    /// Who verifies passwords.
    pub verifier: &'a Arc<PasswordVerifier>,
    /// The node and the cluster, for operators.
    pub operators: &'a Arc<ClusterOperators>,
    /// The threads for connections.
    pub arbiters: &'a [Arbiter],
}

/// The open listeners.
pub struct Doors {
    /// Name and real address of each.
    pub addresses: Vec<(&'static str, SocketAddr)>,
    /// The MQTT listeners; aborting one closes its socket and unfinished handshakes.
    mqtt: Vec<JoinHandle<()>>,
    /// The API and operations, which stop when told.
    others: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Doors {
    /// Takes no more MQTT connections.
    pub fn close_mqtt(&mut self) {
        for listener in self.mqtt.drain(..) {
            listener.abort();
        }
    }

    /// Stops the API and operations; calls in progress may end.
    pub async fn close_others(&mut self) {
        // Nobody listening any more is as good as having been told.
        let _ = self.stop.send(true);
        for server in self.others.drain(..) {
            let _ = server.await;
        }
    }
}

/// Binds all listeners first, so that either all are open or none, and then starts to serve.
pub async fn open(
    config: &Config,
    parts: &Parts<'_>,
    service: &Runtime,
    entrance: &Runtime,
) -> Result<Doors, StartError> {
    let identity = first_start::server_identity(config)?;
    let tls_settings =
        TlsSettings { handshake_timeout: config.limits.handshake_timeout, ..TlsSettings::default() };
    let api_tls_settings =
        TlsSettings { application_protocols: vec![b"h2".to_vec()], ..tls_settings.clone() };
    let tls = Arc::new(ServerTls::new(tls_settings, &identity)?);
    let api_tls = Arc::new(ServerTls::new(api_tls_settings, &identity)?);
    let standing = Arc::new(CertificateStanding::new(&identity));
    let listeners = vec![Arc::clone(&tls), Arc::clone(&api_tls)];
    let watch = CertificateWatch::new(config, listeners, Arc::clone(&standing));
    let shares = descriptors::shares(config.limits.connections_max, API_CONNECTIONS_MAX);
    let limit = ConnectionLimit::new(shares.mqtt);
    let settings = |name| ListenerSettings {
        pending_handshakes_max: config.limits.handshakes_max,
        ..ListenerSettings::new(name, limit.clone())
    };
    let mut api_settings = ListenerSettings::new("api", ConnectionLimit::new(shares.api));
    api_settings.pending_handshakes_max = API_CONNECTIONS_MAX;

    let on_entrance = entrance.enter();
    let mqtts = bind(config.listen.mqtts, settings("mqtts"), Some(tls))?;
    let mqtt = bind(config.listen.mqtt, settings("mqtt"), None)?;
    let api = bind(config.listen.api, api_settings, Some(api_tls))?;
    drop(on_entrance);
    let ops = match config.listen.ops {
        Some(address) => Some(bind_ops(address, service).await?),
        None => None,
    };

    let (stop, stopped) = watch::channel(false);
    let mut doors = Doors { addresses: Vec::new(), mqtt: Vec::new(), others: Vec::new(), stop };
    let mut counters: Vec<(&'static str, Arc<ListenerCounters>)> = Vec::new();
    let accept = Arc::new(Reception::new(parts));
    for (name, listener) in [("mqtts", mqtts), ("mqtt", mqtt)] {
        let Some(listener) = listener else { continue };
        doors.addresses.push((name, listener.local_address()));
        counters.push((name, listener.counters()));
        let accept = Arc::clone(&accept);
        doors.mqtt.push(entrance.spawn(listener.run(Arc::new(move |accepted| accept.take(accepted)))));
    }
    if let Some(listener) = api {
        doors.addresses.push(("api", listener.local_address()));
        serve_api(&mut doors, listener, parts, service, entrance, stopped.clone());
    }
    if let Some(listener) = ops {
        doors.addresses.push(("ops", listener.local_addr().map_err(StartError::system("ops listener"))?));
        let operations = Arc::new(samples::operations(parts, counters, standing));
        let stopping = stop_signal(stopped);
        doors.others.push(service.spawn(async move {
            if let Err(error) = ops::serve(listener, operations, stopping).await {
                tracing::error!(%error, "the operations listener ended");
            }
        }));
    }
    service.spawn(watch.run());
    // Open since the storage is: peers are no clients.
    doors.addresses.extend(parts.store.peer_address().map(|address| ("peer", address)));
    Ok(doors)
}

fn bind(
    address: Option<SocketAddr>,
    settings: ListenerSettings,
    tls: Option<Arc<ServerTls>>,
) -> Result<Option<Listener>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let name = settings.name;
    Listener::bind(address, settings, tls).map(Some).map_err(|error| StartError::Bind {
        name,
        address,
        error,
    })
}

async fn bind_ops(address: SocketAddr, service: &Runtime) -> Result<TcpListener, StartError> {
    let binding = service.spawn(TcpListener::bind(address));
    binding.await.map_err(std::io::Error::other).and_then(|result| result).map_err(|error| StartError::Bind {
        name: "ops",
        address,
        error,
    })
}

async fn until_stopped(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the node.
    let _ = stopped.wait_for(|stop| *stop).await;
}

fn stop_signal(stopped: watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static {
    until_stopped(stopped)
}

fn serve_api(
    doors: &mut Doors,
    listener: Listener,
    parts: &Parts<'_>,
    service: &Runtime,
    entrance: &Runtime,
    stopped: watch::Receiver<bool>,
) {
    let (sender, receiver) = mpsc::channel(API_BACKLOG);
    let accepting = entrance.spawn(listener.run(Arc::new(move |accepted: Accepted| {
        // A full backlog means that the server is hopelessly behind: the connection is closed.
        let _ = sender.try_send(accepted.transport);
    })));
    let backend = Backend {
        catalog: parts.store.catalog(),
        publisher: Arc::new(MessagePath(Arc::clone(parts.environment))),
        passwords: Arc::clone(parts.verifier),
        operators: Arc::<ClusterOperators>::clone(parts.operators),
    };
    let streams = stream::unfold(receiver, async |mut receiver| {
        let transport = receiver.recv().await?;
        Some((transport.attach(), receiver))
    });
    doors.others.push(service.spawn(async move {
        let serving = api::serve(Box::pin(streams), backend, ServerLimits::default(), until_stopped(stopped));
        if let Err(error) = serving.await {
            tracing::error!(%error, "the API server ended");
        }
        accepting.abort();
    }));
}

/// Spreads new MQTT connections over the connection threads.
struct Reception {
    environment: Arc<Environment>,
    arbiters: Vec<ArbiterHandle>,
    next: AtomicUsize,
}

impl Reception {
    fn new(parts: &Parts<'_>) -> Self {
        Self {
            environment: Arc::clone(parts.environment),
            arbiters: parts.arbiters.iter().map(Arbiter::handle).collect(),
            next: AtomicUsize::new(0),
        }
    }

    fn take(&self, accepted: Accepted) {
        let environment = Arc::clone(&self.environment);
        let arbiter = &self.arbiters[self.next.fetch_add(1, Ordering::Relaxed) % self.arbiters.len()];
        let certificate = accepted.certificate.as_ref().and_then(|der| peer_certificate(der));
        // A thread that has ended takes no connection; dropping it closes it.
        let _ = arbiter.spawn_fn(move || {
            let stream: std::io::Result<Stream> = accepted.transport.attach();
            match stream {
                Ok(stream) => connection::start(&environment, Box::new(stream), accepted.peer, certificate),
                Err(error) => {
                    tracing::debug!(%error, peer = %accepted.peer, "a new connection could not be attached")
                }
            }
        });
    }
}

fn peer_certificate(der: &[u8]) -> Option<PeerCertificate> {
    let parsed = certificate::parse_der(der).ok()?;
    Some(PeerCertificate { digest: parsed.sha256, fingerprint: Fingerprint::from_sha1(&parsed.sha1) })
}
