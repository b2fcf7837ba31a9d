//! What a lane counts. One thread writes, any thread reads: a plain load and store, never a locked instruction.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; only the lane's own thread may call it.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets the number; only the lane's own thread may call it.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// The counters of one lane.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct LaneCounters {
            $($(#[$doc])* pub $name: Counter,)+
        }

        /// The sums of the counters over all lanes.
        #[derive(Debug, Default, Clone, PartialEq, Eq)]
        pub struct CounterTotals {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl CounterTotals {
            /// Adds the counters of one more lane.
            pub fn add(&mut self, lane: &LaneCounters) {
                $(self.$name += lane.$name.get();)+
            }
        }
    };
}

counters! {
    /// Connections open now, before and after CONNECT.
    connections_open,
    /// Connections accepted since the start.
    connections_accepted,
    /// CONNECTs answered with return code 0.
    connects_accepted,
    /// CONNECTs answered with another code.
    connects_refused,
    /// PUBLISH packets received.
    messages_received,
    /// PUBLISH packets put into outboxes.
    messages_sent,
    /// Bytes received.
    bytes_received,
    /// Bytes written.
    bytes_sent,
    /// QoS 0 messages dropped because a subscriber's outbox was full.
    messages_dropped_outbox_full,
    /// QoS 0 messages dropped because their publisher exceeds its rate.
    messages_dropped_over_rate,
    /// How often a publisher was not read for a while because it exceeds its rate.
    publishers_slowed,
    /// Messages put on their way to other nodes, once for each node.
    messages_forwarded,
    /// QoS 0 messages not sent to a node that cannot be reached, because too much waits for it.
    messages_dropped_link_full,
    /// Sessions closed because their queue of QoS 1 messages or answers was full.
    sessions_closed_slow,
    /// Publishes refused (and their connection closed).
    publishes_refused,
    /// Filters answered with 0x80.
    filters_refused,
    /// Messages sent again with DUP.
    messages_redelivered,
    /// Messages that no subscription matched.
    messages_unmatched,
    /// Stored messages left out of the answer to a SUBSCRIBE because the session's queue had no room for them.
    stored_messages_left_out,
    /// Protocol violations.
    protocol_violations,
    /// Connections closed by the keep-alive rule.
    keep_alive_timeouts,
    /// Wills published.
    wills_published,
    /// Wills not published because their topic is not allowed (U-M9).
    wills_refused,
    /// Wills not published because the node had no lease.
    wills_lost,
    /// CONNECTs refused because clients took over from each other too often.
    takeovers_refused,
    /// Panics of connections, each confined to its own.
    panics,
    /// Bytes in outboxes and windows now.
    outbox_bytes,
    /// Route look-ups that had to be computed.
    route_misses,
    /// When the lane's clock last ticked, in seconds since 1970.
    heartbeat_s,
}
