//! Everything a node can be told when it starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::{DiskProbe, StatvfsProbe};

/// Settings of a [`crate::Node`]. [`NodeOptions::new`] fills in the defaults named here.
#[derive(Clone)]
pub struct NodeOptions {
    /// The directory this node owns. It is created when missing and locked against other processes.
    pub data_dir: PathBuf,
    /// Label of the node, stored in the cluster's membership. Default `node`.
    pub node_name: String,
    /// Address at which peers reach the node, stored in the cluster's membership. Default empty: no peers.
    pub address: String,
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
            address: String::new(),
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
        }
    }
}
