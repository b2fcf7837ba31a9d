//! One client connection: handshake, subscriptions, and the bytes that wait to be written.

use std::io;

use thiserror::Error;

use crate::packet::{self, Frame, Malformed};
use crate::plan::ClientPlan;
use crate::traffic::Traffic;
use crate::transport::Transport;

/// Keep alive sent in CONNECT, in seconds. Longer than any run, so that no PINGREQ disturbs the measurement.
const KEEP_ALIVE_S: u16 = 3600;

/// Packet identifier of the one SUBSCRIBE.
const SUBSCRIBE_IDENTIFIER: u16 = 1;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sends as this publisher.
    Publisher(u32),
    /// Reads as this subscriber.
    Subscriber(u32),
    /// Subscribes and then never reads.
    Stalled,
    /// Does nothing.
    Idle,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// CONNECT is on its way.
    Connecting,
    /// SUBSCRIBE is on its way.
    Subscribing,
    /// In use.
    Open,
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub enum Broken {
    /// The socket failed.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// The broker closed it.
    #[error("closed by the broker")]
    Closed,
    /// Not MQTT.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// CONNACK with a code other than 0.
    #[error("CONNECT refused with return code {0}")]
    Refused(u8),
    /// SUBACK with 0x80, or another QoS than asked for.
    #[error("subscription {index} granted {granted:#04x}, asked for QoS {asked}")]
    NotGranted {
        /// Which filter of the SUBSCRIBE.
        index: usize,
        /// The broker's return code.
        granted: u8,
        /// The QoS asked for.
        asked: u8,
    },
    /// A packet that has no place in this phase.
    #[error("packet of type {kind} while {phase:?}")]
    Unexpected {
        /// Its type.
        kind: u8,
        /// How far the connection was.
        phase: Phase,
    },
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// The stream.
    pub transport: Transport,
    /// What it is for.
    pub role: Role,
    /// How far it has come.
    pub phase: Phase,
    /// Bytes to be written.
    pub outgoing: Vec<u8>,
    /// The start of a packet whose rest has not been read.
    pub tail: Vec<u8>,
    /// The socket was full; the kernel tells when it is not.
    pub blocked: bool,
    /// Already in the list of connections to be written to.
    pub dirty: bool,
    filters: Vec<String>,
    qos: u8,
}

impl Connection {
    /// A connection that is being opened, its CONNECT ready to be written.
    pub fn new(transport: Transport, role: Role, plan: &ClientPlan, qos: u8) -> Self {
        let login = plan.login.as_ref().map(|login| (login.username.as_str(), login.password.as_str()));
        Self {
            transport,
            role,
            phase: Phase::Connecting,
            outgoing: packet::connect(&plan.client_id, login, KEEP_ALIVE_S),
            tail: Vec::new(),
            blocked: true,
            dirty: false,
            filters: plan.filters.clone(),
            qos,
        }
    }

    /// Whether bytes that arrive stay unread.
    pub fn never_reads(&self) -> bool {
        self.role == Role::Stalled && self.phase == Phase::Open
    }

    /// Handles one packet. Answers go to `outgoing`.
    #[inline]
    pub fn handle(&mut self, frame: &Frame<'_>, traffic: &mut Traffic, now_ns: u64) -> Result<(), Broken> {
        match (frame.kind(), self.phase, self.role) {
            (packet::PUBLISH, Phase::Open | Phase::Subscribing, Role::Subscriber(index)) => {
                let publish = packet::read_publish(frame)?;
                if let Some(packet_identifier) = publish.packet_identifier {
                    self.outgoing.extend_from_slice(&packet::puback(packet_identifier));
                }
                traffic.delivered(index, publish.payload, now_ns);
                Ok(())
            }
            (packet::PUBACK, Phase::Open, Role::Publisher(index)) => {
                traffic.acknowledged(index, packet::read_identifier(frame)?, now_ns);
                Ok(())
            }
            // A stalled subscriber may get messages in the same chunk as its SUBACK.
            (packet::PUBLISH, _, Role::Stalled) => Ok(()),
            _ => self.handle_handshake(frame),
        }
    }

    fn handle_handshake(&mut self, frame: &Frame<'_>) -> Result<(), Broken> {
        match (frame.kind(), self.phase) {
            (packet::CONNACK, Phase::Connecting) => match frame.body {
                [_, 0] => {
                    self.connected();
                    Ok(())
                }
                [_, code] => Err(Broken::Refused(*code)),
                _ => Err(Malformed::Truncated(packet::CONNACK).into()),
            },
            (packet::SUBACK, Phase::Subscribing) => {
                let granted = frame.body.get(2..).ok_or(Malformed::Truncated(packet::SUBACK))?;
                for index in 0..self.filters.len() {
                    let granted = granted.get(index).copied().unwrap_or(0x80);
                    if granted != self.qos {
                        return Err(Broken::NotGranted { index, granted, asked: self.qos });
                    }
                }
                self.opened();
                Ok(())
            }
            (kind, phase) => Err(Broken::Unexpected { kind, phase }),
        }
    }

    fn connected(&mut self) {
        if self.filters.is_empty() {
            return self.opened();
        }
        self.phase = Phase::Subscribing;
        self.outgoing.extend(packet::subscribe(SUBSCRIBE_IDENTIFIER, &self.filters, self.qos));
    }

    fn opened(&mut self) {
        self.phase = Phase::Open;
        self.filters = Vec::new();
        if self.role == Role::Idle {
            self.outgoing.shrink_to_fit();
        }
    }
}
