//! One MQTT connection: an actor that lives from the accepted stream to its end, on one arbiter thread.
//!
//! Its read stream drives it: every complete packet of a chunk is handled before the next is read, in order and
//! without waiting. What has to wait (authentication, the registry actor, the disk) pauses the stream or owes an
//! acknowledgement, and comes back as a message.
//!
//! Invariants: the actor writes to sockets through its lane only; its topic space is fixed when CONNECT is accepted.

mod accept;
mod close;
mod connect;
mod publish;
mod session;
mod stream;
mod subscribe;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::{Actor, AsyncContext, Context, Handler, StreamHandler};

pub use accept::{PeerCertificate, start};
pub use session::Session;
use stream::{ReadEvent, ReadStream, with_read_bytes};

use super::activity::Activity;
use super::close::CloseReason;
use super::environment::Environment;
use super::lane::link::Link;
use super::lane::{self, LaneState};
use super::registry::{Attached, Subscribed, Unsubscribed};
use super::slot::Slot;
use crate::mqtt::frame::{Frame, FrameLimits, next_frame};
use crate::mqtt::packet::control::encode_pingresp;
use crate::mqtt::packet::{ClientPacket, decode_client_packet};
use crate::mqtt::violation::Violation;

/// Where a connection is in its life.
enum Phase {
    /// Waiting for CONNECT.
    Opened,
    /// CONNECT is being decided: by the password check, then by the registry actor.
    Connecting(Box<connect::Connecting>),
    /// CONNACK 0 was sent.
    Live(Box<Session>),
    /// On its way out; nothing more is handled.
    Closed,
}

/// What to do after a packet.
#[derive(Debug)]
enum Flow {
    /// Handle the next packet.
    Continue,
    /// Stop reading until something comes back.
    Pause,
    /// As [`Self::Pause`]; the packet was not handled, and is handled then.
    Later,
    /// End the connection.
    Close(CloseReason),
}

/// The actor of one connection.
pub struct ConnectionActor {
    environment: Arc<Environment>,
    link: Rc<Link>,
    slot: Slot,
    peer: SocketAddr,
    certificate: Option<PeerCertificate>,
    packet_bytes_max: usize,
    phase: Phase,
}

impl Actor for ConnectionActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.add_stream(ReadStream::new(Rc::clone(&self.link), self.slot));
    }
}

impl StreamHandler<ReadEvent> for ConnectionActor {
    fn handle(&mut self, event: ReadEvent, context: &mut Self::Context) {
        match event {
            ReadEvent::Bytes { length, received } => {
                with_read_bytes(length, |bytes| self.received(bytes, received, context));
            }
            ReadEvent::Resumed => self.handle_tail(context),
            ReadEvent::Close(reason) => self.close(&reason, context),
        }
    }

    /// The stream never finishes by itself; the connection is closed by [`Self::close`].
    fn finished(&mut self, _context: &mut Self::Context) {}
}

impl ConnectionActor {
    /// Handles `bytes`, of which the last `received` are new.
    fn received(&mut self, bytes: &[u8], received: usize, context: &mut Context<Self>) {
        let lane = lane::current();
        {
            let mut lane = lane.borrow_mut();
            lane.start_chunk();
            let tick = lane.tick();
            lane.handle().counters.bytes_received.add(received as u64);
            if let Some(outbox) = lane.get(self.slot.into()) {
                outbox.deadlines.last_read_tick = tick;
                if let Some(presence) = &outbox.presence {
                    presence.received(received);
                }
            }
        }
        let has_long_tail = !self.link.tail.borrow().is_empty();
        if has_long_tail {
            self.link.tail.borrow_mut().extend_from_slice(bytes);
            self.handle_tail(context);
        } else {
            let consumed = self.handle_packets(&mut lane.borrow_mut(), bytes, context);
            self.keep(&bytes[consumed..]);
            self.close_if_requested(context);
        }
    }

    /// Handles what was kept of earlier chunks.
    fn handle_tail(&mut self, context: &mut Context<Self>) {
        let tail = self.link.tail.take();
        let lane = lane::current();
        let consumed = self.handle_packets(&mut lane.borrow_mut(), &tail, context);
        if consumed == 0 {
            *self.link.tail.borrow_mut() = tail;
        } else {
            self.keep(&tail[consumed..]);
        }
        self.close_if_requested(context);
    }

