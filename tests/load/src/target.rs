//! Where the broker is and how it is spoken to.

use std::net::SocketAddr;

use rustls::ClientConnection;
use serde::{Deserialize, Serialize};

use crate::tls::authority::Identity;
use crate::tls::{self, Tls, Trust};

/// The broker's nodes, as data that is handed to every driver.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    /// Addresses of the nodes, in the order that [`crate::plan::ClientPlan::node`] counts; at least one.
    pub addresses: Vec<SocketAddr>,
    /// Whom to trust and which name the certificate must bear, for TLS.
    pub tls: Option<(Trust, String)>,
}

/// A target that can be connected to.
#[derive(Debug, Clone)]
pub struct Endpoint {
    addresses: Vec<SocketAddr>,
    tls: Option<Tls>,
}

impl Endpoint {
    /// Reads the files that the target names.
    pub fn new(target: &Target) -> anyhow::Result<Self> {
        let tls = target.tls.as_ref().map(|(trust, name)| tls::client(trust, name)).transpose()?;
        Ok(Self { addresses: target.addresses.clone(), tls })
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.addresses.len()
    }

    /// The address of a node.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.addresses[node]
    }

    /// The client's half of a TLS connection, if it is to be one.
    pub fn session(&self, identity: Option<&Identity>) -> anyhow::Result<Option<ClientConnection>> {
        self.tls.as_ref().map(|tls| tls.session(identity)).transpose()
    }
}

/// What clients do in a run in which a node is killed.
#[derive(Debug, Clone, Copy)]
pub struct Recovery {
    /// The node.
    pub killed: usize,
}

impl Recovery {
    /// Whether a connection to `node` may end: to the killed one always, to others while they are being opened,
    /// because a cluster without a leader refuses CONNECT for a moment.
    pub fn permits(&self, node: usize, was_open: bool) -> bool {
        node == self.killed || !was_open
    }

    /// The node to try after `node`: the same, unless it is the killed one, whose clients are spread over the
    /// others by their number.
    pub fn next(&self, node: usize, client: usize, nodes: usize) -> usize {
        if node != self.killed || nodes < 2 {
            return node;
        }
        (node + 1 + client % (nodes - 1)) % nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_a_killed_node_are_spread_over_the_others_and_nobody_else_moves() {
        let recovery = Recovery { killed: 1 };
        let nodes: Vec<_> = (0..4).map(|client| recovery.next(1, client, 3)).collect();
        assert_eq!(nodes, [2, 0, 2, 0]);
        assert_eq!(recovery.next(2, 5, 3), 2);
        assert!(recovery.permits(1, true) && recovery.permits(0, false) && !recovery.permits(0, true));
    }
}
