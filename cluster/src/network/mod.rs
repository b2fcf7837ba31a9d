//! How the nodes of a cluster talk to each other: the peer listener, the kept channels to other nodes, and the calls that
//! replication makes over them.
//!
//! [`server`] accepts TLS connections and knows from their certificate who calls ([`authenticated`]); [`admission`] decides
//! who may; [`channels`] dials and keeps connections; [`raft_client`] and [`raft_server`] carry the Raft library's calls,
//! whose types [`convert`] turns into messages; [`ask`] carries questions of the owner of the node.

pub(crate) mod admission;
pub(crate) mod ask;
pub(crate) mod channels;
pub(crate) mod convert;
pub(crate) mod dial;
pub(crate) mod raft_client;
pub(crate) mod raft_server;
pub(crate) mod server;
mod snapshot_intake;

pub(crate) use admission::{Admission, authenticated, says_removed};
pub(crate) use channels::{ChannelError, Channels, Purpose};

use std::time::Duration;

/// Largest message that a node accepts from another one.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// An idle or stuck connection is probed this often, from both ends.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// A connection whose probe is not answered for this long is given up. Together with the interval well below a lease.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of one call that may be on their way; a full message of replication fits, and what a link has on the wire mostly.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Largest frame that the listener accepts. A frame is written at once, and its payload not cut into pieces, so that TLS
/// gets full records.
const FRAME_BYTES_MAX: u32 = 1024 * 1024;
/// Bytes of all calls of one connection that may be on their way.
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