    fn keep(&self, rest: &[u8]) {
        if !rest.is_empty() {
            *self.link.tail.borrow_mut() = rest.to_vec();
        }
    }

    fn close_if_requested(&mut self, context: &mut Context<Self>) {
        if let Some(reason) = self.link.take_close() {
            self.close(&reason, context);
        }
    }

    /// Handles all complete packets; returns how many bytes they took. A reason to close is left in the link, because
    /// closing needs the lane that is borrowed here. While the node must not serve, nothing of a live client is handled:
    /// the bytes were read before this check, and whatever they meet comes after it.
    fn handle_packets(&mut self, lane: &mut LaneState, bytes: &[u8], context: &mut Context<Self>) -> usize {
        if matches!(self.phase, Phase::Live(_)) && !lane.check_lease() {
            return 0;
        }
        let mut consumed = 0;
        while consumed < bytes.len() {
            let limits = FrameLimits { packet_bytes_max: self.packet_bytes_max };
            let frame = match next_frame(&bytes[consumed..], limits) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(violation) => {
                    self.link.request_close(self.violated(lane, violation));
                    return bytes.len();
                }
            };
            consumed += frame.len;
            match self.handle_packet(lane, &frame, context) {
                Flow::Continue => {}
                Flow::Pause => {
                    self.link.paused.set(true);
                    break;
                }
                Flow::Later => {
                    consumed -= frame.len;
                    self.link.paused.set(true);
                    break;
                }
                Flow::Close(reason) => {
                    self.link.request_close(reason);
                    return bytes.len();
                }
            }
        }
        consumed
    }

    fn handle_packet(
        &mut self,
        lane: &mut LaneState,
        frame: &Frame<'_>,
        context: &mut Context<Self>,
    ) -> Flow {
        let Phase::Live(session) = &mut self.phase else {
            return self.handle_connect(lane, frame, context);
        };
        match decode_client_packet(frame) {
            Ok(ClientPacket::Publish(packet)) => session.publish(&self.environment, lane, self.slot, &packet),
            Ok(ClientPacket::Puback(packet_identifier)) => {
                session.note(lane, Activity::Other);
                lane.acknowledged(self.slot, packet_identifier.get());
                Flow::Continue
            }
            Ok(ClientPacket::Subscribe(packet)) => session.subscribe(lane, self.slot, &packet, context),
            Ok(ClientPacket::Unsubscribe(packet)) => session.unsubscribe(lane, self.slot, &packet, context),
            Ok(ClientPacket::Pingreq) => {
                session.note(lane, Activity::Other);
                lane.send_control(self.slot, encode_pingresp);
                Flow::Continue
            }
            Ok(ClientPacket::Disconnect) => Flow::Close(CloseReason::Disconnected),
            Err(violation) => Flow::Close(self.violated(lane, violation)),
        }
    }

    fn violated(&self, lane: &LaneState, violation: Violation) -> CloseReason {
        lane.handle().counters.protocol_violations.add(1);
        match violation {
            Violation::PacketTooLarge { .. } if matches!(self.phase, Phase::Live(_)) => {
                CloseReason::MessageTooLarge
            }
            Violation::QosTwoNotSupported { .. } => CloseReason::QosTwo,
            other => CloseReason::Violation(other),
        }
    }

    /// Goes on after a pause: what was kept is handled first, then the socket is read again.
    fn resume(&mut self) {
        self.link.resume();
    }
}

impl Handler<Attached> for ConnectionActor {
    type Result = ();

    fn handle(&mut self, message: Attached, context: &mut Self::Context) {
        self.attached(message, context);
    }
}

impl Handler<Subscribed> for ConnectionActor {
    type Result = ();

    fn handle(&mut self, message: Subscribed, _context: &mut Self::Context) {
        if let Phase::Live(session) = &mut self.phase {
            session.subscribed(&mut lane::current().borrow_mut(), &self.environment, self.slot, &message);
            self.resume();
        }
    }
}

impl Handler<Unsubscribed> for ConnectionActor {
    type Result = ();

    fn handle(&mut self, message: Unsubscribed, _context: &mut Self::Context) {
        if let Phase::Live(_) = &self.phase {
            subscribe::unsubscribed(&mut lane::current().borrow_mut(), self.slot, &message);
            self.resume();
        }
    }
}

#[cfg(test)]
mod tests;
