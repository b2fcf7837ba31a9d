//! The configuration: one typed tree, read once, validated as a whole before anything is bound.
//!
//! Precedence: defaults, then the file (TOML), then the environment (`ROOKERY_SECTION__KEY`), then flags.
//! Every problem names its key, its value and the rule, and all of them are reported together. No other room reads
//! the environment.

mod raw;
mod validate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use raw::{Flags, Sources};

use crate::domain::quota::CatalogLimits;
use crate::domain::rate::Rate;

/// One mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {rule} (got {value})")]
pub struct Problem {
    /// The key, as in the file: `listen.mqtts`.
    pub key: String,
    /// The value, or a note on where it came from.
    pub value: String,
    /// The rule that it breaks.
    pub rule: String,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} mistake{}:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// The validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node itself.
    pub node: Node,
    /// Where it listens.
    pub listen: Listen,
    /// Its certificate and the administrator's token.
    pub security: Security,
    /// Every limit of the message path.
    pub limits: Limits,
    /// How it belongs to a cluster.
    pub cluster: Cluster,
    /// Limits of the catalog; replicated, so that every node decides alike.
    pub quotas: CatalogLimits,
    /// How it logs.
    pub log: Log,
}

/// The node itself.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name: `[a-zA-Z0-9._-]`, 1 to 63 characters. Default: `rookery-0`.
    pub name: String,
    /// Where its data is. Default: `./rookery-data`.
    pub data_dir: PathBuf,
    /// Threads for connections. Default: one per core but one, at least one.
    pub connection_threads: u16,
    /// How long SIGTERM waits for connections to end. Default: 10 s.
    pub grace_period: Duration,
    /// Sessions ended per second while the node goes out of service. Default 500.
    pub drain_rate: u32,
}

/// Addresses; `None` = off. Port 0 takes a free port, printed at start.
#[derive(Debug, Clone)]
pub struct Listen {
    /// MQTT over TLS. Default: `0.0.0.0:8883`.
    pub mqtts: Option<SocketAddr>,
    /// Plain MQTT. Default: off.
    pub mqtt: Option<SocketAddr>,
    /// gRPC over TLS. Default: `127.0.0.1:8443`.
    pub api: Option<SocketAddr>,
    /// Metrics and health over HTTP. Default: `127.0.0.1:8080`.
    pub ops: Option<SocketAddr>,
    /// Traffic between nodes. Default: `127.0.0.1:8550`.
    pub peer: Option<SocketAddr>,
    /// Whether `peer` was given, and is not the default: then it must be had.
    pub peer_is_given: bool,
}

/// How the node belongs to a cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Where other nodes reach it, `host:port`; `None` = the address of its listener.
    pub advertise: Option<String>,
    /// Nodes of the cluster to join, `host:port`. Counts on the first start only.
    pub join: Vec<String>,
    /// With how many voters a new cluster begins: 1, 3 or 5. Counts on the first start only. `None`: the node founds a
    /// cluster of its own if `join` is empty, and joins one that exists if not.
    pub expect_voters: Option<u8>,
    /// How many voters the cluster makes by itself, 3 or 5; `None` = 3, or `expect_voters`. Should be equal on all nodes.
    pub voters: Option<u8>,
    /// Whether it may become a voter. A node that may not only carries connections.
    pub vote: bool,
    /// The secret that admits nodes; without it the node makes one on its first start.
    pub join_secret_file: Option<PathBuf>,
    /// A node that has not heard from a quorum for so long serves nobody. Must be the same on all nodes. Default: 5 s.
    pub lease: Duration,
    /// A node that has not served for so long drops its clients, so that they look for another. Default: 30 s.
    pub fenced_drop: Duration,
    /// The node says that it writes no newer format than this, so that the release before can be put back on all nodes.
    /// `None`: the newest that it can.
    pub hold_format: Option<u32>,
}

impl Cluster {
    /// Whether this configuration founds a cluster of one node, if the data directory is empty.
    pub fn founds_alone(&self) -> bool {
        self.vote && self.join.is_empty() && self.expect_voters.is_none_or(|voters| voters == 1)
    }
}

/// Certificates and tokens.
#[derive(Debug, Clone)]
pub struct Security {
    /// The server certificate chain and its key, both PEM; without them the node makes its own.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Names and addresses that a certificate made by the node holds besides localhost and the host name.
    pub tls_names: Vec<String>,
    /// The administrator's token; without it the node makes one on its first start.
    pub admin_token_file: Option<PathBuf>,
}

