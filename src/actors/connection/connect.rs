//! CONNECT: from the packet to CONNACK.
//!
//! The decision has three stations: the authenticator (who is it), the registry actor (may the session begin, and
//! which older one must end), and the answer. Nothing of the client is read meanwhile; what it has sent ahead waits.

use actix::fut::WrapFuture;
use actix::prelude::{ActorFutureExt, Addr, AsyncContext, Context};
use zeroize::Zeroizing;

use super::session::{Session, Will};
use super::{ConnectionActor, Flow, Phase};
use crate::actors::authenticator::{Attempt, Decision, Identity, Refusal, Verdict};
use crate::actors::close::CloseReason;
use crate::actors::lane::{self, LaneState};
use crate::actors::log;
use crate::actors::post::post;
use crate::actors::registry::{Attach, Attached, RegistryActor};
use crate::mqtt::frame::Frame;
use crate::mqtt::packet::connect::{
    ConnectRef, ConnectReturnCode, check_client_identifier, decode_first, encode_connack,
};
use crate::mqtt::violation::ConnectError;

/// What an accepted CONNECT asked for, kept while it is decided.
pub struct Connecting {
    client_id: Box<str>,
    keep_alive_s: u16,
    will: Option<Will>,
    identity: Option<Identity>,
    /// Where the session was asked for; it must be told if the connection ends before it is answered.
    pub(super) registry: Option<Addr<RegistryActor>>,
}

/// Bytes of a packet beside its payload and topic, at most (U-M10: packet limit = payload limit + topic + 16).
const PACKET_OVERHEAD_BYTES: usize = 16;

/// Longest topic in bytes: its subtopic has at most 1024 characters of up to 4 bytes (U-T3), plus its first levels.
const TOPIC_BYTES_MAX: usize = 5 * 1024;

impl ConnectionActor {
    pub(super) fn handle_connect(
        &mut self,
        lane: &mut LaneState,
        frame: &Frame<'_>,
        context: &mut Context<Self>,
    ) -> Flow {
        match decode_first(frame) {
            Ok(packet) => self.decide(lane, &packet, context),
            Err(ConnectError::UnacceptableProtocolLevel { .. }) => {
                self.refuse(lane, ConnectReturnCode::UnacceptableProtocolVersion)
            }
            Err(ConnectError::Violation(violation)) => Flow::Close(self.violated(lane, violation)),
        }
    }

    fn decide(&mut self, lane: &mut LaneState, packet: &ConnectRef<'_>, context: &mut Context<Self>) -> Flow {
        if check_client_identifier(packet).is_err() {
            return self.refuse(lane, ConnectReturnCode::IdentifierRejected);
        }
        if self.environment.is_draining() {
            return self.refuse(lane, ConnectReturnCode::ServerUnavailable);
        }
        self.phase = Phase::Connecting(Box::new(Connecting {
            client_id: packet.client_id.into(),
            keep_alive_s: packet.keep_alive_s,
            will: packet.will.as_ref().map(Will::from),
            identity: None,
            registry: None,
        }));
        let attempt = Attempt {
            username: packet.username.map(Into::into),
            password: packet.password.map(|password| Zeroizing::new(password.to_vec())),
            certificate: self.certificate.clone(),
            peer: self.peer,
        };
        match self.environment.authenticator.decide(attempt) {
            Verdict::Now(decision) => self.decided(lane, decision, context),
            Verdict::Later(pending) => {
                let done = pending.into_actor(self).map(|decision, actor, context| {
                    actor.authenticated(decision, context);
                });
                context.spawn(done);
                Flow::Pause
            }
        }
    }

    /// The password check is through.
    pub(super) fn authenticated(&mut self, decision: Decision, context: &mut Context<Self>) {
        let lane = lane::current();
        let flow = self.decided(&mut lane.borrow_mut(), decision, context);
        if let Flow::Close(reason) = flow {
            self.close(&reason, context);
        }
    }

    fn decided(&mut self, lane: &mut LaneState, decision: Decision, context: &mut Context<Self>) -> Flow {
        let Phase::Connecting(connecting) = &mut self.phase else { return Flow::Pause };
        let identity = match decision {
            Ok(identity) => identity,
            Err(refusal) => return self.refuse_login(lane, &refusal),
        };
        let registry = self.environment.directory.registry_of(&identity.principal.space(), &self.environment);
        let attach = Attach {
            slot: self.slot,
            client_id: connecting.client_id.clone(),
            identity: identity.clone(),
            peer: self.peer,
            reply_to: context.address(),
        };
        connecting.identity = Some(identity);
        if post(&registry.address, attach).is_err() {
            return self.refuse(lane, ConnectReturnCode::ServerUnavailable);
        }
        connecting.registry = Some(registry.address);
        Flow::Pause
    }

    /// The registry actor has taken or refused the session.
    pub(super) fn attached(&mut self, message: Attached, context: &mut Context<Self>) {
        let lane = lane::current();
        let mut lane = lane.borrow_mut();
        let phase = std::mem::replace(&mut self.phase, Phase::Closed);
        let Phase::Connecting(connecting) = phase else {
            self.phase = phase;
            return;
        };
        let (space, identity) = match (message.result, connecting.identity) {
            (Ok(space), Some(identity)) => (space, identity),
            (Err(refusal), _) => {
                self.phase = Phase::Opened;
                let flow = self.refuse_login(&mut lane, &refusal);
                drop(lane);
                if let Flow::Close(reason) = flow {
                    self.close(&reason, context);
                }
                return;
            }
            (Ok(_), None) => unreachable!("a session is asked for only with an identity"),
        };
        log::connected(&identity, self.peer, &connecting.client_id);
        self.packet_bytes_max =
            self.environment.settings.payload_bytes_max + TOPIC_BYTES_MAX + PACKET_OVERHEAD_BYTES;
        self.link.read_bytes_max.set(usize::MAX);
        self.start_keep_alive(&mut lane, connecting.keep_alive_s);
        lane.handle().counters.connects_accepted.add(1);
        lane.send_control(self.slot, |out| encode_connack(out, false, ConnectReturnCode::Accepted));
        let session = Session::new(identity, connecting.client_id, space, message.registry, connecting.will);
        self.phase = Phase::Live(Box::new(session));
        drop(lane);
        self.resume();
    }

    /// MQTT-3.1.2-24: the connection ends after one and a half times the keep-alive without a packet; 0 = never.
    fn start_keep_alive(&self, lane: &mut LaneState, keep_alive_s: u16) {
        let silence_ms = u64::from(keep_alive_s) * 1500;
        let tick = lane.tick();
        if let Some(outbox) = lane.get(self.slot.into()) {
            outbox.deadlines.handshake_ticks_max = 0;
            outbox.deadlines.last_read_tick = tick;
            let ticks = silence_ms.div_ceil(lane::wheel::TICK_MS);
            // One tick more, because the first may be nearly over.
            outbox.deadlines.silence_ticks_max =
                if keep_alive_s == 0 { 0 } else { u32::try_from(ticks + 1).unwrap_or(u32::MAX) };
        }
    }

    fn refuse_login(&self, lane: &mut LaneState, refusal: &Refusal) -> Flow {
        log::refused(refusal, self.peer);
        self.refuse(lane, refusal.code)
    }

    fn refuse(&self, lane: &mut LaneState, code: ConnectReturnCode) -> Flow {
        lane.handle().counters.connects_refused.add(1);
        lane.send_control(self.slot, |out| encode_connack(out, false, code));
        Flow::Close(CloseReason::Refused { code: code as u8 })
    }
}
