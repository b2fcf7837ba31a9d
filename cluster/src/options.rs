//! Everything a node can be told when it starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::disk::{DiskProbe, StatvfsProbe};
use crate::formats::Release;

/// Settings of a [`crate::Node`]. [`NodeOptions::new`] fills in the defaults named here.
pub struct NodeOptions {
    /// The directory this node owns. It is created when missing and locked against other processes.
    pub data_dir: PathBuf,
    /// Label of the node, stored in the cluster's membership. Default `node`.
    pub node_name: String,
    /// The release that runs. Default: one without a version that writes the first format.
    pub release: Release,
    /// How the node reaches the other nodes of its cluster. Default `None`: it runs alone.
    pub peers: Option<PeerOptions>,
    /// Commands that may wait for the log; more are answered with `Overloaded`. Default 200,000.
    pub queue_commands_max: usize,
    /// Bytes of commands that may wait for the log; more are answered with `Overloaded`. Default 64 MiB.
    pub queue_bytes_max: usize,
    /// Largest command; a larger one is answered with `CommandTooLarge`. Default 512 KiB, upper limit 1 MiB so that
    /// an entry always fits into one message between nodes.
    pub command_bytes_max: usize,
    /// Bytes that must stay free on the file system; below them commands and snapshots are refused. `None` means
    /// the smaller of 64 MiB and 5 % of the file system; `Some(0)` switches the guard off.
    pub reserve_bytes: Option<u64>,
    /// A snapshot is made after this many log entries. Default 50,000.
    pub snapshot_entries: u64,
    /// A snapshot is made after this many bytes of log. Default 64 MiB.
    pub snapshot_log_bytes: u64,
    /// Entries kept in the log behind a snapshot, so that a peer that lags a little needs no snapshot. Default 256.
    pub kept_entries: u64,
    /// First delay before storage that failed is reopened; doubles up to `reopen_delay_max`. Default 100 ms.
    pub reopen_delay_min: Duration,
    /// Longest delay between two attempts to reopen the storage; attempts never end. Default 5 s.
    pub reopen_delay_max: Duration,
    /// How free space is measured. Default: `statvfs`.
    pub disk_probe: Arc<dyn DiskProbe>,
    /// Told how long each write of the log took that waited for the disk (`fdatasync`), on the thread that writes. Default:
    /// nobody.
    pub sync_observer: SyncObserver,
}

/// Hears how long something took.
pub type SyncObserver = Arc<dyn Fn(Duration) + Send + Sync>;

/// Settings of a node that has peers.
pub struct PeerOptions {
    /// The listener for peers, bound by the owner. Peers are dialled from its address if that is a specific one.
    pub listener: std::net::TcpListener,
    /// `host:port` at which peers reach this node; the listener's address if empty.
    pub advertise: String,
    /// `host:port` of nodes through which this one finds its cluster. Used until it has its place there, then never again.
    pub join: Vec<String>,
    /// How many nodes found a cluster together: 1, 3 or 5. `None`: this node founds one alone if [`Self::join`] is empty, and
    /// joins an existing one otherwise.
    pub expect_voters: Option<u8>,
    /// How many voters the cluster makes by itself, 3 or 5, where it has the nodes; the greater of this and
    /// [`Self::expect_voters`] counts. `None`: 3. Should be the same on all nodes.
    pub voters: Option<u8>,
    /// The node stays a learner: it carries connections and decides nothing. It founds no cluster.
    pub never_votes: bool,
    /// What nodes prove to each other before they have certificates; at least 16 bytes.
    pub join_secret: Zeroizing<Vec<u8>>,
    /// A node serves clients only for so long after it heard from a leader. Default 5 s.
    pub lease: Duration,
}

/// What stays of [`PeerOptions`] once the listener is in use.
pub(crate) struct PeerSettings {
    pub(crate) advertise: String,
    pub(crate) join: Vec<String>,
    pub(crate) expect_voters: Option<u8>,
    pub(crate) voters: Option<u8>,
    pub(crate) never_votes: bool,
    pub(crate) join_secret: Zeroizing<Vec<u8>>,
    pub(crate) lease: Duration,
}

impl PeerOptions {
    /// Separates the listener from the rest.
    pub(crate) fn split(self) -> std::io::Result<(std::net::TcpListener, PeerSettings)> {
        let PeerOptions {
            listener,
            mut advertise,
            join,
            expect_voters,
            voters,
            never_votes,
            join_secret,
            lease,
        } = self;
        if advertise.is_empty() {
            advertise = listener.local_addr()?.to_string();
        }
        let settings =
            PeerSettings { advertise, join, expect_voters, voters, never_votes, join_secret, lease };
        Ok((listener, settings))
    }
}

impl PeerSettings {
    /// Whether a node without a place in a cluster founds one without asking anybody.
    pub(crate) fn founds_alone(&self) -> bool {
        !self.never_votes && self.join.is_empty() && self.expect_voters.is_none_or(|voters| voters == 1)
    }
}

/// Upper limit of [`NodeOptions::command_bytes_max`].
pub const COMMAND_BYTES_LIMIT: usize = 1024 * 1024;

/// Most commands in one log entry.
pub(crate) const BATCH_COMMANDS_MAX: usize = 1000;

/// A log entry is closed when its commands reach this many bytes. A single larger command forms its own entry.
pub(crate) const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Log entries that are on their way to the disk at the same time.
pub(crate) const WINDOW_ENTRIES: usize = 4;

impl NodeOptions {
    /// The defaults for a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> NodeOptions {
        NodeOptions {
            data_dir: data_dir.into(),
            node_name: "node".to_owned(),
            release: Release::default(),
            peers: None,
            queue_commands_max: 200_000,
            queue_bytes_max: 64 * 1024 * 1024,
            command_bytes_max: 512 * 1024,
            reserve_bytes: None,
            snapshot_entries: 50_000,
            snapshot_log_bytes: 64 * 1024 * 1024,
            kept_entries: 256,
            reopen_delay_min: Duration::from_millis(100),
            reopen_delay_max: Duration::from_secs(5),
            disk_probe: Arc::new(StatvfsProbe),
            sync_observer: Arc::new(|_| {}),
        }
    }
}
