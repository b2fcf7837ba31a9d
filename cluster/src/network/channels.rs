//! The kept channels to the other members.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ClientConfig;
use tonic::transport::Channel;

use super::dial::{Target, lazy_channel};
use crate::pki::name::server_name;

/// What a channel is for. Each purpose has a connection of its own, so that bulk traffic never delays a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Replication, proposals, leases, membership.
    Raft,
    /// Snapshots, questions.
    Bulk,
}

/// Why there is no channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChannelError {
    /// This node belongs to no cluster yet, or has no peer listener.
    #[error("this node has no certificate of a cluster")]
    NoIdentity,
    /// The membership does not name the node.
    #[error("node {0} is not a member")]
    UnknownNode(u64),
}

/// Channels to the members, dialled when first used; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Channels {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The address from which to dial.
    source: Option<IpAddr>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tls: Option<Arc<ClientConfig>>,
    addresses: BTreeMap<u64, String>,
    kept: HashMap<(u64, Purpose), Channel>,
}

impl Channels {
    /// No channels yet. All will be dialled from `source`, if given.
    pub(crate) fn new(source: Option<IpAddr>) -> Channels {
        Channels { inner: Arc::new(Inner { source, state: Mutex::default() }) }
    }

    /// The address from which to dial.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        self.inner.source
    }

    /// This node has become a member: what it presents from now on.
    pub(crate) fn set_identity(&self, tls: Arc<ClientConfig>) {
        let mut state = self.inner.state.lock();
        state.tls = Some(tls);
        state.kept.clear();
    }

    /// Where the members are. Channels to nodes that moved or went are dropped, which ends their calls.
    pub(crate) fn set_addresses(&self, addresses: BTreeMap<u64, String>) {
        let mut state = self.inner.state.lock();
        if state.addresses != addresses {
            let known = std::mem::replace(&mut state.addresses, addresses);
            let State { kept, addresses, .. } = &mut *state;
            kept.retain(|(node_id, _), _| known.get(node_id) == addresses.get(node_id));
        }
    }

    /// The channel to a member. It connects when it is used, again after its connection was lost, and only to the holder of
    /// the member's certificate.
    ///
    /// # Errors
    /// See [`ChannelError`]. That the member cannot be reached is told by the calls.
    pub(crate) fn channel(&self, node_id: u64, purpose: Purpose) -> Result<Channel, ChannelError> {
        let mut state = self.inner.state.lock();
        if let Some(channel) = state.kept.get(&(node_id, purpose)) {
            return Ok(channel.clone());
        }
        let channel = lazy_channel(self.target(&state, node_id)?);
        state.kept.insert((node_id, purpose), channel.clone());
        Ok(channel)
    }

    /// A channel to a member with a connection that nobody shares and that ends with the channel.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub(crate) fn fresh_channel(&self, node_id: u64) -> Result<Channel, ChannelError> {
        Ok(lazy_channel(self.target(&self.inner.state.lock(), node_id)?))
    }

    fn target(&self, state: &State, node_id: u64) -> Result<Target, ChannelError> {
        let tls = state.tls.clone().ok_or(ChannelError::NoIdentity)?;
        let address = state.addresses.get(&node_id).cloned().ok_or(ChannelError::UnknownNode(node_id))?;
        Ok(Target { address, name: server_name(node_id), tls, source: self.inner.source })
    }
}