/// Limits of the message path. Each has a policy at the limit.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open MQTT connections. Further ones are closed at once. Default: 1,000,000.
    pub connections_max: usize,
    /// TLS handshakes at the same time. Further ones wait, and old unfinished ones are closed for them. Default: 8192.
    pub handshakes_max: usize,
    /// Time from the TCP connection to the end of the TLS handshake. Default: 15 s.
    pub handshake_timeout: Duration,
    /// Time from there to a complete CONNECT (U-M8). Default: 30 s.
    pub connect_timeout: Duration,
    /// Size of a CONNECT packet; a larger one ends the connection. Default: 16 KiB.
    pub connect_bytes_max: usize,
    /// Payload of a message; a larger one ends the connection (U-M10). Default: 262,144.
    pub payload_bytes_max: usize,
    /// Subscriptions of a session; further ones get 0x80 (U-M12). Default: 1000.
    pub subscriptions_max: usize,
    /// Messages sent with QoS 1 and not acknowledged; further ones wait. 1 to 65,535. Default: 1000.
    pub in_flight_messages_max: u16,
    /// Messages with QoS 1 in flight and waiting; a session beyond it is closed. Default: 65,536.
    pub queue_messages_max: usize,
    /// Bytes of the same; a session beyond it is closed. Default: 16 MiB.
    pub queue_bytes_max: usize,
    /// Unwritten bytes of a connection above which QoS 0 messages for it are dropped. Default: 8 MiB.
    pub outbox_bytes_max: usize,
    /// Bytes in all outboxes of the node above which each may only hold 64 KiB. Default: 1 GiB.
    pub outboxes_bytes_max: usize,
    /// An unacknowledged QoS 1 message is sent again after this time; 0 = never. Default: 20 s.
    pub redelivery_interval: Duration,
    /// QoS 1 publishes of one connection that wait for the disk or for other nodes; above it the socket is not read.
    /// Default: 1000.
    pub storing_messages_max: usize,
    /// Bytes on the way to one other node above which its publishers are not read; QoS 0 messages are dropped for a node
    /// that cannot be reached. Default: 32 MiB.
    pub node_backlog_bytes_max: usize,
    /// Stored messages sent for one SUBSCRIBE. Further ones are left out. Default: 10,000.
    pub stored_messages_per_subscribe_max: usize,
    /// How often one connection of a device may publish (U-M11): QoS 0 beyond it is dropped, QoS 1 waits. Default: no limit.
    pub device_rate: Option<Rate>,
    /// How often all clients of a broker together may publish on one node; the same. Default: no limit.
    pub broker_rate: Option<Rate>,
    /// Whether a wildcard in the kind position covers permanent topics too (U-T8). Default: true.
    pub kind_wildcard_covers_permanent: bool,
    /// RETAIN on messages from storage (U-T19). Default: true.
    pub retain_flag_on_stored: bool,
}

/// Logging.
#[derive(Debug, Clone)]
pub struct Log {
    /// `text` or `json`. Default: text.
    pub format: LogFormat,
    /// A filter such as `info` or `info,rookery::api=debug`. Default: [`DEFAULT_LOG_FILTER`].
    pub filter: String,
}

/// What is logged by default: everything that an operator wants to know, and the storage's own words only if they are
/// warnings.
pub const DEFAULT_LOG_FILTER: &str = "info,openraft=error,openraft::replication=off,fjall=warn,lsm_tree=warn";

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Reads, merges and validates the configuration.
///
/// # Errors
/// [`Problems`], all at once.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    let (raw, mut problems) = raw::read(sources);
    match validate::validate(&raw) {
        Ok(config) if problems.is_empty() => return Ok(config),
        Ok(_) => {}
        Err(Problems(more)) => problems.extend(more),
    }
    Err(Problems(problems))
}

/// Whether the environment names a collector of traces (`OTEL_EXPORTER_OTLP_ENDPOINT`, or the same for traces only). All
/// else about traces is read by the library that exports them, under the names of its standard.
pub fn collector_is_named() -> bool {
    let names = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    names.iter().any(|name| std::env::var_os(name).is_some())
}

#[cfg(test)]
mod tests;
