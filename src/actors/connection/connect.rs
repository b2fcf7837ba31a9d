//! CONNECT: from the packet to CONNACK.
//!
//! The decision has four stations: the authenticator (who is it), the registry actor (does it take over too often), the
//! log (the session begins, and which older one ends), and the answer. Nothing of the client is read meanwhile; what it has
//! sent ahead waits. A node that must not serve refuses with code 3, so that the client looks for another.

use std::sync::Arc;

use actix::fut::WrapFuture;
use actix::prelude::{ActorFutureExt, Addr, AsyncContext, Context};
use smol_str::SmolStr;
use tracing::Span;
use zeroize::Zeroizing;

use super::session::{Session, Will};
use super::{ConnectionActor, Flow, Phase};
use crate::actors::authenticator::{Attempt, Decision, Identity, Refusal, Verdict};
use crate::actors::close::CloseReason;
use crate::actors::lane::{self, LaneState};
use crate::actors::log;
use crate::actors::post::offer;
use crate::actors::registry::{Attach, Attached, RegistryActor, TAKEN_OVER_TOO_OFTEN};
use crate::actors::reply::Reply;
use crate::actors::space::Space;
use crate::actors::tenure::Tenure;
use crate::actors::traffic::Presence;
use crate::mqtt::frame::Frame;
use crate::mqtt::packet::connect::{
    ConnectRef, ConnectReturnCode, check_client_identifier, decode_first, encode_connack,
};
use crate::mqtt::violation::ConnectError;
use crate::observe::traces;

/// What an accepted CONNECT asked for, kept while it is decided.
pub struct Connecting {
    client_id: SmolStr,
    keep_alive_s: u16,
    will: Option<Will>,
    identity: Option<Identity>,
    span: Span,
    /// The session that was asked for; it must end if the connection ends before it is answered.
    pub(super) tenure: Option<Arc<Tenure>>,
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
        // Before anything is verified, and again when that is done.
        if self.environment.is_draining() || self.environment.serving().is_none() {
            return self.refuse(lane, ConnectReturnCode::ServerUnavailable);
        }
        self.phase = Phase::Connecting(Box::new(Connecting {
            client_id: packet.client_id.into(),
            keep_alive_s: packet.keep_alive_s,
            will: packet.will.as_ref().map(Will::from),
            identity: None,
            span: traces::connect(),
            tenure: None,
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
        let Some((node, epoch)) = self.environment.serving() else {
            return self.refuse(lane, ConnectReturnCode::ServerUnavailable);
        };
        let registry = self.environment.directory.registry_of(&identity.principal.space(), &self.environment);
        let tenure = Tenure::new(self.slot.session(node), epoch);
        self.link.epoch.set(epoch);
        let attach = Attach {
            tenure: Arc::clone(&tenure),
            client_id: connecting.client_id.clone(),
            identity: identity.clone(),
            peer: self.peer,
            reply: Reply::new(context.address(), lane.lanes(), self.slot),
        };
        connecting.identity = Some(identity);
        if let Err((_, attach)) = offer(&registry.address, attach) {
            attach.reply.release();
            return self.refuse(lane, ConnectReturnCode::ServerUnavailable);
        }
        connecting.tenure = Some(tenure);
        Flow::Pause
    }

    /// The session is open, or refused.
    pub(super) fn attached(&mut self, message: Attached, context: &mut Context<Self>) {
        let lane = lane::current();
        let mut lane = lane.borrow_mut();
        let Attached { result, registry } = message;
        let flow = match result {
            Ok(space) => self.begin(&mut lane, space, registry),
            Err(refusal) => {
                let is_war = refusal.reason == TAKEN_OVER_TOO_OFTEN;
                lane.handle().counters.takeovers_refused.add(u64::from(is_war));
                self.refuse_login(&mut lane, &refusal)
            }
        };
        drop(lane);
        match flow {
            Flow::Close(reason) => self.close(&reason, context),
            Flow::Continue | Flow::Pause | Flow::Later => self.resume(),
        }
    }

    /// The session begins.
    fn begin(&mut self, lane: &mut LaneState, space: Arc<Space>, registry: Addr<RegistryActor>) -> Flow {
        let (connecting, identity, tenure) = match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Connecting(mut connecting) => {
                match (connecting.identity.take(), connecting.tenure.take()) {
                    (Some(identity), Some(tenure)) => (connecting, identity, tenure),
                    _ => unreachable!("a session is asked for only with an identity"),
                }
            }
            other => {
                self.phase = other;
                return Flow::Continue;
            }
        };
        // A snapshot may have taken the session away between its opening and now, and draining may have begun.
        let session = self.environment.catalog.session(tenure.id);
        let lasts = session.is_some_and(|session| session.epoch == tenure.epoch);
        if !lasts || self.environment.is_draining() || self.environment.lease.epoch() != Some(tenure.epoch) {
            self.phase = Phase::Connecting(Box::new(Connecting { tenure: Some(tenure), ..*connecting }));
            return self.refuse(lane, ConnectReturnCode::ServerUnavailable);
        }
        log::connected(&self.environment, &identity, self.peer, &connecting.client_id);
        self.packet_bytes_max =
            self.environment.settings.payload_bytes_max + TOPIC_BYTES_MAX + PACKET_OVERHEAD_BYTES;
        self.link.read_bytes_max.set(usize::MAX);
        self.link.is_live.set(true);
        self.start_keep_alive(lane, connecting.keep_alive_s);
        if let Some(outbox) = lane.get(self.slot.into()) {
            outbox.presence = Some(Presence::new(&space.traffic));
        }
        lane.handle().counters.connects_accepted.add(1);
        lane.send_control(self.slot, |out| encode_connack(out, false, ConnectReturnCode::Accepted));
        let Connecting { client_id, will, span, .. } = *connecting;
        traces::connected(&span, ConnectReturnCode::Accepted as u8);
        self.phase = Phase::Live(Box::new(Session::new(identity, tenure, client_id, space, registry, will)));
        Flow::Continue
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
        log::refused(&self.environment, refusal, self.peer);
        self.refuse(lane, refusal.code)
    }

    fn refuse(&self, lane: &mut LaneState, code: ConnectReturnCode) -> Flow {
        lane.handle().counters.connects_refused.add(1);
        if let Phase::Connecting(connecting) = &self.phase {
            traces::connected(&connecting.span, code as u8);
        }
        lane.send_control(self.slot, |out| encode_connack(out, false, code));
        Flow::Close(CloseReason::Refused { code: code as u8 })
    }
}
