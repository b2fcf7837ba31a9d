//! The composition root: builds the rooms bottom-up, and stops them in reverse.
//!
//! Threads: one arbiter per connection thread (each a lane); a runtime for Raft, storage, the API and operations; a
//! runtime for accepting and shaking hands, so that a storm of handshakes starves neither; the threads that verify
//! passwords.

mod answers;
mod certificates;
mod connection_log;
mod descriptors;
mod doors;
mod drain;
mod first_start;
mod operators;
mod peers;
mod publisher;
mod release;
mod samples;
mod stop;
mod threads;

use std::net::SocketAddr;
use std::sync::Arc;

pub use release::release;
pub use stop::Signals;

use actix_rt::Arbiter;
use tokio::sync::watch;

use crate::actors::authenticator::Authenticator;
use crate::actors::directory::Directory;
use crate::actors::environment::{Environment, Settings, Standing};
use crate::actors::fence;
use crate::actors::forward::Forwarding;
use crate::actors::lane::wheel::TICK_MS;
use crate::actors::lane::{self, Lanes, OutboxLimits};
use crate::actors::observer::Observer;
use crate::actors::own_node::OwnNode;
use crate::actors::peer::Peers;
use crate::config::{Config, Limits};
use crate::domain::resolve::TopicOptions;
use crate::domain::window::WindowLimits;
use crate::net::pki::PkiError;
use crate::net::tls::TlsSetupError;
use crate::observe::connection_log::ConnectionLog;
use crate::store::{self, Formats, NodeStatus, OpenError, Release, StoreError};
use crate::verify::password::{PasswordVerifier, VerifierError, VerifierSettings};
use crate::verify::throttle::{Throttle, ThrottleSettings};
use answers::Answers;
use drain::Drain;
use operators::ClusterOperators;
use threads::Threads;

