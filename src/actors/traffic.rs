//! What a topic space has to do on this node: connections and bytes, for the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of one space. Counted once per read and once per write of a socket, by any thread.
#[derive(Debug, Default)]
pub struct Traffic {
    connections: AtomicU64,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
}

impl Traffic {
    /// Connections with a session, now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// MQTT bytes that came from clients after CONNECT, without TLS.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// MQTT bytes that were written to clients from CONNACK on, without TLS.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }
}

/// One connection of a space: it counts while this lives.
#[derive(Debug)]
pub struct Presence(Arc<Traffic>);

impl Presence {
    /// One connection more.
    pub fn new(traffic: &Arc<Traffic>) -> Self {
        traffic.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(traffic))
    }

    /// Bytes came from the client.
    pub fn received(&self, bytes: usize) {
        self.0.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes were written to the client.
    pub fn sent(&self, bytes: usize) {
        self.0.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
