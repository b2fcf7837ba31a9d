//! The outbox of one connection: bytes to write, messages to be acknowledged, acknowledgements owed.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use rookery_cluster::EffectGuard;

use super::buffer::OutputBuffer;
use super::frame::{AcknowledgedFrame, SharedPayload};
use super::inbox::Inspection;
use super::link::Link;
use crate::actors::traffic::Presence;
use crate::domain::window::Window;
use crate::mqtt::qos::PacketIdentifier;

/// A message that came while the connection was waiting for the answer to its SUBSCRIBE.
#[derive(Debug)]
pub enum HeldMessage {
    /// With QoS 0: the encoded packet and the large payload, if any.
    Plain(Arc<[u8]>, SharedPayload),
    /// With QoS 1.
    Acknowledged(AcknowledgedFrame),
}

/// A PUBACK that is owed for a publish that is not yet on the disk or on other nodes, or that waits behind such a one:
/// PUBACKs go out in the order of their PUBLISH packets (MQTT-4.6.0-2).
#[derive(Debug)]
pub struct OwedAcknowledgement {
    /// The packet identifier of the PUBLISH.
    pub packet_identifier: PacketIdentifier,
    /// How many have still to take the message: the disk, or other nodes. At 0 nothing is waited for.
    pub missing: u16,
}

/// The rarely used parts, on the heap only while they are in use.
#[derive(Debug, Default)]
pub struct Acknowledgements {
    /// What the client has still to acknowledge.
    pub window: Window<AcknowledgedFrame>,
    /// What we still owe to the client.
    pub owed: VecDeque<OwedAcknowledgement>,
    /// The number of the first of `owed`; they are numbered through from the first of the connection, and wrap around.
    pub first_owed: u32,
}

impl Acknowledgements {
    /// The number that the next acknowledgement to be owed will have.
    pub fn next_owed(&self) -> u32 {
        let owed = u32::try_from(self.owed.len()).expect("reading stops long before 2^32 are owed");
        self.first_owed.wrapping_add(owed)
    }

    /// One of those that had to take the message of acknowledgement `number` has taken it. Returns whether PUBACKs are due.
    pub fn settle(&mut self, number: u32) -> bool {
        let at = number.wrapping_sub(self.first_owed) as usize;
        if let Some(owed) = self.owed.get_mut(at) {
            owed.missing = owed.missing.saturating_sub(1);
        }
        self.owed.front().is_some_and(|owed| owed.missing == 0)
    }
}

/// Deadlines of a connection, in ticks of the lane's wheel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deadlines {
    /// Tick of the last byte received.
    pub last_read_tick: u32,
    /// The connection ends after so many ticks without a byte received; 0 = never (MQTT-3.1.2-24).
    pub silence_ticks_max: u32,
    /// Before CONNECT is complete: the connection ends so many ticks after it was opened, whatever is received.
    pub handshake_ticks_max: u32,
    /// Tick at which the connection was opened.
    pub opened_tick: u32,
}

/// One connection's outbox.
pub struct Outbox {
    /// Counts the users of this place in the slab.
    pub generation: u32,
    /// The connection; `None` while the place is free.
    pub link: Option<Rc<Link>>,
    /// The connection among those of its space, once it has a session.
    pub presence: Option<Presence>,
    /// Bytes to write.
    pub output: OutputBuffer,
    /// Whether the outbox is in the lane's list of those to be written.
    pub dirty: bool,
    /// QoS 1 in both directions.
    pub acknowledgements: Option<Box<Acknowledgements>>,
    /// Messages held back while a SUBSCRIBE is being decided; `None` when nothing is being decided.
    pub held: Option<Vec<HeldMessage>>,
    /// Bytes of the held messages.
    pub held_bytes: usize,
    /// When to give up on the client.
    pub deadlines: Deadlines,
    /// Entries of the log that ended the session: they take effect when the connection has ended, and this is free.
    pub ended_by: Vec<Arc<EffectGuard>>,
}

impl Outbox {
    /// A free place.
    pub fn free(generation: u32) -> Self {
        Self {
            generation,
            link: None,
            presence: None,
            output: OutputBuffer::default(),
            dirty: false,
            acknowledgements: None,
            held: None,
            held_bytes: 0,
            deadlines: Deadlines::default(),
            ended_by: Vec::new(),
        }
    }

    /// Whether the connection has been told that its session is open: what is for it must not be written without a lease.
    pub fn is_live(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_live.get())
    }

    /// Bytes that this outbox keeps in memory for its client.
    pub fn bytes(&self) -> usize {
        self.output.pending_bytes()
            + self.held_bytes
            + self.acknowledgements.as_ref().map_or(0, |state| state.window.bytes())
    }

    /// What waits for the client.
    pub fn inspect(&self) -> Inspection {
        let window = self.acknowledgements.as_ref().map(|state| &state.window);
        Inspection {
            in_flight_messages: window.map_or(0, |window| window.in_flight_messages()),
            queued_messages: window.map_or(0, |window| window.waiting_messages())
                + self.held.as_ref().map_or(0, Vec::len),
            bytes: self.bytes(),
        }
    }

    /// The number that the next PUBACK to be owed will have.
    pub fn next_owed(&self) -> u32 {
        self.acknowledgements.as_ref().map_or(0, |state| state.next_owed())
    }

    /// Notes a PUBACK that cannot be sent yet. Reading stops while `owed_max` or more are owed, and goes on at half of
    /// that.
    pub fn owe(&mut self, acknowledgement: OwedAcknowledgement, owed_max: usize) {
        let owed = &mut self.acknowledgements().owed;
        owed.push_back(acknowledgement);
        if owed.len() >= owed_max
            && let Some(link) = &self.link
        {
            link.read_again_at.set(Some(owed_max / 2));
        }
    }

    /// The QoS 1 state, made when first needed.
    pub fn acknowledgements(&mut self) -> &mut Acknowledgements {
        self.acknowledgements.get_or_insert_with(Box::default)
    }
}
