//! What every connection and registry actor is given: the handles to everything they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rookery_cluster::{Barrier, Lease};

use super::authenticator::Authenticator;
use super::directory::Directory;
use super::forward::Forwarding;
use super::lane::Lanes;
use super::tenure::Tenures;
use crate::domain::rate::Rate;
use crate::domain::resolve::TopicOptions;
use crate::observe::connection_log::ConnectionLog;
use crate::observe::histogram::Histogram;
use crate::store::catalog::CatalogHandle;

/// Settings of the message path, from the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time from the transport's being ready to a complete CONNECT.
    pub connect_timeout: Duration,
    /// Largest CONNECT packet, in bytes.
    pub connect_bytes_max: usize,
    /// Largest payload, in bytes.
    pub payload_bytes_max: usize,
    /// Subscriptions of a session, at most.
    pub subscriptions_max: usize,
    /// Publishes of one connection that wait for the disk or for other nodes, at most.
    pub storing_messages_max: usize,
    /// Stored messages sent for one SUBSCRIBE, at most.
    pub stored_messages_per_subscribe_max: usize,
    /// How often one connection of a device may publish (U-M11).
    pub device_rate: Option<Rate>,
    /// How often the clients of a broker together may publish on this node.
    pub broker_rate: Option<Rate>,
    /// RETAIN on messages from storage (U-T19).
    pub retain_flag_on_stored: bool,
    /// Switches of the topic rules.
    pub topics: TopicOptions,
}

/// What the cluster says about this node and others.
#[derive(Clone)]
pub struct Standing {
    /// Whether this node may serve.
    pub lease: Lease,
    /// Waits until an entry is in effect on all nodes.
    pub barrier: Barrier,
}

/// Shared by all actors of the node.
pub struct Environment {
    /// The lanes.
    pub lanes: Lanes,
    /// What the lanes share to reach other nodes.
    pub forwarding: Arc<Forwarding>,
    /// The catalog.
    pub catalog: CatalogHandle,
    /// The topic spaces and their registry actors.
    pub directory: Arc<Directory>,
    /// Who decides on CONNECT.
    pub authenticator: Authenticator,
    /// Settings.
    pub settings: Settings,
    /// Whether this node may serve.
    pub lease: Lease,
    /// Waits until an entry is in effect on all nodes.
    pub barrier: Barrier,
    /// The beginning and end of sessions in the log.
    pub tenures: Arc<Tenures>,
    /// From SUBSCRIBE to SUBACK.
    pub subscribe_times: Histogram,
    /// What happens to connections, for the owners of their entities.
    pub connection_log: ConnectionLog,
    /// Messages to permanent topics that could not be stored; rare, and counted on any thread.
    pub messages_not_stored: AtomicU64,
    draining: AtomicBool,
}

impl Environment {
    /// Puts the parts together.
    pub fn new(
        (lanes, forwarding): (Lanes, Arc<Forwarding>),
        catalog: CatalogHandle,
        directory: Arc<Directory>,
        authenticator: Authenticator,
        settings: Settings,
        standing: Standing,
        connection_log: ConnectionLog,
    ) -> Self {
        let Standing { lease, barrier } = standing;
        let tenures = Tenures::new(catalog.clone(), lease.clone(), barrier.clone(), Arc::clone(&directory));
        Self {
            lanes,
            forwarding,
            catalog,
            directory,
            authenticator,
            settings,
            lease,
            barrier,
            tenures,
            connection_log,
            subscribe_times: Histogram::default(),
            messages_not_stored: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        }
    }

    /// This node's identifier and the epoch in which it serves now; `None` while it must not serve.
    pub fn serving(&self) -> Option<(u32, u64)> {
        self.directory.own_node().get().zip(self.lease.epoch())
    }

    /// From now on CONNECT is answered with code 3.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// From now on CONNECT is decided again.
    pub fn end_draining(&self) {
        self.draining.store(false, Ordering::Release);
    }

    /// Whether the node takes no further sessions.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}