/// Why the node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The storage cannot be opened.
    #[error("storage")]
    Storage(#[from] OpenError),
    /// The storage does not take what the first start writes.
    #[error("storage")]
    FirstWrite(#[from] StoreError),
    /// The certificates.
    #[error("certificates")]
    Certificates(#[from] PkiError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// The threads that verify passwords.
    #[error("password verification")]
    Passwords(#[from] VerifierError),
    /// A listener.
    #[error("listener {name} at {address}: {error} (--{name} gives it another address)")]
    Bind {
        /// Its name, `mqtts` for example.
        name: &'static str,
        /// Where it should listen.
        address: SocketAddr,
        /// Why it cannot.
        error: std::io::Error,
    },
    /// The operator holds a format that the release does not write.
    #[error("cluster.hold_format must be {formats} (is {given}): this release writes no other format")]
    HoldFormat {
        /// What was given.
        given: u32,
        /// What the release writes.
        formats: Formats,
    },
    /// A file or thread.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        error: std::io::Error,
    },
}

impl StartError {
    fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }
}

/// A running node.
pub struct Node {
    environment: Arc<Environment>,
    store: Arc<store::Store>,
    drain: Arc<Drain>,
    doors: doors::Doors,
    arbiters: Vec<Arbiter>,
    /// Raft, storage, the API and operations.
    service: Threads,
    /// Accepting and shaking hands.
    entrance: Threads,
}

/// Starts a node of this release on the current thread, which must run an actix `System`.
///
/// # Errors
/// [`StartError`]; what was started is stopped again.
pub async fn start(config: &Config, release: &Release) -> Result<Node, StartError> {
    let release = &release::held(release, config)?;
    let data_dir = &config.node.data_dir;
    first_start::prepare_data_dir(data_dir)?;
    let service = Threads::start("service", 2)?;
    // A wave of handshakes may take every core; it is bounded elsewhere.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let entrance = Threads::start("entrance", cores)?;

    let lanes = lane::lanes(config.node.connection_threads);
    let forwarding = Arc::new(Forwarding::new(config.limits.node_backlog_bytes_max));
    let arbiters = start_arbiters(&lanes, &config.limits, &forwarding);
    let own_node = OwnNode::default();
    let handles = arbiters.iter().map(Arbiter::handle).collect();
    let directory = Arc::new(Directory::new(own_node.clone(), handles));
    let settings = settings(&config.limits);
    let effects = store::Effects::new();
    let observer = Observer {
        lanes: lanes.clone(),
        directory: Arc::clone(&directory),
        effects: Arc::clone(&effects),
        topics: settings.topics,
    };

    let peers = Arc::new(Peers::new(lanes.clone(), Arc::clone(&forwarding)));
    let opening = store::open(
        store_options(config, release)?,
        Arc::new(observer),
        effects,
        Arc::<Peers>::clone(&peers),
    );
    let store = Arc::new(on(&service, "storage task", opening).await??);
    forwarding.connect(store.links());
    learn_own_node(own_node.clone(), store.status(), &service);
    let catalog = store.catalog();
    let administrator = first_start::Administrator::new(catalog.clone(), own_node, config)?;
    match store.lease().is_valid() {
        true => administrator.ensure().await?,
        false => drop(service.spawn(administrator.ensure_later())),
    }

    let verifier = Arc::new(PasswordVerifier::start(VerifierSettings::default())?);
    let throttle = Arc::new(Throttle::new(ThrottleSettings::default()));
    let authenticator = Authenticator::new(catalog.clone(), Arc::clone(&verifier), throttle);
    let connection_log =
        ConnectionLog::open(&data_dir.join("connections")).map_err(StartError::system("connection log"))?;
    let standing = Standing { lease: store.lease(), barrier: store.barrier() };
    let environment = Arc::new(Environment::new(
        (lanes, forwarding),
        catalog,
        directory,
        authenticator,
        settings,
        standing,
        connection_log,
    ));
    peers.serve(&environment);
    let runtime = service.handle().clone();
    let drain = Drain::new(Arc::clone(&store), Arc::clone(&environment), runtime, config.node.drain_rate);
    let drain = Arc::new(drain);
    answer_questions(&peers, release, &store, &environment, &drain);
    service.spawn(Arc::clone(&environment.tenures).retry());
    service.spawn(fence::watch(Arc::clone(&environment), config.cluster.fenced_drop));

    let operators = operators(&service, &store, &environment, config);
    let parts = doors::Parts {
        environment: &environment,
        store: &store,
        verifier: &verifier,
        operators: &operators,
        arbiters: &arbiters,
    };
    let doors = doors::open(config, &parts, &service, &entrance).await?;
    Ok(Node { environment, store, drain, doors, arbiters, service, entrance })
}

impl Node {
    /// The listeners with their real addresses, in the order of the documentation.
    pub fn listeners(&self) -> &[(&'static str, SocketAddr)] {
        &self.doors.addresses
    }

    /// The shared handles of the node.
    pub fn environment(&self) -> &Arc<Environment> {
        &self.environment
    }
}

/// Waits for something that happens on other threads.
async fn on<T: Send + 'static>(
    threads: &Threads,
    what: &str,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, StartError> {
    threads.spawn(work).await.map_err(std::io::Error::other).map_err(StartError::system(what))
}

fn store_options(config: &Config, release: &Release) -> Result<store::StoreOptions, StartError> {
    let path = config.node.data_dir.join(store::STORAGE_DIRECTORY);
    let mut options = store::StoreOptions::new(path, config.node.name.clone());
    options.limits = config.quotas.clone();
    options.node.release = release.clone();
    options.node.peers = peers::options(config)?;
    Ok(options)
}

fn operators(
    service: &Threads,
    store: &Arc<store::Store>,
    environment: &Environment,
    config: &Config,
) -> Arc<ClusterOperators> {
    let _on_service = service.enter();
    ClusterOperators::start(Arc::clone(store), Arc::clone(&environment.directory), config)
}

/// From now on the node answers what other nodes ask on behalf of operators.
fn answer_questions(
    peers: &Peers,
    release: &Release,
    store: &Arc<store::Store>,
    environment: &Arc<Environment>,
    drain: &Arc<Drain>,
) {
    let (store, environment, drain) = (Arc::clone(store), Arc::clone(environment), Arc::clone(drain));
    let answers = Arc::new(Answers::new(release.clone(), store, environment, drain));
    peers.answer_by(Box::new(move |question| {
        let answers = Arc::clone(&answers);
        Box::pin(async move { answers.answer(question).await })
    }));
}

/// Notes which node this is as soon as it is known: a node that has still to join learns it later.
fn learn_own_node(own_node: OwnNode, mut status: watch::Receiver<NodeStatus>, service: &Threads) {
    let learn = move |status: &NodeStatus| {
        let id = u32::try_from(status.node_id).expect("identifiers of nodes are counted from 1");
        own_node.set(id);
        id != 0
    };
    if !learn(&status.borrow()) {
        service.spawn(async move {
            // The store is gone when this fails, and nobody asks any more.
            let _ = status.wait_for(|status| learn(status)).await;
        });
    }
}

fn start_arbiters(lanes: &Lanes, limits: &Limits, forwarding: &Arc<Forwarding>) -> Vec<Arbiter> {
    let outbox_limits = outbox_limits(limits, lanes.len());
    (0..u16::try_from(lanes.len()).unwrap_or(u16::MAX))
        .map(|number| {
            let arbiter = Arbiter::new();
            let (lanes, forwarding) = (lanes.clone(), Arc::clone(forwarding));
            arbiter.spawn_fn(move || lane::install(number, &lanes, outbox_limits, forwarding));
            arbiter
        })
        .collect()
}

fn outbox_limits(limits: &Limits, lanes: usize) -> OutboxLimits {
    let redelivery_ticks = limits.redelivery_interval.as_millis() / u128::from(TICK_MS);
    OutboxLimits {
        plain_bytes_max: limits.outbox_bytes_max,
        window: WindowLimits {
            in_flight_messages_max: limits.in_flight_messages_max,
            messages_max: limits.queue_messages_max,
            bytes_max: limits.queue_bytes_max,
        },
        lane_bytes_max: limits.outboxes_bytes_max / lanes.max(1),
        overloaded_bytes_max: OVERLOADED_BYTES_MAX.min(limits.outbox_bytes_max),
        redelivery_ticks: u32::try_from(redelivery_ticks).unwrap_or(u32::MAX),
    }
}

/// What one connection may hold while the outboxes of the node are above their limit together.
const OVERLOADED_BYTES_MAX: usize = 64 * 1024;

fn settings(limits: &Limits) -> Settings {
    Settings {
        connect_timeout: limits.connect_timeout,
        connect_bytes_max: limits.connect_bytes_max,
        payload_bytes_max: limits.payload_bytes_max,
        subscriptions_max: limits.subscriptions_max,
        storing_messages_max: limits.storing_messages_max,
        stored_messages_per_subscribe_max: limits.stored_messages_per_subscribe_max,
        device_rate: limits.device_rate,
        broker_rate: limits.broker_rate,
        retain_flag_on_stored: limits.retain_flag_on_stored,
        topics: TopicOptions { kind_wildcard_covers_permanent: limits.kind_wildcard_covers_permanent },
    }
}
