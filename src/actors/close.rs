//! Why a connection ends, and the texts of the connection log.

use crate::mqtt::violation::Violation;

/// Why the server or the client ended a connection (`spec/mqtt.md`, Reaction to violations). The `Display` text is
/// the line of the connection log, without its `disconnected: ` prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// DISCONNECT received.
    #[error("client disconnected")]
    Disconnected,
    /// The client closed its stream without DISCONNECT. The log does not tell it from the above (`spec/mqtt.md`,
    /// Reaction to violations).
    #[error("client disconnected")]
    StreamEnded,
    /// The stream failed.
    #[error("connection lost")]
    ConnectionLost,
    /// A publish that the permission table refuses, or that names no topic.
    #[error("publish to topic \"{topic}\" not allowed")]
    PublishNotAllowed {
        /// The topic as the client wrote it.
        topic: String,
    },
    /// U-M3.
    #[error("QoS 2 is not supported")]
    QosTwo,
    /// U-M10.
    #[error("message is too large")]
    MessageTooLarge,
    /// U-M13.
    #[error("protocol violation: {0}")]
    Violation(Violation),
    /// U-M8.
    #[error("keepalive timeout")]
    KeepAliveTimeout,
    /// No complete CONNECT in time.
    #[error("no CONNECT in time")]
    ConnectTimeout,
    /// U-M6.
    #[error("taken over by another connection")]
    TakenOver,
    /// U-A11.
    #[error("credentials revoked")]
    CredentialsRevoked,
    /// CONNECT was refused; the CONNACK code says why.
    #[error("connection refused with code {code}")]
    Refused {
        /// The return code of the CONNACK.
        code: u8,
    },
    /// The subscriber does not take its QoS 1 messages: its queue is full.
    #[error("too many undelivered messages")]
    SlowSubscriber,
    /// A permanent message could not be stored, so its PUBACK cannot be given.
    #[error("message could not be stored: {0}")]
    NotStored(String),
    /// The node stops or drains.
    #[error("server is shutting down")]
    ShuttingDown,
    /// The cluster has given this node up, and with it all its sessions. The node may not publish then, so the wills of its
    /// clients are lost, as they are when it loses power (MQTT-3.1.2-8 permits it for a failure of the server).
    #[error("server was given up by its cluster")]
    NodeGone,
    /// The node has not heard from a quorum for too long. It may not publish, so wills are lost.
    #[error("server has lost its cluster")]
    Fenced,
    /// The node was so far behind its cluster that it was sent a snapshot, and the session may have missed messages, or has
    /// been ended meanwhile.
    #[error("server was behind its cluster")]
    Behind,
    /// Whether a change of subscriptions has taken effect is not known, so neither answer would be true.
    #[error("subscription could not be confirmed")]
    NotConfirmed,
    /// An operator ended the session.
    #[error("closed by the administrator")]
    Kicked,
    /// A part of the server failed (it says so in its own log).
    #[error("internal error")]
    Internal,
}

impl CloseReason {
    /// Whether the will is published: on every end but the client's DISCONNECT (MQTT-3.1.2-8, MQTT-3.14.4-3), and not
    /// for one whose right to speak was taken away (hostile A19). A node without a lease publishes none at all.
    pub fn fires_will(&self) -> bool {
        !matches!(
            self,
            Self::Disconnected
                | Self::Refused { .. }
                | Self::ConnectTimeout
                | Self::CredentialsRevoked
                | Self::NodeGone
                | Self::Fenced
        )
    }
}
